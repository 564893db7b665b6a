//! The history as a stream.

use jobq::NewJob;
use serde_json::Value;

use super::client::{Client, Site, request};

fn follow(site: &Site, path: &str, headers: &str) -> Client {
    let token = site.server.token().unwrap();
    let headers =
        format!("Authorization: Bearer {token}\r\nAccept: text/event-stream\r\n{headers}");
    let mut client = site.connect();
    client.send(request("GET", path, &headers, ""));
    assert!(client.read_head().contains("text/event-stream"));
    client
}

/// The next events of a stream: their ids, names and data.
fn next(client: &mut Client, count: usize) -> Vec<(i64, String, Value)> {
    let mut events = Vec::new();
    let mut text = String::new();
    while events.len() < count {
        text.push_str(str::from_utf8(&client.chunk().unwrap()).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let field = |name: &str| {
                event
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .map(str::to_owned)
            };
            if let (Some(id), Some(name), Some(data)) =
                (field("id: "), field("event: "), field("data: "))
            {
                events.push((
                    id.parse().unwrap(),
                    name,
                    serde_json::from_str(&data).unwrap(),
                ));
            }
            text = rest.to_owned();
        }
    }
    events
}

#[test]
fn events_are_sent_as_they_happen_and_resumed_where_they_ended() {
    let site = Site::new();
    site.add("before");
    let mut client = follow(&site, "/api/v1/events", "");
    let id = site.add("k");
    let first = next(&mut client, 1);
    assert_eq!(
        (first[0].1.as_str(), &first[0].2["job"]),
        ("job_enqueued", &id.into())
    );
    assert_eq!(first[0].2["text"], "enqueued");
    drop(client);
    site.queue.cancel(jobq::JobId(id)).unwrap();
    site.add("k");
    let seen = format!("Last-Event-ID: {}\r\n", first[0].0);
    let mut client = follow(&site, "/api/v1/events", &seen);
    let names: Vec<String> = next(&mut client, 2)
        .into_iter()
        .map(|event| event.1)
        .collect();
    assert_eq!(names, ["job_cancelled", "job_enqueued"]);
}

#[test]
fn a_stream_has_the_kinds_and_the_number_that_are_wanted() {
    let site = Site::new();
    let mut client = follow(
        &site,
        "/api/v1/events?kind=job_cancelled&limit=2&after=0",
        "",
    );
    for _ in 0..3 {
        let id = site.queue.enqueue(NewJob::new("k")).unwrap().id;
        site.queue.cancel(id).unwrap();
    }
    let names: Vec<String> = next(&mut client, 2)
        .into_iter()
        .map(|event| event.1)
        .collect();
    assert_eq!(names, ["job_cancelled", "job_cancelled"]);
    assert_eq!(client.chunk(), None);
}

#[test]
fn the_history_so_far_is_json_lines() {
    let site = Site::new();
    (0..2500).for_each(|_| drop(site.queue.enqueue(NewJob::new("k")).unwrap()));
    let answer = site.get("/api/v1/events").is(200);
    assert_eq!(answer.text().lines().count(), 2500);
    assert_eq!(
        site.get("/api/v1/events?after=2498").text().lines().count(),
        2
    );
    site.get("/api/v1/events?kind=nothing").is(422);
    site.get("/api/v1/events?job=9999").is(404);
}
