//! Reading events: all of them from the feed, or those of one job from its own rows.

use std::slice;
use std::time::Duration;

use serde::Deserialize;

use crate::Result;
use crate::clock::timestamp;
#[cfg(feature = "web")]
use crate::model::event::FeedPage;
use crate::model::event::{Event, EventData, EventFilter, EventId, EventKind, EventPage};
use crate::model::id::{JobId, RunnerId, WorkerId};
use crate::store::read::attempts;
use crate::store::read::attempts::StoredAttempt;
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::tx::{NO_ATTEMPT, NO_JOB};
use crate::store::sqlite::types::ValueRef;
use crate::store::sqlite::{Connection, ReadTransaction, Row, RowResult, params};

statements! {
    /// From the transaction on that has the next event.
    hot FEED_SINCE = "SELECT id, at, events FROM jobq_feed
        WHERE id >= coalesce((SELECT max(id) FROM jobq_feed WHERE id <= ?1), 0) ORDER BY id";
    /// The transaction with this event, if it is in the feed.
    hot FEED_AT = "SELECT id, at, events FROM jobq_feed WHERE id <= ?1 ORDER BY id DESC LIMIT 1";
    hot FEED_BACK = "SELECT id, at, events FROM jobq_feed WHERE id <= ?1 ORDER BY id DESC LIMIT ?2";
    hot LOG_ENTRY = "SELECT id, at, kind, attempt, runner_id, worker, took_us, data
        FROM jobq_log WHERE job_id = ?1 AND id = ?2";
    hot LOG_OF_JOB = "SELECT id, at, kind, attempt, runner_id, worker, took_us, data
        FROM jobq_log WHERE job_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    hot JOB_ENQUEUED_EVENT = "SELECT enqueued_event, created_at FROM jobq_job WHERE id = ?1 AND enqueued_event IS NOT NULL";
    hot JOB_IS_OF_TENANT = "SELECT 1 FROM jobq_job WHERE id = ?1 AND tenant = ?2";
    hot JOB_HAS_TAG = "SELECT 1 FROM jobq_tag WHERE name = ?2 AND value = ?3 AND job_id = ?1";
    hot EVENT_LAST = "SELECT max(coalesce((SELECT value FROM jobq_number WHERE what = -2 AND id = 2), 0),
        coalesce((SELECT max(id) FROM jobq_feed), 0))";
}

const PAGE: usize = 1000;

pub(crate) fn read(conn: &Connection, filter: &EventFilter) -> Result<EventPage> {
    let _read = read_transaction(conn)?;
    match filter.job {
        Some(job) => of_job(conn, filter, job),
        None => of_all(conn, filter),
    }
}

/// One read transaction: what the feed names must still be there.
fn read_transaction(conn: &Connection) -> Result<Option<ReadTransaction<'_>>> {
    let begin = conn.is_autocommit().then(|| conn.unchecked_transaction());
    Ok(begin.transpose()?)
}

impl EventFilter {
    fn asks_for(&self, kind: EventKind) -> bool {
        match self.kinds.is_empty() {
            true => !kind.is_output(),
            false => self.kinds.contains(&kind),
        }
    }

