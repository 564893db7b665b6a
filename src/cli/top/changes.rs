//! Changes that keys ask for: which jobs they are about, and what is asked first.

use jobq::api::event::sentence;
use jobq::api::text::count;
use jobq::api::time::relative;
use jobq::{BulkAction, BulkPreview, Event, Filter, JobId, QueueSelector, State};

use crate::cli::render::style::Look;
use crate::cli::top::action::{ChangeReport, FileChange};
use crate::cli::top::app::{App, Effect, TabName};
use crate::cli::top::data::ReadRequest;
use crate::cli::top::draw::thousands;
use crate::cli::top::overlay::{Overlay, Question};
use crate::cli::top::rows::RowTarget;

/// What a key acts on.
enum ChosenJobs {
    Ids(Vec<JobId>),
    /// All that match, and the search that says so.
    Matching(Box<Filter>, String),
}

impl App {
    /// Whether there are jobs that a key would change: one whose state allows it, or several.
    pub(crate) fn may_change(&self, allows: impl Fn(State) -> bool) -> bool {
        let state = match self.chosen() {
            // Those of a group of errors have failed.
            ChosenJobs::Matching(filter, _) => match filter.states[..] {
                [state] => Some(state),
                _ => None,
            },
            ChosenJobs::Ids(ids) => match &ids[..] {
                [] => return false,
                [id] => self.state_of(*id),
                _ => None,
            },
        };
        self.is_writable() && state.is_none_or(allows)
    }

    fn state_of(&self, id: JobId) -> Option<State> {
        if let Some(job) = &self.job {
            return job.data.as_ref().map(|data| data.state);
        }
        let in_list = self.jobs.jobs.iter().find(|job| job.id == id);
        in_list
            .filter(|_| self.tab == TabName::Jobs)
            .map(|job| job.state)
    }

    /// The jobs that a key acts on.
    pub(crate) fn chosen_jobs(&self) -> Vec<JobId> {
        match (&self.job, self.tab) {
            (Some(job), _) => vec![job.id],
            (None, TabName::Jobs) => self.jobs.chosen(),
            (None, _) => match self.target() {
                Some(RowTarget::Job(id)) => vec![id],
                _ => Vec::new(),
            },
        }
    }

    pub(crate) fn pause(&self) -> Option<FileChange> {
        match self.target()? {
            RowTarget::Queue(name) => {
                let queues = self.queues.iter().flatten();
                let on_overview = self.overview.iter().flat_map(|data| &data.queues);
                let mut all: Vec<_> = match self.tab {
                    TabName::Overview => on_overview.collect(),
                    _ => queues.collect(),
                };
                all.retain(|line| line.queue.name == name);
                let is_paused = all.first()?.queue.paused_at.is_some();
                let which = QueueSelector::Named(name);
                Some(match is_paused {
                    true => FileChange::Resume(which),
                    false => FileChange::Pause(which),
                })
            }
            RowTarget::Schedule(name) => {
                let mut schedules = self.schedules.iter().flatten();
                let schedule = schedules.find(|schedule| schedule.name == name)?;
                Some(match schedule.paused_at.is_some() {
                    true => FileChange::ResumeSchedule(name),
                    false => FileChange::PauseSchedule(name),
                })
            }
            RowTarget::Job(_) | RowTarget::Runner(_) | RowTarget::ErrorGroup(_) => None,
        }
    }

    /// Whether jobs are selected.
    pub(crate) fn has_marks(&self) -> bool {
        self.jobs.all_marked || !self.jobs.marked.is_empty()
    }

    fn chosen(&self) -> ChosenJobs {
        if self.job.is_none() && self.tab == TabName::Jobs && self.jobs.all_marked {
            let (filter, search) = (self.jobs.filter.clone(), self.jobs.search.clone());
            return ChosenJobs::Matching(Box::new(filter), search);
        }
        if let (None, Some(RowTarget::ErrorGroup(id))) = (&self.job, self.target()) {
            let group = Filter {
                states: vec![State::Failed],
                error_group: Some(id),
                ..Filter::default()
            };
            let search = group.to_search();
            return ChosenJobs::Matching(Box::new(group), search);
        }
        ChosenJobs::Ids(self.chosen_jobs())
    }

