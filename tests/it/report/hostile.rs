//! Queries that want more than to read, never end, or take too much.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use jobq::handlers::report::ReportJob;
use jobq::{Job, NewJob, State, Until};
use serde_json::{Value, json};

use super::{Office, query};
use crate::support::{PATIENCE, wait_for, wait_until};

const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

#[test]
fn a_query_only_reads_its_database() {
    let office = Office::new();
    let before = fs::read(office.path("app.db")).unwrap();
    let attach = format!("ATTACH '{}' AS o", office.scene.database().display());
    let vacuum = format!("VACUUM INTO '{}'", office.path("stolen.db").display());
    for sql in [
        &*attach,
        &vacuum,
        "VACUUM",
        "DETACH main",
        "PRAGMA query_only = 0",
        "PRAGMA journal_mode = WAL",
        "PRAGMA writable_schema = 1",
        "SELECT * FROM pragma_database_list",
        "SELECT load_extension('x')",
        "SELECT writefile('x', 'y')",
        "SELECT readfile('/etc/passwd')",
        "DELETE FROM orders",
        "DELETE FROM orders RETURNING id",
        "UPDATE orders SET price = 0 RETURNING id",
        "INSERT INTO orders (who) VALUES ('x')",
        "CREATE TABLE t (x)",
        "CREATE TEMP TABLE t AS SELECT * FROM orders",
        "DROP TABLE orders",
        "ALTER TABLE orders RENAME TO o",
        "REINDEX",
        "ANALYZE",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT s",
        "SELECT 1; DELETE FROM orders",
        "EXPLAIN SELECT 1; DELETE FROM orders",
        "",
        "-- nothing",
        "SELECT nothing FROM orders",
        "SELECT id FROM orders WHERE id = :id",
        "SELECT id FROM orders WHERE id = ?",
    ] {
        let error = office.error(&query(sql, "out.csv"));
        assert!(error.starts_with("query 'report': "), "{sql}: {error}");
    }
    assert_eq!(office.files(""), ["app.db"]);
    assert!(fs::read(office.path("app.db")).unwrap() == before);
    let unknown = json!({ "queries": [{ "sql": "SELECT 1", "params": { "x": 1 } }] });
    assert!(office.error(&unknown).contains("no parameter :x"));
}

#[test]
fn a_query_without_an_end_is_interrupted() {
    let office = Office::new();
    let sorted = format!("{} ORDER BY 1 DESC", ENDLESS.replace("count(*)", "i"));
    for (sql, output) in [
        (ENDLESS, "a.csv"),
        (&*sorted, "a.json"),
        (&ENDLESS.replace("count(*)", "i"), "a.csv"),
    ] {
        for is_timeout in [true, false] {
            let payload = json!({
                "queries": [{ "sql": sql }], "output": output, "max_rows": 1_000_000_000_u64,
            });
            let queue = office.scene.open();
            let mut job = NewJob::new(ReportJob::KIND)
                .payload(&payload)
                .max_retries(0);
            if is_timeout {
                job = job.timeout(Duration::from_millis(200));
            }
            let id = queue.enqueue(job).unwrap().id;
            let runner = office.runner(&queue).start().unwrap();
            let state = || queue.get(id).unwrap().unwrap().state;
            wait_until("it runs", PATIENCE, || state() != State::Pending);
            let began = Instant::now();
            if !is_timeout {
                queue.cancel(id).unwrap();
            }
            let job = wait_for("its end", PATIENCE, || {
                queue.get(id).unwrap().filter(|job| job.state.is_final())
            });
            let took = began.elapsed();
            runner.stop().unwrap();
            assert!(took < Duration::from_millis(1200), "{sql}: {took:?}");
            let expected = if is_timeout {
                State::Failed
            } else {
                State::Cancelled
            };
            assert_eq!(job.state, expected, "{sql}");
            assert_eq!(office.files(""), ["app.db"]);
        }
    }
}

#[test]
fn a_locked_database_is_waited_for_no_longer_than_it_may() {
    let office = Office::new();
    let conn = office.connect();
    conn.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let queue = office.scene.open();
    let enqueue = |timeout| {
        let job = NewJob::new(ReportJob::KIND)
            .payload(&query("SELECT count(*) AS n FROM orders", "n.csv"))
            .max_retries(0)
            .timeout(timeout);
        queue.enqueue(job).unwrap().id
    };
    let id = enqueue(Duration::from_millis(300));
    let began = Instant::now();
    let runner = office.runner(&queue).until(Until::Drained).start().unwrap();
    runner.wait().unwrap();
    let error = queue.get(id).unwrap().unwrap().error.unwrap();
    assert!(error.starts_with("timed out after"), "{error}");
    assert!(began.elapsed() < Duration::from_millis(1300));
    let id = enqueue(PATIENCE);
    let runner = office.runner(&queue).until(Until::Drained).start().unwrap();
    let state = || queue.get(id).unwrap().unwrap().state;
    wait_until("it waits", PATIENCE, || state() == State::Running);
    conn.execute_batch("COMMIT").unwrap();
    runner.wait().unwrap();
    assert_eq!(state(), State::Completed);
    assert_eq!(fs::read_to_string(office.path("n.csv")).unwrap(), "n\n3\n");
}

