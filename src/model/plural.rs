//! Counted nouns in messages.

/// `1 job`, `2 jobs`: the noun is regular.
///
/// ```
/// assert_eq!(jobq::plural::count(1, "job"), "1 job");
/// assert_eq!(jobq::plural::count(0, "job"), "0 jobs");
/// ```
pub fn count(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}
