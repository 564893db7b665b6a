//! How a runner is shown: a bar while it runs, a summary at the end.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use jobq::{Batch, Queue, RunReport, RunStats, Runner};
use serde::Serialize;

use crate::cli::args::Run;
use crate::cli::clock;
use crate::cli::exit::CliResult;
use crate::cli::output::{text, time};
use crate::cli::screen::Talk;
use crate::cli::session::Session;

/// A bar for a batch or a drain, where a person looks.
pub(super) struct Show {
    bar: Option<ProgressBar>,
    total: Total,
    looks: u32,
    began: Instant,
}

/// What the bar runs to.
enum Total {
    /// So many jobs of a batch, after which there is nothing to show, unless more is to be drained.
    Batch { jobs: u64, is_drain: bool },
    /// Whatever there is; more may come.
    All(Queue),
}

const BAR: &str = "{wide_bar} {pos}/{len} {msg} {elapsed}";

/// All jobs are counted once in so many looks.
const LOOKS_A_COUNT: u32 = 4;

impl Show {
    pub(super) fn new(
        args: &Run,
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
            looks: 0,
            began: clock::instant(),
        })
    }

    /// Whether there is anything to update.
    pub(super) fn is_live(&self) -> bool {
        self.bar.is_some()
    }

    pub(super) fn update(&mut self, runner: &Runner) -> jobq::Result<()> {
        let Some(bar) = &self.bar else {
            return Ok(());
        };
        let stats = runner.stats();
        let done = stats.completed + stats.failed + stats.cancelled;
        let has_ended = match &self.total {
            Total::Batch { jobs, is_drain } => {
                bar.set_position(done.min(*jobs));
                done >= *jobs && !is_drain
            }
            Total::All(queue) => {
                if self.looks.is_multiple_of(LOOKS_A_COUNT) {
                    bar.set_length(done + queue.counts()?.live());
                }
                bar.set_position(done);
                false
            }
        };
        let left = bar.length().unwrap_or_default().saturating_sub(done);
        let rest = time_left(done, left, self.began.elapsed());
        let parts = [Some(running(&stats)).filter(|told| !told.is_empty()), rest];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        bar.set_message(parts.join(", "));
        self.looks += 1;
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

/// What a runner has done, at its end.
#[derive(Debug, Serialize)]
pub(super) struct Summary<'a> {
    completed: u64,
    failed: u64,
    cancelled: u64,
    retried: u64,
    elapsed_ms: u64,
    left: Vec<LeftJson<'a>>,
}

#[derive(Debug, Serialize)]
struct LeftJson<'a> {
    jobs: u64,
    why: &'a str,
}

impl<'a> Summary<'a> {
    pub(super) fn new(ended: &'a RunReport, elapsed: Duration) -> Summary<'a> {
        let left = ended.left.iter().map(|left| LeftJson {
            jobs: left.jobs,
            why: &left.why,
        });
        Summary {
            completed: ended.stats.completed,
            failed: ended.stats.failed,
            cancelled: ended.stats.cancelled,
            retried: ended.stats.retried,
            elapsed_ms: time::millis(elapsed),
            left: left.collect(),
        }
    }

    /// To a person on stderr, to a program that wants JSON on stdout.
    pub(super) fn tell(&self, session: &Session) -> CliResult<()> {
        session.screen.say(self.line());
        for left in &self.left {
            let jobs = text::count(left.jobs, "job");
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
        let rest = some_of(&[
            (self.failed, "failed"),
            (self.cancelled, "cancelled"),
            (self.retried, "retried"),
        ]);
        let comma = if rest.is_empty() { "" } else { ", " };
        let took = time::duration(Duration::from_millis(self.elapsed_ms));
        format!("{} completed{comma}{rest} in {took}", self.completed)
    }
}

#[cfg(test)]
mod tests {
    use jobq::Remaining;

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
        let summary = Summary::new(&ended, Duration::from_millis(12_345));
        assert_eq!(
            summary.line(),
            "498 completed, 2 failed, 3 retried in 12.3s"
        );
        assert_eq!(
            serde_json::to_string(&summary).unwrap(),
            r#"{"completed":498,"failed":2,"cancelled":0,"retried":3,"elapsed_ms":12345,"left":[{"jobs":2,"why":"delayed"}]}"#
        );
        let nothing = RunReport::default();
        let summary = Summary::new(&nothing, Duration::ZERO);
        assert_eq!(summary.line(), "0 completed in 0ms");
    }
}
