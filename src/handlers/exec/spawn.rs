//! Starting a command: finding it, its pipes, and what it means when it cannot be started.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::handlers::exec::environment::Environment;
use crate::handlers::exec::exit::End;
use crate::handlers::exec::launch::Launch;
use crate::handlers::exec::umask::Umask;

/// Where commands are looked for when there is no `PATH` at all.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The shell that is everywhere.
const SHELL: &str = "/bin/sh";

/// The most that an empty pipe takes without blocking, whatever the system's limits are.
const PIPE_MIN_BYTES: usize = 4096;

/// A command to be started: everything that it will see of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommandSpec {
    /// The program, and its arguments. A name without a slash is looked for in the `PATH` of `env`;
    /// a relative path starts at `cwd`.
    pub(crate) argv: Vec<OsString>,
    /// Where it runs; without one where this process does.
    pub(crate) cwd: Option<PathBuf>,
    /// Its whole environment.
    pub(crate) env: Environment,
    /// The umask that it begins with; without one this process's.
    pub(crate) umask: Option<Umask>,
}

/// A command that has been started, and this side of its pipes.
pub(super) struct Started<'a> {
    pub(super) pid: Pid,
    pub(super) feed: Option<Feed<'a>>,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// What a command finds on its stdin.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stdin<'a> {
    /// `/dev/null`.
    Nothing,
    /// This, and then its end.
    Text(&'a [u8]),
    /// A pipe that stays open.
    Open,
}

/// What is still to be written to a command's stdin.
pub(super) struct Feed<'a> {
    pub(super) pipe: OwnedFd,
    pub(super) left: &'a [u8],
}

/// Starts a command in a session of its own, and so in a process group of its own.
///
/// The program is looked up here and handed over as a path: the environment has a `PATH` of its own,
/// and it shows whether it was the command that is missing.
pub(super) fn spawn<'a>(spec: &CommandSpec, stdin: Stdin<'a>) -> Result<Started<'a>, End> {
    let Some(name) = spec.argv.first() else {
        return Err(End::NotFound("there is no command to run".to_owned()));
    };
    let program = find(name, spec)?;
    let by_shell = by_shell(spec, &program);
    let (path, spec) = match &by_shell {
        Some(by_shell) => (Path::new(SHELL), by_shell),
        None => (&*program, spec),
    };
    let started = Pipes::open(stdin).and_then(|pipes| {
        let pid = launch(spec, path, &pipes)?;
        // The far ends of the pipes go with this scope: from then on their end is reached when the
        // command has closed them.
        Ok(Started {
            pid,
            feed: pipes.stdin.1,
            stdout: pipes.stdout.0,
            stderr: pipes.stderr.0,
        })
    });
    started.map_err(|error| refused(&error, &program, spec))
}

fn launch(spec: &CommandSpec, program: &Path, pipes: &Pipes<'_>) -> io::Result<Pid> {
    let argv = spec.argv.iter().map(|arg| c_string(arg));
    let argv = argv.collect::<io::Result<Vec<_>>>()?;
    let environ = spec.env.iter().map(|(name, value)| {
        let mut entry = name.to_owned();
        entry.push("=");
        entry.push(value);
        c_string(&entry)
    });
    let environ = environ.collect::<io::Result<Vec<_>>>()?;
    let cwd = spec.cwd.as_ref().map(|cwd| c_string(cwd.as_os_str()));
    let cwd = cwd.transpose()?;
    Launch {
        program: &c_string(program.as_os_str())?,
        argv: &argv,
        environ: &environ,
        cwd: cwd.as_ref(),
        streams: [&pipes.stdin.0, &pipes.stdout.1, &pipes.stderr.1].map(AsFd::as_fd),
    }
    .start()
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    Ok(CString::new(text.as_bytes())?)
}

