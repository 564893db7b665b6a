//! `jobq list`.

use jiff::Timestamp;
use jobq::{Filter, JobRecord, Queue, Sort, State};

use super::args;
use super::clock::now;
use super::exit::{CliError, CliResult, Exit};
use super::output::json::{JobJson, write_line};
use super::output::table::{Cell, Column, Fit, Rows};
use super::output::time::{relative, rfc3339};
use super::output::{Format, Output, Stdout};
use super::session::Session;
use super::what::{brief, whole};

/// What a terminal shows where nothing else is asked for.
const TERMINAL_LIMIT: usize = 50;

/// So many jobs are read at a time where the order allows it: no reader of a pipe, however slow,
/// keeps a read transaction open.
const PAGE: usize = 500;

/// A page ends after so much of payloads, results and errors.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

const COLUMNS: [Column; 8] = [
    ("ID", Fit::Number),
    ("STATE", Fit::Whole),
    ("KIND", Fit::Name),
    ("QUEUE", Fit::Name),
    ("PRIORITY", Fit::Spare),
    ("TRY", Fit::Number),
    ("WHEN", Fit::Whole),
    ("WHAT", Fit::Shrinks),
];

pub(super) fn run(args: &args::List, session: &Session) -> CliResult {
    let queue = session.queue()?;
    let filter = Filter {
        states: args.state.states.clone(),
        since: args
            .since
            .map(|span| now().checked_sub(span).unwrap_or(Timestamp::MIN)),
        sort: args.sort.into(),
        ..session.filter(&args.filter)?
    };
    let limit = match (args.limit, session.output.format) {
        (Some(0), _) | (None, Format::Tabs | Format::Json) => None,
        (Some(limit), _) => Some(limit),
        (None, Format::Table) => Some(TERMINAL_LIMIT),
    };
    let mut listing = Listing::new(&session.output);
    let more = walk(&queue, filter.clone(), limit, &mut |job| listing.push(job))?;
    let shown = listing.end()?;
    if more && session.output.format == Format::Table {
        let of = matching(&queue, &filter)?.map_or_else(
            || format!("the first {shown} are shown"),
            |all| format!("{shown} of {all} shown"),
        );
        session
            .screen
            .say(format_args!("{of}; --limit 0 shows all"));
    }
    Ok(Exit::Done)
}

/// Calls `each` for the jobs that pass the filter, at most `limit`; whether there are more.
fn walk(
    queue: &Queue,
    mut filter: Filter,
    limit: Option<usize>,
    each: &mut dyn FnMut(&JobRecord) -> CliResult<()>,
) -> CliResult<bool> {
    if !matches!(filter.sort, Sort::Newest | Sort::Oldest) {
        return walk_sorted(queue, filter, limit, each);
    }
    let mut left = limit;
    loop {
        filter.limit = Some(left.map_or(PAGE, |left| (left + 1).min(PAGE)));
        let page = read_page(queue, &filter)?;
        for job in &page.jobs {
            if left == Some(0) {
                return Ok(true);
            }
            each(job)?;
            left = left.map(|left| left - 1);
            filter.after = Some(job.id);
        }
        if !page.is_cut && Some(page.jobs.len()) < filter.limit {
            return Ok(false);
        }
    }
}

struct Page {
    jobs: Vec<JobRecord>,
    /// It ends before the filter's limit because it is large.
    is_cut: bool,
}

/// Jobs up to the filter's limit, and at least one: many large ones do not fit into memory.
fn read_page(queue: &Queue, filter: &Filter) -> CliResult<Page> {
    let mut page = Page {
        jobs: Vec::new(),
        is_cut: false,
    };
    let mut bytes = 0;
    let read = queue.for_each(filter, |job| {
        bytes += size(&job);
        page.jobs.push(job);
        page.is_cut = bytes > PAGE_BYTES;
        match page.is_cut {
            // Only an error ends the reading.
            true => Err(jobq::Error::invalid("the page is full")),
            false => Ok(()),
        }
    });
    match read {
        Err(error) if !page.is_cut => Err(error.into()),
        _ => Ok(page),
    }
}

fn size(job: &JobRecord) -> usize {
    let result = job.result.as_ref().map_or(0, |result| result.get().len());
    let error = job.error.as_ref().map_or(0, String::len);
    job.payload.get().len() + result + error
}