    /// Removing and cancelling ask first, and so does what changes several jobs. What is for all that match begins
    /// with a preview.
    pub(crate) fn change_jobs(&mut self, action: BulkAction, effects: &mut Vec<Effect>) {
        let ids = match self.chosen() {
            ChosenJobs::Ids(ids) => ids,
            ChosenJobs::Matching(filter, search) => {
                self.preview_for = Some(search);
                return self.want(ReadRequest::Preview(action, filter));
            }
        };
        let what = match &ids[..] {
            [id] => format!("job {id}"),
            ids => count(ids.len() as u64, "job"),
        };
        let asks = ids.len() > 1 || action != BulkAction::Retry;
        let change = FileChange::Jobs(action, ids);
        if !asks {
            return effects.push(Effect::Change(change));
        }
        self.overlay = Some(Overlay::Confirm(Question {
            text: format!("{action} {what}?"),
            notes: consequences(action),
            change,
            preview: None,
        }));
    }

    /// Asks about all that match, with what is counted so far; the count goes on while the question is there.
    pub(crate) fn take_preview(&mut self, request: &ReadRequest, found: BulkPreview) {
        let ReadRequest::Preview(action, filter) = request else {
            return;
        };
        let so_far = match self.overlay.take() {
            Some(Overlay::Confirm(question)) if filter.after.is_some() => question.preview,
            // The question was answered before the count had ended.
            other if filter.after.is_some() => return self.overlay = other,
            _ => None,
        };
        let Some(search) = self.preview_for.clone() else {
            return;
        };
        let preview = match so_far {
            Some(mut so_far) => {
                so_far.add(found);
                so_far
            }
            None => found,
        };
        if preview.jobs == 0 && preview.is_complete() {
            return self.say(ChangeReport {
                look: Look::Warn,
                text: format!("there is nothing to {action} among the jobs that match"),
            });
        }
        if !preview.is_complete() {
            let mut rest = filter.clone();
            rest.after = preview.searched_to;
            rest.as_of = Some(preview.as_of);
            self.want(ReadRequest::Preview(*action, rest));
        }
        let mut matching = filter.clone();
        (matching.after, matching.as_of) = (None, Some(preview.as_of));
        let jobs = match preview.jobs {
            1 => "1 job".to_owned(),
            jobs => format!("{} jobs", thousands(jobs)),
        };
        let more = if preview.is_complete() {
            ""
        } else {
            " or more, counting"
        };
        let mut notes = consequences(*action);
        notes.extend(
            preview
                .sample
                .iter()
                .take(3)
                .map(|job| format!("{} {} {}", job.id, job.state, job.kind)),
        );
        notes.extend((preview.sample.len() > 3).then(|| "…".to_owned()));
        self.overlay = Some(Overlay::Confirm(Question {
            text: format!("{action} {jobs}{more}?"),
            notes,
            change: FileChange::Matching(*action, matching, search),
            preview: Some(preview),
        }));
    }

    /// Asks about the latest change, which need not be one that was made here.
    pub(crate) fn ask_undo(&mut self, change: Option<Event>) {
        let Some(change) = change else {
            return self.say(ChangeReport {
                look: Look::Warn,
                text: "there is no change that can be undone".to_owned(),
            });
        };
        let subject = change
            .job
            .map(|job| format!("job {job} "))
            .unwrap_or_default();
        self.overlay = Some(Overlay::Confirm(Question {
            text: "undo the latest change?".to_owned(),
            notes: vec![
                format!("{subject}{}", sentence(&change)),
                relative(change.at, self.now),
            ],
            change: FileChange::Undo(change.id),
            preview: None,
        }));
    }
}

fn consequences(action: BulkAction) -> Vec<String> {
    match action {
        BulkAction::Cancel => vec!["Running attempts are asked to stop.".to_owned()],
        BulkAction::Remove => vec!["Their histories are removed, too.".to_owned()],
        _ => Vec::new(),
    }
}