    /// Whether the job matches the filter's tenant and tags.
    fn has_job(&self, conn: &Connection, job: Option<JobId>) -> Result<bool> {
        let job = job.map(|job| job.0);
        if let Some(tenant) = &self.tenant
            && !conn.has_row(JOB_IS_OF_TENANT, params![job, tenant])?
        {
            return Ok(false);
        }
        for (name, value) in &self.tags {
            if !conn.has_row(JOB_HAS_TAG, params![job, name, value])? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A step of the feed.
#[derive(Clone, Copy)]
struct FeedEntry {
    id: i64,
    at_ms: i64,
    kind: i64,
    attempt: u32,
    job: i64,
}

fn of_all(conn: &Connection, filter: &EventFilter) -> Result<EventPage> {
    let limit = filter.limit.unwrap_or(PAGE);
    let since = filter.since.0;
    let mut page = EventPage {
        events: Vec::new(),
        next: filter.since,
        at_end: true,
    };
    let mut statement = conn.prepare_cached(FEED_SINCE)?;
    let mut rows = statement.query([since.saturating_add(1)])?;
    let mut looked_at = 0;
    while let Some(row) = rows.next()? {
        let (first, at_ms): (i64, i64) = (row.get(0)?, row.get(1)?);
        let mut id = first.max(since.saturating_add(1));
        for (kind, attempt, job) in entries(&runs(row.get_ref(2)?), id - first) {
            if looked_at == limit {
                page.at_end = false;
                return Ok(page);
            }
            looked_at += 1;
            page.next = EventId(id);
            let entry = FeedEntry {
                id,
                at_ms,
                kind,
                attempt,
                job,
            };
            if let Some(event) = event(conn, filter, entry)? {
                page.events.push(event);
            }
            id = id.saturating_add(1);
        }
    }
    Ok(page)
}

/// The event with this id, if the feed still has it.
pub(crate) fn find(conn: &Connection, id: EventId) -> Result<Option<Event>> {
    let _read = read_transaction(conn)?;
    let any = EventFilter {
        kinds: EventKind::ALL.to_vec(),
        ..EventFilter::default()
    };
    let found = conn.optional(FEED_AT, [id.0], |row| {
        let (first, at_ms): (i64, i64) = (row.get(0)?, row.get(1)?);
        let entry = entries(&runs(row.get_ref(2)?), id.0.saturating_sub(first)).next();
        Ok(entry.map(|(kind, attempt, job)| FeedEntry {
            id: id.0,
            at_ms,
            kind,
            attempt,
            job,
        }))
    })?;
    match found.flatten() {
        Some(entry) => event(conn, &any, entry),
        None => Ok(None),
    }
}

/// Maximum number of transactions that are looked back on, and of events that are looked at.
const MAX_BACK: (i64, usize) = (20_000, 1000);

/// Calls `each` with the latest events of some kinds, newest first, while it returns true.
pub(crate) fn latest(
    conn: &Connection,
    kinds: &[EventKind],
    mut each: impl FnMut(Event) -> bool,
) -> Result<()> {
    let _read = read_transaction(conn)?;
    let filter = EventFilter {
        kinds: kinds.to_vec(),
        ..EventFilter::default()
    };
    let mut statement = conn.prepare_cached(FEED_BACK)?;
    let mut rows = statement.query([i64::MAX, MAX_BACK.0])?;
    let mut left = MAX_BACK.1;
    while let Some(row) = rows.next()? {
        let (first, at_ms): (i64, i64) = (row.get(0)?, row.get(1)?);
        let mut asked = Vec::new();
        let mut id = first;
        for run in &runs(row.get_ref(2)?) {
            // Of a very large transaction the first ones are looked at.
            if run.kind().is_some_and(|kind| filter.asks_for(kind)) {
                let some = entries(slice::from_ref(run), 0).zip(id..);
                asked.extend(some.take(left - asked.len()));
            }
            id = id.saturating_add(run.events());
        }
        for ((kind, attempt, job), id) in asked.into_iter().rev() {
            let entry = FeedEntry {
                id,
                at_ms,
                kind,
                attempt,
                job,
            };
            left -= 1;
            if let Some(event) = event(conn, &filter, entry)?
                && !each(event)
            {
                return Ok(());
            }
        }
        if left == 0 {
            return Ok(());
        }
    }
    Ok(())
}

/// The kinds and jobs of the events after one, at most so many: it costs the rows of the feed alone.
#[cfg(feature = "web")]
pub(crate) fn feed(conn: &Connection, since: EventId, limit: usize) -> Result<FeedPage> {
    let mut page = FeedPage {
        events: Vec::new(),
        next: since,
        at_end: true,
    };
    let from = since.0.saturating_add(1);
    let mut statement = conn.prepare_cached(FEED_SINCE)?;
    let mut rows = statement.query([from])?;
    while let Some(row) = rows.next()? {
        let first: i64 = row.get(0)?;
        let mut id = first.max(from);
        for (kind, _, job) in entries(&runs(row.get_ref(2)?), id - first) {
            if page.events.len() == limit {
                page.at_end = false;
                return Ok(page);
            }
            let job = (job != NO_JOB).then_some(JobId(job));
            page.events.push((EventKind::from_code(kind), job));
            page.next = EventId(id);
            id = id.saturating_add(1);
        }
    }
    Ok(page)
}

/// The event of an entry, if it is asked for.
fn event(conn: &Connection, filter: &EventFilter, entry: FeedEntry) -> Result<Option<Event>> {
    let job = (entry.job != NO_JOB).then_some(JobId(entry.job));
    let kind = EventKind::from_code(entry.kind).filter(|kind| filter.asks_for(*kind));
    let Some(kind) = kind else { return Ok(None) };
    if !filter.has_job(conn, job)? {
        return Ok(None);
    }
    let (id, at_ms) = (entry.id, entry.at_ms);
    let bare = Event {
        attempt: (entry.attempt != NO_ATTEMPT).then_some(entry.attempt),
        ..Event::bare(EventId(id), at_ms, kind, job)
    };
    let attempt = bare.attempt.filter(|_| kind.is_of_attempt());
    // The details of a job that was removed are gone with it.
    Ok(Some(match (job, attempt) {
        (Some(job), Some(attempt)) => match attempts::find(conn, job, attempt)? {
            Some(attempt) => attempt.complement(bare),
            None => bare,
        },
        _ if kind == EventKind::Enqueued => bare,
        _ => conn
            .optional(LOG_ENTRY, params![entry.job, id], |row| decode(row, job))?
            .flatten()
            .unwrap_or(bare),
    }))
}

/// The events of one job, whatever the feed still has.
fn of_job(conn: &Connection, filter: &EventFilter, job: JobId) -> Result<EventPage> {
    let limit = filter.limit.unwrap_or(PAGE);
    let since = filter.since.0;
    let mut events: Vec<Event> = Vec::new();
    let enqueued = conn.optional(JOB_ENQUEUED_EVENT, [job.0], |row| {
        let (id, at_ms) = (EventId(row.get(0)?), row.get(1)?);
        Ok(Event::bare(id, at_ms, EventKind::Enqueued, Some(job)))
    })?;
    events.extend(enqueued);
    for attempt in attempts::stored(conn, job)? {
        attempt.events(job, &mut events);
    }
    let arguments = params![job.0, since, limit as i64];
    let entries = conn.all(LOG_OF_JOB, arguments, |row| {
        Ok((row.get::<_, i64>(0)?, decode(row, Some(job))?))
    })?;
    // There may be more entries behind those of a full page; what is behind its last belongs to a later page.
    let is_full = entries.len() == limit;
    let last_entry = entries.last().map_or(since, |(last, _)| *last);
    events.extend(entries.into_iter().filter_map(|(_, event)| event));
    events.retain(|event| event.id.0 > since && (!is_full || event.id.0 <= last_entry));
    events.sort_by_key(|event| event.id);
    let is_cut = events.len() > limit;
    events.truncate(limit);
    let last = events.last().map_or(since, |event| event.id.0);
    let is_of_filter = filter.has_job(conn, Some(job))?;
    events.retain(|event| is_of_filter && filter.asks_for(event.kind));
    Ok(EventPage {
        events,
        next: EventId(if is_cut { last } else { last.max(last_entry) }),
        at_end: !is_cut && !is_full,
    })
}

impl Event {
    fn bare(id: EventId, at_ms: i64, kind: EventKind, job: Option<JobId>) -> Event {
        Event {
            id,
            at: timestamp(at_ms),
            kind,
            job,
            attempt: None,
            runner: None,
            worker: None,
            took: None,
            data: None,
        }
    }
}

impl StoredAttempt {
    /// Its events: that it started, and how it ended.
    fn events(&self, job: JobId, events: &mut Vec<Event>) {
        let started = self.started_event.zip(self.started_at);
        let ended = self.ended_event.zip(self.ended_at);
        let moments = [(started, Some(EventKind::Started)), (ended, self.outcome)];
        for (moment, kind) in moments {
            if let (Some((id, at_ms)), Some(kind)) = (moment, kind) {
                events.push(self.complement(Event::bare(EventId(id), at_ms, kind, Some(job))));
            }
        }
    }

    /// The event of this attempt, with what the attempt knows.
    fn complement(&self, event: Event) -> Event {
        let event = Event {
            attempt: Some(self.attempt),
            runner: self.runner,
            ..event
        };
        if event.kind == EventKind::Started {
            return event;
        }
        Event {
            worker: self.worker,
            took: self.took,
            data: self.end.to_json().map(EventData::Text),
            ..event
        }
    }
}

impl EventKind {
    /// Whether it is found with an attempt, if it is of one.
    fn is_of_attempt(self) -> bool {
        self == EventKind::Started || self.ends_attempt()
    }
}

/// A row of the log; none if its kind is of a later jobq.
fn decode(row: &Row<'_>, job: Option<JobId>) -> RowResult<Option<Event>> {
    let Some(kind) = EventKind::from_code(row.get(2)?) else {
        return Ok(None);
    };
    let took_us: Option<u64> = row.get(6)?;
    let data = match row.get_ref(7)? {
        ValueRef::Text(text) => Some(match std::str::from_utf8(text) {
            Ok(text) => EventData::Text(text.to_owned()),
            Err(_) => EventData::Bytes(text.to_vec()),
        }),
        ValueRef::Blob(bytes) => Some(EventData::Bytes(bytes.to_vec())),
        _ => None,
    };
    Ok(Some(Event {
        attempt: row.get(3)?,
        runner: row.get::<_, Option<_>>(4)?.map(RunnerId),
        worker: row.get::<_, Option<_>>(5)?.map(WorkerId),
        took: took_us.map(Duration::from_micros),
        data,
        ..Event::bare(EventId(row.get(0)?), row.get(1)?, kind, job)
    }))
}

pub(crate) fn last(conn: &Connection) -> Result<EventId> {
    Ok(EventId(conn.one(EVENT_LAST, [], |row| row.get(0))?))
}

/// Events in a row of the same kind and attempt number: both numbers, and then the jobs.
#[derive(Deserialize)]
#[serde(transparent)]
struct FeedRun(Vec<Jobs>);

impl FeedRun {
    fn kind(&self) -> Option<EventKind> {
        match self.0.first()? {
            Jobs::One(kind) => EventKind::from_code(*kind),
            Jobs::Range(..) => None,
        }
    }

    fn events(&self) -> i64 {
        let ranges = self.0.iter().skip(2).map(|jobs| jobs.count());
        ranges.fold(0, i64::saturating_add)
    }
}

/// A number, or a range of jobs.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Jobs {
    One(i64),
    Range(i64, i64),
}

impl Jobs {
    fn first(self) -> i64 {
        match self {
            Jobs::One(job) | Jobs::Range(job, _) => job,
        }
    }

    fn count(self) -> i64 {
        match self {
            Jobs::One(_) => 1,
            Jobs::Range(first, last) => last.saturating_sub(first).saturating_add(1).max(0),
        }
    }
}

/// Kind, attempt and job of each event after so many. A range is as long as who has written it says: it is not walked
/// to what is asked for.
fn entries(runs: &[FeedRun], after: i64) -> impl Iterator<Item = (i64, u32, i64)> {
    let mut skipped = after;
    let ranges = runs.iter().flat_map(|run| {
        let (kind, attempt, jobs) = match run.0.as_slice() {
            [Jobs::One(kind), Jobs::One(attempt), jobs @ ..] => (*kind, *attempt, jobs),
            _ => (0, 0, &[][..]),
        };
        let attempt = u32::try_from(attempt).unwrap_or(NO_ATTEMPT);
        jobs.iter().map(move |jobs| (kind, attempt, *jobs))
    });
    ranges.flat_map(move |(kind, attempt, jobs)| {
        let (first, count) = (jobs.first(), jobs.count());
        let skip = skipped.min(count);
        skipped -= skip;
        (skip..count).map(move |at| (kind, attempt, first + at))
    })
}

/// The runs of a transaction; none if another program has written something else there.
fn runs(events: ValueRef<'_>) -> Vec<FeedRun> {
    let text = events.as_str().unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<(i64, u32, i64)> {
        entries(&runs(ValueRef::Text(text.as_bytes())), 0).collect()
    }

    #[test]
    fn a_row_of_the_feed_is_read_in_its_order() {
        assert_eq!(
            all("[[1,0,[1,3],9],[4,2,7],[40,0,0]]"),
            [
                (1, 0, 1),
                (1, 0, 2),
                (1, 0, 3),
                (1, 0, 9),
                (4, 2, 7),
                (40, 0, 0)
            ]
        );
    }

    #[test]
    fn reading_goes_on_within_a_row_however_long_it_is() {
        let text = "[[1,0,[1,3],9],[4,2,[7,9223372036854775807]]]";
        let runs = runs(ValueRef::Text(text.as_bytes()));
        let after = |after| entries(&runs, after).next();
        assert_eq!(after(2), Some((1, 0, 3)));
        assert_eq!(after(3), Some((1, 0, 9)));
        assert_eq!(after(4), Some((4, 2, 7)));
        assert_eq!(after(1_000_000_000_000), Some((4, 2, 1_000_000_000_003)));
        assert_eq!(after(i64::MAX), None);
    }

    #[test]
    fn what_is_no_row_of_the_feed_holds_no_events() {
        for text in [
            "",
            "{}",
            "[[1]]",
            "[[[1,2],0,3]]",
            "[[1,0,\"x\"]]",
            "[[1,0,[3,1]]]",
        ] {
            assert_eq!(all(text), [], "{text}");
        }
    }
}
