//! A subscription to what is appended to the history: events, or the output of a job.

use std::sync::Arc;

use crate::api::event::WordedEventJson;
use crate::api::output::PieceJson;
use crate::web::live::mailbox::{Offered, SocketMailbox, Subscriber};
use crate::web::live::topic::{StreamForm, StreamTopic};
use crate::web::live::touched::{KindSet, Touched};
use crate::{Event, EventFilter, EventId, EventKind, EventPage, JobId};

/// A frame ends when it is about this long.
const FRAME_BYTES: usize = 32 * 1024;

/// The number of events that are read at once; a piece of output may have 64 KiB.
const PAGE_EVENTS: usize = 256;
const PAGE_PIECES: usize = 64;

/// A stream reads the history from a position of its own, so that nothing is sent twice and nothing is left out, and
/// only as fast as its client does.
pub(crate) struct HistoryStream {
    subscriber: Subscriber,
    form: StreamForm,
    /// Its `since` is the position.
    filter: EventFilter,
    kinds: KindSet,
    has_begun: bool,
    /// Whether there may be more to read.
    is_pending: bool,
    /// Whether the mailbox had no room.
    is_blocked: bool,
}

/// What a reading depends on: streams with the same share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadingKey {
    since: EventId,
    job: Option<JobId>,
    kinds: Vec<EventKind>,
    tenant: Option<String>,
}

impl HistoryStream {
    /// `last` is the newest event there is: a later position is of another history.
    pub(crate) fn new(
        subscriber: Subscriber,
        topic: StreamTopic,
        (tenant, last): (Option<String>, EventId),
    ) -> HistoryStream {
        let kinds = match topic.kinds.is_empty() {
            true => KindSet::without_output(),
            false => KindSet::of(topic.kinds.iter().copied()),
        };
        let output = KindSet::of(EventKind::ALL.into_iter().filter(|kind| kind.is_output()));
        let limit = if kinds.meets(output) {
            PAGE_PIECES
        } else {
            PAGE_EVENTS
        };
        HistoryStream {
            subscriber,
            form: topic.form,
            filter: EventFilter {
                since: topic.since.map_or(last, |since| since.min(last)),
                job: topic.job,
                kinds: topic.kinds,
                tenant,
                limit: Some(limit),
                ..EventFilter::default()
            },
            kinds,
            has_begun: false,
            is_pending: true,
            is_blocked: false,
        }
    }

    pub(crate) fn touch(&mut self, touched: &Touched) {
        self.is_pending |= match self.filter.job {
            Some(job) => touched.has_job(job, self.kinds),
            None => touched.has(self.kinds),
        };
    }

    /// Whether it has something to read and room for it.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_pending && !self.is_blocked
    }

    pub(crate) fn has_room(&mut self, mailbox: &Arc<SocketMailbox>) {
        self.is_blocked &= !self.subscriber.is_of(mailbox);
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.subscriber.is_gone()
    }

    pub(crate) fn filter(&self) -> &EventFilter {
        &self.filter
    }

    pub(crate) fn key(&self) -> ReadingKey {
        ReadingKey {
            since: self.filter.since,
            job: self.filter.job,
            kinds: self.filter.kinds.clone(),
            tenant: self.filter.tenant.clone(),
        }
    }

    /// Sends what was read at its position.
    pub(crate) fn deliver(&mut self, page: &EventPage) {
        let mut items = String::new();
        let mut last = self.filter.since;
        if !self.has_begun && self.form == StreamForm::Events && !self.send(&items, last) {
            return;
        }
        for event in &page.events {
            let item = self.item(event);
            if !items.is_empty() && items.len() + item.len() > FRAME_BYTES {
                if !self.send(&items, last) {
                    return;
                }
                items.clear();
            }
            if !item.is_empty() {
                let comma = if items.is_empty() { "" } else { "," };
                items.extend([comma, &item]);
            }
            last = event.id;
        }
        if (!items.is_empty() || !self.has_begun) && !self.send(&items, last) {
            return;
        }
        self.filter.since = page.next.max(last);
        self.is_pending = !page.at_end;
    }

    /// Returns false if the mailbox has no room; the position is then before these items.
    fn send(&mut self, items: &str, last: EventId) -> bool {
        let list = match self.form {
            StreamForm::Events => "events",
            StreamForm::Lines { .. } => "lines",
        };
        let verb = if self.has_begun { "patch" } else { "snapshot" };
        let frame = format!("\"{verb}\":{{\"{list}\":[{items}]}},\"at\":{}}}", last.0);
        let is_taken = self.subscriber.offer(&frame) == Offered::Taken;
        self.is_blocked |= !is_taken;
        if is_taken {
            self.has_begun = true;
            self.filter.since = last;
        }
        is_taken
    }

    /// The JSON of an event; empty where it is not shown.
    fn item(&self, event: &Event) -> String {
        let item = match self.form {
            StreamForm::Events => serde_json::to_string(&WordedEventJson::new(event)),
            StreamForm::Lines { attempt } => {
                let is_wanted = attempt.is_none() || attempt == event.attempt;
                let line = PieceJson::of(event).filter(|_| is_wanted);
                line.map_or(Ok(String::new()), |line| serde_json::to_string(&line))
            }
        };
        // Numbers, names and texts have JSON.
        item.unwrap_or_default()
    }
}
