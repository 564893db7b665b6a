//! `jobq schedule` and `[schedules.NAME]`: jobs that come again.

use std::collections::BTreeSet;

use serde_json::json;

use super::support::{Jobq, Output, millisecond, text};
use crate::support::{PATIENCE, wait_until};

fn add(jobq: &Jobq, words: &[&str]) -> Output {
    jobq.run(&[&["schedule", "add"], words].concat())
}

/// The slots whose jobs have been enqueued, in order, as the history tells.
fn fired(jobq: &Jobq) -> Vec<i64> {
    let events = jobq.json_lines(&["events", "--kind", "schedule_fired"]);
    let slots = events.iter().map(|event| &event["data"]["slot"]);
    slots
        .filter(|slot| !slot.is_null())
        .map(millisecond)
        .collect()
}

#[test]
fn a_schedule_is_added_and_listed_with_all_that_it_is() {
    let jobq = Jobq::new();
    let words = [
        "nightly",
        "0 2 * * mon-fri",
        "--tz",
        "europe/berlin",
        "--missed",
        "skip",
        "--overlap",
        "skip",
        "--queue",
        "backup",
        "--timeout",
        "1h",
        "--",
        "echo",
        "a b",
    ];
    let added = add(&jobq, &words).exits(0);
    assert!(
        added.stdout.starts_with("schedule 'nightly' added; next "),
        "{added:?}"
    );
    assert!(added.stderr.contains("jobq run"), "{added:?}");
    let listed = jobq.json(&["schedule", "list"]);
    for (field, value) in [
        ("name", json!("nightly")),
        ("cron", json!("0 2 * * mon-fri")),
        ("timezone", json!("Europe/Berlin")),
        ("missed", json!("skip")),
        ("overlap", json!("skip")),
        ("origin", json!("added")),
        ("last_at", json!(null)),
        ("last_job_id", json!(null)),
        ("paused_at", json!(null)),
    ] {
        assert_eq!(listed[field], value, "{field}");
    }
    let job = &listed["job"];
    assert_eq!(job["payload"]["command"], json!(["echo", "a b"]));
    assert_eq!(
        (&job["kind"], &job["queue"]),
        (&json!("exec"), &json!("backup"))
    );
    assert_eq!(job["timeout_ms"], 3_600_000);
    let row = jobq.run(&["schedule", "list"]).exits(0);
    assert_eq!(
        row.rows()[0][..3],
        ["nightly", "0 2 * * mon-fri", "Europe/Berlin"]
    );
    assert_eq!(row.rows()[0][3], text(&listed["next_at"]));
    assert_eq!(row.rows()[0][7..], ["", "skip", "skip", ""]);
}

#[test]
fn without_a_zone_the_systems_is_meant() {
    let jobq = Jobq::new();
    let call = |words: &[&str], tz| jobq.call(words).env("TZ", tz).run().exits(0);
    let is_hinted = |output: &Output| output.stderr.contains("so UTC is meant: --tz");
    for (tz, zone) in [
        ("Asia/Kathmandu", "Asia/Kathmandu"),
        ("UTC", "UTC"),
        ("<+05>-5", "UTC"),
        ("EST5EDT,M3.2.0,M11.1.0", "UTC"),
        ("Europe/Brelin", "UTC"),
    ] {
        let add = ["schedule", "add", "here", "0 12 * * *", "--", "true"];
        let added = call(&add, tz);
        assert_eq!(jobq.json(&["schedule", "list"])["timezone"], zone, "{tz}");
        let next = call(&["schedule", "next", "0 12 * * *"], tz);
        let hinted = [&added, &next].map(is_hinted);
        assert_eq!(hinted, [tz != zone; 2], "{tz}");
        for known in [&["@every 1h"][..], &["@daily", "--tz", "UTC"], &["here"]] {
            let next = call(&[&["schedule", "next"], known].concat(), tz);
            assert!(!is_hinted(&next), "{tz} {known:?}");
        }
    }
}

