//! The search language: a filter as a line of text.

mod lexer;
mod print;

use std::str::FromStr;
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::model::duration::parse_duration;
use crate::model::filter::{Filter, Sort};
use crate::model::id::JobId;
use crate::model::nearest::nearest;
use crate::model::state::State;
use crate::{Error, Result};

use lexer::{Term, Value};

/// The words of the language, with what stands between them and their values.
const WORDS: [&str; 16] = [
    "state:",
    "queue:",
    "kind:",
    "tenant:",
    "tag:",
    "parent:",
    "schedule:",
    "id:",
    "since:",
    "until:",
    "attempt>",
    "took>",
    "waited>",
    "error:",
    "group:",
    "sort:",
];

impl Filter {
    /// Reads a search: terms like `state:failed`, `tag:env=prod` or `took>30s` with spaces between them; what is no
    /// such term is [`Filter::text`]. `jobq help search` has all of them. Times without a zone are meant in `zone`, and
    /// durations are counted back from `now`.
    ///
    /// ```
    /// use jobq::jiff::{Timestamp, tz::TimeZone};
    /// use jobq::{Filter, State};
    ///
    /// let search = r#"state:failed,cancelled tag:env=prod took>30s "disk full""#;
    /// let filter = Filter::parse_search(search, Timestamp::now(), &TimeZone::UTC)?;
    /// assert_eq!(filter.states, [State::Failed, State::Cancelled]);
    /// assert_eq!(filter.text.as_deref(), Some("disk full"));
    /// assert_eq!(filter.to_search(), search);
    /// # Ok::<(), jobq::Error>(())
    /// ```
    ///
    /// # Errors
    /// A word is unknown or is there twice, or its value is not what it takes.
    pub fn parse_search(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Filter> {
        let mut filter = Filter::default();
        let mut sort = None;
        let mut texts: Vec<String> = Vec::new();
        for Term { word, value } in lexer::terms(text)? {
            let Some(word) = word else {
                texts.push(value.text());
                continue;
            };
            let given = Given {
                word: &word,
                value,
                now,
                zone,
            };
            match word.as_str() {
                "sort:" => given.once(&mut sort, |given| given.named(&Sort::ALL, Sort::as_str))?,
                _ => given.add_to(&mut filter)?,
            }
        }
        filter.sort = sort.unwrap_or_default();
        // Several words are a phrase.
        filter.text = (!texts.is_empty()).then(|| texts.join(" "));
        Ok(filter)
    }
}

/// A word with its value.
struct Given<'a> {
    word: &'a str,
    value: Value,
    now: Timestamp,
    zone: &'a TimeZone,
}

