//! What a second look at the rules between jobs has found.

use rusqlite::StatementStatus;

use super::sandbox::Sandbox;
use crate::family::GROUP;
use crate::job::{JobId, NewJob, When};
use crate::outcome::Verdict;
use crate::state::State::*;
use crate::store::checked::{CheckedJob, Limits};
use crate::store::due::{self, ClockReading};
use crate::store::{enqueue, places, prerequisites};
use std::time::Duration;

fn retry() -> Verdict {
    Verdict::Retry {
        error: "not now".to_owned(),
        after: Duration::from_secs(5),
    }
}

#[test]
fn the_children_of_a_group_that_was_cancelled_before_it_began_run_when_it_is_put_back() {
    let mut sandbox = Sandbox::new();
    let later = When::In(Duration::from_secs(60));
    let first = sandbox.enqueue(NewJob::new("send"));
    for group in [
        NewJob::new(GROUP).when(later),
        NewJob::new(GROUP).after([first]),
    ] {
        let group = sandbox.enqueue(group);
        let child = sandbox.enqueue(NewJob::new("child").parent(group));
        sandbox.cancel(group);
        assert_eq!(sandbox.states(&[group, child]), [Cancelled, Cancelled]);
        sandbox.requeue(group);
        assert_eq!(sandbox.state(child), Blocked);
        if sandbox.state(group) == Blocked {
            sandbox.complete(first);
        }
        assert_eq!(sandbox.complete(group), Waiting);
        sandbox.complete(child);
        assert_eq!(sandbox.states(&[group, child]), [Completed, Completed]);
        sandbox.assert_books_are_right();
    }
    assert_eq!(
        sandbox.state(first),
        Completed,
        "the second group waited for it again"
    );
}
