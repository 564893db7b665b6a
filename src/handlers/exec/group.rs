//! Who is in a process group, as far as the system tells.

use rustix::process::Pid;

/// A process, as `/proc/PID/stat` shows it.
#[cfg(target_os = "linux")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) state: u8,
    pub(super) pgid: i32,
    pub(super) session: i32,
    /// When it was started: clock ticks since the machine was.
    pub(super) start_time: u64,
}

#[cfg(target_os = "linux")]
impl Process {
    /// None where there is no such process, or none that may be seen.
    pub(super) fn read(pid: i32) -> Option<Process> {
        Process::parse(pid, &std::fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Whether it still does something: it is no zombie.
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// The name, in parentheses, may itself hold blanks, parentheses and any other bytes: what
    /// counts begins behind the last closing one, with field 3.
    fn parse(pid: i32, stat: &[u8]) -> Option<Process> {
        let name_end = stat.iter().rposition(|byte| *byte == b')')?;
        let fields = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Process {
            pid,
            state: *field(3)?.as_bytes().first()?,
            pgid: field(5)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            start_time: field(22)?.parse().ok()?,
        })
    }
}

/// The living members of a process group.
#[cfg(target_os = "linux")]
pub(super) fn members(pgid: i32) -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let in_group = |process: &Process| process.pgid == pgid && process.is_alive();
    pids.filter_map(Process::read).filter(in_group).collect()
}

/// Whether nothing of a process group is alive, a zombie that leads it left aside.
#[cfg(target_os = "linux")]
pub(super) fn is_empty(leader: Pid) -> bool {
    members(leader.as_raw_nonzero().get()).is_empty()
}

/// Whether nothing of a process group is alive: elsewhere than on Linux zombies get no signals.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_empty(leader: Pid) -> bool {
    rustix::process::test_kill_process_group(leader).is_err()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_anything_in_it_confuses_nobody() {
        let rest = "S 1 77 66 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2";
        for name in ["sh", "a b", "x) R 1 2 3", "((", "\n) Z"] {
            let process = Process::parse(5, format!("5 ({name}) {rest}\n").as_bytes()).unwrap();
            let expected = Process {
                pid: 5,
                state: b'S',
                pgid: 77,
                session: 66,
                start_time: 98765,
            };
            assert_eq!(process, expected, "{name}");
        }
        assert!(Process::parse(5, b"5 (\xff) S 1 77 66 0").is_none());
        assert!(Process::parse(5, b"").is_none());
    }

    #[test]
    fn this_process_is_in_its_own_group() {
        let own = std::process::id() as i32;
        let process = Process::read(own).unwrap();
        assert!(process.is_alive());
        assert!(members(process.pgid).iter().any(|member| member.pid == own));
    }
}
