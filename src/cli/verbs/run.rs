//! `jobq run`.

mod output;
mod reload;
pub(crate) mod service;
mod settings;
mod show;
mod signals;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use jobq::api::job_request::{CommandRequest, JobRequest, Work};
use jobq::api::text::count;
use jobq::handlers::exec::Program;
use jobq::web::ServerHandle;
use jobq::{
    Batch, BatchDedup, BatchStart, Filter, JobId, JobOptions, JobRecord, Queue, QueueRecord,
    ResumedBatch, RunReport, Runner, RunnerId, Sort, State,
};

use self::output::OutputPrinter;
use self::reload::Watched;
use self::service::Service;
use self::settings::builder;
use self::show::{Failures, RunSummary, Show};
use self::signals::Caught;
use crate::cli::clock;
use crate::cli::exit::{CliError, CliResult, Exit};
use crate::cli::input::batch::{BatchSource, CheckedBatch};
use crate::cli::input::declared;
use crate::cli::input::origin::Origin;
use crate::cli::input::payload::argv;
use crate::cli::render::text;
use crate::cli::session::Session;
use crate::cli::verbs::{retry, serve};

pub(crate) use self::settings::RunArgs;

pub(crate) fn run(args: &RunArgs, session: &Session) -> CliResult {
    let source = many(args)?;
    signals::outlive_strays()?;
    let queue = session.queue()?;
    if args.drain {
        // A drain fires no schedules, but a mistake in one is an error all the same.
        declared::check(&queue, &session.config)?;
    } else {
        declared::sync(&queue, &session.config, &session.screen)?;
    }
    session.sync_limits()?;
    let batch = match source {
        Some(source) => add_batch(source, args, session)?,
        None => None,
    };
    hint_at_queues(args, session)?;
    let began = clock::instant();
    let since = clock::now();
    let failures = Failures::since_now(&queue, session)?;
    let printer = match args.output {
        true => Some(OutputPrinter::start(
            session.output.format,
            &session.screen,
        )?),
        false => None,
    };
    let sink = printer.as_ref().map(OutputPrinter::sink);
    let mut builder = builder(args, &session.config, &queue, sink.clone())?;
    if let Some(batch) = batch {
        builder = builder.drain_batch(batch);
    }
    // A port that is taken is told before any job is run.
    let server = serve(args, session)?;
    let caught = Caught::catch()?;
    let runner = builder.start()?;
    let id = runner.id();
    let failures = failures.follow(&runner)?;
    let signals = caught.listen(runner.stopper(), &session.screen)?;
    let watched = Watched::start(args, &queue, runner.reloader(), sink, session)?;
    let mut service = Service::ready();
    announce(args, &runner, &queue, session);
    let mut show = Show::new(args, batch, &queue, session)?;
    let ended = wait(runner, &mut show, &mut service);
    show.end();
    service::stopping();
    if let Some(server) = server {
        server.stop();
    }
    watched.end();
    if let Some(printer) = printer {
        printer.end();
    }
    failures.end();
    let was_interrupted = signals.end();
    let ended = ended?;
    RunSummary(&ended, began.elapsed()).print(session)?;
    if was_interrupted {
        return Ok(Exit::Interrupted);
    }
    if let Some(error) = set_aside(&ended) {
        return Err(error);
    }
    match args.drain {
        true => drained(&ended, batch, (id, since), session),
        false => Ok(Exit::Done),
    }
}

/// How a drain ends, with what to do about jobs that failed.
fn drained(
    ended: &RunReport,
    batch: Option<Batch>,
    own: (RunnerId, jiff::Timestamp),
    session: &Session,
) -> CliResult {
    let ended_badly = match batch {
        Some(batch) => session.queue()?.batch_progress(batch)?.ended_badly,
        None => 0,
    };
    let failed = ended.stats.failed + ended.stats.cancelled + ended_badly;
    if failed == 0 {
        return Ok(Exit::Done);
    }
    hint_at_retry(own, batch, session)?;
    Ok(Exit::JobFailed)
}

