//! Every statement can be prepared, and no hot one reads a table that grows from end to end.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;

use crate::store::sqlite::statement::{Heat, Statement};
use crate::store::tests::sandbox::{SCHEMA, Sandbox};

/// Each module of the store that declares statements, by name.
macro_rules! modules {
    ($($($module:ident)::+),* $(,)?) => {
        const MODULES: &[(&str, &[Statement])] =
            &[$((stringify!($($module)::+), crate::store::$($module)::+::STATEMENTS)),*];
    };
}

modules![
    jobs::attempt_reports,
    jobs::attempts,
    jobs::cancel,
    jobs::claim,
    jobs::claim_queues,
    jobs::concurrency_slots,
    jobs::deadlines,
    jobs::dependencies,
    jobs::edited_options,
    jobs::enqueue,
    jobs::families,
    jobs::finish_attempt,
    jobs::fire_hooks,
    jobs::hooks,
    jobs::job_row,
    jobs::queues,
    jobs::quota,
    jobs::rate,
    jobs::release,
    jobs::remove,
    jobs::requeue,
    jobs::retry_delays,
    jobs::snooze,
    jobs::take,
    jobs::traceparents,
    jobs::undo_cancel,
    jobs::unique,
    jobs::update,
    jobs::update_rules,
    jobs::was,
    read::attempts,
    read::drain,
    read::drivers,
    read::events,
    read::graph,
    read::jobs,
    read::matching,
    read::metrics,
    read::metrics::snapshot,
    read::metrics::stats,
    read::listing,
    read::runners,
    read::suggestions,
    read::summaries,
    read::walk,
    read::why,
    read::why_queue,
    sqlite::blocks,
    sqlite::database,
    sqlite::error,
    sqlite::names,
    sqlite::schema,
    sqlite::tables,
    sqlite::tx,
    sqlite::tx::counts,
    sqlite::tx::feed,
    sqlite::tx::metrics,
    sqlite::writer,
    upkeep::batches,
    upkeep::clock_step,
    upkeep::doctor,
    upkeep::doctor::audit,
    upkeep::fire,
    upkeep::promote,
    upkeep::prune,
    upkeep::rollup,
    upkeep::backup,
    upkeep::runners,
    upkeep::schedules,
    upkeep::undo,
];

/// A row per job, per event, per runner that ever was, per batch.
const GROWING: &[&str] = &[
    "jobq_job",
    "jobq_payload",
    "jobq_outcome",
    "jobq_progress",
    "jobq_attempt",
    "jobq_log",
    "jobq_feed",
    "jobq_metric",
    "jobq_runner",
    "jobq_batch",
    "jobq_prerequisite",
    "jobq_family",
    "jobq_concurrency_slot",
    "jobq_unique",
    "jobq_deadline",
    "jobq_tag",
    "jobq_retry_delays",
    "jobq_hook",
    "jobq_hook_job",
    "jobq_traceparent",
    "jobq_block",
];

/// What looks like reading everything and is not: the statement, the line of its plan, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "RUNNERS_ALIVE",
        "SCAN jobq_runner USING INDEX jobq_runner_alive",
        "the partial index holds the living runners alone",
    ),
    (
        "CHILDREN_PROGRESS",
        "SCAN j USING INDEX jobq_job_running",
        "the partial index holds the running jobs alone",
    ),
    (
        "JOBS_UNOWNED",
        "SCAN j USING COVERING INDEX jobq_job_running",
        "the partial index holds the running jobs alone",
    ),
    (
        "JOBS_RUNNING_ON",
        "USE TEMP B-TREE FOR ORDER BY",
        "it sorts what one runner holds: its workers and a little ahead of them",
    ),
];

/// The lines of a statement's plan that read a growing table from end to end or sort it.
fn faults(conn: &Connection, name: &str, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let rows = statement
        .raw_query_all()
        .into_iter()
        .filter(|line| is_fault(sql, line));
    rows.filter(|line| {
        !EXCEPTIONS
            .iter()
            .any(|(of, exception, _)| *of == name && exception == line)
    })
    .collect()
}

