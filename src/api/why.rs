//! Which rule keeps a job from running now, and what would change that: the words of every rule.

mod limits;
pub mod others;
pub mod queue;

use crate::{Children, JobId, Queue, RunnerId, State, WaitReason, Why};
use jiff::Timestamp;
use serde::Serialize;

use crate::api::built_in::how_to_build;
use crate::api::event::{self, due};
use crate::api::text::{count, shell_word};
use crate::api::time::rfc3339;

/// A rule in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The name that programs see.
    pub rule: &'static str,
    /// The state that the rule belongs to.
    pub state: State,
    pub message: String,
    /// The message without the job, where it begins with that.
    pub reason: String,
    /// The command that would change it.
    pub hint: Option<String>,
    /// Whether the job waits for somebody to do something.
    pub calls_for_action: bool,
}

impl Explanation {
    fn new(rule: &'static str, state: State, message: impl Into<String>) -> Explanation {
        let message = message.into();
        Explanation {
            rule,
            state,
            reason: message.clone(),
            message,
            hint: None,
            calls_for_action: false,
        }
    }

    /// `job 7 is blocked: waits for 3 (running)`.
    fn because(rule: &'static str, (id, state): (JobId, State), reason: &str) -> Explanation {
        Explanation {
            reason: reason.to_owned(),
            ..Explanation::new(rule, state, format!("job {id} is {state}: {reason}"))
        }
    }

    fn with_hint(mut self, hint: impl Into<String>) -> Explanation {
        self.hint = Some(hint.into());
        self
    }

    fn calls_for_action(mut self) -> Explanation {
        self.calls_for_action = true;
        self
    }

    fn needs_no_action(mut self) -> Explanation {
        self.calls_for_action = false;
        self
    }

    /// Only its name: the reason speaks of other jobs.
    #[must_use]
    pub fn without_reason(self, id: JobId) -> Explanation {
        let message = format!("job {id} is {}", self.state);
        Explanation::new(self.rule, self.state, message)
    }

    pub fn json(&self) -> WhyJson<'_> {
        WhyJson {
            why: self.rule,
            message: &self.message,
            hint: self.hint.as_deref(),
        }
    }
}

/// Which rule keeps a job from running.
#[derive(Serialize)]
pub struct WhyJson<'a> {
    pub why: &'a str,
    pub message: &'a str,
    pub hint: Option<&'a str>,
}

/// The words of a rule. Every rule has its own arm, so a new rule cannot get the words of another.
pub fn explain(id: JobId, why: &Why, now: Timestamp) -> Explanation {
    match why {
        Why::Running {
            runner,
            cancel_requested,
        } => running(id, *runner, *cancel_requested),
        Why::RunnerGone {
            runner,
            cancel_requested,
        } => runner_gone(id, *runner, *cancel_requested),
        Why::Final { state, error } => ended(id, *state, error.as_deref()),
        Why::WaitsFor { jobs, more } => waits_for(id, jobs, *more),
        Why::ParentFirst { parent, state } => parent_first(id, *parent, *state),
        Why::SpawnerFirst { spawner } => spawner_first(id, *spawner),
        Why::KeyTaken {
            key,
            limit,
            holders,
        } => limits::of_key(id, (key, *limit), holders),
        Why::ChildrenFirst(children) => children_first(id, children),
        Why::NoChildYet => no_child_yet(id),
        Why::NotDue { reason, until } => not_due(id, *reason, (*until, now)),
        Why::DeadlineOver { state, deadline } => deadline_over(id, *state, *deadline),
        Why::AllPaused => all_paused(id),
        Why::QueuePaused(queue) => queue_paused(id, queue),
        Why::NoRunner => no_runner(id),
        Why::NoHandler(kind) => no_handler(id, kind),
        Why::QueueNotServed(queue) => queue_not_served(id, queue),
        Why::HandlerUnavailable {
            kind,
            runner,
            reason,
        } => handler_unavailable(id, kind, (*runner, reason)),
        Why::RunnersStopping => runners_stopping(id),
        Why::OutOfResources {
            runner,
            reason,
            running,
        } => limits::short_of(id, *runner, (reason, *running)),
        Why::QueueAtLimit {
            queue,
            limit,
            running,
            jobs,
        } => limits::of_queue(id, (queue, *limit), (*running, jobs)),
        Why::KindAtLimit {
            kind,
            limits,
            running,
            jobs,
        } => limits::of_kind(id, (kind, limits), (*running, jobs)),
        Why::QueueRate { queue, rate, next } => limits::of_rate(id, (queue, *rate), (*next, now)),
        Why::InLine {
            ahead,
            running,
            workers,
        } => in_line(id, *ahead, (*running, *workers)),
        Why::Damaged { state, what } => damaged(id, *state, what),
        Why::Other(state) => {
            Explanation::new(state.as_str(), *state, format!("job {id} is {state}"))
        }
    }
}

