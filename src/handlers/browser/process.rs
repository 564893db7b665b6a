//! A running browser: how it is started, the thread that reads its pipe, and when it ends.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::clock;
use crate::doorbell::Wake;
use crate::handlers::browser::class::BrowserError;
use crate::handlers::browser::connection::{BrowserMessage, CdpConnection, MessageBuffer};
use crate::handlers::browser::profile::{BrowserProfile, remove_abandoned};
use crate::handlers::exec::{CommandSpec, Companion, CompanionOwner, CompanionPipes, Environment};
use crate::runner::cancellation::lock;
use crate::runner::handler_thread::start_thread;
use crate::runner::processes::memory_of_session;

/// A browser without a job for this long ends.
const IDLE: Duration = Duration::from_secs(60);
/// After so many jobs a browser is replaced.
const MAX_JOBS: u32 = 100;
/// A browser that needs more memory is replaced.
const MAX_MEMORY_BYTES: u64 = 1024 * 1024 * 1024;
const LOOKS_AT_MEMORY_EVERY: Duration = Duration::from_secs(3);
/// How much of its messages is read at once.
const PIECE_BYTES: usize = 64 * 1024;
/// How much of what it prints is kept, for the error.
const LAST_WORDS_BYTES: usize = 2000;

/// Makes the shell the browser, with the pipes where it expects them.
const SCRIPT: &str = r#"exec "$@" 3<&0 4>&1 0</dev/null 1>&2"#;

const ARGUMENTS: [&str; 18] = [
    "--headless",
    "--remote-debugging-pipe",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-crash-reporter",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--hide-scrollbars",
    "--mute-audio",
    "--no-default-browser-check",
    "--no-first-run",
    "--password-store=basic",
    "--use-mock-keychain",
];

/// What a browser is started with: jobs that want the same share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct BrowserKey {
    pub(super) program: PathBuf,
    pub(super) no_sandbox: bool,
}

/// Shared by the jobs that use it, the pool, and the thread that reads its pipe.
pub(super) struct BrowserProcess {
    pub(super) connection: CdpConnection,
    pid: i32,
    load: Mutex<BrowserLoad>,
    wake: Arc<Wake>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct BrowserLoad {
    running: u32,
    admitted: u32,
    idle_since: Instant,
    /// Why it takes no more jobs.
    retired: Option<String>,
    must_end: bool,
}

impl BrowserProcess {
    pub(super) fn start(
        key: &BrowserKey,
        owner: &CompanionOwner,
    ) -> Result<Arc<BrowserProcess>, BrowserError> {
        let failed = |error: std::io::Error| BrowserError::browser(error);
        let within = std::env::temp_dir();
        remove_abandoned(&within);
        let profile = BrowserProfile::create(&within).map_err(failed)?;
        let spec = command(key, profile.path()).map_err(failed)?;
        let wake = Arc::new(Wake::new().map_err(failed)?);
        let (companion, pipes) = Companion::start(spec, owner).map_err(BrowserError::browser)?;
        let CompanionPipes {
            stdin,
            stdout,
            stderr,
        } = pipes;
        let process = Arc::new(BrowserProcess {
            connection: CdpConnection::new(stdin, Arc::clone(&wake)),
            pid: companion.pid(),
            load: Mutex::new(BrowserLoad {
                running: 0,
                admitted: 0,
                idle_since: clock::instant(),
                retired: None,
                must_end: false,
            }),
            wake,
            thread: Mutex::default(),
        });
        let served = Arc::clone(&process);
        let outputs = [stdout, stderr];
        let thread = start_thread("jobq-browser", move || {
            let mut why = served.serve(&outputs);
            if let Some(status) = companion.end() {
                why = format!("{why} ({status})");
            }
            drop(profile);
            served.connection.close(&why);
        });
        *lock(&process.thread) = Some(thread.map_err(failed)?);
        Ok(process)
    }

    /// Takes a job, if it may have one more.
    pub(super) fn admit(&self) -> bool {
        let mut load = lock(&self.load);
        let may = load.retired.is_none() && !self.connection.is_closed();
        if may {
            load.running += 1;
            load.admitted += 1;
            if load.admitted == MAX_JOBS {
                load.retired = Some(format!("it has had {MAX_JOBS} jobs"));
            }
        }
        may
    }

    /// Gives back the place of a job.
    pub(super) fn release(&self) {
        let mut load = lock(&self.load);
        load.running -= 1;
        load.idle_since = clock::instant();
        drop(load);
        self.wake.ring();
    }

    /// Takes no new jobs; it ends when its last one has left.
    pub(super) fn retire(&self, why: &str) {
        let mut load = lock(&self.load);
        if load.retired.is_none() {
            log::info!("browser {} is replaced: {why}", self.pid);
            load.retired = Some(why.to_owned());
        }
        drop(load);
        self.wake.ring();
    }

    /// Ends it now, whoever uses it.
    pub(super) fn end(&self, why: &str) {
        self.retire(why);
        lock(&self.load).must_end = true;
        self.wake.ring();
    }

    /// Waits until nothing is left of it.
    pub(super) fn join(&self) {
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            log::error!("the thread of browser {} has panicked", self.pid);
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        lock(&self.thread)
            .as_ref()
            .is_none_or(JoinHandle::is_finished)
    }

