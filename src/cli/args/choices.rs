//! Values of a closed set, by the names that the library gives them.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use jobq::{
    Backoff, ChildPolicy, Durability, EventKind, Level, Missed, OnDuplicate, Overlap, Priority,
    State,
};

pub(super) fn state() -> impl TypedValueParser<Value = State> {
    PossibleValuesParser::new(State::ALL.map(State::as_str)).try_map(|name| name.parse())
}

pub(super) fn final_state() -> impl TypedValueParser<Value = State> {
    let finals = State::ALL.into_iter().filter(|state| state.is_final());
    PossibleValuesParser::new(finals.map(State::as_str)).try_map(|name| name.parse())
}

pub(super) fn priority() -> impl TypedValueParser<Value = Priority> {
    PossibleValuesParser::new(Priority::ALL.map(Priority::as_str)).try_map(|name| name.parse())
}

pub(super) fn backoff() -> impl TypedValueParser<Value = Backoff> {
    PossibleValuesParser::new(Backoff::ALL.map(Backoff::as_str)).try_map(|name| name.parse())
}

pub(super) fn child_policy() -> impl TypedValueParser<Value = ChildPolicy> {
    PossibleValuesParser::new(ChildPolicy::ALL.map(ChildPolicy::as_str))
        .try_map(|name| name.parse())
}

pub(super) fn on_duplicate() -> impl TypedValueParser<Value = OnDuplicate> {
    let all = OnDuplicate::ALL;
    PossibleValuesParser::new(all.map(OnDuplicate::as_str)).map(move |name| {
        let named = all.into_iter().find(|choice| choice.as_str() == name);
        named.unwrap_or_default()
    })
}

pub(super) fn missed() -> impl TypedValueParser<Value = Missed> {
    PossibleValuesParser::new(Missed::ALL.map(Missed::as_str)).try_map(|name| name.parse())
}

pub(super) fn overlap() -> impl TypedValueParser<Value = Overlap> {
    PossibleValuesParser::new(Overlap::ALL.map(Overlap::as_str)).try_map(|name| name.parse())
}

pub(super) fn level() -> impl TypedValueParser<Value = Level> {
    let levels = [Level::Debug, Level::Info, Level::Warn, Level::Error];
    PossibleValuesParser::new(levels.map(Level::as_str)).try_map(|name| name.parse())
}

/// Left out of the help text, as there are many.
pub(super) fn event_kind() -> impl TypedValueParser<Value = EventKind> {
    let names = EventKind::ALL.iter().map(|kind| kind.as_str());
    PossibleValuesParser::new(names).try_map(|name| name.parse())
}

pub(super) fn durability() -> impl TypedValueParser<Value = Durability> {
    PossibleValuesParser::new(["full", "normal"]).map(|name| match name.as_str() {
        "normal" => Durability::Normal,
        _ => Durability::Full,
    })
}