fn running(id: JobId, runner: RunnerId, cancel_requested: bool) -> Explanation {
    let is_running = format!("job {id} is running, on runner {runner}");
    if cancel_requested {
        let asked = format!("{is_running}, and has been asked to stop");
        return Explanation::new("cancel_requested", State::Running, asked);
    }
    Explanation::new("running", State::Running, is_running)
        .with_hint(format!("`jobq logs -f {id}` follows what it prints"))
}

fn runner_gone(id: JobId, runner: RunnerId, cancel_requested: bool) -> Explanation {
    let then = match cancel_requested {
        true => "cancels it",
        false => "takes it over",
    };
    let gone = format!("runner {runner} is dead; the next runner to start {then}");
    let message = format!("job {id} is running, but {gone}");
    Explanation::new("runner_gone", State::Running, message)
        .with_hint("start one with `jobq run`")
        .calls_for_action()
}

fn ended(id: JobId, state: State, error: Option<&str>) -> Explanation {
    let because = error.map_or_else(String::new, |error| format!(": {error}"));
    let message = format!("job {id} {}{because}", event::ended(state));
    let ended = Explanation::new(state.as_str(), state, message);
    match state {
        State::Completed => ended,
        _ => ended.with_hint(format!("`jobq retry {id}` runs it again")),
    }
}

fn waits_for(id: JobId, jobs: &[(JobId, State)], more: u64) -> Explanation {
    let (named, more) = (limits::with_states(jobs), limits::and_more(more));
    let reason = format!("waits for {named}{more}");
    Explanation::because("waits_for", (id, State::Blocked), &reason)
        .with_hint(format!("`jobq why {}` says what keeps that one", jobs[0].0))
}

fn parent_first(id: JobId, parent: JobId, state: State) -> Explanation {
    let reason = format!("the run phase of its parent {parent} ({state}) comes first");
    Explanation::because("parent_first", (id, State::Blocked), &reason)
        .with_hint(format!("`jobq why {parent}` says what keeps the parent"))
}

fn spawner_first(id: JobId, spawner: JobId) -> Explanation {
    let reason =
        format!("it begins when the attempt of job {spawner} that spawned it has completed");
    Explanation::because("spawner_first", (id, State::Blocked), &reason)
}

fn children_first(id: JobId, children: &Children) -> Explanation {
    let are = children_are(children.live(), children.total);
    let reason = format!("{are} not final yet");
    Explanation::because("children_first", (id, State::Waiting), &reason)
        .with_hint(format!("`jobq list --parent {id}` shows them"))
}

fn no_child_yet(id: JobId) -> Explanation {
    let reason = "it is a group without children";
    Explanation::because("no_child_yet", (id, State::Waiting), reason).with_hint(format!(
        "give it one: `jobq enqueue --parent {id} -- CMD`; or end it: `jobq cancel {id}`"
    ))
}

fn not_due(id: JobId, reason: WaitReason, (until, now): (Timestamp, Timestamp)) -> Explanation {
    let (rule, because) = match reason {
        WaitReason::Delay => ("delayed", "it was enqueued for later and"),
        WaitReason::Retry => ("retrying", "its last attempt failed; the next one"),
        WaitReason::Snooze => ("snoozed", "its handler snoozed it; it"),
    };
    let reason = format!("{because} {} ({})", due(until, now), rfc3339(until));
    Explanation::because(rule, (id, State::Scheduled), &reason)
        .with_hint(format!("`jobq edit {id} --in 0s` makes it due now"))
}

