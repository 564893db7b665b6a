//! What an attempt's command or a persistent command has left running: finding it, whatever it did to hide, and
//! ending it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Pid;

use crate::model::id::JobId;
use crate::model::job::AttemptRef;

/// How long SIGKILL may take to be obeyed.
pub(crate) const OBEYED_WITHIN: Duration = Duration::from_secs(1);

/// The variables that tell a process which attempt it belongs to.
pub(crate) const JOB_VARIABLE: &str = "JOBQ_JOB_ID";
pub(crate) const ATTEMPT_VARIABLE: &str = "JOBQ_ATTEMPT";
pub(crate) const DATABASE_VARIABLE: &str = "JOBQ_DB";

/// The variable that tells a persistent command, or a browser, whose it is, as it works for many attempts.
pub(crate) const HANDLER_VARIABLE: &str = "JOBQ_HANDLER";

/// What came of the attempt to end what was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leftover {
    /// There was nothing that is surely the attempt's.
    Nothing,
    /// There was something, and it has ended.
    Ended,
    /// There is something that could not be ended in time.
    Survives,
}

/// A new value for that variable: the runner, and the number of the command among those of this process.
#[cfg_attr(
    not(feature = "exec"),
    allow(dead_code, reason = "commands are a feature")
)]
pub(crate) fn handler_mark(runner: i64) -> String {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    format!("{runner}-{}", STARTED.fetch_add(1, Ordering::Relaxed))
}

/// Attempts of one file and persistent commands, as the environment of their processes names them.
#[derive(Clone, Debug)]
pub(crate) struct Attempts {
    /// The file: two of them may both have a job 7.
    database: PathBuf,
    which: Vec<AttemptRef>,
    handlers: Handlers,
    /// None of their processes was started before: clock ticks since the machine was. An older one was
    /// left by a job of the same number in a file that was there before.
    since: Option<u64>,
}

/// Whose persistent commands.
#[derive(Clone, Debug)]
enum Handlers {
    None,
    /// The one with this mark.
    One(String),
    /// All of this runner.
    Of(i64),
}

/// Where the processes of attempts are looked for.
#[derive(Debug)]
pub(crate) struct Remains {
    /// The command that this process has started itself and not reaped.
    leader: Option<Pid>,
    /// None where nothing names the attempt, as in tests.
    attempts: Option<Attempts>,
    #[cfg(target_os = "linux")]
    found: linux::Found,
}

impl Attempts {
    /// These attempts of a lost runner of the file at this path, and its persistent commands. None of their
    /// processes was started before `since`: clock ticks since the machine was.
    pub(crate) fn of(
        database: &Path,
        (runner, which): (i64, Vec<AttemptRef>),
        since: Option<u64>,
    ) -> Attempts {
        Attempts {
            database: database.to_owned(),
            which,
            handlers: Handlers::Of(runner),
            since,
        }
    }

    /// The one that an environment names.
    pub(crate) fn named_by<'a>(get: impl Fn(&str) -> Option<&'a OsStr>) -> Option<Attempts> {
        let text = |name| get(name)?.to_str();
        let attempt = || {
            Some(AttemptRef {
                job: JobId(text(JOB_VARIABLE)?.parse().ok()?),
                attempt: text(ATTEMPT_VARIABLE)?.parse().ok()?,
            })
        };
        let (which, handlers) = match text(HANDLER_VARIABLE) {
            Some(mark) => (Vec::new(), Handlers::One(mark.to_owned())),
            None => (vec![attempt()?], Handlers::None),
        };
        Some(Attempts {
            database: Path::new(get(DATABASE_VARIABLE)?).to_owned(),
            which,
            handlers,
            since: None,
        })
    }

    /// Kills what is left of them, after their runner died: nobody can wait for it any more, and
    /// their jobs are about to run anew. Waits up to a second for its end.
    ///
    /// A process is touched only where its own environment says that it belongs to one of them, and
    /// what such a process has started.
    pub(crate) fn end(self) {
        let whose = self.spelled();
        match Remains::of(None, Some(self)).kill() {
            Leftover::Nothing => {}
            Leftover::Ended => log::warn!("killed leftover processes of {whose}"),
            Leftover::Survives => {
                log::error!("leftover processes of {whose} cannot be killed")
            }
        }
    }

    /// For the log.
    fn spelled(&self) -> String {
        let attempts = self.which.iter();
        let attempts =
            attempts.map(|which| format!("attempt {} of job {}", which.attempt, which.job));
        let handlers = match &self.handlers {
            Handlers::None => None,
            Handlers::One(mark) => Some(format!("persistent command {mark}")),
            Handlers::Of(runner) => Some(format!("runner {runner}")),
        };
        attempts.chain(handlers).collect::<Vec<_>>().join(", ")
    }
}

