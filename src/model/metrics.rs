//! Metrics: how attempts went, added up by time, queue, kind and outcome.

mod prometheus;
pub(crate) mod snapshot;
pub(crate) mod stats;

use std::time::Duration;

use jiff::Timestamp;

use crate::model::event::EventKind;

/// Numbers of durations by their length, in bins that are at most an eighth wide of where they begin. From 8 µs on
/// each power of two has eight bins; below it each microsecond has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Bins that are not empty, in order.
    bins: Vec<(u16, u64)>,
}

/// Number of bins of each power of two.
const BINS: u64 = 8;
/// The last bin: that of the longest duration.
const LAST_BIN: u16 = bin_of(u64::MAX);

const fn bin_of(us: u64) -> u16 {
    if us < BINS {
        return us as u16;
    }
    let exponent = us.ilog2() - BINS.ilog2();
    (exponent as u64 * BINS + (us >> exponent)) as u16
}

/// The shortest duration of a bin, in microseconds.
fn start_of(bin: u16) -> u64 {
    let bin = u64::from(bin);
    if bin < BINS {
        return bin;
    }
    let exponent = bin / BINS - 1;
    (BINS + bin % BINS) << exponent
}

/// Where the next bin begins; the last bin has no end.
fn end_of(bin: u16) -> u64 {
    match bin {
        LAST_BIN => u64::MAX,
        bin => start_of(bin + 1),
    }
}

impl Histogram {
    /// Adds a duration.
    pub fn add(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.add_to(bin_of(us), 1);
    }

    fn add_to(&mut self, bin: u16, count: u64) {
        match self.bins.binary_search_by_key(&bin, |(bin, _)| *bin) {
            Ok(at) => self.bins[at].1 = self.bins[at].1.saturating_add(count),
            Err(at) => self.bins.insert(at, (bin, count)),
        }
    }

    /// Adds the durations of another.
    pub fn merge(&mut self, other: &Histogram) {
        if other.bins.is_empty() {
            return;
        }
        // Both are in order, and neither is looked through for each bin of the other.
        let mut sum = Vec::with_capacity(self.bins.len().max(other.bins.len()));
        let mut own = self.bins.iter().peekable();
        for (bin, count) in &other.bins {
            while let Some(before) = own.next_if(|(own, _)| own < bin) {
                sum.push(*before);
            }
            let same = own.next_if(|(own, _)| own == bin);
            let before = same.map_or(0, |(_, count)| *count);
            sum.push((*bin, before.saturating_add(*count)));
        }
        sum.extend(own);
        self.bins = sum;
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        let counts = self.bins.iter().map(|(_, count)| *count);
        counts.fold(0, u64::saturating_add)
    }

    /// The duration that the share `quantile` of all (0.5: half of them) does not exceed, to about 6 %; none if there
    /// are none.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let count = self.count();
        let rank = (quantile.clamp(0.0, 1.0) * count as f64).ceil().max(1.0) as u64;
        let mut before = 0_u64;
        for (bin, count) in &self.bins {
            before = before.saturating_add(*count);
            if before >= rank {
                let (start, end) = (start_of(*bin), end_of(*bin) - 1);
                return Some(Duration::from_micros(start + (end - start) / 2));
            }
        }
        None
    }

    /// The number of durations that are surely shorter than this: exact for powers of two of a microsecond.
    pub fn count_below(&self, duration: Duration) -> u64 {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let below = self.bins.iter().filter(|(bin, _)| end_of(*bin) <= us);
        below.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// JSON: the first bin and its number, the second and its number, and so on.
    pub(crate) fn to_json(&self) -> String {
        let mut json = String::from("[");
        for (bin, count) in &self.bins {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(&format!("{bin},{count}"));
        }
        json.push(']');
        json
    }

    /// What is not such JSON has no durations.
    pub(crate) fn from_json(json: &str) -> Histogram {
        let mut histogram = Histogram::default();
        for (bin, count) in bins(json).unwrap_or_default() {
            match histogram.bins.last() {
                Some((last, _)) if *last >= bin => histogram.add_to(bin, count),
                _ => histogram.bins.push((bin, count)),
            }
        }
        histogram
    }
}

/// The bins of the JSON that jobq writes, which has no blanks: a chart reads many thousands of them. None: it is not such
/// JSON.
fn bins(json: &str) -> Option<Vec<(u16, u64)>> {
    let numbers = json.strip_prefix('[')?.strip_suffix(']')?.as_bytes();
    let mut bins = Vec::with_capacity(numbers.len() / 6);
    let mut bin = None;
    let mut value = 0_u64;
    for byte in numbers.iter().chain(b",") {
        if byte.is_ascii_digit() {
            let digit = u64::from(byte - b'0');
            value = value.checked_mul(10)?.checked_add(digit)?;
            continue;
        }
        if *byte != b',' {
            return None;
        }
        match bin.take() {
            None => bin = Some(u16::try_from(value).ok().filter(|bin| *bin <= LAST_BIN)?),
            Some(bin) => bins.push((bin, value)),
        }
        value = 0;
    }
    Some(bins)
}

