//! One damaged row or page: what it belongs to is set aside and named, the rest runs, and a drain ends.

use std::path::Path;
use std::time::{Duration, Instant};

use jobq::rusqlite::Connection;

use super::support::{Jobq, Output};
use crate::support::wait_until;

/// A drain of a few short jobs that takes longer than this has not found its end.
const LIMIT: Duration = Duration::from_secs(12);

/// A queue with every rule there is, and one with none.
fn scene() -> Jobq {
    let jobq = Jobq::new();
    let limits = ["--rate", "100/1s", "--concurrency", "3"];
    jobq.run(&[&["queue", "set", "bad"][..], &limits].concat())
        .exits(0);
    for options in [
        &[][..],
        &["--key", "k"],
        &["--key", "k"],
        &["--after", "1"],
        &["--deadline", "1h"],
        &["--in", "100ms"],
        &["--unique", "u"],
    ] {
        jobq.enqueue(&[&["--queue", "bad"], options, &["--", "true"]].concat());
    }
    let group = jobq.enqueue(&["--queue", "bad", "--kind", "group"]);
    jobq.enqueue(&[
        "--queue",
        "bad",
        "--parent",
        &group.to_string(),
        "--",
        "true",
    ]);
    jobq.run(&["schedule", "add", "s", "@every 1h", "--", "true"])
        .exits(0);
    for _ in 0..3 {
        jobq.enqueue(&["--queue", "good", "--", "true"]);
    }
    jobq
}

fn open(db: &Path) -> Connection {
    Connection::open(db).unwrap()
}

