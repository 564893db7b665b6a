//! A job that is asked for, before what it gets from where it is enqueued.

use crate::api::built_in::check_payload;
use crate::api::environ::{EnvItem, Environ, Unset};
use crate::api::options;
use crate::handlers::exec::{EXEC, ExecPayload, Program};
use crate::{JobOptions, NewJob, Result};

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

impl JobRequest {
    /// The job, with nothing of the environment of this process in a command. The payload of a built-in kind is
    /// checked.
    ///
    /// # Errors
    /// The payload or an option is invalid.
    pub fn into_job(self) -> Result<NewJob> {
        options::check_unique(&self.options)?;
        let (kind, payload) = match self.work {
            Work::Kind { kind, payload } => {
                check_payload(&kind, &payload)?;
                (kind, payload)
            }
            Work::Exec(command) => (EXEC.to_owned(), command.payload()?.to_json()?),
        };
        Ok(NewJob::new(kind)
            .payload_json(payload)
            .with_options(self.options))
    }

    /// Whether it runs a command: itself, or as a hook.
    pub fn has_command(&self) -> bool {
        let is_command = match &self.work {
            Work::Exec(_) => true,
            Work::Kind { kind, .. } => kind == EXEC,
        };
        is_command || self.options.has_hooks()
    }
}

impl CommandRequest {
    fn payload(self) -> Result<ExecPayload> {
        let mut payload = ExecPayload::new(self.program)?;
        if let Some(cwd) = &self.cwd {
            payload = payload.with_cwd(cwd)?;
        }
        for (name, value) in Environ::default().pick(&self.env.items, self.env.unset)? {
            payload = payload.with_env(&name, &value)?;
        }
        if let Some(bytes) = self.output_limit {
            payload = payload.with_output_limit(bytes)?;
        }
        if let Some(input) = self.input {
            payload = payload.with_input(input)?;
        }
        match &self.fail_on {
            Some(codes) => Ok(payload.with_fail_on(codes.parse()?)),
            None => Ok(payload),
        }
    }
}
