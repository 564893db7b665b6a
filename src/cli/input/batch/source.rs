//! Where the jobs of a batch come from, and how they are written there.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use jobq::api::job_object;
use jobq::api::job_request::JobRequest;
use jobq::digest::Digest;

use crate::cli::exit::CliResult;
use crate::cli::input::batch::template::CommandTemplate;

/// A file of jobs, or stdin for `-`.
pub(crate) struct BatchSource {
    pub(super) path: PathBuf,
    pub(super) format: BatchFormat,
}

pub(super) enum BatchFormat {
    /// A JSON object per line.
    Jobs,
    /// An item per job.
    Items(Box<CommandTemplate>),
}

impl BatchSource {
    pub(crate) fn jobs(path: &Path) -> BatchSource {
        BatchSource {
            path: path.to_owned(),
            format: BatchFormat::Jobs,
        }
    }

    pub(crate) fn items(path: &Path, template: CommandTemplate) -> BatchSource {
        BatchSource {
            path: path.to_owned(),
            format: BatchFormat::Items(Box::new(template)),
        }
    }

    /// What it is called in messages.
    pub(super) fn name(&self) -> String {
        match self.is_stdin() {
            true => "stdin".to_owned(),
            false => self.path.display().to_string(),
        }
    }

    /// Whether it is for a person to type.
    pub(super) fn is_terminal(&self) -> bool {
        self.is_stdin() && io::stdin().is_terminal()
    }

    fn is_stdin(&self) -> bool {
        self.path == Path::new("-")
    }
}

impl BatchFormat {
    /// Ends a line or an item.
    pub(super) fn separator(&self) -> u8 {
        match self {
            BatchFormat::Jobs => b'\n',
            BatchFormat::Items(template) => template.separator(),
        }
    }

    /// What its jobs are counted in.
    pub(super) fn unit(&self) -> &'static str {
        match self {
            BatchFormat::Jobs => "line",
            BatchFormat::Items(_) => "item",
        }
    }

    /// The job that is asked for; none where a line is blank. The error does not name the line.
    pub(super) fn request(&self, line: &[u8], number: u64) -> CliResult<Option<JobRequest>> {
        match self {
            BatchFormat::Jobs => Ok(job_object::parse_line(line)?),
            BatchFormat::Items(template) => template.request(line, number).map(Some),
        }
    }

    /// Adds what makes jobs of the lines, as far as it is not in them.
    pub(super) fn add_to(&self, digest: &mut Digest) -> CliResult<()> {
        match self {
            BatchFormat::Jobs => Ok(()),
            BatchFormat::Items(template) => template.add_to(digest),
        }
    }
}
