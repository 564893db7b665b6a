//! Tokens that belong to a tenant.

use jobq::{JobId, JobUpdate, NewJob};
use serde_json::json;

use super::client::{Answer, Site};

pub(crate) const ACME: &str = "acme-0123456789abcdef";
pub(crate) const READER: &str = "read-0123456789abcdef";

pub(crate) struct Tenants {
    pub(crate) site: Site,
    _tokens: tempfile::NamedTempFile,
}

impl Tenants {
    pub(crate) fn new() -> Tenants {
        let tokens = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            &tokens,
            format!("{ACME} tenant=acme\n{READER} tenant=acme read-only\n"),
        )
        .unwrap();
        let site = Site::with(|server| server.token_file(tokens.path()));
        for tenant in ["acme", "other"] {
            let job = NewJob::new("k")
                .tenant(tenant)
                .payload(&format!("of {tenant}"));
            site.queue.enqueue(job).unwrap();
        }
        Tenants {
            site,
            _tokens: tokens,
        }
    }

    pub(crate) fn ask(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let headers =
            format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
        self.site.ask(method, path, &headers, body)
    }
}

#[test]
fn a_tenant_sees_its_own_jobs_and_no_others() {
    let tenants = Tenants::new();
    let get = |path: &str| tenants.ask(ACME, "GET", path, "");
    let jobs = get("/api/v1/jobs").is(200);
    assert_eq!(jobs.json()["jobs"].as_array().unwrap().len(), 1);
    for part in [
        "",
        "/attempts",
        "/events",
        "/why",
        "/logs",
        "/logs?format=text",
        "/payload",
    ] {
        get(&format!("/api/v1/jobs/1{part}")).is(200);
        let refused = get(&format!("/api/v1/jobs/2{part}")).is(404);
        assert_eq!(refused.json()["detail"], "no job 2", "{part}");
    }
    for path in [
        "/api/v1/jobs",
        "/api/v1/jobs?search=k",
        "/api/v1/events",
        "/api/v1/export",
        "/api/v1/errors",
    ] {
        let answer = get(path).is(200);
        assert!(
            !answer.text().contains("other"),
            "{path}: {}",
            answer.text()
        );
        assert!(
            !answer.text().contains("\"job\":2"),
            "{path}: {}",
            answer.text()
        );
    }
    assert_eq!(get("/api/v1/jobs?tenant=other").is(403).problem(), "tenant");
    assert_eq!(
        get("/api/v1/jobs?search=tenant:other").is(403).problem(),
        "tenant"
    );
    for path in [
        "/api/v1/counts",
        "/api/v1/overview",
        "/api/v1/queues",
        "/api/v1/queues/default",
        "/api/v1/runners",
        "/api/v1/schedules",
        "/api/v1/doctor",
        "/api/v1/stats",
        "/api/v1/suggest?field=kind",
        "/metrics",
    ] {
        assert_eq!(get(path).is(403).problem(), "tenant", "{path}");
    }
    assert_eq!(get("/api/v1/features").is(200).json()["tenant"], "acme");
}

