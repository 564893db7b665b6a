//! Messages of a runner: a bar while it runs, failed jobs, a summary at the end.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use jobq::api::event::sentence;
use jobq::api::job::task;
use jobq::api::json::json_fields;
use jobq::api::text::{count, shortened};
use jobq::api::time;
use jobq::{
    Batch, Error, Event, EventFilter, EventKind, FailureWatch, Queue, Remaining, RunReport,
    RunStats, Runner, RunnerId,
};

use crate::cli::clock;
use crate::cli::exit::CliResult;
use crate::cli::render::screen::{Screen, Talk};
use crate::cli::render::text::{self};
use crate::cli::session::Session;
use crate::cli::verbs::run::settings::RunArgs;

/// A bar for a batch or a drain on a terminal.
pub(super) struct Show {
    bar: Option<ProgressBar>,
    total: Total,
    counted_at: Option<Instant>,
    began: Instant,
}

/// What the bar runs to.
enum Total {
    /// The jobs of a batch; after them there is nothing to show, unless more is to be drained.
    Batch { jobs: u64, is_drain: bool },
    /// Whatever there is; more may come.
    All(Queue),
}

const BAR: &str = "{wide_bar} {pos}/{len} {msg} {elapsed}";

/// All jobs are counted anew at most this often.
const COUNT_EVERY: Duration = Duration::from_millis(200);

/// The bar is updated at least this often, as it shows the time.
const UPDATE_EVERY: Duration = Duration::from_secs(1);

impl Show {
    pub(super) fn new(
        args: &RunArgs,
        batch: Option<Batch>,
        queue: &Queue,
        session: &Session,
    ) -> CliResult<Show> {
        let total = match batch {
            Some(batch) => Total::Batch {
                jobs: queue.batch_progress(batch)?.unfinished,
                is_drain: args.drain,
            },
            None => Total::All(queue.clone()),
        };
        let is_asked = !args.output && (args.drain || batch.is_some());
        let is_live = session.screen.talk() == Talk::Live && is_asked;
        let length = match total {
            Total::Batch { jobs, .. } => jobs,
            Total::All(_) => 0,
        };
        Ok(Show {
            bar: is_live.then(|| session.screen.bar(length, BAR)),
            total,
            counted_at: None,
            began: clock::instant(),
        })
    }

    /// Whether there is anything to update.
    pub(super) fn is_live(&self) -> bool {
        self.bar.is_some()
    }

    /// The longest time until the next update, if there is one.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.is_live().then_some(UPDATE_EVERY)
    }

    pub(super) fn update(&mut self, stats: &RunStats) -> jobq::Result<()> {
        let Some(bar) = &self.bar else {
            return Ok(());
        };
        let done = stats.completed + stats.failed + stats.cancelled;
        let has_ended = match &self.total {
            Total::Batch { jobs, is_drain } => {
                bar.set_position(done.min(*jobs));
                done >= *jobs && !is_drain
            }
            Total::All(queue) => {
                let now = clock::instant();
                if self.counted_at.is_none_or(|at| now - at >= COUNT_EVERY) {
                    bar.set_length(done + queue.counts()?.live());
                    self.counted_at = Some(now);
                }
                bar.set_position(done);
                false
            }
        };
        let left = bar.length().unwrap_or_default().saturating_sub(done);
        let rest = time_left(done, left, self.began.elapsed());
        let parts = [Some(running(stats)).filter(|told| !told.is_empty()), rest];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        bar.set_message(parts.join(", "));
        if has_ended {
            self.end();
        }
        Ok(())
    }

    /// Takes the bar away.
    pub(super) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// `about 2m left`, once there is a rate to go by.
fn time_left(done: u64, left: u64, elapsed: Duration) -> Option<String> {
    const SURE_AFTER: Duration = Duration::from_secs(2);
    if done == 0 || left == 0 || elapsed < SURE_AFTER {
        return None;
    }
    let seconds = elapsed.as_secs_f64() * left as f64 / done as f64;
    let rest = Duration::try_from_secs_f64(seconds.ceil()).ok()?;
    Some(format!("about {} left", time::coarse(rest)))
}

fn running(stats: &RunStats) -> String {
    let parts = [
        (stats.running, "running"),
        (stats.failed, "failed"),
        (stats.cancelled, "cancelled"),
        (stats.retried, "retried"),
    ];
    some_of(&parts)
}

/// `2 failed, 3 retried`: what is not zero.
fn some_of(parts: &[(u64, &str)]) -> String {
    let parts: Vec<_> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    parts.join(", ")
}

json_fields! {
    /// The summary of a runner.
    pub(crate) RunSummary(ended: &'a RunReport, elapsed: Duration) {
        completed: ended.stats.completed,
        failed: ended.stats.failed,
        cancelled: ended.stats.cancelled,
        retried: ended.stats.retried,
        elapsed_ms: time::millis(*elapsed),
        left: ended.left.iter().map(LeftJson).collect::<Vec<_>>(),
    }
}

