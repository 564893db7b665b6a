//! Hooks: one job for each end, whoever ends the job.

use std::time::Duration;

use serde_json::json;

use crate::model::family::ChildPolicy;
use crate::model::hook::HookTrigger;
use crate::model::id::JobId;
use crate::model::job::{JobRecord, NewJob, OnDuplicate};
use crate::model::limits::{EnqueueLimits, QueueLimitsUpdate, Update};
use crate::model::outcome::Verdict;
use crate::model::runner_hook::{Hook, RunnerHooks};
use crate::model::state::State;
use crate::store::jobs::finish_attempt::{AttemptMeasures, ClaimToken};
use crate::store::jobs::validate::hook_job;
use crate::store::jobs::{deadlines, finish_attempt, queues, remove};
use crate::store::tests::sandbox::Sandbox;
use crate::store::upkeep::runners;
use crate::store::upkeep::runners::Loss;

fn tell() -> NewJob {
    NewJob::new("tell")
}

/// A job with a hook of each kind.
fn hooked() -> NewJob {
    let tell = |end: &str| tell().payload(&format!("{end}: {{hook.job}} {{hook.error}}"));
    NewJob::new("send")
        .on_success(tell("done"))
        .on_failure(tell("failed"))
        .on_end(tell("ended"))
}

/// The payloads of all jobs of hooks so far.
fn told(sandbox: &Sandbox) -> Vec<String> {
    let mut statement = sandbox
        .conn
        .prepare("SELECT p.payload ->> '$' FROM jobq_payload p JOIN jobq_hook_job USING (job_id) ORDER BY job_id")
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn hook_jobs(sandbox: &Sandbox, of: JobId) -> Vec<JobRecord> {
    let ids = sandbox.job(of).hook_jobs.into_iter();
    ids.map(|id| sandbox.job(id)).collect()
}

fn runner_hooks(hooks: Vec<Hook>) -> RunnerHooks {
    let stored = hooks.into_iter().map(|Hook { filter, job }| {
        let job = hook_job(&job, filter.trigger, &EnqueueLimits::default()).unwrap();
        (filter, job)
    });
    Some(stored.collect())
}

/// An attempt ends in a runner with these hooks.
fn settle_in(sandbox: &mut Sandbox, hooks: &RunnerHooks, (held, verdict): (&ClaimToken, &Verdict)) {
    sandbox.write(|tx| {
        tx.pending.runner_hooks.clone_from(hooks);
        finish_attempt::finish(tx, held, verdict, &AttemptMeasures::default())
    });
}

fn failure() -> Verdict {
    Verdict::Fail {
        error: "boom".to_owned(),
    }
}

fn success() -> Verdict {
    Verdict::Complete { result: None }
}

#[test]
fn each_end_enqueues_the_jobs_of_its_hooks_and_no_others() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(hooked());
    assert_eq!(sandbox.complete(id), State::Completed);
    assert_eq!(told(&sandbox), ["done: 1 ", "ended: 1 "]);
    let id = sandbox.enqueue(hooked());
    assert_eq!(sandbox.fail(id), State::Failed);
    assert_eq!(told(&sandbox)[2..], ["failed: 4 boom", "ended: 4 boom"]);
    let id = sandbox.enqueue(hooked());
    sandbox.cancel(id);
    assert_eq!(told(&sandbox)[4..], ["ended: 7 "]);
    let event = hook_jobs(&sandbox, id).remove(0).hook_of.unwrap();
    let expected = json!({ "hook": "ended", "job": 7, "kind": "send", "queue": "default", "state": "cancelled",
        "error": null, "attempts": 0, "children": null });
    assert_eq!(serde_json::to_value(event).unwrap(), expected);
    sandbox.assert_books_are_right();
}

#[test]
fn a_job_of_a_hook_fires_none_and_says_what_it_is_for() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send").on_failure(tell()));
    sandbox.fail(id);
    let hook_job = hook_jobs(&sandbox, id).remove(0);
    assert_eq!(hook_job.hook_of.unwrap().job, id);
    let all = [HookTrigger::Failed, HookTrigger::Ended];
    let hooks = all.map(|trigger| Hook::new(trigger, tell()));
    let held = sandbox.start(hook_job.id);
    let hooks = runner_hooks(hooks.into());
    settle_in(&mut sandbox, &hooks, (&held, &failure()));
    assert_eq!(sandbox.state(hook_job.id), State::Failed);
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_job"), 2);
    sandbox.assert_books_are_right();
}

