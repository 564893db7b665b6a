//! The `jobq` program as a shell sees it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use jobq::Durability;
use jobq::bench::thousands;

use crate::Done;
use crate::plan::Plan;
use crate::report::{Goal, Line, Pair};

/// The program, away from the configuration of whoever measures.
fn jobq(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobq"));
    command
        .current_dir(folder)
        .env_remove("JOBQ_DURABILITY")
        .env("JOBQ_DB", folder.join("jobs.db"))
        .env("XDG_CONFIG_HOME", folder)
        .arg("--quiet");
    command
}

/// Runs it to its end; how many seconds that took.
fn seconds(command: &mut Command) -> Result<f64, Box<dyn std::error::Error>> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let began = Instant::now();
    let ended = command.status()?;
    let took = began.elapsed().as_secs_f64();
    if ended.success() {
        Ok(took)
    } else {
        Err(format!("{command:?} ended with {ended}").into())
    }
}

pub(crate) fn enqueue(plan: &Plan) -> Done {
    let scratch = plan.setup(Durability::Normal).scratch()?;
    let mut enqueue = jobq(scratch.path());
    enqueue.args(["--durability", "normal", "enqueue", "--", "true"]);
    // The first one makes the file.
    seconds(&mut enqueue)?;
    let mut ms = Pair::new("`true`");
    for _ in 0..plan.pick(200, 5) {
        let own = seconds(&mut enqueue)?;
        ms.push(own * 1e3, seconds(&mut Command::new("true"))? * 1e3);
    }
    Line::pair("jobq enqueue -- true", "ms", &ms)
        .goal(plan.goal(Goal::AtMost(5.0)))
        .print();
    Ok(())
}

pub(crate) fn drain(plan: &Plan) -> Done {
    let jobs = plan.pick(2000, 30);
    let mut batch = String::new();
    for _ in 0..jobs {
        writeln!(batch, r#"{{"command":["true"]}}"#)?;
    }
    let xargs = format!("seq {jobs} | xargs -P5 -n1 true");
    let mut pair = Pair::new("xargs -P5");
    for _ in 0..plan.pick(5, 1) {
        let scratch = plan.setup(Durability::Full).scratch()?;
        let file = scratch.path().join("batch.jsonl");
        std::fs::write(&file, &batch)?;
        let own = seconds(
            jobq(scratch.path())
                .args(["run", "--drain", "-f"])
                .arg(file),
        )?;
        pair.push(own, seconds(Command::new("sh").args(["-c", &xargs]))?);
    }
    Line::pair(format!("{} commands", thousands(jobs as f64)), "s", &pair)
        .goal_of_ratio(pair.ratio(), plan.goal(Goal::AtMost(1.5)))
        .print();
    Ok(())
}

/// Serves both ways: with what `jobq` says it stays, and else has one payload on its stdin.
const HANDLER: &str = r#"
import json, os, sys

def double(payload):
    return {"double": 2 * payload["n"]}

if os.environ.get("JOBQ_PERSISTENT"):
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps({"jobq": "done", "job": job["job"], "result": double(job["payload"])}), flush=True)
else:
    double(json.load(sys.stdin))
"#;

pub(crate) fn persistent(plan: &Plan) -> Done {
    if seconds(Command::new("python3").args(["-c", ""])).is_err() {
        println!("skipped: there is no python3");
        return Ok(());
    }
    let rate = |jobs: usize, settings: &str| {
        let scratch = plan.setup(Durability::Full).scratch()?;
        let config = "command = [\"python3\", \"handler.py\"]";
        let config = format!("[kinds.double]\n{config}\n{settings}\n");
        fs::write(scratch.path().join("jobq.toml"), config)?;
        fs::write(scratch.path().join("handler.py"), HANDLER)?;
        let file = scratch.path().join("batch.jsonl");
        let lines =
            (0..jobs).map(|n| format!("{{\"kind\":\"double\",\"payload\":{{\"n\":{n}}}}}\n"));
        fs::write(&file, lines.collect::<String>())?;
        let mut run = jobq(scratch.path());
        let took = seconds(run.args(["run", "--drain", "-f"]).arg(file))?;
        Ok::<f64, Box<dyn std::error::Error>>(jobs as f64 / took)
    };
    let mut pair = Pair::new("one process a job");
    for _ in 0..plan.pick(5, 1) {
        let stays = rate(plan.pick(20_000, 50), "persistent = true")?;
        pair.push(stays, rate(plan.pick(300, 10), "")?);
    }
    Line::pair("a handler that stays", "jobs/s", &pair)
        .goal_of_ratio(pair.ratio(), plan.goal(Goal::AtLeast(20.0)))
        .print();
    Ok(())
}