#[test]
fn adding_the_same_again_changes_nothing_and_says_so() {
    let jobq = Jobq::new();
    let words = ["tick", "@hourly", "--kind", "k", "--payload", "{\"a\": 1}"];
    assert!(add(&jobq, &words).exits(0).stdout.contains("added"));
    let before = jobq.json(&["schedule", "list"]);
    assert!(add(&jobq, &words).exits(0).stdout.contains("is as it was"));
    assert_eq!(jobq.json(&["schedule", "list"]), before);
    let other = [&words[..], &["--priority", "high"]].concat();
    assert!(add(&jobq, &other).exits(0).stdout.contains("changed"));
    let after = jobq.json(&["schedule", "list"]);
    assert_eq!(after["next_at"], before["next_at"]);
    assert_eq!(after["job"]["priority"], "high");
}

#[test]
fn a_bad_rule_zone_or_job_is_refused_and_named() {
    let jobq = Jobq::new();
    for (words, why) in [
        (&["n", "61 * * * *", "--", "true"][..], &["61 * * * *"][..]),
        (
            &["n", "every day", "--", "true"],
            &["2 fields", "hint: rules look like"],
        ),
        (&["n", "@dialy", "--", "true"], &["@dialy", "@daily"]),
        (&["n", "@every 0s", "--", "true"], &["shortest"]),
        (&["n", "0 0 31 2 *", "--", "true"], &["never fires"]),
        (
            &["n", "@daily", "--tz", "Europe/Berln", "--", "true"],
            &["Europe/Berln", "schedule next"],
        ),
        (
            &["n", "@daily", "--in", "5m", "--", "true"],
            &["a time of its own"],
        ),
        (&["n", "@daily", "--batch", "x.jsonl"], &["--batch"]),
        (&["n", "@daily", "--wait", "--", "true"], &["waited for"]),
        (
            &["n", "@daily", "--kind", "k", "--payload", "{"],
            &["not JSON"],
        ),
        (&["", "@daily", "--", "true"], &["name"]),
        (
            &["@daily", "n", "--", "true"],
            &["called '@daily'", "hint: the name comes first"],
        ),
    ] {
        add(&jobq, words).fails(2, why);
    }
    assert_eq!(jobq.stdout(&["schedule", "list"]), "");
    let refused = add(&jobq, &["n", "@daily"]);
    let refused = refused.fails(2, &["a command, --shell or --kind"]);
    assert!(!refused.stderr.contains("--batch"), "{refused:?}");
}

#[test]
fn the_next_slots_are_shown_without_a_database() {
    let jobq = Jobq::new();
    let words = [
        "schedule",
        "next",
        "30 7 * * *",
        "--tz",
        "Asia/Kathmandu",
        "-n",
        "3",
    ];
    let slots = jobq.json_lines(&words);
    assert_eq!(slots.len(), 3);
    for pair in slots.windows(2) {
        assert_eq!(
            millisecond(&pair[1]["at"]) - millisecond(&pair[0]["at"]),
            86_400_000
        );
    }
    assert!(text(&slots[0]["local"]).ends_with("T07:30:00+05:45"));
    assert_eq!(slots[0]["timezone"], "Asia/Kathmandu");
    let shown = jobq.run(&words).exits(0);
    assert_eq!(shown.rows()[2][1], text(&slots[2]["at"]));
    assert_eq!(
        jobq.run(&["schedule", "next", "@hourly"])
            .exits(0)
            .rows()
            .len(),
        5
    );
    jobq.run(&["schedule", "next", "0 0 30 2 *"])
        .fails(2, &["never fires"]);
    assert!(!jobq.db().exists());
}

#[test]
fn the_next_slots_of_a_schedule_are_its_own() {
    let jobq = Jobq::new();
    add(&jobq, &["tick", "@every 10m", "--", "true"]).exits(0);
    let next_at = millisecond(&jobq.json(&["schedule", "list"])["next_at"]);
    let slots = jobq.json_lines(&["schedule", "next", "tick", "-n", "2"]);
    let at: Vec<i64> = slots.iter().map(|slot| millisecond(&slot["at"])).collect();
    assert_eq!(at, [next_at, next_at + 600_000]);
    jobq.run(&["schedule", "pause", "tick"]).exits(0);
    let paused = jobq.run(&["schedule", "next", "tick"]).exits(0);
    assert!(paused.stderr.contains("schedule resume tick"), "{paused:?}");
    jobq.run(&["schedule", "next", "tick", "--tz", "UTC"])
        .fails(2, &["'tick' has a time zone", "leave out --tz"]);
    jobq.run(&["schedule", "next", "tack"])
        .fails(3, &["no schedule 'tack'", "'tick'"]);
}

