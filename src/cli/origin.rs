//! Where jobs come from: what a job gets from the directory, the environment and the config of the
//! process that enqueues it.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::sync::Arc;

use jobq::handlers::exec::{ExecPayload, Program};
use jobq::{AttemptRef, NewJob, OnDuplicate};

use super::config::Config;
use super::exit::{CliError, CliResult};
use super::options::Options;

/// The kind of jobs that are commands.
pub(crate) const EXEC: &str = "exec";

/// Variables that every command remembers.
const REMEMBERED: [&str; 3] = ["PATH", "HOME", "LANG"];

/// A job as somebody asks for it: as options, or as a line of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) work: Work,
    pub(crate) options: Options,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// A command line.
    Exec(Command),
    /// JSON text for a handler of its own.
    Kind { kind: String, payload: String },
}

/// A command line and what goes with it.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) program: Program,
    /// Another directory than this process's; relative to it.
    pub(crate) cwd: Option<String>,
    /// Further variables; none takes the value from here.
    pub(crate) env: BTreeMap<String, Option<String>>,
    /// What it reads from stdin.
    pub(crate) input: Option<Vec<u8>>,
    pub(crate) fail_on: Option<String>,
}

/// What this process gives to the jobs that it enqueues.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    cwd: String,
    env: Vec<(&'static str, String)>,
    config: Arc<Config>,
    /// What jobs say that do not say otherwise.
    usual: Options,
    /// The attempt that this process belongs to.
    inside: Option<AttemptRef>,
}

impl Origin {
    /// This process's working directory and environment.
    pub(crate) fn here(config: Arc<Config>) -> CliResult<Origin> {
        let cwd = env::current_dir()
            .map_err(|error| CliError::io("the working directory", &error))?
            .into_os_string()
            .into_string()
            .map_err(|cwd| {
                CliError::failed(format!("the working directory {cwd:?} is not UTF-8"))
                    .hint("a job can remember only a directory whose name is UTF-8")
            })?;
        // A runner has a PATH, a HOME and a LANG of its own: one that is missing or no text here is
        // not worth refusing the job.
        let env = REMEMBERED
            .into_iter()
            .filter_map(|name| Some((name, env::var(name).ok()?)))
            .collect();
        Ok(Origin {
            cwd,
            env,
            config,
            usual: Options::default(),
            inside: None,
        })
    }

    /// What jobs say that do not say otherwise.
    #[must_use]
    pub(crate) fn usual(mut self, usual: Options) -> Origin {
        self.usual = usual;
        self
    }

    /// The attempt that this process belongs to: the children it enqueues are committed with it.
    #[must_use]
    pub(crate) fn inside(mut self, attempt: Option<AttemptRef>) -> Origin {
        self.inside = attempt;
        self
    }

    /// The directory that commands remember.
    pub(crate) fn cwd(&self) -> &str {
        &self.cwd
    }

    /// What is done where the unique key of a job with these options is taken.
    pub(crate) fn on_duplicate(&self, options: &Options) -> Option<OnDuplicate> {
        options.on_duplicate.or(self.usual.on_duplicate)
    }

    /// The job, with everything filled in that it does not say itself.
    pub(crate) fn job(&self, wanted: Wanted) -> CliResult<NewJob> {
        let (kind, payload) = match wanted.work {
            Work::Exec(command) => (EXEC.to_owned(), self.payload(command)?.to_json()?),
            Work::Kind { kind, payload } => {
                if kind == EXEC {
                    ExecPayload::parse(&payload)?;
                }
                (kind, payload)
            }
        };
        let options = wanted.options.or(self.usual.clone());
        let options = options.or(self.config.usual_of(&kind));
        options.apply(NewJob::new(kind).payload_json(payload), self.inside)
    }

