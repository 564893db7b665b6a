//! The binary in a folder of its own, with nothing of this process's environment but the `PATH`.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;

use crate::support::{PATIENCE, wait_for, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_jobq");

/// Somebody who is not root.
pub(crate) const NOBODY: u32 = 65_534;

/// A home, a state and a config folder, and a working directory, for one test.
pub(crate) struct Jobq {
    folder: tempfile::TempDir,
    calls: Cell<u32>,
}

/// A call of the binary that is being put together.
pub(crate) struct Call<'a> {
    jobq: &'a Jobq,
    command: Command,
    stdin: Option<Vec<u8>>,
}

/// A call that goes on.
pub(crate) struct Running {
    child: Child,
    said: Said,
}

/// A call that has ended.
#[derive(Debug)]
pub(crate) struct Output {
    /// 128 and the signal's number where a signal ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Where a call's output goes: files, which nobody has to empty while it runs.
struct Said {
    call: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Jobq {
    pub(crate) fn new() -> Jobq {
        let jobq = Jobq {
            folder: tempfile::tempdir().unwrap(),
            calls: Cell::new(0),
        };
        for name in ["home", "work", "said"] {
            fs::create_dir(jobq.folder().join(name)).unwrap();
        }
        jobq
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where calls and commands run.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder().join("work")
    }

    /// A file of the working directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.work().join(name)
    }

    /// The database where nothing else is said.
    pub(crate) fn db(&self) -> PathBuf {
        self.folder().join("state/jobq/jobq.db")
    }

    /// Makes the database, without a job in it.
    pub(crate) fn make_database(&self) {
        drop(jobq::Queue::open(self.db()).unwrap());
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// An executable shell script of the working directory; call it as `./name`.
    pub(crate) fn script(&self, name: &str, text: &str) {
        let path = self.write(name, format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// What a command has written to a file, once a line of it is there.
    pub(crate) fn wait_for_line(&self, name: &str) -> String {
        wait_for(&format!("a line in {name}"), PATIENCE, || {
            let text = fs::read_to_string(self.path(name)).ok()?;
            text.ends_with('\n').then(|| text.trim_end().to_owned())
        })
    }

    /// A call with this command line.
    pub(crate) fn call<A: AsRef<OsStr>>(&self, args: &[A]) -> Call<'_> {
        self.call_binary(Path::new(BINARY), args)
    }

    /// A call by somebody who may neither read nor write what belongs to root. The binary goes where
    /// it can be reached by everybody.
    pub(crate) fn call_as_nobody<A: AsRef<OsStr>>(&self, args: &[A]) -> Call<'_> {
        if !rustix::process::geteuid().is_root() {
            return self.call(args);
        }
        let binary = self.folder().join("jobq");
        if !binary.exists() {
            fs::set_permissions(self.folder(), fs::Permissions::from_mode(0o755)).unwrap();
            if fs::hard_link(BINARY, &binary).is_err() {
                fs::copy(BINARY, &binary).unwrap();
            }
        }
        let mut call = self.call_binary(&binary, args);
        call.command.uid(NOBODY).gid(NOBODY);
        call
    }

    /// Another program in place of jobq, which finds jobq in its `PATH`.
    pub(crate) fn program<A: AsRef<OsStr>>(&self, program: &str, args: &[A]) -> Call<'_> {
        self.call_binary(Path::new(program), args)
    }

    fn call_binary<A: AsRef<OsStr>>(&self, binary: &Path, args: &[A]) -> Call<'_> {
        let mut command = Command::new(binary);
        command
            .args(args)
            .env_clear()
            .env("PATH", search_path())
            .env("HOME", self.folder().join("home"))
            .env("XDG_STATE_HOME", self.folder().join("state"))
            .env("XDG_CONFIG_HOME", self.folder().join("config"))
            .env("TMPDIR", self.folder())
            .current_dir(self.work());
        Call {
            jobq: self,
            command,
            stdin: None,
        }
    }

