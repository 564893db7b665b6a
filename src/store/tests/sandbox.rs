//! A file in memory, and what the tests of the store do with it.

use crate::model::part::NO_PARTS;
use std::collections::HashMap;

use rusqlite::Connection;

use crate::model::event::{EventFilter, EventKind};
use crate::model::id::JobId;
use crate::model::job::{Enqueued, JobRecord, NewJob};
use crate::model::limits::EnqueueLimits;
use crate::model::outcome::{Cancelled, Verdict};
use crate::model::state::State;
use crate::store::JOB_RULES;
use crate::store::jobs::claim::{ClaimFor, ClaimRequest, ClaimedJob, KindCapacity};
use crate::store::jobs::fair_share::FairShares;
use crate::store::jobs::finish_attempt::{AttemptMeasures, ClaimToken};
use crate::store::jobs::queues::{COUNTS_ALL, COUNTS_RECOUNT};
use crate::store::jobs::validate::ValidatedJob;
use crate::store::jobs::{cancel, claim, enqueue, finish_attempt, queues, requeue};
use crate::store::read::{events, jobs};
use crate::store::sqlite::names;
use crate::store::sqlite::names::Names;
use crate::store::sqlite::tx::Tx;
use crate::store::upkeep::runners;
use crate::store::upkeep::runners::Registration;
use crate::{Error, Result};

pub(super) const SCHEMA: &str = include_str!("../../../schema.sql");

/// The moment at which every sandbox begins.
pub(super) const START_MS: i64 = 1_700_000_000_000;

/// jobq's tables in memory, with a clock that stands still.
pub(super) struct Sandbox {
    pub(super) conn: Connection,
    pub(super) names: Names,
    pub(super) now_ms: i64,
}

impl Sandbox {
    pub(super) fn new() -> Sandbox {
        let conn = Connection::open_in_memory().unwrap();
        conn.set_prepared_statement_cache_capacity(256);
        conn.pragma_update(None, "foreign_keys", true).unwrap();
        conn.execute_batch(SCHEMA).unwrap();
        Sandbox {
            conn,
            names: Names::default(),
            now_ms: START_MS,
        }
    }