/// Where the umask is to be another than this process's: the same by a shell that sets it and becomes
/// the program. It is this process's for all of its threads, and posix_spawn knows no other.
fn by_shell(spec: &CommandSpec, program: &Path) -> Option<CommandSpec> {
    let umask = spec.umask?;
    if Umask::of_this_process() == Some(umask) {
        return None;
    }
    let script = format!(r#"umask {umask}; exec "$0" "$@""#);
    let shell = [SHELL.into(), "-c".into(), script.into(), program.into()];
    let arguments = spec.argv.iter().skip(1).cloned();
    Some(CommandSpec {
        argv: shell.into_iter().chain(arguments).collect(),
        umask: None,
        ..spec.clone()
    })
}

struct Pipes<'a> {
    stdin: (OwnedFd, Option<Feed<'a>>),
    stdout: (OwnedFd, OwnedFd),
    stderr: (OwnedFd, OwnedFd),
}

impl<'a> Pipes<'a> {
    fn open(stdin: Stdin<'a>) -> io::Result<Pipes<'a>> {
        Ok(Pipes {
            stdin: match stdin {
                Stdin::Nothing => (nothing()?, None),
                Stdin::Text(text) => stdin_pipe(text)?,
                Stdin::Open => {
                    let (reader, writer) = io::pipe()?;
                    rustix::io::ioctl_fionbio(&writer, true)?;
                    let pipe = writer.into();
                    (reader.into(), Some(Feed { pipe, left: &[] }))
                }
            },
            stdout: output_pipe()?,
            stderr: output_pipe()?,
        })
    }
}

fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((reader.into(), writer.into()))
}

/// A stdin with nothing in it. Where there is no `/dev/null` (in a bare container) it is a pipe that
/// nobody writes to: a command that reads it finds its end at once.
fn nothing() -> io::Result<OwnedFd> {
    match File::open("/dev/null") {
        Ok(file) => Ok(file.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(io::pipe()?.0.into()),
        Err(error) => Err(error),
    }
}

/// A short text is in the pipe before the command begins, and nothing is left to do.
fn stdin_pipe(text: &[u8]) -> io::Result<(OwnedFd, Option<Feed<'_>>)> {
    let (reader, writer) = io::pipe()?;
    let mut feed = Feed {
        pipe: writer.into(),
        left: text,
    };
    if text.len() > PIPE_MIN_BYTES {
        rustix::io::ioctl_fionbio(&feed.pipe, true)?;
        return Ok((reader.into(), Some(feed)));
    }
    while !feed.left.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::write(&feed.pipe, feed.left))?;
        feed.left = &feed.left[count..];
    }
    Ok((reader.into(), None))
}

/// The path of a program, as `execvp` would find it from inside the command's directory.
pub(super) fn find(name: &OsStr, spec: &CommandSpec) -> Result<PathBuf, End> {
    let at_home = |path: &Path| match &spec.cwd {
        Some(cwd) => cwd.join(path),
        None => path.to_owned(),
    };
    if name.as_bytes().contains(&b'/') {
        return Ok(at_home(Path::new(name)));
    }
    let dirs = spec.env.get("PATH").unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut forbidden = None;
    for dir in std::env::split_paths(dirs) {
        // An empty part of PATH is the command's directory; the `./` keeps it a path.
        let dir = if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &dir
        };
        let path = at_home(&dir.join(name));
        match access(&path, Access::EXEC_OK) {
            Ok(()) if path.is_file() => return Ok(path),
            // A part of PATH that may not be searched says nothing about the command.
            Err(Errno::ACCESS) if path.exists() => forbidden = Some(path),
            _ => {}
        }
    }
    Err(bad_cwd(name, spec).unwrap_or_else(|| match forbidden {
        Some(path) => End::CannotRun(format!("cannot run {}: permission denied", path.display())),
        None => End::NotFound(format!("command not found: {}", name.display())),
    }))
}

