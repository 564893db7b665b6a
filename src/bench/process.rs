//! What the kernel says of this process.

use std::time::Duration;

use crate::clock;

/// What this process has caused to be written to the disk so far; none where the kernel does not say.
pub fn written_bytes() -> Option<u64> {
    proc_field("/proc/self/io", "write_bytes:")
}

/// The most memory that this process has had; none where the kernel does not say.
pub fn peak_memory_bytes() -> Option<u64> {
    Some(proc_field("/proc/self/status", "VmHWM:")? * 1024)
}

/// The processor time of all threads of this process so far.
pub fn cpu_time() -> Duration {
    clock::process_cpu_time()
}

fn proc_field(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_uses_the_processor() {
        assert!(peak_memory_bytes().unwrap() > 500_000);
        assert!(cpu_time() > Duration::ZERO);
    }
}
