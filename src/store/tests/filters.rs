//! What the conditions of a filter mean, job by job, and what is read for them: by ids, times, attempts and errors.

use std::time::Duration;

use fastrand::Rng;

use crate::clock;
use crate::model::bulk::{BulkAction, BulkPreview};
use crate::model::error_group::{self, ErrorGroups};
use crate::model::event::EventId;
use crate::model::filter::{Filter, Sort};
use crate::model::id::JobId;
use crate::model::job::{JobRecord, NewJob};
use crate::model::outcome::{AttemptRecord, Verdict};
use crate::model::state::State;
use crate::store::read::conditions::{Conditions, Named};
use crate::store::read::drivers::Driver;
use crate::store::read::walk::Direction;
use crate::store::read::{attempts, events, listing, matching};
use crate::store::tests::sandbox::{Sandbox, held, verdicts};

const JOBS: usize = 120;

/// A job with its attempts and the event of its enqueuing.
struct Life {
    job: JobRecord,
    attempts: Vec<AttemptRecord>,
    enqueued: EventId,
}

/// Jobs that were enqueued, started and ended at different times; some run still, some never ran.
fn lives(seed: u64) -> (Sandbox, Vec<Life>) {
    let mut rng = Rng::with_seed(seed);
    let mut sandbox = Sandbox::new();
    let runner = sandbox.runner("one");
    let mut enqueued = Vec::new();
    while enqueued.len() < JOBS {
        sandbox.now_ms += rng.i64(0..2000);
        if rng.bool() {
            let mut job = NewJob::new(["send", "resize"][rng.usize(..2)]);
            if rng.u8(..6) == 0 {
                job = job.delay(Duration::from_secs(3600));
            }
            sandbox.enqueue(job);
            enqueued.push(events::last(&sandbox.conn).unwrap());
        }
        for job in sandbox.claim(runner, rng.usize(..3)) {
            sandbox.now_ms += rng.i64(0..3000);
            let verdict = match rng.u8(..12) {
                0 => continue,
                1..=3 => Verdict::Fail {
                    error: format!("HTTP {} from '/x{}'", rng.u16(400..404), rng.u16(..)),
                },
                _ => verdicts()[rng.usize(..8)].clone(),
            };
            sandbox.settle(&held(&job, runner), &verdict);
        }
    }
    for id in 1..JOBS as i64 / 4 {
        let id = JobId(id);
        match sandbox.state(id) {
            State::Pending | State::Scheduled if rng.bool() => drop(sandbox.cancel(id)),
            state if state.is_final() && rng.bool() => sandbox.requeue(id),
            _ => {}
        }
    }
    let life = |(at, enqueued): (usize, EventId)| {
        let id = JobId(at as i64 + 1);
        Life {
            job: sandbox.job(id),
            attempts: attempts::of_job(&sandbox.conn, id).unwrap(),
            enqueued,
        }
    };
    let lives = enqueued.into_iter().enumerate().map(life).collect();
    (sandbox, lives)
}

impl Life {
    fn took_ms(&self, now_ms: i64) -> Option<i64> {
        if self.job.state == State::Running {
            return Some(now_ms - self.job.started_at?.as_millisecond());
        }
        let mut attempts = self.attempts.iter();
        let last = attempts.find(|attempt| attempt.attempt == self.job.attempt)?;
        Some(last.finished_at?.as_millisecond() - last.started_at?.as_millisecond())
    }

    fn waited_ms(&self, now_ms: i64) -> i64 {
        let first = self.attempts.iter().find_map(|attempt| attempt.started_at);
        let until = first.or(self.job.started_at).or(self.job.finished_at);
        let until_ms = until.map_or(now_ms, |at| at.as_millisecond());
        until_ms - self.job.created_at.as_millisecond()
    }

    fn matches(&self, filter: &Filter, now_ms: i64) -> bool {
        let ms = |duration: Duration| duration.as_millis() as i64;
        let Life { job, enqueued, .. } = self;
        let error = job.error.as_deref();
        let contains = |text: &str| error.is_some_and(|error| error.contains(text));
        let ids = filter.ids.unwrap_or((JobId(i64::MIN), JobId(i64::MAX)));
        (filter.states.is_empty() || filter.states.contains(&job.state))
            && (ids.0..=ids.1).contains(&job.id)
            && filter.until.is_none_or(|until| job.created_at < until)
            && filter.as_of.is_none_or(|event| *enqueued <= event)
            && filter
                .more_attempts_than
                .is_none_or(|most| job.attempt > most)
            && filter
                .took_longer_than
                .is_none_or(|than| self.took_ms(now_ms).is_some_and(|took| took > ms(than)))
            && filter
                .waited_longer_than
                .is_none_or(|than| self.waited_ms(now_ms) > ms(than))
            && filter.error.as_deref().is_none_or(contains)
            && (filter.error_group.as_deref())
                .is_none_or(|group| error.is_some_and(|error| error_group::id_of(error) == group))
    }
}

