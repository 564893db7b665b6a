//! What keys do.

use jobq::api::text::shell_word;
use jobq::{BulkAction, Filter, JobId, QueueSelector, State};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::cli::exit::Exit;
use crate::cli::render::style::Look;
use crate::cli::top::action::{ChangeReport, FileChange, id_words};
use crate::cli::top::app::{App, Effect, TABS, TabName};
use crate::cli::top::cursor::{ScrollStep, scrolled};
use crate::cli::top::data::ReadRequest;
use crate::cli::top::job_view::{JobSight, JobView};
use crate::cli::top::keys::{KEYS, KeyCommand, command_of};
use crate::cli::top::overlay::{LineEdit, Overlay, PaletteEntry, TypedLine, palette_entries};
use crate::cli::top::rows::{self, RowTarget};
use crate::cli::top::search;

impl App {
    pub(crate) fn key(&mut self, key: KeyEvent, effects: &mut Vec<Effect>) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return effects.push(Effect::Quit(Exit::Interrupted)),
                KeyCode::Char('z') => return effects.push(Effect::Suspend),
                _ => {}
            }
        }
        match self.overlay.take() {
            Some(overlay) => self.key_over(overlay, key, effects),
            None => {
                if let Some(command) = command_of(key).filter(|command| self.can(*command)) {
                    self.run(command, effects);
                }
            }
        }
    }

    /// Whether a key does anything here and now.
    pub(crate) fn can(&self, command: KeyCommand) -> bool {
        use KeyCommand as Key;
        let is_in_list = self.job.is_none();
        let target = || self.target().filter(|_| is_in_list);
        match command {
            Key::Open => target().is_some_and(|target| target.opens()),
            Key::GoOn => is_in_list && self.go_on().is_some(),
            Key::Mark | Key::MarkAll => {
                is_in_list && self.tab == TabName::Jobs && !self.jobs.jobs.is_empty()
            }
            Key::Why | Key::Log | Key::Timeline | Key::Graph => self.chosen_jobs().len() == 1,
            Key::Follow => matches!(&self.job, Some(job) if job.sight == JobSight::Output),
            Key::Retry => self.may_change(State::is_final),
            Key::Remove => self.may_change(State::is_final),
            Key::Cancel => self.may_change(|state| !state.is_final()),
            Key::Pause => {
                let is_paused_so =
                    |target| matches!(target, RowTarget::Queue(_) | RowTarget::Schedule(_));
                self.is_writable() && target().is_some_and(is_paused_so)
            }
            Key::PauseAll | Key::Undo => self.is_writable(),
            Key::RunSchedule => {
                self.is_writable() && matches!(target(), Some(RowTarget::Schedule(_)))
            }
            _ => true,
        }
    }

    pub(crate) fn is_writable(&self) -> bool {
        !self.settings.is_read_only
    }

    pub(crate) fn run(&mut self, command: KeyCommand, effects: &mut Vec<Effect>) {
        use KeyCommand as Key;
        match command {
            Key::Up => self.step(ScrollStep::Up),
            Key::Down => self.step(ScrollStep::Down),
            Key::PageUp => self.step(ScrollStep::PageUp),
            Key::PageDown => self.step(ScrollStep::PageDown),
            Key::Start => self.step(ScrollStep::Start),
            Key::End => self.step(ScrollStep::End),
            Key::Open => self.open(),
            Key::Back => self.back(),
            Key::Tab(at) => self.show_tab(TABS[at.min(TABS.len() - 1)].0),
            Key::NextTab => self.show_tab(self.neighbour(1)),
            Key::PreviousTab => self.show_tab(self.neighbour(TABS.len() - 1)),
            Key::Search => {
                let typed = TypedLine::new(self.jobs.search.clone());
                self.overlay = Some(Overlay::Search(typed, None));
            }
            Key::GoOn => self.want_some(self.go_on()),
            Key::Mark => {
                self.jobs.toggle_mark();
                self.step(ScrollStep::Down);
            }
            Key::MarkAll => {
                self.jobs.marked.clear();
                self.jobs.all_marked = !self.jobs.all_marked;
            }
            Key::Why => self.want_some(self.chosen_jobs().first().map(|id| ReadRequest::Why(*id))),
            Key::Log => self.see(JobSight::Output),
            Key::Timeline => self.see(JobSight::History),
            Key::Graph => self.see(JobSight::Graph),
            Key::Follow => {
                let height = self.body_height();
                if let Some(job) = &mut self.job {
                    job.log.toggle_follow(height);
                }
            }
            Key::Retry => self.change_jobs(BulkAction::Retry, effects),
            Key::Cancel => self.change_jobs(BulkAction::Cancel, effects),
            Key::Remove => self.change_jobs(BulkAction::Remove, effects),
            Key::Pause => effects.extend(self.pause().map(Effect::Change)),
            Key::PauseAll => {
                let is_paused = self
                    .header
                    .as_ref()
                    .is_some_and(|header| header.all_paused.is_some());
                effects.push(Effect::Change(match is_paused {
                    true => FileChange::Resume(QueueSelector::All),
                    false => FileChange::Pause(QueueSelector::All),
                }));
            }
            Key::RunSchedule => {
                if let Some(RowTarget::Schedule(name)) = self.target() {
                    effects.push(Effect::Change(FileChange::RunSchedule(name)));
                }
            }
            Key::Undo => self.want(ReadRequest::Undoable),
            Key::Copy => self.copy(self.command(), effects),
            Key::Palette => self.overlay = Some(Overlay::Palette(TypedLine::default(), 0)),
            Key::Help => self.overlay = Some(Overlay::Help(0)),
            Key::Quit => effects.push(Effect::Quit(Exit::Done)),
        }
    }

    /// What is to be read for a search that is not complete.
    fn go_on(&self) -> Option<ReadRequest> {
        match self.tab {
            TabName::Jobs => self.jobs.go_on(),
            TabName::Errors => {
                let reached = self.errors.found.searched_to?;
                Some(ReadRequest::Errors(Some(reached)))
            }
            _ => None,
        }
    }

    fn want_some(&mut self, request: Option<ReadRequest>) {
        if let Some(request) = request {
            self.want(request);
        }
    }

    fn neighbour(&self, by: usize) -> TabName {
        let at = TABS.iter().position(|(tab, _)| *tab == self.tab);
        TABS[(at.unwrap_or_default() + by) % TABS.len()].0
    }

    fn step(&mut self, step: ScrollStep) {
        let height = self.body_height();
        if self.job.is_some() {
            let len = rows::job::page_lines(self).len();
            if let Some(job) = &mut self.job {
                job.step(step, len, height);
            }
            return;
        }
        let more = match self.tab {
            TabName::Jobs => self.jobs.step(step, height),
            tab => {
                let len = rows::targets(self).len();
                self.cursor_mut().step(step, len, height);
                let at = self.cursor().at;
                let older = self.events.older(at, height);
                older.filter(|_| tab == TabName::Events)
            }
        };
        let downward = matches!(
            step,
            ScrollStep::Down | ScrollStep::PageDown | ScrollStep::Start
        );
        self.leave_rows_without_target(downward);
        self.want_some(more);
    }

    fn open(&mut self) {
        match self.target() {
            Some(RowTarget::Job(id)) => self.open_job(id),
            Some(RowTarget::Queue(name)) => self.search_for(Filter {
                queues: vec![name],
                ..Filter::default()
            }),
            Some(RowTarget::Schedule(name)) => self.search_for(Filter {
                schedule: Some(name),
                ..Filter::default()
            }),
            Some(RowTarget::ErrorGroup(id)) => self.search_for(Filter {
                states: vec![State::Failed],
                error_group: Some(id),
                ..Filter::default()
            }),
            Some(RowTarget::Runner(_)) | None => {}
        }
    }

    fn open_job(&mut self, id: JobId) {
        let view = JobView::new(id);
        self.want(view.request(self.width));
        self.job = Some(view);
    }

    /// Out of what is open, or of a selection, or of a search.
    fn back(&mut self) {
        if let Some(job) = &mut self.job {
            if job.sight != JobSight::Page {
                job.sight = JobSight::Page;
                return self.want_some(self.view_request());
            }
            self.job = None;
            return self.want_some(self.view_request());
        }
        if self.tab != TabName::Jobs {
            return;
        }
        if self.has_marks() {
            self.jobs.marked.clear();
            self.jobs.all_marked = false;
        } else if !self.jobs.search.is_empty() {
            self.search(String::new());
        }
    }

    fn search_for(&mut self, filter: Filter) {
        self.search(filter.to_search());
    }

    /// Lists the jobs that a search finds. What is wrong with it is shown where it is typed.
    fn search(&mut self, text: String) {
        match search::filter(&text, self.now) {
            Ok(filter) => {
                self.jobs.search_for(text, filter);
                self.show_tab(TabName::Jobs);
            }
            Err(error) => {
                self.overlay = Some(Overlay::Search(TypedLine::new(text), Some(error)));
            }
        }
    }

    /// Opens the output or the history of the job, or the page again.
    fn see(&mut self, sight: JobSight) {
        if self.job.is_none()
            && let Some(id) = self.chosen_jobs().first()
        {
            self.open_job(*id);
        }
        let height = self.body_height();
        if let Some(job) = &mut self.job {
            job.sight = match job.sight == sight {
                true => JobSight::Page,
                false => sight,
            };
            if job.log.follows {
                job.log.step(ScrollStep::End, height);
            }
        }
        self.want_some(self.view_request());
    }

    /// The words of the command that shows the same.
    pub(crate) fn command(&self) -> String {
        if let Some(job) = &self.job {
            return match job.sight {
                JobSight::Page => format!("status {}", job.id),
                JobSight::Output => format!("logs -f {}", job.id),
                JobSight::History => format!("events --job {}", job.id),
                JobSight::Graph => format!("graph {}", job.id),
            };
        }
        match (self.tab, self.target()) {
            (TabName::Jobs, _) if !self.jobs.marked.is_empty() => {
                format!("status {}", id_words(&self.jobs.chosen()))
            }
            (TabName::Jobs, _) => search::list_command(&self.jobs.search),
            (TabName::Queues, Some(RowTarget::Queue(name))) => {
                format!("queue show {}", shell_word(&name))
            }
            (TabName::Queues, _) => "queue list".to_owned(),
            (TabName::Schedules, _) => "schedule list".to_owned(),
            (TabName::Errors, _) => "errors".to_owned(),
            (TabName::Events, _) => "events --follow".to_owned(),
            (TabName::Overview | TabName::Runners, _) => "status --watch".to_owned(),
        }
    }

    fn copy(&mut self, words: String, effects: &mut Vec<Effect>) {
        let command = format!("{} {words}", self.settings.command);
        self.say(ChangeReport {
            look: Look::Hint,
            text: command.clone(),
        });
        effects.push(Effect::Copy(command));
    }

    fn key_over(&mut self, overlay: Overlay, key: KeyEvent, effects: &mut Vec<Effect>) {
        match overlay {
            Overlay::Help(first) => self.key_in_help(first, key),
            Overlay::Text { .. } => {}
            Overlay::Search(line, _) => match (key.code, edit_of(key)) {
                (KeyCode::Esc, _) => {}
                (KeyCode::Enter, _) => self.search(line.text.trim().to_owned()),
                (_, edit) => self.overlay = Some(Overlay::Search(edited(line, edit), None)),
            },
            Overlay::Palette(line, at) => self.key_in_palette(line, at, (key, effects)),
            Overlay::Confirm(question) => match key.code {
                KeyCode::Char('y') => effects.push(Effect::Change(question.change)),
                KeyCode::Char('c') => {
                    self.copy(question.change.command(), effects);
                    self.overlay = Some(Overlay::Confirm(question));
                }
                KeyCode::Char('n' | 'q') | KeyCode::Esc => {}
                // A key by mistake changes nothing, and does not take the question away.
                _ => self.overlay = Some(Overlay::Confirm(question)),
            },
        }
    }

    fn key_in_help(&mut self, first: usize, key: KeyEvent) {
        let step = match command_of(key) {
            Some(KeyCommand::Up) => ScrollStep::Up,
            Some(KeyCommand::Down) => ScrollStep::Down,
            Some(KeyCommand::PageUp) => ScrollStep::PageUp,
            Some(KeyCommand::PageDown) => ScrollStep::PageDown,
            _ => return,
        };
        let first = scrolled(first, step, KEYS.len(), self.body_height());
        self.overlay = Some(Overlay::Help(first));
    }

    fn key_in_palette(
        &mut self,
        line: TypedLine,
        at: usize,
        (key, effects): (KeyEvent, &mut Vec<Effect>),
    ) {
        let entries = palette_entries(&line.text, &|binding| self.can(binding.command));
        let last = entries.len().saturating_sub(1);
        match key.code {
            KeyCode::Esc => {}
            KeyCode::Down => self.overlay = Some(Overlay::Palette(line, (at + 1).min(last))),
            KeyCode::Up => self.overlay = Some(Overlay::Palette(line, at.saturating_sub(1))),
            KeyCode::Enter => match entries.get(at.min(last)) {
                Some(PaletteEntry::Key(binding)) => self.run(binding.command, effects),
                Some(PaletteEntry::OpenJob(id)) => self.open_job(*id),
                None => self.overlay = Some(Overlay::Palette(line, 0)),
            },
            _ => self.overlay = Some(Overlay::Palette(edited(line, edit_of(key)), 0)),
        }
    }
}

fn edited(mut line: TypedLine, edit: Option<LineEdit>) -> TypedLine {
    if let Some(edit) = edit {
        line.edit(edit);
    }
    line
}

fn edit_of(key: KeyEvent) -> Option<LineEdit> {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('u') if is_control => LineEdit::DeleteToStart,
        KeyCode::Char('w') if is_control => LineEdit::DeleteWord,
        KeyCode::Char('a') if is_control => LineEdit::Start,
        KeyCode::Char('e') if is_control => LineEdit::End,
        KeyCode::Char(_) if is_control => return None,
        KeyCode::Char(char) => LineEdit::Insert(char),
        KeyCode::Backspace => LineEdit::Backspace,
        KeyCode::Delete => LineEdit::Delete,
        KeyCode::Left => LineEdit::Left,
        KeyCode::Right => LineEdit::Right,
        KeyCode::Home => LineEdit::Start,
        KeyCode::End => LineEdit::End,
        _ => return None,
    })
}
