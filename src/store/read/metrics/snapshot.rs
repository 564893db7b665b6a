//! All metrics at one moment, for monitoring systems. Nothing here costs more where there are more jobs.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::clock::timestamp;
use crate::model::event::EventKind;
use crate::model::metrics::MetricSpan;
use crate::model::metrics::snapshot::{
    MAX_NAMES, MAX_PAIRS, MetricsSnapshot, PairTotals, QueueGauges, ScheduleGauges, capped,
    capped_queues,
};
use crate::model::runner::{RunnerFilter, RunnerState};
use crate::store::jobs::queues;
use crate::store::read::metrics::{ENQUEUED_TOTALS, METRICS_BETWEEN, name};
use crate::store::read::{drivers, runners};
use crate::store::sqlite::names::QUEUE_NAME;
use crate::store::sqlite::schema::VERSION;
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::tx::metrics::decode;
use crate::store::sqlite::{Connection, Row, RowResult, params, sqlite_version};
use crate::store::upkeep::schedules;

statements! {
    /// The job of a queue, a kind and a priority that is claimed next: since when it is pending.
    hot PENDING_SINCE = "SELECT updated_at FROM jobq_job
        WHERE state = 2 AND queue_id = ?1 AND kind_id = ?2 AND priority = ?3 ORDER BY id LIMIT 1";
    /// Among the newest jobs of a schedule.
    hot SCHEDULE_LAST_SUCCESS = "SELECT finished_at FROM (SELECT state, finished_at FROM jobq_job WHERE schedule = ?1
        ORDER BY id DESC LIMIT ?2) WHERE state = 5 LIMIT 1";
}

/// A success of a schedule is looked for among this number of its newest jobs.
const NEWEST_OF_SCHEDULE: i64 = 50;

/// `locks` is the folder of the runners' lock files.
pub(crate) fn snapshot(
    conn: &Connection,
    (now_ms, locks): (i64, &Path),
) -> Result<MetricsSnapshot> {
    // One read transaction: the gauges and the counters agree.
    let read = conn.unchecked_transaction()?;
    let mut snapshot = MetricsSnapshot {
        schema: VERSION,
        sqlite: sqlite_version().to_owned(),
        queues: capped_queues(queue_gauges(&read, now_ms)?, MAX_NAMES),
        schedules: schedule_gauges(&read)?,
        pairs: capped(pairs(&read)?, MAX_PAIRS),
        ..MetricsSnapshot::default()
    };
    let runners = runners::list(&read, RunnerFilter::Now, locks)?;
    for state in [
        RunnerState::Idle,
        RunnerState::Busy,
        RunnerState::Stopping,
        RunnerState::Offline,
    ] {
        let of_state = runners.iter().filter(|runner| runner.state == state);
        snapshot.runners.push((state, of_state.count() as u64));
    }
    for runner in runners.iter().filter(|runner| runner.is_alive()) {
        // Some of its jobs may be on their way to a worker.
        let busy = (runner.jobs.len() as u64).min(u64::from(runner.worker_count));
        snapshot.busy_workers += busy;
        snapshot.idle_workers += u64::from(runner.worker_count) - busy;
    }
    Ok(snapshot)
}

fn queue_gauges(conn: &Connection, now_ms: i64) -> Result<Vec<QueueGauges>> {
    let all_paused = queues::is_all_paused(conn)?;
    let mut since: HashMap<i64, i64> = HashMap::new();
    for [queue, kind, priority] in drivers::pending_groups(conn)? {
        let group = params![queue, kind, priority];
        if let Some(at_ms) = conn.optional(PENDING_SINCE, group, |row| row.get(0))? {
            let oldest = since.entry(queue).or_insert(at_ms);
            *oldest = at_ms.min(*oldest);
        }
    }
    let mut pending = HashMap::new();
    for (queue, at_ms) in since {
        let ms = u64::try_from(now_ms.saturating_sub(at_ms)).unwrap_or(0);
        let queue = conn.one(QUEUE_NAME, [queue], |row| name(row, 0))?;
        pending.insert(queue, Duration::from_millis(ms));
    }
    let queues = queues::list(conn)?.into_iter();
    Ok(queues
        .map(|queue| QueueGauges {
            is_paused: all_paused || queue.paused_at.is_some(),
            oldest_pending: pending.get(&queue.name).copied(),
            queue,
        })
        .collect())
}

fn schedule_gauges(conn: &Connection) -> Result<Vec<ScheduleGauges>> {
    let schedules = schedules::list(conn)?.into_iter().take(MAX_NAMES);
    schedules
        .map(|schedule| {
            let newest = params![schedule.name, NEWEST_OF_SCHEDULE];
            let success = conn.optional(SCHEDULE_LAST_SUCCESS, newest, |row| row.get(0))?;
            let is_paused = schedule.paused_at.is_some();
            Ok(ScheduleGauges {
                next_at: schedule.next_at.filter(|_| !is_paused),
                last_success_at: success.map(timestamp),
                name: schedule.name,
            })
        })
        .collect()
}

/// A queue and a kind in the order in which they were first named. A new pair comes last where its queue or its kind is
/// new.
type PairOrder = (i64, i64, i64);

/// The totals by queue and kind.
fn pairs(conn: &Connection) -> Result<Vec<PairTotals>> {
    let enqueued = conn.all(ENQUEUED_TOTALS, [], |row| {
        let (order, mut pair) = pair(row, (0, 3))?;
        pair.enqueued = row.get(2)?;
        Ok((order, pair))
    })?;
    let mut pairs: BTreeMap<PairOrder, PairTotals> = enqueued.into_iter().collect();
    let lifetime = params![MetricSpan::Lifetime.length().as_secs(), i64::MIN, i64::MAX];
    let mut statement = conn.prepare_cached(METRICS_BETWEEN)?;
    let mut rows = statement.query(lifetime)?;
    while let Some(row) = rows.next()? {
        let (order, empty) = pair(row, (1, 11))?;
        if let Some(outcome) = EventKind::from_code(row.get(3)?) {
            let pair = pairs.entry(order).or_insert(empty);
            pair.add(outcome, &decode(row, 4)?);
        }
    }
    Ok(pairs.into_values().collect())
}

/// The pair that a row is about: its names begin at one column, its ids at another.
fn pair(row: &Row<'_>, (names, ids): (usize, usize)) -> RowResult<(PairOrder, PairTotals)> {
    let (queue, kind): (i64, i64) = (row.get(ids)?, row.get(ids + 1)?);
    let pair = PairTotals {
        queue: name(row, names)?,
        kind: name(row, names + 1)?,
        ..PairTotals::default()
    };
    Ok(((queue.max(kind), queue, kind), pair))
}
