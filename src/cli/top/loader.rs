//! Reads what the screen asks for. No read holds the file for longer than a page takes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jobq::api::text::{bytes, shortened};
use jobq::api::why::explain;
use jobq::api::why::queue::VerdictText;
use jobq::{
    Event, EventFilter, EventId, EventKind, Filter, JobId, JobSummary, MetricSpan, Queue,
    QueueOptions, QueueRecord, RunnerFilter, RunnerRecord, Sort, State,
};

use crate::cli::clock::{instant, now};
use crate::cli::exit::{CliError, CliResult, Exit};
use crate::cli::history::{LineFilter, Piece};
use crate::cli::render::graph::{GraphPage, GraphText};
use crate::cli::render::job_page::InFull;
use crate::cli::render::style::Look;
use crate::cli::render::table::Cell;
use crate::cli::render::why::{look, verdict_text};
use crate::cli::render::{Format, Output};
use crate::cli::top::data::{
    HeaderData, JobData, JobsPart, JobsRequest, MinuteRates, OverviewData, PageRequest, QueueLine,
    ReadAnswer, ReadRequest,
};
use crate::cli::top::spans::time_in_states;

/// How long verdicts on queues are read for one screen: each costs a look at the kinds of the queue's pending jobs. Of
/// many queues the last have none.
const VERDICTS_BUDGET: Duration = Duration::from_millis(40);

/// Maximum number of running jobs whose progress is shown, and of failures on the overview.
const RUNNING: usize = 100;
const FAILURES: usize = 8;

/// Number of minutes of the rates.
pub(crate) const MINUTES: usize = 30;

/// Number of events of a page; fewer ids hold as many where a window of the history is all events.
const EVENTS: usize = 200;

/// Maximum number of entries of a job's history that are shown.
const HISTORY: usize = 1000;

/// How long one search lasts; it goes on with the next.
const SEARCH_BUDGET: Duration = Duration::from_millis(150);

/// Maximum length of a fact of a job that is shown.
const FACT_BYTES: usize = 8 * 1024;

/// How long one read of a job's output lasts; the rest is read by the next.
const OUTPUT_BUDGET: Duration = Duration::from_millis(80);

/// The file, opened anew where another one has taken its place.
pub(crate) struct LiveFile {
    queue: Mutex<Queue>,
    options: QueueOptions,
}

impl LiveFile {
    pub(crate) fn new(queue: Queue, options: QueueOptions) -> LiveFile {
        LiveFile {
            queue: Mutex::new(queue),
            options,
        }
    }

