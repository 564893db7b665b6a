//! Changes to the rules of a job.

use std::time::Duration;

use crate::clock::millis;
use crate::model::family::{GROUP_KIND, Stage};
use crate::model::flags::JobFlags;
use crate::model::id::JobId;
use crate::model::job::update::{ClearOption, JobUpdate};
use crate::model::job::{Due, UniqueKey, When};
use crate::model::limits::Update;
use crate::model::remedy::Remedy;
use crate::model::state::State;
use crate::store::jobs::enqueue::TAG_INSERT;
use crate::store::jobs::job_row::JobRow;
use crate::store::jobs::validate::Rules;
use crate::store::jobs::{concurrency_slots, deadlines, families, job_row, release, unique};
use crate::store::sqlite::params;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::Tx;
use crate::{Error, Result};

statements! {
    hot JOB_SET_KEY_IF_NOT_RUNNING = "UPDATE jobq_job SET key = ?2, links = (links & ~8) | (?2 IS NOT NULL) * 8
        WHERE id = ?1 AND state <> 3";
    hot JOB_SET_UNIQUE_IF_NOT_RUNNING = "UPDATE jobq_job SET unique_key = ?2, links = (links & ~16) | (?2 IS NOT NULL) * 16
        WHERE id = ?1 AND state <> 3";
    hot JOB_SET_UNIQUE_FOR_IF_NOT_RUNNING = "UPDATE jobq_job SET unique_for_ms = ?2 WHERE id = ?1 AND state <> 3";
    hot JOB_SET_DEADLINE_IF_WAITS = "UPDATE jobq_job SET deadline = ?2, links = (links & ~288) | ?3
        WHERE id = ?1 AND state IN (0, 1, 2)";
    hot JOB_SET_ORIGIN_IF_WAITS = "UPDATE jobq_job SET schedule = ?2, slot = ?3, links = (links & ~512) | (?2 IS NOT NULL) * 512
        WHERE id = ?1 AND state IN (0, 1, 2)";
    hot TAGS_DELETE = "DELETE FROM jobq_tag WHERE job_id = ?1";
    hot JOB_SET_TENANT_IF_NOT_RUNNING = "UPDATE jobq_job SET tenant = ?2 WHERE id = ?1 AND state <> 3";
    hot TAG_DELETE = "DELETE FROM jobq_tag WHERE job_id = ?1 AND name = ?2";
    hot JOB_NOTE_TAGS = "UPDATE jobq_job SET links = (links & ~64) |
            (EXISTS (SELECT 1 FROM jobq_tag WHERE job_id = ?1)) * 64
        WHERE id = ?1";
}

/// Changes what the edit names; a job that is `row` before.
pub(super) fn edit(tx: &mut Tx<'_>, (id, row): (JobId, &JobRow), edit: &JobUpdate) -> Result<()> {
    let set = &edit.set;
    let tenant = edit.of(&set.tenant, &ClearOption::Tenant);
    if tenant != Update::Keep {
        tx.run(
            JOB_SET_TENANT_IF_NOT_RUNNING,
            params![id.0, tenant.of(None)],
        )?;
    }
    set_tags(tx, id, edit)?;
    match edit.of(&set.unique, &ClearOption::Unique) {
        Update::Set(UniqueKey::Named(key)) => set_unique(tx, (id, row), Some(key))?,
        Update::Clear => set_unique(tx, (id, row), None)?,
        // By the payload it can only be from the beginning.
        Update::Keep | Update::Set(UniqueKey::KindAndPayload) => {}
    }
    let unique_for = edit.of(&set.unique_for, &ClearOption::UniqueFor);
    if unique_for != Update::Keep {
        set_unique_for(tx, id, unique_for.of(None).copied())?;
    }
    let deadline = edit.of(&set.deadline, &ClearOption::Deadline);
    if deadline != Update::Keep {
        set_deadline(tx, (id, row), deadline.of(None).copied())?;
    }
    let key = edit.of(&set.key, &ClearOption::Key);
    if key != Update::Keep {
        set_key(tx, (id, row), key.of(None).map(String::as_str))?;
    }
    if let Some(number) = set.key_limit {
        let (key, _) = concurrency_slots::key_of(tx.conn, id)?.ok_or_else(|| {
            Error::invalid(format!(
                "job {id} has no concurrency key that could have a limit"
            ))
            .with_remedy(Remedy::GiveKey)
        })?;
        concurrency_slots::set_number(tx, &key, number)?;
    }
    Ok(())
}

