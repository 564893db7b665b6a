//! Jobs as a list shows them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::family::Children;
use crate::model::id::{JobId, RunnerId, WorkerId};
use crate::model::job::options::Priority;
use crate::model::job::record::{JobRecord, Progress};
use crate::model::state::{State, WaitReason};

/// A job as a list shows it: of its payload, result and error, the size and the beginning.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct JobSummary {
    /// Its id.
    pub id: JobId,
    /// Which handler it is for.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// Its state.
    pub state: State,
    /// Why it is scheduled.
    pub wait_reason: Option<WaitReason>,
    /// Its priority within its queue.
    pub priority: Priority,
    /// The tenant that owns the job.
    pub tenant: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The number of its latest attempt; 0 before the first.
    pub attempt: u32,
    /// How many retries it has used.
    pub retries: u32,
    /// How often it may be retried.
    pub max_retries: u32,
    /// When it is due, while it is scheduled.
    pub run_at: Option<Timestamp>,
    /// Whether the running attempt was asked to stop.
    pub cancel_requested: bool,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When its latest attempt was claimed.
    pub started_at: Option<Timestamp>,
    /// When it became final.
    pub finished_at: Option<Timestamp>,
    /// The runner that holds it, or held it last.
    pub runner: Option<RunnerId>,
    /// The worker that runs it, once that is known.
    pub worker: Option<WorkerId>,
    /// Its parent.
    pub parent: Option<JobId>,
    /// Its children, if it has or had any.
    pub children: Option<Children>,
    /// The progress that its handler reported, or that of its children.
    pub progress: Option<Progress>,
    /// The schedule that enqueued it.
    pub schedule: Option<String>,
    /// Its payload.
    pub payload: TextPreview,
    /// Its result.
    pub result: Option<TextPreview>,
    /// The error of its last failed attempt.
    pub error: Option<TextPreview>,
}

/// The size of a text and its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TextPreview {
    /// Its size in bytes.
    pub bytes: u64,
    /// Its first 200 characters.
    pub start: String,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct JobsPage {
    /// The jobs, in the order of the filter.
    pub jobs: Vec<JobSummary>,
    /// Where the next page in this direction begins: after this job, or before it for
    /// [`Queue::page_before`](crate::Queue::page_before). None: there are no more jobs.
    pub next: Option<JobId>,
    /// How far the file was searched, if the time was up before the page was full; `next` is then the same, and the
    /// next page continues there. None: these are all jobs of the page.
    pub searched_to: Option<JobId>,
}

/// A page of a list with full records.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecordsPage {
    /// The jobs, in the order of the filter.
    pub jobs: Vec<JobRecord>,
    /// The next page begins after this job. None: there are no more jobs.
    pub next: Option<JobId>,
    /// As [`JobsPage::searched_to`].
    pub searched_to: Option<JobId>,
}

impl RecordsPage {
    /// Whether these are all jobs of the page: it is full, or there are no more.
    pub fn is_complete(&self) -> bool {
        self.searched_to.is_none()
    }
}

impl JobsPage {
    /// Whether these are all jobs of the page: it is full, or there are no more.
    pub fn is_complete(&self) -> bool {
        self.searched_to.is_none()
    }
}
