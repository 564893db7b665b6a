//! The whole file at a glance: what `jobq status` shows.

use std::collections::HashMap;
use std::io::Write;

use jiff::Timestamp;
use jobq::api::event;
use jobq::api::job::task;
use jobq::api::json::{Time, json_fields, write_line};
use jobq::api::queue::{CountsJson, QueueJson};
use jobq::api::runner::{RunnerJson, gone_runner_text};
use jobq::api::text::count;
use jobq::api::time::{relative, rfc3339};
use jobq::{
    Counts, Filter, JobId, JobRecord, Queue, QueueRecord, RunnerFilter, RunnerRecord, RunnerState,
    Sort, State,
};

use crate::cli::clock::now;
use crate::cli::exit::CliResult;
use crate::cli::render::style::Look;
use crate::cli::render::table::{Cell, Column, Fit, aligned};
use crate::cli::render::text::for_tabs;
use crate::cli::render::{Format, Output, queue};

/// Maximum number of failed jobs shown, and of busy workers.
const FAILURES: usize = 5;
const WORKERS: usize = 20;

pub(crate) const RUNNERS: [Column; 7] = [
    ("RUNNER", Fit::Number),
    ("STATE", Fit::Whole),
    ("BUSY", Fit::Number),
    ("PID", Fit::Number),
    ("HOST", Fit::Name),
    ("STARTED", Fit::Whole),
    ("BEAT", Fit::Whole),
];

const WORK: [Column; 6] = [
    ("RUNNER", Fit::Number),
    ("WORKER", Fit::Number),
    ("JOB", Fit::Number),
    ("KIND", Fit::Name),
    ("SINCE", Fit::Whole),
    ("WHAT", Fit::Shrinks),
];

const FAILED: [Column; 5] = [
    ("FAILED", Fit::Number),
    ("KIND", Fit::Name),
    ("WHEN", Fit::Whole),
    ("ERROR", Fit::Shrinks),
    ("WHAT", Fit::Shrinks),
];

/// The state of the whole file.
pub(crate) struct Overview {
    counts: Counts,
    queues: Vec<QueueRecord>,
    all_paused: Option<Timestamp>,
    runners: Vec<RunnerRecord>,
    /// What the jobs that are held are to do, so far as anybody looks at it.
    tasks: HashMap<JobId, String>,
    next_due: Option<Timestamp>,
    failures: Vec<JobRecord>,
}

json_fields! {
    pub(crate) StatusJson(of: &'a Overview) {
        counts: CountsJson(of.counts),
        queues: of.queues.iter().map(|queue| QueueJson(queue, of.all_paused)).collect::<Vec<_>>(),
        runners: of.runners.iter().map(RunnerJson::new).collect::<Vec<_>>(),
        next_due_at: of.next_due.map(Time),
    }
}

impl Overview {
    pub(crate) fn read(queue: &Queue, format: Format) -> CliResult<Overview> {
        let failed = Filter {
            states: vec![State::Failed],
            sort: Sort::Finished,
            limit: Some(FAILURES),
            ..Filter::default()
        };
        let runners = queue.runners(RunnerFilter::Now)?;
        let shown = match format {
            Format::Json => 0,
            Format::Table => WORKERS,
            Format::Tabs => usize::MAX,
        };
        let held = runners.iter().flat_map(|runner| &runner.jobs);
        let mut tasks = HashMap::new();
        for held in held.take(shown) {
            if let Some(job) = queue.get(held.job)? {
                tasks.insert(job.id, task(&job));
            }
        }
        Ok(Overview {
            counts: queue.counts()?,
            queues: queue.queues()?,
            all_paused: queue.all_paused_since()?,
            runners,
            tasks,
            next_due: queue.next_due()?,
            failures: queue.list(&failed)?,
        })
    }

    pub(crate) fn write(&self, output: &Output, out: &mut dyn Write) -> CliResult<()> {
        match output.format {
            Format::Json => write_line(out, &StatusJson(self))?,
            Format::Tabs => self.write_tabs(out)?,
            Format::Table => self.write_page(output, out)?,
        }
        Ok(())
    }

    /// Each line begins with what it is about.
    fn write_tabs(&self, out: &mut dyn Write) -> CliResult<()> {
        let now = now();
        let mut line = |what: &str, row: Vec<Cell>| {
            let fields: Vec<_> = row.iter().map(|cell| for_tabs(cell.full())).collect();
            writeln!(out, "{what}\t{}", fields.join("\t"))
        };
        for (state, jobs) in self.counts.iter() {
            line("jobs", vec![Cell::new(state), Cell::new(jobs)])?;
        }
        for record in &self.queues {
            line("queue", queue::row(record, self.all_paused, now))?;
        }
        for runner in &self.runners {
            line("runner", runner_row(runner, now))?;
        }
        for row in self.work(now) {
            line("worker", row)?;
        }
        line("next_due", vec![Cell::time(self.next_due, now)])?;
        for job in &self.failures {
            line("failure", failure_row(job, now))?;
        }
        Ok(())
    }

