//! Where and how is measured, the jobs that it is measured with, and what the process has used.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bench::scratch::Scratch;
use crate::{Context, Durability, Handler, NewJob, Outcome, Queue, QueueOptions, Result, clock};

/// The length of the usual payload's JSON text.
pub const PAYLOAD_BYTES: usize = 200;

/// The kind of jobs that do nothing.
pub(super) const KIND: &str = "noop";

/// A folder on the disk that is measured, and what a reply means for power cuts.
#[derive(Clone, Debug)]
pub struct Setup {
    folder: PathBuf,
    options: QueueOptions,
    pub(super) durability: Durability,
}

impl Setup {
    /// The folder must be there; what is made in it is removed after each measurement.
    pub fn new(folder: impl Into<PathBuf>, options: QueueOptions, durability: Durability) -> Setup {
        Setup {
            folder: folder.into(),
            options: options.durability(durability),
            durability,
        }
    }

    /// A folder for one measurement.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn scratch(&self) -> Result<Scratch> {
        Scratch::new_in(&self.folder)
    }

    /// Opens a file as it is measured.
    ///
    /// # Errors
    /// As [`QueueOptions::open`].
    pub fn open(&self, path: &Path) -> Result<Queue> {
        self.options.clone().open(path)
    }
}

/// JSON text of this length, at least the two quotes.
pub fn payload(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes.saturating_sub(2)))
}

/// Adds jobs of a kind that does nothing, in transactions of a thousand.
///
/// # Errors
/// As [`Queue::enqueue_many`].
pub fn fill(queue: &Queue, jobs: usize, like: impl Fn(NewJob) -> NewJob) -> Result<()> {
    const CHUNK: usize = 1000;
    let job = noop(PAYLOAD_BYTES);
    let mut left = jobs;
    while left > 0 {
        let chunk = CHUNK.min(left);
        queue.enqueue_many((0..chunk).map(|_| like(job.clone())))?;
        left -= chunk;
    }
    Ok(())
}

pub(super) fn noop(payload_bytes: usize) -> NewJob {
    NewJob::new(KIND).payload_json(payload(payload_bytes))
}

/// The handler of jobs that do nothing.
pub(super) struct Noop;

impl Handler for Noop {
    fn run(&self, _: &Context) -> Outcome {
        Outcome::Done(None)
    }
}

/// What this process has written to files so far, through the page cache; none where the kernel does not say.
pub fn written_bytes() -> Option<u64> {
    proc_field("/proc/self/io", "wchar:")
}

/// The most memory that this process has had; none where the kernel does not say.
pub fn peak_memory_bytes() -> Option<u64> {
    Some(proc_field("/proc/self/status", "VmHWM:")? * 1024)
}

/// The processor time of all threads of this process so far.
pub fn cpu_time() -> Duration {
    clock::process_cpu_time()
}

fn proc_field(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_uses_the_processor() {
        assert!(peak_memory_bytes().unwrap() > 500_000);
        assert!(cpu_time() > Duration::ZERO);
    }
}
