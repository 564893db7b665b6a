//! Starting a program in a session of its own, and reaping it: the one file with `unsafe`.
//!
//! The standard library cannot start a program in a new session: its `CommandExt::setsid` is not
//! stable, and `pre_exec` copies this process by fork(2) for each command, which costs more the more
//! memory a runner has. posix_spawn(3) does not copy it, so it is called here. Nor does the standard
//! library, or rustix, say what a reaped process has used: wait4(2) does.

#![allow(
    unsafe_code,
    reason = "posix_spawn and wait4 are C functions, and no crate in use wraps what is needed of them"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::Pid;

use crate::handlers::exec::exit::ResourceUsage;

/// A program to start, and what it finds when it begins.
pub(super) struct Launch<'a> {
    /// The path of the program.
    pub(super) program: &'a CString,
    /// Its arguments, the first of them its name.
    pub(super) argv: &'a [CString],
    /// Its environment, each as `NAME=value`.
    pub(super) environ: &'a [CString],
    /// Where it begins; without one where this process is.
    pub(super) cwd: Option<&'a CString>,
    /// Its stdin, stdout and stderr.
    pub(super) streams: [BorrowedFd<'a>; 3],
}

/// A process of this one that has ended.
pub(super) struct Reaped {
    pub(super) status: ExitStatus,
    pub(super) usage: ResourceUsage,
}

impl Launch<'_> {
    /// Starts the program as the leader of a new session and process group, without a controlling
    /// terminal, with all signals as a fresh process has them.
    ///
    /// # Errors
    /// What fork(2), chdir(2) or execve(2) answer: it has not begun then.
    #[cfg(target_os = "linux")]
    pub(super) fn start(&self) -> io::Result<Pid> {
        linux::start(self)
    }

    /// The same by way of fork(2), where not every system has posix_spawn with a new session.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn start(&self) -> io::Result<Pid> {
        portable::start(self)
    }
}

