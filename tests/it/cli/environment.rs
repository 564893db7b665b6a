//! What a command finds in its environment, and the umask it begins with.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

use super::support::{Jobq, mode, text};

/// The environment that a job's command has printed with `env -0`.
fn environment(jobq: &Jobq, id: i64) -> BTreeMap<String, String> {
    let printed = jobq.stdout(&["logs", &id.to_string()]);
    let variables = printed.split_terminator('\0');
    variables
        .map(|variable| {
            let (name, value) = variable.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

/// Enqueues `env -0` where these variables are set, with these options.
fn enqueue(jobq: &Jobq, set: &[(&str, &str)], options: &[&str]) -> i64 {
    let words = [&["enqueue"], options, &["--", "env", "-0"]].concat();
    let mut call = jobq.call(&words);
    for (name, value) in set {
        call = call.env(name, value);
    }
    call.run().exits(0).stdout.trim().parse().unwrap()
}

const AWS: [(&str, &str); 3] = [("AWS_ID", "1"), ("AWS_KEY", "a=b\nc"), ("XAWS_", "no")];

#[test]
fn a_command_gets_what_was_set_where_it_was_enqueued() {
    let jobq = Jobq::new();
    let set = [
        ("PATH", "/usr/bin:/bin:/there"),
        ("HOME", "/there"),
        ("LANG", "de_DE.UTF-8"),
        ("LC_TIME", "C"),
        ("TZ", "Asia/Tokyo"),
        ("TMPDIR", "/var/tmp"),
        ("USER", "anna"),
        ("LOGNAME", "anna"),
        ("SHELL", "/bin/zsh"),
    ];
    let id = enqueue(&jobq, &[&set[..], &AWS].concat(), &[]);
    let mut run = jobq.call(&["run", "--drain"]);
    for (name, value) in [
        ("TZ", "UTC"),
        ("LC_ALL", "C"),
        ("SECRET", "x"),
        ("USER", "root"),
    ] {
        run = run.env(name, value);
    }
    run.run().exits(0);
    let mut found = environment(&jobq, id);
    for name in [
        "JOBQ_DB",
        "JOBQ_JOB_ID",
        "JOBQ_ATTEMPT",
        "JOBQ_IDEMPOTENCY_KEY",
    ] {
        assert!(found.remove(name).is_some(), "{name}");
    }
    let expected = set.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(found, BTreeMap::from(expected));
}

#[test]
fn more_is_named_fits_a_pattern_or_is_all() {
    let jobq = Jobq::new();
    let named = enqueue(&jobq, &AWS, &["--env", "AWS_ID", "--env", "NEW=x=y"]);
    let fitting = enqueue(&jobq, &AWS, &["--env", "AWS_*"]);
    let changed = enqueue(
        &jobq,
        &AWS,
        &["--env", "AWS_ID=9", "--env", "*_KEY", "--env", "AWS_*"],
    );
    let all = enqueue(&jobq, &AWS, &["--env-all"]);
    jobq.drain(&[]).exits(0);
    let found = environment(&jobq, named);
    assert_eq!((&*found["AWS_ID"], &*found["NEW"]), ("1", "x=y"));
    assert!(!found.contains_key("AWS_KEY"));
    let found = environment(&jobq, fitting);
    assert_eq!((&*found["AWS_ID"], &*found["AWS_KEY"]), ("1", "a=b\nc"));
    assert!(!found.contains_key("XAWS_"));
    assert_eq!(environment(&jobq, changed)["AWS_ID"], "9");
    let found = environment(&jobq, all);
    assert!(AWS.iter().all(|(name, value)| found[*name] == *value));
    assert!(found.contains_key("XDG_STATE_HOME"));
}

#[test]
fn what_tells_of_another_job_or_service_is_not_taken_along() {
    let jobq = Jobq::new();
    let own = [
        ("JOBQ_PHASE", "finalize"),
        ("NOTIFY_SOCKET", "/run/systemd/notify"),
        ("WATCHDOG_USEC", "1000000"),
        ("LISTEN_FDS", "1"),
        ("OLDPWD", "/"),
    ];
    let all = enqueue(&jobq, &own, &["--env-all"]);
    jobq.write(
        "jobq.toml",
        "[kinds.show]\ncommand = [\"env\", \"-0\"]\nenv = [\"*\"]\n",
    );
    let kind = jobq.enqueue(&["--kind", "show"]);
    let mut run = jobq.call(&["run", "--drain"]).env("MINE", "1");
    for (name, value) in own.iter().filter(|(name, _)| !name.starts_with("WATCHDOG")) {
        run = run.env(name, value);
    }
    run.run().exits(0);
    for id in [all, kind] {
        let found = environment(&jobq, id);
        assert!(
            own.iter().all(|(name, _)| !found.contains_key(*name)),
            "{found:?}"
        );
        assert_eq!(found["JOBQ_DB"], jobq.db().to_str().unwrap());
    }
    assert_eq!(environment(&jobq, kind)["MINE"], "1");
}

#[test]
fn config_file_sets_env_for_commands_kinds_and_schedules() {
    let jobq = Jobq::new();
    jobq.write(
        "jobq.toml",
        r#"
        [defaults]
        env = ["AWS_*", "NOT_SET_ANYWHERE", "MODE=usual"]
        [kinds.show]
        command = ["env", "-0"]
        env = ["MODE=kind"]
        [schedules.nightly]
        cron = "@yearly"
        command = ["env", "-0"]
        env = ["MODE=schedule", "RUNNER_?"]
        "#,
    );
    let command = enqueue(&jobq, &AWS, &[]);
    let own = enqueue(&jobq, &AWS, &["--env", "MODE=own"]);
    let kind = jobq.enqueue(&["--kind", "show"]);
    jobq.call(&["enqueue", "--batch", "-"])
        .stdin(r#"{"command":["env","-0"],"env":{"B":"1"}}"#)
        .env("AWS_ID", "3")
        .run()
        .exits(0);
    let runner = jobq
        .call(&["run"])
        .env("AWS_ID", "2")
        .env("RUNNER_X", "r")
        .spawn();
    runner.wait_until_said("is running jobs");
    jobq.run(&["schedule", "run", "nightly"]).exits(0);
    jobq.run(&["wait", "1-5"]).exits(0);
    runner.stop();
    let shown = |id| {
        let found = environment(&jobq, id);
        let names = ["AWS_ID", "MODE", "RUNNER_X", "B"];
        names
            .map(|name| found.get(name).map_or("-", |value| &**value).to_owned())
            .join(" ")
    };
    assert_eq!(shown(command), "1 usual - -");
    assert_eq!(shown(own), "1 own - -");
    assert_eq!(shown(kind), "2 kind - -");
    assert_eq!(shown(4), "3 usual - 1");
    assert_eq!(shown(5), "2 schedule r -");
}

#[test]
fn lines_of_a_batch_name_variables_as_options_do() {
    let jobq = Jobq::new();
    let lines = r#"{"command":["env","-0"],"env":["AWS_*","B=1"]}
        {"command":["env","-0"],"env":{"AWS_ID":null,"B":"2"}}
        {"command":["env","-0"],"env_all":true}
        {"command":["env","-0"]}"#;
    let mut call = jobq
        .call(&["enqueue", "--env", "XAWS_", "--batch", "-"])
        .stdin(lines);
    for (name, value) in AWS {
        call = call.env(name, value);
    }
    call.run().exits(0);
    jobq.drain(&[]).exits(0);
    let shown = |id| {
        let found = environment(&jobq, id);
        let names = ["AWS_ID", "AWS_KEY", "XAWS_", "B"];
        names.map(|name| if found.contains_key(name) { 'y' } else { 'n' })
    };
    assert_eq!(shown(1), ['y', 'y', 'y', 'y']);
    assert_eq!(shown(2), ['y', 'n', 'y', 'y']);
    assert_eq!(shown(3), ['y', 'y', 'y', 'n']);
    assert_eq!(shown(4), ['n', 'n', 'y', 'n']);
}

#[test]
fn a_variable_that_cannot_be_is_refused() {
    let jobq = Jobq::new();
    for (given, why) in [
        ("NOT_SET", "NOT_SET is not set here"),
        ("=x", "cannot be the name"),
        ("A*=x", "cannot be the name"),
    ] {
        jobq.run(&["enqueue", "--env", given, "--", "true"])
            .fails(2, &[why, "hint: "]);
    }
    let raw = std::ffi::OsStr::from_bytes(b"\xff");
    let call = jobq
        .call(&["enqueue", "--env", "RAW", "--", "true"])
        .env("RAW", raw);
    call.run().fails(2, &["RAW here is not UTF-8"]);
    let call = jobq
        .call(&["enqueue", "--env", "R*", "--", "true"])
        .env("RAW", raw);
    assert!(call.run().exits(0).stderr.contains("RAW here is not UTF-8"));
    let none = jobq
        .run(&["enqueue", "--env", "NONE_*", "--", "true"])
        .exits(0);
    assert!(
        none.stderr.contains("no variable here fits 'NONE_*'"),
        "{none:?}"
    );
    for (toml, why) in [
        (
            "[defaults]\nenv = [\"=1\"]",
            "line 2: env: \"\" cannot be the name",
        ),
        (
            "[kinds.k]\nenv = [\"A\"]",
            "[kinds.k]: env: it goes with 'command'",
        ),
        (
            "[schedules.s]\ncron = \"@daily\"\nkind = \"k\"\nenv = [\"A\"]",
            "[schedules.s] env: it goes with",
        ),
    ] {
        jobq.write("jobq.toml", toml);
        jobq.run(&["run", "--drain"]).fails(2, &[why]);
    }
}

#[test]
fn a_command_has_the_umask_of_whoever_enqueued_it() {
    let jobq = Jobq::new();
    jobq.script("add", r#"umask $1; shift; exec jobq "$@""#);
    jobq.script("make", r#"echo "$0 $#" "$@" >"$1"; umask; exit 3"#);
    for (umask, made) in [("0027", "a"), ("0022", "b"), ("0000", "c d")] {
        let call =
            format!("umask {umask}; exec jobq enqueue --retries 0 -- ./make '{made}' '' '*'");
        let added = std::process::Command::new("sh")
            .args(["-c", &call])
            .env_clear()
            .env("PATH", super::support::search_path())
            .env("HOME", jobq.folder().join("home"))
            .env("XDG_STATE_HOME", jobq.folder().join("state"))
            .current_dir(jobq.work())
            .output()
            .unwrap();
        assert!(added.status.success(), "{added:?}");
    }
    jobq.drain(&[]).exits(4);
    for (id, umask, made) in [(1, "0027", "a"), (2, "0022", "b"), (3, "0000", "c d")] {
        assert_eq!(
            jobq.stdout(&["logs", &id.to_string()]),
            format!("{umask}\n")
        );
        let bits = 0o666 & !u32::from_str_radix(umask, 8).unwrap();
        assert_eq!(mode(&jobq.path(made)), bits);
        assert!(
            jobq.read(made).ends_with(&format!(" 3 {made}  *\n")),
            "{}",
            jobq.read(made)
        );
        assert_eq!(text(&jobq.job(id)["error"]), "exit code 3");
    }
}

#[test]
fn a_missing_command_is_named_whatever_its_umask() {
    let jobq = Jobq::new();
    let payload = r#"{"command":["no-such-tool"],"umask":"0777"}"#;
    let id = jobq.enqueue(&["--kind", "exec", "--payload", payload]);
    jobq.drain(&[]).exits(4);
    assert_eq!(jobq.job(id)["error"], "command not found: no-such-tool");
}
