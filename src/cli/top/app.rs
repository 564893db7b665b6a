//! The state of `jobq top`: keys, data and time come in as messages, and what is to be done comes out as effects. It
//! reads no file, no clock and no terminal.

use std::time::Duration;

use jiff::Timestamp;
use jobq::{ErrorGroups, Event, EventId, JobSummary, RunnerRecord, ScheduleRecord};
use ratatui::crossterm::event::KeyEvent;

use crate::cli::exit::Exit;
use crate::cli::top::action::{ChangeReport, FileChange};
use crate::cli::top::cursor::ListCursor;
use crate::cli::top::data::{HeaderData, OverviewData, QueueLine, ReadAnswer, ReadRequest};
use crate::cli::top::job_view::JobView;
use crate::cli::top::jobs_tab::JobsTab;
use crate::cli::top::overlay::Overlay;
use crate::cli::top::rows::{self, RowTarget};
use crate::cli::top::theme::Theme;

/// Data that changes is read anew at most so often, and at most a fortieth of the time is spent on it.
const REST: Duration = Duration::from_millis(250);
const REST_FACTOR: u32 = 39;

/// Without a change what is seen is drawn anew after so long, as times go on, and read anew: a runner that is killed writes
/// nothing. At most a thousandth of the time is spent on that.
const TICK: Duration = Duration::from_secs(10);
const IDLE_FACTOR: u32 = 1000;

/// A message is shown for so long.
const SAID_FOR: Duration = Duration::from_secs(8);

/// What the state learns.
#[derive(Debug)]
pub(crate) enum Msg {
    /// What time it is.
    Time(Timestamp),
    Key(KeyEvent),
    Resize(u16, u16),
    /// The file has changed.
    FileChanged,
    Loaded(Box<LoadedView>),
    Changed(ChangeReport),
    /// Something went wrong elsewhere.
    Trouble(String),
}

/// What was read.
#[derive(Debug)]
pub(crate) struct LoadedView {
    pub(crate) request: ReadRequest,
    pub(crate) answer: Result<(HeaderData, ReadAnswer), String>,
    pub(crate) took: Duration,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    Read(ReadRequest),
    Change(FileChange),
    Copy(String),
    Suspend,
    Quit(Exit),
}

/// The tabs, in the order of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TabName {
    Overview,
    Jobs,
    Queues,
    Runners,
    Schedules,
    Errors,
    Events,
}

pub(crate) const TABS: [(TabName, &str); 7] = [
    (TabName::Overview, "overview"),
    (TabName::Jobs, "jobs"),
    (TabName::Queues, "queues"),
    (TabName::Runners, "runners"),
    (TabName::Schedules, "schedules"),
    (TabName::Errors, "errors"),
    (TabName::Events, "events"),
];

/// What is fixed for a session.
#[derive(Clone, Debug)]
pub(crate) struct AppSettings {
    pub(crate) theme: Theme,
    /// The name of the file.
    pub(crate) title: String,
    /// The beginning of a command for this file: `jobq --db jobs.db`.
    pub(crate) command: String,
    pub(crate) is_read_only: bool,
}

/// Everything that is shown.
pub(crate) struct App {
    pub(crate) settings: AppSettings,
    pub(crate) now: Timestamp,
    pub(crate) width: u16,
    pub(crate) height: u16,
    pub(crate) header: Option<HeaderData>,
    pub(crate) tab: TabName,
    pub(crate) overview: Option<Box<OverviewData>>,
    pub(crate) jobs: JobsTab,
    pub(crate) queues: Option<Vec<QueueLine>>,
    pub(crate) runners: Option<(Vec<RunnerRecord>, Vec<JobSummary>)>,
    pub(crate) schedules: Option<Vec<ScheduleRecord>>,
    pub(crate) errors: ErrorsTab,
    pub(crate) events: EventsTab,
    /// The places in the tabs other than that of the jobs.
    cursors: [ListCursor; TABS.len()],
    /// The job that is open over the tabs.
    pub(crate) job: Option<JobView>,
    pub(crate) overlay: Option<Overlay>,
    /// The search whose preview is being read.
    pub(crate) preview_for: Option<String>,
    /// The last message, and since when it is shown.
    said: Option<(Timestamp, ChangeReport)>,
    /// The error of the last read, until one succeeds.
    pub(crate) trouble: Option<String>,
    reading: Reading,
}

/// The group whose jobs failed last comes first.
#[derive(Debug, Default)]
pub(crate) struct ErrorsTab {
    pub(crate) found: ErrorGroups,
    pub(crate) is_loaded: bool,
}

/// The newest events first.
#[derive(Debug, Default)]
pub(crate) struct EventsTab {
    pub(crate) events: Vec<Event>,
    /// Before which event the history goes on.
    pub(crate) next: Option<EventId>,
    pub(crate) is_loaded: bool,
}

