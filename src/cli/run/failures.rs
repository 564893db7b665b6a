//! Says which jobs of this runner fail, while it runs.

use std::thread::{self, JoinHandle};

use jobq::{Error, Event, EventFilter, EventKind, FailureWatch, Queue, Runner, RunnerId};

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
    filter: EventFilter,
}

/// Reads on in a thread of its own.
pub(super) struct Following(Option<JoinHandle<()>>);

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
            filter: EventFilter {
                since: queue.last_event()?,
                kinds: vec![EventKind::Failed, EventKind::Retry],
                ..EventFilter::default()
            },
            queue: queue.clone(),
            screen: session.screen.clone(),
        })))
    }

    /// Tells of this runner's from here on.
    pub(super) fn follow(self, runner: &Runner) -> jobq::Result<Following> {
        let Some(reader) = self.0 else {
            return Ok(Following(None));
        };
        let (id, failures) = (runner.id(), runner.failures());
        let thread = thread::Builder::new()
            .name("jobq-failures".to_owned())
            .spawn(move || {
                // The runner itself says that its file was replaced.
                if let Err(error) = reader.read(id, failures)
                    && !error.is_replaced()
                {
                    log::warn!("failures are no longer told: {error}");
                }
            })
            .map_err(|error| Error::no_thread("failures", error))?;
        Ok(Following(Some(thread)))
    }
}

impl Following {
    /// Once the runner has ended: tells what has not been told yet.
    pub(super) fn end(self) {
        if let Some(thread) = self.0 {
            // It has only said what there was to say.
            let _ = thread.join();
        }
    }
}

impl Reader {
    fn read(mut self, runner: RunnerId, mut failures: FailureWatch) -> jobq::Result<()> {
        let mut goes_on = true;
        while goes_on {
            goes_on = failures.wait();
            loop {
                let page = self.queue.events(&self.filter)?;
                self.filter.since = page.next;
                let own = page.events.iter();
                let own: Vec<_> = own.filter(|event| event.runner == Some(runner)).collect();
                self.tell(&own)?;
                if page.at_end {
                    break;
                }
            }
        }
        Ok(())
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
