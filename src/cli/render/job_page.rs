//! One job in full: what `jobq status ID` shows.

use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;
use jobq::api::job::{self, JobJson, asked_for, folder, is_plain_group, percent, task};
use jobq::api::job_in_full::{AttemptJson, JobInFullJson, outcome};
use jobq::api::json::write_line;
use jobq::api::text::bytes;
use jobq::api::time::{duration, millis, relative, rfc3339};
use jobq::api::why::{Explanation, explain};
use jobq::{
    AttemptRecord, Backoff, Jitter, JobId, JobRecord, PrerequisiteRule, Queue, RetryPolicy, State,
    WaitReason,
};

use crate::cli::clock::now;
use crate::cli::exit::{CliError, CliResult};
use crate::cli::history::{Piece, last_lines};
use crate::cli::render::job::bar;
use crate::cli::render::style::Look;
use crate::cli::render::table::{Cell, Column, Facts, Fit, aligned};
use crate::cli::render::text::{for_tabs, for_terminal};
use crate::cli::render::why::look;
use crate::cli::render::{Format, Output};

/// Number of lines of output shown.
const LINES: usize = 3;

/// Maximum number of prerequisites named on a terminal.
const OTHERS: usize = 10;

pub(crate) const ATTEMPTS: [Column; 7] = [
    ("TRY", Fit::Number),
    ("OUTCOME", Fit::Whole),
    ("STARTED", Fit::Whole),
    ("TOOK", Fit::Number),
    ("CPU", Fit::Number),
    ("MEMORY", Fit::Number),
    ("ERROR", Fit::Shrinks),
];

/// Everything that is known of a job.
pub(crate) struct InFull {
    job: JobRecord,
    /// The states of its prerequisites; none for removed ones.
    others: Vec<(JobId, PrerequisiteRule, Option<State>)>,
    attempts: Vec<AttemptRecord>,
    why: Explanation,
    lines: Vec<Piece>,
}

impl InFull {
    /// Fails if the job does not exist.
    pub(crate) fn read(queue: &Queue, id: JobId, output: &Output) -> CliResult<InFull> {
        let job = queue.get(id)?.ok_or_else(|| CliError::no_job(id))?;
        let lines = match output.format {
            Format::Table => last_lines(queue, id, LINES)?,
            Format::Tabs | Format::Json => Vec::new(),
        };
        let others = match output.format {
            Format::Json => Vec::new(),
            Format::Table | Format::Tabs => others(queue, &job)?,
        };
        Ok(InFull {
            others,
            attempts: queue.attempts(id)?,
            why: explain(id, &queue.why(id)?, now()),
            job,
            lines,
        })
    }

    /// For a page that shows the output by itself. Fails if the job does not exist.
    pub(crate) fn without_lines(queue: &Queue, id: JobId) -> CliResult<InFull> {
        let job = queue.get(id)?.ok_or_else(|| CliError::no_job(id))?;
        Ok(InFull {
            others: others(queue, &job)?,
            attempts: queue.attempts(id)?,
            why: explain(id, &queue.why(id)?, now()),
            job,
            lines: Vec::new(),
        })
    }

    pub(crate) fn job(&self) -> &JobRecord {
        &self.job
    }

    pub(crate) fn why(&self) -> &Explanation {
        &self.why
    }

    /// What is known of the job, with names, as a terminal shows it.
    pub(crate) fn facts(&self, output: &Output, now: Timestamp) -> Vec<(String, Cell)> {
        let mut facts = Facts::new(output, 0);
        self.add_facts(&mut facts, now);
        facts.into_pairs()
    }

    /// A row for each attempt, under [`ATTEMPTS`].
    pub(crate) fn attempt_rows(&self, now: Timestamp) -> Vec<Vec<Cell>> {
        self.attempts
            .iter()
            .map(|attempt| row(attempt, now))
            .collect()
    }

    pub(crate) fn write(&self, output: &Output, out: &mut dyn Write) -> CliResult<()> {
        match output.format {
            Format::Json => write_line(out, &self.json())?,
            Format::Tabs => self.write_tabs(output, out)?,
            Format::Table => self.write_page(output, out)?,
        }
        Ok(())
    }

