//! What a persistent command uses for each of its jobs, as `/proc` shows it.

use crate::model::outcome::Usage;

/// Measures a process that works on one job after the other.
#[derive(Debug)]
pub(super) struct Meter {
    pid: i32,
    /// The processor time until the end of its last job.
    cpu_ms: u64,
}

impl Meter {
    pub(super) fn of(pid: i32) -> Meter {
        Meter { pid, cpu_ms: 0 }
    }

    /// A job begins: from now on the peak of its memory counts.
    pub(super) fn begin(&self) {
        #[cfg(target_os = "linux")]
        linux::reset_peak(self.pid);
    }

    /// A job has ended. What the process did since the last one counts too, so that nothing is left out.
    pub(super) fn end(&mut self) -> Usage {
        #[cfg(target_os = "linux")]
        if let Some(cpu_ms) = linux::cpu_ms(self.pid) {
            return Usage {
                exit_code: None,
                cpu_ms: Some(self.until(cpu_ms)),
                max_rss_bytes: linux::peak_bytes(self.pid),
            };
        }
        Usage::default()
    }

    /// The part of the processor time that is new.
    pub(super) fn until(&mut self, cpu_ms: u64) -> u64 {
        let before = std::mem::replace(&mut self.cpu_ms, cpu_ms);
        cpu_ms.saturating_sub(before)
    }

    /// The memory that the process and what it has started hold now.
    pub(super) fn held_bytes(&self) -> Option<u64> {
        #[cfg(target_os = "linux")]
        return linux::held_bytes(self.pid);
        #[cfg(not(target_os = "linux"))]
        None
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;

    use crate::runner::processes::{Process, children_of};

    /// The kernel's clock tick, as user programs see it (`USER_HZ`).
    pub(super) const MS_PER_TICK: u64 = 10;

    /// Its own time, and that of the children that it has waited for.
    pub(super) fn cpu_ms(pid: i32) -> Option<u64> {
        Some(Process::read(pid)?.cpu_ticks * MS_PER_TICK)
    }

    pub(super) fn reset_peak(pid: i32) {
        let _may_be_gone = fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }

    pub(super) fn peak_bytes(pid: i32) -> Option<u64> {
        status_bytes(pid, "VmHWM:")
    }

    pub(super) fn held_bytes(pid: i32) -> Option<u64> {
        let children = children_of(pid).into_iter();
        let of_children: u64 = children.filter_map(held_bytes).sum();
        Some(status_bytes(pid, "VmRSS:")? + of_children)
    }

    /// A line of `/proc/PID/status`, in kB there.
    fn status_bytes(pid: i32, name: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kilobytes * 1024)
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_measured_from_job_to_job() {
        let own = i32::try_from(std::process::id()).unwrap();
        let mut meter = Meter::of(own);
        meter.begin();
        let filled = vec![1u8; 64 << 20];
        let used = meter.end();
        assert!(std::hint::black_box(&filled).len() > 1);
        assert!(used.max_rss_bytes.unwrap() >= 64 << 20);
        assert!(meter.held_bytes().unwrap() >= 64 << 20);
        meter.until(5000);
        assert_eq!(meter.until(5020), 20);
    }

    #[test]
    fn the_time_of_a_job_is_not_that_of_the_next() {
        let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo; read line";
        let mut child = Command::new("/bin/sh")
            .args(["-c", busy])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut meter = Meter::of(i32::try_from(child.id()).unwrap());
        let mut said = [0; 1];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut said)
            .unwrap();
        assert!(meter.end().cpu_ms.unwrap() > 0);
        // From now on it waits.
        assert!(meter.end().cpu_ms.unwrap() <= linux::MS_PER_TICK);
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
