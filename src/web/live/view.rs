//! One answer that is watched, and those who watch it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::web::live::mailbox::{Offered, SocketMailbox, Subscriber};
use crate::web::live::patch::{RowsPage, ViewReading, fields_of};
use crate::web::live::topic::ViewTopic;
use crate::web::live::touched::{KindSet, Touched};
use crate::web::problem::Problem;
use crate::{EventKind, JobId, clock};

/// It is read at most four times a second, and less often where a reading takes long: it may take a tenth of the time.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(250);
const REST_FACTOR: u32 = 9;

/// What has no event changes with time: the state of a runner that may have died unseen, the rate of the last minute,
/// and how long a job has waited or taken. While there may be any of these, it is read again after this long.
const WHILE_RUNNERS_LIVE: Duration = Duration::from_secs(15);
const AFTER_A_CHANGE: Duration = Duration::from_secs(61);
const WHILE_TIME_COUNTS: Duration = Duration::from_secs(10);

/// A bulk change in progress has no event of its own.
const WHILE_A_BULK_RUNS: Duration = SHORTEST_INTERVAL;

/// An answer that is watched. Whoever subscribes to the same shares it.
pub(crate) struct LiveView {
    pub(crate) topic: ViewTopic,
    pub(crate) tenant: Option<String>,
    shown: Option<ShownReading>,
    watchers: Vec<ViewWatcher>,
    is_stale: bool,
    not_before: Instant,
    /// When to read it although nothing was said to have changed.
    again_at: Option<Instant>,
    pub(crate) failures: u32,
}

/// The last reading.
struct ShownReading {
    reading: ViewReading,
    at: Option<i64>,
}

struct ViewWatcher {
    subscriber: Subscriber,
    /// Until it has the snapshot, it needs no patches.
    has_snapshot: bool,
}

impl LiveView {
    pub(crate) fn new(topic: ViewTopic, tenant: Option<String>) -> LiveView {
        LiveView {
            topic,
            tenant,
            shown: None,
            watchers: Vec::new(),
            is_stale: true,
            not_before: clock::instant(),
            again_at: None,
            failures: 0,
        }
    }

    /// A new watcher gets what the others see.
    pub(crate) fn watch(&mut self, subscriber: Subscriber) -> serde_json::Result<()> {
        self.watchers.push(ViewWatcher {
            subscriber,
            has_snapshot: false,
        });
        self.send_snapshots()
    }

    /// The mailbox has room: perhaps for the snapshot.
    pub(crate) fn has_room(&mut self, mailbox: &Arc<SocketMailbox>) -> serde_json::Result<()> {
        let mut waiting = self.watchers.iter().filter(|watcher| !watcher.has_snapshot);
        match waiting.any(|watcher| watcher.subscriber.is_of(mailbox)) {
            true => self.send_snapshots(),
            false => Ok(()),
        }
    }

    /// Returns false if nobody watches any more.
    pub(crate) fn is_watched(&mut self) -> bool {
        self.watchers
            .retain(|watcher| !watcher.subscriber.is_gone());
        !self.watchers.is_empty()
    }

