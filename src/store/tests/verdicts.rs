//! The verdict on a queue says what `why` says of each of its pending jobs.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::job::NewJob;
use crate::model::limits::{QueueLimitsUpdate, Rate, Update};
use crate::model::queue::QueueSelector;
use crate::model::state::State;
use crate::model::why::{QueueVerdict, Why};
use crate::store::jobs::queues;
use crate::store::read::why::why;
use crate::store::read::why_queue::why_queue;
use crate::store::tests::sandbox::Sandbox;
use crate::store::upkeep::runners;
use crate::store::upkeep::runners::{HeartbeatMode, Registration};

/// Jobs of three kinds in two queues.
fn scene() -> Sandbox {
    let mut sandbox = Sandbox::new();
    for at in 0..30 {
        let kind = ["send", "send", "resize", "call"][at % 4];
        let queue = ["mail", "images"][at % 2];
        sandbox.enqueue(NewJob::new(kind).queue(queue));
    }
    sandbox
}

fn runner(sandbox: &mut Sandbox, kinds: &[&str], queues: Option<&[&str]>) -> i64 {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let registration = Registration {
        name: format!("{kinds:?} {queues:?}"),
        pid: 1,
        host: "here".to_owned(),
        workers: 5,
        kinds: names(kinds),
        queues: queues.map(names),
        heartbeat_mode: HeartbeatMode::Regular,
    };
    let limits = HashMap::from([("send".to_owned(), 1)]);
    sandbox.write(|tx| runners::register(tx, &registration, &limits))
}

fn limit(sandbox: &mut Sandbox, queue: &str, limits: &QueueLimitsUpdate) {
    sandbox.write(|tx| queues::set_limits(tx, queue, limits));
}

fn pause(sandbox: &mut Sandbox, which: &QueueSelector) {
    sandbox.write(|tx| queues::pause(tx, which));
}

/// The rules by name of a queue, as its verdict has them and as its jobs have them one by one.
#[track_caller]
fn rules(sandbox: &Sandbox, queue: &str) -> Vec<(String, u64)> {
    let folder = tempfile::tempdir().unwrap();
    let moment = (sandbox.now_ms, folder.path());
    let QueueVerdict { counts, rules, .. } = why_queue(&sandbox.conn, queue, moment).unwrap();
    let sql = "SELECT j.id FROM jobq_job j JOIN jobq_queue q ON q.id = j.queue_id WHERE q.name = ?1 AND j.state = 2";
    let mut statement = sandbox.conn.prepare(sql).unwrap();
    let ids = statement
        .query_map([queue], |row| row.get::<_, i64>(0))
        .unwrap();
    let mut expected: Vec<(Why, u64)> = Vec::new();
    for id in ids {
        let mut rule = why(&sandbox.conn, crate::JobId(id.unwrap()), moment).unwrap();
        if let Why::InLine { ahead, .. } = &mut rule {
            *ahead = 0;
        }
        match expected.iter_mut().find(|(known, _)| *known == rule) {
            Some((_, jobs)) => *jobs += 1,
            None => expected.push((rule, 1)),
        }
    }
    assert_eq!(rules.len(), expected.len(), "{rules:?}, {expected:?}");
    for rule in &rules {
        let same = (rule.why.clone(), rule.jobs);
        assert!(
            expected.contains(&same) && !rule.is_at_least,
            "{same:?}, {expected:?}"
        );
    }
    let jobs: u64 = rules.iter().map(|rule| rule.jobs).sum();
    assert_eq!(jobs, counts.get(State::Pending));
    let name = |why: &Why| {
        format!("{why:?}")
            .split([' ', '('])
            .next()
            .unwrap()
            .to_owned()
    };
    rules
        .iter()
        .map(|rule| (name(&rule.why), rule.jobs))
        .collect()
}

#[test]
fn a_verdict_says_what_each_of_its_jobs_says() {
    let mut sandbox = scene();
    let only = |name: &str, jobs| vec![(name.to_owned(), jobs)];
    assert_eq!(rules(&sandbox, "mail"), only("NoRunner", 15));
    let first = runner(&mut sandbox, &["send", "call"], None);
    runner(&mut sandbox, &["resize"], Some(&["images"]));
    let both = [("InLine".to_owned(), 8), ("QueueNotServed".to_owned(), 7)];
    assert_eq!(rules(&sandbox, "mail"), both);
    sandbox.claim(first, 3);
    assert!(rules(&sandbox, "images").len() > 1);
    let one = QueueLimitsUpdate {
        concurrency: Update::Set(1),
        ..QueueLimitsUpdate::default()
    };
    limit(&mut sandbox, "images", &one);
    rules(&sandbox, "images");
    let rate = QueueLimitsUpdate {
        rate: Update::Set(Rate {
            jobs: 1,
            per: Duration::from_secs(60),
        }),
        ..QueueLimitsUpdate::default()
    };
    limit(&mut sandbox, "mail", &rate);
    sandbox.claim(first, 3);
    let found = rules(&sandbox, "mail");
    assert!(
        found.iter().any(|(rule, _)| rule == "QueueRate"),
        "{found:?}"
    );
    pause(&mut sandbox, &QueueSelector::Named("mail".to_owned()));
    assert!(matches!(rules(&sandbox, "mail").as_slice(), [(rule, _)] if rule == "QueuePaused"));
    pause(&mut sandbox, &QueueSelector::All);
    assert!(matches!(rules(&sandbox, "images").as_slice(), [(rule, _)] if rule == "AllPaused"));
}

#[test]
fn more_jobs_of_one_kind_than_are_counted_are_the_rest_of_all() {
    let mut sandbox = scene();
    sandbox.sql(
        "WITH RECURSIVE n(i) AS (SELECT 31 UNION ALL SELECT i + 1 FROM n WHERE i < 12030)
         INSERT INTO jobq_job (id, queue_id, kind_id, state, priority, max_retries, backoff, retry_delay_ms, created_at, updated_at)
         SELECT i, 1, 1, 2, 1, 3, 4, 5000, 1, 1 FROM n;
         UPDATE jobq_number SET value = value + 12000 WHERE what = 2 AND id = 1;",
    );
    runner(&mut sandbox, &["resize"], None);
    let folder = tempfile::tempdir().unwrap();
    let verdict = why_queue(&sandbox.conn, "mail", (sandbox.now_ms, folder.path())).unwrap();
    let found: Vec<_> = verdict
        .rules
        .iter()
        .map(|rule| (rule.jobs, rule.is_at_least))
        .collect();
    assert_eq!(found, [(12_008, false), (7, false)]);
}

#[test]
fn a_queue_that_is_not_there_is_named() {
    let sandbox = scene();
    let folder = tempfile::tempdir().unwrap();
    let error = why_queue(&sandbox.conn, "post", (sandbox.now_ms, folder.path())).unwrap_err();
    assert!(
        error.is_not_found() && error.to_string().contains("'post'"),
        "{error}"
    );
}
