//! Writing a filter as a search.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::filter::{Filter, Sort};
use crate::model::state::State;

impl Filter {
    /// The search that [`Filter::parse_search`] reads as this filter. It has no words for [`Filter::as_of`],
    /// [`Filter::after`] and [`Filter::limit`], which are of a page, and leaves them out.
    pub fn to_search(&self) -> String {
        let mut words = Vec::new();
        let states = self.states.iter().copied().map(State::as_str);
        words.extend(list("state:", states));
        words.extend(list("queue:", self.queues.iter().map(String::as_str)));
        words.extend(list("kind:", self.kinds.iter().map(String::as_str)));
        words.extend(word("tenant:", &self.tenant, |name| quote(name)));
        let tags = self.tags.iter();
        words.extend(
            tags.map(|(name, value)| format!("tag:{}={}", quote(name), quote_if_any(value))),
        );
        words.extend(word("parent:", &self.parent, ToString::to_string));
        words.extend(word("schedule:", &self.schedule, |name| quote(name)));
        words.extend(word("id:", &self.ids, |(first, last)| {
            match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            }
        }));
        words.extend(word("since:", &self.since, Timestamp::to_string));
        words.extend(word("until:", &self.until, Timestamp::to_string));
        words.extend(word("attempt>", &self.more_attempts_than, u32::to_string));
        words.extend(word("took>", &self.took_longer_than, duration));
        words.extend(word("waited>", &self.waited_longer_than, duration));
        words.extend(word("error:", &self.error, |text| quote(text)));
        words.extend(word("group:", &self.error_group, |id| quote(id)));
        if self.sort != Sort::default() {
            words.push(format!("sort:{}", self.sort));
        }
        words.extend(self.text.as_deref().map(phrase));
        words.join(" ")
    }
}

fn list<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: Vec<String> = names.map(quote).collect();
    (!names.is_empty()).then(|| format!("{word}{}", names.join(",")))
}

fn word<T>(word: &str, value: &Option<T>, write: impl Fn(&T) -> String) -> Option<String> {
    let value = value.as_ref()?;
    Some(format!("{word}{}", write(value)))
}

/// A value, in quotes unless it is plain.
fn quote(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:@+~*#%".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => in_quotes(text),
    }
}

fn in_quotes(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn quote_if_any(text: &str) -> String {
    match text {
        "" => String::new(),
        text => quote(text),
    }
}

/// A text must not be taken for a word.
fn phrase(text: &str) -> String {
    match text.contains([':', '>']) {
        true => in_quotes(text),
        false => quote(text),
    }
}

/// In the largest unit that divides it.
fn duration(duration: &Duration) -> String {
    let nanos = duration.as_nanos();
    let units = [
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1000, "us"),
        (1, "ns"),
    ];
    let unit = units
        .iter()
        .find(|(unit, _)| nanos > 0 && nanos.is_multiple_of(*unit));
    match unit {
        // A span has no more nanoseconds than these.
        Some((1 | 1000, _)) if nanos > u128::from(i64::MAX as u64) => {
            format!("{}s{}ns", duration.as_secs(), duration.subsec_nanos())
        }
        Some((unit, name)) => format!("{}{name}", nanos / unit),
        None => "0s".to_owned(),
    }
}
