//! Schedules: recurring jobs.

use crate::model::job::Enqueued;
use crate::model::schedule::{Schedule, ScheduleChange, ScheduleRecord, SchedulesSynced};
use crate::queue::Queue;
use crate::store::{QuotaLimits, ValidatedSchedule};
use crate::{Result, store};

impl Queue {
    /// Adds a schedule, or changes the one of this name; runners see it at once. A schedule with the same
    /// rule and zone keeps its next slot, so a program can add its schedules whenever it starts. Each slot
    /// gets one job, however many runners there are.
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
    /// The name begins with `@`, the rule is invalid or never fires, the time zone is unknown, or the job
    /// could not be enqueued or makes sense only once: it has a deadline at one moment, a delay, a parent
    /// or prerequisites.
    pub fn add_schedule(&self, schedule: Schedule) -> Result<ScheduleChange> {
        let schedule = ValidatedSchedule::new(schedule, None, &self.limits)?;
        self.change(move |tx| store::add_schedule(tx, &schedule))
    }

    /// Checks a schedule as [`Queue::add_schedule`] does, without adding it.
    ///
    /// # Errors
    /// The schedule is invalid.
    pub fn check_schedule(&self, schedule: Schedule) -> Result<()> {
        ValidatedSchedule::new(schedule, None, &self.limits).map(|_| ())
    }

    /// Sets the schedules that a configuration file declares: adds and changes schedules as
    /// [`Queue::add_schedule`] does, and removes those of an earlier call for the same file that are no
    /// longer given. Schedules that were added otherwise or that another file declares stay, unless one of
    /// the same name is given. All or nothing. `file` is any name that identifies the configuration, such
    /// as its canonical path.
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

    /// Removes a schedule. Jobs that it has enqueued stay.
    ///
    /// # Errors
    /// The schedule does not exist.
    pub fn remove_schedule(&self, name: impl Into<String>) -> Result<()> {
        let name = name.into();
        self.change(move |tx| store::remove_schedule(tx, &name))
    }

    /// Pauses a schedule. Returns whether anything changed.
    ///
    /// # Errors
    /// The schedule does not exist.
    pub fn pause_schedule(&self, name: impl Into<String>) -> Result<bool> {
        let name = name.into();
        self.change(move |tx| store::pause_schedule(tx, &name))
    }

    /// Resumes a schedule with its next slot; slots during the pause do not count as missed. Returns whether
    /// anything changed.
    ///
    /// # Errors
    /// The schedule does not exist, or its rule can no longer be read.
    pub fn resume_schedule(&self, name: impl Into<String>) -> Result<bool> {
        let name = name.into();
        self.change(move |tx| store::resume_schedule(tx, &name))
    }

    /// Enqueues a schedule's job now, also while it is paused or its last job is not final. Its slots do not
    /// change.
    ///
    /// # Errors
    /// The schedule does not exist, or the job cannot be enqueued.
    pub fn run_schedule(&self, name: impl Into<String>) -> Result<Enqueued> {
        let name = name.into();
        let bounds = QuotaLimits::of(&self.limits);
        self.change(move |tx| store::run_schedule(tx, &name, bounds))
    }

    /// All schedules, by name.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn schedules(&self) -> Result<Vec<ScheduleRecord>> {
        store::list_schedules(&*self.store.reader()?)
    }

    /// The schedule with this name.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn schedule(&self, name: &str) -> Result<Option<ScheduleRecord>> {
        store::get_schedule(&*self.store.reader()?, name)
    }
}
