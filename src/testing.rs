//! Testing code that enqueues jobs, and handlers.
//!
//! A [`TestQueue`] is a queue in a temporary folder that is removed with it. Its clock stands still until
//! the test moves it, and jobs run only when the test calls [`TestQueue::run_due`], in the test's own
//! thread: no waiting, no sleeping, no randomness. It is a real queue, with the same SQL, transactions and
//! rules as in an application.
//!
//! **I want to test that something enqueues a job.** Give it the queue and assert what it
//! enqueued. A failed assertion lists all jobs with their states and payloads.
//!
//! ```
//! use jobq::testing::TestQueue;
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Serialize, Deserialize)]
//! # struct Mail { to: String, what: String }
//! # impl jobq::Job for Mail { const KIND: &'static str = "mail"; type Output = (); }
//!
//! fn sign_up(queue: &jobq::Queue, name: &str) -> jobq::Result<()> {
//!     queue.enqueue(Mail { to: name.into(), what: "welcome".into() })?;
//!     Ok(())
//! }
//!
//! let queue = TestQueue::new();
//! sign_up(&queue, "ann")?;
//! queue.assert_enqueued(|mail: &Mail| mail.to == "ann" && mail.what == "welcome");
//! # Ok::<(), jobq::Error>(())
//! ```
//!
//! **I want to test that a handler enqueues a follow-up in an hour**, and that it runs then and not
//! before. Run due jobs, assert, move the clock, run again.
//!
//! ```
//! use std::time::Duration;
//!
//! use jobq::testing::TestQueue;
//! use jobq::{Context, Failure, NewJob};
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Serialize, Deserialize)]
//! # struct SignUp { name: String }
//! # impl jobq::Job for SignUp { const KIND: &'static str = "sign-up"; type Output = (); }
//! # #[derive(Serialize, Deserialize)]
//! # struct Mail { to: String, what: String }
//! # impl jobq::Job for Mail { const KIND: &'static str = "mail"; type Output = (); }
//!
//! const HOUR: Duration = Duration::from_secs(3600);
//!
//! fn sign_up(job: SignUp, ctx: &Context) -> Result<(), Failure> {
//!     let reminder = Mail { to: job.name, what: "reminder".into() };
//!     ctx.queue().enqueue(NewJob::of(&reminder).delay(HOUR))?;
//!     Ok(())
//! }
//!
//! let queue = TestQueue::new();
//! queue.enqueue(SignUp { name: "ann".into() })?;
//! queue.run_due(|runner| runner.job(sign_up));
//!
//! let reminder = queue.assert_enqueued(|mail: &Mail| mail.what == "reminder");
//! assert_eq!(reminder.run_at, Some(TestQueue::START + HOUR));
//!
//! let send = |_: Mail, _: &Context| Ok(());
//! assert_eq!(queue.run_due(|runner| runner.job(send)).completed, 0);
//! queue.advance(HOUR);
//! assert_eq!(queue.run_due(|runner| runner.job(send)).completed, 1);
//! queue.assert_none_enqueued::<Mail>();
//! # Ok::<(), jobq::Error>(())
//! ```
//!
//! **I want to test one handler by itself**: [`TestQueue::perform`] runs one job through it once and
//! returns its record, whatever other jobs the queue has.
//!
//! ```
//! use jobq::testing::TestQueue;
//! use jobq::{Context, Failure, State};
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Serialize, Deserialize)]
//! # struct Half { of: u32 }
//! # impl jobq::Job for Half { const KIND: &'static str = "half"; type Output = u32; }
//!
//! fn half(job: Half, _: &Context) -> Result<u32, Failure> {
//!     if job.of % 2 == 1 {
//!         return Err(Failure::permanent("it is odd"));
//!     }
//!     Ok(job.of / 2)
//! }
//!
//! let queue = TestQueue::new();
//! let even = queue.perform(Half { of: 8 }, |runner| runner.job(half));
//! assert_eq!(queue.output::<Half>(even.id)?, Some(4));
//! let odd = queue.perform(Half { of: 7 }, |runner| runner.job(half));
//! assert_eq!((odd.state, odd.error.as_deref()), (State::Failed, Some("it is odd")));
//! # Ok::<(), jobq::Error>(())
//! ```
//!
//! **I want to test that a job fails after its retries**: [`TestQueue::advance_to_next`] moves the
//! clock to the next due moment, so `while queue.advance_to_next()` with [`TestQueue::run_due`] in it
//! goes through all retries at once.
//!
//! **I want threads, timeouts, cancelling**: start a [`runner`](Queue::runner) on the queue, as in
//! the application. It sees the same manual clock.

