//! `jobq queue list`, `jobq queue show` and `jobq queue set`.

use clap::{ArgGroup, Args, Subcommand};
use jobq::api::queue::{QueueJson, limits_text};
use jobq::api::why::queue::VerdictText;
use jobq::{QueueLimitsUpdate, Rate, Update};

use crate::cli::clock::now;
use crate::cli::exit::{CliResult, Exit};
use crate::cli::input::limits;
use crate::cli::render::Format;
use crate::cli::render::queue::{COLUMNS, rows, table};
use crate::cli::render::table::Rows;
use crate::cli::render::why::verdict_text;
use crate::cli::session::Session;

#[derive(Debug, Args)]
pub(crate) struct QueueArgs {
    #[command(subcommand)]
    pub(crate) verb: QueueVerb,
}

// The commands on queues.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum QueueVerb {
    /// List the queues
    List,
    /// Show a queue: its jobs, and the rules that keep its pending jobs from running
    Show(QueueShowArgs),
    /// Set limits of a queue, over all runners; limits that are not named stay
    Set(QueueSetArgs),
}

#[derive(Debug, Args)]
pub(crate) struct QueueShowArgs {
    /// The queue
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("limit").required(true).multiple(true).args([
    "concurrency", "rate", "max_size", "weight",
])))]
pub(crate) struct QueueSetArgs {
    /// The queue; it need not exist yet
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// How many of its jobs may run at once, or none for no limit
    #[arg(long, value_name = "N|none", value_parser = limits::number::<u32>)]
    pub(crate) concurrency: Option<Update<u32>>,
    /// How many of its jobs may start in any span of time, like 10/1m, retries included; or none for no
    /// limit
    #[arg(long, value_name = "N/DURATION|none", value_parser = limits::rate_or_none)]
    pub(crate) rate: Option<Update<Rate>>,
    /// How many unfinished jobs it may hold, more are refused (exit code 75); or none for no limit of its
    /// own
    #[arg(long, value_name = "N|none", value_parser = limits::number::<u64>)]
    pub(crate) max_size: Option<Update<u64>>,
    /// Its share of a runner among the queues with work, 1 if never set
    #[arg(long, value_name = "N")]
    pub(crate) weight: Option<u32>,
}

pub(crate) fn run(args: &QueueArgs, session: &Session) -> CliResult {
    match &args.verb {
        QueueVerb::List => list(session),
        QueueVerb::Show(show) => verdict(show, session),
        QueueVerb::Set(set) => limit(set, session),
    }
}

fn limit(args: &QueueSetArgs, session: &Session) -> CliResult {
    let limits = QueueLimitsUpdate {
        concurrency: args.concurrency.unwrap_or_default(),
        rate: args.rate.unwrap_or_default(),
        max_size: args.max_size.unwrap_or_default(),
        weight: args.weight.map_or(Update::Keep, Update::Set),
    };
    let queue = session.queue()?;
    queue.set_limits(&args.name, limits)?;
    let all_paused = queue.all_paused_since()?;
    let queues = queue.queues()?;
    if let Some(record) = queues.iter().find(|record| record.name == args.name) {
        let answer = QueueJson(record, all_paused);
        let said = limits_text(&record.limits);
        let said = said.unwrap_or_else(|| "no limits".to_owned());
        let said = format!("queue '{}': {said}", record.name);
        session.output.line(&answer, said)?;
        let declared = session.config.queues.get(&args.name);
        if declared.is_some_and(|declared| declared.differs_from(&record.limits)) {
            session.screen.hint(format!(
                "the config file says otherwise in [queues.{}], and the next `jobq enqueue` or `jobq run` applies that again",
                record.name
            ));
        }
    }
    Ok(Exit::Done)
}

fn verdict(args: &QueueShowArgs, session: &Session) -> CliResult {
    let verdict = session.queue()?.why_queue(&args.name)?;
    let told = VerdictText::new(&verdict, now());
    session.output.line(&told.json(), verdict_text(&told))?;
    Ok(Exit::Done)
}

fn list(session: &Session) -> CliResult {
    let queue = session.queue()?;
    let all_paused = queue.all_paused_since()?;
    let queues = queue.queues()?;
    let (columns, cells) = match session.output.format {
        Format::Table => table(&queues, all_paused),
        Format::Tabs | Format::Json => (COLUMNS.to_vec(), rows(&queues, all_paused)),
    };
    let mut rows = Rows::new(&session.output, &columns);
    for (queue, row) in queues.iter().zip(cells) {
        rows.push(&QueueJson(queue, all_paused), || row)?;
    }
    rows.finish()?;
    Ok(Exit::Done)
}
