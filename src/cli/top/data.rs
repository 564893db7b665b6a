//! What is read from the file for the screen, as values.

use jiff::Timestamp;
use jobq::{
    BulkAction, BulkPreview, Counts, ErrorGroups, Event, EventId, Filter, JobId, JobSummary,
    QueueRecord, RunnerRecord, ScheduleRecord, State,
};

use crate::cli::history::Piece;
use crate::cli::render::style::Look;
use crate::cli::render::table::Cell;

/// What is to be read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ReadRequest {
    Overview,
    Jobs(Box<JobsRequest>),
    Queues,
    Runners,
    Schedules,
    /// The events before this one, or the newest.
    Events(Option<EventId>),
    /// A job, and its output after an event.
    Job(JobId, EventId),
    /// The jobs around a job, as text of this width.
    Graph(JobId, u16),
    /// Why a job does not run.
    Why(JobId),
    /// The failed jobs by their errors, of those before a job.
    Errors(Option<JobId>),
    /// What a change to all matching jobs would change, of those after a job.
    Preview(BulkAction, Box<Filter>),
    /// The latest change that can be undone.
    Undoable,
}

/// Which page of the jobs that match a filter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JobsRequest {
    pub(crate) filter: Filter,
    pub(crate) page: PageRequest,
    pub(crate) limit: usize,
}

/// Where a page of jobs begins. The newest job is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageRequest {
    Newest,
    /// The page that ends with the oldest job.
    Oldest,
    After(JobId),
    Before(JobId),
    /// What is seen already, once more: from this job on, itself included.
    From(JobId),
}

/// The answer to a [`ReadRequest`].
#[derive(Debug)]
pub(crate) enum ReadAnswer {
    Overview(Box<OverviewData>),
    Jobs(JobsPart),
    Queues(Vec<QueueLine>),
    Runners(Vec<RunnerRecord>, Vec<JobSummary>),
    Schedules(Vec<ScheduleRecord>),
    /// Newest first; and the event before which to go on, if there are more.
    Events(Vec<Event>, Option<EventId>),
    Job(Box<JobData>),
    /// The job does not exist any more.
    NoJob(JobId),
    /// The lines of the text, with their colours as escape codes.
    Graph(JobId, Vec<String>),
    Why(Vec<(Look, String)>),
    Errors(ErrorGroups),
    Preview(Box<BulkPreview>),
    /// None: there is no such change.
    Undoable(Option<Event>),
}

/// What stands above every view.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeaderData {
    pub(crate) counts: Counts,
    pub(crate) all_paused: Option<Timestamp>,
    pub(crate) living_runners: usize,
}

/// The whole file at a glance.
#[derive(Debug)]
pub(crate) struct OverviewData {
    pub(crate) queues: Vec<QueueLine>,
    pub(crate) runners: Vec<RunnerRecord>,
    /// The jobs that run, as far as they are shown.
    pub(crate) running: Vec<JobSummary>,
    pub(crate) failures: Vec<JobSummary>,
    pub(crate) next_due: Option<Timestamp>,
    pub(crate) rates: MinuteRates,
}

/// A queue, and why its pending jobs do not run.
#[derive(Clone, Debug)]
pub(crate) struct QueueLine {
    pub(crate) queue: QueueRecord,
    pub(crate) verdict: Vec<String>,
}

/// Numbers of jobs that ended in each of the last minutes, the oldest first; the last one is not over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MinuteRates {
    pub(crate) completed: Vec<u64>,
    pub(crate) failed: Vec<u64>,
    pub(crate) retried: Vec<u64>,
}

/// A page of jobs.
#[derive(Clone, Debug)]
pub(crate) struct JobsPart {
    pub(crate) jobs: Vec<JobSummary>,
    /// Whether there are more jobs in the direction of the request, or it is not known.
    pub(crate) next: Option<JobId>,
    pub(crate) searched_to: Option<JobId>,
    /// When the job was enqueued up to which the file was searched.
    pub(crate) searched_at: Option<Timestamp>,
}

/// One job in full.
#[derive(Debug)]
pub(crate) struct JobData {
    pub(crate) id: JobId,
    pub(crate) state: State,
    pub(crate) kind: String,
    pub(crate) why: (Look, String),
    pub(crate) hint: Option<String>,
    pub(crate) facts: Vec<(String, Cell)>,
    pub(crate) attempts: Vec<Vec<Cell>>,
    /// What happened to it, oldest first.
    pub(crate) history: Vec<Event>,
    /// How long it was in each state.
    pub(crate) spans: Vec<(State, std::time::Duration)>,
    /// Its output after the event of the request, and where it goes on.
    pub(crate) pieces: Vec<Piece>,
    pub(crate) pieces_next: EventId,
    pub(crate) pieces_at_end: bool,
}