    fn write_page(&self, output: &Output, out: &mut dyn Write) -> CliResult<()> {
        let now = now();
        writeln!(out, "{}", counts_text(output, &self.counts))?;
        if let Some(since) = self.all_paused {
            let text = format!(
                "all queues are paused since {} ({}): `jobq resume`",
                relative(since, now),
                rfc3339(since)
            );
            writeln!(out, "{}", output.paint(Look::Warn, text))?;
        }
        if let Some(due) = self.next_due {
            writeln!(out, "the next scheduled job {}", event::due(due, now))?;
        }
        let mut section = |columns: &[Column], rows: Vec<Vec<Cell>>| -> CliResult<()> {
            let lines = aligned(output, columns, rows);
            if !lines.is_empty() {
                writeln!(out, "\n{}", lines.join("\n"))?;
            }
            Ok(())
        };
        let (columns, queues) = queue::table(&self.queues, self.all_paused);
        section(&columns, queues)?;
        section(
            &RUNNERS,
            self.runners
                .iter()
                .map(|runner| runner_row(runner, now))
                .collect(),
        )?;
        let mut work: Vec<_> = self.work(now).collect();
        let more = work.len().saturating_sub(WORKERS);
        work.truncate(WORKERS);
        section(&WORK, work)?;
        section(
            &FAILED,
            self.failures
                .iter()
                .map(|job| failure_row(job, now))
                .collect(),
        )?;
        if more > 0 {
            let run = if more == 1 { "runs" } else { "run" };
            let more = count(more as u64, "more job");
            let text = format!("{more} {run}: `jobq list --state running`");
            writeln!(out, "\n{}", output.paint(Look::Dim, text))?;
        }
        for runner in self.runners.iter().filter(|runner| !runner.is_alive()) {
            writeln!(
                out,
                "\n{}",
                output.paint(Look::Warn, gone_runner_text(runner))
            )?;
        }
        if !self.runners.iter().any(RunnerRecord::is_alive) {
            writeln!(
                out,
                "\n{}",
                output.paint(Look::Dim, "no runner is active; start one with `jobq run`")
            )?;
        }
        Ok(())
    }

    /// A row for each job that is held by a runner.
    fn work(&self, now: Timestamp) -> impl Iterator<Item = Vec<Cell>> + '_ {
        self.runners.iter().flat_map(move |runner| {
            runner.jobs.iter().map(move |job| {
                vec![
                    Cell::new(runner.id),
                    Cell::maybe(job.worker),
                    Cell::new(job.job),
                    Cell::new(&job.kind),
                    Cell::time(Some(job.since), now),
                    Cell::maybe(self.tasks.get(&job.job)),
                ]
            })
        })
    }
}

/// `3 pending · 2 running · 12 completed`.
pub(crate) fn counts_text(output: &Output, counts: &Counts) -> String {
    let parts: Vec<String> = counts
        .iter()
        .filter(|(_, jobs)| *jobs > 0)
        .map(|(state, jobs)| {
            let text = format!("{jobs} {state}");
            output.paint(Look::State(state), text).to_string()
        })
        .collect();
    if parts.is_empty() {
        "no jobs".to_owned()
    } else {
        parts.join(" · ")
    }
}

pub(crate) fn runner_row(runner: &RunnerRecord, now: Timestamp) -> Vec<Cell> {
    let (name, look) = match runner.state {
        RunnerState::Idle => ("idle", Look::Plain),
        RunnerState::Busy => ("busy", Look::Good),
        RunnerState::Stopping => ("stopping", Look::Warn),
        RunnerState::Offline => ("offline", Look::Dim),
    };
    let busy = runner.jobs.len().min(runner.worker_count as usize);
    vec![
        Cell::new(runner.id),
        Cell::new(name).look(look),
        Cell::new(format!("{busy}/{}", runner.worker_count)),
        Cell::new(runner.pid),
        Cell::new(&runner.host),
        Cell::time(Some(runner.started_at), now),
        Cell::time(Some(runner.heartbeat_at), now),
    ]
}

fn failure_row(job: &JobRecord, now: Timestamp) -> Vec<Cell> {
    vec![
        Cell::new(job.id),
        Cell::new(&job.kind),
        Cell::time(job.finished_at, now),
        Cell::maybe(job.error.as_deref()).look(Look::Bad),
        Cell::new(task(job)),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jobq::{ManualClock, NewJob};

    use super::*;

    #[test]
    fn status_has_every_state_and_the_next_due_time() {
        let folder = tempfile::tempdir().unwrap();
        let noon = "2026-03-01T12:00:00.007Z".parse().unwrap();
        let queue = Queue::options()
            .clock(ManualClock::new(noon))
            .open(folder.path().join("jobs.db"))
            .unwrap();
        let job = NewJob::new("resize").queue("images");
        queue.enqueue(job.delay(Duration::from_secs(300))).unwrap();
        let overview = Overview::read(&queue, Format::Json).unwrap();
        let counts = concat!(
            r#"{"scheduled":1,"blocked":0,"pending":0,"running":0,"waiting":0,"completed":0,"#,
            r#""failed":0,"cancelled":0}"#
        );
        let queues = format!(
            "[{},\"counts\":{counts},{}]",
            r#"{"name":"images","paused":false,"paused_at":null"#,
            r#""concurrency":null,"rate":null,"max_size":null,"weight":1}"#
        );
        assert_eq!(
            serde_json::to_string(&StatusJson(&overview)).unwrap(),
            format!(
                "{{\"counts\":{counts},\"queues\":{queues},\"runners\":[],{}",
                r#""next_due_at":"2026-03-01T12:05:00.007Z"}"#
            )
        );
    }
}