use std::fmt::Write as _;
use std::ops::Deref;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::ManualClock;
use crate::model::file_options::Durability;
use crate::model::filter::{Filter, Sort};
use crate::model::job::{Job, JobRecord, NewJob, When};
use crate::model::runner::RunStats;
use crate::model::runner_options::Retention;
use crate::model::state::State;
use crate::queue::{Queue, QueueOptions};
use crate::runner::builder::RunnerBuilder;
use crate::runner::inline;
use crate::runner::inline::InlineBounds;
use crate::{Error, Result};

/// Maximum number of jobs that a failed assertion lists.
const LISTED: usize = 50;

/// Maximum number of attempts in one call, to stop jobs that enqueue themselves.
const BOUNDS: InlineBounds = InlineBounds {
    spare_runs: 1_000,
    chance: || 0.0,
};

/// A queue for one test: in a temporary folder that is removed with it, on a clock that the test moves.
///
/// Its methods panic on errors. It derefs to [`Queue`]: pass `&queue`, or a clone of it. See the
/// [module](crate::testing) for examples.
pub struct TestQueue {
    /// Closed before the folder is removed.
    queue: Queue,
    clock: ManualClock,
    _folder: TempFolder,
}

impl TestQueue {
    /// The clock's first time: noon of the first day of 2030, UTC.
    pub const START: Timestamp = Timestamp::constant(1_893_499_200, 0);

    /// An empty queue.
    ///
    /// # Panics
    /// The system's folder for temporary files cannot be written.
    #[track_caller]
    pub fn new() -> TestQueue {
        TestQueue::with(|options| options)
    }

    /// An empty queue with the application's options, such as limits.
    ///
    /// # Panics
    /// As [`TestQueue::new`].
    #[track_caller]
    pub fn with(set_up: impl FnOnce(QueueOptions) -> QueueOptions) -> TestQueue {
        let clock = ManualClock::new(TestQueue::START);
        let options = Queue::options()
            .durability(Durability::Normal)
            .clock(&clock);
        let folder = ok(TempFolder::make());
        TestQueue {
            queue: ok(set_up(options).open(folder.0.join("jobs.db"))),
            clock,
            _folder: folder,
        }
    }

    /// The clock, to set it or to share it.
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// The clock's time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Moves the clock forward. It runs no job; [`TestQueue::run_due`] does.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Moves the clock to the moment the next scheduled job is due; false if none is scheduled.
    ///
    /// # Panics
    /// The file cannot be read.
    #[track_caller]
    pub fn advance_to_next(&self) -> bool {
        let Some(due) = ok(self.queue.next_due()) else {
            return false;
        };
        let wait = due.duration_since(self.now());
        self.advance(Duration::try_from(wait).unwrap_or_default());
        true
    }

    /// Runs all due jobs in this thread, with the handlers that `set_up` registers: see
    /// [`RunnerBuilder::run_due`]. Old jobs are kept, and retries have no jitter.
    ///
    /// A handler that panics fails its attempt, as always: assert on the returned counts, or on the job.
    ///
    /// # Panics
    /// The runner's settings are invalid, or jobs enqueue each other endlessly: a thousand more have run
    /// than were there.
    #[track_caller]
    pub fn run_due(&self, set_up: impl FnOnce(RunnerBuilder) -> RunnerBuilder) -> RunStats {
        ok(inline::run_due(set_up(self.patient_runner()), BOUNDS))
    }

    /// Enqueues one job, due now, and runs it once in this thread with the handler that `set_up`
    /// registers. Returns the job's record; [`Queue::output`] reads a typed job's output. A job that is to
    /// be retried waits like any other.
    ///
    /// # Panics
    /// The job cannot be enqueued, or must wait for others first.
    #[track_caller]
    pub fn perform(
        &self,
        job: impl Into<NewJob>,
        set_up: impl FnOnce(RunnerBuilder) -> RunnerBuilder,
    ) -> JobRecord {
        let id = ok(self.queue.enqueue(job.into().when(When::Now))).id;
        let runner = set_up(self.patient_runner());
        ok(inline::perform(runner, id, BOUNDS.chance));
        ok(ok(self.queue.get(id)).ok_or_else(|| Error::not_found(format!("job {id} is gone"))))
    }

