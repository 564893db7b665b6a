//! What each topic sends.

use jobq::{JobId, JobUpdate, NewJob, QueueSelector};
use serde_json::{Value, json};

use super::client::{ACME, LiveClient, Served, TOKEN, apply};
use crate::support::{PATIENCE, by, wait_for};

/// Follows a view until it is what the API answers.
fn follow_until_same(client: &mut LiveClient, view: &mut Value, mut answer: impl FnMut() -> Value) {
    wait_for("the view is what the API answers", PATIENCE, || {
        let mut answer = answer();
        answer.as_object_mut().unwrap().remove("at");
        if *view == answer {
            return Some(());
        }
        let frame = client.hear();
        apply(view, &frame);
        None
    });
}

#[test]
fn events_of_another_process_are_sent_as_they_happen() {
    let served = Served::new();
    let mut client = served.socket();
    client.say(&json!({"sub": 4, "topic": "events"}));
    let begun = client.hear_of(4);
    assert_eq!(begun["snapshot"], json!({"events": []}));
    let id = served.jobq.enqueue(&["--", "true"]);
    let frame = client.hear_of(4);
    let event = &frame["patch"]["events"][0];
    assert_eq!(event["kind"], "job_enqueued");
    assert_eq!(event["job"], id);
    assert_eq!(event["text"], "enqueued");
    assert_eq!(frame["at"], event["id"]);
    let expected = served
        .jobq
        .json(&["events", "--since", &begun["at"].to_string()]);
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(event[name], *value, "{name}");
    }
}

#[test]
fn events_can_be_chosen_by_kind_and_job() {
    let served = Served::new();
    let queue = served.queue();
    let first = queue.enqueue(NewJob::new("a")).unwrap().id;
    let mut client = served.socket();
    client.say(&json!({"sub": 1, "topic": "events", "kinds": ["job_cancelled"]}));
    client.say(&json!({"sub": 2, "topic": "events", "job": first, "since": 0}));
    client.hear_of(1);
    let of_first = client.hear_of(2);
    assert_eq!(of_first["snapshot"], json!({"events": []}));
    assert_eq!(
        client.hear_of(2)["patch"]["events"][0]["kind"],
        "job_enqueued"
    );
    let second = queue.enqueue(NewJob::new("a")).unwrap().id;
    queue.cancel(second).unwrap();
    queue.cancel(first).unwrap();
    let mut cancelled = Vec::new();
    while cancelled.len() < 3 {
        let frame = client.hear();
        for event in frame["patch"]["events"].as_array().unwrap() {
            cancelled.push((
                frame["sub"].clone(),
                event["kind"].clone(),
                event["job"].clone(),
            ));
        }
    }
    let kind = json!("job_cancelled");
    cancelled.sort_by_key(|(sub, ..)| sub.as_u64());
    assert_eq!(
        cancelled,
        [
            (json!(1), kind.clone(), json!(second)),
            (json!(1), kind.clone(), json!(first)),
            (json!(2), kind, json!(first)),
        ]
    );
}

#[test]
fn a_list_of_jobs_follows_by_patches() {
    let served = Served::new();
    let queue = served.queue();
    queue
        .enqueue_many((0..5).map(|_| NewJob::new("a")))
        .unwrap();
    let mut client = served.socket();
    let query = json!({"sub": 1, "topic": "jobs", "kind": "a", "limit": 4});
    client.say(&query);
    let mut page = Value::Null;
    apply(&mut page, &client.hear());
    assert_eq!(page["jobs"].as_array().unwrap().len(), 4);
    queue
        .enqueue_many((0..2).map(|_| NewJob::new("a").priority(jobq::Priority::High)))
        .unwrap();
    queue.enqueue(NewJob::new("b")).unwrap();
    queue.cancel(JobId(4)).unwrap();
    follow_until_same(&mut client, &mut page, || {
        served.get("/jobs?kind=a&limit=4")
    });
    // A removed job has no event.
    queue.cancel(JobId(7)).unwrap();
    queue.remove(JobId(7)).unwrap();
    follow_until_same(&mut client, &mut page, || {
        served.get("/jobs?kind=a&limit=4")
    });
    assert_eq!(page["jobs"][0]["id"], 6);
    let runner = queue.runner().kind(
        "a",
        by(|ctx| {
            ctx.progress(jobq::Progress::default());
            jobq::Outcome::Done(None)
        }),
    );
    runner.run_due().unwrap();
    follow_until_same(&mut client, &mut page, || {
        served.get("/jobs?kind=a&limit=4")
    });
    assert_eq!(page["jobs"][0]["state"], "completed");
}

