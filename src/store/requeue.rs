//! Putting final jobs back by hand.

use std::collections::BTreeMap;

use rusqlite::params;

use super::edit::OUTCOME_FORGET;
use super::ended::{self, Ended, Offspring};
use super::events::NewEvent;
use super::families;
use super::head::{self, Head};
use super::links::Links;
use super::statement::statements;
use super::tx::Tx;
use super::{deadlines, places, prerequisites, uniques};
use crate::event::EventKind;
use crate::family::Stage;
use crate::job::JobId;
use crate::state::State;
use crate::{Error, Result};

statements! {
    /// The attempt stays, for the fence and the history; what was spent is forgiven.
    hot JOB_REQUEUE_IF_FINAL = "UPDATE jobq_job SET state = ?3, finished_at = NULL, retries = 0, crashes = 0, no_ahead = 0,
            run_at = NULL, wait_reason = NULL, wait_fixed = NULL, updated_at = ?2
        WHERE id = ?1 AND state >= 5";
    /// A job that was cancelled before its first attempt: its error is nobody's.
    hot OUTCOME_CLEAR = "DELETE FROM jobq_outcome WHERE job_id = ?1";
}

/// Puts a final job back: a parent with all its children that did not complete, and without its own
/// part where that has been done.
pub(crate) fn requeue(tx: &mut Tx<'_>, id: JobId) -> Result<()> {
    let head = head::get(tx.conn, id)?;
    if !head.state.is_final() {
        return Err(Error::wrong_state(format!(
            "job {id} is {}; only final jobs can be retried",
            head.state
        )));
    }
    // By age: parents and prerequisites before those that may have to wait for them.
    let mut back = BTreeMap::from([(id, head)]);
    while let Some((id, head)) = back.pop_first() {
        put_back(tx, id, &head)?;
        if head.links.has(Links::FAMILY) && head.state != State::Completed {
            let Undone {
                children,
                any_removed,
            } = undone_children(tx, id)?;
            if children.is_empty() && any_removed {
                end_if_empty_group(tx, id)?;
            }
            for child in children {
                back.insert(child, head::get(tx.conn, child)?);
            }
        }
    }
    Ok(())
}

/// A group of which all children have been removed has nothing left to run, and gets no first child
/// again: it is done.
fn end_if_empty_group(tx: &mut Tx<'_>, id: JobId) -> Result<()> {
    let head = head::get(tx.conn, id)?;
    if head.state != State::Waiting || !families::is_group(tx, id)? {
        return Ok(());
    }
    let counted = families::get(tx.conn, id)?.map_or(0, |family| family.children.total as i64);
    if counted + tx.families.change(id).total > 0 {
        return Ok(());
    }
    let ended = Ended {
        job: id,
        to: State::Completed,
        links: head.links,
        parent: head.parent,
        offspring: Offspring::LeftAlone,
    };
    ended::parent(tx, ended, head.queue, None)
}

/// The children of a parent that did not complete.
struct Undone {
    children: Vec<JobId>,
    /// Some have been removed since. They cannot be run again, and no longer count.
    any_removed: bool,
}

fn undone_children(tx: &mut Tx<'_>, parent: JobId) -> Result<Undone> {
    if let Some(child) = families::child_being_stopped(tx.conn, parent)? {
        return Err(Error::wrong_state(format!(
            "job {child}, a child of job {parent}, has been asked to stop and still runs"
        ))
        .with_hint(format!("try again when it has: `jobq wait {child}`")));
    }
    let mut children = families::children(tx.conn, parent)?;
    children.retain(|(_, state)| matches!(state, State::Failed | State::Cancelled));
    let any_removed = families::forget_removed(tx, parent, children.len())?;
    let children = children.into_iter().map(|(child, _)| child).collect();
    Ok(Undone {
        children,
        any_removed,
    })
}

fn put_back(tx: &mut Tx<'_>, id: JobId, head: &Head) -> Result<()> {
    if head.links.has(Links::UNIQUE) {
        uniques::take_again(tx, id)?;
    }
    deadlines::forget(tx, id)?;
    let to = becomes(tx, id, head)?;
    tx.conn
        .prepare_cached(JOB_REQUEUE_IF_FINAL)?
        .execute(params![id.0, tx.now_ms, to.code()])?;
    if head.attempt == 0 {
        tx.conn.prepare_cached(OUTCOME_CLEAR)?.execute([id.0])?;
    } else if to != State::Waiting {
        tx.conn.prepare_cached(OUTCOME_FORGET)?.execute([id.0])?;
    }
    tx.append(NewEvent::job(EventKind::Requeued, id))?;
    tx.counts.moved(head.queue, head.state, to);
    if let Some(parent) = head.parent {
        families::child_is_back(tx, (parent, id), head.state)?;
    }
    if to == State::Waiting {
        // Without children that were put back its fate is decided at once.
        tx.families.change(id);
    }
    Ok(())
}

fn becomes(tx: &mut Tx<'_>, id: JobId, head: &Head) -> Result<State> {
    if head.links.has(Links::FAMILY) && families::is_own_part_done(tx, id, head.state)? {
        return waits_for_children(tx, id);
    }
    if head.links.has(Links::WAITS) && prerequisites::count_anew(tx, id)? > 0 {
        return Ok(State::Blocked);
    }
    if head.links.has(Links::FAMILY) && families::is_group(tx, id)? {
        return waits_for_children(tx, id);
    }
    if head.links.has(Links::KEY) && !places::take(tx, id)? {
        return Ok(State::Blocked);
    }
    Ok(State::Pending)
}

fn waits_for_children(tx: &Tx<'_>, id: JobId) -> Result<State> {
    families::set_stage(tx, id, Stage::Children)?;
    Ok(State::Waiting)
}