    fn json(&self) -> JobInFullJson<'_> {
        JobInFullJson {
            job: JobJson(&self.job),
            attempts: self.attempts.iter().map(AttemptJson).collect(),
            why: self.why.json(),
        }
    }

    fn write_tabs(&self, output: &Output, out: &mut dyn Write) -> CliResult<()> {
        let mut facts = Facts::new(output, 0);
        facts.add("id", Cell::new(self.job.id));
        facts.add("state", Cell::state(self.job.state));
        facts.add("kind", Cell::new(&self.job.kind));
        self.add_facts(&mut facts, now());
        facts.add("why", Cell::new(&self.why.message));
        facts.write(out)?;
        for attempt in &self.attempts {
            let row = row(attempt, now());
            let fields: Vec<_> = row.iter().map(|cell| for_tabs(cell.full())).collect();
            writeln!(out, "attempt\t{}", fields.join("\t"))?;
        }
        Ok(())
    }

    fn write_page(&self, output: &Output, out: &mut dyn Write) -> CliResult<()> {
        let now = now();
        let state = output.paint(Look::State(self.job.state), self.job.state);
        let name = output.paint(Look::Bold, format!("job {}", self.job.id));
        writeln!(out, "{name}  {state}  {}", self.job.kind)?;
        let why = for_terminal(&self.why.message);
        writeln!(out, "{}", output.paint(look(&self.why), why))?;
        if let Some(hint) = &self.why.hint {
            writeln!(out, "{}", output.paint(Look::Dim, for_terminal(hint)))?;
        }
        writeln!(out)?;
        let mut facts = Facts::new(output, 9);
        self.add_facts(&mut facts, now);
        facts.write(out)?;
        if !self.attempts.is_empty() {
            writeln!(out)?;
            for line in aligned(output, &ATTEMPTS, self.attempt_rows(now)) {
                writeln!(out, "{line}")?;
            }
        }
        self.write_output(output, out)
    }

    fn write_output(&self, output: &Output, out: &mut dyn Write) -> CliResult<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let more = format!("its last lines; `jobq logs {}` shows all", self.job.id);
        writeln!(out, "\n{}", output.paint(Look::Dim, more))?;
        for line in &self.lines {
            let text = String::from_utf8_lossy(&line.text);
            writeln!(out, "  {}", for_terminal(&text))?;
        }
        Ok(())
    }

    fn add_facts(&self, facts: &mut Facts<'_>, now: Timestamp) {
        let job = &self.job;
        let what = if job.kind == "exec" {
            "command"
        } else {
            "payload"
        };
        if !is_plain_group(job) {
            facts.add(what, Cell::new(task(job)));
        }
        facts.add_some("folder", folder(job));
        facts.add("queue", Cell::new(&job.queue));
        facts.add("priority", Cell::new(job.priority));
        facts.add("retries", self.retries());
        facts.add_some("timeout", job.timeout.map(duration));
        let mut time = |name: &str, at: Option<Timestamp>| {
            if let Some(at) = at {
                let short = format!("{} ({})", relative(at, now), rfc3339(at));
                facts.add(name, Cell::either(short, rfc3339(at)));
            }
        };
        time("created", Some(job.created_at));
        time(self.due_is(), job.run_at);
        time("deadline", job.deadline);
        time("started", job.started_at);
        time("finished", job.finished_at);
        if let (Some(runner), Some(worker)) = (job.runner, job.worker) {
            facts.add("worker", Cell::new(format!("{worker} of runner {runner}")));
        }
        self.add_rules(facts);
        if let Some(progress) = &job.progress {
            let text = percent(progress);
            let drawn = progress
                .percent
                .map(|percent| format!("{} {text}", bar(percent)));
            facts.add(
                "progress",
                Cell::either(drawn.unwrap_or_else(|| text.clone()), text),
            );
        }
        facts.add_some("result", job.result.as_ref().map(|result| result.get()));
        if let Some(error) = &job.error {
            facts.add("error", Cell::new(error).look(Look::Bad));
        }
    }

    /// Its tenant, tags, keys and ties to other jobs.
    fn add_rules(&self, facts: &mut Facts<'_>) {
        let job = &self.job;
        facts.add_some("tenant", job.tenant.as_ref());
        facts.add_some("schedule", job.schedule.as_ref());
        facts.add_some("slot", job.slot.map(rfc3339));
        let tags = job.tags.iter();
        let tags: Vec<_> = tags
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        facts.add_some(
            "tags",
            Some(tags.join(", ")).filter(|tags| !tags.is_empty()),
        );
        facts.add_some("unique", job.unique_key.as_ref());
        facts.add_some("key", job.key.as_ref());
        for (name, of) in [
            ("after", PrerequisiteRule::Completed),
            ("after any", PrerequisiteRule::Final),
        ] {
            let others = self.others.iter().filter(|(_, rule, _)| *rule == of);
            let named = others.map(|(id, _, state)| match state {
                Some(state) => format!("{id} {state}"),
                None => format!("{id} removed"),
            });
            let named: Vec<_> = named.collect();
            let most = named.len().min(OTHERS);
            let short = match named.len() - most {
                0 => named.join(", "),
                more => format!("{}, and {more} more", named[..most].join(", ")),
            };
            if !named.is_empty() {
                facts.add(name, Cell::either(short, named.join(", ")));
            }
        }
        facts.add_some("parent", job.parent);
        if let Some(children) = job.children.filter(|children| children.total > 0) {
            let of = job::children(&children);
            let short = format!("{of}: `jobq list --parent {}`", job.id);
            facts.add("children", Cell::either(short, of));
        }
        facts.add_some("hooks", joined(&job.hooks));
        facts.add_some("hook jobs", joined(&job.hook_jobs));
        facts.add_some("trace", job.traceparent);
        let hook_of = job.hook_of.as_ref();
        facts.add_some(
            "hook of",
            hook_of.map(|event| format!("job {}, which has {}", event.job, ended_as(event.state))),
        );
    }

    fn retries(&self) -> Cell {
        let job = &self.job;
        let (left, of) = (job.retries_left(), job.retry.max_retries);
        let waits = waits(&job.retry);
        let short = if of == 0 {
            "none".to_owned()
        } else {
            format!("{left} of {of} left, {waits}")
        };
        Cell::either(short, format!("{left} of {of} left, {waits}"))
    }

    fn due_is(&self) -> &'static str {
        match self.job.wait_reason {
            Some(WaitReason::Retry) => "retry",
            _ => "due",
        }
    }
}

