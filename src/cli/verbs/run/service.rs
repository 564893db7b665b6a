//! Running under systemd: says when it is ready, that it still works, and when it stops.

use std::sync::Once;
use std::time::{Duration, Instant};

use jobq::Runner;
use sd_notify::NotifyState;

use crate::cli::clock;

/// The connection to the service manager, where there is one.
pub(super) struct Service {
    /// It wants to hear this often that the runner works.
    watchdog: Option<Duration>,
    fed_at: Instant,
}

impl Service {
    /// Jobs are being run.
    pub(super) fn ready() -> Service {
        notify(NotifyState::Ready);
        Service {
            // Half the time, as systemd recommends.
            watchdog: sd_notify::watchdog_enabled().map(|timeout| timeout / 2),
            fed_at: clock::instant(),
        }
    }

    /// The time until the watchdog has to be fed again, where there is one.
    pub(super) fn pause(&self) -> Option<Duration> {
        let every = self.watchdog?;
        // A runner that is stuck for a moment is looked at again before the watchdog gives up.
        Some(every.saturating_sub(self.fed_at.elapsed()).max(every / 10))
    }

    /// Tells the watchdog that all is well; says nothing while the runner is stuck.
    pub(super) fn feed_watchdog(&mut self, runner: &Runner) {
        let Some(every) = self.watchdog else {
            return;
        };
        if self.fed_at.elapsed() >= every && runner.is_alive() {
            notify(NotifyState::Watchdog);
            self.fed_at = clock::instant();
        }
    }
}

/// What is asked for is there.
pub(crate) fn ready() {
    notify(NotifyState::Ready);
}

/// No more jobs are started. Told once, however often it is said.
pub(crate) fn stopping() {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| notify(NotifyState::Stopping));
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::warn!("the service manager cannot be told: {error}");
    }
}
