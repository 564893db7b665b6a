//! An application that makes small pictures in the background: a typed job, a handler with shared
//! state and progress, and the output read back.
//!
//! `cargo run --example thumbnails`

use std::sync::atomic::{AtomicU64, Ordering};

use jobq::{Context, Failure, Job, Level, Progress, Queue};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Thumbnail {
    photo: String,
    width: u32,
}

#[derive(Serialize, Deserialize, Debug)]
struct Small {
    path: String,
    bytes: u64,
}

impl Job for Thumbnail {
    const KIND: &'static str = "thumbnail";
    type Output = Small;
}

/// What the application shares with its handlers.
#[derive(Default)]
struct Total(AtomicU64);

fn make_small(job: Thumbnail, ctx: &Context) -> Result<Small, Failure> {
    if job.width == 0 {
        return Err(Failure::permanent("a picture needs some width"));
    }
    for row in 1..=4 {
        if ctx.is_cancelled() {
            return Err(Failure::cancelled());
        }
        ctx.progress(Progress::of(row, 4).message("scaling"));
    }
    let bytes = u64::from(job.width) * 10;
    if let Some(total) = ctx.data::<Total>() {
        total.0.fetch_add(bytes, Ordering::Relaxed);
    }
    ctx.log(Level::Info, format!("{} is {bytes} bytes now", job.photo));
    Ok(Small {
        path: format!("{}.small.jpg", job.photo),
        bytes,
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("jobq-thumbnails-{}", std::process::id()));
    let queue = Queue::open(folder.join("jobs.db"))?;
    let runner = queue
        .runner()
        .data(Total::default())
        .job(make_small)
        .start()?;

    let jobs: Vec<_> = (1..=5)
        .map(|n| {
            queue.enqueue(Thumbnail {
                photo: format!("photo-{n}"),
                width: n * 100,
            })
        })
        .collect::<Result<_, _>>()?;

    for job in jobs {
        job.wait(None)?;
        let small = job.output()?.ok_or("the job did not complete")?;
        println!("job {}: {} ({} bytes)", job.id, small.path, small.bytes);
    }
    runner.stop()?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
