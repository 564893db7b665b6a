//! `jobq metrics`: how attempts went, by kind; or all metrics for Prometheus.

use std::io::Write;
use std::time::Duration;

use clap::Args;

use crate::cli::clock::now;
use crate::cli::exit::{CliError, CliResult, Exit};
use crate::cli::input::values;
use crate::cli::render::metrics::MetricsPage;
use crate::cli::session::Session;

#[derive(Debug, Args)]
pub(crate) struct MetricsArgs {
    /// Only attempts that ended within this time, like 1h or 7d: up to 72 hours in whole minutes, up to 90
    /// days in whole hours; without it, all since the file was created
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) since: Option<Duration>,
    /// Print all metrics in the text format of Prometheus, also for node_exporter's textfile collector
    #[arg(long, conflicts_with = "since")]
    pub(crate) prometheus: bool,
}

pub(crate) fn run(args: &MetricsArgs, session: &Session) -> CliResult {
    let queue = session.queue()?;
    let mut out = session.output.stdout();
    if args.prometheus {
        if session.output.is_json() {
            return Err(CliError::usage("--prometheus and --json are two formats")
                .with_hint("leave one of them out"));
        }
        out.write_all(queue.metrics_snapshot()?.to_prometheus().as_bytes())?;
    } else {
        MetricsPage::read(&queue, (args.since, now()))?.write(&session.output, &mut out)?;
    }
    out.flush()?;
    Ok(Exit::Done)
}