/// A filter of one to three random conditions.
fn any_filter(rng: &mut Rng, lives: &[Life]) -> Filter {
    let mut filter = Filter::default();
    let life = &lives[rng.usize(..lives.len())];
    let around = |rng: &mut Rng, ms: i64| {
        Duration::from_millis(ms.saturating_add(rng.i64(-1..2)).max(0) as u64)
    };
    for _ in 0..rng.usize(1..4) {
        match rng.u8(..9) {
            0 => filter.ids = Some((life.job.id, JobId(life.job.id.0 + rng.i64(0..40)))),
            1 => filter.until = Some(life.job.created_at),
            2 => filter.as_of = Some(life.enqueued),
            3 => filter.more_attempts_than = Some(rng.u32(..3)),
            4 => filter.took_longer_than = life.took_ms(0).map(|ms| around(rng, ms)),
            5 => filter.waited_longer_than = Some(around(rng, life.waited_ms(1_700_000_090_000))),
            6 => filter.error = Some(["HTTP 40", "broken", "%"][rng.usize(..3)].to_owned()),
            7 => filter.error_group = life.job.error.as_deref().map(error_group::id_of),
            _ => filter.states = vec![State::ALL[rng.usize(..8)], State::Failed],
        }
    }
    filter
}

fn found(sandbox: &Sandbox, filter: &Filter) -> Vec<i64> {
    let mut ids = Vec::new();
    let mut each = |job: JobRecord| {
        ids.push(job.id.0);
        Ok(())
    };
    listing::list(&sandbox.conn, (filter, sandbox.now_ms), &mut each).unwrap();
    ids
}

#[test]
fn jobs_are_found_by_times_attempts_and_errors() {
    let mut hits = 0;
    for seed in 0..6 {
        let (sandbox, lives) = lives(seed);
        let mut rng = Rng::with_seed(seed);
        for _ in 0..100 {
            let mut filter = any_filter(&mut rng, &lives);
            let matching = |life: &&Life| life.matches(&filter, sandbox.now_ms);
            let fitting = lives.iter().filter(matching);
            let mut expected: Vec<i64> = fitting.map(|life| life.job.id.0).collect();
            hits += expected.len();
            filter.sort = Sort::Oldest;
            assert_eq!(found(&sandbox, &filter), expected, "{seed}: {filter:?}");
            expected.reverse();
            filter.sort = Sort::Newest;
            assert_eq!(found(&sandbox, &filter), expected, "{seed}: {filter:?}");
        }
    }
    assert!(hits > 5000, "{hits}: hardly anything was found");
}

#[test]
fn a_range_of_ids_is_read_alone_where_it_is_short() {
    let mut sandbox = Sandbox::new();
    for _ in 0..100 {
        sandbox.enqueue(NewJob::new("send").tenant("a"));
    }
    let driver = |ids: (i64, i64)| {
        let filter = Filter {
            tenant: Some("a".to_owned()),
            ids: Some((JobId(ids.0), JobId(ids.1))),
            ..Filter::default()
        };
        let named = Named::of(&sandbox.conn, &filter).unwrap();
        Driver::of(&sandbox.conn, &filter, &named).unwrap()
    };
    assert_eq!(driver((5, 9)), Driver::Ids(5, 9));
    assert_eq!(driver((1, 5000)), Driver::Tenant("a".to_owned()));
    assert!(matches!(driver((i64::MIN, i64::MAX)), Driver::Tenant(_)));
}

#[test]
fn each_condition_reads_rows_of_its_job_alone() {
    let sandbox = Sandbox::new();
    let filter = Filter {
        until: Some(jiff::Timestamp::UNIX_EPOCH),
        as_of: Some(EventId(7)),
        more_attempts_than: Some(1),
        took_longer_than: Some(Duration::from_secs(1)),
        waited_longer_than: Some(Duration::from_secs(1)),
        text: Some("boom".to_owned()),
        error: Some("boom".to_owned()),
        error_group: Some("00000000".to_owned()),
        ..Filter::default()
    };
    let named = Named::of(&sandbox.conn, &filter).unwrap();
    let conditions = Conditions::of(&sandbox.conn, &filter, (&named, 0)).unwrap();
    for shape in Driver::All.shapes(&sandbox.conn).unwrap() {
        let sql = shape.sql(&conditions, Direction::Down);
        let mut plan = (sandbox.conn)
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let (mut rows, mut lines) = (plan.raw_query(), Vec::new());
        while let Some(row) = rows.next().unwrap() {
            lines.push(row.get::<_, String>("detail").unwrap());
        }
        let reads = lines.iter().filter(|line| line.starts_with("SEARCH"));
        assert_eq!(reads.count(), 7, "{lines:#?}");
        let bad = |line: &&String| line.starts_with("SCAN") || line.contains("B-TREE");
        assert_eq!(lines.iter().find(bad), None, "{lines:#?}");
    }
}

