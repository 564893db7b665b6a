//! Workers as processes of their own: this program once more, with the word `worker` and a folder to work in.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{io, thread};

use jobq::{Queue, RunnerBuilder};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

pub(crate) type Anything<T = ()> = Result<T, Box<dyn std::error::Error>>;

pub(crate) struct Worker(Child);

impl Worker {
    pub(crate) fn start(folder: &Path, arguments: &[String]) -> io::Result<Worker> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("worker").args(arguments).current_dir(folder);
        command.env("TMPDIR", folder).stdin(Stdio::piped());
        Ok(Worker(command.spawn()?))
    }

    #[allow(dead_code, reason = "not every example has several workers")]
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// SIGKILL: nothing of it can react.
    pub(crate) fn kill(mut self) -> io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }

    /// SIGTERM: it finishes what is running and ends.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        kill_process(Pid::from_child(&self.0), Signal::TERM)?;
        let status = self.0.wait()?;
        assert!(status.success(), "the worker has ended with {status}");
        Ok(())
    }
}

/// What the worker's process does, until SIGTERM, SIGINT, or the end of the program that started it.
pub(crate) fn work(runner: RunnerBuilder) -> Anything {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let runner = runner.start()?;
    let stopper = runner.stopper();
    thread::spawn(move || signals.forever().for_each(|_| stopper.stop()));
    let stopper = runner.stopper();
    thread::spawn(move || {
        // The end of the pipe is closed when the other program has ended.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        stopper.stop();
    });
    runner.wait()?;
    Ok(())
}

/// Waits for something that workers bring about in the file.
pub(crate) fn wait_until(queue: &Queue, mut is_so: impl FnMut() -> Anything<bool>) -> Anything {
    let mut changes = queue.changes()?;
    while !is_so()? {
        changes.wait(Duration::from_secs(1))?;
    }
    Ok(())
}
