//! What is read.

use jobq::{Context, Failure, Job, Level, NewJob, QueueSelector, Schedule, State};
use serde::{Deserialize, Serialize};

use super::client::Site;

#[derive(Serialize, Deserialize)]
struct Double(i64);

impl Job for Double {
    const KIND: &'static str = "double";
    type Output = i64;
}

fn double(job: Double, ctx: &Context) -> Result<i64, Failure> {
    ctx.log(Level::Info, "doubling");
    match job.0 {
        0 => Err(Failure::permanent("0 cannot be doubled")),
        number => Ok(2 * number),
    }
}

fn run(site: &Site) {
    site.queue.runner().job(double).run_due().unwrap();
}

#[test]
fn a_job_is_read_as_the_command_line_shows_it() {
    let site = Site::new();
    let job = NewJob::new("double").payload_json("{\"n\":1.00,\"big\":12345678901234567890123}");
    let id = site.queue.enqueue(job).unwrap().id;
    let answer = site.get(&format!("/api/v1/jobs/{id}")).is(200);
    // Digits stay as they are written.
    assert!(
        answer
            .text()
            .contains("{\"n\":1.00,\"big\":12345678901234567890123}"),
        "{}",
        answer.text()
    );
    let job = answer.json();
    assert_eq!(
        (&job["state"], &job["why"]["why"]),
        (&"pending".into(), &"no_runner".into())
    );
    assert_eq!(job["attempts"], serde_json::json!([]));
    assert_eq!(job["at"], site.queue.last_event().unwrap().0);
    site.get("/api/v1/jobs/99").is(404);
    site.get("/api/v1/jobs/x").is(404);
}

#[test]
fn what_a_job_did_is_read_with_its_output_and_result() {
    let site = Site::new();
    let done = site.queue.enqueue(Double(21)).unwrap().id;
    let failed = site.queue.enqueue(Double(0)).unwrap().id;
    run(&site);
    assert_eq!(
        site.get(&format!("/api/v1/jobs/{done}/result"))
            .is(200)
            .text(),
        "42"
    );
    assert_eq!(
        site.get(&format!("/api/v1/jobs/{failed}/result"))
            .is(404)
            .problem(),
        "not-found"
    );
    assert!(
        site.get(&format!("/api/v1/jobs/{failed}/error"))
            .is(200)
            .text()
            .contains("0 cannot")
    );
    let logs = site
        .get(&format!("/api/v1/jobs/{done}/logs"))
        .is(200)
        .json();
    let line = &logs["lines"][0];
    assert_eq!(
        (&line["stream"], &line["text"], &line["level"]),
        (&"log".into(), &"doubling".into(), &"info".into())
    );
    let text = site
        .get(&format!("/api/v1/jobs/{done}/logs?format=text"))
        .is(200);
    assert_eq!(text.text(), "doubling\n");
    let attempts = site
        .get(&format!("/api/v1/jobs/{failed}/attempts"))
        .is(200)
        .json();
    assert_eq!(attempts["attempts"][0]["outcome"], "failed");
    let events = site
        .get(&format!("/api/v1/jobs/{failed}/events"))
        .is(200)
        .json();
    let told = events["events"].as_array().unwrap().last().unwrap()["text"]
        .as_str()
        .unwrap();
    assert!(told.contains("0 cannot be doubled"), "{told}");
    let why = site
        .get(&format!("/api/v1/jobs/{failed}/why"))
        .is(200)
        .json();
    assert_eq!(
        why["action"]["path"],
        format!("/api/v1/jobs/{failed}/retry")
    );
    let errors = site.get("/api/v1/errors").is(200).json();
    assert_eq!(errors["groups"][0]["jobs"], 1);
}