#[test]
fn children_of_a_hooks_job_fire_none() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send").on_failure(tell()));
    sandbox.fail(id);
    let hook_job = hook_jobs(&sandbox, id).remove(0).id;
    let child = sandbox.enqueue(NewJob::new("child").parent(hook_job));
    let grandchild = sandbox.enqueue(NewJob::new("child").parent(child).on_failure(tell()));
    let hooks = runner_hooks(vec![Hook::new(HookTrigger::Ended, tell())]);
    for id in [hook_job, child, grandchild] {
        let held = sandbox.start(id);
        let verdict = match id == grandchild {
            true => failure(),
            false => Verdict::Complete { result: None },
        };
        settle_in(&mut sandbox, &hooks, (&held, &verdict));
    }
    assert_eq!(sandbox.state(hook_job), State::Failed);
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_job"), 4);
    sandbox.assert_books_are_right();
}

#[test]
fn a_retry_is_no_end_and_each_end_after_a_retry_by_hand_is_one() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(hooked());
    let held = sandbox.start(id);
    let retry = Verdict::Retry {
        error: "not now".to_owned(),
        after: Duration::ZERO,
    };
    sandbox.settle(&held, &retry);
    assert_eq!(told(&sandbox), [""; 0]);
    sandbox.cancel(id);
    for _ in 0..2 {
        sandbox.requeue(id);
        sandbox.fail(id);
    }
    let each = ["failed: 1 boom", "ended: 1 boom"];
    assert_eq!(told(&sandbox)[1..], [each, each].concat());
    let jobs = hook_jobs(&sandbox, id).into_iter();
    let attempts: Vec<u32> = jobs.map(|job| job.hook_of.unwrap().attempts).collect();
    assert_eq!(attempts, [1, 2, 2, 3, 3]);
}

#[test]
fn whoever_ends_a_job_its_hooks_are_fired() {
    let mut sandbox = Sandbox::new();
    let first = sandbox.enqueue(NewJob::new("first"));
    let dependent = sandbox.enqueue(hooked().after([first]));
    sandbox.fail(first);
    assert_eq!(sandbox.state(dependent), State::Cancelled);
    let late = jiff::Timestamp::from_millisecond(sandbox.now_ms + 1).unwrap();
    sandbox.enqueue(hooked().deadline(late));
    sandbox.now_ms += 2;
    sandbox.write(|tx| deadlines::cancel_late(tx, 10));
    let parent = sandbox.enqueue(NewJob::new("group"));
    sandbox.enqueue(hooked().parent(parent));
    sandbox.cancel(parent);
    // It can never run.
    sandbox.enqueue(hooked().after([first]));
    let ended = told(&sandbox);
    assert_eq!(ended.len(), 4, "{ended:?}");
    let all_ended = ended.iter().all(|told| told.starts_with("ended: "));
    assert!(all_ended, "{ended:?}");

    let runner = sandbox.runner("one");
    let id = sandbox.enqueue(hooked());
    sandbox.start(id);
    sandbox.sql(&format!(
        "UPDATE jobq_job SET crashes = 9, runner_id = {runner} WHERE id = {id}"
    ));
    sandbox.write(|tx| runners::take_over(tx, runner, Loss::Dead));
    assert_eq!(sandbox.state(id), State::Failed);
    assert_eq!(told(&sandbox).len(), 6);
    sandbox.assert_books_are_right();
}

#[test]
fn a_full_queue_keeps_no_job_from_ending() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send").on_end(tell()));
    let limits = QueueLimitsUpdate {
        max_size: Update::Set(1),
        ..QueueLimitsUpdate::default()
    };
    sandbox.write(|tx| queues::set_limits(tx, "default", &limits));
    let full = sandbox.try_enqueue(NewJob::new("send")).unwrap_err();
    assert!(full.is_queue_full());
    assert_eq!(sandbox.complete(id), State::Completed);
    assert_eq!(hook_jobs(&sandbox, id).len(), 1);
}

#[test]
fn a_runners_hooks_are_for_the_kinds_and_queues_they_name() {
    let mut sandbox = Sandbox::new();
    let tell = || tell().queue("told").payload(&"{hook}");
    let hooks = runner_hooks(vec![
        Hook::new(HookTrigger::Failed, tell()).kinds(["send"]),
        Hook::new(HookTrigger::Completed, tell()).queues(["mail", "post"]),
    ]);
    for (kind, queue, verdict, expected) in [
        ("send", "mail", failure(), vec!["failed"]),
        ("fetch", "mail", failure(), vec![]),
        ("fetch", "mail", success(), vec!["completed"]),
        ("send", "default", success(), vec![]),
    ] {
        let id = sandbox.enqueue(NewJob::new(kind).queue(queue));
        let held = sandbox.start(id);
        settle_in(&mut sandbox, &hooks, (&held, &verdict));
        let mut fired = Vec::new();
        for job in hook_jobs(&sandbox, id) {
            assert_eq!(job.queue, "told");
            let event: serde_json::Value = serde_json::from_str(job.payload.get()).unwrap();
            fired.push(event["hook"].as_str().unwrap().to_owned());
        }
        assert_eq!(fired, expected, "{kind} in {queue}");
    }
    sandbox.assert_books_are_right();
}