fn text(conn: &Connection, sql: &str) -> String {
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Lets a table take anything while `change` is at it.
fn unchecked(db: &Path, table: &str, change: &str) -> bool {
    let conn = open(db);
    let sql = text(
        &conn,
        &format!("SELECT sql FROM sqlite_schema WHERE name = '{table}'"),
    );
    let loose = sql
        .replace("IS NOT NULL", "\u{1}")
        .replace("NOT NULL", "")
        .replace('\u{1}', "IS NOT NULL")
        .replace(") STRICT, WITHOUT ROWID", ") WITHOUT ROWID")
        .replace(") STRICT", ")");
    let declare = |sql: &str| {
        let conn = open(db);
        let next: i64 = conn
            .query_row("PRAGMA schema_version", [], |row| row.get(0))
            .unwrap();
        conn.execute_batch("PRAGMA writable_schema = ON").unwrap();
        let put = "UPDATE sqlite_schema SET sql = ?1 WHERE name = ?2";
        conn.execute(put, [sql, table]).unwrap();
        conn.execute_batch(&format!("PRAGMA schema_version = {}", next + 1))
            .unwrap();
    };
    declare(&loose);
    let conn = open(db);
    conn.execute_batch("PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF")
        .unwrap();
    let changed = conn.execute(change, []);
    drop(conn);
    declare(&sql);
    changed.is_ok_and(|rows| rows > 0)
}

/// `jobq run --drain` comes to its end, and spends its time waiting if at all.
fn drain(jobq: &Jobq, what: &str) -> Output {
    let mut running = jobq.spawn(&["run", "--drain"]);
    wait_until(&format!("a drain ends: {what}"), LIMIT, || {
        running.has_ended()
    });
    running.wait()
}

/// How many jobs of the sound queue are done; none where the file cannot tell.
fn good_done(db: &Path) -> Option<i64> {
    let sql = "SELECT count(*) FROM jobq_job WHERE state = 5
        AND queue_id = (SELECT id FROM jobq_queue WHERE name = 'good')";
    open(db).query_row(sql, [], |row| row.get(0)).ok()
}

#[test]
fn a_damaged_row_sets_aside_its_owner_and_the_rest_runs() {
    for (table, change, what) in [
        (
            "jobq_queue",
            "UPDATE jobq_queue SET weight = x'ff' WHERE name = 'bad'",
            "queue 'bad'",
        ),
        (
            "jobq_queue",
            "UPDATE jobq_queue SET concurrency = -1 WHERE name = 'bad'",
            "queue 'bad'",
        ),
        (
            "jobq_queue",
            "UPDATE jobq_queue SET rate_jobs = 0 WHERE name = 'bad'",
            "queue 'bad'",
        ),
        (
            "jobq_number",
            "UPDATE jobq_number SET value = 0 WHERE what = 2 AND id = 1",
            "counters",
        ),
        (
            "jobq_family",
            "UPDATE jobq_family SET total = 1.5e300",
            "job 8",
        ),
        (
            "jobq_prerequisite",
            "UPDATE jobq_prerequisite SET attempt = 1.5e300",
            "job 4",
        ),
        (
            "jobq_job",
            "UPDATE jobq_job SET kind_id = 99 WHERE id = 1",
            "job 1",
        ),
    ] {
        let jobq = scene();
        assert!(unchecked(&jobq.db(), table, change), "{change}");
        let ended = drain(&jobq, change);
        assert_eq!(good_done(&jobq.db()), Some(3), "{change}: {ended:#?}");
        let ended = ended.exits(1);
        assert!(ended.stderr.contains(what), "{change}: {ended:#?}");
        assert!(ended.hint().contains("jobq doctor"), "{change}: {ended:#?}");
    }
}

/// Neighbours are claimed by one statement.
#[test]
fn a_damaged_row_among_neighbours_is_the_one_set_aside() {
    for change in [
        "UPDATE jobq_job SET updated_at = x'ff' WHERE id = 3",
        "UPDATE jobq_job SET retries = x'ff' WHERE id = 3",
    ] {
        let jobq = Jobq::new();
        for _ in 0..5 {
            jobq.enqueue(&["--", "true"]);
        }
        assert!(unchecked(&jobq.db(), "jobq_job", change), "{change}");
        let ended = drain(&jobq, change).exits(1);
        assert!(ended.stderr.contains("job 3"), "{change}: {ended:#?}");
        for other in ["job 1 ", "job 2 ", "job 4 ", "job 5 "] {
            assert!(!ended.stderr.contains(other), "{change}: {ended:#?}");
        }
        let done = "SELECT group_concat(id) FROM jobq_job WHERE state = 5";
        assert_eq!(text(&open(&jobq.db()), done), "1,2,4,5", "{change}");
    }
}

#[test]
fn why_and_doctor_name_a_damaged_row() {
    let jobq = scene();
    let change = "UPDATE jobq_queue SET weight = x'ff' WHERE name = 'bad'";
    assert!(unchecked(&jobq.db(), "jobq_queue", change));
    let why = jobq.run(&["why", "1"]).exits(0);
    assert!(why.stdout.contains("jobq_queue.weight"), "{why:#?}");
    let why = jobq.run(&["why", "10"]).exits(0);
    assert!(!why.stdout.contains("damaged"), "{why:#?}");
    let doctor = jobq.run(&["doctor"]).exits(1);
    assert!(
        doctor.stdout.contains("queue number 1: jobq_queue.weight"),
        "{doctor:#?}"
    );
}

#[test]
fn a_runner_with_a_damaged_row_rests() {
    let jobq = scene();
    let change = "UPDATE jobq_deadline SET at = -1";
    assert!(unchecked(&jobq.db(), "jobq_deadline", change));
    let change = "UPDATE jobq_queue SET weight = x'ff' WHERE name = 'bad'";
    assert!(unchecked(&jobq.db(), "jobq_queue", change));
    let runner = jobq.runner(&[]);
    runner.wait_until_said("queue 'bad' is set aside");
    wait_until("the others are done", LIMIT, || {
        good_done(&jobq.db()) == Some(3)
    });
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", runner.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11..13]
            .iter()
            .map(|field| field.parse::<u64>().unwrap())
            .sum()
    };
    let (before, began) = (ticks(), Instant::now());
    wait_until("time passes", LIMIT, || {
        began.elapsed() > Duration::from_millis(700)
    });
    // In hundredths of a second.
    let spent = Duration::from_millis((ticks() - before) * 10);
    let time = began.elapsed();
    assert!(
        spent < time / 3,
        "in {time:?} it spends {spent:?} on nothing"
    );
    runner.stop().exits(1);
}

/// A job whose row was damaged while it ran: its runner has set it aside and has ended.
fn set_aside_while_it_ran() -> Jobq {
    let jobq = Jobq::new();
    let id = jobq.enqueue(&["--shell", "until test -e gate; do sleep 0.01; done"]);
    let runner = jobq.runner(&[]);
    let runs = || jobq.state(id) == "running" && !jobq.job(id)["worker"].is_null();
    crate::support::wait_until("it runs, and its worker is noted", LIMIT, runs);
    let change = "UPDATE jobq_job SET priority = 'abc'";
    assert!(unchecked(&jobq.db(), "jobq_job", change));
    jobq.write("gate", "");
    runner.wait_until_said("job 1 is set aside");
    runner.stop().exits(1);
    let why = jobq.run(&["why", "1"]).exits(0);
    assert!(why.stdout.contains("jobq_job.priority"), "{why:#?}");
    jobq
}

