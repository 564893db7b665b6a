//! `jobq errors`.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jobq::Filter;
use jobq::api::error_group::ErrorGroupJson;

use crate::cli::bulk::{SEARCH_BUDGET, any_matches, no_match};
use crate::cli::clock::now;
use crate::cli::exit::{CliResult, Exit};
use crate::cli::input::selection::{JobFilter, contradiction};
use crate::cli::input::values;
use crate::cli::render::Format;
use crate::cli::render::error_group::{COLUMNS, row};
use crate::cli::render::table::Rows;
use crate::cli::session::Session;

#[derive(Debug, Args)]
pub(crate) struct ErrorsArgs {
    #[command(flatten)]
    pub(crate) filter: JobFilter,
    /// Only jobs enqueued within this time: 1h, '2 days'
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) since: Option<Duration>,
}

pub(crate) fn run(args: &ErrorsArgs, session: &Session) -> CliResult {
    let queue = session.queue()?;
    let options = Filter {
        since: args
            .since
            .map(|span| now().checked_sub(span).unwrap_or(Timestamp::MIN)),
        ..Filter::default()
    };
    let asked = session.filter(&args.filter)?;
    let mut filter = asked.and(options).map_err(contradiction)?;
    let mut errors = queue.error_groups(&filter, SEARCH_BUDGET)?;
    while errors.searched_to.is_some() {
        filter.after = errors.searched_to;
        errors.add(queue.error_groups(&filter, SEARCH_BUDGET)?);
    }
    let (mut rows, now) = (Rows::new(&session.output, &COLUMNS), now());
    for group in &errors.groups {
        rows.push(&ErrorGroupJson(group), || row(group, now))?;
    }
    rows.finish()?;
    match errors.groups.first() {
        None if !any_matches(&queue, &filter)? => return Err(no_match()),
        None => session.screen.say("no failed job matches"),
        Some(group) if session.output.format == Format::Table => session.screen.hint(format_args!(
            "`jobq retry --error {}` runs the jobs of the first group again",
            group.id
        )),
        Some(_) => {}
    }
    Ok(Exit::Done)
}
