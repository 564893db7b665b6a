//! Which rules keep the pending jobs of a queue from running, in words.

use crate::{JobId, JobsUnderRule, QueueVerdict, Why};
use jiff::Timestamp;
use serde::Serialize;

use crate::api::queue::CountsJson;
use crate::api::text::{count, shell_word};
use crate::api::why::{Explanation, WhyJson, explain, pending};

/// The verdict on a queue.
#[derive(Serialize)]
pub struct VerdictJson<'a> {
    name: &'a str,
    counts: CountsJson,
    pending: Vec<RuleJson<'a>>,
}

#[derive(Serialize)]
struct RuleJson<'a> {
    jobs: u64,
    /// Whether there may be more.
    at_least: bool,
    #[serde(flatten)]
    why: WhyJson<'a>,
}

/// A verdict with the words of its rules.
pub struct VerdictText<'a> {
    pub verdict: &'a QueueVerdict,
    pub rules: Vec<(&'a JobsUnderRule, Explanation)>,
}

impl<'a> VerdictText<'a> {
    pub fn new(verdict: &'a QueueVerdict, now: Timestamp) -> VerdictText<'a> {
        let rules = verdict.rules.iter();
        let rules = rules.map(|rule| (rule, explain_all(&rule.why, now)));
        VerdictText {
            verdict,
            rules: rules.collect(),
        }
    }

    pub fn json(&self) -> VerdictJson<'_> {
        let rules = self.rules.iter().map(|(rule, told)| RuleJson {
            jobs: rule.jobs,
            at_least: rule.is_at_least,
            why: WhyJson {
                message: &told.reason,
                ..told.json()
            },
        });
        VerdictJson {
            name: &self.verdict.queue,
            counts: CountsJson(self.verdict.counts),
            pending: rules.collect(),
        }
    }
}

/// The words of a rule for all jobs under it. Rules that speak of one job have others here.
fn explain_all(why: &Why, now: Timestamp) -> Explanation {
    const NO_JOB: JobId = JobId(0);
    match why {
        Why::QueueNotServed(queue) => {
            let reason = format!("no runner with a handler for them serves queue '{queue}'");
            let queue = shell_word(queue);
            pending(NO_JOB, "queue_not_served", &reason)
                .with_hint(format!("start one that does: `jobq run --queue {queue}`"))
        }
        Why::RunnersStopping => {
            let reason = "every runner that could run them is about to stop";
            pending(NO_JOB, "runners_stopping", reason).with_hint("start another: `jobq run`")
        }
        Why::InLine {
            running, workers, ..
        } => {
            let busy = running.min(workers);
            let verb = if *workers == 1 { "is" } else { "are" };
            let workers = count(*workers, "worker");
            let reason = format!("they wait for their turn: {busy} of {workers} {verb} busy");
            pending(NO_JOB, "in_line", &reason).with_hint("`jobq run --workers N` adds workers")
        }
        why => explain(NO_JOB, why, now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_for_many_jobs_names_none() {
        let all = [
            Why::AllPaused,
            Why::QueuePaused("mail".into()),
            Why::NoRunner,
            Why::NoHandler("resize".into()),
            Why::QueueNotServed("mail".into()),
            Why::RunnersStopping,
            Why::InLine {
                ahead: 0,
                running: 5,
                workers: 5,
            },
        ];
        for why in all {
            let told = explain_all(&why, Timestamp::UNIX_EPOCH);
            let words = [Some(told.reason.clone()), told.hint.clone()];
            let words: Vec<String> = words.into_iter().flatten().collect();
            assert_eq!(words.len(), 2, "{why:?}");
            let names_a_job = |text: &String| text.contains("job 0") || text.contains(" it ");
            assert!(!words.iter().any(names_a_job), "{words:?}");
        }
    }
}
