//! What packagers use, and help.

use std::process::{Command, Stdio};

use super::support::Jobq;

/// All verbs.
const VERBS: [&str; 25] = [
    "enqueue",
    "run",
    "status",
    "list",
    "logs",
    "wait",
    "why",
    "events",
    "cancel",
    "retry",
    "edit",
    "remove",
    "pause",
    "resume",
    "queue",
    "prune",
    "backup",
    "doctor",
    "bench",
    "progress",
    "log",
    "result",
    "completions",
    "man",
    "help",
];

#[test]
fn completions_exist_for_each_shell_and_its_parser_takes_them() {
    let jobq = Jobq::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = jobq.stdout(&["completions", shell]);
        for verb in VERBS {
            assert!(script.contains(verb), "{shell}: {verb}");
        }
        assert!(
            script.contains("--older-than") || script.contains("-l older-than"),
            "{shell}"
        );
        let path = jobq.write("script", &script);
        if !["bash", "zsh", "fish"].contains(&shell) {
            continue;
        }
        match Command::new(shell)
            .arg("-n")
            .arg(&path)
            .stdin(Stdio::null())
            .output()
        {
            Ok(parsed) => assert!(parsed.status.success(), "{shell}: {parsed:?}"),
            Err(_) => eprintln!("SKIPPED: there is no {shell} here"),
        }
    }
    jobq.run(&["completions", "tcsh"])
        .fails(2, &["tcsh", "bash"]);
    assert!(!jobq.db().exists());
}

#[test]
fn the_manual_is_one_page_or_a_page_for_each_command() {
    let jobq = Jobq::new();
    let page = jobq.stdout(&["man"]);
    assert!(page.contains(".TH jobq 1"), "{}", &page[..200]);
    jobq.run(&["man", "--dir", "pages"]).exits(0);
    for verb in VERBS {
        assert!(
            page.contains(&format!(".SH \"JOBQ {}\"", verb.to_uppercase())),
            "{verb}"
        );
        assert!(
            jobq.path(&format!("pages/jobq-{verb}.1")).exists(),
            "{verb}"
        );
    }
    assert!(jobq.path("pages/jobq.1").exists());
    assert!(!jobq.db().exists());
}

#[test]
fn help_is_there_for_everything_and_explains_the_exit_codes() {
    let jobq = Jobq::new();
    let codes = jobq.stdout(&["help", "exit-codes"]);
    for code in ["0", "1", "2", "3", "4", "75", "124", "130"] {
        assert!(
            codes
                .lines()
                .any(|line| line.split_whitespace().next() == Some(code)),
            "{code}"
        );
    }
    let all = jobq.stdout(&["help"]);
    assert_eq!(jobq.stdout(&["--help"]), all);
    for verb in VERBS {
        assert!(all.contains(&format!("\n  {verb} ")), "{verb}");
        let help = jobq.stdout(&["help", verb]);
        assert!(help.contains("Usage: jobq"), "{verb}: {help}");
        assert_eq!(jobq.stdout(&[verb, "--help"]), help, "{verb}");
    }
    assert!(
        jobq.stdout(&["help", "queue", "list"])
            .contains("Usage: jobq queue list")
    );
    assert_eq!(
        jobq.stdout(&["--version"]),
        format!("jobq {}\n", env!("CARGO_PKG_VERSION"))
    );
    let unknown = jobq.run(&["help", "enqeue"]).fails(2, &["'enqeue'"]);
    assert_eq!(unknown.hint(), "did you mean 'enqueue'?");
    let nothing = jobq.call::<&str>(&[]).run().exits(2);
    assert!(
        nothing.stdout.is_empty() && nothing.stderr.contains("Usage: jobq"),
        "{nothing:?}"
    );
}
