//! The state counters: the number of jobs by queue and state.

use std::collections::BTreeMap;

use crate::Result;
use crate::model::counts::Counts;
use crate::model::state::State;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::{Connection, RowResult};

statements! {
    /// A row per queue and state: small whatever the number of jobs.
    hot COUNTS_BY_STATE = "SELECT state, sum(jobs) FROM jobq_count GROUP BY state";
    cold COUNTS_RECOUNT = "SELECT queue_id, state, count(*) FROM jobq_job GROUP BY queue_id, state";
    cold COUNTS_ALL = "SELECT queue_id, state, jobs FROM jobq_count WHERE jobs <> 0";
    cold COUNTS_CLEAR = "DELETE FROM jobq_count";
}

pub(crate) fn by_state(conn: &Connection) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut statement = conn.prepare_cached(COUNTS_BY_STATE)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(state) = State::from_code(row.get(0)?) {
            counts.add(state, row.get(1)?);
        }
    }
    Ok(counts)
}

/// The counters by queue and state code, as stored or as recounted. Unknown codes are included, so that
/// `doctor` can name them.
pub(crate) fn table(conn: &Connection, sql: &str) -> Result<BTreeMap<(i64, i64), i64>> {
    let mut statement = conn.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
    Ok(rows.collect::<RowResult<_>>()?)
}