#[test]
fn a_window_of_output_goes_forward_and_back() {
    let site = Site::new();
    let id = site.queue.enqueue(NewJob::new("k")).unwrap().id;
    let handler = crate::support::by(|ctx: &Context| {
        (1..=5).for_each(|line| ctx.log(Level::Info, format!("line {line}")));
        jobq::Outcome::Done(None)
    });
    site.queue.runner().kind("k", handler).run_due().unwrap();
    let window = |query: &str| {
        let answer = site
            .get(&format!("/api/v1/jobs/{id}/logs?{query}"))
            .is(200)
            .json();
        let lines = answer["lines"].as_array().unwrap().iter();
        let texts: Vec<String> = lines
            .map(|line| line["text"].as_str().unwrap().to_owned())
            .collect();
        (texts.join(","), answer)
    };
    let (first, answer) = window("limit=2");
    assert_eq!(
        (&*first, &answer["at_end"]),
        ("line 1,line 2", &false.into())
    );
    let (second, answer) = window(&format!("limit=2&after={}", answer["next"]));
    assert_eq!(second, "line 3,line 4");
    let (back, _) = window(&format!("limit=2&before={}", answer["prev"]));
    assert_eq!(back, "line 1,line 2");
    assert_eq!(window("stream=stdout").0, "");
    assert_eq!(window("attempt=1").0, "line 1,line 2,line 3,line 4,line 5");
    assert_eq!(window("attempt=2").0, "");
}

#[test]
fn a_list_is_filtered_searched_and_paged() {
    let site = Site::new();
    for n in 0..5 {
        let tag = if n % 2 == 0 { "even" } else { "odd" };
        site.queue
            .enqueue(NewJob::new("a").tag("is", tag).payload(&n))
            .unwrap();
    }
    site.queue
        .enqueue(NewJob::new("b").queue("other").tenant("acme"))
        .unwrap();
    let ids = |query: &str| {
        let answer = site.get(&format!("/api/v1/jobs?{query}")).is(200).json();
        let jobs = answer["jobs"].as_array().unwrap().iter();
        let ids: Vec<i64> = jobs.map(|job| job["id"].as_i64().unwrap()).collect();
        (ids, answer)
    };
    assert_eq!(ids("").0, [6, 5, 4, 3, 2, 1]);
    assert_eq!(ids("kind=b").0, [6]);
    assert_eq!(ids("queue=other,default&state=pending").0.len(), 6);
    assert_eq!(ids("tag=is%3Deven").0, [5, 3, 1]);
    assert_eq!(ids("search=tag:is%3Dodd+sort:oldest").0, [2, 4]);
    assert_eq!(ids("search=kind:a&ids=2-4").0, [4, 3, 2]);
    let (page, answer) = ids("limit=4");
    assert_eq!(
        (page, &answer["complete"]),
        (vec![6, 5, 4, 3], &true.into())
    );
    assert_eq!(ids(&format!("limit=4&after={}", answer["next"])).0, [2, 1]);
    assert_eq!(ids("limit=2&before=3").0, [5, 4]);
    for (query, name) in [
        ("stat=failed", "unknown-field"),
        ("state=broken", "invalid"),
        ("limit=0", "invalid"),
        ("search=colour:red", "invalid"),
        ("sort=due", "invalid"),
        ("after=-1", "invalid"),
        ("text=%ff", "bad-request"),
    ] {
        let answer = site.get(&format!("/api/v1/jobs?{query}"));
        assert_eq!(answer.problem(), name, "{query}");
    }
}

#[test]
fn what_has_not_changed_is_not_sent_again() {
    let site = Site::new();
    site.add("k");
    let token = format!("Authorization: Bearer {}\r\n", site.server.token().unwrap());
    for path in ["/api/v1/counts", "/api/v1/jobs", "/api/v1/jobs/1/attempts"] {
        let first = site.get(path).is(200);
        let tag = first.header("etag").unwrap().to_owned();
        let again = || site.ask("GET", path, &format!("{token}If-None-Match: {tag}\r\n"), "");
        assert_eq!(again().is(304).header("etag"), Some(&*tag), "{path}");
        let id = site.queue.enqueue(NewJob::new("k")).unwrap().id;
        again().is(200);
        // A removal has no event.
        site.queue.cancel(id).unwrap();
        let tag = site.get(path).header("etag").unwrap().to_owned();
        site.queue.remove(id).unwrap();
        site.ask("GET", path, &format!("{token}If-None-Match: {tag}\r\n"), "")
            .is(200);
    }
}

