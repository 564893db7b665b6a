//! What a request can do to the file: read it, or change it, each within what its token is for. A server that only
//! reads has no [`WriteSide`], and no route can make one.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use crate::web::auth::Grant;
use crate::web::live::history::History;
use crate::web::problem::Problem;
use crate::web::tenant_event;
use crate::{
    AttemptRecord, BulkAction, BulkPreview, BulkReport, Cancelled, Changes, Counts, Enqueued,
    ErrorGroups, Event, EventFilter, EventId, EventPage, Filter, Finding, JobGraph, JobId,
    JobRecord, JobUpdate, JobsPage, MetricRecord, MetricSpan, NameField, NewJob, Queue,
    QueueLimitsUpdate, QueueRecord, QueueSelector, QueueVerdict, Result, RunnerFilter,
    RunnerRecord, Schedule, ScheduleRecord, State, Stats, StatsQuery, Undone, UniqueKey, Why,
};

/// The file, for reading only: the queue itself cannot be had from it.
#[derive(Clone)]
pub(crate) struct ReadSide(Queue);

/// The file, for changes.
#[derive(Clone)]
pub(crate) struct WriteSide(Queue);

impl ReadSide {
    pub(crate) fn new(queue: Queue) -> ReadSide {
        ReadSide(queue)
    }

    /// What one client may read.
    pub(crate) fn of(&self, grant: &Grant) -> ReadAccess {
        ReadAccess {
            queue: self.0.clone(),
            tenant: grant.tenant.clone(),
        }
    }

    /// What happens in the file, for its live socket.
    pub(crate) fn history(&self) -> History {
        History::new(self.0.clone())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path()
    }
}

impl WriteSide {
    pub(crate) fn new(queue: Queue) -> WriteSide {
        WriteSide(queue)
    }

    /// What one client may change. The events of its changes say that they came over HTTP, and for which tenant.
    pub(crate) fn of(&self, grant: &Grant) -> WriteAccess {
        let by = match &grant.tenant {
            None => "web".to_owned(),
            Some(tenant) => format!("web:{tenant}"),
        };
        WriteAccess {
            reads: ReadSide(self.0.acting_as(by)).of(grant),
        }
    }
}

/// What one client may read: with a tenant, the jobs of that tenant and nothing else. The job of another does not
/// exist for it.
#[derive(Clone)]
pub(crate) struct ReadAccess {
    queue: Queue,
    tenant: Option<String>,
}

impl ReadAccess {
    pub(crate) fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    fn is_own(&self, tenant: Option<&str>) -> bool {
        self.tenant.is_none() || self.tenant.as_deref() == tenant
    }

    pub(crate) fn job(&self, id: JobId) -> Result<JobRecord, Problem> {
        let job = self.queue.get(id)?;
        job.filter(|job| self.is_own(job.tenant.as_deref()))
            .ok_or_else(|| Problem::no_job(id))
    }

    /// The state of a job, without reading all of it where that is not needed.
    pub(crate) fn state(&self, id: JobId) -> Result<State, Problem> {
        match self.tenant {
            None => self.queue.state(id)?.ok_or_else(|| Problem::no_job(id)),
            Some(_) => self.job(id).map(|job| job.state),
        }
    }

    /// The filter within what the client may see.
    pub(crate) fn within(&self, mut filter: Filter) -> Result<Filter, Problem> {
        if let Some(own) = &self.tenant {
            let asked = filter.tenant.replace(own.clone());
            check_tenant(asked.as_deref(), own)?;
        }
        Ok(filter)
    }

    pub(crate) fn page(&self, filter: Filter) -> Result<JobsPage, Problem> {
        Ok(self.queue.page(&self.within(filter)?)?)
    }

    pub(crate) fn page_before(&self, filter: Filter, job: JobId) -> Result<JobsPage, Problem> {
        Ok(self.queue.page_before(&self.within(filter)?, job)?)
    }

    pub(crate) fn for_each(
        &self,
        filter: Filter,
        each: impl FnMut(JobRecord) -> Result<()>,
    ) -> Result<(), Problem> {
        Ok(self.queue.for_each(&self.within(filter)?, each)?)
    }

    pub(crate) fn attempts(&self, id: JobId) -> Result<Vec<AttemptRecord>, Problem> {
        self.state(id)?;
        Ok(self.queue.attempts(id)?)
    }

    pub(crate) fn events(&self, mut filter: EventFilter) -> Result<EventPage, Problem> {
        if let Some(id) = filter.job {
            self.state(id)?;
        } else if let Some(own) = &self.tenant {
            let asked = filter.tenant.replace(own.clone());
            check_tenant(asked.as_deref(), own)?;
        }
        let mut page = self.queue.events(&filter)?;
        if let Some(own) = &self.tenant {
            for event in &mut page.events {
                tenant_event::hide_of_others(event, own);
            }
        }
        Ok(page)
    }

    /// An event; for a tenant, of its jobs.
    pub(crate) fn event(&self, id: EventId) -> Result<Event, Problem> {
        let none = || Problem::new("not-found", format!("no event {}", id.0));
        let event = self.queue.event(id)?.ok_or_else(none)?;
        if self.tenant.is_some() {
            let job = event.job.ok_or_else(none)?;
            self.state(job).map_err(|_| none())?;
        }
        Ok(event)
    }

