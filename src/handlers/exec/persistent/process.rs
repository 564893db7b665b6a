//! A persistent command: started once, and given one job after the other.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::handlers::exec::capture::Stream;
use crate::handlers::exec::children::Child;
use crate::handlers::exec::environment::Environment;
use crate::handlers::exec::exit::{CommandEnd, End};
use crate::handlers::exec::leader::Leader;
use crate::handlers::exec::persistent::lines::{Lines, PrintedPiece};
use crate::handlers::exec::persistent::usage::Meter;
use crate::handlers::exec::spawn::{CommandSpec, Stdin, find};
use crate::runner::leftovers::{HANDLER_VARIABLE, handler_mark};

/// How much of what is printed between jobs is read at once.
const SKIMMED_BYTES: usize = 4096;

/// Raised by [`outdate_all`]: commands of earlier generations get no more jobs.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// From now on no command that was started before gets another job.
pub(super) fn outdate_all() {
    GENERATION.fetch_add(1, Ordering::SeqCst);
}

/// A persistent command that was started and has not been reaped.
#[derive(Debug)]
pub(super) struct PersistentProcess {
    pub(super) leader: Leader,
    /// Closed to let it leave. A write that does not fit does not block.
    pub(super) stdin: Option<OwnedFd>,
    /// Its stdout and stderr. A read of nothing does not block.
    pub(super) pipes: [Option<OwnedFd>; 2],
    pub(super) lines: Lines,
    pub(super) meter: Meter,
    /// It has said that it is ready, or has begun to read a job.
    pub(super) is_ready: bool,
    /// How many jobs it has had.
    pub(super) jobs: u64,
    /// It is not to get more.
    pub(super) is_spent: bool,
    origin: StartedFrom,
}

/// What a process was started from. One of another origin is out of date.
#[derive(Debug, PartialEq, Eq)]
struct StartedFrom {
    runner: i64,
    generation: u64,
    /// Also its secrets: they may change.
    env: Environment,
    files: Vec<(PathBuf, Option<FileState>)>,
}

/// Tells one state of a file from another.
type FileState = (u64, u64, u64, i64, i64);

impl PersistentProcess {
    /// Starts it for jobs of this runner.
    pub(super) fn start(
        spec: &CommandSpec,
        runner: i64,
    ) -> Result<PersistentProcess, Box<CommandEnd>> {
        let not_run = |end| Box::new(CommandEnd::not_run(end));
        // Before it starts: what changes meanwhile is a change.
        let origin = StartedFrom::of(spec, runner);
        let mut spec = spec.clone();
        spec.env.set(HANDLER_VARIABLE, handler_mark(runner));
        let (child, started) = Child::start(&spec, Stdin::Open).map_err(not_run)?;
        let meter = Meter::of(child.pid.as_raw_nonzero().get());
        let leader = Leader::new(child, &spec.env);
        for pipe in [&started.stdout, &started.stderr] {
            rustix::io::ioctl_fionbio(pipe, true).map_err(|error| {
                not_run(End::NotNow(format!("its pipe cannot be used: {error}")))
            })?;
        }
        Ok(PersistentProcess {
            leader,
            stdin: started.feed.map(|feed| feed.pipe),
            pipes: [Some(started.stdout), Some(started.stderr)],
            lines: Lines::default(),
            meter,
            is_ready: false,
            jobs: 0,
            is_spent: false,
            origin,
        })
    }

    /// Whether it can get a job of this runner: it lives, and is what would be started now.
    pub(super) fn is_usable(&mut self, spec: &CommandSpec, runner: i64) -> bool {
        self.leader.look();
        let is_whole = self.stdin.is_some() && self.pipes.iter().all(Option::is_some);
        !self.leader.has_ended
            && is_whole
            && !self.is_spent
            && self.origin == StartedFrom::of(spec, runner)
    }

    /// Reads what it has printed between jobs until now, and forgets it, but that it wants no more jobs.
    pub(super) fn skim(&mut self) {
        for stream in Stream::ALL {
            let pipe = self.pipes[stream as usize].as_ref();
            let unread = pipe.and_then(|pipe| rustix::io::ioctl_fionread(pipe).ok());
            // It may go on printing for ever. The last read finds the end of the pipe.
            let mut reads = unread.unwrap_or(0).div_ceil(SKIMMED_BYTES as u64) + 1;
            while reads > 0 && self.skim_once(stream) {
                reads -= 1;
            }
        }
        let _forgotten = self.lines.finish();
    }

    /// Whether there may be more.
    fn skim_once(&mut self, stream: Stream) -> bool {
        let slot = &mut self.pipes[stream as usize];
        let Some(pipe) = slot else { return false };
        let mut skimmed = [0; SKIMMED_BYTES];
        match rustix::io::retry_on_intr(|| rustix::io::read(&*pipe, &mut skimmed)) {
            Ok(0) => *slot = None,
            Ok(count) => {
                log::debug!("a persistent command printed {count} bytes between jobs");
                if stream == Stream::Stdout {
                    self.lines.take(&skimmed[..count], |piece| {
                        if let PrintedPiece::Message(message) = piece {
                            self.is_spent |= message.recycle;
                        }
                    });
                }
                return true;
            }
            Err(_) => {}
        }
        false
    }
}

impl StartedFrom {
    /// The program, and what of its arguments is a file: the script of an interpreter.
    fn of(spec: &CommandSpec, runner: i64) -> StartedFrom {
        let program = spec.argv.first().and_then(|name| find(name, spec).ok());
        let cwd = spec.cwd.as_deref().unwrap_or(Path::new(""));
        let arguments = spec.argv.iter().skip(1).map(|argument| cwd.join(argument));
        let files = program.into_iter().chain(arguments);
        let state = |path: &Path| {
            let found = path.metadata().ok().filter(|found| found.is_file())?;
            Some((
                found.dev(),
                found.ino(),
                found.size(),
                found.mtime(),
                found.mtime_nsec(),
            ))
        };
        StartedFrom {
            runner,
            generation: GENERATION.load(Ordering::SeqCst),
            env: spec.env.clone(),
            files: files.map(|path| (path.clone(), state(&path))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn started(script: &str) -> PersistentProcess {
        let spec = CommandSpec {
            argv: ["/bin/sh", "-c", script].map(Into::into).to_vec(),
            cwd: None,
            env: Environment::inherited(),
            umask: None,
        };
        PersistentProcess::start(&spec, 1).unwrap()
    }

    #[test]
    fn output_without_end_between_jobs_holds_nobody_up() {
        let mut process = started("exec cat");
        for pipe in &mut process.pipes {
            *pipe = Some(File::open("/dev/zero").unwrap().into());
        }
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            process.skim();
            done.send(()).unwrap();
        });
        assert!(is_done.recv_timeout(Duration::from_secs(10)).is_ok());
    }

    #[test]
    fn a_wish_to_be_replaced_is_heard_between_jobs() {
        let mut process = started(r#"echo noise; echo '{"jobq":"ready","recycle":true}'; cat"#);
        assert!(!process.is_spent);
        let until = crate::clock::instant() + Duration::from_secs(30);
        while !process.is_spent {
            assert!(crate::clock::instant() < until, "nobody has heard it");
            thread::sleep(Duration::from_millis(1));
            process.skim();
        }
    }
}
