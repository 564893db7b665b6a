//! Listings and pages: what they find, and what they read for it.

use fastrand::Rng;

use crate::clock;
use crate::model::filter::{Filter, Sort};
use crate::model::id::JobId;
use crate::model::job::{JobRecord, NewJob};
use crate::model::outcome::Verdict;
use crate::model::state::State;
use crate::store::read::conditions::{Conditions, Named};
use crate::store::read::drivers::Driver;
use crate::store::read::listing;
use crate::store::read::walk::{Direction, Walk, WalkStep, Wanted};
use crate::store::sqlite::blocks::BlockOf;
use crate::store::tests::sandbox::Sandbox;

/// Ten jobs: the even ones of tenant `a`, from the sixth on tagged `env=prod`, the last three
/// children of the first. The tenth is tagged `size=big` too, the ninth `env=test` instead.
fn scene() -> Sandbox {
    let mut sandbox = Sandbox::new();
    for _ in 0..10 {
        sandbox.enqueue(NewJob::new("send").queue("mail"));
    }
    sandbox.sql(
        "UPDATE jobq_job SET tenant = 'a' WHERE id % 2 = 0;
         UPDATE jobq_job SET parent_id = 1 WHERE id >= 8;
         INSERT INTO jobq_tag (name, value, job_id)
         SELECT 'env', CASE id WHEN 9 THEN 'test' ELSE 'prod' END, id FROM jobq_job WHERE id >= 6;
         INSERT INTO jobq_tag (name, value, job_id) VALUES ('size', 'big', 10), ('size', 'big', 1);
         UPDATE jobq_job SET links = links | 64 WHERE id IN (SELECT job_id FROM jobq_tag);",
    );
    sandbox
}

fn tag(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn found(sandbox: &Sandbox, filter: &Filter) -> Vec<i64> {
    let mut ids = Vec::new();
    let mut each = |job: JobRecord| {
        ids.push(job.id.0);
        Ok(())
    };
    listing::list(&sandbox.conn, (filter, sandbox.now_ms), &mut each).unwrap();
    ids
}

#[test]
fn jobs_are_found_by_tenant_by_all_of_the_tags_and_by_parent() {
    let sandbox = scene();
    let found = |filter: Filter| found(&sandbox, &filter);
    let tenant = Some("a".to_owned());
    let of_tenant = Filter {
        tenant: tenant.clone(),
        ..Filter::default()
    };
    assert_eq!(found(of_tenant), [10, 8, 6, 4, 2]);
    let tagged = |tags: &[(String, String)]| Filter {
        tags: tags.to_vec(),
        ..Filter::default()
    };
    let prod = tag("env", "prod");
    assert_eq!(found(tagged(std::slice::from_ref(&prod))), [10, 8, 7, 6]);
    assert_eq!(found(tagged(&[prod.clone(), tag("size", "big")])), [10]);
    assert_eq!(found(tagged(&[prod.clone(), tag("env", "test")])), [0; 0]);
    let children = Filter {
        parent: Some(JobId(1)),
        ..Filter::default()
    };
    assert_eq!(found(children.clone()), [10, 9, 8]);
    let all = Filter {
        tenant,
        tags: vec![prod],
        states: vec![State::Pending],
        sort: Sort::Oldest,
        ..children
    };
    assert_eq!(found(all), [8, 10]);
}

#[test]
fn listings_by_a_tag_are_paged_in_both_directions() {
    let sandbox = scene();
    for (sort, pages) in [
        (Sort::Newest, [vec![10, 8], vec![7, 6]]),
        (Sort::Oldest, [vec![6, 7], vec![8, 10]]),
    ] {
        let mut filter = Filter {
            tags: vec![tag("env", "prod")],
            sort,
            limit: Some(2),
            ..Filter::default()
        };
        for page in pages {
            assert_eq!(found(&sandbox, &filter), page);
            filter.after = page.last().map(|id| JobId(*id));
        }
        assert_eq!(found(&sandbox, &filter), [0; 0]);
    }
}

/// The driver of a listing, and the plan of each of its statements.
fn plans(sandbox: &Sandbox, filter: &Filter) -> (Driver, Vec<Vec<String>>) {
    let named = Named::of(&sandbox.conn, filter).unwrap();
    let driver = Driver::of(&sandbox.conn, filter, &named).unwrap();
    let rest = driver.rest_of(filter);
    let conditions = Conditions::of(&sandbox.conn, &rest, (&named, sandbox.now_ms)).unwrap();
    let direction = match filter.sort {
        Sort::Newest => Direction::Down,
        _ => Direction::Up,
    };
    let shapes = driver.shapes(&sandbox.conn).unwrap().into_iter();
    let plans = shapes.map(|shape| {
        let sql = shape.sql(&conditions, direction);
        let mut statement = sandbox
            .conn
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let mut rows = statement.raw_query();
        let mut lines = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            lines.push(row.get("detail").unwrap());
        }
        lines
    });
    (driver, plans.collect())
}

