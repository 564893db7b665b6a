//! The verbs that a command calls from inside its job.

use clap::Args;
use jobq::Level;

use super::choices;

#[derive(Debug, Args)]
pub(crate) struct Progress {
    /// How far the job is: 40, 40%, or 3/10
    #[arg(value_parser = how_far, allow_negative_numbers = true)]
    pub(crate) percent: jobq::Progress,
    /// What the job is doing
    pub(crate) message: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// How important it is
    #[arg(long, value_parser = choices::level(), default_value = "info")]
    pub(crate) level: Level,
    /// What to say
    #[arg(allow_hyphen_values = true)]
    pub(crate) message: String,
}

/// `jobq result`; the plain name is taken by the language.
#[derive(Debug, Args)]
pub(crate) struct ResultOf {
    /// The result: JSON, or - for stdin
    #[arg(value_name = "JSON|-", allow_hyphen_values = true)]
    pub(crate) value: String,
}

fn how_far(text: &str) -> Result<jobq::Progress, String> {
    if let Some((done, of)) = text.split_once('/') {
        return match (done.trim().parse(), of.trim().parse()) {
            (Ok(done), Ok(of)) if done <= of => Ok(jobq::Progress::of(done, of)),
            _ => Err("fractions look like 3/10: 3 of 10 done".to_owned()),
        };
    }
    match text.strip_suffix('%').unwrap_or(text).parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(jobq::Progress::percent(percent)),
        _ => Err("progress must be 0 to 100, or like 3/10".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_does_not_get_in_the_way_of_the_global_option() {
        use clap::Parser;
        let cli = crate::cli::args::Cli::try_parse_from(["jobq", "result", "1"]).unwrap();
        assert!(!cli.global.json);
    }

    #[test]
    fn progress_is_a_percentage_or_a_fraction() {
        assert_eq!(how_far("40"), Ok(jobq::Progress::percent(40.0)));
        assert_eq!(how_far("12.5%"), Ok(jobq::Progress::percent(12.5)));
        assert_eq!(how_far("3/10"), Ok(jobq::Progress::of(3, 10)));
        for text in ["", "101", "-1", "NaN", "11/10", "3/", "x/y"] {
            assert!(how_far(text).is_err(), "{text}");
        }
    }
}
