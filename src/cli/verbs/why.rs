//! `jobq why`: the rule that keeps a job from running, and what would change that.

use clap::Args;
use jobq::api::why::{WhyJson, explain, gone_behind};
use jobq::{JobId, State};
use serde::Serialize;

use crate::cli::clock::now;
use crate::cli::exit::{CliResult, Exit};
use crate::cli::render::text::for_terminal;
use crate::cli::session::Session;

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// The job: 42, @last
    pub(crate) id: String,
}

#[derive(Serialize)]
struct WhyAnswerJson<'a> {
    id: JobId,
    state: State,
    #[serde(flatten)]
    why: WhyJson<'a>,
}

pub(crate) fn run(args: &WhyArgs, session: &Session) -> CliResult {
    let id = session.resolve_id(&args.id)?;
    let queue = session.queue()?;
    let why = queue.why(id)?;
    let mut told = explain(id, &why, now());
    if let Some(gone) = gone_behind(&why, &queue)? {
        told.hint = Some(gone);
    }
    let answer = WhyAnswerJson {
        id,
        state: told.state,
        why: told.json(),
    };
    session.output.line(&answer, for_terminal(&told.message))?;
    if let Some(hint) = told.hint.as_ref().filter(|_| !session.output.is_json()) {
        session.screen.hint(hint);
    }
    Ok(Exit::Done)
}