json_fields! {
    pub(crate) LeftJson(left: &'a Remaining) {
        jobs: left.jobs,
        why: left.why,
    }
}

impl RunSummary<'_> {
    /// To a person on stderr, to a program that wants JSON on stdout.
    pub(super) fn print(&self, session: &Session) -> CliResult<()> {
        session.screen.say(self.line());
        for left in &self.0.left {
            let jobs = count(left.jobs, "job");
            session
                .screen
                .say(format_args!("left: {jobs}: {}", left.why));
        }
        if session.output.is_json() {
            session.output.line(self, "")?;
        }
        Ok(())
    }

    fn line(&self) -> String {
        let stats = &self.0.stats;
        let rest = some_of(&[
            (stats.failed, "failed"),
            (stats.cancelled, "cancelled"),
            (stats.retried, "retried"),
        ]);
        let comma = if rest.is_empty() { "" } else { ", " };
        let took = time::duration(self.1);
        format!("{} completed{comma}{rest} in {took}", stats.completed)
    }
}

/// Reads the history from where it was before the runner started.
pub(super) struct Failures(Option<FailureReader>);

struct FailureReader {
    queue: Queue,
    screen: Screen,
    filter: EventFilter,
}

/// Reads on in a thread of its own.
pub(super) struct Following(Option<JoinHandle<()>>);

/// Maximum number of failures shown at a time; of more only their number.
const MAX_LINES: usize = 20;

/// A command is shown so far.
const MAX_TASK_CHARS: usize = 60;

impl Failures {
    /// Shows failures that happen after this call; none with --quiet.
    pub(super) fn since_now(queue: &Queue, session: &Session) -> CliResult<Failures> {
        if session.screen.talk() == Talk::Quiet {
            return Ok(Failures(None));
        }
        Ok(Failures(Some(FailureReader {
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

impl FailureReader {
    fn read(mut self, runner: RunnerId, mut failures: FailureWatch) -> jobq::Result<()> {
        let mut goes_on = true;
        while goes_on {
            goes_on = failures.wait();
            loop {
                let page = self.queue.events(&self.filter)?;
                self.filter.since = page.next;
                let own = page.events.iter();
                let own: Vec<_> = own.filter(|event| event.runner == Some(runner)).collect();
                self.print_failures(&own)?;
                if page.at_end {
                    break;
                }
            }
        }
        Ok(())
    }

    fn print_failures(&self, failures: &[&Event]) -> jobq::Result<()> {
        for event in failures.iter().take(MAX_LINES) {
            self.screen.say(self.line(event)?);
        }
        let rest = failures.len().saturating_sub(MAX_LINES);
        if rest > 0 {
            let attempts = count(rest as u64, "more attempt");
            self.screen.say(format_args!(
                "{attempts} failed: jobq events --kind job_failed --kind job_retry"
            ));
        }
        Ok(())
    }

    /// `job 7 failed after 3s: exit code 3: No such file (sh -c …)`.
    fn line(&self, event: &Event) -> jobq::Result<String> {
        let sentence = sentence(event);
        let sentence = text::for_terminal(&sentence).into_owned();
        let Some(id) = event.job else {
            return Ok(sentence);
        };
        Ok(match self.queue.get(id)? {
            Some(job) => format!(
                "job {id} {sentence} ({})",
                shortened(&text::for_terminal(&task(&job)), MAX_TASK_CHARS)
            ),
            None => format!("job {id} {sentence}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn the_time_that_is_left_follows_from_the_rate() {
        let left = |done, left, seconds| time_left(done, left, Duration::from_secs(seconds));
        assert_eq!(left(10, 40, 30).as_deref(), Some("about 2m left"));
        assert_eq!(left(3, 1, 3).as_deref(), Some("about 1s left"));
        assert_eq!(left(0, 40, 30), None, "no rate yet");
        assert_eq!(left(10, 40, 1), None, "too early to say");
        assert_eq!(left(10, 0, 30), None);
    }

    #[test]
    fn a_summary_leaves_out_what_did_not_happen() {
        let mut left = Remaining::default();
        (left.jobs, left.why) = (2, "delayed".to_owned());
        let mut ended = RunReport::default();
        (ended.stats.completed, ended.stats.failed) = (498, 2);
        (ended.stats.retried, ended.left) = (3, vec![left]);
        let summary = RunSummary(&ended, Duration::from_millis(12_345));
        assert_eq!(
            summary.line(),
            "498 completed, 2 failed, 3 retried in 12.3s"
        );
        assert_eq!(
            serde_json::to_string(&summary).unwrap(),
            r#"{"completed":498,"failed":2,"cancelled":0,"retried":3,"elapsed_ms":12345,"left":[{"jobs":2,"why":"delayed"}]}"#
        );
        let nothing = RunReport::default();
        let summary = RunSummary(&nothing, Duration::ZERO);
        assert_eq!(summary.line(), "0 completed in 0ms");
    }
}
