//! What cannot be seen from outside: how often is read.

use std::fs;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use crate::doorbell::Wake;
use crate::web::live::history::History;
use crate::web::live::service::LiveService;
use crate::web::live::socket::LiveGrant;
use crate::web::live::topic::ViewTopic;
use crate::web::live::views::Answers;
use crate::web::problem::Problem;
use crate::{EventFilter, EventId, JobId, NewJob, Queue};

/// When each topic was read.
type Readings = Arc<Mutex<Vec<(ViewTopic, Instant)>>>;

struct Scene {
    folder: tempfile::TempDir,
    queue: Queue,
    readings: Readings,
    service: Arc<LiveService>,
}

/// Answers with the last event; job 1 is there only at the second try, and job 2 is not there.
fn answers(queue: Queue, readings: Readings) -> Answers {
    Box::new(move |topic, _| {
        let mut readings = readings.lock().unwrap();
        let is_known = readings.iter().any(|(known, _)| known == topic);
        readings.push((topic.clone(), Instant::now()));
        match topic {
            ViewTopic::Job(JobId(1)) if !is_known => Err(Problem::new("busy", "not now")),
            ViewTopic::Job(id @ JobId(2)) => Err(Problem::no_job(*id)),
            _ => {
                let last = queue.last_event()?;
                Ok(format!(r#"{{"at":{},"last":{}}}"#, last.0, last.0).into_bytes())
            }
        }
    })
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(folder.path().join("jobs.db")).unwrap();
        let readings = Readings::default();
        let answers = answers(queue.clone(), Arc::clone(&readings));
        let service = LiveService::start(History::new(queue.clone()), answers).unwrap();
        Scene {
            folder,
            queue,
            readings,
            service: Arc::new(service),
        }
    }

    fn add_job(&self) {
        self.queue.enqueue(NewJob::new("a")).unwrap();
    }

    fn readings(&self, topic: &ViewTopic) -> Vec<Instant> {
        let readings = self.readings.lock().unwrap();
        let of_topic = readings.iter().filter(|(known, _)| known == topic);
        of_topic.map(|(_, at)| *at).collect()
    }

    /// A client that was greeted.
    fn client(&self) -> Client {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let service = Arc::clone(&self.service);
        thread::spawn(move || {
            let place = service.enter().unwrap().unwrap();
            place.serve((ours, Vec::new()), &|_| {
                Some(LiveGrant {
                    tenant: None,
                    read_only: true,
                })
            });
        });
        theirs
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let mut client = Client(WebSocket::from_raw_socket(theirs, Role::Client, None));
        client.say(json!({}));
        client.hear();
        client
    }
}

struct Client(WebSocket<UnixStream>);

impl Client {
    fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).unwrap();
    }

    fn hear(&mut self) -> Value {
        match self.0.read().unwrap() {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn hear_last(&mut self, last: EventId) {
        while self.hear()["at"] != last.0 {}
    }
}

fn overview() -> Value {
    json!({"sub": 1, "topic": "overview"})
}

#[test]
fn identical_subscriptions_share_their_readings() {
    let scene = Scene::new();
    let mut clients: Vec<Client> = (0..20).map(|_| scene.client()).collect();
    for client in &mut clients {
        client.say(overview());
        assert!(client.hear()["snapshot"].is_object());
    }
    scene.add_job();
    for client in &mut clients {
        client.hear_last(EventId(1));
    }
    // One at first, one after the file was watched, and one or two after the change.
    let readings = scene.readings(&ViewTopic::Overview);
    assert!(readings.len() <= 4, "{readings:?}");
}

#[test]
fn a_view_is_read_four_times_a_second_at_most() {
    let scene = Scene::new();
    let mut client = scene.client();
    client.say(overview());
    client.hear();
    while scene.readings(&ViewTopic::Overview).len() < 5 {
        scene.add_job();
    }
    let readings = scene.readings(&ViewTopic::Overview);
    for pair in readings.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(250), "{pair:?}");
    }
    let last = scene.queue.last_event().unwrap();
    client.hear_last(last);
}

#[test]
fn what_nobody_watches_is_not_read() {
    let scene = Scene::new();
    let mut client = scene.client();
    client.say(overview());
    client.hear();
    client.say(json!({"unsub": 1}));
    client.say(json!({"sub": 2, "topic": "jobs"}));
    client.hear();
    let before = scene.readings(&ViewTopic::Overview).len();
    for _ in 0..3 {
        scene.add_job();
        client.hear_last(scene.queue.last_event().unwrap());
    }
    assert_eq!(scene.readings(&ViewTopic::Overview).len(), before);
}

#[test]
fn an_answer_that_may_be_had_later_is_tried_again() {
    let scene = Scene::new();
    let mut client = scene.client();
    client.say(json!({"sub": 2, "topic": "job", "id": 2}));
    assert_eq!(client.hear()["error"]["status"], 404);
    client.say(json!({"sub": 1, "topic": "job", "id": 1}));
    assert!(client.hear()["snapshot"].is_object());
    assert_eq!(scene.readings(&ViewTopic::Job(JobId(1))).len(), 2);
}

#[test]
fn sockets_are_closed_when_the_database_is_replaced() {
    let scene = Scene::new();
    let mut client = scene.client();
    client.say(overview());
    client.hear();
    let database = scene.folder.path().join("jobs.db");
    fs::rename(&database, scene.folder.path().join("old.db")).unwrap();
    loop {
        match client.0.read().unwrap() {
            Message::Close(Some(frame)) => break assert_eq!(frame.code, CloseCode::Error),
            Message::Text(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_service_is_stopped_any_number_of_times() {
    let scene = Scene::new();
    let mut client = scene.client();
    client.say(overview());
    client.hear();
    scene.service.stop();
    scene.service.stop();
    assert!(scene.service.enter().unwrap().is_none());
}

#[test]
fn the_feed_has_the_kind_and_job_of_each_event() {
    let scene = Scene::new();
    let jobs = (0..5).map(|_| NewJob::new("a"));
    scene.queue.enqueue_many(jobs).unwrap();
    scene.queue.cancel(JobId(3)).unwrap();
    scene.add_job();
    let history = History::new(scene.queue.clone());
    let events = history.events(&EventFilter::default()).unwrap().events;
    let expected: Vec<_> = events
        .iter()
        .map(|event| (Some(event.kind), event.job))
        .collect();
    assert_eq!(expected.len(), 7);
    for limit in [1, 2, 3, 100] {
        let (mut found, mut since) = (Vec::new(), EventId(0));
        loop {
            let page = history.feed(since, limit).unwrap();
            assert!(page.events.len() <= limit);
            found.extend(page.events);
            since = page.next;
            if page.at_end {
                break;
            }
        }
        assert_eq!(found, expected, "{limit}");
        assert_eq!(since, EventId(7));
    }
}

#[test]
fn a_wait_for_changes_ends_when_its_bell_is_rung() {
    let scene = Scene::new();
    let mut changes = scene.queue.changes().unwrap();
    let bell = Wake::new().unwrap();
    let forever = Duration::from_secs(3600);
    bell.ring();
    assert!(!changes.wait_or_rung(forever, &bell).unwrap());
    assert!(!bell.reset());
    // A bell that is rung all the time does not hide a change.
    scene.add_job();
    bell.ring();
    while !changes.wait_or_rung(forever, &bell).unwrap() {
        bell.ring();
    }
}
