//! Parents and children: a census of source files, a folder a parent and a file a child.
//!
//! One worker runs all of it: a parent that waits for its children holds none, so they never starve
//! for want of it. A parent's progress is the mean of its children's; its last step adds up what they
//! found. The process of the worker is ended by SIGKILL half-way: the next one goes on with the files that are left,
//! and no parent waits for ever. A child that fails takes its parent along, with the cause, and a kind that nobody has
//! a handler for fails its job and not the worker.
//!
//! `cargo run --example family -- [folder]`

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use jobq::{
    ChildPolicy, Context, Failure, GROUP_KIND, Job, JobId, JobRecord, NewJob, Phase, Queue,
    UnknownKinds,
};
use serde::{Deserialize, Serialize};

type Anything<T = ()> = Result<T, Box<dyn std::error::Error>>;

#[derive(Serialize, Deserialize)]
struct CountFolder {
    folder: PathBuf,
}

impl Job for CountFolder {
    const KIND: &'static str = "count-folder";
    type Output = u64; // lines, in all folders below as well
}

#[derive(Serialize, Deserialize)]
struct CountFile {
    file: PathBuf,
}

impl Job for CountFile {
    const KIND: &'static str = "count-file";
    type Output = u64; // lines

    fn options(&self, job: NewJob) -> NewJob {
        job.max_retries(0)
    }
}

/// Its run phase enqueues a child for each file and each folder; its finalize phase sums up what they found.
fn count_folder(job: CountFolder, ctx: &Context) -> Result<u64, Failure> {
    if ctx.phase() == Phase::Finalize {
        return Ok(ctx.children()?.iter().filter_map(lines).sum());
    }
    for entry in std::fs::read_dir(&job.folder)? {
        let path = entry?.path();
        if path.is_dir() {
            ctx.spawn_child(CountFolder { folder: path })?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            ctx.spawn_child(CountFile { file: path })?;
        }
    }
    ctx.finalize_after_children();
    Ok(0)
}

fn count_file(job: CountFile, _: &Context) -> Result<u64, Failure> {
    Ok(std::fs::read_to_string(&job.file)?.lines().count() as u64)
}

fn lines(job: &JobRecord) -> Option<u64> {
    serde_json::from_str(job.result.as_ref()?.get()).ok()
}

/// What the worker's process does.
fn work(path: &Path) -> Anything {
    let queue = Queue::open(path)?;
    let runner = queue
        .runner()
        .workers(1)
        .unknown_kinds(UnknownKinds::Fail)
        .job(count_folder)
        .job(count_file)
        .start()?;
    // Should the main program end first: its end of the pipe is closed then.
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    runner.stop()?;
    Ok(())
}

fn start_worker(path: &Path) -> Anything<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("worker").arg(path).stdin(Stdio::piped());
    Ok(command.spawn()?)
}

fn main() -> Anything {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, path] = &arguments[..]
        && role == "worker"
    {
        return work(Path::new(path));
    }
    let census = arguments.first().map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        PathBuf::from,
    );
    let folder = std::env::temp_dir().join(format!("jobq-family-{}", std::process::id()));
    let path = folder.join("jobs.db");
    let queue = Queue::open(&path)?;
    let mut worker = start_worker(&path)?;

    let root = queue.enqueue(CountFolder { folder: census })?;
    let mut changes = queue.changes()?;
    let mut told = 0;
    let mut was_killed = false;
    while !root.get()?.state.is_final() {
        let percent = root.get()?.progress.and_then(|progress| progress.percent);
        let tenths = (percent.unwrap_or_default() / 10.0) as u64;
        if tenths > told {
            told = tenths;
            println!("{}%", told * 10);
        }
        if told >= 5 && !was_killed {
            was_killed = true;
            worker.kill()?; // SIGKILL
            worker.wait()?;
            println!("the worker was killed; another takes over");
            worker = start_worker(&path)?;
        }
        changes.wait(std::time::Duration::from_secs(1))?;
    }
    let lines = root.output()?;
    println!("{} lines", lines.ok_or("it failed")?);

    // A family that fails at once and calls off the others, and says why.
    let jobs = queue.enqueue_many([
        NewJob::new(GROUP_KIND)
            .child_policy(ChildPolicy::CancelOthers)
            .label("family"),
        NewJob::of(&CountFile {
            file: folder.join("missing.rs"),
        })
        .parent_label("family"),
        NewJob::new("nobody-knows").parent_label("family"),
    ])?;
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    for job in queue.wait(&ids, None)? {
        println!(
            "{} {}: {}",
            job.kind,
            job.state,
            job.error.unwrap_or_default()
        );
    }
    drop(worker.stdin.take()); // it stops
    worker.wait()?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