    /// When it is to be read next.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        match self.is_stale {
            true => Some(self.not_before),
            false => self.again_at,
        }
    }

    /// Makes it stale if the events may concern it.
    pub(crate) fn touch(&mut self, touched: &Touched) {
        self.is_stale |= match (&self.topic, self.shown.as_ref()) {
            (ViewTopic::Overview | ViewTopic::Bulk(_), _) => touched.has(KindSet::without_output()),
            (ViewTopic::Jobs(_), shown) => jobs_are_touched(shown, touched),
            (ViewTopic::Job(id), shown) => job_is_touched(*id, shown, touched),
        };
    }

    /// Shows a new answer; `begun` is when its reading began.
    pub(crate) fn show(&mut self, body: &[u8], begun: Instant) -> serde_json::Result<()> {
        let (fields, at) = fields_of(body)?;
        let reading = match self.topic {
            ViewTopic::Jobs(_) => ViewReading::Rows(RowsPage::of(fields)?),
            ViewTopic::Bulk(_) => ViewReading::Whole(fields),
            ViewTopic::Overview | ViewTopic::Job(_) => ViewReading::Object(fields),
        };
        let patch = match &self.shown {
            Some(shown) => reading.patch_from(&shown.reading)?,
            None => None,
        };
        if let Some(patch) = &patch {
            self.send_patch(&format!("\"patch\":{patch},\"at\":{}}}", null_or(at)));
        }
        let is_first = self.shown.is_none();
        self.shown = Some(ShownReading { reading, at });
        self.send_snapshots()?;
        self.failures = 0;
        self.rest(begun);
        let has_changed = patch.is_some() || is_first;
        self.again_at = self
            .recheck(has_changed)
            .map(|wait| clock::after(begun, wait));
        Ok(())
    }

    /// It could not be read: it is tried again after a while.
    pub(crate) fn try_again_after(&mut self, wait: Duration) {
        self.failures += 1;
        self.is_stale = true;
        self.not_before = clock::after(clock::instant(), wait);
    }

    /// Ends all subscriptions to it.
    pub(crate) fn fail(&mut self, problem: &Problem) {
        for watcher in self.watchers.drain(..) {
            watcher.subscriber.fail(problem);
        }
    }

    fn rest(&mut self, begun: Instant) {
        let now = clock::instant();
        let took = now.saturating_duration_since(begun);
        self.is_stale = false;
        self.not_before = clock::after(now, (took * REST_FACTOR).max(SHORTEST_INTERVAL));
    }

    fn recheck(&self, has_changed: bool) -> Option<Duration> {
        let is = |name, expected| self.field(name) == Some(expected);
        match &self.topic {
            ViewTopic::Overview if !is("runners", "[]") => Some(WHILE_RUNNERS_LIVE),
            ViewTopic::Overview => has_changed.then_some(AFTER_A_CHANGE),
            ViewTopic::Bulk(_) => is("finished", "false").then_some(WHILE_A_BULK_RUNS),
            ViewTopic::Jobs(query) => depends_on_time(query).then_some(WHILE_TIME_COUNTS),
            ViewTopic::Job(_) => None,
        }
    }

    /// A field of what is shown, as it is written.
    fn field(&self, name: &str) -> Option<&str> {
        self.shown.as_ref().and_then(|shown| shown.field(name))
    }

    fn send_snapshots(&mut self) -> serde_json::Result<()> {
        let Some(shown) = &self.shown else {
            return Ok(());
        };
        let mut waiting = self
            .watchers
            .iter_mut()
            .filter(|watcher| !watcher.has_snapshot);
        let Some(first) = waiting.next() else {
            return Ok(());
        };
        let snapshot = shown.reading.snapshot()?;
        let frame = format!("\"snapshot\":{snapshot},\"at\":{}}}", null_or(shown.at));
        for watcher in std::iter::once(first).chain(waiting) {
            watcher.has_snapshot = watcher.subscriber.offer(&frame) == Offered::Taken;
        }
        Ok(())
    }

    /// Whoever has no room for a patch has lost track.
    fn send_patch(&mut self, frame: &str) {
        self.watchers.retain(|watcher| {
            let offered = match watcher.has_snapshot {
                true => watcher.subscriber.offer(frame),
                false => Offered::Taken,
            };
            if offered == Offered::Full {
                watcher.subscriber.resync();
            }
            offered == Offered::Taken
        });
    }
}

impl ShownReading {
    fn field(&self, name: &str) -> Option<&str> {
        match &self.reading {
            ViewReading::Object(fields) | ViewReading::Whole(fields) => {
                fields.get(name).map(|value| value.get())
            }
            ViewReading::Rows(_) => None,
        }
    }
}

fn null_or(at: Option<i64>) -> String {
    at.map_or("null".to_owned(), |at| at.to_string())
}

/// Whether a list may have other rows or an older view of one. What only changes a row must be on the page.
fn jobs_are_touched(shown: Option<&ShownReading>, touched: &Touched) -> bool {
    let changes_rows = [
        EventKind::Progress,
        EventKind::CancelRequested,
        EventKind::ReportDropped,
    ];
    let of_lists = EventKind::ALL.into_iter();
    let of_lists = of_lists.filter(|kind| is_of_jobs(*kind) && !changes_rows.contains(kind));
    let Some(ShownReading {
        reading: ViewReading::Rows(page),
        ..
    }) = shown
    else {
        return true;
    };
    touched.has(KindSet::of(of_lists))
        || touched.has_one_of(|job| page.has(job.0), KindSet::of(changes_rows))
}

fn is_of_jobs(kind: EventKind) -> bool {
    kind.as_str().starts_with("job_") && !kind.is_output()
}

/// What keeps a job from running may lie with any other job, queue or runner.
fn job_is_touched(id: JobId, shown: Option<&ShownReading>, touched: &Touched) -> bool {
    let state = shown.and_then(|shown| shown.field("state"));
    let waits = !matches!(
        state,
        Some(r#""running""# | r#""completed""# | r#""failed""# | r#""cancelled""#)
    );
    let kinds = KindSet::without_output();
    touched.has_job(id, kinds) || waits && touched.has(kinds)
}

/// Whether the answer to a query changes as time passes.
fn depends_on_time(query: &[(String, String)]) -> bool {
    let words = ["since", "until", "waited", "took"];
    query.iter().any(|(name, value)| {
        words.contains(&name.as_str())
            || name == "search" && words.iter().any(|word| value.contains(word))
    })
}
