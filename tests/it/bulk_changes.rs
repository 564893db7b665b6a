//! Many jobs changed by one call: a few commits, and each job for itself.

use jobq::{GROUP_KIND, JobId, NewJob, OnDuplicate, State};

use crate::support::place::{Scene, ailments};

fn is_wrong_state<T>(answer: &jobq::Result<T>) -> bool {
    answer.as_ref().is_err_and(jobq::Error::is_wrong_state)
}

/// Each cancel, retry and removal of a command line for many jobs was a commit of its own: with its
/// sync, a hundred thousand of them took minutes.
#[test]
fn bulk_cancel_retry_and_remove_log_less_than_a_page_per_job() {
    let scene = Scene::new();
    let queue = scene.open();
    let jobs = queue.enqueue_many((0..600).map(|_| NewJob::new("k")));
    let ids: Vec<JobId> = jobs.unwrap().iter().map(|job| job.id).collect();
    let log_pages = || std::fs::metadata(scene.log_of_writes()).unwrap().len() / 4096;
    let before = log_pages();
    assert!(queue.cancel_many(&ids).iter().all(Result::is_ok));
    assert!(queue.retry_many(&ids).iter().all(Result::is_ok));
    assert!(queue.cancel_many(&ids).iter().all(Result::is_ok));
    assert!(queue.remove_many(&ids).iter().all(Result::is_ok));
    let written = log_pages() - before;
    assert!(written < 4 * 600, "{written} pages for 2,400 changes");
    assert_eq!(queue.counts().unwrap().total(), 0);
    assert_eq!(ailments(&queue), [] as [String; 0]);
}

#[test]
fn each_of_many_has_its_own_answer_in_the_order_asked_for() {
    let scene = Scene::new();
    let queue = scene.open();
    let jobs = queue.enqueue_many((0..3).map(|_| NewJob::new("k")));
    let ids: Vec<JobId> = jobs.unwrap().iter().map(|job| job.id).collect();
    queue.cancel(ids[1]).unwrap();
    let answers = queue.cancel_many(&[JobId(99), ids[2], ids[1], ids[0]]);
    assert!(answers[0].as_ref().is_err_and(jobq::Error::is_not_found));
    assert!(answers[1].is_ok() && answers[3].is_ok());
    assert!(is_wrong_state(&answers[2]));
    assert_eq!(queue.counts().unwrap().get(State::Cancelled), 3);
    assert!(queue.remove_many(&[]).is_empty());
}

#[test]
fn parents_and_prerequisites_come_first_however_they_are_named() {
    let scene = Scene::new();
    let queue = scene.open();
    let add = |job: NewJob| queue.enqueue(job).unwrap().id;
    let first = add(NewJob::new("k"));
    let second = add(NewJob::new("k").after([first]));
    let group = add(NewJob::new(GROUP_KIND));
    let child = add(NewJob::new("k").parent(group));
    let answers = queue.cancel_many(&[second, first, child, group]);
    assert!(answers[1].is_ok() && answers[3].is_ok());
    assert!(is_wrong_state(&answers[0]), "it went with the first");
    assert!(is_wrong_state(&answers[2]), "it went with its parent");
    let states = queue.retry_many(&[second, first]);
    let states: Vec<State> = states.into_iter().map(Result::unwrap).collect();
    assert_eq!(states, [State::Blocked, State::Pending]);
}

/// The message named a number that nobody had any more once the call was rolled back.
#[test]
fn a_job_of_a_call_that_fails_is_named_by_its_place() {
    let scene = Scene::new();
    let queue = scene.open();
    let once = NewJob::new("k").unique("zz");
    let refused = once.clone().on_duplicate(OnDuplicate::Reject);
    let error = queue.enqueue_many([NewJob::new("k"), once.clone(), refused.clone()]);
    let error = error.unwrap_err();
    assert_eq!(
        error.to_string(),
        "job 3: job 2 of this call already has the unique key 'zz' (pending)"
    );
    assert_eq!((error.job(), error.hint()), (None, None));
    let there = queue.enqueue(once).unwrap().id;
    let error = queue.enqueue_many([refused]).unwrap_err();
    assert_eq!(error.job(), Some(there));
    assert!(
        error
            .to_string()
            .contains(&format!("job {there} already has"))
    );
}

/// What a transaction may remove is spent by the first job; the rest is looked at in the next ones.
#[test]
fn removing_jobs_with_long_histories_leaves_a_live_job_intact() {
    let scene = Scene::new();
    let queue = scene.open();
    let jobs = queue.enqueue_many((0..3).map(|_| NewJob::new("k")));
    let mut ids: Vec<JobId> = jobs.unwrap().iter().map(|job| job.id).collect();
    assert!(queue.cancel_many(&ids).iter().all(Result::is_ok));
    let live = queue.enqueue(NewJob::new("k").unique("u")).unwrap().id;
    let long = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 7500)
        INSERT INTO jobq_log (id, at, kind, job_id) SELECT 1000 + i, 1, 13, 1 + i % 3 FROM n";
    scene.connect().execute(long, []).unwrap();
    ids.push(live);
    let answers = queue.remove_many(&ids);
    assert!(answers[..3].iter().all(Result::is_ok), "{answers:?}");
    assert!(is_wrong_state(&answers[3]));
    assert!(
        queue
            .enqueue(NewJob::new("k").unique("u"))
            .unwrap()
            .duplicate
    );
    assert_eq!(queue.counts().unwrap().total(), 1);
    assert_eq!(ailments(&queue), [] as [String; 0]);
}

/// Each job's own error would look like that of a job that has ended meanwhile, and nothing would be said.
#[test]
fn bulk_changes_inside_a_transaction_are_refused_like_single() {
    let scene = Scene::new();
    let queue = scene.open();
    let job = queue.enqueue(NewJob::new("k")).unwrap();
    let all = jobq::Filter::default();
    queue
        .transaction(|_| -> jobq::Result<()> {
            assert!(is_wrong_state(&queue.cancel(job.id)));
            assert!(is_wrong_state(&queue.cancel_where(&all)));
            assert!(is_wrong_state(&queue.retry_where(&all)));
            assert!(is_wrong_state(&queue.remove_where(&all)));
            Ok(())
        })
        .unwrap();
    assert_eq!(queue.cancel_where(&all).unwrap().jobs, 1);
}
