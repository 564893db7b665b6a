//! Files of schema 1, the spine's, become files of the schema of today and lose nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::model::event::{EventFilter, EventId, EventKind};
use crate::model::id::JobId;
use crate::model::job::NewJob;
use crate::model::outcome::Outcome;
use crate::model::queue::QueueSelector;
use crate::model::remedy::Severity;
use crate::model::runner_options::Retention;
use crate::model::state::State;
use crate::queue::Queue;
use crate::runner::context::Context;
use crate::runner::handler::Handler;
use crate::store::sqlite::schema::VERSION;

const SCHEMA_1: &str = include_str!("../../../tests/data/schema_1.sql");
const ROWS: &str = include_str!("../../../tests/data/spine_rows.sql");
const VERSION_ALONE: &str =
    "INSERT INTO jobq_meta VALUES ('schema_version', 1), ('created_by', 'jobq')";

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    (folder, path)
}

/// A file as the spine made it.
fn spine(path: &Path, rows: &str) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")
        .unwrap();
    conn.pragma_update(None, "journal_mode", "WAL").unwrap();
    conn.execute_batch(&format!("BEGIN; {SCHEMA_1}; {rows}; COMMIT"))
        .unwrap();
    conn
}

fn rows(conn: &Connection, sql: &str) -> Vec<Vec<String>> {
    let mut statement = conn.prepare(sql).unwrap();
    let width = statement.column_count();
    let rows = statement.query_map([], |row| {
        (0..width)
            .map(|at| Ok(format!("{:?}", row.get_ref(at)?)))
            .collect()
    });
    rows.unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

fn strings(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

/// SQL without its comments, in words.
fn bare(sql: &str) -> String {
    let lines = sql
        .lines()
        .map(|line| line.split_once("--").map_or(line, |(code, _)| code));
    let spaced: String = lines
        .flat_map(|line| line.chars().chain([' ']))
        .flat_map(|c| match c {
            '(' | ')' | ',' => vec![' ', c, ' '],
            _ => vec![c],
        })
        .collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a file's schema is, by name: its SQL, and what SQLite has understood of it.
fn schema(conn: &Connection) -> BTreeMap<String, Vec<Vec<String>>> {
    let mut found = BTreeMap::new();
    let mut statement = conn
        .prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema")
        .unwrap();
    let mut entries = statement.query([]).unwrap();
    while let Some(entry) = entries.next().unwrap() {
        let text = |at| entry.get::<_, String>(at).unwrap();
        let (kind, name) = (text(0), text(1));
        let sql = entry.get::<_, Option<String>>(3).unwrap();
        let sql = sql.map(|sql| bare(&sql)).unwrap_or_default();
        let mut facts = vec![vec![kind, text(2), sql]];
        for pragma in [
            "table_xinfo",
            "foreign_key_list",
            "index_list",
            "index_xinfo",
        ] {
            // The order of a table's indexes is that of their making.
            let sql = format!("SELECT * FROM pragma_{pragma}('{name}')");
            let mut told = rows(conn, &sql);
            if pragma == "index_list" {
                told.iter_mut().for_each(|row| drop(row.remove(0)));
                told.sort();
            }
            facts.extend(told);
        }
        facts.extend(rows(
            conn,
            &format!("SELECT ncol, wr, strict FROM pragma_table_list('{name}')"),
        ));
        found.insert(name, facts);
    }
    found
}

#[test]
fn an_upgraded_file_has_the_schema_of_a_fresh_one() {
    let (_folder, old) = folder();
    let conn = spine(&old, VERSION_ALONE);
    assert!(schema(&conn).len() > 15);
    drop(Queue::open(&old).unwrap());
    let upgraded = schema(&conn);
    let (_folder, new) = folder();
    drop(Queue::open(&new).unwrap());
    let fresh = schema(&Connection::open(&new).unwrap());
    assert!(fresh.len() > 30, "{}", fresh.len());
    for (name, facts) in &fresh {
        assert_eq!(
            upgraded.get(name),
            Some(facts),
            "{name}: upgraded on the left"
        );
    }
    assert_eq!(upgraded.len(), fresh.len());
    assert_eq!(version(&conn), VERSION);
}

#[test]
fn a_file_of_schema_2_to_8_becomes_current_and_gets_an_id() {
    assert_becomes_current(2, include_str!("../../../tests/data/schema_2.sql"));
    let id = "INSERT INTO jobq_meta (key, value) VALUES ('file_id', lower(hex(randomblob(16))))";
    macro_rules! schemas {
        ($($number:literal)*) => {
            [$(($number, include_str!(concat!("../../../tests/data/schema_", $number, ".sql")))),*]
        };
    }
    for (number, schema_then) in schemas!(3 4 5 6 7 8) {
        assert_becomes_current(number, &format!("{schema_then}; {id}"));
    }
}

/// The tables that schema 6 made anew.
#[test]
fn a_schema_5_file_keeps_its_slots_its_history_and_its_last_ids() {
    let (_folder, path) = folder();
    let conn = Connection::open(&path).unwrap();
    conn.pragma_update(None, "journal_mode", "WAL").unwrap();
    let schema_5 = include_str!("../../../tests/data/schema_5.sql");
    conn.execute_batch(&format!(
        "BEGIN; {schema_5};
         INSERT INTO jobq_meta VALUES ('schema_version', 5), ('created_by', 'jobq'), ('file_id', '{0:032}');
         INSERT INTO jobq_commit VALUES (64, 0, 'jobq file {0:032}');
         INSERT INTO jobq_queue (name) VALUES ('mail'); INSERT INTO jobq_kind (name) VALUES ('send');
         INSERT INTO jobq_job (id, queue_id, kind_id, state, priority, attempt, max_retries, backoff, retry_delay_ms,
             created_at, updated_at, started_at, finished_at, links, key)
         VALUES (7, 1, 1, 2, 1, 1, 3, 4, 5000, 100, 400, 200, NULL, 8, 'k'),
             (8, 1, 1, 1, 1, 0, 3, 4, 5000, 100, 100, NULL, NULL, 8, 'k'),
             (9, 1, 1, 5, 1, 1, 3, 4, 5000, 100, 300, 200, 300, 0, NULL);
         INSERT INTO jobq_payload SELECT id, '1' FROM jobq_job;
         INSERT INTO jobq_count SELECT queue_id, state, count(*) FROM jobq_job GROUP BY 1, 2;
         INSERT INTO jobq_key VALUES ('wide', 7);
         INSERT INTO jobq_place VALUES ('k', 1, 2, 7), ('k', 0, 2, 8);
         INSERT INTO jobq_event (id, at, kind, job_id, attempt, runner_id, worker, took_us, data)
         VALUES (3, 100, 1, 7, NULL, NULL, NULL, NULL, NULL), (4, 200, 2, 7, 1, 5, NULL, NULL, NULL),
             (5, 250, 21, 7, 1, NULL, NULL, NULL, 'a line'),
             (6, 300, 6, 7, 1, 5, 2, 90000, '{{\"error\":\"no\",\"exit_code\":3,\"run_at_ms\":400}}');
         UPDATE sqlite_sequence SET seq = 40 WHERE name = 'jobq_event';
         UPDATE sqlite_sequence SET seq = 20 WHERE name = 'jobq_job'; COMMIT",
        0
    ))
    .unwrap();
    let queue = Queue::open(&path).unwrap();
    let attempt = queue.attempts(JobId(7)).unwrap().remove(0);
    assert_eq!(attempt.outcome, Some(EventKind::Retry));
    assert_eq!(attempt.end.error.as_deref(), Some("no"));
    assert_eq!(
        (attempt.end.exit_code, attempt.end.run_at_ms),
        (Some(3), Some(400))
    );
    assert_eq!(attempt.took, Some(Duration::from_millis(90)));
    for job in [None, Some(JobId(7))] {
        let filter = EventFilter {
            job,
            kinds: EventKind::ALL.to_vec(),
            ..EventFilter::default()
        };
        let events = queue.events(&filter).unwrap().events;
        let ids: Vec<i64> = events.iter().map(|event| event.id.0).collect();
        assert_eq!(ids, [3, 4, 5, 6]);
        let line = events[2].data.as_ref().unwrap();
        assert_eq!(line.as_bytes(), b"a line");
    }
    assert_sound(&queue);
    assert_eq!(queue.last_event().unwrap(), EventId(40));
    assert_eq!(queue.enqueue(NewJob::new("send")).unwrap().id, JobId(21));
    assert_eq!(queue.cancel(JobId(7)).unwrap(), crate::Cancelled::Now);
    assert_eq!(queue.get(JobId(8)).unwrap().unwrap().state, State::Pending);
}

fn assert_becomes_current(number: i64, schema_then: &str) {
    let (_folder, old) = folder();
    let conn = Connection::open(&old).unwrap();
    conn.pragma_update(None, "journal_mode", "WAL").unwrap();
    let version_then = VERSION_ALONE.replace("1)", &format!("{number})"));
    conn.execute_batch(&format!("BEGIN; {schema_then}; {version_then}; COMMIT"))
        .unwrap();
    drop(Queue::open(&old).unwrap());
    let (_folder, new) = folder();
    drop(Queue::open(&new).unwrap());
    let new = Connection::open(&new).unwrap();
    assert_eq!(schema(&conn), schema(&new));
    assert_eq!(version(&conn), VERSION);
    let (id, other) = (file_id(&conn), file_id(&new));
    assert!(id.len() == 32 && id != other, "{id} {other}");
}

fn file_id(conn: &Connection) -> String {
    let sql = "SELECT value FROM jobq_meta WHERE key = 'file_id'";
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_difference_between_schemas_is_noticed() {
    let found = |change: &str| {
        let (_folder, path) = folder();
        drop(Queue::open(&path).unwrap());
        let conn = Connection::open(&path).unwrap();
        let before = schema(&conn);
        conn.execute_batch(change).unwrap();
        before != schema(&conn)
    };
    assert!(!found("CREATE TABLE t (a); DROP TABLE t"));
    for change in [
        "ALTER TABLE jobq_job ADD COLUMN more TEXT",
        "DROP INDEX jobq_tag_of",
        "DROP INDEX jobq_tag_of; CREATE INDEX jobq_tag_of ON jobq_tag (job_id DESC)",
        "DROP VIEW jobq_queues; CREATE VIEW jobq_queues AS SELECT 1",
    ] {
        assert!(found(change), "{change}");
    }
}

fn version(conn: &Connection) -> i64 {
    let sql = "SELECT value FROM jobq_meta WHERE key = 'schema_version'";
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Every row of every table of schema 1, by the columns that it had then.
fn contents(conn: &Connection, of: &Connection) -> BTreeMap<String, Vec<Vec<String>>> {
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'jobq_%'";
    let of_table = |table: String| {
        let columns = format!("SELECT name FROM pragma_table_info('{table}')");
        let columns = strings(of, &columns).join(", ");
        // The version is meant to change, and the file gets an id.
        let there = format!("SELECT name FROM sqlite_schema WHERE name = '{table}'");
        let from = match strings(conn, &there).as_slice() {
            [] => now(&table),
            _ => &table,
        };
        let mut found = rows(conn, &format!("SELECT {columns} FROM {from}"));
        let meta = [
            format!("{:?}", b"schema_version"),
            format!("{:?}", b"file_id"),
        ];
        found.retain(|row| !meta.iter().any(|key| row[0].contains(key)));
        // So does the row of the commits that names the file, and a count of nothing needs no row.
        found.retain(|row| table != "jobq_commit" || row[0] != "Integer(64)");
        found.retain(|row| table != "jobq_count" || row[2] != "Integer(0)");
        found.sort();
        (table, found)
    };
    strings(of, tables).into_iter().map(of_table).collect()
}

/// Where the rows are now of a table that is gone.
fn now(table: &str) -> &'static str {
    match table {
        "jobq_count" => {
            "(SELECT id AS queue_id, what AS state, value AS jobs FROM jobq_number WHERE what >= 0)"
        }
        "jobq_commit" => {
            "(SELECT id AS slot, value AS token FROM jobq_number WHERE what = -1 AND id < 64)"
        }
        "jobq_event" => {
            "(SELECT enqueued_event AS id, created_at AS at, 1 AS kind, id AS job_id, NULL AS attempt,
                NULL AS runner_id, NULL AS worker, NULL AS took_us, NULL AS data FROM jobq_job
            UNION ALL SELECT started_event, started_at, 2, id, attempt, runner_id, NULL, NULL, NULL
                FROM jobq_job WHERE state = 3
            UNION ALL SELECT started_event, started_at, 2, job_id, attempt, runner_id, NULL, NULL, NULL
                FROM jobq_attempt WHERE started_event IS NOT NULL
            UNION ALL SELECT ended_event, ended_at, outcome, job_id, attempt, runner_id, worker, took_us,
                nullif(json_patch('{}', json_object('error', error, 'cpu_ms', cpu_ms)), '{}') FROM jobq_attempt
            UNION ALL SELECT id, at, kind, nullif(job_id, 0), attempt, runner_id, worker, took_us, data
                FROM jobq_log)"
        }
        other => panic!("{other} is gone"),
    }
}

struct Done;

impl Handler for Done {
    fn run(&self, _: &Context) -> Outcome {
        Outcome::Done(None)
    }
}

#[test]
fn a_file_of_the_spine_keeps_every_row_and_all_its_jobs_run() {
    let (_folder, path) = folder();
    let conn = spine(&path, ROWS);
    let (_other, reference) = folder();
    let reference = spine(&reference, ROWS);
    let before = contents(&conn, &reference);
    assert_eq!(before["jobq_job"].len(), 12);
    assert!(before.values().all(|rows| !rows.is_empty()), "{before:?}");
    let queue = Queue::open(&path).unwrap();
    assert_eq!(contents(&conn, &reference), before);
    assert_eq!(version(&conn), VERSION);
    assert_sound(&queue);

    // The killed runner's lock is free.
    let locks = path.with_file_name("jobs.db-runners");
    std::fs::create_dir_all(&locks).unwrap();
    std::fs::write(locks.join(format!("{:032}.lock", 2)), "").unwrap();
    queue.resume(QueueSelector::All).unwrap();
    queue
        .resume(QueueSelector::Named("sleepy".to_owned()))
        .unwrap();
    let runner = queue
        .runner()
        .kind("send", Done)
        .kind("resize", Done)
        .retention(Retention {
            completed: None,
            failed: None,
            ..Retention::default()
        })
        .start()
        .unwrap();
    let all: Vec<JobId> = (1..=12).map(JobId).collect();
    let ended = queue.wait(&all, Some(Duration::from_secs(30))).unwrap();
    runner.stop().unwrap();
    let states: Vec<State> = ended.iter().map(|job| job.state).collect();
    let mut expected = [State::Completed; 12];
    expected[10] = State::Failed;
    expected[11] = State::Cancelled;
    assert_eq!(states, expected);
    assert_eq!(ended[7].crashes, 1, "its runner was lost");
    assert_eq!(ended[8].crashes, 0, "it had not begun");
    let payloads = ended.iter().map(|job| job.payload.get().to_owned());
    let expected = (1..=12).map(|id| format!("{{\"number\": {id}, \"text\": \"ünï\"}}"));
    assert!(payloads.eq(expected));
    assert_sound(&queue);
    let next = queue
        .enqueue(NewJob::new("send").after([JobId(10)]))
        .unwrap();
    assert_eq!((next.id, next.state), (JobId(13), State::Pending));
}

#[track_caller]
fn assert_sound(queue: &Queue) {
    let mut findings = queue.check().unwrap();
    // It has runners, and never had their lock files.
    findings.retain(|found| found.check != "locks");
    assert!(
        findings.iter().all(|found| found.severity == Severity::Ok),
        "{findings:?}"
    );
}

/// Jobs of schema 1 inside an application's file, which has tables, modes and a version of its own.
fn application(path: &Path, journal: &str) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.pragma_update(None, "auto_vacuum", "FULL").unwrap();
    conn.pragma_update(None, "journal_mode", journal).unwrap();
    conn.execute_batch(&format!(
        "BEGIN;
         CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT, job INTEGER REFERENCES jobq_job (id));
         CREATE INDEX orders_of ON orders (what);
         CREATE VIEW open_orders AS SELECT o.what, j.state FROM orders o JOIN jobq_jobs j ON j.id = o.job;
         {SCHEMA_1}; {ROWS};
         CREATE TRIGGER ordered AFTER UPDATE ON orders BEGIN DELETE FROM orders WHERE what = 'gone'; END;
         UPDATE jobq_meta SET value = 'application' WHERE key = 'created_by';
         INSERT INTO orders VALUES (1, 'soap', 1), (2, 'bread', 10);
         COMMIT; PRAGMA user_version = 42; PRAGMA application_id = 7;"
    ))
    .unwrap();
    conn
}

/// What of a file is not jobq's.
fn foreign(conn: &Connection) -> Vec<Vec<String>> {
    let mut found = rows(
        conn,
        "SELECT type, name, tbl_name, sql FROM sqlite_schema
         WHERE name NOT LIKE 'jobq_%' AND tbl_name NOT LIKE 'jobq_%' AND name NOT LIKE 'sqlite_sequence' ORDER BY name",
    );
    found.extend(rows(conn, "SELECT * FROM orders"));
    found.extend(rows(conn, "SELECT * FROM open_orders"));
    for pragma in [
        "user_version",
        "application_id",
        "auto_vacuum",
        "journal_mode",
        "page_size",
        "encoding",
    ] {
        found.extend(rows(conn, &format!("PRAGMA {pragma}")));
    }
    found
}

#[test]
fn an_apps_own_file_is_upgraded_and_only_jobqs_part_of_it() {
    let (_folder, path) = folder();
    let conn = application(&path, "WAL");
    let before = foreign(&conn);
    assert!(before.len() > 10, "{before:?}");
    let (_other, reference) = folder();
    let reference = spine(&reference, ROWS);
    let jobs = contents(&conn, &reference);
    let queue = Queue::open(&path).unwrap();
    assert_eq!(foreign(&conn), before);
    assert_eq!(contents(&conn, &reference), jobs);
    assert_eq!(version(&conn), VERSION);
    assert_sound(&queue);
}

#[test]
fn an_apps_file_with_an_orphaned_log_is_refused_unupgraded() {
    let (_folder, path) = folder();
    drop(application(&path, "DELETE"));
    let before = std::fs::read(&path).unwrap();
    let error = Queue::open(&path).err().expect("it was opened");
    assert!(
        error.hint().unwrap().contains("journal_mode = WAL"),
        "{error:?}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_spine_file_without_a_wal_is_upgraded_and_regains_its_wal() {
    let (_folder, path) = folder();
    let conn = spine(&path, ROWS);
    conn.pragma_update(None, "journal_mode", "DELETE").unwrap();
    drop(conn);
    assert_sound(&Queue::open(&path).unwrap());
    let conn = Connection::open(&path).unwrap();
    let mode: String = conn
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn of_many_that_upgrade_one_file_at_once_all_get_it() {
    for _ in 0..4 {
        let (_folder, path) = folder();
        drop(spine(&path, ROWS));
        let barrier = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    let queue = Queue::open(&path).unwrap();
                    queue.enqueue(NewJob::new("send").key("k")).unwrap();
                });
            }
        });
        let queue = Queue::open(&path).unwrap();
        assert_eq!(queue.counts().unwrap().total(), 12 + 8);
        assert_sound(&queue);
    }
}

/// A reader of the old schema that looks on while the file is upgraded sees the old or the new.
#[test]
fn who_reads_during_the_upgrade_sees_the_old_file_whole() {
    let (_folder, path) = folder();
    let conn = spine(&path, ROWS);
    conn.execute_batch("BEGIN").unwrap();
    let before = schema(&conn);
    drop(Queue::open(&path).unwrap());
    assert_eq!((version(&conn), schema(&conn) == before), (1, true));
    conn.execute_batch("COMMIT").unwrap();
    assert_eq!((version(&conn), schema(&conn) == before), (VERSION, false));
}
