//! A job that is asked for, before what it gets from where it is enqueued.

use crate::JobOptions;
use crate::api::environ::{EnvItem, Unset};
use crate::handlers::exec::Program;

/// A job to enqueue, from options or from a line of a batch.
#[derive(Clone, Debug)]
pub struct JobRequest {
    pub work: Work,
    pub options: JobOptions,
}

/// The work of a job.
#[derive(Clone, Debug)]
pub enum Work {
    /// A command line.
    Exec(CommandRequest),
    /// JSON text for a handler of its own.
    Kind { kind: String, payload: String },
}

/// A command line and what goes with it.
#[derive(Clone, Debug)]
pub struct CommandRequest {
    pub program: Program,
    /// Another directory than this process's; relative to it.
    pub cwd: Option<String>,
    /// Further variables.
    pub env: EnvRequest,
    /// What it reads from stdin.
    pub input: Option<Vec<u8>>,
    pub output_limit: Option<u64>,
    pub fail_on: Option<String>,
}

impl CommandRequest {
    /// This program, and nothing else.
    pub fn new(program: Program) -> CommandRequest {
        CommandRequest {
            program,
            cwd: None,
            env: EnvRequest::default(),
            input: None,
            output_limit: None,
            fail_on: None,
        }
    }
}

/// Further variables that are asked for.
#[derive(Clone, Debug)]
pub struct EnvRequest {
    pub items: Vec<EnvItem>,
    pub unset: Unset,
}

impl Default for EnvRequest {
    /// None.
    fn default() -> EnvRequest {
        EnvRequest {
            items: Vec::new(),
            unset: Unset::Refuse,
        }
    }
}
