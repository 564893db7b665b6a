//! Clocks. No other file of the crate reads one.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// The source of wall-clock time for a queue: the system's clock, which is the default, or a
/// [`ManualClock`].
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Manual(ManualClock),
}

/// A clock that stands still until it is moved, for tests; all clones are moved together.
///
/// ```
/// use std::time::Duration;
/// use jobq::jiff::Timestamp;
/// use jobq::{ManualClock, Queue};
///
/// # let folder = tempfile::tempdir()?;
/// let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
/// let queue = Queue::options().clock(&clock).open(folder.path().join("jobs.db"))?;
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().as_second(), 60);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<ManualTime>);

#[derive(Debug)]
struct ManualTime {
    wall_ms: AtomicI64,
    boot_ms: AtomicI64,
}

impl ManualClock {
    /// A clock that stands still at `start`.
    pub fn new(start: Timestamp) -> ManualClock {
        ManualClock(Arc::new(ManualTime {
            wall_ms: AtomicI64::new(start.as_millisecond()),
            boot_ms: AtomicI64::new(0),
        }))
    }

    /// The clock's time.
    pub fn now(&self) -> Timestamp {
        timestamp(self.0.wall_ms.load(Ordering::SeqCst))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.wall_ms.fetch_add(millis(by), Ordering::SeqCst);
        self.0.boot_ms.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Sets the clock to `to` without time passing, as a user or NTP would.
    pub fn step(&self, to: Timestamp) {
        self.0.wall_ms.store(to.as_millisecond(), Ordering::SeqCst);
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Clock {
        Clock(Source::Manual(clock))
    }
}

impl From<&ManualClock> for Clock {
    fn from(clock: &ManualClock) -> Clock {
        clock.clone().into()
    }
}

impl Clock {
    /// Milliseconds since 1970, UTC.
    pub(crate) fn now_ms(&self) -> i64 {
        match &self.0 {
            Source::System => Timestamp::now().as_millisecond(),
            Source::Manual(clock) => clock.0.wall_ms.load(Ordering::SeqCst),
        }
    }

    /// Its reading now.
    pub(crate) fn reading(&self) -> ClockReading<'_> {
        ClockReading {
            boot: self.boot(),
            offset_ms: self.now_ms() - self.boot_ms(),
        }
    }

    /// The id of the machine's start: times since another start cannot be compared.
    pub(crate) fn boot(&self) -> &str {
        match &self.0 {
            Source::System => system_boot(),
            Source::Manual(_) => "manual",
        }
    }

    /// Milliseconds since the machine started, sleep included: steps of the wall clock do not show in it.
    pub(crate) fn boot_ms(&self) -> i64 {
        match &self.0 {
            Source::System => {
                #[cfg(any(target_os = "linux", target_os = "android"))]
                let clock = rustix::time::ClockId::Boottime;
                #[cfg(not(any(target_os = "linux", target_os = "android")))]
                let clock = rustix::time::ClockId::Monotonic;
                let now = rustix::time::clock_gettime(clock);
                now.tv_sec * 1000 + now.tv_nsec / 1_000_000
            }
            Source::Manual(clock) => clock.0.boot_ms.load(Ordering::SeqCst),
        }
    }
}

/// A reading of the wall clock and of the time since the machine was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockReading<'a> {
    /// The id of the machine's start: readings of different starts cannot be compared.
    pub(crate) boot: &'a str,
    pub(crate) offset_ms: i64,
}

/// Smaller steps are left to the clock's own drift.
pub(crate) const STEP_MS: i64 = 1000;

impl ClockReading<'_> {
    /// How far the clock has stepped since then; none if the machine may have been restarted, or if the
    /// system does not tell.
    pub(crate) fn step_since(self, known: ClockReading<'_>) -> Option<i64> {
        let is_same = self.boot == known.boot && self.boot != UNKNOWN_BOOT;
        is_same.then(|| self.offset_ms - known.offset_ms)
    }

    /// Whether the clock stands so differently that waits must be moved or the reading be renewed. A reading
    /// that does not know which start it is shows both by that, a step and another start.
    pub(crate) fn has_stepped_since(self, known: Option<ClockReading<'_>>) -> bool {
        known.is_none_or(|known| {
            let is_another = self.boot != UNKNOWN_BOOT && self.boot != known.boot;
            is_another || (known.offset_ms - self.offset_ms).abs() >= STEP_MS
        })
    }
}

/// This process's own monotonic time.
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// Monotonic time that all processes of the machine share.
#[cfg(feature = "cli")]
pub(crate) fn monotonic_ns() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// The processor time of all threads of this process.
#[cfg(feature = "cli")]
pub(crate) fn process_cpu_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    nanos(used.tv_sec * 1_000_000_000 + used.tv_nsec)
}

/// A duration of whole nanoseconds; negative values are zero.
#[cfg(feature = "cli")]
pub(crate) fn nanos(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// `wait` after `from`, clamped to a lifetime, as an `Instant` cannot hold more.
pub(crate) fn after(from: Instant, wait: Duration) -> Instant {
    const LIFETIME: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    from + wait.min(LIFETIME)
}

/// The id where the system does not tell which start of the machine this is.
pub(crate) const UNKNOWN_BOOT: &str = "unknown";

fn system_boot() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        id.map_or_else(|_| UNKNOWN_BOOT.to_owned(), |id| id.trim().to_owned())
    })
}

/// The IANA name of the system's time zone, or UTC if it has none.
pub(crate) fn local_zone() -> String {
    let zone = jiff::tz::TimeZone::system();
    let name = zone.iana_name().filter(|_| !zone.is_unknown());
    name.unwrap_or("UTC").to_owned()
}

/// A duration in whole milliseconds, clamped to an SQLite integer.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The timestamp for `ms` since 1970, clamped to jiff's range.
pub(crate) fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}
