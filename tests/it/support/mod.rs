//! What the tests share: a folder of their own, real processes, what handlers leave behind, and
//! waiting for a condition.

pub(crate) mod booking;
pub(crate) mod checker;
pub(crate) mod child;
pub(crate) mod effects;
#[cfg(feature = "http-client")]
#[allow(dead_code, reason = "not every kind needs all of it")]
pub(crate) mod http_server;
pub(crate) mod lines;
pub(crate) mod notes;
pub(crate) mod place;
pub(crate) mod process;
pub(crate) mod task;
pub(crate) mod tokens;

use std::path::Path;
use std::time::{Duration, Instant};

use jobq::{Context, Handler, Outcome};
use rustix::time::{ClockId, clock_gettime};

/// Long enough for anything that happens at all on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Two looks at a condition lie so far apart.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Waits until `found` finds something; fails, naming `what`, when it has not after `within`.
pub(crate) fn wait_for<T>(what: &str, within: Duration, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {within:?} in vain: {what}"
        );
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Waits until `holds`; fails, naming `what`, when it does not after `within`.
pub(crate) fn wait_until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    wait_for(what, within, || holds().then_some(()));
}

/// Watches for `time` that `what` stays as it is; fails when it does not.
pub(crate) fn assert_stays<T: PartialEq + std::fmt::Debug>(
    what: &str,
    time: Duration,
    mut look: impl FnMut() -> T,
) {
    let before = look();
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        assert_eq!(look(), before, "{what} changed");
        std::thread::sleep(LOOK_EVERY * 10);
    }
}

/// The machine's monotonic time: the same for all processes, so that their moments can be compared.
pub(crate) fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec).unwrap(),
    )
}

/// A number from the environment, for the long campaigns: `JOBQ_SEED`, `JOBQ_ROUNDS`.
pub(crate) fn number_from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is no number")),
    )
}

/// A closure as a handler.
pub(crate) fn by<F: Fn(&Context) -> Outcome + Send + Sync + 'static>(run: F) -> impl Handler {
    By(run)
}

struct By<F>(F);

impl<F: Fn(&Context) -> Outcome + Send + Sync + 'static> Handler for By<F> {
    fn run(&self, ctx: &Context) -> Outcome {
        (self.0)(ctx)
    }
}

/// The names in a folder, in order.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}