#[test]
fn a_name_that_is_unknown_exits_with_3_and_hints_at_the_nearest() {
    let jobq = Jobq::new();
    add(&jobq, &["nightly", "@daily", "--", "true"]).exits(0);
    for verb in ["remove", "pause", "resume", "run"] {
        let refused = jobq
            .run(&["schedule", verb, "nigthly"])
            .fails(3, &["nigthly"]);
        assert_eq!(refused.hint(), "did you mean 'nightly'?");
        let refused = jobq.run(&["schedule", verb, "x-y-z"]).fails(3, &["x-y-z"]);
        assert!(refused.hint().contains("schedule list"));
    }
    // One that is missing does not keep the others from their turn.
    let paused = jobq.run(&["schedule", "pause", "missing", "nightly"]);
    assert_eq!(paused.code, 3);
    assert!(paused.stdout.contains("'nightly' paused"), "{paused:?}");
}

#[test]
fn a_schedule_is_run_paused_resumed_and_removed_by_hand() {
    let jobq = Jobq::new();
    add(&jobq, &["nightly", "@yearly", "--shell", "echo done"]).exits(0);
    assert_eq!(jobq.stdout(&["schedule", "run", "nightly"]), "1\n");
    jobq.drain(&[]).exits(0);
    assert_eq!(jobq.state(1), "completed");
    let listed = || jobq.json(&["schedule", "list"]);
    assert_eq!(listed()["last_job_id"], 1);
    assert!(
        jobq.stdout(&["schedule", "pause", "nightly"])
            .contains("paused")
    );
    assert!(!listed()["paused_at"].is_null());
    let resumed = jobq.stdout(&["schedule", "resume", "nightly"]);
    assert!(resumed.contains("resumed; next "), "{resumed}");
    assert!(listed()["paused_at"].is_null());
    jobq.run(&["schedule", "remove", "nightly"]).exits(0);
    assert_eq!(jobq.stdout(&["schedule", "list"]), "");
    assert_eq!(jobq.state(1), "completed", "its job stays");
}

/// The name stays when the schedule is gone.
#[test]
fn a_job_knows_its_schedule_and_slot_and_so_does_its_command() {
    let jobq = Jobq::new();
    let note = "echo ${JOBQ_SCHEDULE-none} ${JOBQ_SLOT-none} >>told";
    add(&jobq, &["tick", "* * * * * *", "--shell", note]).exits(0);
    let runner = jobq.runner(&[]);
    wait_until("a slot has come", PATIENCE, || !fired(&jobq).is_empty());
    jobq.run(&["schedule", "remove", "tick"]).exits(0);
    runner.stop();
    jobq.drain(&[]).exits(0);
    let job = jobq.job(1);
    assert_eq!(job["schedule"], "tick");
    let slot: jiff::Timestamp = job["slot"].as_str().unwrap().parse().unwrap();
    assert_eq!(slot.as_millisecond(), fired(&jobq)[0]);
    let told = jobq.read("told");
    let first = told.lines().next().unwrap();
    assert_eq!(first, format!("tick {}", job["slot"].as_str().unwrap()));
    let page = jobq.stdout(&["status", "1"]);
    assert!(page.lines().any(|line| line == "schedule\ttick"), "{page}");

    let by_hand = jobq.total() + 1;
    add(&jobq, &["tock", "@yearly", "--shell", note]).exits(0);
    jobq.run(&["schedule", "run", "tock"]).exits(0);
    jobq.enqueue(&["--shell", note]);
    jobq.drain(&[]).exits(0);
    let job = jobq.job(by_hand as i64);
    assert_eq!(job["schedule"], "tock");
    assert!(job["slot"].is_null(), "nobody asked for a slot");
    assert!(jobq.job(by_hand as i64 + 1)["schedule"].is_null());
    let told = jobq.read("told");
    let mut last: Vec<&str> = told.lines().rev().take(2).collect();
    last.sort_unstable();
    assert_eq!(last, ["none none", "tock none"]);
    let listed = jobq.stdout(&["list", "--schedule", "tock"]);
    assert_eq!(listed.lines().count(), 1, "{listed}");
    assert!(listed.starts_with(&format!("{by_hand}\t")), "{listed}");
    jobq.run(&["remove", "--schedule", "tock"]).exits(0);
    assert_eq!(jobq.stdout(&["list", "--schedule", "tock"]), "");
}

