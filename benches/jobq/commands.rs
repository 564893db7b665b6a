//! The `jobq` program as a shell sees it.

use std::fmt::Write as _;
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
