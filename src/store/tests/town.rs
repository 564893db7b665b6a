//! A file with neighbours of every sort, and what an operation changed in it.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::Result;
use crate::model::event::{EventFilter, EventId, EventKind};
use crate::model::flags::JobFlags;
use crate::model::id::JobId;
use crate::model::state::State;
use crate::store::jobs::finish_attempt::ClaimToken;
use crate::store::read::events;
use crate::store::sqlite::tx::Tx;
use crate::store::tests::sandbox::{START_MS, Sandbox};

/// Three jobs in each state: one that operations are tried on, one that differs from it by its id
/// alone, and one of another queue, kind and runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Target,
    Twin,
    Stranger,
}

const WHO: [Who; 3] = [Who::Target, Who::Twin, Who::Stranger];

impl Who {
    fn queue(self) -> i64 {
        if self == Who::Stranger { 2 } else { 1 }
    }

    /// The runner that holds this one's running job.
    pub(super) fn runner(self) -> i64 {
        if self == Who::Stranger { 2 } else { 1 }
    }

    const fn name(self) -> &'static str {
        match self {
            Who::Target => "target",
            Who::Twin => "twin",
            Who::Stranger => "stranger",
        }
    }
}

/// The job of `who` that began in `state`.
pub(super) fn job(who: Who, state: State) -> JobId {
    JobId(who as i64 * 8 + state.code() + 1)
}

/// The running target, as its runner holds it.
pub(super) fn held() -> ClaimToken {
    ClaimToken {
        job: job(Who::Target, State::Running),
        attempt: 2,
        queue: Who::Target.queue(),
        kind: 1,
        runner: Who::Target.runner(),
        flags: JobFlags::NONE,
        parent: None,
        waited: None,
    }
}

/// When the target ended, which is before everybody else did.
pub(super) const TARGET_ENDED_MS: i64 = START_MS - 10_000;
/// When the target is due, which is before everybody else is.
pub(super) const TARGET_DUE_MS: i64 = START_MS + 10_000;

/// Runners 1 and 2 live, 3 has stopped, 4 was lost. Queue 1 is `mail`, 2 is `images`, 3 is paused.
pub(super) fn town() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.sql(&format!(
        "INSERT INTO jobq_queue (name, paused_at) VALUES ('mail', NULL), ('images', NULL), ('sleepy', 5);
         INSERT INTO jobq_kind (name) VALUES ('send'), ('resize');
         INSERT INTO jobq_runner (name, pid, host, workers, kinds, state, started_at, heartbeat_at, beat, ended_at)
         VALUES ('one', 1, 'h', 5, '[\"send\"]', 1, 1, 1, 7, NULL), ('two', 2, 'h', 5, '[\"resize\"]', 1, 2, 2, 8, NULL),
             ('three', 3, 'h', 5, '[]', 3, 3, 3, 9, {START_MS}), ('four', 4, 'h', 5, '[]', 4, 4, 4, 10, {TARGET_ENDED_MS});
         INSERT INTO jobq_batch VALUES ('abc', 1, 3, 1), ('def', 4, 9, 2);
         INSERT INTO jobq_number (what, id, value) VALUES (-1, 1, 11), (-1, 2, 22), (-2, 1, 0), (-2, 2, 0);
         INSERT INTO jobq_meta VALUES ('schema_version', 1), ('clock_boot', 'boot'), ('clock_offset_ms', 1000);"
    ));
    for who in WHO {
        for state in State::ALL {
            settle_in(&sandbox, who, state);
        }
    }
    sandbox.sql(NEIGHBOURS);
    sandbox.sql(
        "INSERT INTO jobq_number (what, id, value) SELECT state, queue_id, count(*) FROM jobq_job GROUP BY queue_id, state;
         INSERT INTO jobq_block SELECT DISTINCT 0, kind_id, id >> 8 FROM jobq_job;
         INSERT INTO jobq_block SELECT DISTINCT 1, queue_id, id >> 8 FROM jobq_job;",
    );
    sandbox
}