impl Given<'_> {
    fn add_to(&self, filter: &mut Filter) -> Result<()> {
        match self.word {
            "state:" => {
                for part in self.parts() {
                    let state = part.named(&State::ALL, State::as_str)?;
                    filter.states.push(state);
                }
            }
            "queue:" => filter.queues.extend(self.names()?),
            "kind:" => filter.kinds.extend(self.names()?),
            "tag:" => filter.tags.push(self.tag()?),
            "tenant:" => self.once(&mut filter.tenant, Given::name)?,
            "schedule:" => self.once(&mut filter.schedule, Given::name)?,
            "error:" => self.once(&mut filter.error, Given::name)?,
            "group:" => self.once(&mut filter.error_group, Given::name)?,
            "parent:" => self.once(&mut filter.parent, Given::id)?,
            "id:" => self.once(&mut filter.ids, Given::ids)?,
            "since:" => self.once(&mut filter.since, Given::moment)?,
            "until:" => self.once(&mut filter.until, Given::moment)?,
            "attempt>" => self.once(&mut filter.more_attempts_than, Given::number)?,
            "took>" => self.once(&mut filter.took_longer_than, Given::duration)?,
            "waited>" => self.once(&mut filter.waited_longer_than, Given::duration)?,
            _ => return Err(self.unknown()),
        }
        Ok(())
    }

    /// Sets what only one value can be given for.
    fn once<T>(&self, field: &mut Option<T>, read: impl Fn(&Self) -> Result<T>) -> Result<()> {
        match field {
            Some(_) => Err(self
                .wrong("the word is there twice")
                .with_hint("state, queue, kind and tag can be given more than once")),
            None => {
                *field = Some(read(self)?);
                Ok(())
            }
        }
    }

    fn wrong(&self, why: &str) -> Error {
        let (word, value) = (self.word, self.value.text());
        Error::invalid(format!("'{word}{value}' in the search: {why}"))
    }

    fn unknown(&self) -> Error {
        let error = Error::invalid(format!("the search has an unknown word, '{}'", self.word));
        match nearest(self.word, WORDS) {
            Some(word) => error.with_hint(format!("did you mean '{word}'?")),
            None => error.with_hint(format!(
                "the words are {}; a text with a colon, < or > is written in quotes",
                WORDS.join(" ")
            )),
        }
    }

    /// The values of a list, each with the word.
    fn parts(&self) -> impl Iterator<Item = Given<'_>> {
        self.value
            .parts()
            .into_iter()
            .map(|value| Given { value, ..*self })
    }

    fn name(&self) -> Result<String> {
        match self.value.text() {
            text if text.is_empty() => Err(self.wrong("the value is missing")),
            text => Ok(text),
        }
    }

    fn names(&self) -> Result<Vec<String>> {
        self.parts().map(|part| part.name()).collect()
    }

    /// A value of a closed set.
    fn named<T: FromStr + Copy>(&self, all: &[T], word: fn(T) -> &'static str) -> Result<T> {
        let name = self.name()?;
        let names = || all.iter().copied().map(word);
        name.parse().map_err(|_| {
            let error = self.wrong(&format!("'{name}' is unknown"));
            match nearest(&name, names()) {
                Some(name) => error.with_hint(format!("did you mean '{name}'?")),
                None => {
                    let names: Vec<&str> = names().collect();
                    error.with_hint(format!("it is one of {}", names.join(", ")))
                }
            }
        })
    }

    fn tag(&self) -> Result<(String, String)> {
        match self.value.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name, value)),
            _ => Err(self.wrong("tags look like tag:NAME=VALUE")),
        }
    }

    fn id(&self) -> Result<JobId> {
        number(&self.value.text())
            .map(JobId)
            .ok_or_else(|| self.wrong("the id of a job is wanted, like parent:42"))
    }

    fn ids(&self) -> Result<(JobId, JobId)> {
        let text = self.value.text();
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok((JobId(first), JobId(last))),
            (Some(first), Some(last)) => Err(self
                .wrong("it runs backwards")
                .with_hint(format!("write id:{last}-{first}"))),
            _ => Err(self.wrong("ids look like id:42 or id:5-9")),
        }
    }

    fn number(&self) -> Result<u32> {
        let number = number(&self.value.text()).and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| self.wrong("a whole number is wanted, like attempt>1"))
    }

    fn duration(&self) -> Result<Duration> {
        parse_duration(&self.value.text()).map_err(|error| self.wrong(&error.to_string()))
    }

    /// A time, or how long ago it was.
    fn moment(&self) -> Result<Timestamp> {
        let text = self.value.text();
        if let Some(at) = time(&text, &self.now.to_zoned(self.zone.clone())) {
            return Ok(at);
        }
        match parse_duration(&text) {
            Ok(ago) => Ok(self.now.checked_sub(ago).unwrap_or(Timestamp::MIN)),
            Err(_) => Err(self.wrong(
                "a duration or a time is wanted: 2h, 18:30, 2026-03-01, \"2026-03-01 18:30\" or 2026-03-01T18:30:00Z",
            )),
        }
    }
}

/// Digits, and nothing else.
fn number(text: &str) -> Option<i64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// A time of day is the last one of that time: what is searched for is over.
fn time(text: &str, now: &Zoned) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    if let Ok(at) = text.parse::<Zoned>() {
        return Some(at.timestamp());
    }
    let in_zone = |at: DateTime| at.to_zoned(now.time_zone().clone()).ok();
    let of_day = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b':');
    if of_day && text.contains(':') {
        let time: Time = text.parse().ok()?;
        let today = in_zone(now.date().to_datetime(time))?;
        return match today <= *now {
            true => Some(today.timestamp()),
            false => Some(in_zone(now.date().yesterday().ok()?.to_datetime(time))?.timestamp()),
        };
    }
    // A number alone is not a date.
    if !text.contains('-') {
        return None;
    }
    let date = text
        .parse::<Date>()
        .map(|date| date.to_datetime(Time::midnight()));
    let at = text.parse::<DateTime>().or(date).ok()?;
    Some(in_zone(at)?.timestamp())
}

#[cfg(test)]
mod tests;