impl Remains {
    /// Of a command that this process has started and not reaped; `attempt` is its own.
    pub(crate) fn of_command(leader: Pid, attempt: Option<Attempts>) -> Remains {
        Remains::of(Some(leader), attempt)
    }

    fn of(leader: Option<Pid>, attempts: Option<Attempts>) -> Remains {
        Remains {
            leader,
            attempts,
            #[cfg(target_os = "linux")]
            found: linux::Found::default(),
        }
    }

    /// For the log.
    pub(crate) fn name(&self) -> String {
        let attempts = self.attempts.as_ref();
        attempts.map(Attempts::spelled).unwrap_or_default()
    }
}

/// Where there is no `/proc`, a command is its process group.
#[cfg(not(target_os = "linux"))]
mod portable {
    use rustix::process::{Signal, kill_process_group, test_kill_process_group};

    use super::{Leftover, Remains};

    impl Remains {
        /// Whether nothing of it is alive: zombies get no signals here.
        pub(crate) fn is_empty(&mut self) -> bool {
            self.leader
                .is_none_or(|leader| test_kill_process_group(leader).is_err())
        }

        pub(crate) fn signal(&mut self, signal: Signal) {
            if let Some(leader) = self.leader {
                let _may_be_gone = kill_process_group(leader, signal);
            }
        }

        pub(crate) fn tell_to_stop(&mut self) {
            self.signal(Signal::TERM);
            self.signal(Signal::CONT);
        }

        pub(crate) fn kill(&mut self) -> Leftover {
            self.signal(Signal::KILL);
            Leftover::Nothing
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashSet;
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use rustix::event::{Timespec, poll};
    use rustix::io::Errno;
    use rustix::process::{Pid, Signal, kill_process_group};

    use super::{
        ATTEMPT_VARIABLE, Attempts, DATABASE_VARIABLE, HANDLER_VARIABLE, Handlers, JOB_VARIABLE,
        Leftover, OBEYED_WITHIN, Remains,
    };
    use crate::clock;
    use crate::runner::processes::{Process, ProcessIdentity, living, own_pid};

    /// The time between two looks whether SIGKILL has been obeyed.
    const LOOK_EVERY: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 5_000_000,
    };

    /// What is known from earlier scans.
    #[derive(Debug, Default)]
    pub(crate) struct Found {
        /// Once found, always the attempt's: its parent may have ended the next time.
        members: HashSet<ProcessIdentity>,
        /// Whether the command's group has had SIGTERM.
        is_group_told: bool,
        /// Those outside of it that have had SIGTERM.
        terminated: HashSet<ProcessIdentity>,
    }

    /// What one scan of the processes has found.
    struct Scan {
        members: Vec<Process>,
        /// Of some processes it is not known yet whose they are.
        is_unsure: bool,
    }

    impl Remains {
        /// Whether nothing of it is alive, the command itself included.
        pub(crate) fn is_empty(&mut self) -> bool {
            let scan = self.scan();
            scan.members.is_empty() && !scan.is_unsure
        }

