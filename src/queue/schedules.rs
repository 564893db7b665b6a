//! Schedules: recurring jobs.

use crate::model::job::Enqueued;
use crate::model::schedule::{Schedule, ScheduleChange, ScheduleRecord, SchedulesSynced};
use crate::queue::Queue;
use crate::store::{QuotaLimits, ValidatedSchedule};
use crate::{Result, store};

impl Queue {
    /// Adds a schedule, or makes the one of this name what is given here; runners see it at once. One
    /// that is there as it is keeps its next slot, so that a program can add its schedules whenever it
    /// starts. One of the same rule and zone keeps it, too. There is one job for each schedule and
    /// slot, however many runners there are.
    ///
    /// ```
    /// use jobq::{Missed, NewJob, Queue, Schedule};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let queue = Queue::open(folder.path().join("jobs.db"))?;
    /// let report = NewJob::new("report").payload(&"sales");
    /// let mondays = Schedule::new("sales", "30 7 * * MON", report)
    ///     .timezone("Europe/Berlin")
    ///     .missed(Missed::Skip);
    /// queue.add_schedule(mondays)?;
    /// assert!(queue.schedule("sales")?.unwrap().next_at.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The name begins with `@`, the rule cannot be read or never comes, there is no such time zone, or
    /// the job could not be enqueued or makes sense only once: one with a deadline at one moment, a
    /// delay, a parent or prerequisites.
    pub fn add_schedule(&self, schedule: Schedule) -> Result<ScheduleChange> {
        let schedule = ValidatedSchedule::new(schedule, None, &self.limits)?;
        self.store
            .write(move |tx| store::add_schedule(tx, &schedule))
    }

    /// Checks a schedule as adding would, without adding it.
    ///
    /// # Errors
    /// What [`Queue::add_schedule`] would say.
    pub fn check_schedule(&self, schedule: Schedule) -> Result<()> {
        ValidatedSchedule::new(schedule, None, &self.limits).map(|_| ())
    }

    /// Makes the schedules that a configuration file declares those that are given: adds and changes as
    /// [`Queue::add_schedule`] does, and removes those of an earlier call for the same file that are no
    /// longer given. What was added otherwise, or is declared by another file, stays, unless a schedule
    /// of the same name is given. All or nothing. `file` is any name that tells one configuration from
    /// another, such as its canonical path.
    ///
    /// # Errors
    /// As [`Queue::add_schedule`]; the message names the schedule.
    pub fn sync_schedules(
        &self,
        file: impl Into<String>,
        schedules: impl IntoIterator<Item = Schedule>,
    ) -> Result<SchedulesSynced> {
        let file = file.into();
        let checked: Vec<ValidatedSchedule> = schedules
            .into_iter()
            .map(|schedule| ValidatedSchedule::new(schedule, Some(&file), &self.limits))
            .collect::<Result<_>>()?;
        self.store
            .write(move |tx| store::sync_schedules(tx, &file, &checked))
    }

    /// Removes a schedule. The jobs that it has enqueued stay.
    ///
    /// # Errors
    /// There is no such schedule.
    pub fn remove_schedule(&self, name: impl Into<String>) -> Result<()> {
        let name = name.into();
        self.store
            .write(move |tx| store::remove_schedule(tx, &name))
    }

    /// Stops a schedule from enqueuing. Whether it changed anything.
    ///
    /// # Errors
    /// There is no such schedule.
    pub fn pause_schedule(&self, name: impl Into<String>) -> Result<bool> {
        let name = name.into();
        self.store.write(move |tx| store::pause_schedule(tx, &name))
    }

    /// Lets a schedule go on with its next slot; those of the pause do not count as missed. Whether it
    /// changed anything.
    ///
    /// # Errors
    /// There is no such schedule, or its rule can no longer be read.
    pub fn resume_schedule(&self, name: impl Into<String>) -> Result<bool> {
        let name = name.into();
        self.store
            .write(move |tx| store::resume_schedule(tx, &name))
    }

    /// Enqueues a schedule's job now, also while it is paused or its last job lives. Its slots stay
    /// as they are.
    ///
    /// # Errors
    /// There is no such schedule, or the job cannot be enqueued.
    pub fn run_schedule(&self, name: impl Into<String>) -> Result<Enqueued> {
        let name = name.into();
        let bounds = QuotaLimits::of(&self.limits);
        self.store
            .write(move |tx| store::run_schedule(tx, &name, bounds))
    }

    /// All schedules, by name.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn schedules(&self) -> Result<Vec<ScheduleRecord>> {
        store::list_schedules(&*self.store.reader()?)
    }

    /// The schedule of this name.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn schedule(&self, name: &str) -> Result<Option<ScheduleRecord>> {
        store::get_schedule(&*self.store.reader()?, name)
    }
}