#[test]
fn the_overview_follows_by_patches() {
    let served = Served::new();
    let queue = served.queue();
    let mut client = served.socket();
    client.say(&json!({"sub": 1, "topic": "overview"}));
    let mut overview = Value::Null;
    apply(&mut overview, &client.hear());
    assert_eq!(overview["counts"]["pending"], 0);
    queue
        .enqueue_many((0..3).map(|_| NewJob::new("a")))
        .unwrap();
    queue.pause(QueueSelector::Named("default".into())).unwrap();
    follow_until_same(&mut client, &mut overview, || served.get("/overview"));
    assert_eq!(overview["counts"]["pending"], 3);
    assert_eq!(overview["queues"][0]["paused"], true);
}

#[test]
fn a_job_is_followed_with_its_exact_payload() {
    let served = Served::new();
    let queue = served.queue();
    let payload = r#"{"n":1.10,"big":12345678901234567890123}"#;
    let id = queue
        .enqueue(NewJob::new("a").payload_json(payload))
        .unwrap()
        .id;
    let mut client = served.socket();
    client.say(&json!({"sub": 1, "topic": "job", "id": id}));
    client.say(&json!({"sub": 2, "topic": "job", "id": 77}));
    let text = loop {
        match client.0.read().unwrap() {
            tungstenite::Message::Text(text) if text.contains("snapshot") => break text,
            tungstenite::Message::Text(text) => assert!(text.contains("not-found"), "{text}"),
            other => panic!("{other:?}"),
        }
    };
    assert!(text.contains(payload), "{text}");
    queue.cancel(id).unwrap();
    client.hear_until(1, |frame| frame["patch"]["state"] == "cancelled");
}

#[test]
fn a_bulk_change_is_followed_to_its_end() {
    let served = Served::new();
    let queue = served.queue();
    queue
        .enqueue_many((0..50).map(|_| NewJob::new("a")))
        .unwrap();
    let body = json!({"action": "cancel", "filter": {"search": "kind:a"}});
    let bulk = served.post("/jobs/bulk", &body)["bulk"].clone();
    let mut client = served.socket();
    client.say(&json!({"sub": 1, "topic": "bulk", "id": bulk}));
    let mut state = Value::Null;
    while state["finished"] != true {
        apply(&mut state, &client.hear());
    }
    assert_eq!(
        (&state["jobs"], &state["error"]),
        (&json!(50), &Value::Null)
    );
    client.say(&json!({"sub": 2, "topic": "bulk", "id": 99}));
    assert_eq!(client.hear_of(2)["error"]["status"], 404);
}

/// The output of a job as far as it was heard.
#[derive(Default)]
struct Output {
    lines: Vec<(Value, Value)>,
    at: Value,
}

impl Output {
    fn hear_until(&mut self, client: &mut LiveClient, text: &str) {
        while !self.lines.iter().any(|(_, line)| line == text) {
            let frame = client.hear();
            self.at = frame["at"].clone();
            let data = frame.get("snapshot").or(frame.get("patch")).unwrap();
            let lines = data["lines"].as_array().unwrap().iter();
            let lines = lines.map(|line| (line["stream"].clone(), line["text"].clone()));
            self.lines.extend(lines);
        }
    }
}

#[test]
fn the_output_of_a_job_is_streamed_and_continues() {
    let served = Served::new();
    served.jobq.script(
        "talk",
        "echo one; echo two >&2; until [ -e go ]; do sleep 0.01; done; echo three",
    );
    let id = served.jobq.enqueue(&["--", "./talk"]);
    let runner = served.jobq.runner(&[]);
    let mut client = served.socket();
    client.say(&json!({"sub": 1, "topic": "logs", "id": id}));
    let mut output = Output::default();
    output.hear_until(&mut client, "one\n");
    output.hear_until(&mut client, "two\n");
    drop(client);
    served.jobq.write("go", "");
    let mut client = served.socket();
    client.say(&json!({"sub": 9, "topic": "logs", "id": id, "after": output.at}));
    output.hear_until(&mut client, "three\n");
    let Output { mut lines, .. } = output;
    lines.sort_by_key(|(_, text)| text.to_string());
    assert_eq!(
        lines,
        [
            ("stdout", "one\n"),
            ("stdout", "three\n"),
            ("stderr", "two\n")
        ]
        .map(|(stream, text)| (json!(stream), json!(text)))
    );
    runner.stop().exits(0);
}

