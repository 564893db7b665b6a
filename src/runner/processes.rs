//! The processes of this machine, as far as the system shows them.

#[cfg(target_os = "linux")]
use std::{fs::File, io::Read};

#[cfg(target_os = "linux")]
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal},
};

/// A process, as `/proc/PID/stat` shows it.
#[cfg(target_os = "linux")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) state: u8,
    pub(crate) parent: i32,
    pub(crate) pgid: i32,
    pub(crate) session: i32,
    /// When it was started: clock ticks since the machine was.
    pub(crate) start_time: u64,
    /// Its processor time, and that of the children that it has waited for, in clock ticks.
    pub(crate) cpu_ticks: u64,
    /// Not while it is becoming another program.
    is_loaded: bool,
    is_environ_empty: bool,
}

/// Identifies a process among all since the machine was started: process ids are reused, but not with
/// the same start time.
#[cfg(target_os = "linux")]
pub(crate) type ProcessIdentity = (i32, u64);

#[cfg(target_os = "linux")]
impl Process {
    /// None where there is no such process, or none that may be seen.
    pub(crate) fn read(pid: i32) -> Option<Process> {
        Process::parse(pid, &std::fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Whether it is alive and not a zombie.
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x')
    }

    pub(crate) fn identity(&self) -> ProcessIdentity {
        (self.pid, self.start_time)
    }

    /// The environment its program was started with, each entry ended by a NUL; empty if it may not be
    /// read. None if that is not known yet: the process is just becoming another program.
    pub(crate) fn environ(&self) -> Option<Vec<u8>> {
        let path = format!("/proc/{}/environ", self.pid);
        for _ in 0..3 {
            match read_at_once(&path) {
                Ok(environ) if environ.is_empty() => {}
                Ok(environ) => return Some(environ),
                Err(_) => return Some(Vec::new()),
            }
            // It may have become that program between the two reads.
            let now = Process::read(self.pid)?;
            if now.is_environ_empty || !now.is_loaded {
                return now.is_loaded.then(Vec::new);
            }
        }
        None
    }

    /// Sends a signal to this process, and to no other that has got its process id meanwhile.
    pub(crate) fn signal(&self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.pid > 1) else {
            return;
        };
        // From here on the descriptor refers to the process with that id now, so the start time is
        // checked again.
        let sent = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) if Process::is_still(self) => pidfd_send_signal(process, signal),
            Ok(_) => return,
            Err(Errno::NOSYS) if Process::is_still(self) => kill_process(pid, signal),
            Err(error) => Err(error),
        };
        match sent {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => log::warn!("cannot send {signal:?} to process {}: {error}", self.pid),
        }
    }

    fn is_still(&self) -> bool {
        Process::read(self.pid).is_some_and(|now| now.start_time == self.start_time)
    }

    /// The name, in parentheses, may itself hold blanks, parentheses and any other bytes: what
    /// counts begins behind the last closing one, with field 3.
    fn parse(pid: i32, stat: &[u8]) -> Option<Process> {
        let name_end = stat.iter().rposition(|byte| *byte == b')')?;
        let fields = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let address = |number: usize| field(number)?.parse::<u64>().ok();
        Some(Process {
            pid,
            state: *field(3)?.as_bytes().first()?,
            parent: field(4)?.parse().ok()?,
            pgid: field(5)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            start_time: field(22)?.parse().ok()?,
            cpu_ticks: (14..=17).filter_map(address).sum(),
            // Where its code ends: the last that the kernel sets of a new program.
            is_loaded: address(27)? != 0,
            is_environ_empty: address(50) == address(51),
        })
    }
}

/// A file in one call: in what a process shows of itself, a second call may find another program.
#[cfg(target_os = "linux")]
fn read_at_once(path: &str) -> std::io::Result<Vec<u8>> {
    let mut size = 64 << 10;
    loop {
        let mut bytes = vec![0; size];
        let count = File::open(path)?.read(&mut bytes)?;
        if count < size {
            bytes.truncate(count);
            return Ok(bytes);
        }
        size *= 4;
    }
}

