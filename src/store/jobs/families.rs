//! Parents and children: adding children, and what happens to a parent as its children end.
//!
//! A parent's run phase comes first; until it is done its children are blocked. Then the parent is waiting,
//! without a worker, and each child that ends is counted. All children of a parent that end in one
//! transaction are one update of its row, and the parent's outcome is decided once.

use crate::error::Of;
use crate::model::family::{
    ChildPolicy, Children, Family, GROUP_KIND, ParentOutcome, PrerequisiteRule, Stage,
};
use crate::model::flags::JobFlags;
use crate::model::id::JobId;
use crate::model::job::AttemptRef;
use crate::model::part::Part;
use crate::model::remedy::Remedy;
use crate::model::state::State;
use crate::store::jobs::job_row::JobRow;
use crate::store::jobs::validate::{FamilyRules, Parent, ValidatedJob};
use crate::store::jobs::{cancel, job_row, release};
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::tx::{ChildAction, Ended, FamilyChange, Tx};
use crate::store::sqlite::{Connection, params};
use crate::{Error, Result};

statements! {
    hot FAMILY_FOUND = "INSERT INTO jobq_family (job_id, parent_id, policy, final_step) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (job_id) DO UPDATE SET final_step = max(final_step, excluded.final_step)";
    hot FAMILY_REPLACE = "INSERT INTO jobq_family (job_id, parent_id, policy, final_step) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (job_id) DO UPDATE SET policy = excluded.policy, final_step = excluded.final_step";
    hot FAMILY_STAGE_SET = "UPDATE jobq_family SET stage = ?2 WHERE job_id = ?1";
    hot FAMILY_GET = "SELECT policy, final_step, stage, total, done, failed, failed_id FROM jobq_family WHERE job_id = ?1";
    hot FAMILY_COUNT = "UPDATE jobq_family SET total = total + ?2, done = done + ?3, failed = failed + ?4,
            failed_id = coalesce(failed_id, ?5)
        WHERE job_id = ?1";
    hot FAMILY_FORGIVE = "UPDATE jobq_family SET failed_id = NULL WHERE job_id = ?1 AND failed_id = ?2";
    hot FAMILY_FORGIVE_ALL = "UPDATE jobq_family SET failed_id = NULL WHERE job_id = ?1 AND failed_id IS NOT NULL";
    hot CHILD_BEING_STOPPED = "SELECT id FROM jobq_job WHERE parent_id = ?1 AND state = 3 AND cancel = 1 LIMIT 1";
    hot CHILD_RUNNING = "SELECT id FROM jobq_job WHERE parent_id = ?1 AND state = 3 LIMIT 1";
    hot JOB_KIND_IS = "SELECT k.name = ?2 FROM jobq_job j JOIN jobq_kind k ON k.id = j.kind_id WHERE j.id = ?1";
    hot CHILDREN_OF = "SELECT id, state FROM jobq_job WHERE parent_id = ?1 ORDER BY id";
    hot CHILD_ERROR = "SELECT j.state, o.error FROM jobq_job j LEFT JOIN jobq_outcome o ON o.job_id = j.id WHERE j.id = ?1";
    hot JOB_ORPHAN = "UPDATE jobq_job SET parent_id = NULL, links = links & ~1 WHERE id = ?1 AND parent_id IS NOT NULL";
    /// Running jobs are few, however many children there are.
    hot CHILDREN_PROGRESS = "SELECT sum(g.percent) FROM jobq_job j INDEXED BY jobq_job_running
        CROSS JOIN jobq_progress g ON g.job_id = j.id AND g.attempt = j.attempt WHERE j.state = 3 AND j.parent_id = ?1";
    hot FAMILIES_UNDER = "SELECT f.job_id FROM jobq_family f JOIN jobq_job j ON j.id = f.job_id
        WHERE f.parent_id = ?1 AND j.state IN (2, 4) AND f.stage > 0";
}

/// How a child was added to a family.
pub(crate) struct ValidatedParent {
    pub(crate) parent: JobId,
    founds: bool,
    grandparent: Option<JobId>,
    /// The rule it waits by first: the parent's run phase.
    pub(crate) held_by: Option<WaitsFor>,
    pub(crate) spawned_by: Option<AttemptRef>,
    /// It is a hook's job, or under one.
    pub(crate) is_of_hook: bool,
}

pub(crate) struct WaitsFor {
    pub(crate) job: JobId,
    pub(crate) rule: PrerequisiteRule,
    pub(crate) attempt: Option<u32>,
}