    pub(crate) fn queue(&self) -> Queue {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// After an error that says that the file was replaced, as `jobq restore` does.
    pub(crate) fn reopen(&self) -> jobq::Result<()> {
        let path = self.queue().path().to_owned();
        let queue = self.options.clone().mode(jobq::OpenMode::AsIs).open(path)?;
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = queue;
        Ok(())
    }

    /// What stands above every view, and what is asked for.
    pub(crate) fn read(&self, request: &ReadRequest) -> CliResult<(HeaderData, ReadAnswer)> {
        let answer = read(&self.queue(), request);
        match answer {
            Err(error) if error.is_replaced() => {
                self.reopen()?;
                read(&self.queue(), request).map_err(|error| error.0)
            }
            answer => answer.map_err(|error| error.0),
        }
    }
}

/// An error, and whether the file was replaced.
struct ReadError(CliError, bool);

impl ReadError {
    fn is_replaced(&self) -> bool {
        self.1
    }
}

impl From<jobq::Error> for ReadError {
    fn from(error: jobq::Error) -> ReadError {
        let is_replaced = error.is_replaced();
        ReadError(error.into(), is_replaced)
    }
}

impl From<CliError> for ReadError {
    fn from(error: CliError) -> ReadError {
        ReadError(error, false)
    }
}

fn read(queue: &Queue, request: &ReadRequest) -> Result<(HeaderData, ReadAnswer), ReadError> {
    let runners = queue.runners(RunnerFilter::Now)?;
    let header = HeaderData {
        counts: queue.counts()?,
        all_paused: queue.all_paused_since()?,
        living_runners: runners.iter().filter(|runner| runner.is_alive()).count(),
    };
    let answer = match request {
        ReadRequest::Overview => ReadAnswer::Overview(Box::new(overview(queue, runners)?)),
        ReadRequest::Jobs(of) => ReadAnswer::Jobs(jobs(queue, of)?),
        ReadRequest::Queues => ReadAnswer::Queues(queues(queue)?),
        ReadRequest::Runners => ReadAnswer::Runners(runners, running(queue)?),
        ReadRequest::Schedules => ReadAnswer::Schedules(queue.schedules()?),
        ReadRequest::Events(before) => {
            let (events, next) = events_before(queue, *before)?;
            ReadAnswer::Events(events, next)
        }
        ReadRequest::Job(id, since) => match job(queue, *id, *since) {
            Ok(job) => ReadAnswer::Job(Box::new(job)),
            Err(error) if error.0.exit() == Exit::NotFound => ReadAnswer::NoJob(*id),
            Err(error) => return Err(error),
        },
        ReadRequest::Graph(id, width) => match graph_lines(queue, *id, *width) {
            Ok(lines) => ReadAnswer::Graph(*id, lines),
            Err(error) if error.0.exit() == Exit::NotFound => ReadAnswer::NoJob(*id),
            Err(error) => return Err(error),
        },
        ReadRequest::Why(id) => ReadAnswer::Why(why(queue, *id)?),
        ReadRequest::Undoable => ReadAnswer::Undoable(queue.undoable(1)?.pop()),
        ReadRequest::Errors(after) => {
            let filter = Filter {
                after: *after,
                ..Filter::default()
            };
            ReadAnswer::Errors(queue.error_groups(&filter, SEARCH_BUDGET)?)
        }
        ReadRequest::Preview(action, filter) => {
            let preview = queue.preview(filter, *action, SEARCH_BUDGET)?;
            ReadAnswer::Preview(Box::new(preview))
        }
    };
    Ok((header, answer))
}

fn overview(queue: &Queue, runners: Vec<RunnerRecord>) -> jobq::Result<OverviewData> {
    let failed = Filter {
        states: vec![State::Failed],
        limit: Some(FAILURES),
        ..Filter::default()
    };
    Ok(OverviewData {
        queues: queues(queue)?,
        runners,
        running: running(queue)?,
        failures: queue.page(&failed)?.jobs,
        next_due: queue.next_due()?,
        rates: rates(queue, now())?,
    })
}

/// The jobs that run, with their progress.
fn running(queue: &Queue) -> jobq::Result<Vec<JobSummary>> {
    let filter = Filter {
        states: vec![State::Running],
        limit: Some(RUNNING),
        ..Filter::default()
    };
    Ok(queue.page(&filter)?.jobs)
}

/// The queues with the verdicts on those where jobs are pending.
fn queues(queue: &Queue) -> jobq::Result<Vec<QueueLine>> {
    let until = instant() + VERDICTS_BUDGET;
    let mut lines = Vec::new();
    for record in queue.queues()? {
        let mut verdict = Vec::new();
        if record.counts.get(State::Pending) > 0 && instant() < until {
            verdict = verdict_lines(queue, &record)?;
        }
        lines.push(QueueLine {
            queue: record,
            verdict,
        });
    }
    Ok(lines)
}

fn verdict_lines(queue: &Queue, record: &QueueRecord) -> jobq::Result<Vec<String>> {
    let verdict = match queue.why_queue(&record.name) {
        Ok(verdict) => verdict,
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let text = verdict_text(&VerdictText::new(&verdict, now()));
    // The first line is the numbers of its jobs, which stand in its row.
    Ok(text.lines().skip(1).map(str::to_owned).collect())
}

fn rates(queue: &Queue, now: Timestamp) -> jobq::Result<MinuteRates> {
    let minute = |at: Timestamp| at.as_second().div_euclid(60);
    let last = minute(now);
    let oldest = last + 1 - MINUTES as i64;
    let since = Timestamp::from_second(oldest * 60).unwrap_or(Timestamp::MIN);
    let mut rates = MinuteRates {
        completed: vec![0; MINUTES],
        failed: vec![0; MINUTES],
        retried: vec![0; MINUTES],
    };
    for metric in queue.metrics(MetricSpan::Minute, since..)? {
        let numbers = match metric.outcome {
            EventKind::Completed => &mut rates.completed,
            EventKind::Failed => &mut rates.failed,
            EventKind::Retry => &mut rates.retried,
            _ => continue,
        };
        let at = metric.at.map(|at| minute(at) - oldest);
        let at = at.and_then(|at| usize::try_from(at).ok());
        if let Some(number) = at.and_then(|at| numbers.get_mut(at)) {
            *number += metric.totals.attempts;
        }
    }
    Ok(rates)
}

fn jobs(queue: &Queue, of: &JobsRequest) -> jobq::Result<JobsPart> {
    let mut filter = Filter {
        limit: Some(of.limit),
        after: None,
        sort: Sort::Newest,
        ..of.filter.clone()
    };
    let page = match of.page {
        PageRequest::Newest => queue.page(&filter)?,
        PageRequest::After(job) => {
            filter.after = Some(job);
            queue.page(&filter)?
        }
        PageRequest::From(job) => {
            filter.after = Some(JobId(job.0.saturating_add(1)));
            queue.page(&filter)?
        }
        PageRequest::Before(job) => queue.page_before(&filter, job)?,
        PageRequest::Oldest => {
            filter.sort = Sort::Oldest;
            let mut page = queue.page(&filter)?;
            page.jobs.reverse();
            page
        }
    };
    let searched_at = match page.searched_to {
        Some(job) => created_at(queue, job)?,
        None => None,
    };
    Ok(JobsPart {
        jobs: page.jobs,
        next: page.next,
        searched_to: page.searched_to,
        searched_at,
    })
}

/// When the job was enqueued that a search has reached.
fn created_at(queue: &Queue, job: JobId) -> jobq::Result<Option<Timestamp>> {
    let next = Filter {
        after: Some(JobId(job.0.saturating_add(1))),
        limit: Some(1),
        ..Filter::default()
    };
    let page = queue.page(&next)?;
    Ok(page.jobs.first().map(|job| job.created_at))
}

/// The last events before one, newest first, and where to go on. The history is read forward only: windows of it are
/// read, each twice as long as the last, until there are enough.
fn events_before(
    queue: &Queue,
    before: Option<EventId>,
) -> jobq::Result<(Vec<Event>, Option<EventId>)> {
    const MOST_WINDOWS: usize = 12;
    let mut end = match before {
        Some(before) => before.0,
        None => queue.last_event()?.0 + 1,
    };
    let mut found: Vec<Event> = Vec::new();
    let mut length = 2 * EVENTS as i64;
    for _ in 0..MOST_WINDOWS {
        let start = (end - 1 - length).max(0);
        let mut window = events_between(queue, start, end)?;
        window.reverse();
        found.append(&mut window);
        end = start + 1;
        if found.len() >= EVENTS || start == 0 {
            break;
        }
        length *= 2;
    }
    Ok((found, (end > 1).then_some(EventId(end))))
}

/// The events after one and before another, oldest first.
fn events_between(queue: &Queue, after: i64, before: i64) -> jobq::Result<Vec<Event>> {
    let mut filter = EventFilter {
        since: EventId(after),
        ..EventFilter::default()
    };
    let mut found = Vec::new();
    loop {
        let page = queue.events(&filter)?;
        let is_past = page.next.0 >= before;
        let events = page.events.into_iter();
        found.extend(events.filter(|event| event.id.0 < before));
        if page.at_end || is_past {
            return Ok(found);
        }
        filter.since = page.next;
    }
}

fn job(queue: &Queue, id: JobId, since: EventId) -> Result<JobData, ReadError> {
    // The state first: what was written before the end is then sure to be read.
    let page = InFull::without_lines(queue, id)?;
    let now = now();
    let history = history(queue, id)?;
    let (pieces, pieces_next, pieces_at_end) = output_after(queue, id, since)?;
    let shown = for_screen(u16::MAX);
    let (job, why) = (page.job(), page.why());
    Ok(JobData {
        id,
        state: job.state,
        kind: job.kind.clone(),
        why: (look(why), why.message.clone()),
        hint: why.hint.clone(),
        facts: page.facts(&shown, now).into_iter().map(cut_fact).collect(),
        attempts: page.attempt_rows(now),
        spans: time_in_states(job, &history, now),
        history,
        pieces,
        pieces_next,
        pieces_at_end,
    })
}

/// Of a payload or a result of megabytes the beginning: the page is drawn anew with each change.
fn cut_fact((name, cell): (String, Cell)) -> (String, Cell) {
    let (text, look) = cell.shown();
    if text.len() <= FACT_BYTES {
        return (name, cell);
    }
    let cut = format!(
        "{} ({} in all)",
        shortened(text, FACT_BYTES),
        bytes(text.len() as u64)
    );
    (name, Cell::new(cut).look(look))
}

fn history(queue: &Queue, id: JobId) -> jobq::Result<Vec<Event>> {
    let filter = EventFilter {
        job: Some(id),
        limit: Some(HISTORY),
        ..EventFilter::default()
    };
    Ok(queue.events(&filter)?.events)
}

fn output_after(
    queue: &Queue,
    id: JobId,
    since: EventId,
) -> jobq::Result<(Vec<Piece>, EventId, bool)> {
    let until = instant() + OUTPUT_BUDGET;
    let mut filter = EventFilter {
        since,
        job: Some(id),
        kinds: LineFilter::default().kinds(),
        ..EventFilter::default()
    };
    let mut pieces = Vec::new();
    loop {
        let page = queue.events(&filter)?;
        filter.since = page.next;
        pieces.extend(page.events.iter().filter_map(Piece::of));
        if page.at_end || instant() >= until {
            return Ok((pieces, filter.since, page.at_end));
        }
    }
}

/// With colours: those that the screen has not are left out when the lines are drawn. What its locale does not have is
/// replaced there, too.
fn graph_lines(queue: &Queue, id: JobId, width: u16) -> Result<Vec<String>, ReadError> {
    let page = GraphPage::read(queue, id)?;
    let output = Output {
        color: true,
        ..for_screen(width)
    };
    let mut text = Vec::new();
    let written = GraphText::new(&page, &output, true).write(&mut text);
    written.map_err(CliError::from)?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().map(str::to_owned).collect())
}

fn for_screen(width: u16) -> Output {
    Output {
        format: Format::Table,
        color: false,
        quiet: false,
        width,
    }
}

fn why(queue: &Queue, id: JobId) -> Result<Vec<(Look, String)>, ReadError> {
    let told = explain(id, &queue.why(id)?, now());
    let mut lines = vec![(look(&told), told.message)];
    lines.extend(told.hint.map(|hint| (Look::Dim, hint)));
    Ok(lines)
}
