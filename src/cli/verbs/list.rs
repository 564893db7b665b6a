//! `jobq list`.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jobq::api::job::JobJson;
use jobq::{Filter, JobRecord, Queue, Sort, State};

use crate::cli::clock::now;
use crate::cli::exit::{CliError, CliResult, Exit};
use crate::cli::input::selection::{JobFilter, StateFilter, contradiction};
use crate::cli::input::values;
use crate::cli::render::Format;
use crate::cli::render::job::{COLUMNS, row};
use crate::cli::render::table::Rows;
use crate::cli::session::Session;

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) state: StateFilter,
    #[command(flatten)]
    pub(crate) filter: JobFilter,
    /// Only jobs enqueued within this time: 1h, '2 days'
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) since: Option<Duration>,
    /// Only jobs with this text in the payload, the result, the error or the kind
    #[arg(long, value_name = "TEXT")]
    pub(crate) text: Option<String>,
    /// The order of the jobs: updated, started and finished begin with the most recent, due with the next
    /// [default: newest]
    #[arg(long, value_name = "ORDER", value_parser = values::sort())]
    pub(crate) sort: Option<Sort>,
    /// Show at most N (0: all) [default: 50 on a terminal, else all]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

/// Default limit on a terminal.
const TERMINAL_LIMIT: usize = 50;

/// Number of jobs read at a time if the order allows it, so that a slow reader of a pipe keeps no read
/// transaction open.
const PAGE: usize = 500;

pub(crate) fn run(args: &ListArgs, session: &Session) -> CliResult {
    let queue = session.queue()?;
    let options = Filter {
        since: args
            .since
            .map(|span| now().checked_sub(span).unwrap_or(Timestamp::MIN)),
        text: args.text.clone(),
        sort: args.sort.unwrap_or_default(),
        ..Filter::default()
    };
    let filter = session.filter_with(&args.filter, &args.state)?;
    let filter = filter.and(options).map_err(contradiction)?;
    let limit = match (args.limit, session.output.format) {
        (Some(0), _) | (None, Format::Tabs | Format::Json) => None,
        (Some(limit), _) => Some(limit),
        (None, Format::Table) => Some(TERMINAL_LIMIT),
    };
    let (mut rows, now) = (Rows::new(&session.output, &COLUMNS), now());
    let mut shown = 0;
    let more = walk(&queue, filter.clone(), limit, &mut |job| {
        shown += 1;
        Ok(rows.push(&JobJson(job), || row(job, now))?)
    })?;
    rows.finish()?;
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

/// Calls `each` for the jobs that match the filter, at most `limit`; returns whether there are more.
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
        // Where no more are wanted, one shows whether there are more.
        filter.limit = Some(left.map_or(PAGE, |left| left.clamp(1, PAGE)));
        let page = queue.page_of_records(&filter)?;
        for job in &page.jobs {
            if left == Some(0) {
                return Ok(true);
            }
            each(job)?;
            left = left.map(|left| left - 1);
        }
        if left == Some(0) && page.is_complete() {
            return Ok(page.next.is_some());
        }
        filter.after = page.next;
        if filter.after.is_none() {
            return Ok(false);
        }
    }
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

/// The number of jobs that match the filter, if the counters have it.
fn matching(queue: &Queue, filter: &Filter) -> CliResult<Option<u64>> {
    let others = Filter {
        states: Vec::new(),
        queues: Vec::new(),
        sort: Sort::default(),
        ..filter.clone()
    };
    if others != Filter::default() {
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

#[cfg(test)]
mod tests {
    use jobq::NewJob;

    use super::*;

    #[test]
    fn pages_of_large_jobs_are_short_and_none_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(folder.path().join("jobs.db")).unwrap();
        let large = NewJob::new("k").payload(&"x".repeat(2 * 1024 * 1024));
        let ids: Vec<_> = (0..5)
            .map(|_| queue.enqueue(large.clone()).unwrap().id)
            .collect();
        let filter = Filter {
            sort: Sort::Oldest,
            limit: Some(PAGE),
            ..Filter::default()
        };
        let page = queue.page_of_records(&filter).unwrap();
        assert_eq!(page.next, Some(ids[1]));
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