/// The server of `--serve`.
fn serve(args: &RunArgs, session: &Session) -> CliResult<Option<ServerHandle>> {
    let Some(address) = &args.serve else {
        return Ok(None);
    };
    let server = serve::server(&args.server, session)?
        .listen(address.clone())
        .start()?;
    session.screen.say(format_args!("serving {}", server.url()));
    Ok(Some(server))
}

/// The parts that were set aside because the file is damaged there.
fn set_aside(ended: &RunReport) -> Option<CliError> {
    let first = ended.set_aside.first()?;
    let more = match ended.set_aside.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let error = format!("{} was set aside: {}{more}", first.what, first.why);
    let hint = "`jobq doctor` says what is damaged, `jobq why ID` whether a job is";
    Some(CliError::failed(error).with_hint(hint))
}

/// The name of a queue that has never had a job may be misspelt.
fn hint_at_queues(args: &RunArgs, session: &Session) -> CliResult<()> {
    if args.queues.is_empty() {
        return Ok(());
    }
    // What of it is damaged, the runner tells.
    let Ok(queues) = session.queue()?.queues() else {
        return Ok(());
    };
    let live = |queue: &QueueRecord| queue.counts.live();
    for name in &args.queues {
        let is_known = queues
            .iter()
            .any(|queue| queue.name == *name && queue.counts.total() > 0);
        if is_known {
            continue;
        }
        let waiting = queues.iter().filter(|queue| live(queue) > 0).take(5);
        let waiting: Vec<_> = waiting
            .map(|queue| format!("{} ({})", queue.name, live(queue)))
            .collect();
        let elsewhere = match waiting.is_empty() {
            true => String::new(),
            false => format!("; jobs wait in {}", waiting.join(", ")),
        };
        session
            .screen
            .hint(format_args!("queue '{name}' has no jobs yet{elsewhere}"));
    }
    Ok(())
}

/// Which command runs again what this runner saw fail, or what failed of the batch.
fn hint_at_retry(
    (runner, since): (RunnerId, jiff::Timestamp),
    batch: Option<Batch>,
    session: &Session,
) -> CliResult<()> {
    /// Maximum number of failures looked at.
    const LOOKED_AT: usize = 1000;
    let failed = Filter {
        states: vec![State::Failed],
        sort: Sort::Finished,
        limit: Some(LOOKED_AT),
        ..Filter::default()
    };
    let is_own = |job: &JobRecord| {
        let in_batch = batch.is_some_and(|batch| (batch.first..=batch.last).contains(&job.id));
        let is_new = job.finished_at.is_some_and(|at| at >= since);
        in_batch || (is_new && job.runner == Some(runner))
    };
    let failed = session.queue()?.list(&failed)?;
    let mut ids: Vec<JobId> = failed
        .iter()
        .filter(|job| is_own(job))
        .map(|job| job.id)
        .collect();
    ids.sort_unstable();
    let ranges = retry::ranges(&ids);
    let again = match ranges.ends_with('…') {
        true => "jobq retry --failed".to_owned(),
        false => format!("jobq retry {ranges}"),
    };
    match (batch, ids.is_empty()) {
        (Some(_), true) => session
            .screen
            .hint("the same command runs again what did not complete"),
        (Some(_), false) => session.screen.hint(format_args!(
            "the same command runs again all that did not complete; `{again}` only what failed"
        )),
        (None, true) => {}
        (None, false) => session
            .screen
            .hint(format_args!("`{again}` runs again what failed")),
    }
    Ok(())
}

/// The jobs of `-f` or `--each`.
fn many(args: &RunArgs) -> CliResult<Option<BatchSource>> {
    let options = args.job.options();
    if args.each.list.is_none() && options != JobOptions::default() {
        return Err(CliError::usage("options of jobs go with --each")
            .with_hint("lines of -f have their own; `jobq edit` changes jobs that are there"));
    }
    if let Some(path) = &args.file {
        return Ok(Some(BatchSource::jobs(path)));
    }
    args.each.source(|| {
        // The runner is to find them.
        let queue = match &args.queues[..] {
            [] => None,
            [queue] => Some(queue.clone()),
            _ => {
                return Err(CliError::usage(
                    "the jobs of --each go to one queue, and --queue names several",
                ));
            }
        };
        let program = Program::Argv(argv(&args.command)?);
        Ok(JobRequest {
            work: Work::Exec(CommandRequest::new(program)),
            options: JobOptions { queue, ..options },
        })
    })
}

