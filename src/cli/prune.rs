//! `jobq prune`.

use std::time::Duration;

use jobq::{Retention, State};
use serde::Serialize;

use super::args;
use super::exit::{CliResult, Exit};
use super::output::text::count;
use super::output::time::{duration, millis};
use super::session::Session;

#[derive(Serialize)]
struct Answer {
    state: State,
    older_than_ms: u64,
    removed: u64,
    dry_run: bool,
}

pub(super) fn run(args: &args::Prune, session: &Session) -> CliResult {
    let queue = session.queue()?;
    let finals = State::ALL.into_iter().filter(|state| state.is_final());
    let wanted = |state: &State| args.states.is_empty() || args.states.contains(state);
    for state in finals.filter(wanted) {
        let Some(older_than) = args.older_than.or_else(|| kept_for(state, session)) else {
            continue;
        };
        let removed = if args.dry_run {
            queue.prunable(state, older_than)?
        } else {
            queue.prune(state, older_than)?
        };
        let answer = Answer {
            state,
            older_than_ms: millis(older_than),
            removed,
            dry_run: args.dry_run,
        };
        session.output.line(&answer, said(&answer))?;
    }
    Ok(Exit::Done)
}

/// As a runner would: the config file says it, else the library.
fn kept_for(state: State, session: &Session) -> Option<Duration> {
    let usual = Retention::default();
    let retention = &session.config.retention;
    match state {
        State::Completed => retention.completed.or(usual.completed),
        _ => retention.failed.or(usual.failed),
    }
}

fn said(answer: &Answer) -> String {
    let verb = if answer.dry_run {
        "would remove"
    } else {
        "removed"
    };
    let jobs = count(answer.removed, &format!("{} job", answer.state));
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
        let mut answer = Answer {
            state: State::Failed,
            older_than_ms: 3_600_000,
            removed: 2,
            dry_run: true,
        };
        assert_eq!(
            said(&answer),
            "would remove 2 failed jobs that ended more than 1h ago"
        );
        (answer.dry_run, answer.older_than_ms) = (false, 0);
        assert_eq!(said(&answer), "removed 2 failed jobs");
    }
}
