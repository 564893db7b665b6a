//! Hooks of jobs as they are typed: commands. What they remember is added with what their jobs remember.

use crate::NewJob;
use crate::handlers::exec::{EXEC, ExecPayload, Program};
use serde::Deserialize;

/// A hook in a line of a batch or a table of the config file: a line for a shell, or a command.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a command line, or a command as a list of texts"
)]
pub enum HookField {
    Shell(String),
    Argv(Vec<String>),
}

pub fn of_field(field: Option<&HookField>) -> crate::Result<Option<Box<NewJob>>> {
    let program = field.map(|field| match field {
        HookField::Shell(line) => Program::Shell(line.clone()),
        HookField::Argv(argv) => Program::Argv(argv.clone()),
    });
    program.map(job).transpose()
}

/// The value of an option.
pub fn parse(line: &str) -> Result<Box<NewJob>, String> {
    job(Program::Shell(line.to_owned())).map_err(|error| error.to_string())
}

fn job(program: Program) -> crate::Result<Box<NewJob>> {
    let payload = ExecPayload::new(program)?.to_json()?;
    Ok(Box::new(NewJob::new(EXEC).payload_json(payload)))
}