/// The jobs of the file: those of the same batch where it is not done, else new ones.
fn add_batch(source: BatchSource, args: &RunArgs, session: &Session) -> CliResult<Option<Batch>> {
    let queue = session.queue()?;
    let origin = Origin::here(Arc::clone(&session.config))?;
    let file = CheckedBatch::read(source, origin, &queue, &session.screen)?;
    let digest = file.digest().to_owned();
    let remember = match args.again {
        true => BatchDedup::Again(digest),
        false => BatchDedup::Once(digest),
    };
    let start = file.add(&queue, remember)?.start;
    match &start {
        BatchStart::Nothing if file.jobs() > 0 => session.screen.say(format_args!(
            "nothing enqueued: all jobs of {} are there already",
            file.name()
        )),
        BatchStart::Nothing => session
            .screen
            .say(format_args!("{} holds no jobs", file.name())),
        BatchStart::Added(Batch { first, last }) => {
            let jobs = count(file.jobs(), "job");
            session.screen.say(format_args!(
                "{jobs} enqueued ({})",
                text::span(*first, *last)
            ));
        }
        BatchStart::Resumed(resumed) => print_resumed(resumed, session),
    }
    Ok(start.batch())
}

/// Which jobs of a batch that was there already are run now.
fn print_resumed(resumed: &ResumedBatch, session: &Session) {
    let ResumedBatch {
        batch: Batch { first, last },
        unfinished,
        retried,
        refused,
        ..
    } = resumed;
    let again = match retried {
        0 => String::new(),
        1 => "1 that failed or was cancelled is run again".to_owned(),
        many => format!("{many} that failed or were cancelled are run again"),
    };
    let goes_on = match unfinished {
        0 => String::new(),
        some => format!("{some} unfinished"),
    };
    let parts: Vec<_> = [goes_on, again]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    if !parts.is_empty() {
        session.screen.say(format_args!(
            "going on with {} of this batch, {}",
            text::jobs(*first, *last),
            parts.join(", ")
        ));
    }
    const TOLD: usize = 10;
    for (job, why) in refused.iter().take(TOLD) {
        session
            .screen
            .say(format_args!("job {job} is not run again: {why}"));
    }
    if let Some(more) = refused.len().checked_sub(TOLD).filter(|more| *more > 0) {
        session
            .screen
            .say(format_args!("{more} more jobs are not run again"));
    }
}

/// The bar of a runner is updated at most this often.
const REST: Duration = Duration::from_millis(50);

fn announce(args: &RunArgs, runner: &Runner, queue: &Queue, session: &Session) {
    let workers = args.workers.or(session.config.workers);
    let workers = workers.unwrap_or(jobq::DEFAULT_WORKERS) as u64;
    if !args.drain {
        session.screen.say(format_args!(
            "runner {} is running jobs from {} with {}; stop it with Ctrl-C",
            runner.id(),
            queue.path().display(),
            count(workers, "worker")
        ));
    }
}

/// Waits until the runner has ended; meanwhile updates the bar and feeds the watchdog, where there is one.
fn wait(runner: Runner, show: &mut Show, service: &mut Service) -> jobq::Result<RunReport> {
    loop {
        let stats = runner.stats();
        match show.update(&stats) {
            // The runner itself says so, once what it runs has ended.
            Err(error) if error.is_replaced() => break,
            updated => updated?,
        }
        service.feed_watchdog(&runner);
        let Some(pause) = show.pause().into_iter().chain(service.pause()).min() else {
            break;
        };
        if show.is_live() {
            thread::sleep(REST.min(pause));
        }
        if !runner.wait_for_stats(&stats, pause) {
            break;
        }
    }
    runner.wait()
}
