//! Takes a protection away, so that a test can show that it would be missed.
//!
//! Compiled in only with the feature `fault-injection`, and even then off unless the environment
//! variable `JOBQ_FAULT` names the fault.

/// A protection that can be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Reports are accepted from attempts that no longer hold their job.
    NoFence,
    /// A runner's lock counts as free although its process lives.
    NoLock,
    /// A runner outlives the moment in which it has started a command.
    #[cfg_attr(not(feature = "exec"), allow(dead_code))]
    DiesAtStart,
}

#[cfg(feature = "fault-injection")]
pub(crate) fn is_on(fault: Fault) -> bool {
    use std::sync::OnceLock;
    static FAULTS: OnceLock<String> = OnceLock::new();
    let faults = FAULTS.get_or_init(|| std::env::var("JOBQ_FAULT").unwrap_or_default());
    let name = match fault {
        Fault::NoFence => "no-fence",
        Fault::NoLock => "no-lock",
        Fault::DiesAtStart => "dies-at-start",
    };
    faults.split(',').any(|on| on == name)
}

#[cfg(not(feature = "fault-injection"))]
pub(crate) const fn is_on(_: Fault) -> bool {
    false
}