    /// A call that ends, however it does.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, args: &[A]) -> Output {
        self.call(args).run()
    }

    /// What a call that succeeds prints.
    pub(crate) fn stdout<A: AsRef<OsStr>>(&self, args: &[A]) -> String {
        self.run(args).exits(0).stdout
    }

    /// A call that goes on.
    pub(crate) fn spawn<A: AsRef<OsStr>>(&self, args: &[A]) -> Running {
        self.call(args).spawn()
    }

    /// `jobq run` with these options, running jobs.
    pub(crate) fn runner(&self, options: &[&str]) -> Running {
        let running = self.spawn(&[&["run"], options].concat());
        running.wait_until_said("is running jobs");
        running
    }

    /// `jobq run --drain` with these options, at its end.
    pub(crate) fn drain(&self, options: &[&str]) -> Output {
        self.run(&[&["run", "--drain"], options].concat())
    }

    /// `jobq enqueue` with these words; the number of the job.
    pub(crate) fn enqueue<A: AsRef<OsStr>>(&self, words: &[A]) -> i64 {
        let words = words.iter().map(AsRef::as_ref);
        let words: Vec<&OsStr> = [OsStr::new("enqueue")].into_iter().chain(words).collect();
        let id = self.stdout(&words);
        id.trim_end()
            .parse()
            .unwrap_or_else(|_| panic!("no number: {id:?}"))
    }

    /// Adds a batch of these lines; its output.
    pub(crate) fn enqueue_batch(&self, lines: &str) -> Output {
        let batch = self.call(&["enqueue", "--batch", "-"]).stdin(lines);
        batch.run().exits(0)
    }

    /// The objects that a call prints, one a line.
    pub(crate) fn json_lines<A: AsRef<OsStr>>(&self, args: &[A]) -> Vec<Value> {
        let text = self.call(args).arg("--json").run().exits(0).stdout;
        text.lines().map(parse_json).collect()
    }

    /// The one object that a call prints.
    pub(crate) fn json<A: AsRef<OsStr>>(&self, args: &[A]) -> Value {
        let mut lines = self.json_lines(args);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }

    /// A job in full.
    pub(crate) fn job(&self, id: i64) -> Value {
        self.json(&["status", &id.to_string()])
    }

    pub(crate) fn state(&self, id: i64) -> String {
        text(&self.job(id)["state"])
    }

    /// How many jobs there are in all states.
    pub(crate) fn total(&self) -> u64 {
        let status = self.json(&["status"]);
        let counts = status["counts"].as_object().unwrap();
        counts.values().map(|count| count.as_u64().unwrap()).sum()
    }

    /// How many jobs are in this state.
    pub(crate) fn count(&self, state: &str) -> u64 {
        self.json(&["status"])["counts"][state].as_u64().unwrap()
    }

    fn next_said(&self, call: &Command) -> Said {
        let number = self.calls.replace(self.calls.get() + 1);
        let file = |name: &str| self.folder().join("said").join(format!("{number}.{name}"));
        let args: Vec<_> = call.get_args().collect();
        Said {
            call: format!("jobq {args:?}"),
            stdout: file("stdout"),
            stderr: file("stderr"),
        }
    }
}