fn mend(jobq: &Jobq) {
    let change = "UPDATE jobq_job SET priority = 1";
    assert!(unchecked(&jobq.db(), "jobq_job", change));
    let why = jobq.run(&["why", "1"]).exits(0);
    assert!(why.stdout.contains("runner 1 is dead"), "{why:#?}");
    let doctor = jobq.run(&["doctor"]).exits(1);
    for words in [
        "job 1 is running, and its runner has ended",
        "takes over its job",
    ] {
        assert!(doctor.stdout.contains(words), "{words}: {doctor:#?}");
    }
}

#[test]
fn a_job_set_aside_while_running_runs_again_once_mended() {
    let jobq = set_aside_while_it_ran();
    let ended = drain(&jobq, "it is damaged").exits(1);
    assert!(ended.stderr.contains("job 1 is set aside"), "{ended:#?}");
    mend(&jobq);
    drain(&jobq, "it is mended").exits(0);
    let job = jobq.job(1);
    assert_eq!(
        (&job["state"], &job["attempt"]),
        (&"completed".into(), &2.into())
    );
    jobq.run(&["doctor"]).exits(0);
}

#[test]
fn the_doctor_takes_a_mended_job_from_a_runner_that_has_ended() {
    let jobq = set_aside_while_it_ran();
    jobq.run(&["doctor", "--fix"]).exits(1);
    mend(&jobq);
    jobq.run(&["doctor", "--fix"]).exits(0);
    assert_eq!(jobq.state(1), "pending");
    drain(&jobq, "it is mended").exits(0);
    assert_eq!(jobq.state(1), "completed");
}

#[test]
fn a_drain_of_a_batch_ends_despite_a_job_set_aside_meanwhile() {
    let jobq = Jobq::new();
    let gated = r#"{"shell":"until test -e gate; do sleep 0.01; done"}"#;
    jobq.write("b.jsonl", format!("{gated}\n{{\"command\":[\"true\"]}}\n"));
    let mut drain = jobq.spawn(&["run", "--drain", "-f", "b.jsonl"]);
    let done = "SELECT count(*) FROM jobq_job WHERE state = 5 OR worker IS NOT NULL";
    crate::support::wait_until("one is done, one runs", LIMIT, || {
        let done = jobq
            .db()
            .exists()
            .then(|| open(&jobq.db()).query_row(done, [], |row| row.get(0)));
        done == Some(Ok(2))
    });
    let change = "UPDATE jobq_job SET attempt = 9223372036854775807 WHERE id = 1";
    assert!(unchecked(&jobq.db(), "jobq_job", change));
    jobq.write("gate", "");
    crate::support::wait_until("it ends", LIMIT, || drain.has_ended());
    let ended = drain.wait().exits(1);
    assert!(ended.stderr.contains("job 1 is set aside"), "{ended:#?}");
}

#[test]
fn a_spent_event_id_is_damage_and_not_a_full_disk() {
    let jobq = Jobq::new();
    let id = jobq.enqueue(&["--shell", "until test -e gate; do sleep 0.01; done"]);
    let mut runner = jobq.runner(&[]);
    let runs = || jobq.state(id) == "running" && !jobq.job(id)["worker"].is_null();
    crate::support::wait_until("it runs, and its worker is noted", LIMIT, runs);
    let change = "UPDATE jobq_feed SET id = 9223372036854775807 WHERE id = 1";
    assert!(unchecked(&jobq.db(), "jobq_feed", change));
    let what = "the highest possible number of an event is taken";
    let refused = jobq.run(&["enqueue", "--", "true"]).fails(1, &[what]);
    assert!(refused.hint().contains("jobq restore"), "{refused:#?}");
    let doctor = jobq.run(&["doctor"]).exits(1);
    assert!(doctor.stdout.contains(what), "{doctor:#?}");
    jobq.write("gate", "");
    crate::support::wait_until("the runner ends", LIMIT, || runner.has_ended());
    runner.wait().fails(1, &["the runner cannot go on", what]);
    let ended = drain(&jobq, "a drain").exits(1);
    assert!(ended.stderr.contains(what), "{ended:#?}");
    assert!(!ended.stderr.contains("full"), "{ended:#?}");
}

const VALUES: [&str; 8] = [
    "'abc'",
    "x'ff00'",
    "NULL",
    "-1",
    "0",
    "9223372036854775807",
    "-9223372036854775808",
    "1.5e300",
];