/// So many jobs with rules of every sort live in the town, besides the three in each state.
pub(super) const RULED: usize = 8;

/// Their numbers are negative, so that new ones are given as if they were not there. A waiting group
/// (1) with children: completed (2), pending with a slot (3), blocked by its key (4), blocked by
/// prerequisites (5); a scheduled job with a deadline (6), one whose unique key outlives it (7), and a
/// running parent (8).
const NEIGHBOURS: &str = "
    INSERT INTO jobq_job (id, queue_id, kind_id, state, priority, max_retries, backoff, retry_delay_ms, created_at,
        updated_at, links, unmet, parent_id, key, unique_key, unique_for_ms, deadline, tenant, wait_reason, run_at,
        wait_fixed, finished_at, attempt, claim, runner_id, started_at)
    VALUES (-1, 2, 2, 4, 1, 3, 4, 5000, 100, 200, 2, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL),
        (-2, 2, 2, 5, 1, 3, 4, 5000, 100, 200, 5, 0, -1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1800000000000, 1, 0, 4, 5),
        (-3, 2, 2, 2, 1, 3, 4, 5000, 100, 200, 13, 0, -1, 'k', NULL, NULL, NULL, 'x', NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL),
        (-4, 2, 2, 1, 1, 3, 4, 5000, 100, 200, 9, 0, -1, 'k', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL),
        (-5, 2, 2, 1, 1, 3, 4, 5000, 100, 200, 1233, 1, -1, NULL, 'u', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL),
        (-6, 2, 2, 0, 1, 3, 4, 5000, 100, 200, 36896, 0, NULL, NULL, NULL, NULL, 1900000000000, NULL, 1, 1900000000001, 1, NULL, 0, NULL, NULL, NULL),
        (-7, 2, 2, 7, 1, 3, 4, 5000, 100, 200, 8208, 0, NULL, NULL, 'v', 300000000000, NULL, NULL, NULL, NULL, NULL, 1800000000000, 0, NULL, NULL, NULL),
        (-8, 2, 2, 3, 1, 3, 4, 5000, 100, 200, 2, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 2, 0, 2, 100);
    INSERT INTO jobq_payload SELECT id, '1' FROM jobq_job WHERE id < 0;
    INSERT INTO jobq_family (job_id, stage, total, done) VALUES (-1, 1, 4, 1), (-8, 0, 0, 0);
    INSERT INTO jobq_key VALUES ('k', 1), ('wide', 7);
    INSERT INTO jobq_concurrency_slot VALUES ('k', 1, 2, -3), ('k', 0, 2, -4);
    INSERT INTO jobq_prerequisite VALUES (-3, -5, 0, NULL, 0), (-2, -5, 1, NULL, 1);
    INSERT INTO jobq_unique (key, job_id, until) VALUES ('u', -5, NULL), ('v', -7, 1900000000000);
    INSERT INTO jobq_deadline VALUES (1900000000000, -6);
    INSERT INTO jobq_tag VALUES ('colour', 'red', -5);
    INSERT INTO jobq_retry_delays VALUES (-5, '[1000]');
    INSERT INTO jobq_hook VALUES (-6, 1, '{}');
    INSERT INTO jobq_traceparent VALUES (-6, '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01');
    INSERT INTO jobq_hook_job VALUES (-7, -2, '{}');
    INSERT INTO jobq_rate VALUES (2, 0, 1);
    INSERT INTO jobq_schedule (name, cron, timezone, missed, overlap, job, origin, next_at, created_at, updated_at)
    VALUES ('nightly', '0 3 * * *', 'UTC', 1, 0, '{}', 0, 1900000000000, 1, 1);
    INSERT INTO jobq_log (job_id, id, at, kind) SELECT id, 500 - id, 100, 13 FROM jobq_job WHERE id < 0;";

