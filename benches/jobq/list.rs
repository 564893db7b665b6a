//! Pages of a list in a file with many jobs.

use std::time::{Duration, Instant};

use jobq::bench::{Spread, many_jobs, thousands};
use jobq::{Durability, Filter, JobId, Queue, Sort, State};

use crate::Done;
use crate::plan::Plan;
use crate::report::{Goal, Line};

/// A page of a sort, and how long it may take.
struct Sample {
    name: &'static str,
    goal_ms: f64,
    filter: Filter,
}

pub(crate) fn list(plan: &Plan) -> Done {
    let setup = plan.setup(Durability::Normal);
    let scratch = setup.scratch()?;
    let path = scratch.path().join("many.db");
    let jobs = plan.jobs_or(plan.pick(1_000_000, 20_000)) as i64;
    let began = Instant::now();
    many_jobs(&path, jobs)?;
    let name = format!("a file of {} jobs", thousands(jobs as f64));
    Line::new(name, began.elapsed().as_secs_f64(), "s to make").print();
    let queue = setup.open(&path)?;
    for sample in samples() {
        pages(plan, &queue, (&sample, jobs))?;
    }
    for sample in searches() {
        search(plan, &queue, &sample)?;
    }
    errors(plan, &queue)?;
    verdicts(plan, &queue)
}

/// The failed jobs by their errors, in as many calls as that takes.
fn errors(plan: &Plan, queue: &Queue) -> Done {
    let mut filter = Filter::default();
    let (mut times, mut jobs) = (Vec::new(), 0);
    loop {
        let began = Instant::now();
        let errors = queue.error_groups(&filter, Duration::from_millis(150))?;
        times.push(began.elapsed());
        jobs += errors.groups.iter().map(|group| group.jobs).sum::<u64>();
        filter.after = errors.searched_to;
        if filter.after.is_none() {
            break;
        }
    }
    let calls = times.len();
    let longest = Spread::new(times).percentile(100.0);
    Line::new(
        "errors by group, longest",
        longest.as_secs_f64() * 1e3,
        "ms",
    )
    .note(format!("{calls} calls, {jobs} jobs"))
    .goal(plan.goal(Goal::AtMost(200.0)))
    .print();
    Ok(())
}

/// Why the pending jobs of a queue do not run.
fn verdicts(plan: &Plan, queue: &Queue) -> Done {
    let mut times = Vec::new();
    for round in 0..plan.pick(101, 3) {
        let began = Instant::now();
        queue.why_queue(&format!("queue {}", 1 + round % 20))?;
        // The first round finds cold caches.
        if round > 0 {
            times.push(began.elapsed());
        }
    }
    let times = Spread::new(times);
    let ms = |percent| times.percentile(percent).as_secs_f64() * 1e3;
    Line::new("verdict on a queue, p99", ms(99.0), "ms")
        .beside("p50", ms(50.0))
        .goal(plan.goal(Goal::AtMost(5.0)))
        .print();
    Ok(())
}

fn sample(name: &'static str, goal_ms: f64, set: impl FnOnce(&mut Filter)) -> Sample {
    let mut filter = Filter::default();
    set(&mut filter);
    Sample {
        name,
        goal_ms,
        filter,
    }
}

/// The failed jobs with the rare kind's number are few, and so are most other mixes.
fn samples() -> Vec<Sample> {
    let names = |name: &str| vec![name.to_owned()];
    vec![
        sample("unfiltered", 10.0, |_| {}),
        sample("completed", 20.0, |filter| {
            filter.states = vec![State::Completed]
        }),
        sample("pending", 20.0, |filter| {
            filter.states = vec![State::Pending]
        }),
        sample("failed", 20.0, |filter| filter.states = vec![State::Failed]),
        sample("running", 20.0, |filter| {
            filter.states = vec![State::Running]
        }),
        sample("by kind", 20.0, |filter| filter.kinds = names("kind 7")),
        sample("by a rare kind", 20.0, |filter| {
            filter.kinds = names("kind 50")
        }),
        sample("by queue", 20.0, |filter| filter.queues = names("queue 3")),
        sample("by tenant", 20.0, |filter| {
            filter.tenant = Some("tenant 40".to_owned())
        }),
        sample("by tag", 20.0, |filter| {
            filter.tags = vec![("env".to_owned(), "prod".to_owned())];
        }),
        sample("by parent", 20.0, |filter| filter.parent = Some(JobId(4))),
    ]
}

