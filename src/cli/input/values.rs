//! Numbers and names of a closed set, as people write them.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use jobq::api::clock::local_now;
pub(crate) use jobq::api::values::{deadline, duration, tag, time};
use jobq::{
    Backoff, ChildPolicy, Durability, EventKind, Filter, Level, Missed, OnDuplicate, Overlap,
    Priority, Sort, State, Traceparent, UnknownKinds,
};

/// A number of retries. The error completes "invalid value".
pub(crate) fn retries(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| "a whole number is wanted; 0 for no retry".to_owned())
}

/// The id of an event. The error completes "invalid value".
pub(crate) fn event_id(text: &str) -> Result<i64, String> {
    let error = "the id of an event is wanted; `jobq events` shows it";
    text.parse().map_err(|_| error.to_owned())
}

/// A trace, as W3C Trace Context writes it. The error completes "invalid value".
pub(crate) fn traceparent(text: &str) -> Result<Traceparent, String> {
    let error = "it looks like 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    text.parse().map_err(|_| error.to_owned())
}

/// A search, as `jobq help search` describes it. The error completes "invalid value".
pub(crate) fn search(text: &str) -> Result<Filter, String> {
    // An empty variable of a script must not mean all jobs.
    if text.trim().is_empty() {
        return Err("the search is empty; leave it out for all jobs".to_owned());
    }
    let now = local_now();
    Filter::parse_search(text, now.timestamp(), now.time_zone()).map_err(|error| {
        let hint = error.hint().map(|hint| format!("; {hint}"));
        format!("{error}{}", hint.unwrap_or_default())
    })
}

/// Parsers of words, with all of them in the help text.
macro_rules! word_parsers {
    ($($name:ident: $Type:ident = $all:expr,)*) => {
        $(pub(crate) fn $name() -> impl TypedValueParser<Value = $Type> {
            PossibleValuesParser::new($all.into_iter().map($Type::as_str)).try_map(|name| name.parse())
        })*
    };
}

word_parsers! {
    state: State = State::ALL,
    final_state: State = State::ALL.into_iter().filter(|state| state.is_final()),
    priority: Priority = Priority::ALL,
    sort: Sort = Sort::ALL,
    backoff: Backoff = Backoff::ALL,
    child_policy: ChildPolicy = ChildPolicy::ALL,
    on_duplicate: OnDuplicate = OnDuplicate::ALL,
    missed: Missed = Missed::ALL,
    overlap: Overlap = Overlap::ALL,
    level: Level = [Level::Debug, Level::Info, Level::Warn, Level::Error],
    event_kind: EventKind = EventKind::ALL,
    durability: Durability = Durability::ALL,
    unknown_kinds: UnknownKinds = UnknownKinds::ALL,
}
