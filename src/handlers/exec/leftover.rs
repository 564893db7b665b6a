//! Ending what the command of a dead runner has left running.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A process group that a runner started, in words that hold when the runner is gone.
///
/// A number alone does not: it is given to other processes later. So the mark knows when the
/// group's leader was started, in which session, and on which machine, since which start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessMark {
    /// The number of the group, which is its leader's.
    pub(crate) pgid: i32,
    /// When the leader was started: clock ticks since the machine was.
    pub(crate) start_time: u64,
    /// The session that it was started in.
    pub(crate) session: i32,
    /// The machine since its last start; in a container, the container since its start.
    pub(crate) place: String,
}

/// What came of the attempt to end what was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leftover {
    /// There was nothing, or nothing that is surely the marked group's.
    Nothing,
    /// There was something, and it is gone.
    Ended,
    /// There is something that could not be ended in time.
    Survives,
}

impl fmt::Display for ProcessMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {}",
            self.pgid, self.start_time, self.session, self.place
        )
    }
}

impl FromStr for ProcessMark {
    type Err = Error;

    fn from_str(line: &str) -> Result<ProcessMark, Error> {
        parse(line).ok_or_else(|| Error::invalid(format!("{line:?} marks no process group")))
    }
}

/// A group below 2 is never a command's: 0 and 1 would mean this process's own, and everybody.
fn parse(line: &str) -> Option<ProcessMark> {
    let mut words = line.split_ascii_whitespace();
    let mark = ProcessMark {
        pgid: words.next()?.parse().ok().filter(|pgid| *pgid > 1)?,
        start_time: words.next()?.parse().ok()?,
        session: words.next()?.parse().ok()?,
        place: words.next()?.to_owned(),
    };
    words.next().is_none().then_some(mark)
}

#[cfg(not(target_os = "linux"))]
impl ProcessMark {
    /// There is no `/proc` to read it from: always none.
    pub(crate) fn of(_pid: i32) -> Option<ProcessMark> {
        None
    }

    /// Nothing that could be recognised.
    pub(crate) fn end(&self, _environ: &[String]) -> Leftover {
        Leftover::Nothing
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::OnceLock;
    use std::time::Duration;

    use rustix::event::{Timespec, poll};
    use rustix::process::{Pid, Signal, kill_process_group};

    use super::super::group::{Process, members};
    use super::{Leftover, ProcessMark};
    use crate::clock;

    /// How long SIGKILL may take to be obeyed.
    const OBEYED_WITHIN: Duration = Duration::from_secs(1);

    /// The time between two looks whether it has been.
    const LOOK_EVERY: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 5_000_000,
    };

    impl ProcessMark {
        /// The mark of a command that this process has just started as the leader of its group.
        pub(crate) fn of(pid: i32) -> Option<ProcessMark> {
            let process = Process::read(pid)?;
            Some(ProcessMark {
                pgid: pid,
                start_time: process.start_time,
                session: process.session,
                place: place()?.to_owned(),
            })
        }

        /// Ends what is left of the group: SIGKILL to all of it at once, for the runner that could
        /// have waited for it is dead, and its job is about to run anew. Waits up to a second until
        /// it is gone.
        ///
        /// While the leader is there (the same number with the same start time), the group is the
        /// marked one. Without it, the number may have passed to another group since; then one of
        /// its members must have been started in the same session, not before the leader, and with
        /// all of `environ` (`JOBQ_JOB_ID=42`, `JOBQ_ATTEMPT=1` …) in its environment, else nothing
        /// is touched.
        pub(crate) fn end(&self, environ: &[String]) -> Leftover {
            let Some(pgid) = Pid::from_raw(self.pgid).filter(|_| self.pgid > 1) else {
                return Leftover::Nothing;
            };
            if place() != Some(&self.place) || !self.is_still_there(environ) {
                return Leftover::Nothing;
            }
            if let Err(error) = kill_process_group(pgid, Signal::KILL) {
                log::warn!("cannot end process group {}: {error}", self.pgid);
            }
            let deadline = clock::instant() + OBEYED_WITHIN;
            while !members(self.pgid).is_empty() {
                if clock::instant() >= deadline {
                    return Leftover::Survives;
                }
                // No descriptor: a sleep.
                let _slept = poll(&mut [], Some(&LOOK_EVERY));
            }
            Leftover::Ended
        }

        fn is_still_there(&self, environ: &[String]) -> bool {
            let members = members(self.pgid);
            match Process::read(self.pgid) {
                // The number is given to no new process while the group has members. So another
                // process with it says that the group had none left.
                Some(leader) => leader.start_time == self.start_time && !members.is_empty(),
                None => members.iter().any(|member| self.is_proven(member, environ)),
            }
        }

        fn is_proven(&self, member: &Process, environ: &[String]) -> bool {
            member.session == self.session
                && member.start_time >= self.start_time
                && !environ.is_empty()
                && has_environ(member.pid, environ)
        }
    }

    fn has_environ(pid: i32, wanted: &[String]) -> bool {
        let Ok(own) = std::fs::read(format!("/proc/{pid}/environ")) else {
            return false;
        };
        let has = |entry: &String| {
            own.split(|byte| *byte == 0)
                .any(|own| own == entry.as_bytes())
        };
        wanted.iter().all(has)
    }