    /// Serves its pipes until it is to end, and says why it is, or what it printed last.
    fn serve(&self, [stdout, stderr]: &[OwnedFd; 2]) -> String {
        let mut output = BrowserOutput::default();
        let mut look_at = clock::after(clock::instant(), LOOKS_AT_MEMORY_EVERY);
        loop {
            if clock::instant() >= look_at {
                self.look_at_memory();
                look_at = clock::after(clock::instant(), LOOKS_AT_MEMORY_EVERY);
            }
            let wait = match self.time_left() {
                Ok(wait) => Timespec::try_from(wait.unwrap_or(LOOKS_AT_MEMORY_EVERY)).ok(),
                Err(why) => return why,
            };
            let printing = (!output.is_silent).then(|| stderr.as_fd());
            let mut polled = [
                PollFd::new(&*self.wake, PollFlags::IN),
                PollFd::new(stdout, PollFlags::IN),
                self.entry(printing, PollFlags::IN),
                self.entry(self.connection.waits_for(), PollFlags::OUT),
            ];
            if poll(&mut polled, wait.as_ref()).is_err() {
                continue;
            }
            let [woken, said, printed, has_room] = polled.map(|entry| !entry.revents().is_empty());
            if woken {
                self.wake.reset();
            }
            if has_room {
                self.connection.flush();
            }
            if printed {
                output.read_words(stderr);
            }
            if said && !output.read_messages(stdout, &self.connection) {
                return format!("the browser has ended{}", output.words());
            }
        }
    }

    fn entry<'a>(&'a self, descriptor: Option<BorrowedFd<'a>>, flags: PollFlags) -> PollFd<'a> {
        match descriptor {
            Some(descriptor) => PollFd::from_borrowed_fd(descriptor, flags),
            None => PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::empty()),
        }
    }

    fn look_at_memory(&self) {
        if memory_of_session(self.pid) > MAX_MEMORY_BYTES {
            self.retire("it needs more than 1 GiB of memory");
        }
    }

    /// How long it may stay without a job; as an error, why it is to end.
    fn time_left(&self) -> Result<Option<Duration>, String> {
        let load = lock(&self.load);
        let idle = clock::instant().saturating_duration_since(load.idle_since);
        match &load.retired {
            Some(why) if load.must_end => Err(format!("the browser was ended: {why}")),
            // Nobody hears it.
            Some(why) if load.running == 0 && load.admitted > 0 => Err(why.clone()),
            _ if load.running > 0 || load.admitted == 0 => Ok(None),
            _ => match IDLE.checked_sub(idle) {
                Some(left) if !left.is_zero() => Ok(Some(left)),
                _ => Err("it was idle".to_owned()),
            },
        }
    }
}

/// What a browser says in its pipe, and what it prints.
#[derive(Default)]
struct BrowserOutput {
    messages: MessageBuffer,
    last_words: Vec<u8>,
    /// Its stderr is closed.
    is_silent: bool,
}

impl BrowserOutput {
    /// Passes on what has come; false at its end.
    fn read_messages(&mut self, stdout: &OwnedFd, connection: &CdpConnection) -> bool {
        let mut piece = [0; PIECE_BYTES];
        match rustix::io::read(stdout, &mut piece[..]) {
            Ok(count @ 1..) => {
                let deliver = |message: BrowserMessage<'_>| connection.deliver(message);
                self.messages.take(&piece[..count], deliver);
                true
            }
            Err(Errno::INTR | Errno::AGAIN) => true,
            Ok(0) | Err(_) => false,
        }
    }

    fn read_words(&mut self, stderr: &OwnedFd) {
        let mut piece = [0; LAST_WORDS_BYTES];
        match rustix::io::read(stderr, &mut piece[..]) {
            Ok(count @ 1..) => self.last_words.extend_from_slice(&piece[..count]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(0) | Err(_) => self.is_silent = true,
        }
        let surplus = self.last_words.len().saturating_sub(LAST_WORDS_BYTES);
        self.last_words.drain(..surplus);
    }

    fn words(&self) -> String {
        let printed = String::from_utf8_lossy(&self.last_words);
        let lines: Vec<&str> = printed.lines().filter(|line| !line.is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(3)..];
        match last.is_empty() {
            true => String::new(),
            false => format!(": {}", last.join(" | ")),
        }
    }
}

fn command(key: &BrowserKey, profile: &Path) -> std::io::Result<CommandSpec> {
    let temporary = profile.join("tmp");
    fs::create_dir(&temporary)?;
    let mut argv: Vec<OsString> = ["/bin/sh", "-c", SCRIPT, "sh"].map(Into::into).into();
    argv.push((&key.program).into());
    argv.extend(ARGUMENTS.map(Into::into));
    let folder = profile.join("profile");
    argv.push(
        [OsString::from("--user-data-dir="), folder.into()]
            .into_iter()
            .collect(),
    );
    // A job's own proxy is its page's.
    argv.push("--no-proxy-server".into());
    if key.no_sandbox {
        argv.push("--no-sandbox".into());
    }
    let mut env = Environment::inherited();
    env.set("TMPDIR", &temporary);
    for (name, folder) in [("XDG_CONFIG_HOME", "config"), ("XDG_CACHE_HOME", "cache")] {
        env.set(name, profile.join(folder));
    }
    Ok(CommandSpec {
        argv,
        cwd: Some(profile.to_owned()),
        env,
        umask: None,
    })
}

/// The first of these programs that is in the `PATH`.
pub(super) fn find_program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut found = std::env::split_paths(&path)
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    found.find(|program| {
        program.is_file() && rustix::fs::access(program, rustix::fs::Access::EXEC_OK).is_ok()
    })
}
