//! Limits as people write them and read them: `10/1m`, `none`, `1GiB`, `[queues.NAME]`.

use std::collections::BTreeMap;
use std::str::FromStr;

use jobq::{Queue, QueueLimits, QueueLimitsUpdate, Rate, Update};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::exit::{CliError, CliResult};
use super::output::text::count;
use super::output::time::duration;
use super::session::Session;
use super::why::word;
use super::{config, parse};

/// What a `[queues.NAME]` section of the config file says; what it leaves out stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitedQueue {
    concurrency: Option<u32>,
    #[serde(default, deserialize_with = "rate_of_config")]
    rate: Option<Rate>,
    max_size: Option<u64>,
    weight: Option<u32>,
}

impl LimitedQueue {
    pub(crate) fn change(&self) -> QueueLimitsUpdate {
        QueueLimitsUpdate {
            concurrency: change(self.concurrency),
            rate: change(self.rate),
            max_size: change(self.max_size),
            weight: change(self.weight),
        }
    }

    /// What is wrong is told by its table and key.
    pub(crate) fn check(&self, name: &str) -> CliResult<()> {
        let table = format!("[queues.{}]", config::key(name));
        let keep = QueueLimitsUpdate::default();
        keep.check(name)
            .map_err(|error| CliError::from(error).context(&table))?;
        let QueueLimitsUpdate {
            concurrency,
            rate,
            max_size,
            weight,
        } = self.change();
        for (key, alone) in [
            (
                "concurrency",
                QueueLimitsUpdate {
                    concurrency,
                    ..keep
                },
            ),
            ("rate", QueueLimitsUpdate { rate, ..keep }),
            ("max_size", QueueLimitsUpdate { max_size, ..keep }),
            ("weight", QueueLimitsUpdate { weight, ..keep }),
        ] {
            alone.check(name).map_err(|error| {
                CliError::from(error).context(&table).with_hint(format!(
                    "leave {key} out to set none; `jobq pause {}` lets nothing of the queue start",
                    word(name)
                ))
            })?;
        }
        Ok(())
    }

    /// Whether the database has another value for something that is said here.
    pub(crate) fn differs_from(&self, now: &QueueLimits) -> bool {
        // The database knows milliseconds.
        let in_ms = |rate: Rate| (rate.jobs, rate.per.as_millis());
        let differs = |said: Option<u64>, now: Option<u64>| said.is_some() && said != now;
        differs(
            self.concurrency.map(u64::from),
            now.concurrency.map(u64::from),
        ) || self.rate.is_some() && self.rate.map(in_ms) != now.rate.map(in_ms)
            || differs(self.max_size, now.max_size)
            || differs(self.weight.map(u64::from), Some(u64::from(now.weight)))
    }
}

/// Brings the limits of the config file into the database, before jobs are held to them. Where they
/// are there already it only reads, and where the file limits no queue not even that.
pub(crate) fn sync(session: &Session) -> CliResult<()> {
    match session.config.queues.is_empty() {
        true => Ok(()),
        false => sync_with(&session.queue()?, &session.config.queues),
    }
}

/// The same for limits that were read later.
pub(crate) fn sync_with(queue: &Queue, declared: &BTreeMap<String, LimitedQueue>) -> CliResult<()> {
    let known = queue.queues()?;
    for (name, limits) in declared {
        let known = known.iter().find(|known| known.name == *name);
        if known.is_none_or(|known| limits.differs_from(&known.limits)) {
            queue.set_limits(name, limits.change())?;
        }
    }
    Ok(())
}

fn change<T>(value: Option<T>) -> Update<T> {
    value.map_or(Update::Keep, Update::Set)
}

/// A number, or `none`.
pub(crate) fn number<T: FromStr>(text: &str) -> Result<Update<T>, String> {
    if text == "none" {
        return Ok(Update::Clear);
    }
    text.parse()
        .map(Update::Set)
        .map_err(|_| "a number is wanted, or none".to_owned())
}