/// None where there are none.
fn joined<T: ToString>(all: &[T]) -> Option<String> {
    let all: Vec<_> = all.iter().map(T::to_string).collect();
    Some(all.join(", ")).filter(|all| !all.is_empty())
}

fn ended_as(state: State) -> &'static str {
    match state {
        State::Cancelled => "been cancelled",
        state => state.as_str(),
    }
}

/// How long a job waits before its retries.
fn waits(retry: &RetryPolicy) -> String {
    if !retry.delays.is_empty() {
        let delays: Vec<_> = retry.delays.iter().copied().map(duration).collect();
        let jittered = match retry.jitter {
            Jitter::Off => "",
            Jitter::Tenth => " with jitter",
        };
        return format!("after {}{jittered}", delays.join(", "));
    }
    let exactly = match retry.jitter {
        Jitter::Off => " without jitter",
        Jitter::Tenth => "",
    };
    match retry.backoff {
        Backoff::None => "without a wait".to_owned(),
        backoff => format!("{backoff} backoff from {}{exactly}", duration(retry.delay)),
    }
}

fn others(
    queue: &Queue,
    job: &JobRecord,
) -> CliResult<Vec<(JobId, PrerequisiteRule, Option<State>)>> {
    let mut others = Vec::new();
    for other in asked_for(job) {
        let state = queue.get(other.job)?.map(|job| job.state);
        others.push((other.job, other.rule, state));
    }
    Ok(others)
}

fn row(attempt: &AttemptRecord, now: Timestamp) -> Vec<Cell> {
    let end = &attempt.end;
    let ended = attempt.outcome.map_or("running", outcome);
    let look = match ended {
        "completed" => Look::Good,
        "failed" | "retry" | "recovered" => Look::Bad,
        _ => Look::Plain,
    };
    let error = end.error.as_deref().unwrap_or_default();
    vec![
        Cell::new(attempt.attempt),
        Cell::new(ended).look(look),
        Cell::time(attempt.started_at, now),
        span(attempt.took),
        span(end.cpu_ms.map(Duration::from_millis)),
        match end.max_rss_bytes {
            Some(peak) => Cell::either(bytes(peak), peak.to_string()),
            None => Cell::new(""),
        },
        Cell::new(error),
    ]
}

/// For a program in milliseconds.
fn span(took: Option<Duration>) -> Cell {
    match took {
        Some(took) => Cell::either(duration(took), millis(took).to_string()),
        None => Cell::new(""),
    }
}
