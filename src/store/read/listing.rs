//! Listing jobs: full records of all that match, or a page of summaries within a time budget.

use std::collections::BinaryHeap;
use std::time::Duration;

use crate::model::filter::{Filter, KindFilter, Sort};
use crate::model::id::JobId;
use crate::model::job::{JobRecord, JobsPage, RecordsPage};
use crate::model::state::State;
use crate::store::read::conditions::{Conditions, Named};
use crate::store::read::drivers::Driver;
use crate::store::read::jobs::Records;
use crate::store::read::summaries::Summaries;
use crate::store::read::walk::{Direction, FoundJob, Walk, WalkStep, Wanted};
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::{Connection, Row, names, params};
use crate::{Error, Result, clock};

statements! {
    /// One step in the index for each job; a listing by the time of ending would sort them all. Few
    /// are said to be in the state, or in a file that was analyzed all final jobs are searched and sorted.
    hot JOBS_ENDED_LAST = "SELECT finished_at, id FROM jobq_job WHERE kind_id = ?1 AND likelihood(state = ?2, 0.0001) AND state >= 5
        ORDER BY finished_at DESC, id DESC LIMIT ?3";
}

/// How long a page may take to find its jobs; it is then cut short.
const BUDGET: Duration = Duration::from_millis(150);

/// Number of jobs of a page whose filter has no limit, and the maximum.
const PAGE_JOBS: usize = 50;
const MOST_PAGE_JOBS: usize = 1000;

/// About so many jobs are found at once for a list without a limit.
const JOBS_AT_ONCE: usize = 500;

/// Maximum length of the text to search for: SQLite's own for a pattern is more.
const MOST_TEXT_BYTES: usize = 1000;

/// Calls `each` for every job that matches the filter, one at a time. Memory stays flat in the order of ids; the others
/// keep the id of each job.
pub(crate) fn list(
    conn: &Connection,
    (filter, now_ms): (&Filter, i64),
    each: &mut dyn FnMut(JobRecord) -> Result<()>,
) -> Result<()> {
    check(filter)?;
    // One read transaction: no job may change between finding and reading it.
    let read = conn.unchecked_transaction()?;
    let mut records = Records::new(&read)?;
    let mut one = |id: i64| match records.get(JobId(id))? {
        Some(job) => each(job),
        None => Ok(()),
    };
    if is_of_ended_last(filter) {
        return ended_last(&read, filter)?.into_iter().try_for_each(one);
    }
    let limit = filter.limit.unwrap_or(usize::MAX);
    let (direction, key) = order(filter.sort);
    let wanted = Wanted {
        direction,
        after: filter.after,
        ids: filter.ids,
        jobs: limit.min(JOBS_AT_ONCE),
        until: None,
    };
    let mut walk = begin(&read, (filter, now_ms), (wanted, key))?;
    if key.is_some() {
        return first_of(&mut walk, filter.sort, limit)?
            .into_iter()
            .try_for_each(one);
    }
    let mut left = limit;
    while left > 0 {
        let WalkStep::Job(job) = walk.next()? else {
            break;
        };
        one(job.id)?;
        left -= 1;
    }
    Ok(())
}

/// The jobs that come next behind `filter.after`, or, if `before` is given, right before that job; in the order of the
/// filter either way.
pub(crate) fn page(
    conn: &Connection,
    (filter, now_ms): (&Filter, i64),
    before: Option<JobId>,
) -> Result<JobsPage> {
    check(filter)?;
    let ((direction, None), None) = (order(filter.sort), before.and(filter.after)) else {
        return Err(Error::invalid(
            "a page is in the order of ids, newest or oldest first, and is either after a job or before one",
        ));
    };
    let read = conn.unchecked_transaction()?;
    let limit = filter.limit.unwrap_or(PAGE_JOBS).clamp(1, MOST_PAGE_JOBS);
    let wanted = Wanted {
        direction: match (direction, before) {
            (Direction::Down, Some(_)) => Direction::Up,
            (Direction::Up, Some(_)) => Direction::Down,
            (direction, None) => direction,
        },
        after: before.or(filter.after),
        ids: filter.ids,
        // One more shows whether there is another page.
        jobs: limit + 1,
        until: Some(clock::after(clock::instant(), BUDGET)),
    };
    let mut walk = begin(&read, (filter, now_ms), (wanted, None))?;
    let mut summaries = Summaries::new(&read)?;
    let mut jobs = Vec::with_capacity(limit);
    let end = fill(&mut walk, limit, |id| {
        jobs.extend(summaries.get(id)?);
        Ok(0)
    })?;
    if before.is_some() {
        jobs.reverse();
    }
    Ok(JobsPage {
        jobs,
        next: end.next,
        searched_to: end.searched_to,
    })
}

/// Maximum size of the payloads, results and errors of a page of records; one job may be larger.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// The same with full records, behind `filter.after`.
pub(crate) fn page_of_records(
    conn: &Connection,
    (filter, now_ms): (&Filter, i64),
) -> Result<RecordsPage> {
    check(filter)?;
    let (direction, None) = order(filter.sort) else {
        return Err(Error::invalid(
            "a page is in the order of ids, newest or oldest first",
        ));
    };
    let read = conn.unchecked_transaction()?;
    let limit = filter.limit.unwrap_or(PAGE_JOBS).clamp(1, MOST_PAGE_JOBS);
    let wanted = Wanted {
        direction,
        after: filter.after,
        ids: filter.ids,
        jobs: limit + 1,
        until: Some(clock::after(clock::instant(), BUDGET)),
    };
    let mut walk = begin(&read, (filter, now_ms), (wanted, None))?;
    let mut records = Records::new(&read)?;
    let mut jobs = Vec::new();
    let end = fill(&mut walk, limit, |id| {
        let job = records.get(id)?;
        let bytes = job.as_ref().map_or(0, size);
        jobs.extend(job);
        Ok(bytes)
    })?;
    Ok(RecordsPage {
        jobs,
        next: end.next,
        searched_to: end.searched_to,
    })
}