/// Validates the parent of a new child: it must not be final, and must still take children.
pub(crate) fn validate_parent(tx: &Tx<'_>, parent: Parent) -> Result<ValidatedParent> {
    let id = parent.job;
    let row = job_row::find(tx.conn, id)?.ok_or_else(|| {
        Error::not_found(format!("there is no job {id} to be the parent"))
            .with_remedy(Remedy::ListJobs)
    })?;
    if row.state.is_final() {
        return Err(Error::wrong_state(format!(
            "job {id} is {}; only a live job can get children",
            row.state
        )));
    }
    if let Some(by) = parent.spawned_by {
        by.check(tx)?;
    }
    let stage = stage(tx.conn, id, row.flags)?;
    if stage == Stage::Finalize {
        return Err(Error::wrong_state(format!(
            "job {id} finalizes; it can get no more children"
        )));
    }
    let run_phase_ahead = stage == Stage::Run;
    let by_parent_itself = parent.spawned_by.is_some_and(|by| by.job == id);
    let held_by = (run_phase_ahead && !by_parent_itself).then_some(WaitsFor {
        job: id,
        rule: PrerequisiteRule::RunPhase,
        attempt: None,
    });
    Ok(ValidatedParent {
        parent: id,
        founds: !row.flags.has(JobFlags::FAMILY),
        grandparent: row.parent,
        held_by,
        spawned_by: parent.spawned_by,
        is_of_hook: row.flags.has(JobFlags::HOOK_JOB) || row.flags.has(JobFlags::UNDER_HOOK),
    })
}

/// Whether the parent of a spawned job, if it has one, is not final.
pub(crate) fn takes_children_of(tx: &Tx<'_>, job: &ValidatedJob) -> Result<bool> {
    let Some(parent) = job.rules.as_ref().and_then(|rules| rules.parent) else {
        return Ok(true);
    };
    let row = job_row::find(tx.conn, parent.job)?;
    Ok(row.is_some_and(|row| !row.state.is_final()))
}

/// Counts a new child.
pub(crate) fn add_child(tx: &mut Tx<'_>, admitted: &ValidatedParent) -> Result<()> {
    if admitted.founds {
        create(
            tx,
            admitted.parent,
            admitted.grandparent,
            FamilyRules::default(),
        )?;
    }
    tx.pending.family(admitted.parent).total += 1;
    Ok(())
}

/// Whether a job whose own attempt has completed must still wait: it has children, or may get some. After
/// its finalize phase it is done, unless a retried child is not final or has failed.
pub(crate) fn goes_on(tx: &Tx<'_>, job: JobId, flags: JobFlags) -> Result<bool> {
    if !flags.has(JobFlags::FAMILY) {
        return Ok(false);
    }
    let Some(mut family) = get(tx.conn, job)? else {
        return Ok(false);
    };
    let change = tx.pending.family_so_far(job);
    let after = |count: u64, change: i64| count.saturating_add_signed(change);
    family.children = Children {
        total: after(family.children.total, change.total),
        done: after(family.children.done, change.done),
        failed: after(family.children.failed, change.failed),
    };
    Ok(family.stage != Stage::Finalize || family.outcome() != ParentOutcome::Complete)
}

/// Makes a job a parent.
pub(crate) fn create(
    tx: &Tx<'_>,
    job: JobId,
    parent: Option<JobId>,
    rules: FamilyRules,
) -> Result<()> {
    tx.run(
        FAMILY_FOUND,
        params![
            job.0,
            parent.map(|parent| parent.0),
            rules.policy.code(),
            rules.finalize
        ],
    )?;
    job_row::set_flags(tx.conn, job, JobFlags::FAMILY)
}

/// Replaces the child rules of a job that has not begun by those of another.
pub(crate) fn set_rules(
    tx: &Tx<'_>,
    (job, row): (JobId, &JobRow),
    rules: Option<FamilyRules>,
) -> Result<()> {
    if rules.is_none() && !row.flags.has(JobFlags::FAMILY) {
        return Ok(());
    }
    let FamilyRules { policy, finalize } = rules.unwrap_or_default();
    tx.run(
        FAMILY_REPLACE,
        params![
            job.0,
            row.parent.map(|parent| parent.0),
            policy.code(),
            finalize
        ],
    )?;
    job_row::set_flags(tx.conn, job, JobFlags::FAMILY)
}

pub(crate) fn set_stage(tx: &Tx<'_>, job: JobId, stage: Stage) -> Result<()> {
    tx.run(FAMILY_STAGE_SET, params![job.0, stage.code()])?;
    Ok(())
}