fn searches() -> Vec<Sample> {
    vec![
        sample("kind and queue", 200.0, |filter| {
            filter.kinds = vec!["kind 7".to_owned()];
            filter.queues = vec!["queue 3".to_owned()];
        }),
        sample("tenant and failed", 200.0, |filter| {
            filter.tenant = Some("tenant 40".to_owned());
            filter.states = vec![State::Failed];
        }),
        sample("pending of a tenant", 200.0, |filter| {
            filter.tenant = Some("tenant 40".to_owned());
            filter.states = vec![State::Pending];
        }),
        sample("a text that is nowhere", 200.0, |filter| {
            filter.text = Some("no such text".to_owned());
        }),
        sample("a tag that nobody has", 200.0, |filter| {
            filter.states = vec![State::Completed];
            filter.tags = vec![("env".to_owned(), "none".to_owned())];
        }),
        sample("an error", 200.0, |filter| {
            filter.error = Some("no such error".to_owned());
        }),
        sample("a group of errors", 200.0, |filter| {
            filter.error_group = Some("00000000".to_owned());
        }),
        sample("a long run", 200.0, |filter| {
            filter.took_longer_than = Some(Duration::from_secs(60));
        }),
        sample("a long wait", 200.0, |filter| {
            filter.waited_longer_than = Some(Duration::from_secs(86_400 * 20_000));
        }),
        sample("jobs of the future", 200.0, |filter| {
            filter.since = jobq::jiff::Timestamp::from_millisecond(1_900_000_000_000).ok();
        }),
    ]
}

/// Pages from its start and from places all over the file, in both directions.
fn pages(plan: &Plan, queue: &Queue, (sample, jobs): (&Sample, i64)) -> Done {
    let mut times = Vec::new();
    let mut shown = 0;
    for round in 0..plan.pick(201, 5) {
        let mut filter = sample.filter.clone();
        filter.limit = Some(50);
        filter.sort = [Sort::Newest, Sort::Oldest][round % 2];
        filter.after = (round % 5 > 0).then(|| JobId(1 + (round as i64 * 48_271 * 997) % jobs));
        let began = Instant::now();
        let page = queue.page(&filter)?;
        // The first round finds cold caches.
        if round > 0 {
            times.push(began.elapsed());
        }
        shown += page.jobs.len();
        if !page.is_complete() {
            return Err(format!("a page {} was cut short", sample.name).into());
        }
    }
    let times = Spread::new(times);
    let ms = |percent| times.percentile(percent).as_secs_f64() * 1e3;
    Line::new(format!("page {}, p99", sample.name), ms(99.0), "ms")
        .beside("p50", ms(50.0))
        .note(format!("{} jobs", thousands(shown as f64)))
        .goal(plan.goal(Goal::AtMost(sample.goal_ms)))
        .print();
    Ok(())
}

/// From the newest job to the oldest, whatever number of pages that takes.
fn search(plan: &Plan, queue: &Queue, sample: &Sample) -> Done {
    let mut filter = sample.filter.clone();
    let mut times = Vec::new();
    let mut ids = Vec::new();
    let mut at = queue.last_id()?.map_or(0, |id| id.0);
    for _ in 0..plan.pick(100, 3) {
        let began = Instant::now();
        let page = queue.page(&filter)?;
        let took = began.elapsed();
        if let Some(reached) = page.searched_to {
            ids.push((at - reached.0) as f64 / took.as_secs_f64());
        }
        times.push(took);
        let Some(next) = page.next else { break };
        (filter.after, at) = (Some(next), next.0);
    }
    let pages = times.len();
    let times = Spread::new(times);
    let ms = |percent| times.percentile(percent).as_secs_f64() * 1e3;
    let mut line = Line::new(format!("{}, longest", sample.name), ms(100.0), "ms")
        .beside("p50", ms(50.0))
        .note(format!("{pages} pages"))
        .goal(plan.goal(Goal::AtMost(sample.goal_ms)));
    if !ids.is_empty() {
        let rate = jobq::bench::median(&ids);
        line = line.note(format!("{} ids/s searched", thousands(rate)));
    }
    line.print();
    Ok(())
}