#[test]
fn a_tenant_changes_its_own_jobs_and_no_others() {
    let tenants = Tenants::new();
    let change = |method: &str, path: &str, body: &str| tenants.ask(ACME, method, path, body);
    change("POST", "/api/v1/jobs/2/cancel", "").is(404);
    change("POST", "/api/v1/jobs/2/retry", "").is(404);
    change("DELETE", "/api/v1/jobs/2", "").is(404);
    change("PATCH", "/api/v1/jobs/2", r#"{"priority":"high"}"#).is(404);
    change("POST", "/api/v1/pause", "").is(403);
    change("POST", "/api/v1/queues/default/pause", "").is(403);
    // It can neither give away nor take.
    change("PATCH", "/api/v1/jobs/1", r#"{"tenant":"other"}"#).is(403);
    change("PATCH", "/api/v1/jobs/1", r#"{"tenant":null}"#).is(403);
    change("POST", "/api/v1/jobs", r#"{"kind":"k","tenant":"other"}"#).is(403);
    change("POST", "/api/v1/jobs", r#"{"kind":"k","after":[2]}"#).is(404);
    let id = change("POST", "/api/v1/jobs", r#"{"kind":"k"}"#)
        .is(201)
        .json()["id"]
        .as_i64()
        .unwrap();
    let job = tenants.site.queue.get(JobId(id)).unwrap().unwrap();
    assert_eq!(job.tenant.as_deref(), Some("acme"));
    let all = json!({"action": "cancel", "filter": {"search": ""}, "dry_run": true}).to_string();
    assert_eq!(
        change("POST", "/api/v1/jobs/bulk", &all).is(200).json()["jobs"],
        2
    );
    change("POST", "/api/v1/jobs/1/cancel", "").is(200);
}

#[test]
fn a_token_for_reading_changes_nothing() {
    let tenants = Tenants::new();
    tenants.ask(READER, "GET", "/api/v1/jobs/1", "").is(200);
    let answer = tenants
        .ask(READER, "POST", "/api/v1/jobs/1/cancel", "")
        .is(403);
    assert_eq!(answer.problem(), "read-only");
    let features = tenants
        .ask(READER, "GET", "/api/v1/features", "")
        .is(200)
        .json();
    assert_eq!(features["read_only"], true);
}

#[test]
fn a_tenant_is_not_shown_what_a_job_was_before() {
    let tenants = Tenants::new();
    let queue = &tenants.site.queue;
    let parent = NewJob::new("parent").tenant("other");
    let parent = queue.enqueue(parent).unwrap().id;
    let half = crate::support::by(|ctx: &jobq::Context| {
        match ctx.spawn_child(NewJob::new("child").delay(std::time::Duration::from_secs(3600))) {
            Ok(()) => jobq::Outcome::Done(Some("\"result of other\"".to_owned())),
            Err(failure) => failure.into(),
        }
    });
    queue.runner().kind("parent", half).run_due().unwrap();
    let by_other = queue.acting_as("web:other");
    by_other.cancel(parent).unwrap();
    let secret = |text: &str| JobUpdate {
        payload: Some(format!("\"{text}\"")),
        ..JobUpdate::default()
    };
    by_other.edit(JobId(2), secret("second of other")).unwrap();
    for id in [JobId(2), parent] {
        let mut given = secret("of acme");
        given.set.tenant = Some("acme".to_owned());
        queue.acting_as("web").edit(id, given).unwrap();
    }
    let everything = tenants.site.get("/api/v1/events").status;
    assert_eq!(everything, 401, "the tokens are those of the file");
    let seen = |path: &str| tenants.ask(ACME, "GET", path, "").is(200).text().to_owned();
    for path in [
        "/api/v1/events".to_owned(),
        "/api/v1/events?job=2".to_owned(),
        "/api/v1/jobs/2/events".to_owned(),
        format!("/api/v1/jobs/{parent}/events"),
    ] {
        let text = seen(&path);
        assert!(!text.contains("other"), "{path}: {text}");
        assert!(
            text.contains("job_edited") && text.contains("\"by\":\"web\""),
            "{path}: {text}"
        );
    }
    let kept: Vec<String> = queue
        .events(&jobq::EventFilter::default())
        .unwrap()
        .events
        .iter()
        .filter_map(|event| match &event.data {
            Some(jobq::EventData::Text(data)) => Some(data.clone()),
            _ => None,
        })
        .collect();
    for text in ["result of other", "second of other", "web:other"] {
        assert!(
            kept.iter().any(|data| data.contains(text)),
            "{text}: {kept:?}"
        );
    }
}

#[test]
fn a_tenant_is_not_told_of_the_jobs_of_others() {
    let tenants = Tenants::new();
    let key = |tenant: &str| NewJob::new("k").tenant(tenant).key("shared");
    tenants.site.queue.enqueue(key("other")).unwrap();
    let id = tenants.site.queue.enqueue(key("acme")).unwrap().id;
    let why = tenants
        .ask(ACME, "GET", &format!("/api/v1/jobs/{id}/why"), "")
        .is(200)
        .json();
    assert_eq!(why["why"], "key_taken");
    assert_eq!(why["message"], format!("job {id} is blocked"));
    assert_eq!((&why["hint"], &why["action"]), (&json!(null), &json!(null)));
}

/// Keys of the file are for all; those of a tenant's client are its own.
#[test]
fn the_keys_of_a_tenant_reach_no_job_of_another() {
    let tenants = Tenants::new();
    let queue = &tenants.site.queue;
    let theirs = [
        NewJob::new("k").unique("a"),
        NewJob::new("k").payload(&7).unique_by_payload(),
        NewJob::new("k").unique("http:b"),
        NewJob::new("k").key("disk"),
    ];
    let theirs = queue
        .enqueue_many(theirs.map(|job| job.tenant("other")))
        .unwrap();
    for body in [
        r#"{"kind":"k","unique":"a","on_duplicate":"replace","payload":1}"#,
        r#"{"kind":"k","payload":7,"unique_by_payload":true}"#,
        r#"{"kind":"k","key":"disk"}"#,
    ] {
        let added = tenants.ask(ACME, "POST", "/api/v1/jobs", body).is(201);
        assert_eq!(added.json()["state"], "pending", "{body}");
    }
    let headers = format!(
        "Authorization: Bearer {ACME}\r\nContent-Type: application/json\r\nIdempotency-Key: b\r\n"
    );
    let post = || {
        let body = r#"{"kind":"k"}"#;
        tenants.site.ask("POST", "/api/v1/jobs", &headers, body)
    };
    let id = post().is(201).json()["id"].clone();
    assert_eq!(post().is(200).json()["id"], id);
    tenants
        .ask(
            ACME,
            "PATCH",
            &format!("/api/v1/jobs/{id}"),
            r#"{"unique":"a2"}"#,
        )
        .is(200);
    let job = queue.get(JobId(id.as_i64().unwrap())).unwrap().unwrap();
    assert_eq!(job.unique_key.as_deref(), Some("acme:a2"));
    for (job, payload) in theirs.iter().zip(["null", "7", "null", "null"]) {
        let job = queue.get(job.id).unwrap().unwrap();
        assert_eq!(job.payload.get(), payload);
        assert_eq!(job.state, jobq::State::Pending);
    }
}