impl Call<'_> {
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub(crate) fn cwd(mut self, folder: impl AsRef<Path>) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// For a test that has other streams for it.
    pub(crate) fn into_command(self) -> Command {
        self.command
    }

    /// Comes through a pipe.
    pub(crate) fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.stdin = Some(bytes.as_ref().to_vec());
        self
    }

    pub(crate) fn spawn(mut self) -> Running {
        let said = self.jobq.next_said(&self.command);
        let stdin = match self.stdin {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        };
        let mut child = self
            .command
            .stdin(stdin)
            .stdout(File::create(&said.stdout).unwrap())
            .stderr(File::create(&said.stderr).unwrap())
            .spawn()
            .unwrap();
        if let Some(bytes) = self.stdin {
            // A call that fails early need not read it.
            let _ = child.stdin.take().unwrap().write_all(&bytes);
        }
        Running { child, said }
    }

    pub(crate) fn run(self) -> Output {
        self.spawn().wait()
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// From now on it can write no file beyond so many bytes; none: as before.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, limit).unwrap();
    }

    pub(crate) fn stdout(&self) -> String {
        lossy(&self.said.stdout)
    }

    pub(crate) fn stderr(&self) -> String {
        lossy(&self.said.stderr)
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Until stderr has this in it.
    pub(crate) fn wait_until_said(&self, text: &str) {
        let what = format!("{} says {text:?}", self.said.call);
        wait_until(&what, PATIENCE, || self.stderr().contains(text));
    }

    /// Until stdout has this in it.
    pub(crate) fn wait_until_printed(&self, text: &str) {
        let what = format!("{} prints {text:?}", self.said.call);
        wait_until(&what, PATIENCE, || self.stdout().contains(text));
    }

    pub(crate) fn wait(mut self) -> Output {
        let what = format!("{} ends", self.said.call);
        let status = wait_for(&what, PATIENCE, || self.child.try_wait().unwrap());
        let code = match status.signal() {
            Some(signal) => 128 + signal,
            None => status.code().unwrap(),
        };
        let output = Output {
            code,
            stdout: self.stdout(),
            stderr: self.stderr(),
        };
        // Where the system has no memory, the standard library ends the process so.
        let is_out_of_memory = output.stderr.contains("memory allocation of");
        for word in ["panicked at", "RUST_BACKTRACE", "stack backtrace"] {
            assert!(
                is_out_of_memory || !output.stderr.contains(word),
                "{}: {}",
                self.said.call,
                output.stderr
            );
        }
        output
    }

    /// Ends a runner as a service manager does.
    pub(crate) fn stop(self) -> Output {
        self.signal(Signal::TERM);
        self.wait()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A test that fails leaves no process behind.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Output {
    pub(crate) fn exits(self, code: i32) -> Output {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// It fails with this code, and says so as everything does: one error, which has these words in
    /// it, and nothing on stdout.
    pub(crate) fn fails(self, code: i32, words: &[&str]) -> Output {
        assert_eq!(self.code, code, "{self:#?}");
        let errors = self
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "));
        assert_eq!(errors.count(), 1, "{self:#?}");
        assert_eq!(self.stdout, "", "{self:#?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {self:#?}");
        }
        self
    }

    /// What to do next, as it is said after the error.
    pub(crate) fn hint(&self) -> &str {
        let hints = self
            .stderr
            .lines()
            .filter_map(|line| line.strip_prefix("hint: "));
        let hints: Vec<&str> = hints.collect();
        let [hint] = hints[..] else {
            panic!("one hint is wanted: {self:#?}")
        };
        hint
    }

    /// The tab-separated fields of stdout.
    pub(crate) fn rows(&self) -> Vec<Vec<&str>> {
        let lines = self.stdout.lines();
        lines.map(|line| line.split('\t').collect()).collect()
    }
}

/// Scripts call `jobq` by its name.
pub(crate) fn search_path() -> OsString {
    let own = Path::new(BINARY).parent().unwrap().to_owned();
    let rest = std::env::var_os("PATH").unwrap();
    std::env::join_paths([own].into_iter().chain(std::env::split_paths(&rest))).unwrap()
}

fn lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

pub(crate) fn parse_json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// A string of a JSON object.
pub(crate) fn text(value: &Value) -> String {
    let text = value.as_str();
    text.unwrap_or_else(|| panic!("no string: {value}"))
        .to_owned()
}

/// A time of a JSON object, in milliseconds since 1970.
pub(crate) fn millisecond(value: &Value) -> i64 {
    let time: jiff::Timestamp = text(value).parse().unwrap();
    time.as_millisecond()
}

/// The permission bits of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
