//! One job that is open: its page, its output, its history.

use jobq::JobId;

use crate::cli::top::cursor::{ScrollStep, scrolled};
use crate::cli::top::data::{JobData, ReadRequest};
use crate::cli::top::log_view::LogView;

/// What is seen of the job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum JobSight {
    #[default]
    Page,
    Output,
    History,
    /// The jobs around it.
    Graph,
}

/// A job that is open.
#[derive(Debug)]
pub(crate) struct JobView {
    pub(crate) id: JobId,
    pub(crate) data: Option<JobData>,
    pub(crate) log: LogView,
    pub(crate) sight: JobSight,
    /// The first lines that are seen of the page and of the history.
    pub(crate) page_first: usize,
    pub(crate) history_first: usize,
    pub(crate) graph_first: usize,
    /// The lines of the graph, once they are read.
    pub(crate) graph: Option<Vec<String>>,
    /// It was removed while it was open.
    pub(crate) is_gone: bool,
}

impl JobView {
    pub(crate) fn new(id: JobId) -> JobView {
        JobView {
            id,
            data: None,
            log: LogView::default(),
            sight: JobSight::default(),
            page_first: 0,
            history_first: 0,
            graph_first: 0,
            graph: None,
            is_gone: false,
        }
    }

    /// What has to be read for what is seen of it on a screen of this width.
    pub(crate) fn request(&self, width: u16) -> ReadRequest {
        match self.sight {
            JobSight::Graph => ReadRequest::Graph(self.id, width),
            _ => self.rest(),
        }
    }

    /// The job, and its output after what is there.
    pub(crate) fn rest(&self) -> ReadRequest {
        ReadRequest::Job(self.id, self.log.since)
    }

    /// Takes what was read; asks for the rest of a long output.
    pub(crate) fn take(&mut self, mut data: JobData, height: usize) -> Option<ReadRequest> {
        let pieces = std::mem::take(&mut data.pieces);
        self.log.add(pieces, data.pieces_next, height);
        let is_at_end = data.pieces_at_end;
        self.data = Some(data);
        (!is_at_end).then(|| self.rest())
    }

    /// Moves in what is seen; `len` is the number of lines of the page.
    pub(crate) fn step(&mut self, step: ScrollStep, len: usize, height: usize) {
        match self.sight {
            JobSight::Page => self.page_first = scrolled(self.page_first, step, len, height),
            JobSight::Output => self.log.step(step, height),
            JobSight::Graph => {
                let len = self.graph.as_ref().map_or(0, Vec::len);
                self.graph_first = scrolled(self.graph_first, step, len, height);
            }
            JobSight::History => {
                let len = self.data.as_ref().map_or(0, |data| data.history.len());
                self.history_first = scrolled(self.history_first, step, len, height);
            }
        }
    }
}