    /// The jobs of this type that are not final, oldest first.
    ///
    /// # Panics
    /// A payload does not fit the type.
    #[track_caller]
    pub fn enqueued<J: Job>(&self) -> Vec<J> {
        let jobs = self.enqueued_of_kind(J::KIND);
        ok(jobs.iter().map(JobRecord::decode).collect())
    }

    /// The jobs of this kind that are not final, oldest first.
    ///
    /// # Panics
    /// The file cannot be read.
    #[track_caller]
    pub fn enqueued_of_kind(&self, kind: &str) -> Vec<JobRecord> {
        let live = State::ALL.into_iter().filter(|state| !state.is_final());
        ok(self.queue.list(&Filter {
            states: live.collect(),
            kinds: vec![kind.to_owned()],
            sort: Sort::Oldest,
            ..Filter::default()
        }))
    }

    /// Asserts that a job of this type that is not final satisfies the condition. Returns the record of the
    /// first, for further assertions on its due time, queue and options.
    ///
    /// # Panics
    /// There is none; the message lists all jobs.
    #[track_caller]
    pub fn assert_enqueued<J: Job>(&self, is_wanted: impl Fn(&J) -> bool) -> JobRecord {
        for job in self.enqueued_of_kind(J::KIND) {
            if is_wanted(&ok(job.decode())) {
                return job;
            }
        }
        panic!(
            "no live job of kind '{}' matches; {}",
            J::KIND,
            self.listing()
        )
    }

    /// Asserts that there is a job of this kind that is not final. Returns the record of the first.
    ///
    /// # Panics
    /// There is none; the message lists all jobs.
    #[track_caller]
    pub fn assert_enqueued_of_kind(&self, kind: &str) -> JobRecord {
        match self.enqueued_of_kind(kind).into_iter().next() {
            Some(job) => job,
            None => panic!("there is no live job of kind '{kind}'; {}", self.listing()),
        }
    }

    /// Asserts that all jobs of this type are final.
    ///
    /// # Panics
    /// One is not; the message lists all jobs.
    #[track_caller]
    pub fn assert_none_enqueued<J: Job>(&self) {
        let live = self.enqueued_of_kind(J::KIND).len();
        assert!(
            live == 0,
            "{live} live jobs are of kind '{}'; {}",
            J::KIND,
            self.listing()
        );
    }

    /// A runner that removes nothing.
    fn patient_runner(&self) -> RunnerBuilder {
        self.queue.runner().retention(Retention {
            completed: None,
            failed: None,
            ..Retention::default()
        })
    }

    /// All jobs, for the message of a failed assertion.
    #[track_caller]
    fn listing(&self) -> String {
        let mut jobs = ok(self.queue.list(&Filter {
            limit: Some(LISTED),
            ..Filter::default()
        }));
        if jobs.is_empty() {
            return "the queue has no jobs".to_owned();
        }
        jobs.reverse();
        let all = ok(self.queue.counts()).total();
        let mut text = match all > LISTED as u64 {
            true => format!("the newest {LISTED} of {all} jobs, at {}:", self.now()),
            false => format!("there are, at {}:", self.now()),
        };
        for job in &jobs {
            let _ = write!(text, "\n  {} {} {}", job.id, job.kind, job.state);
            if let Some(due) = job.run_at {
                let _ = write!(text, " until {due}");
            }
            let _ = write!(text, " {}", job.payload);
            if let Some(error) = &job.error {
                let _ = write!(text, " ({error})");
            }
        }
        text
    }
}

impl Default for TestQueue {
    #[track_caller]
    fn default() -> TestQueue {
        TestQueue::new()
    }
}

impl Deref for TestQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        &self.queue
    }
}

/// A folder that is removed with its contents.
struct TempFolder(PathBuf);

impl TempFolder {
    fn make() -> Result<TempFolder> {
        let path = std::env::temp_dir().join(format!("jobq-test-{:032x}", fastrand::u128(..)));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| {
                Error::io(
                    format_args!("the folder {} cannot be made", path.display()),
                    error,
                )
            })?;
        Ok(TempFolder(path))
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            log::warn!("{} was not removed: {error}", self.0.display());
        }
    }
}

/// Fails the test with the error and its hint.
#[track_caller]
fn ok<T>(result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => match error.hint() {
            Some(help) => panic!("{error}; {help}"),
            None => panic!("{error}"),
        },
    }
}
