//! The history of a file, to be followed and not to be changed.

use crate::model::event::FeedPage;
use crate::web::tenant_event;
use crate::{Changes, EventFilter, EventId, EventPage, JobId, Queue, Result};

/// The history of the whole file: whoever sends of it to a client looks at the client's tenant.
#[derive(Clone)]
pub(crate) struct History(Queue);

impl History {
    pub(crate) fn new(queue: Queue) -> History {
        History(queue)
    }

    pub(crate) fn changes(&self) -> Result<Changes> {
        self.0.changes()
    }

    pub(crate) fn last_event(&self) -> Result<EventId> {
        self.0.last_event()
    }

    /// The kinds and jobs of the events after one, at most so many.
    pub(crate) fn feed(&self, since: EventId, limit: usize) -> Result<FeedPage> {
        self.0.feed(since, limit)
    }

    /// With a tenant, as that tenant is shown them.
    pub(crate) fn events(&self, filter: &EventFilter) -> Result<EventPage> {
        let mut page = self.0.events(filter)?;
        if let Some(tenant) = &filter.tenant {
            for event in &mut page.events {
                tenant_event::hide_of_others(event, tenant);
            }
        }
        Ok(page)
    }

    /// Whether there is such a job. The job of another tenant is as if it were not there.
    pub(crate) fn has_job(&self, id: JobId, tenant: Option<&str>) -> Result<bool> {
        match tenant {
            None => Ok(self.0.state(id)?.is_some()),
            Some(_) => {
                let job = self.0.get(id)?;
                Ok(job.is_some_and(|job| job.tenant.as_deref() == tenant))
            }
        }
    }
}