        /// SIGTERM to all of it that has not had one; SIGCONT, so that what is stopped hears it. Not to
        /// another attempt's command, of a runner that this one has started: its own runner gets one.
        pub(crate) fn tell_to_stop(&mut self) {
            // Before the first of them ends, for it is by their parents that some are found.
            let members = self.scan().members;
            if !std::mem::replace(&mut self.found.is_group_told, true) {
                self.signal_group(Signal::TERM);
                self.signal_group(Signal::CONT);
            }
            for process in members {
                let is_told = self.is_in_group(&process)
                    || self.found.terminated.contains(&process.identity());
                if !is_told && !self.is_anothers(&process) {
                    process.signal(Signal::TERM);
                    process.signal(Signal::CONT);
                    self.found.terminated.insert(process.identity());
                }
            }
        }

        /// A signal to all of it, and to what it starts meanwhile: until nothing new is found, or a second
        /// is over.
        pub(crate) fn signal(&mut self, signal: Signal) {
            let deadline = clock::after(clock::instant(), OBEYED_WITHIN);
            let mut signalled = HashSet::new();
            loop {
                let mut scan = self.scan();
                self.signal_group(signal);
                scan.members
                    .retain(|process| signalled.insert(process.identity()));
                for process in &scan.members {
                    if !self.is_in_group(process) {
                        process.signal(signal);
                    }
                }
                let is_all = scan.members.is_empty() && !scan.is_unsure;
                if is_all || clock::instant() >= deadline {
                    return;
                }
                // No descriptor: a sleep.
                let _slept = poll(&mut [], Some(&LOOK_EVERY));
            }
        }

        /// SIGKILL to all of it, until it has ended or a second is over.
        pub(crate) fn kill(&mut self) -> Leftover {
            let deadline = clock::after(clock::instant(), OBEYED_WITHIN);
            let mut came_of_it = Leftover::Nothing;
            loop {
                let scan = self.scan();
                if scan.members.is_empty() && !scan.is_unsure {
                    return came_of_it;
                }
                if clock::instant() >= deadline {
                    return match scan.members.is_empty() {
                        true => came_of_it,
                        false => Leftover::Survives,
                    };
                }
                self.signal_group(Signal::KILL);
                for process in &scan.members {
                    came_of_it = Leftover::Ended;
                    process.signal(Signal::KILL);
                }
                // No descriptor: a sleep.
                let _slept = poll(&mut [], Some(&LOOK_EVERY));
            }
        }

        /// The whole group at once: nothing of it can be overlooked. While the leader is not reaped, its
        /// number is no other's.
        fn signal_group(&self, signal: Signal) {
            let Some(leader) = self.leader else { return };
            match kill_process_group(leader, signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => {
                    log::warn!("cannot send {signal:?} to process group {leader:?}: {error}");
                }
            }
        }

        /// All of it that is alive: what is in the command's session or group, what has the attempt in its
        /// environment, and what these have started. Never this process, and what it has started as a
        /// runner of its own inside of that attempt.
        fn scan(&mut self) -> Scan {
            let (own, since) = (own_pid(), self.since());
            let mut rest = living();
            rest.retain(|process| process.pid != own);
            let mut scan = Scan {
                members: Vec::new(),
                is_unsure: false,
            };
            let (mut members, mut others) = (Vec::new(), Vec::new());
            for process in rest {
                let known = self.found.members.contains(&process.identity());
                let is_member = known
                    || self.is_in_session(&process)
                    || process.start_time >= since
                        && self.is_named_by(&process).unwrap_or_else(|| {
                            scan.is_unsure = true;
                            false
                        });
                match is_member {
                    true => members.push(process),
                    false => others.push(process),
                }
            }
            let mut pids: HashSet<i32> = members.iter().map(|member| member.pid).collect();
            loop {
                let is_child = |process: &mut Process| pids.contains(&process.parent);
                let children: Vec<Process> = others.extract_if(.., is_child).collect();
                if children.is_empty() {
                    break;
                }
                pids.extend(children.iter().map(|child| child.pid));
                members.extend(children);
            }
            self.found
                .members
                .extend(members.iter().map(Process::identity));
            scan.members = members;
            scan
        }