    /// The machine's boot id, the pid namespace, and when that was started: what a process number
    /// has to be read with.
    fn place() -> Option<&'static str> {
        static PLACE: OnceLock<Option<String>> = OnceLock::new();
        let read = || {
            let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
            let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
            let first = Process::read(1).map_or(0, |process| process.start_time);
            Some(format!("{}/{}/{first}", boot.trim(), namespace.to_str()?))
        };
        PLACE.get_or_init(read).as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_as_it_was_written() {
        let line = "4711 98765 42 3d2a/pid:[4026531836]/30";
        let mark: ProcessMark = line.parse().unwrap();
        assert_eq!(
            (mark.pgid, mark.start_time, mark.session),
            (4711, 98765, 42)
        );
        assert_eq!(mark.to_string(), line);
    }

    #[test]
    fn a_line_that_marks_nothing_is_refused() {
        for line in [
            "",
            "1 2 3 x",
            "0 2 3 x",
            "-5 2 3 x",
            "7 2 3",
            "7 x 3 y",
            "7 2 3 x y",
        ] {
            assert!(line.parse::<ProcessMark>().is_err(), "{line:?}");
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod process_tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

    use super::super::group::members;
    use super::*;

    /// A group that has said `ready`, with its leader or without. Taken down when dropped.
    struct Group {
        leader: Child,
        mark: ProcessMark,
    }

    impl Group {
        fn start(script: &str) -> Group {
            let mut leader = Command::new("/bin/sh")
                .args(["-c", script])
                .env("JOBQ_JOB_ID", "7")
                .env("JOBQ_ATTEMPT", "2")
                .process_group(0)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mark = ProcessMark::of(leader.id() as i32).unwrap();
            let mut line = String::new();
            BufReader::new(leader.stdout.as_mut().unwrap())
                .read_line(&mut line)
                .unwrap();
            assert_eq!(line, "ready\n");
            Group { leader, mark }
        }

        /// One whose leader has gone and been reaped, while a member is left.
        fn without_leader() -> Group {
            let mut group = Group::start("sleep 600 & echo ready; read line");
            drop(group.leader.stdin.take());
            group.leader.wait().unwrap();
            group
        }

        fn is_alive(&self) -> bool {
            !members(self.mark.pgid).is_empty()
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            let pgid = Pid::from_raw(self.mark.pgid).unwrap();
            if self.is_alive() && test_kill_process_group(pgid).is_ok() {
                kill_process_group(pgid, Signal::KILL).unwrap();
            }
            self.leader.wait().unwrap();
        }
    }

    fn environ(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|entry| (*entry).to_owned()).collect()
    }

    #[test]
    fn a_group_that_ignores_signals_is_ended_with_its_leader() {
        let group = Group::start("trap '' TERM HUP INT; sleep 600 & echo ready; wait; sleep 600");
        assert_eq!(members(group.mark.pgid).len(), 2);
        assert_eq!(group.mark.end(&[]), Leftover::Ended);
        assert!(!group.is_alive());
        assert_eq!(group.mark.end(&[]), Leftover::Nothing);
    }

    #[test]
    fn a_mark_survives_being_written_down() {
        let group = Group::start("echo ready; sleep 600");
        let mark: ProcessMark = group.mark.to_string().parse().unwrap();
        assert_eq!(mark, group.mark);
        assert_eq!(mark.end(&[]), Leftover::Ended);
    }

    #[test]
    fn what_outlives_its_leader_is_ended_when_its_environment_proves_it() {
        let group = Group::without_leader();
        for wrong in [
            &[][..],
            &["JOBQ_JOB_ID=7", "JOBQ_ATTEMPT=3"],
            &["JOBQ_JOB_ID=77"],
        ] {
            assert_eq!(group.mark.end(&environ(wrong)), Leftover::Nothing);
            assert!(group.is_alive(), "{wrong:?}");
        }
        let right = environ(&["JOBQ_JOB_ID=7", "JOBQ_ATTEMPT=2"]);
        assert_eq!(group.mark.end(&right), Leftover::Ended);
        assert!(!group.is_alive());
    }

    #[test]
    fn a_group_that_is_another_is_left_alone() {
        let group = Group::start("echo ready; sleep 600");
        let mark = &group.mark;
        for other in [
            ProcessMark {
                start_time: mark.start_time + 1,
                ..mark.clone()
            },
            ProcessMark {
                start_time: mark.start_time - 1,
                ..mark.clone()
            },
            ProcessMark {
                place: "another-boot".to_owned(),
                ..mark.clone()
            },
            ProcessMark {
                pgid: 0,
                ..mark.clone()
            },
            ProcessMark {
                pgid: 1,
                ..mark.clone()
            },
        ] {
            let right = environ(&["JOBQ_JOB_ID=7", "JOBQ_ATTEMPT=2"]);
            assert_eq!(other.end(&right), Leftover::Nothing, "{other}");
            assert!(group.is_alive(), "{other}");
        }
    }

    #[test]
    fn members_of_another_session_or_an_older_time_prove_nothing() {
        let group = Group::without_leader();
        let mark = &group.mark;
        let right = environ(&["JOBQ_JOB_ID=7", "JOBQ_ATTEMPT=2"]);
        for other in [
            ProcessMark {
                session: mark.session + 1,
                ..mark.clone()
            },
            ProcessMark {
                start_time: mark.start_time + 1_000_000,
                ..mark.clone()
            },
        ] {
            assert_eq!(other.end(&right), Leftover::Nothing, "{other}");
            assert!(group.is_alive(), "{other}");
        }
    }
}