fn deadline_over(id: JobId, state: State, deadline: Timestamp) -> Explanation {
    let reason = format!(
        "its deadline ({}) has passed; the next active runner will cancel it",
        rfc3339(deadline)
    );
    Explanation::because("deadline_over", (id, state), &reason)
        .with_hint(format!(
            "`jobq retry {id}`, once it is cancelled, lets it run without a deadline"
        ))
        .calls_for_action()
}

/// A pending job that starts only after some action.
fn pending(id: JobId, rule: &'static str, reason: &str) -> Explanation {
    Explanation::because(rule, (id, State::Pending), reason).calls_for_action()
}

fn all_paused(id: JobId) -> Explanation {
    pending(id, "all_paused", "all queues are paused").with_hint("`jobq resume` resumes them")
}

fn queue_paused(id: JobId, queue: &str) -> Explanation {
    pending(id, "queue_paused", &format!("queue '{queue}' is paused"))
        .with_hint(format!("`jobq resume {}` resumes it", shell_word(queue)))
}

fn no_runner(id: JobId) -> Explanation {
    pending(id, "no_runner", "no runner is active").with_hint("start one with `jobq run`")
}

fn no_handler(id: JobId, kind: &str) -> Explanation {
    let reason = format!("no active runner has a handler for kind '{kind}'");
    let usual = || {
        format!(
            "give `jobq run` a [kinds.{kind}] section in jobq.toml, or start the program that handles '{kind}'"
        )
    };
    pending(id, "no_handler", &reason).with_hint(how_to_build(kind).unwrap_or_else(usual))
}

fn handler_unavailable(id: JobId, kind: &str, (runner, reason): (RunnerId, &str)) -> Explanation {
    let reason = format!("runner {runner} can run no '{kind}' at the moment: {reason}");
    pending(id, "handler_unavailable", &reason)
        .with_hint("the runner tries again by itself, after a minute at the latest")
}

fn queue_not_served(id: JobId, queue: &str) -> Explanation {
    let reason = format!("no runner that could run it serves queue '{queue}'");
    let one = format!(
        "start one that does: `jobq run --queue {}`",
        shell_word(queue)
    );
    pending(id, "queue_not_served", &reason).with_hint(one)
}

fn runners_stopping(id: JobId) -> Explanation {
    let reason = "every runner that could run it is about to stop";
    pending(id, "runners_stopping", reason).with_hint("start another: `jobq run`")
}

fn in_line(id: JobId, ahead: u64, (running, workers): (u64, u64)) -> Explanation {
    let first = match ahead {
        0 => "it is next in its queue".to_owned(),
        1 => "1 job of its queue goes first".to_owned(),
        _ => format!("{} of its queue go first", count(ahead, "job")),
    };
    let busy = running.min(workers);
    let verb = if workers == 1 { "is" } else { "are" };
    let all = count(workers, "worker");
    let reason = format!("it waits for its turn: {first}, and {busy} of {all} {verb} busy");
    let in_line = pending(id, "in_line", &reason).needs_no_action();
    if busy < workers {
        return in_line;
    }
    in_line.with_hint(format!(
        "`jobq edit {id} --priority urgent` moves it up, `jobq run --workers N` adds workers"
    ))
}

fn damaged(id: JobId, state: State, what: &str) -> Explanation {
    let message =
        format!("job {id} is {state}, and set aside by runners: the file is damaged: {what}");
    Explanation::new("damaged", state, message)
        .with_hint("`jobq doctor` says what else is; restore a backup, or mend the row")
}

fn children_are(live: u64, total: u64) -> String {
    match (live, total) {
        (_, 1) => "its child is".to_owned(),
        (1, _) => format!("1 of its {total} children is"),
        _ => format!("{live} of its {total} children are"),
    }
}