/// The other orders cannot be taken up again where a page ended: one read for all.
fn walk_sorted(
    queue: &Queue,
    mut filter: Filter,
    limit: Option<usize>,
    each: &mut dyn FnMut(&JobRecord) -> CliResult<()>,
) -> CliResult<bool> {
    filter.limit = limit.map(|limit| limit + 1);
    let mut met = 0;
    // The library's callback cannot carry this error: after one the rest is read and dropped.
    let mut failed: Option<CliError> = None;
    queue.for_each(&filter, |job| {
        if failed.is_none() && limit.is_none_or(|limit| met < limit) {
            failed = each(&job).err();
        }
        met += 1;
        Ok(())
    })?;
    match failed {
        Some(error) => Err(error),
        None => Ok(limit.is_some_and(|limit| met > limit)),
    }
}

/// How many jobs pass the filter, where the counters say so.
fn matching(queue: &Queue, filter: &Filter) -> CliResult<Option<u64>> {
    let is_counted = filter.kinds.is_empty()
        && filter.tenant.is_none()
        && filter.tags.is_empty()
        && filter.parent.is_none()
        && filter.since.is_none();
    if !is_counted {
        return Ok(None);
    }
    let wanted = |state: &State| filter.states.is_empty() || filter.states.contains(state);
    let named = |name: &String| filter.queues.is_empty() || filter.queues.contains(name);
    let queues = queue.queues()?;
    let counts = queues
        .iter()
        .filter(|queue| named(&queue.name))
        .flat_map(|queue| queue.counts.iter());
    Ok(Some(
        counts
            .filter(|(state, _)| wanted(state))
            .map(|(_, jobs)| jobs)
            .sum(),
    ))
}

/// Jobs on their way to stdout.
struct Listing<'a> {
    shown: usize,
    to: To<'a>,
}

enum To<'a> {
    Json(Stdout),
    Rows(Rows<'a>, Timestamp),
}

impl<'a> Listing<'a> {
    fn new(output: &'a Output) -> Listing<'a> {
        let to = if output.is_json() {
            To::Json(output.stdout())
        } else {
            To::Rows(Rows::new(output, &COLUMNS), now())
        };
        Listing { shown: 0, to }
    }

    fn push(&mut self, job: &JobRecord) -> CliResult<()> {
        self.shown += 1;
        match &mut self.to {
            To::Json(out) => write_line(out, &JobJson::new(job))?,
            To::Rows(rows, now) => rows.push(row(job, *now))?,
        }
        Ok(())
    }

    fn end(self) -> CliResult<usize> {
        match self.to {
            To::Json(mut out) => std::io::Write::flush(&mut out)?,
            To::Rows(rows, _) => rows.finish()?,
        }
        Ok(self.shown)
    }
}

fn row(job: &JobRecord, now: Timestamp) -> Vec<Cell> {
    vec![
        Cell::new(job.id),
        Cell::state(job.state),
        Cell::new(&job.kind),
        Cell::new(&job.queue),
        Cell::new(job.priority),
        Cell::new(job.attempt),
        when(job, now),
        Cell::either(brief(job), whole(job)),
    ]
}

/// The moment that matters in its state.
fn when(job: &JobRecord, now: Timestamp) -> Cell {
    let at = match job.state {
        State::Scheduled => job.run_at,
        State::Running => job.started_at,
        state if state.is_final() => job.finished_at,
        _ => None,
    };
    let at = at.unwrap_or(job.created_at);
    Cell::either(relative(at, now), rfc3339(at))
}

#[cfg(test)]
mod tests {
    use jobq::NewJob;

    use super::*;

    #[test]
    fn pages_of_large_jobs_are_short_and_none_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(folder.path().join("jobs.db")).unwrap();
        let large = NewJob::new("k").payload(&"x".repeat(PAGE_BYTES / 2));
        let ids: Vec<_> = (0..5)
            .map(|_| queue.enqueue(large.clone()).unwrap().id)
            .collect();
        let filter = Filter {
            sort: Sort::Oldest,
            limit: Some(PAGE),
            ..Filter::default()
        };
        let page = read_page(&queue, &filter).unwrap();
        assert!(page.is_cut);
        assert_eq!(page.jobs.len(), 2, "it ends with the job that fills it");
        let mut met = Vec::new();
        let more = walk(&queue, filter, None, &mut |job| {
            met.push(job.id);
            Ok(())
        });
        assert!(!more.unwrap());
        assert_eq!(met, ids);
    }
}