#[test]
fn the_overview_says_what_keeps_jobs_and_what_helps() {
    let site = Site::new();
    site.queue.enqueue(NewJob::new("k").queue("mail")).unwrap();
    site.queue
        .pause(QueueSelector::Named("mail".into()))
        .unwrap();
    let overview = site.get("/api/v1/overview").is(200).json();
    assert_eq!(overview["counts"]["pending"], 1);
    let item = &overview["verdicts"][0]["items"][0];
    assert_eq!(
        (&item["rule"], &item["jobs"]),
        (&"queue_paused".into(), &1.into())
    );
    let action = &item["action"];
    let helps = site.change(
        action["method"].as_str().unwrap(),
        action["path"].as_str().unwrap(),
        "",
    );
    assert!(helps.is(200).json()["event"].is_i64());
    let queue = site.get("/api/v1/queues/mail").is(200).json();
    assert_eq!(
        (&queue["paused"], &queue["why"][0]["rule"]),
        (&false.into(), &"no_runner".into())
    );
    site.get("/api/v1/queues/none").is(404);
}

#[test]
fn schedules_show_their_slots_to_come() {
    let site = Site::new();
    let schedule = Schedule::new("nightly", "0 2 * * *", NewJob::new("k")).timezone("UTC");
    site.queue.add_schedule(schedule).unwrap();
    let answer = site.get("/api/v1/schedules").is(200).json();
    let schedule = &answer["schedules"][0];
    assert_eq!(schedule["name"], "nightly");
    assert_eq!(schedule["next_slots"].as_array().unwrap().len(), 5);
    assert!(
        schedule["next_slots"][0]
            .as_str()
            .unwrap()
            .ends_with("T02:00:00.000Z")
    );
}

#[test]
fn a_wait_ends_with_its_job_or_its_time() {
    let site = Site::new();
    let id = site.queue.enqueue(Double(1)).unwrap().id;
    let path = format!("/api/v1/jobs/{id}?wait=");
    assert_eq!(
        site.get(&format!("{path}10ms")).is(200).json()["state"],
        "pending"
    );
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| site.get(&format!("{path}30s")).is(200).json());
        run(&site);
        assert_eq!(waiting.join().unwrap()["state"], State::Completed.as_str());
    });
    site.get(&format!("{path}soon")).is(422);
}

#[test]
fn an_export_has_all_jobs_of_a_filter() {
    let site = Site::new();
    let jobs = (0..450)
        .map(|n| NewJob::new(if n % 2 == 0 { "a" } else { "b" }).payload(&format!("n,{n}")));
    site.queue.enqueue_many(jobs).unwrap();
    let lines = site.get("/api/v1/export?kind=a").is(200);
    assert_eq!(lines.text().lines().count(), 225);
    let job: serde_json::Value =
        serde_json::from_str(lines.text().lines().next().unwrap()).unwrap();
    assert_eq!(job["payload"], "n,448");
    let csv = site.get("/api/v1/export?format=csv&sort=oldest").is(200);
    let mut rows = csv.text().split("\r\n");
    assert!(rows.next().unwrap().starts_with("id,kind,queue"));
    assert!(
        rows.next()
            .unwrap()
            .starts_with("1,a,default,,pending,normal,0,,\"\"\"n,0\"\"\",")
    );
    assert_eq!(csv.text().matches("\r\n").count(), 451);
    site.get("/api/v1/export?format=xml").is(422);
}

#[test]
fn names_are_suggested_and_statistics_and_metrics_are_there() {
    let site = Site::new();
    site.queue.enqueue(Double(1)).unwrap();
    run(&site);
    let suggested = |query: &str| {
        site.get(&format!("/api/v1/suggest?{query}")).is(200).json()["values"].clone()
    };
    assert_eq!(
        suggested("field=kind&prefix=dou"),
        serde_json::json!(["double"])
    );
    assert_eq!(
        suggested("field=word&prefix=ta"),
        serde_json::json!(["tag:"])
    );
    site.get("/api/v1/suggest?field=colour").is(422);
    let stats = site
        .get("/api/v1/stats?from=1h&step=1m&by=kind")
        .is(200)
        .json();
    assert_eq!(stats["series"][0]["name"], "double");
    let metrics = site.get("/metrics").is(200);
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .contains("version=0.0.4")
    );
    assert!(
        metrics.text().contains("jobq_attempts_total{"),
        "{}",
        metrics.text()
    );
    let graph = site.get("/api/v1/jobs/1/graph").is(200).json();
    assert_eq!(graph["nodes"].as_array().unwrap().len(), 1);
    let findings = site.get("/api/v1/doctor").is(200).json();
    assert!(findings["findings"].as_array().unwrap().len() > 3);
    assert_eq!(stats["step_ms"], 60_000);
}