#[test]
fn each_schedule_slot_gets_one_job_though_a_runner_is_killed() {
    let jobq = Jobq::new();
    let first = jobq.runner(&[]);
    let second = jobq.runner(&[]);
    // Added while they run: they see it at once.
    add(
        &jobq,
        &["tick", "* * * * * *", "--missed", "all", "--", "true"],
    )
    .exits(0);
    wait_until("two slots have come", PATIENCE, || fired(&jobq).len() >= 2);
    first.kill();
    let before = fired(&jobq).len();
    wait_until("three more slots have come", PATIENCE, || {
        fired(&jobq).len() >= before + 3
    });
    jobq.run(&["schedule", "remove", "tick"]).exits(0);
    let slots = fired(&jobq);
    let seconds: Vec<i64> = (0..slots.len() as i64)
        .map(|second| slots[0] + second * 1000)
        .collect();
    assert_eq!(slots, seconds, "each second once, and none left out");
    wait_until("all are done", PATIENCE, || {
        jobq.count("completed") == slots.len() as u64
    });
    assert_eq!(jobq.total(), slots.len() as u64);
    second.stop();
}

#[test]
fn a_drain_fires_no_schedule() {
    let jobq = Jobq::new();
    add(&jobq, &["tick", "@every 1s", "--", "true"]).exits(0);
    let due = millisecond(&jobq.json(&["schedule", "list"])["next_at"]);
    jobq.enqueue(&["--shell", "sleep 2"]);
    let drained = jobq.drain(&[]).exits(0);
    assert!(drained.stderr.contains("1 completed"), "{drained:?}");
    assert_eq!(fired(&jobq), Vec::<i64>::new());
    let after = jobq.json(&["schedule", "list"]);
    assert_eq!(
        millisecond(&after["next_at"]),
        due,
        "it is overdue, and stays so"
    );
    let runner = jobq.runner(&[]);
    wait_until("the slot is made up for", PATIENCE, || {
        !fired(&jobq).is_empty()
    });
    runner.stop();
}

#[test]
fn a_runner_brings_the_schedules_of_the_config_file() {
    let jobq = Jobq::new();
    add(&jobq, &["by hand", "@yearly", "--", "true"]).exits(0);
    jobq.script("note", "pwd > where");
    jobq.write(
        "jobq.toml",
        "[schedules.tick]
         cron = '* * * * * *'
         command = ['./note']
         overlap = 'skip'
         [schedules.nightly]
         cron = '0 2 * * *'
         timezone = 'Europe/Berlin'
         missed = 'skip'
         kind = 'digest'
         payload = { days = 7, since = 2026-01-01 }
         queue = 'slow'
         retries = 1
         tags = { team = 'ops' }",
    );
    let runner = jobq.runner(&[]);
    for name in ["tick", "nightly"] {
        assert!(
            runner
                .stderr()
                .contains(&format!("schedule '{name}' added")),
            "{}",
            runner.stderr()
        );
    }
    // The command runs where the file lies.
    assert_eq!(jobq.wait_for_line("where"), jobq.work().to_str().unwrap());
    runner.stop();
    let schedules = jobq.json_lines(&["schedule", "list"]);
    let [by_hand, nightly, tick] = &schedules[..] else {
        panic!("{schedules:?}")
    };
    assert_eq!(
        (&by_hand["origin"], &tick["origin"]),
        (&json!("added"), &json!("config"))
    );
    assert_eq!(
        nightly["job"]["payload"],
        json!({ "days": 7, "since": "2026-01-01" })
    );
    assert_eq!(nightly["job"]["tags"], json!({ "team": "ops" }));
    assert_eq!(nightly["job"]["retries"], 1);

    // A runner without a config file takes nothing away.
    let elsewhere = jobq.call(&["run"]).cwd(jobq.folder()).spawn();
    elsewhere.wait_until_said("is running jobs");
    elsewhere.stop();
    assert_eq!(jobq.json_lines(&["schedule", "list"]).len(), 3);

    // Unchanged, it says nothing; what the file no longer has goes; what was added by hand stays.
    let runner = jobq.runner(&[]);
    assert!(!runner.stderr().contains("schedule"), "{}", runner.stderr());
    runner.stop();
    jobq.write(
        "jobq.toml",
        "[schedules.nightly]\ncron = '0 3 * * *'\nkind = 'digest'",
    );
    let runner = jobq.runner(&[]);
    for told in ["schedule 'nightly' changed", "schedule 'tick' removed"] {
        assert!(runner.stderr().contains(told), "{}", runner.stderr());
    }
    runner.stop();
    let left = jobq.json_lines(&["schedule", "list"]);
    let names: BTreeSet<String> = left
        .iter()
        .map(|schedule| text(&schedule["name"]))
        .collect();
    assert_eq!(
        names,
        BTreeSet::from(["by hand".to_owned(), "nightly".to_owned()])
    );
}