/// A job whose every text names its tenant.
fn job_of(tenant: &str) -> NewJob {
    NewJob::new(format!("kind-of-{tenant}"))
        .queue(format!("queue-of-{tenant}"))
        .tenant(tenant)
        .payload(&format!("payload-of-{tenant}"))
}

/// What the client of one tenant hears while the other is busy, until its own job has been cancelled.
fn frames_of_tenant(served: &Served, [own, other]: [JobId; 2]) -> Vec<Value> {
    let queue = served.queue();
    let mut client = served.socket_with(&json!({ "token": ACME }));
    let topics = json!([
        {"sub": 1, "topic": "jobs"},
        {"sub": 2, "topic": "events", "since": 0},
        {"sub": 3, "topic": "job", "id": own},
        {"sub": 4, "topic": "logs", "id": own},
        {"sub": 5, "topic": "job", "id": other},
        {"sub": 6, "topic": "logs", "id": other},
        {"sub": 7, "topic": "events", "job": other, "since": 0},
        {"sub": 8, "topic": "overview"},
        {"sub": 9, "topic": "jobs", "tenant": "initech"},
        {"sub": 10, "topic": "events", "job": 4711},
    ]);
    let topics = topics.as_array().unwrap();
    topics.iter().for_each(|topic| client.say(topic));
    for _ in 0..20 {
        let other = queue.enqueue(job_of("umbrella")).unwrap().id;
        queue.cancel(other).unwrap();
    }
    let paused = QueueSelector::Named("queue-of-umbrella".into());
    queue.pause(paused).unwrap();
    queue.cancel(own).unwrap();
    let (mut frames, mut is_cancelled) = (Vec::new(), [false; 2]);
    while is_cancelled != [true; 2] {
        let frame = client.hear();
        is_cancelled[0] |= frame["sub"] == 3 && frame["patch"]["state"] == "cancelled";
        is_cancelled[1] |= frame["sub"] == 2 && frame.to_string().contains("job_cancelled");
        frames.push(frame);
    }
    frames
}

/// In no frame of its socket there is anything of what belongs to others.
#[test]
fn a_tenants_socket_has_nothing_of_another() {
    let served = Served::new();
    let queue = served.queue();
    let other = queue.enqueue(job_of("umbrella")).unwrap().id;
    let own = queue.enqueue(job_of("acme")).unwrap().id;
    // Its history keeps the payload of another.
    for payload in ["payload-of-umbrella", "payload-of-acme"] {
        let payload = JobUpdate {
            payload: Some(json!(payload).to_string()),
            ..JobUpdate::default()
        };
        let by_other = queue.acting_as("web:umbrella");
        by_other.edit(own, payload).unwrap();
    }
    let frames = frames_of_tenant(&served, [own, other]);
    for sub in 5..=10 {
        let of_sub: Vec<&Value> = frames.iter().filter(|frame| frame["sub"] == sub).collect();
        assert_eq!(of_sub.len(), 1, "{sub}: {of_sub:?}");
        let status = &of_sub[0]["error"]["status"];
        assert!(*status == 404 || *status == 403, "{sub}: {of_sub:?}");
    }
    for frame in frames {
        assert!(!frame.to_string().contains("umbrella"), "{frame}");
        let snapshot = frame["snapshot"]["jobs"].as_array();
        let rows = frame["patch"]["upsert"].as_array();
        for row in snapshot.into_iter().chain(rows).flatten() {
            assert_eq!(row["id"], own.0, "{frame}");
        }
        for event in frame["patch"]["events"].as_array().into_iter().flatten() {
            assert_eq!(event["job"], own.0, "{frame}");
        }
        assert!(
            frame["patch"]["remove"]
                .as_array()
                .is_none_or(Vec::is_empty),
            "{frame}"
        );
    }
    // A client of the whole file sees all of it.
    let mut client = served.socket_with(&json!({ "token": TOKEN }));
    client.say(&json!({"sub": 1, "topic": "jobs"}));
    let page = client.hear();
    assert_eq!(page["snapshot"]["jobs"].as_array().unwrap().len(), 22);
}