fn list(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// Some value in some column of some row.
fn damage_row(db: &Path, random: &mut fastrand::Rng) -> String {
    let conn = open(db);
    let tables = list(
        &conn,
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'jobq_%'",
    );
    let table = random.choice(&tables).unwrap();
    let columns = list(
        &conn,
        &format!("SELECT name FROM pragma_table_info('{table}')"),
    );
    let column = random.choice(&columns).unwrap();
    let key = &columns[0];
    drop(conn);
    let value = random.choice(VALUES).unwrap();
    let row = format!(
        "{key} IN (SELECT {key} FROM {table} LIMIT 1 OFFSET {})",
        random.u8(0..3)
    );
    let change = format!("UPDATE OR REPLACE {table} SET {column} = {value} WHERE {row}");
    let changed = unchecked(db, table, &change);
    format!("{change} ({changed})")
}

/// Some bytes in the first page of some table or index.
fn damage_page(db: &Path, random: &mut fastrand::Rng) -> String {
    use std::os::unix::fs::FileExt;
    let conn = open(db);
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    let sql = "SELECT name || ' ' || rootpage FROM sqlite_schema WHERE rootpage > 1 AND name LIKE '%jobq_%'";
    let pages = list(&conn, sql);
    drop(conn);
    let page = random.choice(&pages).unwrap();
    let (_, number) = page.split_once(' ').unwrap();
    let start = (number.parse::<u64>().unwrap() - 1) * 4096;
    let anywhere = random.u64(0..4000);
    let at = random.choice([0, 1, 3, 8, anywhere]).unwrap();
    let length = random.choice([1, 4, 64, 2000]).unwrap();
    let bytes: Vec<u8> = (0..length.min(4096 - at)).map(|_| random.u8(..)).collect();
    let file = std::fs::OpenOptions::new().write(true).open(db).unwrap();
    file.write_all_at(&bytes, start + at).unwrap();
    format!("{length} bytes at {at} of {page}")
}

fn campaign(seed: u64, rounds: u64) {
    let original = scene();
    let conn = open(&original.db());
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(conn);
    for round in 0..rounds {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(round));
        let jobq = Jobq::new();
        std::fs::create_dir_all(jobq.db().parent().unwrap()).unwrap();
        std::fs::copy(original.db(), jobq.db()).unwrap();
        let what = match random.bool() {
            true => damage_row(&jobq.db(), &mut random),
            false => damage_page(&jobq.db(), &mut random),
        };
        let what = format!("JOBQ_SEED={} {what}", seed.wrapping_add(round));
        let ended = drain(&jobq, &what);
        assert!([0, 1, 4, 75].contains(&ended.code), "{what}: {ended:#?}");
        if ended.code == 0 || ended.code == 4 {
            assert!(!ended.stderr.contains("set aside"), "{what}: {ended:#?}");
        }
    }
}

#[test]
fn whatever_row_or_page_is_damaged_a_drain_ends() {
    campaign(20_261_127, 12);
}

#[test]
#[ignore = "a long campaign: JOBQ_SEED and JOBQ_ROUNDS say which and how long"]
fn a_campaign_of_damaged_rows_and_pages() {
    let number = |name: &str, usual: u64| {
        let value = std::env::var(name).ok();
        value.map_or(usual, |value| value.parse().unwrap())
    };
    let seed = number("JOBQ_SEED", 1);
    let rounds = number("JOBQ_ROUNDS", 1000);
    eprintln!("JOBQ_SEED={seed} JOBQ_ROUNDS={rounds}");
    campaign(seed, rounds);
}

/// What it does outside could happen twice.
#[test]
fn a_command_never_runs_without_its_idempotency_key() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--retries", "0", "--", "touch", "ran"]);
    let conn = rusqlite::Connection::open(jobq.db()).unwrap();
    let forget = "UPDATE jobq_meta SET key = 'was_file_id' WHERE key = 'file_id'";
    conn.execute(forget, []).unwrap();
    jobq.run(&["run", "--drain"]).exits(4);
    assert!(!jobq.path("ran").exists());
    let restore = "UPDATE jobq_meta SET key = 'file_id' WHERE key = 'was_file_id'";
    conn.execute(restore, []).unwrap();
    jobq.run(&["retry", "1"]).exits(0);
    jobq.run(&["run", "--drain"]).exits(0);
    assert!(jobq.path("ran").exists());
}