/// How long metrics by the minute are kept.
pub(crate) const KEEP_MINUTES: Duration = Duration::from_secs(72 * 3600);
/// How long metrics by the hour are kept.
pub(crate) const KEEP_HOURS: Duration = Duration::from_secs(90 * 24 * 3600);

/// The time over which metrics are added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricSpan {
    /// Since the file was created, also of jobs that have been removed.
    #[default]
    Lifetime,
    /// Each hour, for 90 days.
    Hour,
    /// Each minute, for 72 hours.
    Minute,
}

impl MetricSpan {
    pub(crate) const fn length(self) -> Duration {
        match self {
            MetricSpan::Lifetime => Duration::ZERO,
            MetricSpan::Hour => Duration::from_secs(3600),
            MetricSpan::Minute => Duration::from_secs(60),
        }
    }

    /// When the span that holds this moment begins.
    pub(crate) fn start_ms(self, at_ms: i64) -> i64 {
        match i64::try_from(self.length().as_millis()) {
            Ok(length) if length > 0 => at_ms - at_ms.rem_euclid(length),
            _ => 0,
        }
    }
}

/// How attempts went, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttemptTotals {
    /// The number of attempts.
    pub attempts: u64,
    /// How long their handlers ran, as far as that was measured: not where a runner was lost.
    pub took: Histogram,
    /// The sum of these times.
    pub took_total: Duration,
    /// How long their jobs had been pending before.
    pub waited: Histogram,
    /// The sum of these times.
    pub waited_total: Duration,
    /// Processor time of commands, user and system.
    pub cpu: Duration,
    /// The highest peak memory of a command.
    pub max_rss_bytes: u64,
}

impl AttemptTotals {
    /// Adds those of others.
    pub fn merge(&mut self, other: &AttemptTotals) {
        self.attempts = self.attempts.saturating_add(other.attempts);
        self.took.merge(&other.took);
        self.took_total = self.took_total.saturating_add(other.took_total);
        self.waited.merge(&other.waited);
        self.waited_total = self.waited_total.saturating_add(other.waited_total);
        self.cpu = self.cpu.saturating_add(other.cpu);
        self.max_rss_bytes = self.max_rss_bytes.max(other.max_rss_bytes);
    }
}

/// How the attempts of a queue and a kind went that ended in the same way and in the same span of time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricRecord {
    /// When the span began; none for [`MetricSpan::Lifetime`].
    pub at: Option<Timestamp>,
    /// The queue.
    pub queue: String,
    /// The kind.
    pub kind: String,
    /// How the attempts ended.
    pub outcome: EventKind,
    /// The attempts.
    pub totals: AttemptTotals,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(durations_us: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        for us in durations_us {
            histogram.add(Duration::from_micros(*us));
        }
        histogram
    }

    #[test]
    fn bins_follow_each_other_without_a_gap() {
        for bin in 0..LAST_BIN {
            let end = end_of(bin);
            assert!(start_of(bin) < end);
            assert_eq!(bin_of(start_of(bin)), bin);
            assert_eq!(bin_of(end - 1), bin);
            assert_eq!(bin_of(end), bin + 1);
        }
    }

    #[test]
    fn powers_of_two_are_limits_of_bins() {
        let histogram = of(&[1023, 1024, 1025, 4096]);
        let below = |us| histogram.count_below(Duration::from_micros(us));
        assert_eq!([below(1024), below(4096), below(8192)], [1, 3, 4]);
    }

    #[test]
    fn no_durations_have_no_quantile() {
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert_eq!(Histogram::from_json("{}"), Histogram::default());
        assert_eq!(Histogram::from_json("[60000,1]"), Histogram::default());
    }

    #[test]
    fn a_span_begins_at_a_multiple_of_its_length() {
        let minute = |at| MetricSpan::Minute.start_ms(at);
        assert_eq!(
            [minute(59_999), minute(60_000), minute(-1)],
            [0, 60_000, -60_000]
        );
        assert_eq!(MetricSpan::Lifetime.start_ms(123), 0);
    }

    proptest! {
        #[test]
        fn a_quantile_is_close_to_that_of_the_durations(
            mut us in prop::collection::vec(0..10_000_000_000_u64, 1..200), quantile in 0.01..1.0_f64
        ) {
            let histogram = of(&us);
            us.sort_unstable();
            let rank = (quantile * us.len() as f64).ceil() as usize;
            let exact = us[rank.max(1) - 1] as f64;
            let found = histogram.quantile(quantile).unwrap().as_micros() as f64;
            prop_assert!((found - exact).abs() <= exact / 16.0 + 0.5, "{found} for {exact}");
        }

        #[test]
        fn merged_and_stored_histograms_hold_the_same_durations(
            one in prop::collection::vec(any::<u64>(), 0..50), other in prop::collection::vec(any::<u64>(), 0..50)
        ) {
            let mut merged = Histogram::from_json(&of(&one).to_json());
            merged.merge(&of(&other));
            prop_assert_eq!(merged, of(&[one, other].concat()));
        }
    }
}
