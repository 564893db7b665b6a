//! Jobs with long histories: they go in small transactions, and whole.

use jobq::rusqlite::Connection;

use super::support::Jobq;
use crate::support::{PATIENCE, wait_until};

/// Two jobs that have ended, of which the first has said so many lines.
fn ended(lines: usize) -> (Jobq, Connection) {
    let jobq = Jobq::new();
    for id in ["1", "2"] {
        jobq.enqueue(&["--kind", "k"]);
        jobq.run(&["cancel", id]).exits(0);
    }
    let conn = Connection::open(jobq.db()).unwrap();
    conn.busy_timeout(PATIENCE).unwrap();
    conn.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO jobq_log (id, at, kind, job_id, attempt, data) SELECT 1000 + i, 1700000000000, 21, 1, 1, 'line ' || i FROM n",
        [lines as i64],
    )
    .unwrap();
    (jobq, conn)
}

fn events(conn: &Connection) -> i64 {
    conn.query_row("SELECT count(*) FROM jobq_log", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn a_job_with_a_long_history_is_removed_whole() {
    let (jobq, conn) = ended(5000);
    assert_eq!(jobq.stdout(&["remove", "1"]), "job 1 removed\n");
    assert_eq!(events(&conn), 1, "the other keeps its own");
    jobq.run(&["remove", "1"]).fails(3, &["no job 1"]);
    assert_eq!((jobq.total(), jobq.state(2).as_str()), (1, "cancelled"));
    jobq.run(&["doctor"]).exits(0);
}

#[test]
fn a_prune_killed_within_a_history_is_finished_by_the_next() {
    let (jobq, conn) = ended(200_000);
    let before = events(&conn);
    let prune = jobq.spawn(&["prune", "--older-than", "0s"]);
    wait_until("the prune has begun", PATIENCE, || events(&conn) < before);
    prune.kill();
    let left = events(&conn);
    assert!(left > 1, "it was done before it was killed");
    assert_eq!((jobq.total(), jobq.state(1).as_str()), (2, "cancelled"));
    jobq.run(&["doctor"]).exits(0);
    jobq.run(&["prune", "--older-than", "0s"]).exits(0);
    assert_eq!((jobq.total(), events(&conn)), (0, 0));
    jobq.run(&["doctor"]).exits(0);
}