/// Whether a final parent that is retried need not repeat its run phase. A parent that completed begins from
/// the start, except a group.
pub(crate) fn is_run_phase_done(tx: &Tx<'_>, job: JobId, state: State) -> Result<bool> {
    if state == State::Completed && !is_group(tx, job)? {
        set_stage(tx, job, Stage::Run)?;
        return Ok(false);
    }
    let family = get(tx.conn, job)?;
    Ok(family.is_some_and(|family| family.stage != Stage::Run))
}

/// The phase of the job that is due.
pub(crate) fn stage(conn: &Connection, job: JobId, flags: JobFlags) -> Result<Stage> {
    if !flags.has(JobFlags::FAMILY) {
        return Ok(Stage::Run);
    }
    Ok(get(conn, job)?.map_or(Stage::Run, |family| family.stage))
}

pub(crate) fn get(conn: &Connection, job: JobId) -> Result<Option<Family>> {
    conn.optional(FAMILY_GET, [job.0], |row| {
        Ok(Family {
            policy: ChildPolicy::from_code(row.get(0)?).unwrap_or_default(),
            finalize: row.get(1)?,
            stage: Stage::from_code(row.get(2)?).unwrap_or_default(),
            children: Children {
                total: row.get::<_, i64>(3)?.max(0).unsigned_abs(),
                done: row.get::<_, i64>(4)?.max(0).unsigned_abs(),
                failed: row.get::<_, i64>(5)?.max(0).unsigned_abs(),
            },
            first_failed: row.get::<_, Option<i64>>(6)?.map(JobId),
        })
    })
}

/// Counts the changes of children, and decides the parent's outcome if it waits.
pub(crate) fn apply(tx: &mut Tx<'_>, parent: JobId, change: FamilyChange) -> Result<()> {
    tx.run(
        FAMILY_COUNT,
        params![
            parent.0,
            change.total,
            change.done,
            change.failed,
            change.first_failed.map(|child| child.0)
        ],
    )?;
    let Some(row) = job_row::find(tx.conn, parent)?.filter(|row| row.state == State::Waiting)
    else {
        return Ok(());
    };
    let Some(family) = get(tx.conn, parent)? else {
        return Ok(());
    };
    if family.stage == Stage::Finalize || (family.children.total == 0 && is_group(tx, parent)?) {
        // It waits to finalize, or it is a group that waits for its first child.
        return Ok(());
    }
    let ended = Ended {
        job: parent,
        to: State::Completed,
        flags: row.flags,
        parent: row.parent,
        children: ChildAction::LeaveAlone,
        cancel: None,
    };
    match family.outcome() {
        ParentOutcome::Wait => Ok(()),
        ParentOutcome::Complete => job_row::finish_waiting(tx, ended, row.queue, None),
        ParentOutcome::Finalize => {
            set_stage(tx, parent, Stage::Finalize)?;
            release::finalize(tx, parent)
        }
        fate @ (ParentOutcome::Fail | ParentOutcome::FailAndCancel) => {
            let error = cause(tx, &family)?;
            let ended = Ended {
                to: State::Failed,
                children: if fate == ParentOutcome::Fail {
                    ChildAction::LeaveAlone
                } else {
                    ChildAction::Cancel
                },
                ..ended
            };
            job_row::finish_waiting(tx, ended, row.queue, Some(&error))
        }
    }
}

pub(crate) fn is_group(tx: &Tx<'_>, job: JobId) -> Result<bool> {
    is_of_kind(tx, job, GROUP_KIND)
}

pub(crate) fn is_of_kind(tx: &Tx<'_>, job: JobId, kind: &str) -> Result<bool> {
    tx.one(JOB_KIND_IS, params![job.0, kind], |row| row.get(0))
}

