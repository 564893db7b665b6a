//! The jobs that ended last: a few of each kind by the index, and of those the last.

use rusqlite::{Connection, params};

use super::names::{self, KindFilter};
use super::records::{self, Filter, Sort};
use super::statement::statements;
use crate::Result;
use crate::job::{JobId, JobRecord};
use crate::state::State;

statements! {
    /// One step in the index for each job; a listing by the time of ending would sort them all. Few
    /// are said to be in the state, or in a file that was analyzed all final jobs are searched and sorted.
    hot JOBS_ENDED_LAST = "SELECT finished_at, id FROM jobq_job WHERE kind_id = ?1 AND likelihood(state = ?2, 0.0001) AND state >= 5
        ORDER BY finished_at DESC, id DESC LIMIT ?3";
}

/// Whether a listing is of the last few that ended, and nothing else is asked of them.
pub(crate) fn answers(filter: &Filter) -> bool {
    // Named one by one: what is asked of jobs besides must not be passed over here.
    let Filter {
        states,
        queues,
        kinds: _,
        since,
        sort,
        after,
        limit,
        tenant,
        tags,
        parent,
    } = filter;
    let nothing_else = queues.is_empty()
        && since.is_none()
        && after.is_none()
        && tenant.is_none()
        && tags.is_empty()
        && parent.is_none();
    let all_final = !states.is_empty() && states.iter().all(|state| state.is_final());
    *sort == Sort::Finished && limit.is_some() && nothing_else && all_final
}

/// Calls `each` for the last of these states and kinds that ended, the latest first.
pub(crate) fn list(
    conn: &Connection,
    filter: &Filter,
    each: &mut dyn FnMut(JobRecord) -> Result<()>,
) -> Result<()> {
    // One read transaction: none of them may be removed between the two looks.
    let read = conn.unchecked_transaction()?;
    let limit = filter.limit.unwrap_or_default();
    let kinds = match filter.kinds.as_slice() {
        [] => KindFilter::All,
        kinds => KindFilter::Only(kinds.to_vec()),
    };
    let mut states: Vec<State> = filter.states.clone();
    states.sort_unstable_by_key(|state| state.code());
    states.dedup();
    let mut last: Vec<(i64, i64)> = Vec::new();
    for kind in names::kinds_of(&read, &kinds)? {
        for state in &states {
            let mut statement = read.prepare_cached(JOBS_ENDED_LAST)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut rows = statement.query(params![kind, state.code(), limit])?;
            while let Some(row) = rows.next()? {
                last.push((row.get(0)?, row.get(1)?));
            }
        }
        last.sort_unstable_by(|one, other| other.cmp(one));
        last.truncate(limit);
    }
    for (_, id) in last {
        if let Some(job) = records::get(&read, JobId(id))? {
            each(job)?;
        }
    }
    Ok(())
}