/// Gives a job that has not begun the rules of a new one. What ties it to other jobs stays, and so does its
/// concurrency key.
pub(super) fn replace(tx: &mut Tx<'_>, id: JobId, rules: &Rules) -> Result<()> {
    tx.run(JOB_SET_TENANT_IF_NOT_RUNNING, params![id.0, rules.tenant])?;
    tx.run(TAGS_DELETE, [id.0])?;
    for (name, value) in &rules.tags {
        tx.run(TAG_INSERT, params![name, value, id.0])?;
    }
    tx.run(JOB_NOTE_TAGS, [id.0])?;
    let window = rules.unique.as_ref().and_then(|unique| unique.for_ms);
    tx.run(JOB_SET_UNIQUE_FOR_IF_NOT_RUNNING, params![id.0, window])?;
    let origin = rules.origin.as_ref();
    tx.run(
        JOB_SET_ORIGIN_IF_WAITS,
        params![
            id.0,
            origin.map(|origin| &origin.schedule),
            origin.and_then(|origin| origin.slot_ms)
        ],
    )?;
    write_deadline(tx, id, rules.deadline)
}

fn set_tags(tx: &Tx<'_>, id: JobId, edit: &JobUpdate) -> Result<()> {
    let cleared = edit.clear.iter().filter_map(|option| match option {
        ClearOption::Tag(name) => Some(name),
        _ => None,
    });
    let mut is_any = false;
    for name in cleared.chain(edit.set.tags.keys()) {
        tx.run(TAG_DELETE, params![id.0, name])?;
        is_any = true;
    }
    for (name, value) in &edit.set.tags {
        tx.run(TAG_INSERT, params![name, value, id.0])?;
    }
    if is_any {
        tx.run(JOB_NOTE_TAGS, [id.0])?;
    }
    Ok(())
}

/// Another unique key, which must be free, or none.
pub(super) fn set_unique(
    tx: &mut Tx<'_>,
    (id, row): (JobId, &JobRow),
    key: Option<&str>,
) -> Result<()> {
    if row.state.is_final() {
        return Err(Error::wrong_state(format!(
            "job {id} is {}; only a job that has not ended has a unique key to change",
            row.state
        )));
    }
    unique::exchange(tx, id, key)?;
    tx.run(JOB_SET_UNIQUE_IF_NOT_RUNNING, params![id.0, key])?;
    Ok(())
}

fn set_unique_for(tx: &Tx<'_>, id: JobId, window: Option<Duration>) -> Result<()> {
    if window.is_some() && !unique::has_key(tx, id)? {
        return Err(
            Error::invalid(format!("job {id} has no unique key that could stay taken"))
                .with_remedy(Remedy::GiveUniqueKey),
        );
    }
    tx.run(
        JOB_SET_UNIQUE_FOR_IF_NOT_RUNNING,
        params![id.0, window.map(millis)],
    )?;
    Ok(())
}

fn set_deadline(
    tx: &mut Tx<'_>,
    (id, row): (JobId, &JobRow),
    deadline: Option<When>,
) -> Result<()> {
    let waits = matches!(
        row.state,
        State::Scheduled | State::Blocked | State::Pending
    );
    if !waits || row.attempt > 0 {
        return Err(Error::wrong_state(format!(
            "job {id} has begun or ended; a deadline is for jobs that have not"
        )));
    }
    write_deadline(tx, id, deadline)
}

fn write_deadline(tx: &Tx<'_>, id: JobId, deadline: Option<When>) -> Result<()> {
    let at_ms = deadline.map(|deadline| Due::moment(deadline, tx.now_ms).run_at_ms);
    let flags = JobFlags::NONE.and(JobFlags::DEADLINE, at_ms.is_some()).and(
        JobFlags::DEADLINE_MOVES,
        matches!(deadline, Some(When::In(_))),
    );
    tx.run(JOB_SET_DEADLINE_IF_WAITS, params![id.0, at_ms, flags])?;
    deadlines::disarm(tx, id)?;
    match at_ms {
        Some(at_ms) => deadlines::arm(tx, id, at_ms),
        None => Ok(()),
    }
}

/// Changes or removes the concurrency key: a job that may run needs a free slot under the new one.
fn set_key(tx: &mut Tx<'_>, (id, row): (JobId, &JobRow), key: Option<&str>) -> Result<()> {
    if families::is_of_kind(tx, id, GROUP_KIND)? {
        return Err(Error::invalid(
            "a group has no work of its own that a concurrency key could limit",
        )
        .with_hint("give the key to its children"));
    }
    if families::stage(tx.conn, id, row.flags)? == Stage::Finalize && !row.state.is_final() {
        return Err(Error::wrong_state(format!(
            "job {id} is about to finalize; its concurrency key cannot be changed now"
        )));
    }
    let before = job_row::get(tx.conn, id)?.state;
    concurrency_slots::leave(tx, id)?;
    tx.run(JOB_SET_KEY_IF_NOT_RUNNING, params![id.0, key])?;
    match before {
        State::Pending => {
            if !concurrency_slots::take(tx, id)? {
                let key = key.unwrap_or_default();
                return Err(Error::wrong_state(format!(
                    "job {id} may run already, and the concurrency key '{key}' has no free slot"
                ))
                .with_hint(
                    "cancel it and enqueue it anew with that key, or edit it when the key is free",
                ));
            }
            Ok(())
        }
        // It was in line, perhaps.
        State::Blocked => release::release_if_met(tx, id),
        _ => Ok(()),
    }
}