trait RawQueryAll {
    /// The plan's lines, whatever parameters the statement has: they stay null.
    fn raw_query_all(&mut self) -> Vec<String>;
}

impl RawQueryAll for rusqlite::Statement<'_> {
    fn raw_query_all(&mut self) -> Vec<String> {
        let mut rows = self.raw_query();
        let mut lines = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            lines.push(row.get("detail").unwrap());
        }
        lines
    }
}

fn is_fault(sql: &str, line: &str) -> bool {
    if line.contains("USE TEMP B-TREE") {
        return tables(sql)
            .iter()
            .any(|(table, _)| GROWING.contains(&table.as_str()));
    }
    let Some(rest) = line.strip_prefix("SCAN ") else {
        return false;
    };
    let scanned = rest.split(' ').next().unwrap_or_default();
    // Rows that the statement itself holds, or has found by lines of their own.
    if scanned == "CONSTANT"
        || scanned.starts_with("(subquery-")
        || rest.ends_with("-ROW VALUES CLAUSE")
    {
        return false;
    }
    // What is no table of ours is not known to be small.
    tables(sql)
        .iter()
        .find(|(table, alias)| scanned == table || Some(scanned) == alias.as_deref())
        .is_none_or(|(table, _)| GROWING.contains(&table.as_str()))
}

/// The tables that a statement names, each with its alias.
fn tables(sql: &str) -> Vec<(String, Option<String>)> {
    let words: Vec<&str> = sql
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))
        .filter(|word| !word.is_empty())
        .collect();
    let mut tables = Vec::new();
    for (at, word) in words.iter().enumerate() {
        if word.starts_with("jobq_") {
            let alias = words
                .get(at + 1)
                .filter(|next| next.len() == 1 && next.chars().all(|c| c.is_ascii_lowercase()));
            tables.push(((*word).to_owned(), alias.map(|alias| (*alias).to_owned())));
        }
    }
    tables
}

fn fresh() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(SCHEMA).unwrap();
    conn
}

fn hot() -> impl Iterator<Item = &'static Statement> {
    MODULES
        .iter()
        .flat_map(|(_, statements)| statements.iter())
        .filter(|statement| statement.heat == Heat::Hot)
}

#[test]
fn every_statement_can_be_prepared_against_the_schema() {
    let conn = fresh();
    for (module, statements) in MODULES {
        assert!(!statements.is_empty(), "{module} declares nothing");
        for statement in *statements {
            if let Err(error) = conn.prepare(statement.sql) {
                panic!("{module}::{}: {error}", statement.name);
            }
        }
    }
}

#[test]
fn no_hot_statement_reads_a_growing_table_from_end_to_end() {
    let conn = fresh();
    let found: Vec<String> = hot()
        .flat_map(|statement| {
            faults(&conn, statement.name, statement.sql)
                .into_iter()
                .map(|line| format!("{}: {line}", statement.name))
        })
        .collect();
    assert_eq!(found, [] as [String; 0]);
}

#[test]
fn every_exception_is_still_needed() {
    let conn = fresh();
    for (name, line, why) in EXCEPTIONS {
        let statement = hot().find(|statement| statement.name == *name);
        let sql = statement.unwrap_or_else(|| panic!("no hot {name}")).sql;
        let plan = conn
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap()
            .raw_query_all();
        assert!(
            plan.iter().any(|found| found == line),
            "{name} no longer needs its exception ({why}): {plan:?}"
        );
    }
}