#[test]
fn a_batch_is_done_once_with_the_numbers_of_all_its_children() {
    for (policy, (done, failed)) in [
        (ChildPolicy::FailAtEnd, (1, 2)),
        (ChildPolicy::CancelOthers, (0, 3)),
        (ChildPolicy::FailFast, (0, 1)),
    ] {
        let mut sandbox = Sandbox::new();
        let hooks = runner_hooks(vec![Hook::new(HookTrigger::BatchDone, tell())]);
        let parent = sandbox.enqueue(NewJob::new("group").child_policy(policy));
        let children = [0; 3].map(|_| sandbox.enqueue(NewJob::new("send").parent(parent)));
        for child in children {
            if sandbox.state(child).is_final() {
                continue;
            }
            let held = sandbox.start(child);
            let is_last = child == children[2];
            let verdict = if is_last { success() } else { failure() };
            settle_in(&mut sandbox, &hooks, (&held, &verdict));
        }
        let fired = hook_jobs(&sandbox, parent);
        assert_eq!(fired.len(), 1, "{policy}");
        let children = fired[0].hook_of.as_ref().unwrap().children.unwrap();
        assert_eq!((children.done, children.failed), (done, failed), "{policy}");
        assert_eq!(children.total, 3);
        assert_eq!(sandbox.number("SELECT count(*) FROM jobq_hook_job"), 1);
        sandbox.assert_books_are_right();
    }
}

#[test]
fn a_spoiled_hook_does_not_keep_the_job_from_ending() {
    for (spoil, logged) in [
        ("UPDATE jobq_hook SET job = 'tell'", 2),
        (r#"UPDATE jobq_hook SET job = '{"kind":"","payload":1}'"#, 2),
        ("UPDATE jobq_hook SET job = CAST(x'ff' AS TEXT)", 2),
        ("DELETE FROM jobq_hook", 0),
    ] {
        let mut sandbox = Sandbox::new();
        let id = sandbox.enqueue(hooked());
        sandbox.sql(spoil);
        assert_eq!(sandbox.complete(id), State::Completed, "{spoil}");
        assert_eq!(told(&sandbox), [""; 0]);
        let entries = sandbox.number("SELECT count(*) FROM jobq_log WHERE kind = 20");
        assert_eq!(entries, logged, "{spoil}");
    }
}

#[test]
fn a_job_that_replaces_another_brings_its_own_hooks_or_none() {
    let mut sandbox = Sandbox::new();
    let unique = |job: NewJob| job.unique("u").on_duplicate(OnDuplicate::Replace);
    let id = sandbox.enqueue(unique(hooked()));
    let send = || NewJob::new("send");
    for (job, hooks) in [
        (send().on_end(tell()), vec![HookTrigger::Ended]),
        (send(), vec![]),
        (send().on_failure(tell()), vec![HookTrigger::Failed]),
    ] {
        assert_eq!(sandbox.enqueue(unique(job)), id);
        assert_eq!(sandbox.job(id).hooks, hooks);
        sandbox.assert_books_are_right();
    }
}

#[test]
fn rows_of_hooks_are_removed_with_their_jobs() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(hooked());
    sandbox.complete(id);
    let hook_jobs = sandbox.job(id).hook_jobs;
    assert_eq!(hook_jobs.len(), 2);
    sandbox.write(|tx| remove::remove(tx, id));
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_hook"), 0);
    for job in hook_jobs {
        assert_eq!(sandbox.job(job).hook_of.unwrap().job, id);
        sandbox.cancel(job);
        sandbox.write(|tx| remove::remove(tx, job));
    }
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_hook_job"), 0);
}

#[test]
fn a_hook_that_could_not_be_fired_is_refused() {
    let mut sandbox = Sandbox::new();
    for (hook, why) in [
        (tell().on_end(tell()), "hooks"),
        (tell().unique("u"), "a unique key"),
        (tell().after([JobId(1)]), "jobs to wait for"),
        (tell().parent(JobId(1)), "a parent"),
        (tell().delay(Duration::from_secs(1)), "a time of its own"),
        (tell().payload_json("{"), "JSON"),
        (NewJob::new(""), "kind"),
    ] {
        let error = sandbox.refused(NewJob::new("send").on_failure(hook));
        assert!(error.is_invalid_input());
        let error = error.to_string();
        assert!(error.contains("hook 'failed'"), "{error}");
        assert!(error.contains(why), "{error}");
    }
}

/// An error may come from anywhere, and a shell would run it.
#[test]
fn the_command_of_a_hook_is_not_filled_in() {
    let mut sandbox = Sandbox::new();
    let shell = json!({ "shell": "echo {hook.error}" });
    let exec = NewJob::new("exec").payload(&shell);
    let id = sandbox.enqueue(NewJob::new("send").on_failure(exec));
    sandbox.fail(id);
    let payload = hook_jobs(&sandbox, id).remove(0).payload;
    assert_eq!(payload.get(), shell.to_string());
}