/// All living processes, without zombies and the kernel's own.
#[cfg(target_os = "linux")]
pub(crate) fn living() -> Vec<Process> {
    const KERNEL: i32 = 2;
    all()
        .filter(|process| process.is_alive() && process.parent != KERNEL && process.pid != KERNEL)
        .collect()
}

/// The memory of the processes of a session, in bytes: what they share counts once.
#[cfg(feature = "browser")]
#[cfg(target_os = "linux")]
pub(crate) fn memory_of_session(session: i32) -> u64 {
    let living = living();
    let members = living.iter().filter(|process| process.session == session);
    members.filter_map(|process| memory(process.pid)).sum()
}

/// Where processes cannot be listed it is not known.
#[cfg(feature = "browser")]
#[cfg(not(target_os = "linux"))]
pub(crate) fn memory_of_session(_: i32) -> u64 {
    0
}

#[cfg(feature = "browser")]
#[cfg(target_os = "linux")]
fn memory(pid: i32) -> Option<u64> {
    let read = |file: &str, name: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    };
    // A process in a sandbox lets nobody read the first; then what it shares is left out.
    read("smaps_rollup", "Pss:").or_else(|| read("status", "RssAnon:"))
}

/// The children of a process, zombies as well.
#[cfg(target_os = "linux")]
pub(crate) fn children_of(parent: i32) -> Vec<i32> {
    children_of_threads(parent).unwrap_or_else(|| {
        let children = all().filter(|process| process.parent == parent);
        children.map(|process| process.pid).collect()
    })
}

/// As the kernel lists them; not every one is built to.
#[cfg(target_os = "linux")]
fn children_of_threads(parent: i32) -> Option<Vec<i32>> {
    let mut children = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{parent}/task")).ok()? {
        match std::fs::read_to_string(thread.ok()?.path().join("children")) {
            Ok(list) => children.extend(list.split_whitespace().filter_map(|pid| {
                let pid: Option<i32> = pid.parse().ok();
                pid
            })),
            // The thread has ended meanwhile, and its children are another's, or there is no such list.
            Err(_) => return None,
        }
    }
    Some(children)
}

#[cfg(target_os = "linux")]
fn all() -> impl Iterator<Item = Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(Process::read)
}

/// When this process was started.
#[cfg(target_os = "linux")]
pub(crate) fn own_start_time() -> Option<u64> {
    Process::read(own_pid()).map(|process| process.start_time)
}

/// Nobody asks for it where processes cannot be listed.
#[cfg(not(target_os = "linux"))]
pub(crate) fn own_start_time() -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
pub(crate) fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_anything_in_it_confuses_nobody() {
        let rest = "S 1 77 66 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2 3 4 5";
        for name in ["sh", "a b", "x) R 1 2 3", "((", "\n) Z"] {
            let process = Process::parse(5, format!("5 ({name}) {rest}\n").as_bytes()).unwrap();
            let expected = Process {
                pid: 5,
                state: b'S',
                parent: 1,
                pgid: 77,
                session: 66,
                start_time: 98765,
                cpu_ticks: 0,
                is_loaded: true,
                is_environ_empty: true,
            };
            assert_eq!(process, expected, "{name}");
        }
        assert!(Process::parse(5, b"5 (\xff) S 1 77 66 0").is_none());
        assert!(Process::parse(5, b"").is_none());
    }

    #[test]
    fn this_process_is_among_the_living_with_its_environment() {
        let living = living();
        let own = living.iter().find(|process| process.pid == own_pid());
        let own = own.unwrap();
        assert_eq!(Some(own.start_time), own_start_time());
        assert!(own.is_still());
        let path = std::env::var("PATH").unwrap();
        let environ = String::from_utf8(own.environ().unwrap()).unwrap();
        assert!(environ.contains(&format!("PATH={path}\0")));
    }

    #[test]
    fn a_signal_is_not_sent_to_a_process_of_another_start_time() {
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let process = Process::read(child.id() as i32).unwrap();
        let other = Process {
            start_time: process.start_time + 1,
            ..process.clone()
        };
        other.signal(Signal::KILL);
        assert!(child.try_wait().unwrap().is_none());
        process.signal(Signal::KILL);
        assert!(!child.wait().unwrap().success());
    }
}
