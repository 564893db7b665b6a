//! Says which jobs of this runner fail, while it runs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jobq::{Changes, Event, EventFilter, EventKind, Queue};

use crate::cli::exit::CliResult;
use crate::cli::output::text;
use crate::cli::screen::{Screen, Talk};
use crate::cli::session::Session;
use crate::cli::{what, wording};

/// Reads the history from where it was before the runner started.
pub(super) struct Failures(Option<Reader>);

struct Reader {
    queue: Queue,
    screen: Screen,
    changes: Changes,
    filter: EventFilter,
}

/// Reads on in a thread of its own.
pub(super) struct Following(Option<(JoinHandle<()>, Arc<AtomicBool>)>);

/// The runner's last event ends the reading; where it wrote none, it ends after this.
const LOOK: Duration = Duration::from_secs(1);

/// So many failures are told a look; of more only their number.
const MAX_LINES: usize = 20;

/// A command is shown so far.
const MAX_TASK_CHARS: usize = 60;

impl Failures {
    /// Of what happens after this call. Nothing where nobody wants to know.
    pub(super) fn since_now(queue: &Queue, session: &Session) -> CliResult<Failures> {
        if session.screen.talk() == Talk::Quiet {
            return Ok(Failures(None));
        }
        Ok(Failures(Some(Reader {
            changes: queue.changes()?,
            filter: EventFilter {
                since: queue.last_event()?,
                kinds: vec![
                    EventKind::Failed,
                    EventKind::Retry,
                    EventKind::RunnerStopped,
                ],
                ..EventFilter::default()
            },
            queue: queue.clone(),
            screen: session.screen.clone(),
        })))
    }

    /// Tells of this runner's from here on.
    pub(super) fn follow(self, runner: i64) -> io::Result<Following> {
        let Some(reader) = self.0 else {
            return Ok(Following(None));
        };
        let ended = Arc::new(AtomicBool::new(false));
        let has_ended = Arc::clone(&ended);
        let thread = thread::Builder::new()
            .name("jobq-failures".to_owned())
            .spawn(move || {
                // The runner itself says that its file was replaced.
                if let Err(error) = reader.read(runner, &has_ended)
                    && !error.is_replaced()
                {
                    log::warn!("failures are no longer told: {error}");
                }
            })?;
        Ok(Following(Some((thread, ended))))
    }
}

impl Following {
    /// Once the runner has ended: tells what has not been told yet.
    pub(super) fn end(self) {
        if let Some((thread, ended)) = self.0 {
            ended.store(true, Ordering::SeqCst);
            // It has only said what there was to say.
            let _ = thread.join();
        }
    }
}

impl Reader {
    fn read(mut self, runner: i64, has_ended: &AtomicBool) -> jobq::Result<()> {
        loop {
            let is_last = has_ended.load(Ordering::SeqCst);
            loop {
                let page = self.queue.events(&self.filter)?;
                self.filter.since = page.next;
                let own = page
                    .events
                    .iter()
                    .filter(|event| event.runner == Some(runner));
                let (stops, failures): (Vec<_>, Vec<_>) =
                    own.partition(|event| event.kind == EventKind::RunnerStopped);
                self.tell(&failures)?;
                if !stops.is_empty() {
                    return Ok(());
                }
                if page.at_end {
                    break;
                }
            }
            if is_last {
                return Ok(());
            }
            self.changes.wait(LOOK)?;
        }
    }

    fn tell(&self, failures: &[&Event]) -> jobq::Result<()> {
        for event in failures.iter().take(MAX_LINES) {
            self.screen.say(self.line(event)?);
        }
        let rest = failures.len().saturating_sub(MAX_LINES);
        if rest > 0 {
            let attempts = text::count(rest as u64, "more attempt");
            self.screen.say(format_args!(
                "{attempts} failed: jobq events --kind job_failed --kind job_retry"
            ));
        }
        Ok(())
    }

    /// `job 7 failed after 3s: exit code 3: No such file (sh -c …)`.
    fn line(&self, event: &Event) -> jobq::Result<String> {
        let sentence = wording::sentence(event);
        let sentence = text::for_terminal(&sentence).into_owned();
        let Some(id) = event.job else {
            return Ok(sentence);
        };
        Ok(match self.queue.get(id)? {
            Some(job) => format!("job {id} {sentence} ({})", shorten(&what::task(&job))),
            None => format!("job {id} {sentence}"),
        })
    }
}

fn shorten(task: &str) -> String {
    let task = text::for_terminal(task);
    match task.char_indices().nth(MAX_TASK_CHARS) {
        Some((end, _)) => format!("{}…", &task[..end]),
        None => task.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_command_is_cut_between_letters() {
        assert_eq!(shorten("ls\n-l"), "ls -l");
        let long = "ü".repeat(100);
        assert_eq!(shorten(&long), format!("{}…", "ü".repeat(60)));
    }
}
