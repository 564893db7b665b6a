//! The list of jobs: a part of it is in memory, and it is moved along as the reader goes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jobq::{Filter, JobId, JobSummary};

use crate::cli::top::cursor::{ListCursor, ScrollStep};
use crate::cli::top::data::{JobsPart, JobsRequest, PageRequest, ReadRequest};

/// Number of jobs of a page.
const PAGE: usize = 100;

/// Maximum number of jobs in memory, and how many are left when there are more.
const MOST: usize = 1000;
const KEPT: usize = 600;

/// The jobs that match a filter, the newest first.
#[derive(Debug, Default)]
pub(crate) struct JobsTab {
    pub(crate) filter: Filter,
    /// The filter as it was typed.
    pub(crate) search: String,
    pub(crate) jobs: Vec<JobSummary>,
    pub(crate) is_loaded: bool,
    /// Whether there may be newer jobs than the first.
    pub(crate) has_newer: bool,
    /// Whether there are older ones than the last.
    pub(crate) has_older: bool,
    /// How far a search has come that is not complete.
    pub(crate) searched_to: Option<(JobId, Option<Timestamp>)>,
    pub(crate) marked: BTreeSet<JobId>,
    /// Whether all that match are selected, also those that are not in memory.
    pub(crate) all_marked: bool,
    pub(crate) cursor: ListCursor,
}

impl JobsTab {
    pub(crate) fn search_for(&mut self, search: String, filter: Filter) {
        *self = JobsTab {
            search,
            filter,
            ..JobsTab::default()
        };
    }

    fn request(&self, page: PageRequest, limit: usize) -> ReadRequest {
        ReadRequest::Jobs(Box::new(JobsRequest {
            filter: self.filter.clone(),
            page,
            limit,
        }))
    }

    /// What is seen, as it is now; none where a search is not complete, as it would be done all over again. While the
    /// reader is at the start, new jobs appear there; elsewhere what is seen stays in its place.
    pub(crate) fn refresh(&self, height: usize) -> Option<ReadRequest> {
        if self.is_loaded && self.searched_to.is_some() {
            return None;
        }
        let is_at_start = !self.has_newer && self.cursor.at == 0 && self.marked.is_empty();
        let first = self.jobs.get(self.cursor.first).filter(|_| !is_at_start);
        Some(match first {
            Some(first) => self.request(PageRequest::From(first.id), height.max(1) * 2),
            None => self.request(PageRequest::Newest, PAGE),
        })
    }

    /// Moves, and says what has to be read for it.
    pub(crate) fn step(&mut self, step: ScrollStep, height: usize) -> Option<ReadRequest> {
        match step {
            ScrollStep::Start if self.has_newer => {
                return Some(self.request(PageRequest::Newest, PAGE));
            }
            ScrollStep::End if self.has_older => {
                return Some(self.request(PageRequest::Oldest, PAGE));
            }
            ScrollStep::Up | ScrollStep::PageUp if self.has_newer => {
                self.cursor.step(step, self.jobs.len(), height);
                let is_near = self.cursor.at < height;
                let first = self.jobs.first().filter(|_| is_near)?;
                return Some(self.request(PageRequest::Before(first.id), PAGE));
            }
            _ => self.cursor.step(step, self.jobs.len(), height),
        }
        let near_end = self.cursor.at + height >= self.jobs.len();
        match near_end && self.has_older && self.searched_to.is_none() {
            true => self.older(),
            false => None,
        }
    }

    fn older(&self) -> Option<ReadRequest> {
        let last = self.jobs.last()?;
        Some(self.request(PageRequest::After(last.id), PAGE))
    }

    /// The search goes on where the time was up.
    pub(crate) fn go_on(&self) -> Option<ReadRequest> {
        let (reached, _) = self.searched_to?;
        Some(self.request(PageRequest::After(reached), PAGE))
    }