#[test]
fn a_bad_config_schedule_is_named_before_anything_starts() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    for (table, words) in [
        ("cron = '0 0 31 2 *'\nkind = 'k'", "[schedules.n] cron: "),
        (
            "cron = '@daily'\nkind = 'k'\ntimezone = 'Mars'",
            "[schedules.n] timezone: ",
        ),
        ("cron = '@daily'", "[schedules.n] kind: "),
        (
            "cron = '@daily'\nkind = 'k'\nunique_for = '1h'",
            "[schedules.n] unique_for: ",
        ),
        (
            "cron = '@daily'\nkind = 'k'\nkey_limit = 2",
            "[schedules.n] key_limit: ",
        ),
        (
            "cron = '@daily'\nkind = 'k'\ncommand = ['x']",
            "[schedules.n] kind: ",
        ),
        ("cron = '@daily'\ncommand = []", "[schedules.n] command: "),
        (
            "cron = '@daily'\ncommand = ['x']\npayload = 1",
            "[schedules.n] payload: ",
        ),
        (
            "cron = '@daily'\nkind = 'k'\ntimezon = 'UTC'",
            "did you mean 'timezone'?",
        ),
        ("kind = 'k'", "'cron'"),
        (
            "cron = '@daily'\nkind = 'k'\npayload = { most = inf }",
            "jobq.toml line 4: payload.most: inf is not a number",
        ),
        ("cron = '@daily'\nkind = 'k'\nmissed = 'some'", "line 4"),
        (
            "cron = '@daily'\nkind = 'k'\ntimeout = '0s'",
            "[schedules.n]",
        ),
    ] {
        let good = "[schedules.a]\ncron = '@daily'\nkind = 'k'\n";
        jobq.write("jobq.toml", format!("[schedules.n]\n{table}\n{good}"));
        for verb in [&["run"][..], &["run", "--drain"]] {
            jobq.run(verb).fails(2, &["jobq.toml", words]);
        }
    }
    jobq.write("jobq.toml", "[schedules.'']\ncron = '@daily'\nkind = 'k'");
    let named = "jobq.toml: [schedules.\"\"]: the schedule's name is empty";
    jobq.run(&["run"]).fails(2, &[named]);
    jobq.write("jobq.toml", "");
    assert_eq!(jobq.stdout(&["schedule", "list"]), "");
    assert_eq!(jobq.state(1), "pending");
}

/// Without quotes each field is a word of its own.
#[test]
fn a_rule_without_quotes_is_answered_with_how_it_is_written() {
    let jobq = Jobq::new();
    jobq.run(&[
        "schedule", "add", "n", "0", "2", "*", "*", "*", "--", "true",
    ])
    .fails(2, &["put a cron rule in quotes"]);
}