/// The size of a job's texts.
fn size(job: &JobRecord) -> usize {
    let result = job.result.as_ref().map_or(0, |result| result.get().len());
    let error = job.error.as_ref().map_or(0, String::len);
    job.payload.get().len() + result + error
}

/// Where a page ends.
struct PageEnd {
    next: Option<JobId>,
    searched_to: Option<JobId>,
}

/// Calls `add` for the jobs of a page; it returns how large each is.
fn fill(
    walk: &mut Walk<'_>,
    limit: usize,
    mut add: impl FnMut(JobId) -> Result<usize>,
) -> Result<PageEnd> {
    let (mut jobs, mut bytes, mut last) = (0, 0, None);
    loop {
        let (next, searched_to) = match walk.next()? {
            WalkStep::Job(job) if jobs < limit && bytes <= PAGE_BYTES => {
                let id = JobId(job.id);
                bytes += add(id)?;
                jobs += 1;
                last = Some(id);
                continue;
            }
            WalkStep::Job(_) => (last, None),
            WalkStep::TimeUp(reached) => (Some(reached), Some(reached)),
            WalkStep::End => (None, None),
        };
        return Ok(PageEnd { next, searched_to });
    }
}

pub(crate) fn check(filter: &Filter) -> Result<()> {
    for text in filter.text.iter().chain(&filter.error) {
        if text.is_empty() {
            return Err(Error::invalid("the text to search for is empty"));
        }
        if text.len() > MOST_TEXT_BYTES {
            return Err(Error::invalid(format!(
                "the text to search for has {} bytes; the maximum is {MOST_TEXT_BYTES}",
                text.len()
            )));
        }
    }
    Ok(())
}

/// The walk over the jobs that match a filter.
pub(crate) fn begin<'c>(
    conn: &'c Connection,
    (filter, now_ms): (&Filter, i64),
    (wanted, key): (Wanted, Option<&'static str>),
) -> Result<Walk<'c>> {
    let named = Named::of(conn, filter)?;
    let driver = Driver::of(conn, filter, &named)?;
    let mut conditions = Conditions::of(conn, &driver.rest_of(filter), (&named, now_ms))?;
    conditions.key = key;
    Walk::new(conn, (&driver, &conditions), wanted)
}

/// In which direction the ids are walked, and the column that the jobs are sorted by, if any.
fn order(sort: Sort) -> (Direction, Option<&'static str>) {
    match sort {
        Sort::Newest => (Direction::Down, None),
        Sort::Oldest => (Direction::Up, None),
        Sort::Updated => (Direction::Down, Some("j.updated_at")),
        Sort::Started => (Direction::Down, Some("j.started_at")),
        Sort::Finished => (Direction::Down, Some("j.finished_at")),
        Sort::Due => (Direction::Up, Some("j.run_at")),
        Sort::Priority => (Direction::Up, Some("j.priority")),
    }
}

/// The first ids of a walk in another order than that of ids.
fn first_of(walk: &mut Walk<'_>, sort: Sort, limit: usize) -> Result<Vec<i64>> {
    /// What comes first is less.
    fn place(sort: Sort, found: FoundJob) -> (bool, i64, i64) {
        let FoundJob { id, key } = found;
        let is_last = key.is_none();
        let key = key.unwrap_or(0);
        match sort {
            Sort::Due => (is_last, key, id),
            Sort::Priority => (is_last, -key, id),
            _ => (is_last, -key, -id),
        }
    }
    let mut first = BinaryHeap::new();
    while let WalkStep::Job(found) = walk.next()? {
        first.push((place(sort, found), found.id));
        if first.len() > limit {
            first.pop();
        }
    }
    Ok(first
        .into_sorted_vec()
        .into_iter()
        .map(|(_, id)| id)
        .collect())
}

/// Whether a listing is of the last jobs that ended, without any other filter.
pub(crate) fn is_of_ended_last(filter: &Filter) -> bool {
    let of_all = Filter {
        sort: Sort::Finished,
        limit: filter.limit,
        ..Filter::default()
    };
    let without = Filter {
        states: Vec::new(),
        kinds: Vec::new(),
        ..filter.clone()
    };
    let states = &filter.states;
    let all_final = !states.is_empty() && states.iter().all(|state| state.is_final());
    filter.limit.is_some() && without == of_all && all_final
}

/// The last jobs of these states and kinds that ended, latest first.
fn ended_last(conn: &Connection, filter: &Filter) -> Result<Vec<i64>> {
    let limit = filter.limit.unwrap_or_default();
    let kinds = match filter.kinds.as_slice() {
        [] => KindFilter::All,
        kinds => KindFilter::Only(kinds.to_vec()),
    };
    let mut states: Vec<State> = filter.states.clone();
    states.sort_unstable_by_key(|state| state.code());
    states.dedup();
    let mut last: Vec<(i64, i64)> = Vec::new();
    for kind in names::kinds_of(conn, &kinds)? {
        for state in &states {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let ended = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
            last.extend(conn.all(JOBS_ENDED_LAST, params![kind, state.code(), limit], ended)?);
        }
        last.sort_unstable_by(|one, other| other.cmp(one));
        last.truncate(limit);
    }
    Ok(last.into_iter().map(|(_, id)| id).collect())
}
