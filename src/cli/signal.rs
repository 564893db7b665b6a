//! Signals that concern every verb, and how this process was told to treat them when it was started.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::SIGXFSZ;
use signal_hook::flag;

/// Takes the signal that comes where a file would become too large (`ulimit -f`): then the write fails, and
/// its error can be told, as of a full disk. What is caught, unlike what is ignored, is as usual again in
/// the commands of jobs.
pub(super) fn outlive_file_limit() -> io::Result<()> {
    outlive(SIGXFSZ)
}

/// Takes a signal for nothing.
pub(super) fn outlive(signal: i32) -> io::Result<()> {
    flag::register(signal, Arc::new(AtomicBool::new(false))).map(|_| ())
}

/// Whether whoever has started this process wants the signal to be ignored, as nohup(1) does with SIGHUP. To
/// be asked before it is caught.
pub(super) fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_ignored_by(&status, signal)
}

fn is_ignored_by(status: &str, signal: i32) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_signal_is_read_off_the_mask() {
        let status = "Name:\tjobq\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        let ignored: Vec<i32> = (1..=64).filter(|it| is_ignored_by(status, *it)).collect();
        assert_eq!(ignored, [1, 13]);
        assert!(!is_ignored_by("", 1));
    }
}
