//! What a pipe gets, what a terminal gets, and what happens when nobody reads any more.

use std::io::Read;
use std::process::{Command, Stdio};

use jobq::rusqlite::Connection;

use super::support::{Jobq, search_path};

#[test]
fn a_pipe_gets_tab_separated_fields_without_header_or_colour() {
    let jobq = Jobq::new();
    let long = "x".repeat(500);
    jobq.enqueue(&[
        "--queue",
        &"q".repeat(100),
        "--",
        "echo",
        &long,
        "tab\there",
        "line\nbreak",
    ]);
    let listed = jobq.run(&["list"]).exits(0);
    let rows = listed.rows();
    assert_eq!((rows.len(), rows[0].len()), (1, 8));
    assert_eq!(rows[0][..3], ["1", "pending", "exec"]);
    assert_eq!(rows[0][3], "q".repeat(100));
    assert_eq!(rows[0][4..6], ["normal", "0"]);
    assert!(
        rows[0][6].parse::<jiff::Timestamp>().is_ok() && rows[0][6].len() == 24,
        "{rows:?}"
    );
    assert_eq!(
        rows[0][7],
        format!("echo {long} 'tab\\there' 'line\\nbreak'")
    );
    for line in [
        &["status"][..],
        &["status", "1"],
        &["queue", "list"],
        &["events"],
        &["doctor"],
        &["why", "1"],
    ] {
        let shown = jobq.stdout(line);
        assert!(!shown.contains('\x1b'), "{line:?}: {shown:?}");
    }
    let status = jobq.run(&["status"]).exits(0);
    assert!(
        status.rows().contains(&vec!["jobs", "pending", "1"]),
        "{status:?}"
    );
}

#[test]
fn colour_is_asked_for_or_left_out() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--retries", "0", "--shell", "echo no >&2; exit 1"]);
    jobq.drain(&[]).exits(4);
    let coloured = jobq
        .call(&["logs", "1", "--color", "always"])
        .env("NO_COLOR", "1")
        .run()
        .exits(0);
    assert!(coloured.stdout.contains("\x1b["), "{coloured:?}");
    assert_eq!(
        coloured
            .stdout
            .replace("\x1b[33m", "")
            .replace("\x1b[0m", "")
            .replace("\x1b[39m", ""),
        "no\n"
    );
    let error = jobq.run(&["status", "9", "--color", "always"]).exits(3);
    assert!(
        error.stderr.contains("\x1b[") && error.stderr.contains("error:"),
        "{error:?}"
    );
    let forced = |line: &[&str]| jobq.call(line).env("CLICOLOR_FORCE", "1").run().exits(0);
    assert_eq!(forced(&["logs", "1"]).stdout, coloured.stdout);
    assert_eq!(forced(&["logs", "1", "--color", "never"]).stdout, "no\n");
    assert_eq!(jobq.stdout(&["logs", "1"]), "no\n");
}

/// Runs a command line with stdout on a terminal of its own; none where there is no `script`.
fn on_a_terminal(jobq: &Jobq, line: &str, env: &[(&str, &str)]) -> Option<String> {
    let shown = Command::new("script")
        .args(["-qec", &format!("stty cols 80; {line}"), "/dev/null"])
        .env_clear()
        .env("PATH", search_path())
        .env("TERM", "xterm")
        .env("JOBQ_DB", jobq.db())
        .envs(env.iter().copied())
        .current_dir(jobq.work())
        .stdin(Stdio::null())
        .output()
        .ok()?;
    Some(
        String::from_utf8(shown.stdout)
            .unwrap()
            .replace("\r\n", "\n"),
    )
}