/// Waits until a child of this process has ended, and takes its exit status.
///
/// # Errors
/// It is not a child of this process, or was already reaped.
pub(super) fn reap(pid: Pid) -> io::Result<Reaped> {
    let mut status = 0;
    // SAFETY: all fields of `rusage` are numbers, for which zero is a value.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers lead to values that live as long as the call.
        let waited = unsafe { libc::wait4(pid.as_raw_nonzero().get(), &mut status, 0, &mut used) };
        if waited >= 0 {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(Reaped {
        status: ExitStatus::from_raw(status),
        usage: usage(&used),
    })
}

fn usage(used: &libc::rusage) -> ResourceUsage {
    let millis = |time: libc::timeval| {
        let of = |count: i128| u64::try_from(count).unwrap_or(0);
        of(i128::from(time.tv_sec) * 1000 + i128::from(time.tv_usec) / 1000)
    };
    let max_rss = u64::try_from(used.ru_maxrss).unwrap_or(0);
    ResourceUsage {
        cpu_ms: millis(used.ru_utime) + millis(used.ru_stime),
        // Apple counts bytes, everybody else kibibytes.
        max_rss_bytes: if cfg!(target_vendor = "apple") {
            max_rss
        } else {
            max_rss * 1024
        },
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::{CString, c_char, c_int};
    use std::io;
    use std::mem::MaybeUninit;
    use std::os::fd::AsRawFd;
    use std::ptr;

    use rustix::process::Pid;

    use super::Launch;

    /// What posix_spawn(3) does in the new process before the program begins.
    struct Actions(libc::posix_spawn_file_actions_t);

    /// What it makes of the new process.
    struct Attributes(libc::posix_spawnattr_t);

    pub(super) fn start(launch: &Launch<'_>) -> io::Result<Pid> {
        let mut actions = Actions::new()?;
        if let Some(cwd) = launch.cwd {
            // SAFETY: the actions are initialised; the path is copied.
            check(unsafe {
                libc::posix_spawn_file_actions_addchdir_np(&mut actions.0, cwd.as_ptr())
            })?;
        }
        for (at, stream) in (0..).zip(&launch.streams) {
            // SAFETY: the actions are initialised, and the descriptor is open until they are done.
            check(unsafe {
                libc::posix_spawn_file_actions_adddup2(&mut actions.0, stream.as_raw_fd(), at)
            })?;
        }
        let attributes = Attributes::of_a_fresh_session()?;
        let (argv, environ) = (pointers(launch.argv), pointers(launch.environ));
        let mut pid = 0;
        // SAFETY: all pointers lead to values that live as long as the call, which changes none of
        // them but `pid`; both lists end with a null pointer.
        check(unsafe {
            libc::posix_spawn(
                &mut pid,
                launch.program.as_ptr(),
                &actions.0,
                &attributes.0,
                argv.as_ptr(),
                environ.as_ptr(),
            )
        })?;
        Pid::from_raw(pid).ok_or_else(|| io::Error::other("the new process has no number"))
    }

    /// What C takes for a list of strings. It is declared to change them, and does not.
    fn pointers(strings: &[CString]) -> Vec<*mut c_char> {
        let strings = strings.iter().map(|string| string.as_ptr().cast_mut());
        strings.chain([ptr::null_mut()]).collect()
    }

    fn check(code: c_int) -> io::Result<()> {
        match code {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }

    impl Actions {
        fn new() -> io::Result<Actions> {
            let mut actions = MaybeUninit::uninit();
            // SAFETY: it is what initialises them.
            check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
            // SAFETY: they are initialised.
            Ok(Actions(unsafe { actions.assume_init() }))
        }
    }

    impl Drop for Actions {
        fn drop(&mut self) {
            // SAFETY: they are initialised, and nobody uses them after this.
            unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
        }
    }

    impl Attributes {
        /// A session of its own; no signal is ignored or held back, whatever this process does.
        fn of_a_fresh_session() -> io::Result<Attributes> {
            const FLAGS: c_int = libc::POSIX_SPAWN_SETSID as c_int
                | libc::POSIX_SPAWN_SETSIGDEF as c_int
                | libc::POSIX_SPAWN_SETSIGMASK as c_int;
            let mut attributes = MaybeUninit::uninit();
            // SAFETY: it is what initialises them.
            check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
            // SAFETY: they are initialised.
            let mut attributes = Attributes(unsafe { attributes.assume_init() });
            let (mut all, mut none) = (MaybeUninit::uninit(), MaybeUninit::uninit());
            // SAFETY: the two sets are initialised by the first calls; the others copy them.
            unsafe {
                libc::sigfillset(all.as_mut_ptr());
                libc::sigemptyset(none.as_mut_ptr());
                check(libc::posix_spawnattr_setsigdefault(
                    &mut attributes.0,
                    all.as_ptr(),
                ))?;
                check(libc::posix_spawnattr_setsigmask(
                    &mut attributes.0,
                    none.as_ptr(),
                ))?;
                check(libc::posix_spawnattr_setflags(
                    &mut attributes.0,
                    FLAGS as _,
                ))?;
            }
            Ok(attributes)
        }
    }

    impl Drop for Attributes {
        fn drop(&mut self) {
            // SAFETY: they are initialised, and nobody uses them after this.
            unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use std::ffi::OsStr;
    use std::io;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use rustix::process::Pid;

    use super::Launch;

    pub(super) fn start(launch: &Launch<'_>) -> io::Result<Pid> {
        let text = |string: &std::ffi::CString| OsStr::from_bytes(string.to_bytes()).to_owned();
        let [stdin, stdout, stderr] = &launch.streams;
        let mut command = Command::new(text(launch.program));
        let mut argv = launch.argv.iter().map(text);
        if let Some(name) = argv.next() {
            command.arg0(name);
        }
        command.args(argv).env_clear();
        for entry in launch.environ {
            let entry = entry.to_bytes();
            let end = entry.iter().position(|byte| *byte == b'=');
            let (name, value) = entry.split_at(end.unwrap_or(entry.len()));
            let value = value.get(1..).unwrap_or_default();
            command.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
        }
        if let Some(cwd) = launch.cwd {
            command.current_dir(text(cwd));
        }
        command
            .stdin(stdin.try_clone_to_owned()?)
            .stdout(stdout.try_clone_to_owned()?)
            .stderr(stderr.try_clone_to_owned()?);
        // SAFETY: setsid(2) may be called between fork and exec; it takes no lock and no memory.
        unsafe { command.pre_exec(|| Ok(rustix::process::setsid().map(|_| ())?)) };
        Ok(Pid::from_child(&command.spawn()?))
    }
}