fn settle_in(sandbox: &Sandbox, who: Who, state: State) {
    let id = job(who, state).0;
    let (queue, runner) = (who.queue(), who.runner());
    let code = state.code();
    let scheduled = state == State::Scheduled;
    let running = state == State::Running;
    let null_unless = |is: bool, value: i64| {
        if is {
            value.to_string()
        } else {
            "NULL".to_owned()
        }
    };
    let target = who == Who::Target;
    let run_at = null_unless(
        scheduled,
        if target {
            TARGET_DUE_MS
        } else {
            TARGET_DUE_MS + id
        },
    );
    let wait_reason = null_unless(scheduled, 1 + who as i64);
    // The twin was asked for at a moment, the others after a duration.
    let wait_fixed = null_unless(scheduled, i64::from(who == Who::Twin));
    let claimed = null_unless(running, 0);
    let held_by = null_unless(running, runner);
    let started_at = null_unless(running, START_MS - 50);
    let ended = if target {
        TARGET_ENDED_MS
    } else {
        TARGET_ENDED_MS + id
    };
    let finished_at = null_unless(state.is_final(), ended);
    sandbox.sql(&format!(
        "INSERT INTO jobq_job (id, queue_id, kind_id, state, priority, attempt, max_retries, backoff, retry_delay_ms,
             timeout_ms, claim, runner_id, wait_reason, run_at, wait_fixed, created_at, updated_at, started_at, finished_at)
         VALUES ({id}, {queue}, {queue}, {code}, 1, 2, 3, 4, 5000, 60000, {claimed}, {held_by}, {wait_reason}, {run_at},
             {wait_fixed}, 100, 200, {started_at}, {finished_at});
         INSERT INTO jobq_payload VALUES ({id}, '\"payload {id}\"');
         INSERT INTO jobq_outcome (job_id, error) VALUES ({id}, 'error {id}');
         INSERT INTO jobq_progress VALUES ({id}, 1, 50.0, 5, 10, 'half of {id}');
         INSERT INTO jobq_attempt (job_id, attempt, outcome, ended_at, ended_event) VALUES ({id}, 1, 6, 150, 2 * {id});
         INSERT INTO jobq_log (job_id, id, at, kind, attempt) VALUES ({id}, 100 + {id}, 200, 20, 1);"
    ));
}

/// Every row of every table, by table and key, each value with its type.
pub(super) struct Snapshot(BTreeMap<(String, Vec<String>), Vec<String>>);

impl Snapshot {
    pub(super) fn of(conn: &Connection) -> Snapshot {
        let mut rows = BTreeMap::new();
        for table in strings(
            conn,
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'jobq_%'",
        ) {
            let key = strings(
                conn,
                &format!("SELECT name FROM pragma_table_info('{table}') WHERE pk > 0 ORDER BY pk"),
            );
            assert!(!key.is_empty(), "{table} has no key");
            let mut statement = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
            let width = statement.column_count();
            let key: Vec<usize> = key
                .iter()
                .map(|name| statement.column_index(name).unwrap())
                .collect();
            let mut found = statement.query([]).unwrap();
            while let Some(row) = found.next().unwrap() {
                let values: Vec<String> = (0..width)
                    .map(|at| format!("{:?}", row.get_ref(at).unwrap()))
                    .collect();
                let key = key.iter().map(|at| values[*at].clone()).collect();
                rows.insert((table.clone(), key), values);
            }
        }
        Snapshot(rows)
    }

    pub(super) fn rows(&self) -> usize {
        self.0.len()
    }

    /// The keys of the rows that differ: `+` is new, `-` is gone, `~` is changed.
    fn changes(&self, after: &Snapshot) -> Vec<(char, (String, Vec<String>))> {
        let gone = self.0.keys().filter(|key| !after.0.contains_key(*key));
        let mut changes: Vec<_> = gone.map(|key| ('-', key.clone())).collect();
        for (key, row) in &after.0 {
            match self.0.get(key) {
                None => changes.push(('+', key.clone())),
                Some(before) if before != row => changes.push(('~', key.clone())),
                Some(_) => {}
            }
        }
        changes
    }
}

