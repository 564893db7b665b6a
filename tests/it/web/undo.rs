//! Changes are undone over HTTP, by whom they may be made.

use std::time::Duration;

use jobq::{EventId, JobId, JobUpdate, NewJob, State};
use serde_json::{Value, json};

use super::client::Site;
use super::tenants::{ACME, READER, Tenants};

fn undo(site: &Site, event: &Value) -> Value {
    let path = format!("/api/v1/undo/{event}");
    site.change("POST", &path, "").is(200).json()
}

fn state(site: &Site, id: i64) -> State {
    site.queue.state(JobId(id)).unwrap().unwrap()
}

#[test]
fn a_change_gives_the_event_that_undo_takes() {
    let site = Site::new();
    let id = site.add("k");
    let after = NewJob::new("k").after([JobId(id)]);
    site.queue.enqueue(after).unwrap();
    let add = r#"{"name":"nightly","cron":"0 2 * * *","job":{"kind":"k"}}"#;
    site.change("POST", "/api/v1/schedules", add).is(201);
    for (method, path, body, undone) in [
        (
            "POST",
            "/jobs/1/cancel",
            "",
            "job 1 is pending again, and 1 job with it",
        ),
        (
            "PATCH",
            "/jobs/1",
            r#"{"priority":"high","payload":1.0}"#,
            "job 1 has the options that it had before",
        ),
        (
            "POST",
            "/queues/default/pause",
            "",
            "queue 'default' is resumed",
        ),
        ("POST", "/pause", "", "all queues are resumed"),
        (
            "PATCH",
            "/queues/default",
            r#"{"concurrency":2}"#,
            "queue 'default' has the limits that it had before",
        ),
        (
            "POST",
            "/schedules/nightly/pause",
            "",
            "schedule 'nightly' is resumed",
        ),
    ] {
        let all = |site: &Site| {
            let job = site.queue.get(JobId(1)).unwrap().unwrap();
            let queue = site.queue.queues().unwrap().remove(0);
            let paused = site.queue.all_paused_since().unwrap();
            let schedule = site.queue.schedules().unwrap().remove(0).paused_at;
            let job = (job.state, job.priority, job.payload.get().to_owned());
            format!("{job:?} {queue:?} {paused:?} {schedule:?}")
        };
        let before = all(&site);
        let changed = site
            .change(method, &format!("/api/v1{path}"), body)
            .is(200)
            .json();
        assert_ne!(all(&site), before, "{path}");
        let answer = undo(&site, &changed["event"]);
        assert_eq!(answer["undone"], undone);
        assert_eq!(all(&site), before, "{path}");
        let event = EventId(answer["event"].as_i64().unwrap());
        let event = site.queue.event(event).unwrap().unwrap();
        assert_eq!(
            event.undo().map(|of| of.0),
            changed["event"].as_i64(),
            "{path}"
        );
    }
    let features = site.get("/api/v1/features").is(200).json();
    assert_eq!(features["undo"], true);
}

#[test]
fn an_undo_that_cannot_be_is_refused_by_name() {
    let site = Site::new();
    site.add("k");
    let cancel = site.change("POST", "/api/v1/jobs/1/cancel", "").is(200);
    let event = cancel.json()["event"].to_string();
    site.queue.retry(JobId(1)).unwrap();
    for (event, status, name) in [
        (&*event, 409, "wrong-state"),
        ("999", 404, "not-found"),
        ("last", 404, "not-found"),
        ("0", 404, "not-found"),
    ] {
        let answer = site.change("POST", &format!("/api/v1/undo/{event}"), "");
        assert_eq!(answer.is(status).problem(), name, "{event}");
    }
    let no_json = site.ask("POST", &format!("/api/v1/undo/{event}"), "", "");
    assert_eq!(no_json.status, 401);
}

#[test]
fn a_command_is_not_brought_back_where_none_are_taken() {
    let site = Site::new();
    let job = NewJob::new("exec")
        .payload(&json!({"argv": ["true"]}))
        .delay(Duration::from_secs(3600));
    site.queue.enqueue(job).unwrap();
    let other = JobUpdate {
        payload: Some(r#"{"argv":["false"]}"#.to_owned()),
        ..JobUpdate::default()
    };
    site.queue.edit(JobId(1), other).unwrap();
    let event = site.queue.last_event().unwrap().0;
    let path = format!("/api/v1/undo/{event}");
    assert_eq!(site.change("POST", &path, "").is(403).problem(), "exec");
    assert_eq!(site.queue.last_event().unwrap().0, event);
}

#[test]
fn what_a_client_changes_says_so() {
    let tenants = Tenants::new();
    let site = Site::new();
    let id = site.add("k");
    let by = |queue: &jobq::Queue, event: &Value| {
        let event = EventId(event.as_i64().unwrap());
        queue.event(event).unwrap().unwrap().by()
    };
    let path = format!("/api/v1/jobs/{id}/cancel");
    let event = site.change("POST", &path, "").is(200).json()["event"].clone();
    assert_eq!(by(&site.queue, &event).as_deref(), Some("web"));
    let event = undo(&site, &event)["event"].clone();
    assert_eq!(by(&site.queue, &event).as_deref(), Some("web"));
    let cancel = tenants
        .ask(ACME, "POST", "/api/v1/jobs/1/cancel", "")
        .is(200);
    let event = cancel.json()["event"].clone();
    assert_eq!(by(&tenants.site.queue, &event).as_deref(), Some("web:acme"));
}

#[test]
fn a_tenant_undoes_changes_of_its_own_jobs_alone() {
    let tenants = Tenants::new();
    let site = &tenants.site;
    let ask = |token: &str, event: EventId| {
        let path = format!("/api/v1/undo/{}", event.0);
        tenants.ask(token, "POST", &path, "")
    };
    let latest = || site.queue.undoable(1).unwrap()[0].id;
    site.queue.cancel(JobId(2)).unwrap();
    assert_eq!(ask(ACME, latest()).is(404).problem(), "not-found");
    assert_eq!(state(site, 2), State::Cancelled);
    site.queue.pause(jobq::QueueSelector::All).unwrap();
    assert_eq!(ask(ACME, latest()).is(404).problem(), "not-found");
    assert!(site.queue.all_paused_since().unwrap().is_some());

    // What waits for it is another's: it comes back, and is not told of.
    let after = NewJob::new("k").tenant("other").after([JobId(1)]);
    let after = site.queue.enqueue(after).unwrap().id;
    tenants
        .ask(ACME, "POST", "/api/v1/jobs/1/cancel", "")
        .is(200);
    assert_eq!(state(site, after.0), State::Cancelled);
    let event = latest();
    assert_eq!(ask(READER, event).is(403).problem(), "read-only");
    let answer = ask(ACME, event).is(200).json();
    assert_eq!(answer["undone"], "job 1 is pending again");
    assert_eq!(state(site, after.0), State::Blocked);
    let refused = ask(ACME, event).is(409).json();
    assert!(
        !refused.to_string().contains(&format!("job {after}")),
        "{refused}"
    );

    // It does not give its job back to another.
    let mut taken = JobUpdate::default();
    taken.set.tenant = Some("acme".to_owned());
    site.queue.edit(JobId(2), taken).unwrap();
    assert_eq!(ask(ACME, latest()).is(403).problem(), "tenant");
    tenants
        .ask(ACME, "PATCH", "/api/v1/jobs/1", r#"{"tenant":"acme"}"#)
        .is(200);
    ask(ACME, latest()).is(200);
}