    pub(crate) fn last_event(&self) -> Result<EventId, Problem> {
        Ok(self.queue.last_event()?)
    }

    /// A mark of the file's content: what changes that has an event, but for the removal of jobs.
    pub(crate) fn content_tag(&self) -> Result<String, Problem> {
        let event = self.queue.last_event()?;
        Ok(format!("\"{}.{}\"", event.0, self.queue.counts()?.total()))
    }

    pub(crate) fn why(&self, id: JobId) -> Result<Why, Problem> {
        self.state(id)?;
        Ok(self.queue.why(id)?)
    }

    pub(crate) fn changes(&self) -> Result<Changes, Problem> {
        Ok(self.queue.changes()?)
    }

    pub(crate) fn check_job(&self, job: NewJob) -> Result<(), Problem> {
        self.queue.check_job(job).map_err(Problem::of_input)
    }

    pub(crate) fn preview(
        &self,
        filter: &Filter,
        action: BulkAction,
        budget: Duration,
    ) -> Result<BulkPreview, Problem> {
        Ok(self.queue.preview(filter, action, budget)?)
    }

    pub(crate) fn error_groups(
        &self,
        filter: Filter,
        budget: Duration,
    ) -> Result<ErrorGroups, Problem> {
        self.queue
            .error_groups(&self.within(filter)?, budget)
            .map_err(Problem::of_input)
    }

    // What follows is of the whole file: their routes are not for a tenant.

    pub(crate) fn graph(&self, id: JobId) -> Result<JobGraph, Problem> {
        Ok(self.queue.graph(id)?)
    }

    pub(crate) fn stats(&self, query: &StatsQuery) -> Result<Stats, Problem> {
        self.queue.stats(query).map_err(Problem::of_input)
    }

    pub(crate) fn suggest(
        &self,
        field: &NameField,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<String>, Problem> {
        Ok(self.queue.suggest(field, prefix, limit)?)
    }

    pub(crate) fn metrics_text(&self) -> Result<String, Problem> {
        Ok(self.queue.metrics_snapshot()?.to_prometheus())
    }

    pub(crate) fn counts(&self) -> Result<Counts, Problem> {
        Ok(self.queue.counts()?)
    }

    pub(crate) fn queues(&self) -> Result<Vec<QueueRecord>, Problem> {
        Ok(self.queue.queues()?)
    }

    pub(crate) fn all_paused_since(&self) -> Result<Option<jiff::Timestamp>, Problem> {
        Ok(self.queue.all_paused_since()?)
    }

    pub(crate) fn runners(&self, of: RunnerFilter) -> Result<Vec<RunnerRecord>, Problem> {
        Ok(self.queue.runners(of)?)
    }

    pub(crate) fn next_due(&self) -> Result<Option<jiff::Timestamp>, Problem> {
        Ok(self.queue.next_due()?)
    }

    pub(crate) fn why_queue(&self, name: &str) -> Result<QueueVerdict, Problem> {
        Ok(self.queue.why_queue(name)?)
    }

    pub(crate) fn schedules(&self) -> Result<Vec<ScheduleRecord>, Problem> {
        Ok(self.queue.schedules()?)
    }

    pub(crate) fn findings(&self) -> Result<Vec<Finding>, Problem> {
        Ok(self.queue.check()?)
    }

    pub(crate) fn metrics(
        &self,
        span: MetricSpan,
        times: std::ops::Range<jiff::Timestamp>,
    ) -> Result<Vec<MetricRecord>, Problem> {
        Ok(self.queue.metrics(span, times)?)
    }
}

/// The name of a tenant stands before its keys.
fn own_key(tenant: &str, key: &str) -> String {
    format!("{tenant}:{key}")
}

fn check_tenant(asked: Option<&str>, own: &str) -> Result<(), Problem> {
    match asked.is_none_or(|asked| asked == own) {
        true => Ok(()),
        false => Err(Problem::new("tenant", "this token is for another tenant")),
    }
}

/// What one client may change. It reads first: the job of another tenant does not exist for it.
#[derive(Clone)]
pub(crate) struct WriteAccess {
    reads: ReadAccess,
}

impl WriteAccess {
    fn queue(&self) -> &Queue {
        &self.reads.queue
    }

    /// A job that is about to be enqueued, with the tenant of the client. Its keys are the tenant's own: no job of another
    /// is found, replaced or held up by them.
    pub(crate) fn own_job(&self, mut job: NewJob) -> Result<NewJob, Problem> {
        let Some(own) = &self.reads.tenant else {
            return Ok(job);
        };
        check_tenant(job.options().tenant.as_deref(), own)?;
        let others = job.options();
        let ties = others.after.iter().chain(&others.after_any);
        for other in ties.chain(&others.parent) {
            if let crate::JobRef::Id(id) = other {
                self.reads.state(*id)?;
            }
        }
        if let Some(unique) = &job.options.unique {
            let payload = job.payload.as_deref().unwrap_or_default();
            let key = unique.text(&job.kind, payload);
            job.options.unique = Some(UniqueKey::Named(own_key(own, &key)));
        }
        job.options.key = job.options.key.map(|key| own_key(own, &key));
        Ok(job.tenant(own))
    }

