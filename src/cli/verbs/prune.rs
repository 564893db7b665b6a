//! `jobq prune`.

use std::time::Duration;

use clap::Args;
use jobq::api::text::count;
use jobq::api::time::{duration, millis};
use jobq::{KindFilter, PruneFilter, Retention, State};
use serde::Serialize;

use crate::cli::exit::{CliResult, Exit};
use crate::cli::input::values;
use crate::cli::session::Session;

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Only jobs that became final longer ago than this [default: [retention] in the config file, else 24h
    /// for completed jobs, 7 days for others]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) older_than: Option<Duration>,
    /// Only jobs in this state; may be given more than once [default: all final states]
    #[arg(long = "state", value_name = "STATE", value_parser = values::final_state(), value_delimiter = ',')]
    pub(crate) states: Vec<State>,
    /// Only say how many would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Serialize)]
struct PruneJson<'a> {
    state: State,
    /// Jobs of this kind, where it has a retention of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    older_than_ms: u64,
    removed: u64,
    dry_run: bool,
}

pub(crate) fn run(args: &PruneArgs, session: &Session) -> CliResult {
    let queue = session.queue()?;
    let finals = State::ALL.into_iter().filter(|state| state.is_final());
    let wanted = |state: &State| args.states.is_empty() || args.states.contains(state);
    for state in finals.filter(wanted) {
        for (kind, kinds) in sorts(args, session) {
            let kept = || kept_for(state, kind, session);
            let Some(older_than) = args.older_than.or_else(kept) else {
                continue;
            };
            let old = PruneFilter::new(state, older_than).kinds(kinds);
            let removed = if args.dry_run {
                queue.prune_dry_run(&old)?
            } else {
                queue.prune(&old)?
            };
            let answer = PruneJson {
                state,
                kind,
                older_than_ms: millis(older_than),
                removed,
                dry_run: args.dry_run,
            };
            session.output.line(&answer, sentence(&answer))?;
        }
    }
    let is_all = args.states.is_empty() && !args.dry_run;
    if let Some(older_than) = is_all.then(|| history_kept_for(args, session)).flatten() {
        queue.prune_events(older_than)?;
    }
    Ok(Exit::Done)
}

/// The kinds that are kept for a time of their own, each by itself, and all others together. An age
/// given as an option holds for all.
fn sorts<'a>(args: &PruneArgs, session: &'a Session) -> Vec<(Option<&'a str>, KindFilter)> {
    if args.older_than.is_some() {
        return vec![(None, KindFilter::All)];
    }
    let kinds = session.config.kinds.iter();
    let own: Vec<&str> = kinds
        .filter(|(_, kind)| kind.retention.is_some())
        .map(|(name, _)| name.as_str())
        .collect();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let mut sorts = vec![(None, KindFilter::AllBut(names(&own)))];
    sorts.extend(
        own.iter()
            .map(|kind| (Some(*kind), KindFilter::Only(names(&[*kind])))),
    );
    sorts
}

/// As a runner would: the config file says it, else the library.
fn kept_for(state: State, kind: Option<&str>, session: &Session) -> Option<Duration> {
    let usual = Retention::default();
    let retention = session.config.retention_of(kind);
    match state {
        State::Completed => retention.completed.or(usual.completed),
        _ => retention.failed.or(usual.failed),
    }
}

/// The events of all jobs together are kept as long as the jobs that are kept longest.
fn history_kept_for(args: &PruneArgs, session: &Session) -> Option<Duration> {
    let kept = |state| args.older_than.or_else(|| kept_for(state, None, session));
    Some(kept(State::Completed)?.max(kept(State::Failed)?))
}

fn sentence(answer: &PruneJson<'_>) -> String {
    let verb = if answer.dry_run {
        "would remove"
    } else {
        "removed"
    };
    let mut jobs = count(answer.removed, &format!("{} job", answer.state));
    if let Some(kind) = answer.kind {
        jobs.push_str(&format!(" of kind {kind}"));
    }
    match answer.older_than_ms {
        0 => format!("{verb} {jobs}"),
        ms => {
            let age = duration(Duration::from_millis(ms));
            format!("{verb} {jobs} that ended more than {age} ago")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_went_or_would_go() {
        let mut answer = PruneJson {
            state: State::Failed,
            kind: None,
            older_than_ms: 3_600_000,
            removed: 2,
            dry_run: true,
        };
        assert_eq!(
            sentence(&answer),
            "would remove 2 failed jobs that ended more than 1h ago"
        );
        (answer.dry_run, answer.older_than_ms) = (false, 0);
        assert_eq!(sentence(&answer), "removed 2 failed jobs");
        answer.kind = Some("thumbnail");
        assert_eq!(sentence(&answer), "removed 2 failed jobs of kind thumbnail");
    }
}
