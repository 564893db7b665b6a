//! Limits as people write them and read them: `10/1m`, `none`, `1GiB`, `[queues.NAME]`.

use std::str::FromStr;

use jobq::api::sizes::Written;
pub(crate) use jobq::api::sizes::{bytes_given, bytes_written};
use jobq::api::values::rate;
use jobq::handlers::exec::MAX_OUTPUT_LIMIT_BYTES;
use jobq::{Rate, Update};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

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

pub(crate) fn rate_of_config<'de, D: Deserializer<'de>>(
    value: D,
) -> Result<Option<Rate>, D::Error> {
    let text = String::deserialize(value)?;
    let rate = rate(&text)
        .map_err(|why| D::Error::custom(format_args!("invalid rate '{text}': {why}")))?;
    Ok(Some(rate))
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

/// How much memory a persistent command may hold between its jobs.
pub(crate) fn max_rss<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    bytes_written(value).map(Some)
}

/// How much of a command's output is kept: at most so much.
pub(crate) fn output_limit<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    let bytes = bytes_written(value)?;
    let most = MAX_OUTPUT_LIMIT_BYTES as u64;
    match bytes <= most {
        true => Ok(Some(bytes)),
        false => Err(D::Error::custom(format_args!(
            "output_limit: {bytes} bytes are too many, {most} (64MiB) are possible"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use jobq::api::queue;

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
            assert_eq!(queue::rate_text(rate(text).unwrap()), text);
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
}
