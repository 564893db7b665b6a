//! What a job is to do, from what a list knows of it.

use jobq::api::job::{children, percent};
use jobq::api::text::shell_word;
use jobq::{GROUP_KIND, JobSummary, State};

/// What matters most of a job in its state: its progress, what it is to do, how it failed.
pub(super) fn brief(job: &JobSummary) -> String {
    match (job.state, &job.error, &job.progress) {
        (State::Failed, Some(error), _) => error.start.clone(),
        (State::Running, _, Some(progress)) => format!("{} {}", percent(progress), task(job)),
        (State::Scheduled, Some(error), _) => format!("{} ({})", task(job), error.start),
        _ => task(job),
    }
}

/// A command as one would type it; how far a group is; the beginning of any other payload.
pub(super) fn task(job: &JobSummary) -> String {
    let start = job.payload.start.as_str();
    if job.kind == GROUP_KIND && start == "null" {
        return job.children.as_ref().map_or_else(String::new, children);
    }
    match job.kind == "exec" {
        true => command(start).unwrap_or_else(|| start.to_owned()),
        false => start.to_owned(),
    }
}

/// The words of a command from the beginning of its payload, which may be cut anywhere.
fn command(start: &str) -> Option<String> {
    let rest = start.strip_prefix('{')?;
    if let Some(text) = rest.strip_prefix("\"shell\":") {
        return string(text).map(|(text, _)| text);
    }
    let mut rest = rest.strip_prefix("\"command\":[")?;
    let mut words = Vec::new();
    while let Some((word, after)) = string(rest) {
        words.push(shell_word(&word));
        if after.starts_with(']') {
            return Some(words.join(" "));
        }
        rest = after.strip_prefix(',').unwrap_or_default();
    }
    match words.is_empty() {
        true => None,
        false => Some(format!("{} …", words.join(" "))),
    }
}

/// The JSON string that a text begins with, and what follows it.
fn string(text: &str) -> Option<(String, &str)> {
    let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let string = strings.next()?.ok()?;
    let end = strings.byte_offset();
    Some((string, &text[end..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_command_is_read_from_the_beginning_of_its_payload() {
        for (start, words) in [
            (r#"{"command":["ls","a b"],"cwd":"/"}"#, "ls 'a b'"),
            (
                r#"{"command":["convert","cat.jpg","sma"#,
                "convert cat.jpg …",
            ),
            (r#"{"shell":"a | b","cwd":"/"}"#, "a | b"),
        ] {
            assert_eq!(command(start).as_deref(), Some(words));
        }
        for start in [r#"{"command":["l"#, r#"{"shell":"a | "#, "{", "[1]", ""] {
            assert_eq!(command(start), None, "{start}");
        }
    }

    proptest! {
        #[test]
        fn no_payload_is_too_strange_for_a_list(start in any::<String>(), cut in 0..200_usize) {
            let _ = command(&start);
            let whole = serde_json::json!({"command": [start, "x"]}).to_string();
            let start: String = whole.chars().take(cut).collect();
            let found = command(&start);
            prop_assert_eq!(found.is_some_and(|text| text.ends_with(" x")), whole == start || start.ends_with("\"x\"]"));
        }
    }
}