/// What it means that a command could not be started.
fn refused(error: &io::Error, program: &Path, spec: &CommandSpec) -> End {
    let program_shown = program.display();
    let errno = Errno::from_io_error(error);
    match errno {
        Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => {
            return End::NoRoom(format!("cannot run {program_shown} just now: {error}"));
        }
        // Somebody writes the program, or the disk that it lies on does not answer.
        Some(
            Errno::TXTBSY
            | Errno::STALE
            | Errno::IO
            | Errno::TIMEDOUT
            | Errno::NOTCONN
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NETDOWN
            | Errno::NETUNREACH,
        ) => return End::NotNow(format!("cannot run {program_shown} just now: {error}")),
        Some(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {
            if let Some(end) = bad_cwd(program.as_os_str(), spec) {
                return end;
            }
        }
        _ => {}
    }
    match errno {
        Some(Errno::NOENT) if program.exists() => End::CannotRun(format!(
            "cannot run {program_shown}: the interpreter that it names was not found"
        )),
        Some(Errno::NOENT | Errno::NOTDIR) => {
            End::NotFound(format!("command not found: {program_shown}"))
        }
        Some(Errno::NOEXEC) => End::CannotRun(format!(
            "cannot run {program_shown}: no program for this machine, and no script with a #! line"
        )),
        Some(Errno::ACCESS) if program.is_dir() => {
            End::CannotRun(format!("cannot run {program_shown}: it is a directory"))
        }
        Some(Errno::ACCESS) => {
            End::CannotRun(format!("cannot run {program_shown}: permission denied"))
        }
        _ => End::CannotRun(format!("cannot run {program_shown}: {error}")),
    }
}

/// The command's directory as the reason, if it is one. It may be there the next time: a disk is not
/// mounted yet, a folder is made by another job.
fn bad_cwd(name: &OsStr, spec: &CommandSpec) -> Option<End> {
    let cwd = spec.cwd.as_ref()?;
    let why = match cwd.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => "does not exist".to_owned(),
        Err(error) => format!("cannot be used: {error}"),
        Ok(metadata) if !metadata.is_dir() => "is not a directory".to_owned(),
        Ok(_) if access(cwd, Access::EXEC_OK).is_err() => "may not be entered".to_owned(),
        Ok(_) => return None,
    };
    let (name, cwd) = (name.display(), cwd.display());
    Some(End::NotNow(format!(
        "cannot run {name}: its working directory {cwd} {why}"
    )))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::handlers::exec::exit::CommandEnd;

    fn spec(program: &str, path: &str, cwd: Option<&Path>) -> CommandSpec {
        let mut env = Environment::inherited();
        env.set("PATH", path);
        CommandSpec {
            argv: vec![program.into()],
            cwd: cwd.map(Into::into),
            env,
            umask: None,
        }
    }

    fn script(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// ETXTBSY is another test's: its child holds our script open for writing until it execs.
    fn refusal(spec: &CommandSpec) -> End {
        loop {
            match spawn(spec, Stdin::Nothing) {
                Ok(started) => panic!("it ran: {:?}", started.pid),
                Err(End::NotNow(error)) if error.contains("just now") => std::thread::yield_now(),
                Err(end) => return end,
            }
        }
    }

    #[test]
    fn the_path_of_the_command_itself_is_searched_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["a", "b", "c"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        fs::create_dir(dir.path().join("a/tool")).unwrap();
        script(&dir.path().join("b/tool"), "#!/bin/sh\n", 0o755);
        script(&dir.path().join("c/tool"), "#!/bin/sh\n", 0o755);
        let found = find(
            OsStr::new("tool"),
            &spec("tool", "/nowhere:a:b:c", Some(dir.path())),
        );
        assert_eq!(found, Ok(dir.path().join("b/tool")));
    }

    #[test]
    fn a_relative_program_starts_in_the_commands_directory() {
        let dir = tempfile::tempdir().unwrap();
        script(&dir.path().join("tool"), "#!/bin/sh\n", 0o755);
        for (name, path) in [("./tool", "/nowhere"), ("tool", ":/nowhere")] {
            let found = find(OsStr::new(name), &spec(name, path, Some(dir.path()))).unwrap();
            assert_eq!(
                found.canonicalize().unwrap(),
                dir.path().canonicalize().unwrap().join("tool")
            );
        }
    }

    #[test]
    fn what_cannot_be_started_names_the_command_and_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        script(Path::new(&at("plain")), "#!/bin/sh\n", 0o644);
        script(Path::new(&at("orphan")), "#!/nowhere/python\n", 0o755);
        script(Path::new(&at("garbage")), "\x7f\x01\x02", 0o755);
        let path = dir.path().to_str().unwrap();
        for (program, code, part) in [
            (
                "no-such-tool".to_owned(),
                127,
                "command not found: no-such-tool",
            ),
            (at("missing"), 127, "missing"),
            (at("orphan"), 126, "interpreter"),
            (at("garbage"), 126, "#! line"),
            (path.to_owned(), 126, "it is a directory"),
        ] {
            let end = refusal(&spec(&program, path, None));
            let (End::NotFound(text) | End::CannotRun(text)) = &end else {
                panic!("{end:?}")
            };
            assert!(text.contains(part), "{program}: {text}");
            assert_eq!(CommandEnd::not_run(end).exit_code(), Some(code));
        }
        // For root every file may be executed that has a bit for anyone: here none has.
        for program in ["plain".to_owned(), at("plain")] {
            let End::CannotRun(text) = refusal(&spec(&program, path, None)) else {
                panic!()
            };
            assert!(text.contains("plain: permission denied"), "{text}");
        }
    }

    #[test]
    fn a_bad_working_directory_is_the_reason_that_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let (file, missing) = (dir.path().join("file"), dir.path().join("missing"));
        fs::write(&file, "").unwrap();
        for program in ["true", "/bin/true", "./tool"] {
            for (cwd, part) in [(&missing, "does not exist"), (&file, "is not a directory")] {
                let end = refusal(&spec(program, "/usr/bin:/bin", Some(cwd)));
                let End::NotNow(text) = end else {
                    panic!("{end:?}")
                };
                assert!(
                    text.contains(part) && text.contains(cwd.to_str().unwrap()),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn too_little_room_is_no_fault_of_the_command() {
        for errno in [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE] {
            let end = refused(&errno.into(), Path::new("/bin/x"), &spec("x", "/bin", None));
            let End::NoRoom(text) = end else {
                panic!("{errno:?} is {end:?}")
            };
            assert!(text.contains("/bin/x"));
        }
        for errno in [Errno::TXTBSY, Errno::STALE, Errno::IO] {
            let end = refused(&errno.into(), Path::new("/bin/x"), &spec("x", "/bin", None));
            assert!(matches!(end, End::NotNow(_)), "{errno:?} is {end:?}");
        }
        let end = refused(
            &Errno::TOOBIG.into(),
            Path::new("/bin/x"),
            &spec("x", "/bin", None),
        );
        assert!(matches!(end, End::CannotRun(_)));
    }
}
