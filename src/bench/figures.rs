//! From samples to figures.

use std::time::Duration;

/// The middle of the values; of an even number of them, between the two in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle)) {
        (_, None) => f64::NAN,
        (0, Some(upper)) => f64::midpoint(sorted[middle - 1], *upper),
        (_, Some(middle)) => *middle,
    }
}

/// How many a second.
pub fn per_s(number: usize, took: Duration) -> f64 {
    number as f64 / took.as_secs_f64().max(f64::EPSILON)
}

/// `1,234,567`: rounded, for people.
pub fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    if value <= -0.5 {
        text.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Times of the same thing, measured often.
#[derive(Clone, Debug)]
pub struct Spread(Vec<Duration>);

impl Spread {
    /// From the times in any order.
    pub fn new(mut times: Vec<Duration>) -> Spread {
        times.sort_unstable();
        Spread(times)
    }

    /// A percentile of the times; zero if nothing was measured.
    pub fn percentile(&self, percent: f64) -> Duration {
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        let last = self.0.len().saturating_sub(1);
        self.0
            .get(rank.saturating_sub(1).min(last))
            .copied()
            .unwrap_or_default()
    }

    /// The longest.
    pub fn worst(&self) -> Duration {
        self.percentile(100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        assert_eq!(median(&[9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(&[9.0, 1.0, 5.0, 7.0]), 6.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_percentile_is_a_time_that_was_measured() {
        let times = Spread::new((1..=200).rev().map(Duration::from_millis).collect());
        assert_eq!(times.percentile(50.0), Duration::from_millis(100));
        assert_eq!(times.percentile(99.0), Duration::from_millis(198));
        assert_eq!(times.worst(), Duration::from_millis(200));
        assert_eq!(Spread::new(Vec::new()).worst(), Duration::ZERO);
    }

    #[test]
    fn thousands_are_set_apart() {
        let values = [0.4, 999.5, 100_000.0, 1_234_567.0, -1234.0];
        assert_eq!(
            values.map(thousands),
            ["0", "1,000", "100,000", "1,234,567", "-1,234"]
        );
    }
}