/// `10/1m`, or `none`.
pub(crate) fn rate_or_none(text: &str) -> Result<Update<Rate>, String> {
    match text {
        "none" => Ok(Update::Clear),
        text => rate(text).map(Update::Set),
    }
}

/// `10/1m`: ten in a minute. A unit alone is one of it: `10/m`.
fn rate(text: &str) -> Result<Rate, String> {
    let form = || "rates look like 10/1m: at most 10 starts in any minute".to_owned();
    let (jobs, per) = text.split_once('/').ok_or_else(form)?;
    let jobs = jobs.trim().parse().map_err(|_| form())?;
    let per = per.trim();
    let per = match per.starts_with(|first: char| first.is_ascii_alphabetic()) {
        true => parse::duration(&format!("1{per}")),
        false => parse::duration(per),
    };
    Ok(Rate { jobs, per: per? })
}

fn rate_of_config<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Rate>, D::Error> {
    let text = String::deserialize(value)?;
    let rate = rate(&text)
        .map_err(|why| D::Error::custom(format_args!("invalid rate '{text}': {why}")))?;
    Ok(Some(rate))
}

/// A rate as it is written.
pub(crate) fn rate_text(rate: Rate) -> String {
    format!("{}/{}", rate.jobs, duration(rate.per).replace(' ', ""))
}

/// What a queue is limited to, in a few words; none where it is not.
pub(crate) fn said(limits: &QueueLimits) -> Option<String> {
    let mut parts = Vec::new();
    parts.extend(limits.concurrency.map(|jobs| format!("{jobs} at once")));
    parts.extend(limits.rate.map(rate_text));
    let max_size = limits.max_size.map(|jobs| count(jobs, "job"));
    parts.extend(max_size.map(|jobs| format!("at most {jobs}")));
    if limits.weight != 1 {
        parts.push(format!("weight {}", limits.weight));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The same for programs, by the names of the options that set it.
pub(crate) fn listed(limits: &QueueLimits) -> String {
    let mut parts = Vec::new();
    parts.extend(limits.concurrency.map(|jobs| format!("concurrency={jobs}")));
    let rate = limits.rate.map(rate_text);
    parts.extend(rate.map(|rate| format!("rate={rate}")));
    parts.extend(limits.max_size.map(|jobs| format!("max-size={jobs}")));
    if limits.weight != 1 {
        parts.push(format!("weight={}", limits.weight));
    }
    parts.join(" ")
}

/// An empty database takes nearly as much.
const SMALLEST_FILE: u64 = 256 << 10;

/// How large the file may be: bytes, as a number or like `512MiB`.
pub(crate) fn size<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    let written = Written::deserialize(value)?;
    match written.bytes() {
        Some(bytes) if bytes >= SMALLEST_FILE => Ok(Some(bytes)),
        Some(1..) => {
            Err(written
                .refused("it must be at least 256KiB: an empty database takes about as much"))
        }
        _ => Err(written.refused("sizes look like 512MiB or 1GiB")),
    }
}

/// Bytes, as a number or like `64KiB`, none being possible.
pub(crate) fn bytes_written<'de, D: Deserializer<'de>>(value: D) -> Result<u64, D::Error> {
    let written = Written::deserialize(value)?;
    written
        .bytes()
        .ok_or_else(|| written.refused("sizes look like 64KiB or 10MiB"))
}

/// A size as it is written in JSON or TOML.
enum Written {
    Bytes(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Written, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Bytes(u64),
            Text(String),
        }
        match Either::deserialize(value) {
            Ok(Either::Bytes(bytes)) => Ok(Written::Bytes(bytes)),
            Ok(Either::Text(text)) => Ok(Written::Text(text)),
            Err(_) => Err(D::Error::custom("sizes look like \"512MiB\" or \"1GiB\"")),
        }
    }
}

impl Written {
    fn bytes(&self) -> Option<u64> {
        match self {
            Written::Bytes(bytes) => Some(*bytes),
            Written::Text(text) => bytes(text),
        }
    }

    fn refused<E: serde::de::Error>(&self, why: &str) -> E {
        match self {
            Written::Bytes(bytes) => E::custom(format_args!("invalid size {bytes}: {why}")),
            Written::Text(text) => E::custom(format_args!("invalid size '{text}': {why}")),
        }
    }
}