/// 3,000 jobs, most of them completed, and few of each that a listing may be narrowed by.
fn crowd() -> Sandbox {
    let sandbox = scene();
    sandbox.sql(
        "INSERT INTO jobq_kind (name) VALUES ('resize'); INSERT INTO jobq_queue (name) VALUES ('images');
         INSERT INTO jobq_runner (name, pid, host, workers, kinds, state, started_at, heartbeat_at)
         VALUES ('one', 1, 'h', 5, '[]', 1, 1, 1);
         WITH RECURSIVE n(i) AS (SELECT 11 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
         INSERT INTO jobq_job (id, queue_id, kind_id, state, priority, max_retries, backoff, retry_delay_ms, wait_reason,
             run_at, wait_fixed, claim, runner_id, started_at, created_at, updated_at, finished_at, schedule)
         SELECT i, 1 + (i > 2800), 1 + (i < 200), CASE WHEN i % 97 < 8 THEN i % 97 ELSE 5 END, i % 4, 3, 4, 5000, 1, i, 0,
             0, 1, 1, i, i, CASE WHEN i % 97 >= 5 THEN i END, CASE WHEN i % 50 = 0 THEN 'nightly' END FROM n;
         INSERT INTO jobq_payload SELECT id, '{\"number\":' || id || '}' FROM jobq_job WHERE id > 10;
         INSERT INTO jobq_outcome (job_id, error) SELECT id, 'Boom 100%' FROM jobq_job WHERE id % 30 = 0;
         INSERT OR IGNORE INTO jobq_block SELECT 0, kind_id, id >> 8 FROM jobq_job;
         INSERT OR IGNORE INTO jobq_block SELECT 1, queue_id, id >> 8 FROM jobq_job;
         DELETE FROM jobq_number WHERE what >= 0;
         INSERT INTO jobq_number (what, id, value) SELECT state, queue_id, count(*) FROM jobq_job GROUP BY 1, 2;",
    );
    sandbox
}

fn only(set: impl FnOnce(&mut Filter)) -> Filter {
    let mut filter = Filter::default();
    set(&mut filter);
    filter
}

/// Listings, each with the line of the plan that leads to its jobs.
fn narrow() -> Vec<(Filter, &'static str)> {
    let states = |states: &[State]| only(|filter| filter.states = states.to_vec());
    vec![
        (
            only(|filter| filter.tags = vec![tag("env", "prod"), tag("size", "big")]),
            "SEARCH l USING PRIMARY KEY (name=? AND value=?",
        ),
        (
            only(|filter| filter.tenant = Some("a".to_owned())),
            "SEARCH j USING INDEX jobq_job_tenant (tenant=?",
        ),
        (
            only(|filter| filter.schedule = Some("nightly".to_owned())),
            "SEARCH j USING INDEX jobq_job_schedule (schedule=?",
        ),
        (
            only(|filter| {
                filter.parent = Some(JobId(1));
                filter.tags = vec![tag("env", "prod")];
            }),
            "SEARCH j USING INDEX jobq_job_children (parent_id=?",
        ),
        (
            states(&[State::Failed]),
            "SEARCH j USING INDEX jobq_job_state (state=?",
        ),
        (
            states(&[
                State::Scheduled,
                State::Blocked,
                State::Waiting,
                State::Cancelled,
            ]),
            "SEARCH j USING INDEX jobq_job_state (state=?",
        ),
        (
            states(&[State::Pending]),
            "SEARCH j USING INDEX jobq_job_pending (queue_id=? AND kind_id=? AND priority=? AND id>? AND id<?)",
        ),
        (
            only(|filter| filter.kinds = vec!["resize".to_owned()]),
            "SEARCH b USING PRIMARY KEY (what=? AND id=? AND block>? AND block<?)",
        ),
        (
            only(|filter| filter.queues = vec!["images".to_owned()]),
            "SEARCH b USING PRIMARY KEY (what=? AND id=? AND block>? AND block<?)",
        ),
        (
            states(&[State::Completed]),
            "SEARCH j USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
        ),
    ]
}

#[test]
fn a_narrow_listing_reads_only_its_own_jobs_and_sorts_nothing() {
    let sandbox = crowd();
    for (filter, way) in narrow() {
        for sort in [Sort::Newest, Sort::Oldest] {
            let alone = Filter {
                sort,
                ..filter.clone()
            };
            let with_more = Filter {
                since: Some(jiff::Timestamp::UNIX_EPOCH),
                text: Some("boom".to_owned()),
                ..alone.clone()
            };
            for filter in [alone, with_more] {
                let (driver, plans) = plans(&sandbox, &filter);
                assert!(!plans.is_empty(), "{driver:?}");
                for plan in plans {
                    let found = plan
                        .iter()
                        .any(|line| line.replace("COVERING ", "").starts_with(way));
                    assert!(found, "{filter:?}: {driver:?}: {plan:#?}");
                    let bad =
                        |line: &&String| line.starts_with("SCAN") || line.contains("B-TREE FOR");
                    assert_eq!(plan.iter().find(bad), None, "{filter:?}: {plan:#?}");
                    // The jobs of a block are read from its first id on, not from the first of all.
                    let of_block = plan.iter().any(|line| {
                        line == "SEARCH j USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"
                    });
                    assert!(
                        of_block || !matches!(driver, Driver::Blocks(_)),
                        "{plan:#?}"
                    );
                }
            }
        }
    }
}

/// Running jobs are few: they are sorted, but read by their index.
#[test]
fn running_jobs_are_read_by_their_index() {
    let sandbox = crowd();
    let running = only(|filter| filter.states = vec![State::Running]);
    let (_, plans) = plans(&sandbox, &running);
    assert!(plans[0][0].contains("jobq_job_running"), "{plans:?}");
}

#[test]
fn of_two_indexes_the_one_with_fewer_jobs_is_read() {
    let sandbox = crowd();
    let driver = |set: &dyn Fn(&mut Filter)| plans(&sandbox, &only(set)).0;
    let rare_state = driver(&|filter| {
        filter.states = vec![State::Running];
        filter.schedule = Some("nightly".to_owned());
    });
    assert!(matches!(rare_state, Driver::States(..)), "{rare_state:?}");
    let rare_tenant = driver(&|filter| {
        filter.states = vec![State::Failed];
        filter.tenant = Some("a".to_owned());
    });
    assert_eq!(rare_tenant, Driver::Tenant("a".to_owned()));
    let rare_kind = driver(&|filter| {
        filter.states = vec![State::Completed];
        filter.queues = vec!["mail".to_owned()];
        filter.kinds = vec!["resize".to_owned()];
    });
    assert_eq!(rare_kind, Driver::Blocks(vec![BlockOf::Kind(2)]));
    let not_there = driver(&|filter| filter.kinds = vec!["nobody".to_owned()]);
    assert_eq!(not_there, Driver::Nothing);
}

/// A filter of a few random conditions.
fn any_filter(rng: &mut Rng) -> Filter {
    let mut filter = Filter::default();
    for _ in 0..rng.usize(..4) {
        match rng.u8(..10) {
            0 | 1 => {
                filter.states = (0..rng.usize(1..4))
                    .map(|_| State::ALL[rng.usize(..8)])
                    .collect()
            }
            2 => filter.queues = vec![["mail", "images", "none"][rng.usize(..3)].to_owned()],
            3 => filter.kinds = vec![["send", "resize", "none"][rng.usize(..3)].to_owned()],
            4 => filter.kinds = vec!["send".to_owned(), "resize".to_owned()],
            5 => filter.tenant = Some("a".to_owned()),
            6 => filter.tags = vec![tag("env", "prod")],
            7 => filter.schedule = Some("nightly".to_owned()),
            8 => {
                filter.text =
                    Some(["100%", "BOOM", "number\":27", "resi", "_"][rng.usize(..5)].to_owned())
            }
            _ => filter.since = Some(jiff::Timestamp::from_millisecond(rng.i64(0..3000)).unwrap()),
        }
    }
    if rng.u8(..8) == 0 {
        filter.parent = Some(JobId(1));
    }
    filter
}

/// What a filter means, job by job.
fn matches(job: &JobRecord, filter: &Filter) -> bool {
    let has = |names: &[String], name: &String| names.is_empty() || names.contains(name);
    let contains = |text: &str| {
        let in_it = |whole: &str| whole.to_lowercase().contains(&text.to_lowercase());
        in_it(job.payload.get()) || in_it(&job.kind) || job.error.as_deref().is_some_and(in_it)
    };
    (filter.states.is_empty() || filter.states.contains(&job.state))
        && has(&filter.queues, &job.queue)
        && has(&filter.kinds, &job.kind)
        && filter
            .tenant
            .as_ref()
            .is_none_or(|tenant| job.tenant.as_ref() == Some(tenant))
        && filter
            .schedule
            .as_ref()
            .is_none_or(|name| job.schedule.as_ref() == Some(name))
        && filter
            .tags
            .iter()
            .all(|(name, value)| job.tags.get(name) == Some(value))
        && filter
            .parent
            .is_none_or(|parent| job.parent == Some(parent))
        && filter.since.is_none_or(|since| job.created_at >= since)
        && filter.text.as_deref().is_none_or(contains)
}

/// The pages of a listing one after the other, from its start or from its end.
fn paged(sandbox: &Sandbox, filter: &Filter, from_end: bool) -> Vec<i64> {
    let mut filter = filter.clone();
    let mut all: Vec<i64> = Vec::new();
    let mut before = from_end.then_some(match filter.sort {
        Sort::Newest => JobId(i64::MIN),
        _ => JobId(i64::MAX),
    });
    loop {
        let page = listing::page(&sandbox.conn, (&filter, sandbox.now_ms), before).unwrap();
        let ids: Vec<i64> = page.jobs.iter().map(|job| job.id.0).collect();
        match from_end {
            true => drop(all.splice(0..0, ids)),
            false => all.extend(ids),
        }
        assert!(page.is_complete() || page.next.is_some());
        if page.next.is_none() {
            return all;
        }
        match from_end {
            true => before = page.next,
            false => filter.after = page.next,
        }
    }
}

#[test]
fn pages_in_both_directions_are_what_the_filter_means() {
    let sandbox = crowd();
    let ids = sandbox.number("SELECT max(id) FROM jobq_job");
    let jobs: Vec<JobRecord> = (1..=ids).map(|id| sandbox.job(JobId(id))).collect();
    for seed in 0..120 {
        let mut rng = Rng::with_seed(seed);
        let mut filter = any_filter(&mut rng);
        let fitting = jobs.iter().filter(|job| matches(job, &filter));
        let mut expected: Vec<i64> = fitting.map(|job| job.id.0).collect();
        for sort in [Sort::Oldest, Sort::Newest] {
            filter.sort = sort;
            filter.limit = None;
            assert_eq!(found(&sandbox, &filter), expected, "{filter:?}");
            filter.limit = Some([1, 7, 50, 1000][rng.usize(..4)].max(expected.len() / 40));
            for from_end in [false, true] {
                assert_eq!(paged(&sandbox, &filter, from_end), expected, "{filter:?}");
            }
            expected.reverse();
        }
    }
}

#[test]
fn a_search_that_is_out_of_time_says_how_far_it_came() {
    let sandbox = crowd();
    let filter = only(|filter| filter.text = Some("\"number\":19}".to_owned()));
    let named = Named::of(&sandbox.conn, &filter).unwrap();
    let driver = Driver::of(&sandbox.conn, &filter, &named).unwrap();
    let conditions = Conditions::of(&sandbox.conn, &filter, (&named, sandbox.now_ms)).unwrap();
    let (mut after, mut readings, mut found) = (None, 0, Vec::new());
    loop {
        let wanted = Wanted {
            direction: Direction::Down,
            after,
            ids: None,
            jobs: 2,
            until: Some(clock::instant()),
        };
        let mut walk = Walk::new(&sandbox.conn, (&driver, &conditions), wanted).unwrap();
        let reached = loop {
            match walk.next().unwrap() {
                WalkStep::Job(job) => found.push(job.id),
                WalkStep::TimeUp(reached) => break Some(reached),
                WalkStep::End => break None,
            }
        };
        readings += 1;
        assert!(reached.is_none_or(|reached| after.is_none_or(|after| reached < after)));
        after = reached;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, [19]);
    assert!(readings > 20, "{readings}: each looks at 64 jobs of 3,000");
}

#[test]
fn a_page_has_the_sizes_and_the_beginnings_of_texts() {
    let mut sandbox = Sandbox::new();
    let long = format!("[{}]", vec!["\"ü\""; 100_000].join(","));
    let job = NewJob::new("send").payload_json(long.clone());
    let id = sandbox.enqueue(job.tag("env", "prod"));
    let held = sandbox.start(id);
    let result = Some("{\"pages\":7}".to_owned());
    sandbox.settle(&held, &Verdict::Complete { result });
    let small = sandbox.enqueue(NewJob::new("send"));
    let page = listing::page(&sandbox.conn, (&Filter::default(), sandbox.now_ms), None).unwrap();
    let ids: Vec<JobId> = page.jobs.iter().map(|job| job.id).collect();
    assert_eq!(ids, [small, id]);
    assert_eq!(
        (
            page.jobs[0].payload.bytes,
            page.jobs[0].payload.start.as_str()
        ),
        (4, "null")
    );
    let job = &page.jobs[1];
    assert_eq!(job.payload.bytes, long.len() as u64);
    assert_eq!(
        job.payload.start,
        long.chars().take(200).collect::<String>()
    );
    assert_eq!(job.result.as_ref().unwrap().start, "{\"pages\":7}");
    assert_eq!(
        (job.state, &job.error, job.tags["env"].as_str()),
        (State::Completed, &None, "prod")
    );
    let other_order = only(|filter| filter.sort = Sort::Updated);
    assert!(listing::page(&sandbox.conn, (&other_order, sandbox.now_ms), None).is_err());
}

#[test]
fn other_orders_list_the_same_jobs_sorted() {
    let sandbox = crowd();
    let sorted = |sort, limit| {
        let filter = only(|filter| {
            filter.states = vec![State::Scheduled, State::Failed];
            (filter.sort, filter.limit) = (sort, limit);
        });
        found(&sandbox, &filter)
    };
    let by = |order: &str| -> Vec<i64> {
        let sql = format!("SELECT id FROM jobq_job WHERE state IN (0, 6) ORDER BY {order}");
        let mut statement = sandbox.conn.prepare(&sql).unwrap();
        let ids = statement.query_map([], |row| row.get(0)).unwrap();
        ids.map(Result::unwrap).collect()
    };
    for (sort, order) in [
        (Sort::Updated, "updated_at DESC, id DESC"),
        (Sort::Finished, "finished_at DESC, id DESC"),
        (Sort::Due, "run_at IS NULL, run_at, id"),
        (Sort::Priority, "priority DESC, id"),
    ] {
        assert_eq!(sorted(sort, None), by(order), "{sort:?}");
        assert_eq!(sorted(sort, Some(5)), by(order)[..5], "{sort:?}");
    }
}