        fn since(&self) -> u64 {
            let leader = self.leader.and_then(|leader| Process::read(raw(leader)));
            let of_attempts = self.attempts.as_ref().and_then(|attempts| attempts.since);
            leader
                .map(|leader| leader.start_time)
                .or(of_attempts)
                .unwrap_or(0)
        }

        fn is_in_group(&self, process: &Process) -> bool {
            self.leader
                .is_some_and(|leader| process.pgid == raw(leader))
        }

        /// Its number is not given to another group or session while there is anything in it.
        fn is_in_session(&self, process: &Process) -> bool {
            let is_of_leader = |leader| process.session == raw(leader);
            self.is_in_group(process) || self.leader.is_some_and(is_of_leader)
        }

        /// Whether its environment says that it belongs to one of the attempts.
        fn is_named_by(&self, process: &Process) -> Option<bool> {
            let Some(attempts) = &self.attempts else {
                return Some(false);
            };
            Some(attempts.are_named_by(process, &process.environ()?))
        }

        /// Whether its environment names an attempt, and it is none of these.
        fn is_anothers(&self, process: &Process) -> bool {
            let environ = process.environ().unwrap_or_default();
            let is_ours = |attempts: &Attempts| attempts.are_named_by(process, &environ);
            let is_marked = [JOB_VARIABLE, HANDLER_VARIABLE]
                .iter()
                .any(|name| value(&environ, name).is_some());
            is_marked && !self.attempts.as_ref().is_some_and(is_ours)
        }
    }

    impl Attempts {
        fn are_named_by(&self, process: &Process, environ: &[u8]) -> bool {
            let value = |name| value(environ, name);
            let is_named = self.which.iter().any(|attempt| {
                value(JOB_VARIABLE) == Some(attempt.job.to_string().as_bytes())
                    && value(ATTEMPT_VARIABLE) == Some(attempt.attempt.to_string().as_bytes())
            }) || value(HANDLER_VARIABLE).is_some_and(|mark| match &self.handlers {
                Handlers::None => false,
                Handlers::One(own) => mark == own.as_bytes(),
                Handlers::Of(runner) => mark.starts_with(format!("{runner}-").as_bytes()),
            });
            let is_of_file = |path| self.is_database(process, Path::new(OsStr::from_bytes(path)));
            is_named && value(DATABASE_VARIABLE).is_some_and(is_of_file)
        }

        /// Whether this path of a process leads to the same file: it may lead there in another way. In a
        /// container the same path can be another file. A copy is another file, too, with runners of its
        /// own, though it has the same jobs.
        fn is_database(&self, process: &Process, path: &Path) -> bool {
            let place = |path: &Path| {
                let metadata = std::fs::metadata(path).ok()?;
                Some((metadata.dev(), metadata.ino()))
            };
            let mounts = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
            let is_here = mounts(&process.pid.to_string()) == mounts("self");
            if is_here && path == self.database {
                return true;
            }
            let mut there = OsString::from(format!("/proc/{}/root", process.pid));
            there.push(path);
            let path = if is_here { path } else { Path::new(&there) };
            place(path).is_some_and(|it| Some(it) == place(&self.database))
        }
    }

    fn value<'a>(environ: &'a [u8], name: &str) -> Option<&'a [u8]> {
        environ.split(|byte| *byte == 0).find_map(|entry| {
            entry
                .strip_prefix(name.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"="))
        })
    }

    fn raw(pid: Pid) -> i32 {
        pid.as_raw_nonzero().get()
    }
}