/// Bytes on the command line: `65536`, `64KiB`, `10M`.
pub(crate) fn bytes_given(text: &str) -> Result<u64, String> {
    let number = text.trim().parse().ok();
    number
        .or_else(|| bytes(text))
        .ok_or_else(|| "sizes look like 65536, 64KiB or 10MiB".to_owned())
}

fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit_at = text.find(|char: char| !char.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let of_unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(of_unit)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rate_is_jobs_in_a_span() {
        let of = |jobs, seconds| {
            Ok(Rate {
                jobs,
                per: Duration::from_secs(seconds),
            })
        };
        assert_eq!(rate("10/1m"), of(10, 60));
        assert_eq!(rate("10 / 1m30s"), of(10, 90));
        assert_eq!(rate("3/s"), of(3, 1));
        assert_eq!(rate("100/hour"), of(100, 3600));
        for text in [
            "", "10", "10/", "/1m", "ten/1m", "-1/1m", "10/soon", "1.5/1m", "10/90",
        ] {
            assert!(rate(text).is_err(), "{text}");
        }
        assert_eq!(rate_or_none("none"), Ok(Update::Clear));
        for text in ["10/1m", "1/1m30s", "7/500ms", "2/1d"] {
            assert_eq!(rate_text(rate(text).unwrap()), text);
        }
    }

    #[test]
    fn a_limit_is_a_number_or_none() {
        assert_eq!(number::<u32>("2"), Ok(Update::Set(2)));
        assert_eq!(number::<u32>("none"), Ok(Update::Clear));
        for text in ["", "-1", "two", "4294967296"] {
            assert!(number::<u32>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_that_the_file_does_not_mention_does_not_differ() {
        let now = QueueLimits {
            concurrency: Some(2),
            rate: Some(rate("10/1ms").unwrap()),
            max_size: None,
            weight: 3,
        };
        let said = |text: &str| toml::from_str::<LimitedQueue>(text).unwrap();
        for same in ["", "concurrency = 2", "rate = '10/1500us'", "weight = 3"] {
            assert!(!said(same).differs_from(&now), "{same}");
        }
        for other in [
            "concurrency = 1",
            "rate = '10/1s'",
            "max_size = 4",
            "weight = 1",
        ] {
            assert!(said(other).differs_from(&now), "{other}");
        }
    }

    #[test]
    fn sizes_have_a_unit() {
        for (text, size) in [
            ("1GiB", 1 << 30),
            ("512 MiB", 512 << 20),
            ("10kb", 10_000),
            ("4k", 4096),
            ("7b", 7),
        ] {
            assert_eq!(bytes(text), Some(size), "{text}");
        }
        for text in ["", "GiB", "1.5GiB", "-1k", "1x", "99999999999TiB", "12"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn an_empty_database_takes_less_than_the_smallest_size() {
        let folder = tempfile::tempdir().unwrap();
        let queue = jobq::Queue::open(folder.path().join("jobs.db")).unwrap();
        let copy = folder.path().join("copy.db");
        queue.backup(&copy).unwrap();
        let takes = std::fs::metadata(copy).unwrap().len();
        assert!(
            (SMALLEST_FILE / 2..SMALLEST_FILE).contains(&takes),
            "{takes}"
        );
    }

    #[test]
    fn limits_are_said_in_a_few_words() {
        let mut limits = QueueLimits {
            concurrency: None,
            rate: None,
            max_size: None,
            weight: 1,
        };
        assert_eq!((said(&limits), listed(&limits)), (None, String::new()));
        limits.concurrency = Some(2);
        limits.rate = Some(rate("10/1m").unwrap());
        limits.max_size = Some(100);
        limits.weight = 3;
        assert_eq!(
            said(&limits).unwrap(),
            "2 at once, 10/1m, at most 100 jobs, weight 3"
        );
        assert_eq!(
            listed(&limits),
            "concurrency=2 rate=10/1m max-size=100 weight=3"
        );
    }
}
