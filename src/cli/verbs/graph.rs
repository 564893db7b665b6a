//! `jobq graph`: the jobs around a job, as text.

use std::io::Write;

use clap::Args;

use jobq::api::json::write_line;

use crate::cli::exit::{CliResult, Exit};
use crate::cli::render::graph::{GraphPage, GraphText, is_utf_8_locale};
use crate::cli::session::Session;

#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    /// The job: 42, @last
    pub(crate) id: String,
}

pub(crate) fn run(args: &GraphArgs, session: &Session) -> CliResult {
    let id = session.resolve_id(&args.id)?;
    let queue = session.queue()?;
    let output = &session.output;
    let mut out = output.stdout();
    if output.is_json() {
        write_line(&mut out, &queue.graph(id)?)?;
    } else {
        let is_utf_8 = is_utf_8_locale(|name| std::env::var(name).ok());
        let page = GraphPage::read(&queue, id)?;
        GraphText::new(&page, output, is_utf_8).write(&mut out)?;
    }
    out.flush()?;
    Ok(Exit::Done)
}
