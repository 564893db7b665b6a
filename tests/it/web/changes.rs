//! What is changed.

use jobq::{JobId, NewJob, State};
use serde_json::json;

use super::client::Site;
use crate::support::{PATIENCE, wait_for};

fn state(site: &Site, id: i64) -> State {
    site.queue.state(JobId(id)).unwrap().unwrap()
}

#[test]
fn a_job_is_enqueued_as_a_line_of_a_batch() {
    let site = Site::new();
    let body = r#"{"kind":"resize","payload":{"n": 1.00},"queue":"images","retries":5,"in":"1h","tags":{"a":"b"}}"#;
    let answer = site.change("POST", "/api/v1/jobs", body).is(201);
    assert_eq!(answer.header("location"), Some("/api/v1/jobs/1"));
    assert_eq!(
        answer.json(),
        json!({"id": 1, "state": "scheduled", "duplicate": false})
    );
    let job = site.queue.get(JobId(1)).unwrap().unwrap();
    assert_eq!(job.payload.get(), r#"{"n": 1.00}"#);
    assert_eq!((&*job.queue, job.retry.max_retries), ("images", 5));
    for (body, status, name) in [
        ("", 400, "bad-request"),
        ("{", 400, "bad-request"),
        ("[1", 400, "bad-request"),
        ("\"k\"", 422, "invalid"),
        ("[]", 422, "invalid"),
        ("{}", 422, "invalid"),
        (r#"{"kind":"k","retires":1}"#, 422, "unknown-field"),
        (r#"{"kind":"k","retries":-1}"#, 422, "invalid"),
        (r#"{"kind":"k","in":"soon"}"#, 422, "invalid"),
        (
            r#"{"kind":"sleep","payload":{"tiem":1}}"#,
            422,
            "unknown-field",
        ),
        (r#"{"kind":"k","after":[99]}"#, 404, "not-found"),
    ] {
        let answer = site.change("POST", "/api/v1/jobs", body).is(status);
        assert_eq!(answer.problem(), name, "{body}");
    }
    let hint = site
        .change("POST", "/api/v1/jobs", r#"{"kind":"k","retires":1}"#)
        .json()["hint"]
        .clone();
    assert_eq!(hint, "did you mean 'retries'?");
    assert_eq!(site.queue.counts().unwrap().total(), 1);
}

#[test]
fn a_server_with_given_kinds_takes_jobs_of_no_other() {
    let site = Site::with(|server| server.kinds(["resize", "sleep"]));
    let add = |body| site.change("POST", "/api/v1/jobs", body);
    add(r#"{"kind":"resize"}"#).is(201);
    add(r#"[{"kind":"sleep","payload":{"delayMs":1}},{"kind":"resize"}]"#).is(201);
    let answer = add(r#"{"kind":"fax"}"#).is(422).json();
    assert_eq!(answer["detail"], "this server takes no jobs of kind 'fax'");
    assert_eq!(answer["hint"], "the kinds are resize, sleep");
    let answer = add(r#"[{"kind":"resize"},{"kind":"fax"}]"#).is(422).json();
    assert_eq!(answer["index"], 1);
    let schedule = r#"{"name":"s","cron":"0 3 * * *","job":{"kind":"fax"}}"#;
    site.change("POST", "/api/v1/schedules", schedule).is(422);
    assert_eq!(site.queue.counts().unwrap().total(), 3);
}

#[test]
fn many_jobs_are_enqueued_or_none() {
    let site = Site::new();
    let body = r#"[{"kind":"a","label":"first"},{"kind":"b","after":["first"]}]"#;
    let answer = site.change("POST", "/api/v1/jobs", body).is(201).json();
    assert_eq!(
        (&answer[0]["id"], &answer[1]["state"]),
        (&1.into(), &"blocked".into())
    );
    let body = r#"[{"kind":"a"},{"kind":""},{"kind":"b"}]"#;
    let answer = site.change("POST", "/api/v1/jobs", body).is(422).json();
    assert_eq!(answer["index"], 1);
    assert!(
        answer["detail"]
            .as_str()
            .unwrap()
            .starts_with("job 2 of the array"),
        "{answer}"
    );
    assert_eq!(site.queue.counts().unwrap().total(), 2);
}

#[test]
fn a_repeated_request_enqueues_its_job_once() {
    let site = Site::new();
    let post = |key: &str| {
        let header = format!("Idempotency-Key: {key}\r\n");
        site.change_with("POST", "/api/v1/jobs", &header, r#"{"kind":"k"}"#)
    };
    assert_eq!(post("a").is(201).json()["id"], 1);
    let again = post("a").is(200);
    assert_eq!(
        again.json(),
        json!({"id": 1, "state": "pending", "duplicate": true})
    );
    assert_eq!(post("b").is(201).json()["id"], 2);
    let header = "Idempotency-Key: a\r\n";
    let own = r#"{"kind":"k","unique":"u"}"#;
    site.change_with("POST", "/api/v1/jobs", header, own)
        .is(422);
    site.change_with("POST", "/api/v1/jobs", header, "[]")
        .is(422);
    let rejected = r#"{"kind":"k","unique":"http:a","on_duplicate":"reject"}"#;
    let answer = site.change("POST", "/api/v1/jobs", rejected).is(409);
    assert_eq!(
        (&*answer.problem(), &answer.json()["job"]),
        ("duplicate", &1.into())
    );
}

#[test]
fn a_job_belongs_to_the_trace_of_its_request() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const OWN: &str = "00-11111111111111111111111111111111-2222222222222222-00";
    let site = Site::new();
    let post = |headers: &str, body: &str| {
        site.change_with("POST", "/api/v1/jobs", headers, body)
            .is(201);
        let id = site.queue.counts().unwrap().total();
        let id = JobId(i64::try_from(id).unwrap());
        let job = site.queue.get(id).unwrap().unwrap();
        job.traceparent.map(|traceparent| traceparent.to_string())
    };
    let header = format!("traceparent: {TRACE}\r\n");
    let plain = r#"{"kind":"k"}"#;
    assert_eq!(post(&header, plain).as_deref(), Some(TRACE));
    assert_eq!(
        post(&header, r#"[{"kind":"k"},{"kind":"k"}]"#).as_deref(),
        Some(TRACE)
    );
    let own = format!(r#"{{"kind":"k","traceparent":"{OWN}"}}"#);
    assert_eq!(post(&header, &own).as_deref(), Some(OWN));
    assert_eq!(post("", plain), None);
    for wrong in [
        "traceparent: 00-0-0-0\r\n".to_owned(),
        format!("traceparent: {}\r\n", TRACE.to_uppercase()),
        format!("{header}{header}"),
    ] {
        assert_eq!(post(&wrong, plain), None, "{wrong}");
    }
}

#[test]
fn a_job_is_cancelled_retried_and_removed() {
    let site = Site::new();
    let id = site.add("k");
    let path = format!("/api/v1/jobs/{id}");
    let answer = site
        .change("POST", &format!("{path}/cancel"), "")
        .is(200)
        .json();
    assert_eq!(answer["result"], "cancelled");
    assert_eq!(answer["event"], site.queue.last_event().unwrap().0);
    assert_eq!(
        site.change("POST", &format!("{path}/cancel"), "")
            .is(409)
            .problem(),
        "wrong-state"
    );
    let answer = site
        .change("POST", &format!("{path}/retry"), "")
        .is(200)
        .json();
    assert_eq!(answer, json!({"id": id, "state": "pending"}));
    site.change("DELETE", &path, "").is(409);
    site.queue.cancel(JobId(id)).unwrap();
    site.change("DELETE", &path, "").is(204);
    site.change("DELETE", &path, "").is(404);
}

#[test]
fn an_edit_sets_and_clears_what_is_named() {
    let site = Site::new();
    let job = NewJob::new("k")
        .tenant("t")
        .tag("a", "1")
        .tag("b", "2")
        .timeout(std::time::Duration::from_secs(9));
    site.queue.enqueue(job).unwrap();
    let seen = site
        .get("/api/v1/jobs/1")
        .is(200)
        .header("etag")
        .unwrap()
        .to_owned();
    let body = r#"{"priority":"urgent","timeout":null,"tags":{"a":null,"c":"3"},"payload":[1.0]}"#;
    let edit = |mark: &str| {
        site.change_with(
            "PATCH",
            "/api/v1/jobs/1",
            &format!("If-Match: {mark}\r\n"),
            body,
        )
    };
    let answer = edit(&seen).is(200).json();
    assert_eq!(
        answer,
        json!({"id": 1, "event": site.queue.last_event().unwrap().0})
    );
    let job = site.queue.get(JobId(1)).unwrap().unwrap();
    assert_eq!((job.timeout, job.payload.get()), (None, "[1.0]"));
    assert_eq!(job.tags.keys().collect::<Vec<_>>(), ["b", "c"]);
    // It has changed since.
    assert_eq!(edit(&seen).is(412).problem(), "changed");
    assert_eq!(edit("\"x\"").is(400).problem(), "bad-request");
    assert_eq!(edit("*").status, 200);
    for body in [r#"{"kind":"other"}"#, r#"{"priorty":"high"}"#] {
        let answer = site.change("PATCH", "/api/v1/jobs/1", body).is(422);
        assert_eq!(answer.problem(), "unknown-field", "{body}");
    }
    site.change("PATCH", "/api/v1/jobs/1", r#"{"queue":null}"#)
        .is(422);
    site.change("PATCH", "/api/v1/jobs/9", "{}").is(404);
}

#[test]
fn queues_are_limited_paused_and_resumed() {
    let site = Site::new();
    let set = |body: &str| site.change("PATCH", "/api/v1/queues/a%20b", body);
    let queue = set(r#"{"concurrency":2,"rate":"10/1m","weight":3}"#)
        .is(200)
        .json();
    assert_eq!(queue["name"], "a b");
    assert_eq!(queue["rate"], json!({"jobs": 10, "per_ms": 60_000}));
    let queue = set(r#"{"concurrency":null}"#).is(200).json();
    assert_eq!(
        (&queue["concurrency"], &queue["weight"]),
        (&json!(null), &json!(3))
    );
    set(r#"{"rate":"often"}"#).is(422);
    assert_eq!(
        set(r#"{"concurency":1}"#).is(422).problem(),
        "unknown-field"
    );
    let switch = |path: &str| site.change("POST", path, "").is(200).json()["event"].clone();
    for (pause, resume) in [
        ("/api/v1/queues/a%20b/pause", "/api/v1/queues/a%20b/resume"),
        ("/api/v1/pause", "/api/v1/resume"),
    ] {
        assert!(switch(pause).is_i64());
        assert!(switch(pause).is_null(), "{pause} twice");
        assert!(switch(resume).is_i64());
    }
    site.change("POST", "/api/v1/queues/none/resume", "")
        .is(404);
}

#[test]
fn schedules_are_added_run_paused_and_removed() {
    let site = Site::new();
    let body = r#"{"name":"nightly","cron":"0 2 * * *","timezone":"Europe/Berlin","missed":"skip","job":{"kind":"k"}}"#;
    assert_eq!(
        site.change("POST", "/api/v1/schedules", body)
            .is(201)
            .json()["result"],
        "added"
    );
    assert_eq!(
        site.change("POST", "/api/v1/schedules", body)
            .is(200)
            .json()["result"],
        "unchanged"
    );
    let path = |what: &str| format!("/api/v1/schedules/nightly{what}");
    assert_eq!(
        site.change("POST", &path("/run"), "").is(201).json()["id"],
        1
    );
    assert_eq!(
        site.change("POST", &path("/pause"), "").is(200).json()["changed"],
        true
    );
    assert_eq!(
        site.change("POST", &path("/resume"), "").is(200).json()["changed"],
        true
    );
    site.change("DELETE", &path(""), "").is(204);
    site.change("DELETE", &path(""), "").is(404);
    let wrong = r#"{"name":"n","cron":"often","job":{"kind":"k"}}"#;
    site.change("POST", "/api/v1/schedules", wrong).is(422);
}

#[test]
fn all_that_match_are_changed_after_a_dry_run() {
    let site = Site::new();
    site.queue
        .enqueue_many((0..700).map(|_| NewJob::new("a")))
        .unwrap();
    let body = |dry_run: bool, as_of: &serde_json::Value| {
        json!({"action": "cancel", "filter": {"search": "kind:a"}, "as_of": as_of, "dry_run": dry_run}).to_string()
    };
    let post = |body: &str| site.change("POST", "/api/v1/jobs/bulk", body);
    let preview = post(&body(true, &json!(null))).is(200).json();
    assert_eq!(
        (&preview["jobs"], &preview["complete"]),
        (&700.into(), &true.into())
    );
    assert_eq!(preview["sample"].as_array().unwrap().len(), 10);
    assert_eq!(preview["command"], "jobq cancel --search kind:a");
    assert_eq!(site.queue.counts().unwrap().get(State::Pending), 700);
    // One that comes after the dry run stays.
    let late = site.add("a");
    let started = post(&body(false, &preview["as_of"])).is(202);
    let path = started.header("location").unwrap().to_owned();
    let done = wait_for("the end of the change", PATIENCE, || {
        let progress = site.get(&path).is(200).json();
        (progress["finished"] == true).then_some(progress)
    });
    assert_eq!((&done["jobs"], &done["error"]), (&700.into(), &json!(null)));
    assert_eq!(state(&site, late), State::Pending);
    site.change("DELETE", &path, "").is(204);
    site.get("/api/v1/bulk/99").is(404);
}

#[test]
fn some_jobs_are_changed_by_their_ids() {
    let site = Site::new();
    let (one, two) = (site.add("a"), site.add("a"));
    let body = json!({"action": "cancel", "ids": [one, two, 99]}).to_string();
    let path = site
        .change("POST", "/api/v1/jobs/bulk", &body)
        .is(202)
        .json()["bulk"]
        .to_string();
    let done = wait_for("the end of the change", PATIENCE, || {
        let progress = site.get(&format!("/api/v1/bulk/{path}")).is(200).json();
        (progress["finished"] == true).then_some(progress)
    });
    assert_eq!((&done["jobs"], &done["refused"]), (&2.into(), &1.into()));
    assert_eq!(done["refusals"][0]["id"], 99);
    for body in [
        r#"{"action":"cancel"}"#,
        r#"{"action":"explode","ids":[1]}"#,
        r#"{"action":"cancel","ids":[1],"filter":{"search":"kind:a"}}"#,
        r#"{"action":"cancel","filter":{"search":"colour:red"}}"#,
        r#"{"action":"cancel","ids":[1],"dry_run":true}"#,
        // Not the values of an object in their order.
        r#"{"action":"cancel","filter":["kind:a"],"dry_run":true}"#,
        r#"["cancel",[1]]"#,
    ] {
        site.change("POST", "/api/v1/jobs/bulk", body).is(422);
    }
}

#[test]
fn a_full_queue_says_when_to_come_again() {
    let site = Site::new();
    site.change("PATCH", "/api/v1/queues/small", r#"{"max_size":1}"#)
        .is(200);
    let body = r#"{"kind":"k","queue":"small"}"#;
    site.change("POST", "/api/v1/jobs", body).is(201);
    let answer = site.change("POST", "/api/v1/jobs", body).is(429);
    assert_eq!(
        (&*answer.problem(), answer.header("retry-after")),
        ("queue-full", Some("5"))
    );
}

#[test]
fn a_path_is_told_which_methods_it_has() {
    let site = Site::new();
    let answer = site.change("PUT", "/api/v1/jobs/1", "{}").is(405);
    assert_eq!(
        (&*answer.problem(), answer.header("allow")),
        ("method", Some("GET, PATCH, DELETE"))
    );
    for (path, methods) in [("/", "GET"), ("/api/v1/jobs/bulk", "POST")] {
        let answer = site.change("PUT", path, "{}").is(405);
        assert_eq!(answer.header("allow"), Some(methods), "{path}");
    }
    assert_eq!(
        site.change("POST", "/api/v1/nothing", "{}")
            .is(404)
            .problem(),
        "not-found"
    );
}
