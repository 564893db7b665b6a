//! Hooks as a runner in Rust has them.

use std::sync::{Arc, Mutex};

use jobq::{
    Context, Failure, Hook, HookEvent, HookTrigger, NewJob, Outcome, Queue, RunnerBuilder, State,
    Until,
};

use crate::support::by;
use crate::support::place::{Scene, ailments, job};

/// What the jobs of hooks were for.
type Told = Arc<Mutex<Vec<HookEvent>>>;

fn tell() -> NewJob {
    NewJob::new("tell")
}

/// A runner that fails, completes and tells, with hooks of its own.
fn runner(queue: &Queue) -> (RunnerBuilder, Told) {
    let told = Told::default();
    let heard = Arc::clone(&told);
    let builder = queue
        .runner()
        .until(Until::Drained)
        .kind("fail", by(|_| Failure::permanent("boom").into()))
        .kind(
            "complete",
            by(|ctx| match ctx.complete_in(|_| Ok::<_, Failure>(())) {
                Ok(()) => Outcome::Done(None),
                Err(failure) => failure.into(),
            }),
        )
        .kind(
            "tell",
            by(move |ctx: &Context| {
                heard.lock().unwrap().extend(ctx.hook().cloned());
                Outcome::Done(None)
            }),
        )
        .hook(Hook::new(HookTrigger::Failed, tell()))
        .hook(Hook::new(HookTrigger::Completed, tell()).kinds(["complete"]));
    (builder, told)
}

fn ends(told: &Told) -> Vec<(HookTrigger, i64, State)> {
    let told = told.lock().unwrap();
    let mut ends: Vec<_> = told
        .iter()
        .map(|event| (event.hook, event.job.0, event.state))
        .collect();
    ends.sort_unstable_by_key(|(hook, job, _)| (*job, *hook));
    ends
}

#[test]
fn a_runners_hooks_are_fired_and_a_drain_runs_their_jobs() {
    let scene = Scene::new();
    let queue = scene.open();
    let failed = queue.enqueue(NewJob::new("fail").on_end(tell())).unwrap();
    let completed = queue.enqueue(NewJob::new("complete")).unwrap();
    let (runner, told) = runner(&queue);
    let report = runner.start().unwrap().wait().unwrap();
    let expected = [
        (HookTrigger::Failed, failed.id.0, State::Failed),
        (HookTrigger::Ended, failed.id.0, State::Failed),
        (HookTrigger::Completed, completed.id.0, State::Completed),
    ];
    assert_eq!(ends(&told), expected);
    assert_eq!((report.stats.completed, report.stats.failed), (4, 1));
    assert_eq!(job(&queue, failed.id).hook_jobs.len(), 2);
    assert_eq!(ailments(&queue), Vec::<String>::new());
}

#[test]
fn what_is_run_in_the_calling_thread_fires_the_hooks_too() {
    let scene = Scene::new();
    let queue = scene.open();
    for kind in ["fail", "complete"] {
        queue.enqueue(NewJob::new(kind)).unwrap();
    }
    let (runner, told) = runner(&queue);
    runner.run_due().unwrap();
    let expected = [
        (HookTrigger::Failed, 1, State::Failed),
        (HookTrigger::Completed, 2, State::Completed),
    ];
    assert_eq!(ends(&told), expected);
}

#[test]
fn a_hook_that_could_never_be_fired_is_refused_at_the_start() {
    let scene = Scene::new();
    let queue = scene.open();
    let unique = Hook::new(HookTrigger::BatchDone, tell().unique("u"));
    let error = queue.runner().hook(unique).start().err().unwrap();
    assert!(error.is_invalid_input());
    assert!(error.to_string().contains("hook 'batch_done'"), "{error}");
}
