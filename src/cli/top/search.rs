//! What is typed after `/`: the language of `jobq help search`.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use jobq::api::text::shell_word;
use jobq::{BulkAction, Filter, Sort};

/// The jobs that a search means; what is wrong with it otherwise.
pub(crate) fn filter(text: &str, now: Timestamp) -> Result<Filter, String> {
    let filter = Filter::parse_search(text, now, &TimeZone::system()).map_err(|error| {
        let hint = error.hint().map(|hint| format!("; {hint}"));
        format!("{error}{}", hint.unwrap_or_default())
    })?;
    match filter.sort {
        Sort::Newest => Ok(filter),
        _ => Err("here the newest job is always first; `jobq list` has other orders".to_owned()),
    }
}

/// The words of the command that lists what a search finds.
pub(crate) fn list_command(search: &str) -> String {
    match search.is_empty() {
        true => "list".to_owned(),
        false => format!("list --search {}", shell_word(search)),
    }
}

/// The words of the command that changes all that a search finds, and that the change is for.
pub(crate) fn change_command(action: BulkAction, search: &str) -> String {
    let all = match (search.is_empty(), action) {
        (false, _) => format!("--search {}", shell_word(search)),
        (true, BulkAction::Retry) => "--failed".to_owned(),
        (true, BulkAction::Cancel) => {
            "--state scheduled,blocked,pending,running,waiting".to_owned()
        }
        (true, _) => "--state completed,failed,cancelled".to_owned(),
    };
    format!("{action} {all}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_that_is_wrong_says_what_is() {
        let now = Timestamp::UNIX_EPOCH;
        let unknown = filter("stat:failed", now).unwrap_err();
        assert!(unknown.contains("state"), "{unknown}");
        assert!(
            filter("sort:oldest", now)
                .unwrap_err()
                .contains("jobq list")
        );
        assert_eq!(filter("", now), Ok(Filter::default()));
    }

    #[test]
    fn a_command_for_all_jobs_names_their_states() {
        let command = |search| change_command(BulkAction::Retry, search);
        assert_eq!(command(""), "retry --failed");
        assert_eq!(command("kind:a \"b\""), "retry --search 'kind:a \"b\"'");
    }
}