    /// Takes what was read, unless another search has begun meanwhile.
    pub(crate) fn take(&mut self, request: &JobsRequest, part: JobsPart, height: usize) {
        if request.filter != self.filter {
            return;
        }
        self.is_loaded = true;
        let under_cursor = self.jobs.get(self.cursor.at).map(|job| job.id);
        match request.page {
            PageRequest::Newest => self.replace_start(part, under_cursor),
            PageRequest::From(_) => {
                self.has_newer = true;
                self.replace(part, under_cursor);
            }
            PageRequest::Oldest => {
                (self.has_newer, self.has_older) = (part.next.is_some(), false);
                self.searched_to = part.searched_to.map(|to| (to, part.searched_at));
                self.jobs = part.jobs;
                self.cursor.step(ScrollStep::End, self.jobs.len(), height);
            }
            PageRequest::After(_) => self.append(part),
            PageRequest::Before(_) => self.prepend(part),
        }
        self.cursor.keep_within(self.jobs.len(), height);
    }

    fn replace_start(&mut self, part: JobsPart, under_cursor: Option<JobId>) {
        let was_elsewhere = std::mem::take(&mut self.has_newer);
        self.replace(part, under_cursor.filter(|_| !was_elsewhere));
        if was_elsewhere {
            self.cursor = ListCursor::default();
        }
    }

    /// The cursor stays with its job where that is still in the list, else where it is on the screen.
    fn replace(&mut self, part: JobsPart, under_cursor: Option<JobId>) {
        let line = self.cursor.at - self.cursor.first;
        self.set_older(&part);
        self.jobs = part.jobs;
        let at = self
            .jobs
            .iter()
            .position(|job| Some(job.id) == under_cursor);
        match at.filter(|_| self.cursor.at > 0 || self.has_newer) {
            Some(at) => self.cursor.moved_to(at),
            None => self.cursor = ListCursor { at: line, first: 0 },
        }
    }

    fn set_older(&mut self, part: &JobsPart) {
        self.has_older = part.next.is_some();
        self.searched_to = part.searched_to.map(|to| (to, part.searched_at));
    }

    fn append(&mut self, part: JobsPart) {
        self.set_older(&part);
        let last = self.jobs.last().map(|job| job.id);
        let older = part.jobs.into_iter();
        self.jobs
            .extend(older.filter(|job| last.is_none_or(|last| job.id < last)));
        if self.jobs.len() > MOST {
            let extra = (self.jobs.len() - KEPT).min(self.cursor.first);
            self.jobs.drain(..extra);
            self.has_newer = self.has_newer || extra > 0;
            self.cursor.moved_to(self.cursor.at - extra);
        }
    }

    fn prepend(&mut self, part: JobsPart) {
        self.has_newer = part.next.is_some();
        let first = self.jobs.first().map(|job| job.id);
        let newer = part.jobs.into_iter();
        let mut all: Vec<_> = newer
            .filter(|job| first.is_none_or(|first| job.id > first))
            .collect();
        let added = all.len();
        all.append(&mut self.jobs);
        self.jobs = all;
        self.cursor.moved_to(self.cursor.at + added);
        if self.jobs.len() > MOST {
            let keep = KEPT.max(self.cursor.first + PAGE).min(self.jobs.len());
            self.has_older |= keep < self.jobs.len();
            self.jobs.truncate(keep);
        }
    }

    pub(crate) fn current(&self) -> Option<&JobSummary> {
        self.jobs.get(self.cursor.at)
    }

    /// Selects the job at the cursor, or no longer.
    pub(crate) fn toggle_mark(&mut self) {
        let Some(id) = self.current().map(|job| job.id) else {
            return;
        };
        self.all_marked = false;
        if !self.marked.remove(&id) {
            self.marked.insert(id);
        }
    }

    /// The selected jobs, or else the one at the cursor.
    pub(crate) fn chosen(&self) -> Vec<JobId> {
        match self.marked.is_empty() {
            true => self.current().map(|job| job.id).into_iter().collect(),
            false => self.marked.iter().copied().collect(),
        }
    }
}