    pub(crate) fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, Problem> {
        let queue = self.queue();
        match <[NewJob; 1]>::try_from(jobs) {
            Ok([job]) => {
                let added = queue.enqueue(job).map_err(Problem::of_input)?;
                Ok(vec![*added])
            }
            Err(jobs) => queue.enqueue_many(jobs).map_err(Problem::of_input),
        }
    }

    pub(crate) fn cancel(&self, id: JobId) -> Result<Cancelled, Problem> {
        self.reads.state(id)?;
        Ok(self.queue().cancel(id)?)
    }

    pub(crate) fn retry(&self, id: JobId) -> Result<State, Problem> {
        self.reads.state(id)?;
        Ok(self.queue().retry(id)?)
    }

    pub(crate) fn remove(&self, id: JobId) -> Result<(), Problem> {
        self.reads.state(id)?;
        Ok(self.queue().remove(id)?)
    }

    pub(crate) fn edit(&self, id: JobId, mut change: JobUpdate) -> Result<(), Problem> {
        self.reads.state(id)?;
        if let Some(own) = &self.reads.tenant {
            check_tenant(change.set.tenant.as_deref(), own)?;
            if change.clear.contains(&crate::ClearOption::Tenant) {
                return Err(Problem::new(
                    "tenant",
                    "this token is for jobs of its tenant",
                ));
            }
            if let Some(UniqueKey::Named(key)) = &mut change.set.unique {
                *key = own_key(own, key);
            }
            change.set.key = change.set.key.map(|key| own_key(own, &key));
        }
        self.queue().edit(id, change).map_err(Problem::of_input)
    }

    /// Undoes a change of a job that the client may see, or for who may change the whole file, any.
    pub(crate) fn undo(&self, event: EventId) -> Result<Undone, Problem> {
        self.reads.event(event)?;
        Ok(self.queue().undo(event)?)
    }

    pub(crate) fn tenant(&self) -> Option<&str> {
        self.reads.tenant()
    }

    /// Changes all jobs of a filter that is within what the client may see.
    pub(crate) fn change_where(
        &self,
        filter: Filter,
        action: BulkAction,
        progress: impl FnMut(&BulkReport) -> ControlFlow<()>,
    ) -> Result<BulkReport, Problem> {
        let filter = self.reads.within(filter)?;
        Ok(self.queue().change_where(&filter, action, progress)?)
    }

    /// Changes each of some jobs.
    pub(crate) fn change_many(
        &self,
        ids: &[JobId],
        action: BulkAction,
    ) -> Vec<Result<(), Problem>> {
        let own = ids
            .iter()
            .filter(|id| self.reads.state(**id).is_ok())
            .copied();
        let own: Vec<JobId> = own.collect();
        let queue = self.queue();
        let changed: Vec<Result<()>> = match action {
            BulkAction::Cancel => queue
                .cancel_many(&own)
                .into_iter()
                .map(|done| done.map(drop))
                .collect(),
            BulkAction::Retry => queue
                .retry_many(&own)
                .into_iter()
                .map(|done| done.map(drop))
                .collect(),
            BulkAction::Remove => queue.remove_many(&own),
        };
        let mut changed: HashMap<JobId, Result<()>> = own.into_iter().zip(changed).collect();
        let each = ids.iter().map(|id| match changed.remove(id) {
            Some(changed) => Ok(changed?),
            None => Err(Problem::no_job(*id)),
        });
        each.collect()
    }

    // What follows is of the whole file: their routes are not for a tenant.

    pub(crate) fn pause(&self, which: QueueSelector) -> Result<bool, Problem> {
        Ok(self.queue().pause(which)?)
    }

    pub(crate) fn resume(&self, which: QueueSelector) -> Result<bool, Problem> {
        Ok(self.queue().resume(which)?)
    }

    pub(crate) fn set_limits(
        &self,
        name: &str,
        limits: QueueLimitsUpdate,
    ) -> Result<bool, Problem> {
        Ok(self.queue().set_limits(name, limits)?)
    }

    pub(crate) fn add_schedule(
        &self,
        schedule: Schedule,
    ) -> Result<crate::ScheduleChange, Problem> {
        self.queue()
            .add_schedule(schedule)
            .map_err(Problem::of_input)
    }

    pub(crate) fn remove_schedule(&self, name: &str) -> Result<(), Problem> {
        Ok(self.queue().remove_schedule(name)?)
    }

    pub(crate) fn pause_schedule(&self, name: &str) -> Result<bool, Problem> {
        Ok(self.queue().pause_schedule(name)?)
    }

    pub(crate) fn resume_schedule(&self, name: &str) -> Result<bool, Problem> {
        Ok(self.queue().resume_schedule(name)?)
    }

    pub(crate) fn run_schedule(&self, name: &str) -> Result<Enqueued, Problem> {
        Ok(self.queue().run_schedule(name)?)
    }
}
