//! What keeps a blocked job, or a parent that waits.

use rusqlite::{Connection, params};

use super::families;
use super::places;
use super::records;
use super::statement::statements;
use super::why::Why;
use crate::Result;
use crate::family::PrerequisiteRule;
use crate::job::{Children, JobId, JobRecord};
use crate::state::State;

statements! {
    hot PREREQUISITES_UNMET = "SELECT n.needs_id, n.rule, j.state FROM jobq_prerequisite n
        JOIN jobq_job j ON j.id = n.needs_id WHERE n.job_id = ?1 AND n.met = 0 LIMIT ?2";
    cold PREREQUISITES_UNMET_COUNT = "SELECT count(*) FROM jobq_prerequisite WHERE job_id = ?1 AND met = 0";
}

/// So many jobs are named.
const NAMED: usize = 10;

pub(crate) fn blocked(conn: &Connection, job: &JobRecord) -> Result<Why> {
    let mut statement = conn.prepare_cached(PREREQUISITES_UNMET)?;
    let mut rows = statement.query(params![job.id.0, NAMED as i64])?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        let needs = JobId(row.get(0)?);
        let Some(state) = State::from_code(row.get(2)?) else {
            continue;
        };
        match PrerequisiteRule::from_code(row.get(1)?) {
            Some(PrerequisiteRule::OwnPart) => {
                return Ok(Why::ParentFirst {
                    parent: needs,
                    state,
                });
            }
            Some(PrerequisiteRule::Spawned) => return Ok(Why::SpawnerFirst { spawner: needs }),
            _ => jobs.push((needs, state)),
        }
    }
    if jobs.is_empty() {
        return in_line(conn, job);
    }
    let all: u64 = conn.query_row(PREREQUISITES_UNMET_COUNT, [job.id.0], |row| row.get(0))?;
    Ok(Why::WaitsFor {
        more: all.saturating_sub(jobs.len() as u64),
        jobs,
    })
}

/// Its concurrency key has no free place.
fn in_line(conn: &Connection, job: &JobRecord) -> Result<Why> {
    let Some(key) = job.key.clone() else {
        return Ok(Why::Other(job.state));
    };
    let places = places::number(conn, &key)?;
    let mut holders = Vec::new();
    for holder in places::holders(conn, &key, NAMED)? {
        holders.extend(records::state(conn, holder)?.map(|state| (holder, state)));
    }
    Ok(Why::KeyTaken {
        holders,
        places: places.unsigned_abs(),
        key,
    })
}

pub(crate) fn waiting(conn: &Connection, job: &JobRecord) -> Result<Why> {
    let family = families::get(conn, job.id)?;
    let children = family.map_or_else(Children::default, |family| family.children);
    if children.total == 0 {
        return Ok(Why::NoChildYet);
    }
    if children.live() == 0 {
        return in_line(conn, job);
    }
    Ok(Why::ChildrenFirst(children))
}