/// Otherwise the completed jobs would be looked at, which are the most.
#[test]
fn errors_are_looked_for_where_jobs_have_them() {
    let sandbox = Sandbox::new();
    let by_error = Filter {
        error: Some("boom".to_owned()),
        ..Filter::default()
    };
    let by_group = Filter {
        error_group: Some("00000000".to_owned()),
        states: vec![State::Completed, State::Failed],
        ..Filter::default()
    };
    let states = |filter: &Filter| {
        let named = Named::of(&sandbox.conn, filter).unwrap();
        match Driver::of(&sandbox.conn, filter, &named).unwrap() {
            Driver::States(states, ..) => states,
            driver => panic!("{driver:?}"),
        }
    };
    assert_eq!(states(&by_error).len(), 7);
    assert_eq!(states(&by_group), [State::Failed]);
}

/// A thousand jobs that failed in three ways, and some that did not fail.
fn failures() -> Sandbox {
    let mut sandbox = Sandbox::new();
    let runner = sandbox.runner("one");
    for _ in 0..1100 {
        sandbox.enqueue(NewJob::new("send"));
    }
    for (at, job) in sandbox.claim(runner, 1050).iter().enumerate() {
        sandbox.now_ms += 1;
        let error = match at % 10 {
            0..=5 => format!("HTTP {} from '/x{at}'", 400 + at % 7),
            6..=8 => format!("timed out after {at}s"),
            _ => "boom".to_owned(),
        };
        let verdict = match at {
            0..1000 => Verdict::Fail { error },
            _ => Verdict::Complete { result: None },
        };
        sandbox.settle(&held(job, runner), &verdict);
    }
    sandbox
}

#[test]
fn a_thousand_failures_are_three_groups_in_one_call_or_many() {
    let sandbox = failures();
    let of = |filter: &Filter, budget| {
        let until = clock::after(clock::instant(), budget);
        matching::error_groups(&sandbox.conn, (filter, sandbox.now_ms), until).unwrap()
    };
    let all = of(&Filter::default(), Duration::from_secs(3600));
    assert!(all.is_complete());
    let told: Vec<(&str, u64)> = (all.groups.iter())
        .map(|group| (group.message.as_str(), group.jobs))
        .collect();
    let expected = [
        ("boom", 100),
        ("timed out after Ns", 300),
        ("HTTP N from '…'", 600),
    ];
    assert_eq!(told, expected);
    for group in &all.groups {
        let of_group = Filter {
            error_group: Some(group.id.clone()),
            ..Filter::default()
        };
        let ids = found(&sandbox, &of_group);
        assert_eq!(ids.len() as u64, group.jobs);
        assert_eq!(ids[0], group.example.0, "the job that failed last");
    }
    let (mut rest, mut calls) = (Filter::default(), 0);
    let mut summed = ErrorGroups::default();
    loop {
        let part = of(&rest, Duration::ZERO);
        calls += 1;
        rest.after = part.searched_to;
        summed.add(part);
        if rest.after.is_none() {
            break;
        }
    }
    assert_eq!(summed, all);
    assert!(calls > 10, "{calls}: each looks at 64 jobs");
}

#[test]
fn a_preview_counts_and_shows_jobs_up_to_its_event() {
    let mut sandbox = failures();
    let failed = BulkAction::Retry.narrow(&Filter::default()).unwrap();
    let of = |sandbox: &Sandbox, filter: &Filter, budget| {
        let until = clock::after(clock::instant(), budget);
        matching::preview(&sandbox.conn, (filter, sandbox.now_ms), until).unwrap()
    };
    let all = of(&sandbox, &failed, Duration::from_secs(3600));
    assert_eq!((all.jobs, all.is_complete()), (1000, true));
    let shown: Vec<i64> = all.sample.iter().map(|job| job.id.0).collect();
    assert_eq!(shown, Vec::from_iter(1..=10));
    assert_eq!(all.as_of, events::last(&sandbox.conn).unwrap());
    let later = sandbox.enqueue(NewJob::new("late"));
    assert_eq!(sandbox.fail(later), State::Failed);
    let (mut rest, mut summed) = (failed, BulkPreview::default());
    rest.as_of = Some(all.as_of);
    loop {
        let part = of(&sandbox, &rest, Duration::ZERO);
        rest.after = part.searched_to;
        (summed.as_of, summed.jobs) = (part.as_of, summed.jobs);
        summed.add(part);
        if rest.after.is_none() {
            break;
        }
    }
    assert_eq!(summed, all);
    rest.as_of = None;
    assert_eq!(of(&sandbox, &rest, Duration::from_secs(3600)).jobs, 1001);
}