    /// One transaction, as the writer makes it: whole or not at all, the counters with it.
    pub(super) fn try_write<T>(
        &mut self,
        body: impl FnOnce(&mut Tx<'_>) -> Result<T>,
    ) -> Result<T> {
        self.conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut tx = Tx::new((&self.conn, &mut self.names), self.now_ms, JOB_RULES).numbered();
        match body(&mut tx) {
            Ok(done) => {
                tx.finish().unwrap();
                tx.write_numbers(0, 0).unwrap();
                self.conn.execute_batch("COMMIT").unwrap();
                Ok(done)
            }
            Err(error) => {
                drop(tx);
                self.conn.execute_batch("ROLLBACK").unwrap();
                self.names.forget();
                Err(error)
            }
        }
    }

    #[track_caller]
    pub(super) fn write<T>(&mut self, body: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> T {
        self.try_write(body).unwrap()
    }

    /// Raw SQL, for what no operation of the store does.
    #[track_caller]
    pub(super) fn sql(&self, sql: &str) {
        self.conn.execute_batch(sql).unwrap();
    }

    #[track_caller]
    pub(super) fn number(&self, sql: &str) -> i64 {
        self.conn.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub(super) fn enqueue(&mut self, job: NewJob) -> JobId {
        let job = ValidatedJob::new(job, &EnqueueLimits::default()).unwrap();
        self.write(|tx| enqueue::enqueue(tx, &job)).id
    }

    pub(super) fn try_enqueue(&mut self, job: NewJob) -> Result<Enqueued> {
        let job = ValidatedJob::new(job, &EnqueueLimits::default())?;
        self.try_write(|tx| enqueue::enqueue(tx, &job))
    }

    /// Enqueues it, which must be refused.
    #[track_caller]
    pub(super) fn refused(&mut self, job: NewJob) -> Error {
        let jobs = self.number("SELECT count(*) FROM jobq_job");
        let error = self.try_enqueue(job).unwrap_err();
        assert_eq!(self.number("SELECT count(*) FROM jobq_job"), jobs);
        error
    }

    pub(super) fn runner(&mut self, name: &str) -> i64 {
        let registration = Registration {
            name: name.to_owned(),
            pid: 4711,
            host: "here".to_owned(),
            workers: 5,
            kinds: vec!["send".to_owned()],
            queues: None,
            heartbeat_mode: runners::HeartbeatMode::Regular,
        };
        self.write(|tx| runners::register(tx, &registration, &HashMap::new()))
    }

    /// Every kind there is, without a limit.
    pub(super) fn kinds(&self) -> Vec<KindCapacity> {
        let kinds = names::kind_ids(&self.conn).unwrap();
        kinds.into_iter().map(KindCapacity::any).collect()
    }

    pub(super) fn queue_id(&self, name: &str) -> i64 {
        names::find_queue(&self.conn, name).unwrap().unwrap()
    }

    /// Claims for free workers, of all kinds and queues.
    pub(super) fn claim(&mut self, runner: i64, jobs: usize) -> Vec<ClaimedJob> {
        self.claim_for(runner, jobs, ClaimFor::FreeWorker)
    }

    pub(super) fn claim_for(
        &mut self,
        runner: i64,
        jobs: usize,
        claim_for: ClaimFor,
    ) -> Vec<ClaimedJob> {
        let kinds = self.kinds();
        let request = ClaimRequest {
            runner,
            queues: None,
            kinds: &kinds,
            claim_for,
            jobs,
            aside: &NO_PARTS,
        };
        self.write(|tx| claim::claim(tx, &request, &mut FairShares::default()))
    }

    /// Claims the one job there is.
    #[track_caller]
    pub(super) fn claim_one(&mut self, runner: i64) -> ClaimToken {
        let claimed = self.claim(runner, 1);
        assert_eq!(claimed.len(), 1, "nothing was claimed");
        held(&claimed[0], runner)
    }

    pub(super) fn settle(&mut self, held: &ClaimToken, verdict: &Verdict) -> Option<State> {
        self.write(|tx| finish_attempt::finish(tx, held, verdict, &AttemptMeasures::default()))
    }

    /// Claims this job for runner 1: it must be the next of its kind.
    #[track_caller]
    pub(super) fn start(&mut self, id: JobId) -> ClaimToken {
        let kind = format!("SELECT kind_id FROM jobq_job WHERE id = {id}");
        let request = ClaimRequest {
            runner: 1,
            queues: None,
            kinds: &[KindCapacity::any(self.number(&kind))],
            claim_for: ClaimFor::FreeWorker,
            jobs: 1,
            aside: &NO_PARTS,
        };
        let claimed = self.write(|tx| claim::claim(tx, &request, &mut FairShares::default()));
        let ids: Vec<JobId> = claimed.iter().map(|job| job.id).collect();
        assert_eq!(ids, [id]);
        claimed[0].token(1)
    }

    /// Runs this job, which is the next of its kind, to its completion.
    #[track_caller]
    pub(super) fn complete(&mut self, id: JobId) -> State {
        let held = self.start(id);
        self.settle(&held, &Verdict::Complete { result: None })
            .unwrap()
    }

    /// Runs this job, which is the next of its kind, and lets it fail for good.
    #[track_caller]
    pub(super) fn fail(&mut self, id: JobId) -> State {
        let held = self.start(id);
        let error = "boom".to_owned();
        self.settle(&held, &Verdict::Fail { error }).unwrap()
    }

    #[track_caller]
    pub(super) fn cancel(&mut self, id: JobId) -> Cancelled {
        self.write(|tx| cancel::cancel(tx, id))
    }

    #[track_caller]
    pub(super) fn requeue(&mut self, id: JobId) {
        self.write(|tx| requeue::requeue(tx, id));
    }

    #[track_caller]
    pub(super) fn state(&self, id: JobId) -> State {
        self.job(id).state
    }

    #[track_caller]
    pub(super) fn states(&self, ids: &[JobId]) -> Vec<State> {
        ids.iter().map(|id| self.state(*id)).collect()
    }

    /// What the job says of its end.
    #[track_caller]
    pub(super) fn error(&self, id: JobId) -> String {
        self.job(id).error.unwrap()
    }

    #[track_caller]
    pub(super) fn job(&self, id: JobId) -> JobRecord {
        jobs::get(&self.conn, id).unwrap().unwrap()
    }

    pub(super) fn history(&self, id: JobId) -> Vec<EventKind> {
        let filter = EventFilter {
            job: Some(id),
            limit: Some(10_000),
            ..EventFilter::default()
        };
        let page = events::read(&self.conn, &filter).unwrap();
        page.events.iter().map(|event| event.kind).collect()
    }

    /// The counters as they are kept and as they are counted anew.
    #[track_caller]
    pub(super) fn assert_counters_are_right(&self) {
        assert_eq!(
            queues::table(&self.conn, COUNTS_ALL).unwrap(),
            queues::table(&self.conn, COUNTS_RECOUNT).unwrap(),
            "kept on the left, counted anew on the right"
        );
    }
}

pub(super) fn held(job: &ClaimedJob, runner: i64) -> ClaimToken {
    job.token(runner)
}

/// One verdict of each sort.
pub(super) fn verdicts() -> Vec<Verdict> {
    use std::time::Duration;

    use crate::model::outcome::Snooze;
    vec![
        Verdict::Complete {
            result: Some("1".to_owned()),
        },
        Verdict::Complete { result: None },
        Verdict::Fail {
            error: "broken".to_owned(),
        },
        Verdict::Retry {
            error: "not now".to_owned(),
            after: Duration::from_secs(5),
        },
        Verdict::Snooze(Snooze::For(Duration::from_secs(5))),
        Verdict::Cancel,
        Verdict::GiveBack {
            why: "the runner was shut down".into(),
        },
        Verdict::Recover {
            error: "its runner was lost".to_owned(),
        },
    ]
}
