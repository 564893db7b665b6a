//! `jobq why`: which rule keeps a job from running now, and what would change that. The wording of
//! every rule is here.

mod limits;
mod running;

use jiff::Timestamp;
use jobq::{JobId, State, WaitReason, Why};
use serde::Serialize;

use super::args;
use super::clock::now;
use super::exit::{CliResult, Exit};
use super::output::json::WhyJson;
use super::output::style::Look;
use super::output::text::{count, for_terminal};
use super::output::time::rfc3339;
use super::session::Session;
use super::wording::{self, due};

/// A rule in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// The name that programs see.
    pub(super) rule: &'static str,
    pub(super) message: String,
    /// What to type to change it.
    pub(super) hint: Option<String>,
}

impl Told {
    fn new(rule: &'static str, message: impl Into<String>) -> Told {
        Told {
            rule,
            message: message.into(),
            hint: None,
        }
    }

    fn with_hint(mut self, hint: impl Into<String>) -> Told {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn json(&self) -> WhyJson<'_> {
        WhyJson {
            why: self.rule,
            message: &self.message,
            hint: self.hint.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    id: JobId,
    state: State,
    #[serde(flatten)]
    why: WhyJson<'a>,
}

pub(super) fn run(args: &args::Why, session: &Session) -> CliResult {
    let id = session.resolve_id(&args.id)?;
    let why = session.queue()?.why(id)?;
    let mut told = told(id, &why, now());
    if let Some(gone) = running::gone_behind(&why, session)? {
        told.hint = Some(gone);
    }
    let answer = Answer {
        id,
        state: state(&why),
        why: told.json(),
    };
    session.output.line(&answer, for_terminal(&told.message))?;
    if let Some(hint) = told.hint.as_ref().filter(|_| !session.output.is_json()) {
        session.screen.hint(hint);
    }
    Ok(Exit::Done)
}

/// The state that a rule goes with.
fn state(why: &Why) -> State {
    match why {
        Why::Running { .. } | Why::RunnerGone { .. } => State::Running,
        Why::Final { state, .. }
        | Why::DeadlineOver { state, .. }
        | Why::Damaged { state, .. }
        | Why::Other(state) => *state,
        Why::WaitsFor { .. }
        | Why::ParentFirst { .. }
        | Why::SpawnerFirst { .. }
        | Why::KeyTaken { .. } => State::Blocked,
        Why::ChildrenFirst(_) | Why::NoChildYet => State::Waiting,
        Why::NotDue { .. } => State::Scheduled,
        _ => State::Pending,
    }
}

pub(super) fn told(id: JobId, why: &Why, now: Timestamp) -> Told {
    match why {
        Why::Running {
            runner,
            cancel_requested,
        } => running::running(id, *runner, *cancel_requested),
        Why::RunnerGone {
            runner,
            cancel_requested,
        } => running::runner_gone(id, *runner, *cancel_requested),
        Why::Final { state, error } => ended(id, *state, error.as_deref()),
        Why::WaitsFor { .. }
        | Why::ParentFirst { .. }
        | Why::SpawnerFirst { .. }
        | Why::ChildrenFirst(_)
        | Why::NoChildYet => relations(id, why),
        Why::NotDue { reason, until } => {
            not_due(id, *reason, &format!("{} ({})", due(*until, now), rfc3339(*until)))
        }
        Why::DeadlineOver { state, deadline } => Told::new(
            "deadline_over",
            format!(
                "job {id} is {state}: its deadline ({}) has passed; the next active runner will cancel it",
                rfc3339(*deadline)
            ),
        )
        .with_hint(format!("`jobq retry {id}`, once it is cancelled, lets it run without a deadline")),
        Why::Damaged { state, what } => damaged(id, *state, what),
        Why::AllPaused => {
            pending(id, "all_paused", "all queues are paused").with_hint("`jobq resume` resumes them")
        }
        Why::QueuePaused(queue) => {
            pending(id, "queue_paused", &format!("queue '{queue}' is paused"))
                .with_hint(format!("`jobq resume {}` resumes it", word(queue)))
        }
        Why::NoRunner => {
            pending(id, "no_runner", "no runner is active").with_hint("start one with `jobq run`")
        }
        Why::NoHandler(kind) => pending(
            id,
            "no_handler",
            &format!("no active runner has a handler for kind '{kind}'"),
        )
        .with_hint(format!(
            "give `jobq run` a [kinds.{kind}] section in jobq.toml, or start the program that handles '{kind}'"
        )),
        Why::QueueNotServed(queue) => pending(
            id,
            "queue_not_served",
            &format!("no runner that could run it serves queue '{queue}'"),
        )
        .with_hint(format!("start one that does: `jobq run --queue {}`", word(queue))),
        Why::RunnersStopping => pending(
            id,
            "runners_stopping",
            "every runner that could run it is about to stop",
        )
        .with_hint("start another: `jobq run`"),
        Why::InLine {
            ahead,
            running,
            workers,
        } => in_line(id, *ahead, *running, *workers),
        other => limits::told(id, other, now).unwrap_or_else(|| {
            Told::new(state(other).as_str(), format!("job {id} is {}", state(other)))
        }),
    }
}

fn damaged(id: JobId, state: State, what: &str) -> Told {
    Told::new(
        "damaged",
        format!("job {id} is {state}, and set aside by runners: the file is damaged: {what}"),
    )
    .with_hint("`jobq doctor` says what else is; restore a backup, or mend the row")
}

fn pending(id: JobId, rule: &'static str, reason: &str) -> Told {
    Told::new(rule, format!("job {id} is pending: {reason}"))
}

/// What other jobs have to do with it.
fn relations(id: JobId, why: &Why) -> Told {
    let blocked = |rule, reason: String| Told::new(rule, format!("job {id} is blocked: {reason}"));
    match why {
        Why::WaitsFor { jobs, more } => {
            let named = limits::with_states(jobs);
            let more = limits::and_more(*more);
            blocked("waits_for", format!("waits for {named}{more}"))
                .with_hint(format!("`jobq why {}` says what keeps that one", jobs[0].0))
        }
        Why::ParentFirst { parent, state } => blocked(
            "parent_first",
            format!("the own part of its parent {parent} ({state}) comes first"),
        )
        .with_hint(format!("`jobq why {parent}` says what keeps the parent")),
        Why::SpawnerFirst { spawner } => blocked(
            "spawner_first",
            format!("it begins when the attempt of job {spawner} that spawned it has completed"),
        ),
        Why::ChildrenFirst(children) => Told::new(
            "children_first",
            format!(
                "job {id} is waiting: {} not final yet",
                children_are(children.live(), children.total)
            ),
        )
        .with_hint(format!("`jobq list --parent {id}` shows them")),
        _ => Told::new(
            "no_child_yet",
            format!("job {id} is waiting: it is a group without children"),
        )
        .with_hint(format!(
            "give it one: `jobq enqueue --parent {id} -- CMD`; or end it: `jobq cancel {id}`"
        )),
    }
}

fn ended(id: JobId, state: State, error: Option<&str>) -> Told {
    let because = error.map_or_else(String::new, |error| format!(": {error}"));
    let ended = wording::ended(state);
    let told = Told::new(state.as_str(), format!("job {id} {ended}{because}"));
    match state {
        State::Completed => told,
        _ => told.with_hint(format!("`jobq retry {id}` runs it again")),
    }
}

fn not_due(id: JobId, reason: WaitReason, due: &str) -> Told {
    let (rule, because) = match reason {
        WaitReason::Delay => ("delayed", "it was enqueued for later and"),
        WaitReason::Retry => ("retrying", "its last attempt failed; the next one"),
        WaitReason::Snooze => ("snoozed", "its handler snoozed it; it"),
    };
    Told::new(rule, format!("job {id} is scheduled: {because} {due}"))
        .with_hint(format!("`jobq edit {id} --in 0s` makes it due now"))
}

fn in_line(id: JobId, ahead: u64, running: u64, workers: u64) -> Told {
    let first = match ahead {
        0 => "it is next in its queue".to_owned(),
        1 => "1 job of its queue goes first".to_owned(),
        _ => format!("{} of its queue go first", count(ahead, "job")),
    };
    let busy = running.min(workers);
    let told = pending(
        id,
        "in_line",
        &format!(
            "it waits for its turn: {first}, and {busy} of {} busy",
            workers_are(workers)
        ),
    );
    if busy < workers {
        return told;
    }
    told.with_hint(format!(
        "`jobq edit {id} --priority urgent` moves it up, `jobq run --workers N` adds workers"
    ))
}

fn children_are(live: u64, total: u64) -> String {
    match (live, total) {
        (_, 1) => "its child is".to_owned(),
        (1, _) => format!("1 of its {total} children is"),
        _ => format!("{live} of its {total} children are"),
    }
}

fn workers_are(workers: u64) -> String {
    let verb = if workers == 1 { "is" } else { "are" };
    format!("{} {verb}", count(workers, "worker"))
}

/// A name as a shell takes it for one word.
pub(super) fn word(name: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_./:@".contains(char);
    if !name.is_empty() && name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', r"'\''"))
    }
}

/// The look of a rule: whether somebody may want to do something about it.
pub(super) fn look(why: &Why) -> Look {
    match why {
        Why::DeadlineOver { .. }
        | Why::AllPaused
        | Why::QueuePaused(_)
        | Why::NoRunner
        | Why::RunnerGone { .. }
        | Why::NoHandler(_)
        | Why::QueueNotServed(_)
        | Why::RunnersStopping
        | Why::OutOfResources { .. }
        | Why::QueueAtLimit { .. }
        | Why::KindAtLimit { .. } => Look::Warn,
        Why::Final { state, .. } => Look::State(*state),
        _ => Look::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: JobId = JobId(7);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn words(why: Why) -> (String, Option<String>) {
        let told = told(ID, &why, at(0));
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
            let why = Why::ChildrenFirst(jobq::Children {
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
            rate: jobq::Rate {
                jobs: 10,
                per: std::time::Duration::from_secs(60),
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
        .map(|why| (told(ID, why, at(0)).rule, state(why)))
        .collect();
        assert_eq!(
            rules.iter().map(|(rule, _)| *rule).collect::<Vec<_>>(),
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
        assert!(rules.iter().all(|(_, state)| *state == State::Pending));
    }
}