    fn payload(&self, command: Command) -> CliResult<ExecPayload> {
        let cwd = match &command.cwd {
            None => self.cwd.clone(),
            Some(cwd) if cwd.starts_with('/') => cwd.clone(),
            Some(cwd) => format!("{}/{cwd}", self.cwd.trim_end_matches('/')),
        };
        let mut payload = ExecPayload::new(command.program)?.with_cwd(cwd)?;
        for (name, value) in &self.env {
            payload = payload.with_env(*name, value)?;
        }
        for (name, value) in command.env {
            let value = match value {
                Some(value) => value,
                None => from_here(&name)?,
            };
            payload = payload.with_env(name, value)?;
        }
        if let Some(input) = command.input {
            payload = payload.with_input(input)?;
        }
        Ok(match &command.fail_on {
            Some(codes) => payload.with_fail_on(codes.parse()?),
            None => payload,
        })
    }
}

pub(crate) fn from_here(name: &str) -> CliResult<String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(CliError::usage(format!(
            "env: {name:?} cannot be the name of a variable"
        )));
    }
    match env::var_os(name).map(OsString::into_string) {
        Some(Ok(value)) => Ok(value),
        Some(Err(_)) => Err(CliError::usage(format!(
            "env: the value of {name} here is not UTF-8"
        ))),
        None => Err(CliError::usage(format!("env: {name} is not set here"))
            .hint(format!("give it a value: {name}=VALUE"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

    fn origin() -> Origin {
        Origin {
            cwd: "/srv".to_owned(),
            env: vec![("PATH", "/bin".to_owned()), ("LANG", "C".to_owned())],
            config: Arc::default(),
            usual: Options::default(),
            inside: None,
        }
    }

    fn ls() -> Command {
        Command {
            program: Program::Argv(vec!["ls".to_owned()]),
            cwd: None,
            env: BTreeMap::new(),
            input: None,
            fail_on: None,
        }
    }

    fn json(command: Command) -> String {
        origin().payload(command).unwrap().to_json().unwrap()
    }

    #[test]
    fn a_command_remembers_where_it_came_from() {
        assert_eq!(
            json(ls()),
            r#"{"command":["ls"],"cwd":"/srv","env":{"LANG":"C","PATH":"/bin"}}"#
        );
    }

    #[test]
    fn what_a_command_asks_for_wins() {
        let asked = Command {
            cwd: Some("sub/dir".to_owned()),
            env: BTreeMap::from([
                ("LANG".to_owned(), Some("de".to_owned())),
                ("A".to_owned(), Some(String::new())),
            ]),
            fail_on: Some("2,64-78".to_owned()),
            ..ls()
        };
        assert_eq!(
            json(asked),
            r#"{"command":["ls"],"cwd":"/srv/sub/dir","env":{"A":"","LANG":"de","PATH":"/bin"},"fail_on":"2,64-78"}"#
        );
        let absolute = Command {
            cwd: Some("/opt".to_owned()),
            ..ls()
        };
        assert!(json(absolute).contains(r#""cwd":"/opt""#));
    }

    #[test]
    fn a_variable_that_is_not_set_here_is_refused() {
        for (name, why) in [
            ("JOBQ_SURELY_NOT_SET", "is not set here"),
            ("", "cannot be the name"),
            ("A=B", "cannot be the name"),
        ] {
            let asked = Command {
                env: BTreeMap::from([(name.to_owned(), None)]),
                ..ls()
            };
            let error = origin().payload(asked).unwrap_err();
            assert_eq!(error.exit(), Exit::Usage);
            assert!(error.message().contains(why), "{}", error.message());
        }
    }

    #[test]
    fn an_exec_payload_given_as_json_is_checked() {
        let wanted = |payload: &str| Wanted {
            work: Work::Kind {
                kind: EXEC.to_owned(),
                payload: payload.to_owned(),
            },
            options: Options::default(),
        };
        assert!(origin().job(wanted(r#"{"shell":"true"}"#)).is_ok());
        assert!(origin().job(wanted(r#"{"shel":"true"}"#)).is_err());
    }
}