/// What is being read and what will be. One read at a time.
#[derive(Debug)]
struct Reading {
    in_flight: Option<ReadRequest>,
    /// What a key has asked for.
    wanted: Option<ReadRequest>,
    /// Whether the file has changed since the last read began.
    is_stale: bool,
    /// A change is read no earlier.
    not_before: Timestamp,
    /// Then what is seen counts as stale.
    stale_at: Timestamp,
}

impl App {
    pub(crate) fn new(settings: AppSettings, now: Timestamp, (width, height): (u16, u16)) -> App {
        App {
            settings,
            now,
            width,
            height,
            header: None,
            tab: TabName::Overview,
            overview: None,
            jobs: JobsTab::default(),
            queues: None,
            runners: None,
            schedules: None,
            errors: ErrorsTab::default(),
            events: EventsTab::default(),
            cursors: [ListCursor::default(); TABS.len()],
            job: None,
            overlay: None,
            preview_for: None,
            said: None,
            trouble: None,
            reading: Reading {
                in_flight: None,
                wanted: Some(ReadRequest::Overview),
                is_stale: false,
                not_before: now,
                stale_at: now + TICK,
            },
        }
    }

    /// Takes in a message; what is to be done for it.
    pub(crate) fn update(&mut self, msg: Msg) -> Vec<Effect> {
        let mut effects = Vec::new();
        match msg {
            Msg::Time(now) => self.now = now,
            Msg::Key(key) => self.key(key, &mut effects),
            Msg::Resize(width, height) => {
                (self.width, self.height) = (width, height);
                self.keep_within();
            }
            Msg::FileChanged => self.reading.is_stale = true,
            Msg::Loaded(loaded) => self.loaded(*loaded),
            Msg::Changed(report) => self.say(report),
            Msg::Trouble(text) => self.trouble = Some(text),
        }
        effects.extend(self.next_read().map(Effect::Read));
        effects
    }

    /// How long nothing happens if no message comes.
    pub(crate) fn idle_time(&self) -> Duration {
        let mut next = self.reading.stale_at;
        if self.reading.is_stale && self.reading.in_flight.is_none() {
            next = next.min(self.reading.not_before);
        }
        if let Some((since, _)) = self.said.as_ref().filter(|_| self.said().is_some()) {
            next = next.min(*since + SAID_FOR);
        }
        let idle = Duration::try_from(next.duration_since(self.now)).unwrap_or_default();
        idle.min(TICK)
    }

    /// Shows a message for a while.
    pub(crate) fn say(&mut self, report: ChangeReport) {
        self.said = Some((self.now, report));
    }

    /// The message that is shown now.
    pub(crate) fn said(&self) -> Option<&ChangeReport> {
        let (since, report) = self.said.as_ref()?;
        (self.now < *since + SAID_FOR).then_some(report)
    }

    /// A key asks for this; it is read before anything else.
    pub(crate) fn want(&mut self, request: ReadRequest) {
        self.reading.wanted = Some(request);
    }

    /// Whether something that a key has asked for is on its way.
    pub(crate) fn is_waiting(&self) -> bool {
        self.reading.wanted.is_some()
    }

    fn next_read(&mut self) -> Option<ReadRequest> {
        if self.now >= self.reading.stale_at {
            self.reading.is_stale = true;
            self.reading.stale_at = self.now + TICK;
        }
        if self.reading.in_flight.is_some() {
            return None;
        }
        let request = match self.reading.wanted.take() {
            Some(request) => request,
            None if self.reading.is_stale && self.now >= self.reading.not_before => {
                self.reading.is_stale = false;
                self.view_request()?
            }
            None => return None,
        };
        self.reading.in_flight = Some(request.clone());
        Some(request)
    }

    /// What has to be read for what is seen.
    pub(crate) fn view_request(&self) -> Option<ReadRequest> {
        if let Some(job) = &self.job {
            return Some(job.request(self.width));
        }
        match self.tab {
            TabName::Overview => Some(ReadRequest::Overview),
            TabName::Jobs => self.jobs.refresh(self.body_height()),
            TabName::Queues => Some(ReadRequest::Queues),
            TabName::Runners => Some(ReadRequest::Runners),
            TabName::Schedules => Some(ReadRequest::Schedules),
            // A search that is not complete would be done all over again.
            TabName::Errors => self
                .errors
                .found
                .is_complete()
                .then_some(ReadRequest::Errors(None)),
            // The past does not change.
            TabName::Events => {
                let is_at_start = self.cursor().at == 0 || !self.events.is_loaded;
                is_at_start.then_some(ReadRequest::Events(None))
            }
        }
    }

    fn loaded(&mut self, loaded: LoadedView) {
        self.reading.in_flight = None;
        let rest = (loaded.took * REST_FACTOR).max(REST);
        self.reading.not_before = self.now + rest;
        self.reading.stale_at = self.now + TICK.max(loaded.took * IDLE_FACTOR);
        match loaded.answer {
            Ok((header, answer)) => {
                self.trouble = None;
                self.header = Some(header);
                self.take(&loaded.request, answer);
                self.keep_within();
            }
            Err(error) => self.trouble = Some(error),
        }
    }