#[test]
fn too_many_rows_are_an_error_and_not_a_part() {
    let office = Office::new();
    let payload = |max_rows: u64, end: &str| json!({ "queries": [{ "sql": "SELECT id FROM orders" }], "max_rows": max_rows, "output": format!("a.{end}") });
    for end in ["csv", "jsonl", "json", "html", "txt"] {
        let error = office.error(&payload(2, end));
        assert!(
            error.contains("more than 2 rows; give it a LIMIT"),
            "{error}"
        );
        assert_eq!(office.files(""), ["app.db"]);
        assert_eq!(office.done(&payload(3, end)).rows["report"], 3);
        fs::remove_file(office.path(&format!("a.{end}"))).unwrap();
    }
    let wide = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
                SELECT printf('%.*c', 1000000, 'x') AS x FROM n";
    let error = office.error(&query(wide, "a.html"));
    assert!(error.contains("64 MiB"), "{error}");
    assert_eq!(
        office.done(&query(wide, "a.csv")).bytes,
        200 * 1_000_001 + 2
    );
}

#[test]
fn all_queries_see_the_same_state() {
    let office = Office::new();
    office.fill("PRAGMA journal_mode = WAL; CREATE TABLE pairs (side)");
    let path = office.path("app.db");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let writer = std::thread::spawn(move || {
        let conn = jobq::rusqlite::Connection::open(path).unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        let mut pairs = 0;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            conn.execute_batch("INSERT INTO pairs VALUES ('left'), ('right')")
                .unwrap();
            pairs += 1;
        }
        pairs
    });
    let slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT max(i) FROM n";
    let count = "SELECT count(*) AS n FROM pairs WHERE side = :side";
    let payload = json!({ "format": "json", "output": "a.json", "queries": [
        { "title": "left", "sql": count, "params": { "side": "left" } },
        { "title": "slow", "sql": slow },
        { "title": "right", "sql": count, "params": { "side": "right" } },
    ] });
    let mut counts = Vec::new();
    for _ in 0..5 {
        let json: Value = serde_json::from_str(&office.text(&payload)).unwrap();
        assert_eq!(json["left"], json["right"]);
        counts.push(json["left"][0]["n"].as_u64().unwrap());
    }
    stop.send(()).unwrap();
    assert!(writer.join().unwrap() > 5);
    assert!(
        counts[4] > counts[0],
        "nothing was written meanwhile: {counts:?}"
    );
}

#[test]
fn a_report_is_about_the_queue_itself_if_nothing_else_is_said() {
    let mut office = Office::new();
    office.settings = json!({});
    let queue = office.scene.open();
    let sql = "SELECT kind, state, count(*) AS jobs FROM jobq_jobs GROUP BY kind, state";
    let views = [
        "jobq_history",
        "jobq_queues",
        "jobq_runners",
        "jobq_schedules",
    ];
    let mut queries = vec![json!({ "title": "jobs", "sql": sql })];
    queries
        .extend(views.map(|view| json!({ "title": view, "sql": format!("SELECT * FROM {view}") })));
    let id = office.enqueue(&queue, &json!({ "format": "json", "queries": queries }));
    office.runner(&queue).run_due().unwrap();
    let job = queue.get(id).unwrap().unwrap();
    assert_eq!(job.state, State::Completed, "{job:?}");
    let path = super::names(&office.scene.file("reports"));
    assert_eq!(path.len(), 1);
    let text = fs::read_to_string(office.scene.file("reports").join(&path[0])).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let expected = json!([{ "kind": "report", "state": "running", "jobs": 1 }]);
    assert_eq!(json["jobs"], expected);
}

/// Whether the system knows of locks of this process on a file.
fn has_locks(path: &Path) -> bool {
    let inode = fs::metadata(path).unwrap().ino();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let own = format!(" {} ", std::process::id());
    let file = format!(":{inode} ");
    locks
        .lines()
        .any(|lock| lock.contains(&own) && lock.contains(&file))
}

#[test]
fn a_report_on_the_queue_leaves_its_locks_alone() {
    let mut office = Office::new();
    office.settings = json!({ "to": "out" });
    let queue = office.scene.open();
    let slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
                SELECT max(i), (SELECT count(*) FROM jobq_jobs) FROM n";
    let id = office.enqueue(&queue, &json!({ "queries": [{ "sql": slow }] }));
    let runner = office.runner(&queue).start().unwrap();
    let state = || queue.get(id).unwrap().unwrap().state;
    wait_until("it runs", PATIENCE, || state() == State::Running);
    // SQLite's locks on a file go with the first descriptor of it that somebody else closes in the process.
    queue
        .transaction(|_| {
            assert_eq!(office.files("out"), [""; 0], "it was too fast");
            wait_until("the file", PATIENCE, || !office.files("out").is_empty());
            assert!(!office.scene.write_lock_is_free());
            assert!(has_locks(&office.scene.database()));
            Ok::<(), jobq::Error>(())
        })
        .unwrap();
    wait_until("its end", PATIENCE, || state() == State::Completed);
    runner.stop().unwrap();
}
