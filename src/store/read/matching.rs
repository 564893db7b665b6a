//! The jobs that match a filter, within a time budget: their ids, their number, and their errors by group.

use std::time::Instant;

use crate::Result;
use crate::clock;
use crate::clock::timestamp;
use crate::model::bulk::{BulkPreview, MAX_SAMPLE};
use crate::model::error_group::{ErrorGroups, FailedJob, GroupsCounted};
use crate::model::filter::{Filter, Sort};
use crate::model::id::JobId;
use crate::model::state::State;
use crate::store::read::events;
use crate::store::read::listing::{begin, check};
use crate::store::read::summaries::Summaries;
use crate::store::read::walk::{Direction, WalkStep, Wanted};
use crate::store::sqlite::Connection;
use crate::store::sqlite::statement::{statements, text};

statements! {
    /// One row by its id, for each job of a walk. Of a long error the beginning tells its group.
    hot JOB_ERROR = "SELECT k.name, ifnull(j.finished_at, j.updated_at), substr(o.error, 1, 2000)
        FROM jobq_job j
        JOIN jobq_kind k ON k.id = j.kind_id
        LEFT JOIN jobq_outcome o ON o.job_id = j.id
        WHERE j.id = ?1";
}

/// Number of jobs between two looks at the clock, where more than their ids is read.
const JOBS_BETWEEN_LOOKS: u64 = 64;

/// Maximum number of groups that a call returns.
const MAX_GROUPS: usize = 1000;

/// Some ids, in the order of the filter.
pub(crate) struct IdsPage {
    pub(crate) ids: Vec<JobId>,
    /// The next page begins after this job; none: there are no more.
    pub(crate) next: Option<JobId>,
}

/// What a walk over a filter's jobs wants: in one direction, from [`Filter::after`] on.
fn wanted(filter: &Filter, direction: Direction, (jobs, until): (usize, Instant)) -> Wanted {
    Wanted {
        direction,
        after: filter.after,
        ids: filter.ids,
        jobs,
        until: Some(until),
    }
}

/// The next jobs, oldest first, at most `most`; fewer when the time is up.
pub(crate) fn ids(
    conn: &Connection,
    (filter, now_ms): (&Filter, i64),
    (most, until): (usize, Instant),
) -> Result<IdsPage> {
    check(filter)?;
    let read = conn.unchecked_transaction()?;
    let wanted = wanted(filter, Direction::Up, (most, until));
    let mut walk = begin(&read, (filter, now_ms), (wanted, None))?;
    let mut page = IdsPage {
        ids: Vec::with_capacity(most),
        next: None,
    };
    while page.ids.len() < most {
        match walk.next()? {
            WalkStep::Job(job) => page.ids.push(JobId(job.id)),
            WalkStep::TimeUp(reached) => {
                page.next = Some(reached);
                return Ok(page);
            }
            WalkStep::End => return Ok(page),
        }
    }
    page.next = page.ids.last().copied();
    Ok(page)
}

/// Counts the jobs, oldest first, and shows the first of them.
pub(crate) fn preview(
    conn: &Connection,
    (filter, now_ms): (&Filter, i64),
    until: Instant,
) -> Result<BulkPreview> {
    check(filter)?;
    let read = conn.unchecked_transaction()?;
    let wanted = wanted(filter, Direction::Up, (usize::MAX, until));
    let as_of = match filter.as_of {
        Some(event) => event,
        None => events::last(&read)?,
    };
    let mut walk = begin(&read, (filter, now_ms), (wanted, None))?;
    let mut summaries = Summaries::new(&read)?;
    let mut preview = BulkPreview {
        as_of,
        ..BulkPreview::default()
    };
    loop {
        match walk.next()? {
            WalkStep::Job(job) => {
                preview.jobs += 1;
                if preview.sample.len() < MAX_SAMPLE {
                    preview.sample.extend(summaries.get(JobId(job.id))?);
                }
            }
            WalkStep::TimeUp(reached) => {
                preview.searched_to = Some(reached);
                return Ok(preview);
            }
            WalkStep::End => return Ok(preview),
        }
    }
}

/// The errors of the jobs, newest job first, by their groups: of the failed ones if the filter names no state.
pub(crate) fn error_groups(
    conn: &Connection,
    (filter, now_ms): (&Filter, i64),
    until: Instant,
) -> Result<ErrorGroups> {
    check(filter)?;
    let mut filter = filter.clone();
    filter.sort = Sort::Newest;
    if filter.states.is_empty() {
        filter.states = vec![State::Failed];
    }
    let read = conn.unchecked_transaction()?;
    let wanted = wanted(&filter, Direction::Down, (usize::MAX, until));
    let mut walk = begin(&read, (&filter, now_ms), (wanted, None))?;
    let mut statement = read.prepare_cached(JOB_ERROR)?;
    let (mut groups, mut jobs) = (GroupsCounted::default(), 0_u64);
    loop {
        let id = match walk.next()? {
            WalkStep::Job(job) => JobId(job.id),
            WalkStep::TimeUp(reached) => return Ok(groups.finish(Some(reached))),
            WalkStep::End => return Ok(groups.finish(None)),
        };
        let mut rows = statement.query([id.0])?;
        if let Some(row) = rows.next()? {
            groups.add_job(FailedJob {
                id,
                kind: &text(row.get_ref(0)?).unwrap_or_default(),
                failed_at: timestamp(row.get(1)?),
                error: &text(row.get_ref(2)?).unwrap_or_default(),
            });
        }
        jobs += 1;
        let is_time_up = jobs % JOBS_BETWEEN_LOOKS == 0 && clock::instant() >= until;
        if is_time_up || groups.len() >= MAX_GROUPS {
            return Ok(groups.finish(Some(id)));
        }
    }
}