#[test]
fn a_terminal_gets_a_fitting_table_in_colour_unless_refused() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "echo", &"long words ".repeat(30)]);
    jobq.enqueue(&[
        "--shell",
        "printf '\\033]0;title\\007'; exit 3",
        "--retries",
        "0",
    ]);
    jobq.drain(&[]).exits(4);
    let Some(shown) = on_a_terminal(&jobq, "jobq list", &[]) else {
        return eprintln!("SKIPPED: there is no `script` to make a terminal with");
    };
    assert!(shown.contains("\x1b["), "{shown:?}");
    let plain = on_a_terminal(&jobq, "jobq list", &[("NO_COLOR", "1")]).unwrap();
    assert!(!plain.contains('\x1b'), "{plain:?}");
    let lines: Vec<&str> = plain.lines().collect();
    assert!(
        lines[0].contains("ID") && lines[0].contains("WHAT"),
        "{plain}"
    );
    assert_eq!(lines.len(), 3, "{plain}");
    assert!(
        lines.iter().all(|line| line.chars().count() <= 80),
        "{plain}"
    );
    assert!(plain.contains("now") || plain.contains("ago"), "{plain}");
    let status =
        on_a_terminal(&jobq, "jobq status; jobq status 1 2", &[("NO_COLOR", "1")]).unwrap();
    assert!(status.contains("1 completed · 1 failed"), "{status}");
    assert!(
        !status.contains('\x1b'),
        "what a job is about cannot steer the terminal: {status:?}"
    );
    let json = on_a_terminal(&jobq, "jobq status --json", &[]).unwrap();
    assert!(json.starts_with("{\"counts\":"), "{json}");
    let enqueued = on_a_terminal(&jobq, "jobq enqueue -q -- true", &[]).unwrap();
    assert_eq!(enqueued, "job 3 enqueued (pending)\n");
    let unique = "jobq enqueue -q --unique k -- true";
    let unique = on_a_terminal(&jobq, &format!("{unique}; {unique}"), &[]).unwrap();
    assert_eq!(
        unique,
        "job 4 enqueued (pending)\njob 4 is there already (pending)\n"
    );
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let jobq = Jobq::new();
    jobq.enqueue_batch(
        &"{\"kind\":\"k\",\"payload\":\"some text that fills the pipe soon\"}\n".repeat(3000),
    );
    for line in [
        "list",
        "list --json",
        "list --sort due",
        "events",
        "events --json",
        "enqueue -q --batch jobs",
    ] {
        jobq.write("jobs", "{\"kind\":\"k\"}\n".repeat(20_000));
        let pipeline = format!("{{ jobq {line}; echo $? >code; }} | head -n 1");
        let said = Command::new("sh")
            .args(["-c", &pipeline])
            .env_clear()
            .env("PATH", search_path())
            .env("JOBQ_DB", jobq.db())
            .current_dir(jobq.work())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(said.stderr).unwrap(), "", "{line}");
        assert_eq!(
            said.stdout.iter().filter(|byte| **byte == b'\n').count(),
            1,
            "{line}"
        );
        let code = jobq.read("code");
        assert!(["0\n", "141\n"].contains(&code.as_str()), "{line}: {code}");
    }
}

#[test]
fn a_slow_reader_of_a_long_list_holds_up_nobody() {
    let jobq = Jobq::new();
    jobq.enqueue_batch(
        &"{\"kind\":\"k\",\"payload\":\"some text that fills the pipe soon\"}\n".repeat(3000),
    );
    let mut list = Command::new("jobq")
        .arg("list")
        .env("PATH", search_path())
        .env("JOBQ_DB", jobq.db())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = list.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    jobq.run(&["cancel", "1-10"]).exits(0);
    jobq.enqueue(&["--kind", "k"]);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(list.wait().unwrap().success());
    assert_eq!(rest.lines().count(), 3000);
}

#[test]
fn quiet_says_nothing_but_errors() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    for line in [
        &["enqueue", "-q", "--", "true"][..],
        &["-q", "pause", "q"],
        &["why", "1", "-q"],
        &["run", "--drain", "-q"],
    ] {
        assert_eq!(jobq.run(line).exits(0).stderr, "", "{line:?}");
    }
    jobq.run(&["status", "9", "-q"]).fails(3, &["no job 9"]);
}

#[test]
fn no_key_tenant_or_tag_has_a_control_character_in_it() {
    let jobq = Jobq::new();
    for (option, value) in [
        ("--key", "k\u{1b}[31mX"),
        ("--unique", "u\u{1b}[31mX"),
        ("--tenant", "t\n"),
        ("--tag", "n=\u{7}"),
        ("--tag", "n\u{9b}=v"),
    ] {
        jobq.run(&["enqueue", option, value, "--", "true"])
            .fails(2, &["holds a control character"]);
    }
    assert_eq!(jobq.total(), 0);
}

#[test]
fn texts_in_an_older_file_do_not_steer_the_terminal() {
    let jobq = Jobq::new();
    let add = |options: &[&str]| jobq.enqueue(&[options, &["--", "true"]].concat());
    add(&["--key", "k"]);
    add(&["--key", "k"]);
    add(&["--unique", "u"]);
    jobq.run(&["cancel", "3"]).exits(0);
    add(&["--unique", "u"]);
    let conn = Connection::open(jobq.db()).unwrap();
    conn.execute_batch(
        "UPDATE jobq_job SET key = char(27) || '[31mk' WHERE key = 'k';
        UPDATE jobq_concurrency_slot SET key = char(27) || '[31mk';
        UPDATE jobq_job SET unique_key = char(27) || '[31mu' WHERE unique_key = 'u';
        UPDATE jobq_unique SET key = char(27) || '[31mu';",
    )
    .unwrap();
    // A pipe gets no colour, and with it no escape: so it is told to be a terminal.
    let why = jobq.run(&["--color", "always", "why", "2"]).exits(0);
    let refused = jobq.run(&["--color", "always", "retry", "3"]).exits(1);
    for (text, escaped) in [
        (&why.stdout, "key '\\u{1b}[31mk' is at its limit"),
        (&refused.stderr, "unique key '\\u{1b}[31mu' now"),
    ] {
        assert!(text.contains(escaped), "{text:?}");
        assert!(!text.contains("\u{1b}[31m"), "{text:?}");
    }
}