/// Of a job that waits for others: that one of them runs no more than it says.
pub fn gone_behind(why: &Why, queue: &Queue) -> crate::Result<Option<String>> {
    let jobs: &[(JobId, State)] = match why {
        Why::WaitsFor { jobs, .. } => jobs,
        Why::KeyTaken { holders, .. } => holders,
        Why::ParentFirst { parent, state } => &[(*parent, *state)],
        Why::SpawnerFirst { spawner } => &[(*spawner, State::Running)],
        _ => &[],
    };
    for (id, _) in jobs.iter().filter(|(_, state)| *state == State::Running) {
        if let Why::RunnerGone { runner, .. } = queue.why(*id)? {
            let what = format!("runner {runner}, which ran job {id}, is dead");
            return Ok(Some(format!("{what}; start one with `jobq run`")));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ID: JobId = JobId(7);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn words(why: Why) -> (String, Option<String>) {
        let told = explain(ID, &why, at(0));
        (told.message, told.hint)
    }

    #[test]
    fn each_rule_says_what_it_is_and_what_to_type() {
        assert_eq!(
            words(Why::NoRunner),
            (
                "job 7 is pending: no runner is active".into(),
                Some("start one with `jobq run`".into())
            )
        );
        assert_eq!(
            words(Why::QueuePaused("my queue".into())),
            (
                "job 7 is pending: queue 'my queue' is paused".into(),
                Some("`jobq resume 'my queue'` resumes it".into())
            )
        );
        let (message, hint) = words(Why::NotDue {
            reason: WaitReason::Retry,
            until: at(300),
        });
        assert_eq!(
            message,
            "job 7 is scheduled: its last attempt failed; the next one is due in 5m (1970-01-01T00:05:00.000Z)"
        );
        assert_eq!(hint.unwrap(), "`jobq edit 7 --in 0s` makes it due now");
    }

    #[test]
    fn a_parent_is_told_how_many_of_its_children_are_left() {
        for (live, total, said) in [
            (1, 1, "its child is not final yet"),
            (1, 3, "1 of its 3 children is not final yet"),
            (2, 3, "2 of its 3 children are not final yet"),
        ] {
            let why = Why::ChildrenFirst(crate::Children {
                total,
                done: total - live,
                failed: 0,
            });
            assert_eq!(words(why).0, format!("job 7 is waiting: {said}"));
        }
    }

    #[test]
    fn a_job_in_line_is_told_its_place() {
        let place = |ahead, running, workers| {
            words(Why::InLine {
                ahead,
                running,
                workers,
            })
        };
        assert_eq!(
            place(3, 5, 5).0,
            "job 7 is pending: it waits for its turn: 3 jobs of its queue go first, and 5 of 5 workers are busy"
        );
        assert!(place(3, 5, 5).1.is_some());
        assert_eq!(
            place(0, 0, 1),
            (
                "job 7 is pending: it waits for its turn: it is next in its queue, and 0 of 1 worker is busy"
                    .into(),
                None
            )
        );
    }

    #[test]
    fn a_limit_names_the_jobs_that_take_it_up() {
        let full = |running, jobs: std::ops::Range<i64>| {
            words(Why::QueueAtLimit {
                queue: "images".into(),
                limit: 2,
                running,
                jobs: jobs.map(JobId).collect(),
            })
        };
        assert_eq!(
            full(2, 8..10),
            (
                "job 7 is pending: queue images is at its limit of 2: 8, 9".into(),
                Some("`jobq queue set images --concurrency N` changes it".into())
            )
        );
        assert!(
            full(12, 1..11)
                .0
                .ends_with(": 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more")
        );
        let rate = Why::QueueRate {
            queue: "mail".into(),
            rate: crate::Rate {
                jobs: 10,
                per: Duration::from_secs(60),
            },
            next: at(30),
        };
        assert_eq!(
            words(rate).0,
            "job 7 is pending: queue mail may start 10 jobs in 1m: the next in 30s (1970-01-01T00:00:30.000Z)"
        );
    }

    #[test]
    fn rules_have_names_of_their_own() {
        let rules: Vec<_> = [
            Why::AllPaused,
            Why::QueuePaused("q".into()),
            Why::NoRunner,
            Why::NoHandler("k".into()),
            Why::QueueNotServed("q".into()),
            Why::RunnersStopping,
            Why::InLine {
                ahead: 0,
                running: 0,
                workers: 1,
            },
        ]
        .iter()
        .map(|why| explain(ID, why, at(0)))
        .collect();
        assert_eq!(
            rules.iter().map(|told| told.rule).collect::<Vec<_>>(),
            [
                "all_paused",
                "queue_paused",
                "no_runner",
                "no_handler",
                "queue_not_served",
                "runners_stopping",
                "in_line"
            ]
        );
        assert!(rules.iter().all(|told| told.state == State::Pending));
    }
}