/// Why a parent fails, in words.
fn cause(tx: &Tx<'_>, family: &Family) -> Result<String> {
    let Children { total, failed, .. } = family.children;
    let Some(first) = family.first_failed else {
        return Ok(format!("{failed} of its {total} children failed"));
    };
    let found: Option<(i64, Option<String>)> =
        tx.optional(CHILD_ERROR, [first.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (verb, error) = match found {
        Some((code, error)) if code == State::Cancelled.code() => ("was cancelled", error),
        Some((_, error)) => ("failed", error),
        None => ("failed", None),
    };
    let error = error.map_or_else(String::new, |error| format!(": {error}"));
    Ok(if failed > 1 {
        format!("{failed} of its {total} children failed, first child {first}{error}")
    } else {
        format!("child {first} {verb}{error}")
    })
}

/// The children of a job in order, each with its state.
pub(crate) fn children(conn: &Connection, parent: JobId) -> Result<Vec<(JobId, State)>> {
    let mut statement = conn.prepare_cached(CHILDREN_OF)?;
    let rows = statement.query_map([parent.0], |row| {
        Ok((JobId(row.get(0)?), row.get::<_, i64>(1)?))
    })?;
    let mut children = Vec::new();
    for row in rows {
        let (child, code) = row?;
        children.extend(State::from_code(code).map(|state| (child, state)));
    }
    Ok(children)
}

pub(crate) fn child_being_stopped(conn: &Connection, parent: JobId) -> Result<Option<JobId>> {
    conn.optional(CHILD_BEING_STOPPED, [parent.0], |row| row.get(0).map(JobId))
}

pub(crate) fn running_child(conn: &Connection, parent: JobId) -> Result<Option<JobId>> {
    conn.optional(CHILD_RUNNING, [parent.0], |row| row.get(0).map(JobId))
}

/// Adjusts the counts of a parent that is retried with this many uncompleted children: others that are
/// counted were removed. If no child at all is left they count as done, or a group would wait for its first
/// child again.
pub(crate) fn forget_removed(tx: &mut Tx<'_>, parent: JobId, undone: usize) -> Result<()> {
    let Some(family) = get(tx.conn, parent)? else {
        return Ok(());
    };
    let change = tx.pending.family(parent);
    let removed = family.children.failed as i64 + change.failed - undone as i64;
    if removed > 0 {
        change.failed -= removed;
        if family.children.total as i64 + change.total == removed {
            change.done += removed;
        } else {
            change.total -= removed;
        }
    }
    tx.run(FAMILY_FORGIVE_ALL, [parent.0])?;
    Ok(())
}

/// Cancels the children of a parent that has ended.
pub(crate) fn cancel_children(tx: &mut Tx<'_>, parent: JobId, state: State) -> Result<()> {
    let verb = if state == State::Failed {
        "failed"
    } else {
        "was cancelled"
    };
    for (child, state) in children(tx.conn, parent)? {
        let part = Part::Job(child);
        if !state.is_final() && !tx.is_aside(part) {
            cancel::cancel_by_rule(tx, child, &format!("its parent {parent} {verb}")).of(part)?;
        }
    }
    Ok(())
}

/// Removes a discarded child: it has never been one.
pub(crate) fn remove_child(
    tx: &mut Tx<'_>,
    (parent, child): (JobId, JobId),
    from: State,
) -> Result<()> {
    tx.run(JOB_ORPHAN, [child.0])?;
    tx.pending.family(parent).total -= 1;
    if from.is_final() {
        child_is_back(tx, (parent, child), from)?;
    }
    Ok(())
}

/// A final child no longer counts as ended: it is retried by hand, or removed.
pub(crate) fn child_is_back(
    tx: &mut Tx<'_>,
    (parent, child): (JobId, JobId),
    from: State,
) -> Result<()> {
    let change = tx.pending.family(parent);
    if from == State::Completed {
        change.done -= 1;
    } else {
        change.failed -= 1;
    }
    tx.run(FAMILY_FORGIVE, [parent.0, child.0])?;
    Ok(())
}

/// Maximum depth to which the progress of children is computed; deeper ones are only counted.
const PROGRESS_DEPTH: usize = 8;

/// The mean progress of the children in percent; final ones count as 100.
pub(crate) fn progress(conn: &Connection, parent: JobId, children: Children) -> Result<f64> {
    progress_to(conn, (parent, children), PROGRESS_DEPTH)
}

fn progress_to(
    conn: &Connection,
    (parent, children): (JobId, Children),
    depth: usize,
) -> Result<f64> {
    if children.total == 0 {
        return Ok(0.0);
    }
    let running: Option<f64> = conn.one(CHILDREN_PROGRESS, [parent.0], |row| row.get(0))?;
    let mut percents = running.unwrap_or(0.0) + 100.0 * (children.done + children.failed) as f64;
    if depth > 0 {
        let under: Vec<i64> = { conn.all(FAMILIES_UNDER, [parent.0], |row| row.get(0))? };
        for id in under.into_iter().map(JobId) {
            if let Some(family) = get(conn, id)? {
                percents += progress_to(conn, (id, family.children), depth - 1)?;
            }
        }
    }
    Ok((percents / children.total as f64).min(100.0))
}
