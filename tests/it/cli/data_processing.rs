//! The kind `data_processing`, as `jobq run` runs it.

use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::mounts::in_namespace;
use super::support::{Jobq, text};
use crate::support::names;

const ROWS: u32 = 60_000;

/// A queue whose work folder has an input and a folder for results.
fn desk() -> Jobq {
    let jobq = Jobq::new();
    let rows: String = (0..ROWS).map(|number| format!("{number},x\n")).collect();
    jobq.write("in.csv", format!("n,m\n{rows}"));
    fs::create_dir(jobq.path("out")).unwrap();
    jobq
}

fn enqueue(jobq: &Jobq, output: &str, options: &[&str]) -> i64 {
    let payload = json!({
        "inputs": [{ "path": "in.csv" }], "sql": "SELECT * FROM \"in\" ORDER BY n", "output": { "path": output },
    });
    let payload = payload.to_string();
    let words = ["--kind", "data_processing", "--payload", &payload];
    jobq.enqueue(&[&words, options].concat())
}

/// How many rows a file has.
fn rows(jobq: &Jobq, name: &str) -> u32 {
    let path = jobq.path(&format!("out/{name}"));
    if name.ends_with(".db") {
        let conn = jobq::rusqlite::Connection::open(&path).unwrap();
        return conn
            .query_row("SELECT count(*) FROM rows", [], |row| row.get(0))
            .unwrap();
    }
    let text = fs::read_to_string(path).unwrap();
    match name.ends_with(".json") {
        true => serde_json::from_str::<Vec<Value>>(&text).unwrap().len() as u32,
        false => text.lines().skip(1).count() as u32,
    }
}

#[test]
fn a_runner_that_is_killed_leaves_no_half_rows() {
    for _ in 0..3 {
        let jobq = desk();
        let outputs = ["a.csv", "b.json", "c.db"];
        let jobs = outputs.map(|name| enqueue(&jobq, &format!("out/{name}"), &[]));
        // Twice: a job that is there the third time a runner dies counts as its reason.
        for _ in 0..2 {
            let runner = jobq.runner(&[]);
            thread::sleep(Duration::from_millis(fastrand::u64(0..1200)));
            runner.kill();
            let complete = names(&jobq.path("out"))
                .into_iter()
                .filter(|name| !name.starts_with('.'));
            complete.for_each(|name| assert_eq!(rows(&jobq, &name), ROWS, "{name}"));
        }
        jobq.drain(&[]).exits(0);
        assert!(jobs.iter().all(|id| jobq.state(*id) == "completed"));
        assert_eq!(names(&jobq.path("out")), outputs);
        assert!(outputs.iter().all(|name| rows(&jobq, name) == ROWS));
    }
}

#[test]
fn a_full_disk_is_tried_later_and_no_rows_are_left() {
    let jobq = desk();
    let ids = ["out/a.csv", "out/b.db"].map(|output| enqueue(&jobq, output, &[]));
    if in_namespace(
        &jobq,
        "mount -t tmpfs -o size=128k none out
         jobq run & runner=$!
         until test \"$(jobq list --state scheduled | wc -l)\" = 2; do sleep 0.05; done
         kill $runner; wait $runner
         test -z \"$(ls -A out)\"",
    ) {
        for id in ids {
            let job = jobq.job(id);
            let error = text(&job["error"]);
            assert!(
                error.contains("full") || error.contains("No space"),
                "{job}"
            );
        }
    }
}
