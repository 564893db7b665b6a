//! What is typed after `/`.

use jiff::Timestamp;
use jobq::Filter;
use jobq::api::text::shell_word;

/// The jobs that a search means; what is wrong with it otherwise.
pub(crate) fn filter(text: &str, _now: Timestamp) -> Result<Filter, String> {
    Ok(Filter {
        text: Some(text.to_owned()).filter(|text| !text.is_empty()),
        ..Filter::default()
    })
}

/// A name as it is written in a search.
pub(crate) fn quoted(name: &str) -> String {
    let is_plain = |char: char| char.is_alphanumeric() || "-_./@".contains(char);
    if !name.is_empty() && name.chars().all(is_plain) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The words of the command that lists what a search finds.
pub(crate) fn list_command(search: &str) -> String {
    match search.is_empty() {
        true => "list".to_owned(),
        false => format!("list --search {}", shell_word(search)),
    }
}
