//! Processes under test: this test binary once more, in a role.

use std::fs::File;
use std::io::Write;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use jobq::{Queue, RunnerFilter, RunnerId};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use super::child::{CHILD_TEST, Request, Role};
use super::place::Place;
use super::{PATIENCE, monotonic, wait_for, wait_until};

/// A process in a role. Killed when dropped; it ends on its own when this process does.
pub(crate) struct Process {
    pub(crate) name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    place: Place,
}

/// A program that a test needs. Killed when dropped, so that also a test that fails leaves none behind.
#[allow(dead_code, reason = "the kinds with servers are features")]
pub(crate) struct HelperProgram(pub(crate) Child);

impl Drop for HelperProgram {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a process is to be started.
pub(crate) struct Spawn {
    role: Role,
    name: String,
    place: Place,
    environment: Vec<(String, String)>,
    shell: Option<String>,
}

impl Spawn {
    pub(crate) fn new(place: &Place, name: impl Into<String>, role: impl Into<Role>) -> Spawn {
        Spawn {
            role: role.into(),
            name: name.into(),
            place: place.clone(),
            environment: Vec::new(),
            shell: None,
        }
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Spawn {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Through a shell that says this before it becomes the process.
    pub(crate) fn after(mut self, shell: impl Into<String>) -> Spawn {
        self.shell = Some(shell.into());
        self
    }

    fn command(&self) -> Command {
        let own = std::env::current_exe().unwrap();
        let Some(shell) = &self.shell else {
            return Command::new(own);
        };
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &format!(r#"{shell}; exec "$@""#), "sh"])
            .arg(own);
        command
    }

    pub(crate) fn start(self) -> Process {
        let log = File::create(self.place.file(&format!("{}.log", self.name))).unwrap();
        let mut child = self
            .command()
            .args([
                "--exact",
                CHILD_TEST,
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env("JOBQ_TEST_ROLE", serde_json::to_string(&self.role).unwrap())
            .env("JOBQ_TEST_PLACE", self.place.folder())
            .env("JOBQ_TEST_DISK", self.place.disk())
            .env("JOBQ_TEST_NAME", &self.name)
            .envs(self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        Process {
            name: self.name,
            child,
            stdin,
            place: self.place,
        }
    }

    /// Starts it and waits until it is registered as a runner.
    pub(crate) fn start_runner(self, queue: &Queue) -> Process {
        let process = self.start();
        process.wait_until_registered(queue);
        process
    }
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn raw_pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    /// Its numbers as a runner, oldest first: more than one where it registered anew.
    pub(crate) fn runner_ids(&self, queue: &Queue) -> Vec<RunnerId> {
        let runners = queue.runners(RunnerFilter::AllTimes).unwrap();
        runners
            .iter()
            .filter(|runner| runner.pid == self.pid())
            .map(|runner| runner.id)
            .collect()
    }

    pub(crate) fn wait_until_registered(&self, queue: &Queue) {
        let what = format!("{} registers as a runner", self.name);
        wait_until(&what, PATIENCE, || !self.runner_ids(queue).is_empty());
    }

    /// Asks it through its stdin.
    pub(crate) fn ask(&mut self, request: &Request) {
        let line = serde_json::to_string(request).unwrap();
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
        stdin.flush().unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.raw_pid(), signal).unwrap();
    }

    /// SIGKILL; the moment just before it.
    pub(crate) fn kill(mut self) -> Duration {
        let moment = monotonic();
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
        moment
    }

    /// SIGSTOP at a moment when it does not hold SQLite's write lock: whoever stands still in the
    /// middle of a transaction keeps the lock, and then nobody can take over.
    pub(crate) fn freeze(&self) {
        wait_until("a stopped process has not the write lock", PATIENCE, || {
            self.freeze_as_it_is();
            let is_free = self.place.write_lock_is_free();
            if !is_free {
                self.thaw();
            }
            is_free
        });
    }

    /// SIGSTOP, and waits until all of its threads stand still. For a test that has the write lock
    /// itself, so that the process cannot have it.
    pub(crate) fn freeze_as_it_is(&self) {
        self.signal(Signal::STOP);
        wait_until("a stopped process stands still", PATIENCE, || {
            self.threads().iter().all(|thread| thread.state == 'T')
        });
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Closes its stdin, which asks it to end, and waits until it has.
    pub(crate) fn end(mut self) {
        drop(self.stdin.take());
        let status = self.wait_to_exit();
        assert!(status.success(), "{} ended with {status}", self.name);
    }

    /// Closes its stdin and waits until it has ended, well or not.
    pub(crate) fn wait_to_exit_when_asked(&mut self) -> ExitStatus {
        drop(self.stdin.take());
        self.wait_to_exit()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait_to_exit(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        let child = &mut self.child;
        wait_for(&what, PATIENCE * 2, || child.try_wait().unwrap())
    }

    /// How long a file may become by its writes; none: as long as it likes.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        prlimit(Some(self.raw_pid()), Resource::Fsize, limit).unwrap();
    }

    fn threads(&self) -> Vec<Thread> {
        threads_of(self.pid())
    }

    /// How often its dispatcher has gone to sleep: stands still while it waits for news, and grows
    /// quickly while it waits for SQLite's write lock.
    pub(crate) fn dispatcher_sleeps(&self) -> u64 {
        let threads = self.threads();
        let dispatcher = threads
            .iter()
            .find(|thread| thread.name == "jobq-dispatcher");
        dispatcher.map_or(0, |thread| thread.sleeps)
    }

    /// How much processor time it has used.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
        // Fields 14 and 15, in hundredths of a second; the first here is field 3.
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// Waits until its dispatcher waits for SQLite's write lock.
    pub(crate) fn wait_until_dispatcher_is_busy(&self) {
        let before = self.dispatcher_sleeps();
        let what = format!("the dispatcher of {} waits for the write lock", self.name);
        wait_until(&what, PATIENCE, || self.dispatcher_sleeps() >= before + 20);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

struct Thread {
    name: String,
    state: char,
    sleeps: u64,
}

fn threads_of(pid: u32) -> Vec<Thread> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("status")).ok())
        .filter_map(|status| {
            let field = |name: &str| {
                status
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .map(str::trim)
            };
            Some(Thread {
                name: field("Name:")?.to_owned(),
                state: field("State:")?.chars().next()?,
                sleeps: field("voluntary_ctxt_switches:")?.parse().ok()?,
            })
        })
        .collect()
}

/// Whether there is such a process, zombies left aside.
#[cfg(feature = "exec")]
pub(crate) fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let state = status
        .lines()
        .find_map(|line| line.strip_prefix("State:"))
        .map(str::trim_start);
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}