    fn take(&mut self, request: &ReadRequest, answer: ReadAnswer) {
        let height = self.body_height();
        match answer {
            ReadAnswer::Overview(data) => self.overview = Some(data),
            ReadAnswer::Jobs(part) => {
                if let ReadRequest::Jobs(of) = request {
                    self.jobs.take(of, part, height);
                }
            }
            ReadAnswer::Queues(queues) => self.queues = Some(queues),
            ReadAnswer::Runners(runners, running) => self.runners = Some((runners, running)),
            ReadAnswer::Schedules(schedules) => self.schedules = Some(schedules),
            ReadAnswer::Events(events, next) => self.events.take(request, events, next),
            ReadAnswer::Job(data) => {
                let Some(view) = self.job.as_mut().filter(|view| view.id == data.id) else {
                    return;
                };
                if let Some(more) = view.take(*data, height) {
                    self.reading.wanted.get_or_insert(more);
                }
            }
            ReadAnswer::Graph(id, lines) => {
                if let Some(view) = self.job.as_mut().filter(|view| view.id == id) {
                    view.graph = Some(lines);
                    // The line above it tells the job's state.
                    let rest = view.rest();
                    self.reading.wanted.get_or_insert(rest);
                }
            }
            ReadAnswer::NoJob(id) => {
                if let Some(view) = self.job.as_mut().filter(|view| view.id == id) {
                    view.is_gone = true;
                }
            }
            ReadAnswer::Errors(found) => {
                self.errors.is_loaded = true;
                match request {
                    ReadRequest::Errors(Some(_)) => self.errors.found.add(found),
                    _ => self.errors.found = found,
                }
            }
            ReadAnswer::Preview(preview) => self.take_preview(request, *preview),
            ReadAnswer::Undoable(change) => self.ask_undo(change),
            ReadAnswer::Why(lines) => {
                if let ReadRequest::Why(id) = request {
                    self.overlay =
                        Some(Overlay::text(format!("why job {id} is not running"), lines));
                }
            }
        }
    }

    /// The number of rows between the tabs and the line at the bottom, without the head of a table.
    pub(crate) fn body_height(&self) -> usize {
        usize::from(self.height).saturating_sub(4).max(1)
    }

    pub(crate) fn cursor(&self) -> ListCursor {
        match self.tab {
            TabName::Jobs => self.jobs.cursor,
            tab => self.cursors[tab as usize],
        }
    }

    pub(crate) fn cursor_mut(&mut self) -> &mut ListCursor {
        match self.tab {
            TabName::Jobs => &mut self.jobs.cursor,
            tab => &mut self.cursors[tab as usize],
        }
    }

    /// What the row at the cursor is about.
    pub(crate) fn target(&self) -> Option<RowTarget> {
        rows::targets(self).into_iter().nth(self.cursor().at)?
    }

    fn keep_within(&mut self) {
        let (len, height) = (rows::targets(self).len(), self.body_height());
        self.cursor_mut().keep_within(len, height);
        self.leave_rows_without_target(true);
    }

    /// Headings and notes are passed over.
    pub(crate) fn leave_rows_without_target(&mut self, downward: bool) {
        let targets = rows::targets(self);
        let (at, height) = (self.cursor().at, self.body_height());
        let is_target = |at: &usize| targets[*at].is_some();
        let below = (at..targets.len()).find(is_target);
        let above = (0..at.min(targets.len())).rev().find(is_target);
        let to = match downward {
            true => below.or(above),
            false => (at < targets.len() && is_target(&at))
                .then_some(at)
                .or(above)
                .or(below),
        };
        if let Some(to) = to {
            let cursor = self.cursor_mut();
            cursor.at = to;
            cursor.keep_within(targets.len(), height);
            // The headings above the first row are seen with it.
            if above.is_none() && to < height {
                cursor.first = 0;
            }
        }
    }

    /// Goes to a tab, and reads it.
    pub(crate) fn show_tab(&mut self, tab: TabName) {
        self.job = None;
        self.tab = tab;
        if let Some(request) = self.view_request() {
            self.want(request);
        }
    }
}

impl EventsTab {
    fn take(&mut self, request: &ReadRequest, mut events: Vec<Event>, next: Option<EventId>) {
        match request {
            ReadRequest::Events(Some(before)) if self.next == Some(*before) => {
                self.events.append(&mut events);
            }
            ReadRequest::Events(Some(_)) => return,
            _ => self.events = events,
        }
        self.next = next;
        self.is_loaded = true;
    }

    /// What is to be read where the cursor comes near the end.
    pub(crate) fn older(&self, at: usize, height: usize) -> Option<ReadRequest> {
        let is_near = at + 2 * height >= self.events.len();
        let next = self.next.filter(|_| is_near)?;
        Some(ReadRequest::Events(Some(next)))
    }
}