#[test]
fn a_statement_that_scans_or_sorts_is_rejected() {
    let conn = fresh();
    let scanning = [
        "SELECT id FROM jobq_job WHERE attempt = ?1",
        "SELECT j.id FROM jobq_job j WHERE j.worker = ?1",
        "UPDATE jobq_job SET priority = ?1",
        "SELECT count(*) FROM jobq_log",
        "SELECT id FROM jobq_feed WHERE at < ?1",
        "SELECT id FROM jobq_job WHERE runner_id = ?1 AND state = 3 ORDER BY started_at",
        "SELECT name FROM jobq_runner WHERE pid = ?1",
        "DELETE FROM jobq_payload WHERE payload = ?1",
    ];
    for sql in scanning {
        assert_ne!(faults(&conn, "A_NEW_ONE", sql), [] as [String; 0], "{sql}");
    }
    let fine = [
        "SELECT id FROM jobq_job WHERE id = ?1",
        "SELECT name FROM jobq_kind",
        "SELECT n.value FROM jobq_number n ORDER BY n.value",
    ];
    for sql in fine {
        assert_eq!(faults(&conn, "A_NEW_ONE", sql), [] as [String; 0], "{sql}");
    }
}

/// An application may run ANALYZE on its own file, and ours is then planned with figures.
#[test]
fn the_plans_stay_good_once_the_file_was_analyzed() {
    let sandbox = Sandbox::new();
    sandbox.sql(
        "INSERT INTO jobq_queue (name) VALUES ('mail'), ('images');
         INSERT INTO jobq_kind (name) VALUES ('send'), ('resize');
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
         INSERT INTO jobq_job (queue_id, kind_id, state, priority, max_retries, backoff, retry_delay_ms,
             wait_reason, run_at, wait_fixed, claim, runner_id, started_at, created_at, updated_at, finished_at)
         SELECT 1 + i % 2, 1 + i % 2, CASE WHEN i % 100 = 0 THEN 3 WHEN i % 3 = 0 THEN 0 WHEN i % 3 = 1 THEN 2 ELSE 5 END,
             1, 3, 4, 5000, 1 + i % 3, i, 0, 0, 1 + i % 4, 1, i, i,
             CASE WHEN i % 100 <> 0 AND i % 3 = 2 THEN i END FROM n;
         INSERT INTO jobq_payload SELECT id, '1' FROM jobq_job;
         INSERT INTO jobq_outcome (job_id, result) SELECT id, '1' FROM jobq_job WHERE state = 5;
         INSERT INTO jobq_log (job_id, id, at, kind) SELECT id, id, 1, 3 FROM jobq_job;
         INSERT INTO jobq_attempt (job_id, attempt, outcome, ended_at, ended_event) SELECT id, 1, 6, 1, id FROM jobq_job;
         INSERT INTO jobq_feed (id, at, events) SELECT id, 1, '[]' FROM jobq_job;
         INSERT INTO jobq_runner (name, pid, host, workers, kinds, state, started_at, heartbeat_at, ended_at)
         SELECT 'r' || id, 1, 'h', 5, '[]', CASE WHEN id < 4 THEN 1 ELSE 3 END, 1, 1,
             CASE WHEN id >= 4 THEN 2 END FROM jobq_job WHERE id <= 200;
         INSERT INTO jobq_number (what, id, value) SELECT state, queue_id, count(*) FROM jobq_job GROUP BY 1, 2;
         ANALYZE;",
    );
    let found: Vec<String> = hot()
        .flat_map(|statement| {
            faults(&sandbox.conn, statement.name, statement.sql)
                .into_iter()
                .map(|line| format!("{}: {line}", statement.name))
        })
        .collect();
    assert_eq!(found, [] as [String; 0]);
}

#[test]
fn no_module_with_statements_is_forgotten() {
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let mut declaring = BTreeSet::new();
    let mut folders = vec![store.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            if source.lines().any(|line| line == "statements! {") {
                let module = path.strip_prefix(&store).unwrap().with_extension("");
                declaring.insert(module.to_str().unwrap().replace('/', "::"));
            }
        }
    }
    let listed: BTreeSet<String> = MODULES
        .iter()
        .map(|(name, _)| name.replace(' ', ""))
        .collect();
    assert_eq!(listed, declaring, "listed here on the left");
    assert!(declaring.len() > 10, "the sources were not found");
}

#[test]
fn no_two_statements_share_a_name() {
    let mut seen = BTreeSet::new();
    for (module, statements) in MODULES {
        for statement in *statements {
            assert!(
                seen.insert(statement.name),
                "{module}::{} is there twice",
                statement.name
            );
        }
    }
}
