//! The options of `--each`: a job for each item of a list.

use std::path::PathBuf;

use clap::Args;
use jobq::api::job_request::JobRequest;

use crate::cli::exit::CliResult;
use crate::cli::input::batch::{BatchSource, CommandTemplate};

// A job for each item of a list.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct EachArgs {
    /// A job for each line of FILE or stdin, empty lines too, without a shell. As in GNU parallel, {} is the
    /// line, {.} the line without its extension, {/} its last component, {//} its folder, {/.} its last
    /// component without extension, {#} its number from 1: in the command, in --key, --unique and the values
    /// of --tag. A command without any of them gets the line as its last argument
    #[arg(id = "each", long = "each", value_name = "FILE|-", num_args = 0..=1, default_missing_value = "-")]
    pub(crate) list: Option<PathBuf>,
    /// With --each, items end with NUL in place of a line end, as `find -print0` writes them
    #[arg(short = '0', long, requires = "each")]
    pub(crate) null: bool,
}

impl EachArgs {
    /// The jobs that a request with placeholders makes of the items, if --each is given.
    pub(crate) fn source(
        &self,
        request: impl FnOnce() -> CliResult<JobRequest>,
    ) -> CliResult<Option<BatchSource>> {
        let Some(path) = &self.list else {
            return Ok(None);
        };
        let separator = if self.null { b'\0' } else { b'\n' };
        let template = CommandTemplate::new(request()?, separator)?;
        Ok(Some(BatchSource::items(path, template)))
    }
}