fn strings(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

/// What happened to the file between two snapshots, in words and in order: `~ job target running`,
/// `+ event job_completed of target running`, `~ count mail completed`.
pub(super) fn told(sandbox: &Sandbox, before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for (sign, (table, key)) in before.changes(after) {
        let table = table.trim_start_matches("jobq_");
        let is_file = table == "number" && key[0].contains('-');
        match (table, sign) {
            // The feed tells of these, and each transaction changes the file's own numbers.
            ("log" | "attempt", '+') => {}
            // Every end of an attempt adds to them: see the tests of metrics.
            ("metric", '+' | '~') => {}
            _ if is_file => {}
            ("feed", '+') => told.extend(events_in_words(sandbox, number(&key[0]))),
            _ => told.push(format!(
                "{sign} {} {}",
                name(table),
                key_in_words(sandbox, table, &key)
            )),
        }
    }
    told.sort();
    told
}

fn name(table: &str) -> &str {
    match table {
        "number" => "count",
        "concurrency_slot" => "slot",
        table => table,
    }
}

fn number(debugged: &str) -> i64 {
    let number = debugged.trim_matches(|c: char| c != '-' && !c.is_ascii_digit());
    number.parse().unwrap()
}

/// The events of a transaction.
fn events_in_words(sandbox: &Sandbox, first: i64) -> Vec<String> {
    let filter = EventFilter {
        since: EventId(first - 1),
        kinds: EventKind::ALL.to_vec(),
        ..EventFilter::default()
    };
    let page = events::read(&sandbox.conn, &filter).unwrap();
    let told = page.events.iter().map(|event| match event.job {
        None => format!("+ event {}", event.kind),
        Some(job) => format!("+ event {} of {}", event.kind, job_in_words(job.0)),
    });
    told.collect()
}

fn key_in_words(sandbox: &Sandbox, table: &str, key: &[String]) -> String {
    let number = |at: usize| number(&key[at]);
    match table {
        "job" | "payload" | "outcome" | "progress" | "family" | "retry_delays" | "hook"
        | "hook_job" | "traceparent" => job_in_words(number(0)),
        "concurrency_slot" => format!("{} of {}", text(&key[0]), job_in_words(number(3))),
        "deadline" => format!("of {}", job_in_words(number(1))),
        "tag" => format!("{} of {}", text(&key[0]), job_in_words(number(2))),
        "prerequisite" => format!("{} of {}", job_in_words(number(0)), job_in_words(number(2))),
        "log" | "attempt" => format!("{} of {}", number(1), job_in_words(number(0))),
        "number" => {
            let queue: String = sandbox
                .conn
                .query_row(
                    "SELECT name FROM jobq_queue WHERE id = ?1",
                    [number(1)],
                    |row| row.get(0),
                )
                .unwrap();
            format!("{queue} {}", State::from_code(number(0)).unwrap())
        }
        "meta" | "batch" | "key" | "unique" => text(&key[0]),
        _ => number(0).to_string(),
    }
}

/// The text that a value's debug form holds as bytes.
fn text(debugged: &str) -> String {
    let bytes = debugged
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|byte| byte.parse::<u8>().ok())
        .collect();
    String::from_utf8(bytes).unwrap()
}

fn job_in_words(id: i64) -> String {
    for who in WHO {
        for state in State::ALL {
            if job(who, state).0 == id {
                return format!("{} {state}", who.name());
            }
        }
    }
    if id < 0 {
        return format!("neighbour {}", -id);
    }
    format!("new {id}")
}

/// Runs `operation` in a town and expects exactly these changes, in any order.
#[track_caller]
pub(super) fn touches(operation: impl FnOnce(&mut Tx<'_>) -> Result<()>, expected: &[&str]) {
    touches_in(&mut town(), operation, expected);
}

/// As [`touches`], in a town that was prepared.
#[track_caller]
pub(super) fn touches_in(
    sandbox: &mut Sandbox,
    operation: impl FnOnce(&mut Tx<'_>) -> Result<()>,
    expected: &[&str],
) {
    let before = Snapshot::of(&sandbox.conn);
    sandbox.write(operation);
    let after = Snapshot::of(&sandbox.conn);
    let mut expected: Vec<&str> = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(told(sandbox, &before, &after), expected);
    sandbox.assert_counters_are_right();
}
