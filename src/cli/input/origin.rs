//! Where jobs come from: what a job gets from the directory, the environment and the config of the
//! process that enqueues it.

use std::env;
use std::sync::{Arc, OnceLock};

use jobq::api::built_in::check_payload;
use jobq::api::environ::{EnvItem, Environ, Unset, Variables};
use jobq::api::job_request::{CommandRequest, JobRequest, Work};
use jobq::api::options;
use jobq::handlers::exec::{EXEC, ExecPayload, Umask};
use jobq::mask::Mask;
use jobq::{AttemptRef, JobId, JobOptions, JobRef, NewJob};

use crate::cli::exit::{CliError, CliResult};
use crate::cli::input::config::Config;
use crate::cli::input::literal_secrets::literal_secret;
use crate::cli::render::screen::Screen;

/// What this process gives to the jobs that it enqueues.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    cwd: String,
    environ: Environ,
    /// Variables for all commands.
    env: Variables,
    umask: Option<Umask>,
    config: Arc<Config>,
    /// What jobs say that do not say otherwise.
    usual: JobOptions,
    /// The attempt that this process belongs to.
    inside: Option<AttemptRef>,
    literal_secret: Arc<OnceLock<String>>,
    /// The secrets of the command that this process is a part of.
    mask: Mask,
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
                    .with_hint("a job can remember only a directory whose name is UTF-8")
            })?;
        let environ = Environ::here();
        let mut env = environ.remembered();
        env.extend(environ.pick(&config.defaults.env, Unset::LeaveOut)?);
        Ok(Origin {
            cwd,
            environ,
            env,
            umask: Umask::of_this_process(),
            config,
            usual: JobOptions::default(),
            inside: None,
            literal_secret: Arc::default(),
            mask: Mask::of_command(),
        })
    }

    /// What jobs say that do not say otherwise.
    #[must_use]
    pub(crate) fn usual(mut self, usual: JobOptions) -> Origin {
        self.usual = usual;
        self
    }

    /// Variables for all commands, besides what every command remembers.
    pub(crate) fn env(mut self, items: &[EnvItem], screen: &Screen) -> CliResult<Origin> {
        for note in self.environ.notes(items) {
            screen.hint(note);
        }
        self.env.extend(self.environ.pick(items, Unset::Refuse)?);
        Ok(self)
    }

    /// The attempt that this process belongs to: the children it enqueues are committed with it.
    #[must_use]
    pub(crate) fn inside(mut self, attempt: Option<AttemptRef>) -> Origin {
        self.inside = attempt;
        self
    }

    /// The first field of a payload, of those so far, that has a secret in clear.
    pub(crate) fn literal_secret(&self) -> Arc<OnceLock<String>> {
        Arc::clone(&self.literal_secret)
    }

    /// The directory that commands remember.
    pub(crate) fn cwd(&self) -> &str {
        &self.cwd
    }

    /// The job, with everything filled in that it does not say itself.
    pub(crate) fn job(&self, wanted: JobRequest) -> CliResult<NewJob> {
        self.job_of_line(wanted, |_| None)
    }

    /// The same, with the ids of earlier lines in place of their labels, as far as they are known.
    pub(crate) fn job_of_line(
        &self,
        wanted: JobRequest,
        known: impl Fn(&str) -> Option<JobId>,
    ) -> CliResult<NewJob> {
        let cwd = match &wanted.work {
            Work::Exec(command) => self.cwd_of(command),
            Work::Kind { .. } => self.cwd.clone(),
        };
        let (kind, payload) = self.work(wanted.work)?;
        let options = wanted.options.or(&self.usual);
        let mut options = options::fill_in(options, self.config.usual.of_kind(&kind));
        options::check_unique(&options)?;
        for hook in options.hooks_mut() {
            let command = ExecPayload::parse(hook.payload_text().unwrap_or_default())?;
            let payload = self.without_secrets(self.remember(command, &cwd)?.to_json()?)?;
            let usual = hook_options(self.config.usual.of_kind(EXEC));
            *hook = NewJob::new(EXEC).payload_json(payload).with_options(usual);
        }
        // A child that the running attempt spawns is committed with it; one of an earlier line is not its.
        let spawned = match (&options.parent, self.inside) {
            (Some(JobRef::Id(parent)), Some(attempt)) => Some((*parent, attempt)),
            _ => None,
        };
        options.resolve(known);
        let job = NewJob::new(kind)
            .payload_json(payload)
            .with_options(options);
        Ok(match spawned {
            Some((parent, attempt)) => job.spawned(parent, attempt),
            None => job,
        })
    }

    /// The job of a hook of the config file: one for each end, which fires none.
    pub(crate) fn hook_job(&self, wanted: JobRequest) -> CliResult<NewJob> {
        let (kind, payload) = self.work(wanted.work)?;
        let usual = hook_options(self.config.usual.of_kind(&kind));
        let options = options::fill_in(wanted.options, &usual);
        Ok(NewJob::new(kind)
            .payload_json(payload)
            .with_options(options))
    }

    /// The kind and the payload.
    fn work(&self, work: Work) -> CliResult<(String, String)> {
        Ok(match work {
            Work::Exec(command) => {
                let payload = self.payload(command)?.to_json()?;
                (EXEC.to_owned(), self.without_secrets(payload)?)
            }
            Work::Kind { kind, payload } => {
                check_payload(&kind, &payload)?;
                if self.literal_secret.get().is_none()
                    && let Some(field) = literal_secret(&kind, &payload)
                {
                    // Another line may have one, too.
                    let _ = self.literal_secret.set(field);
                }
                (kind, self.without_secrets(payload)?)
            }
        })
    }

    /// The payload, unless it holds a secret of this command: it would be stored as it is, and in every backup.
    fn without_secrets(&self, payload: String) -> CliResult<String> {
        if !self.mask.is_in(&payload) {
            return Ok(payload);
        }
        Err(
            CliError::usage("the new job holds a secret of this command, and would be stored with it").with_hint(
                "name the secret instead: {\"secret\": \"NAME\"} in the payload of a kind that takes one, or secrets in \
                 its [kinds.…]",
            ),
        )
    }

    fn cwd_of(&self, command: &CommandRequest) -> String {
        match &command.cwd {
            None => self.cwd.clone(),
            Some(cwd) if cwd.starts_with('/') => cwd.clone(),
            Some(cwd) => format!("{}/{cwd}", self.cwd.trim_end_matches('/')),
        }
    }

    /// Adds what every command remembers.
    fn remember(&self, mut payload: ExecPayload, cwd: &str) -> CliResult<ExecPayload> {
        payload = payload.with_cwd(cwd)?;
        for (name, value) in &self.env {
            payload = payload.with_env(name, value)?;
        }
        if let Some(umask) = self.umask {
            payload = payload.with_umask(umask);
        }
        Ok(payload)
    }

    fn payload(&self, command: CommandRequest) -> CliResult<ExecPayload> {
        let cwd = self.cwd_of(&command);
        let mut payload = self.remember(ExecPayload::new(command.program)?, &cwd)?;
        let own = self.environ.pick(&command.env.items, command.env.unset)?;
        for (name, value) in own {
            payload = payload.with_env(name, value)?;
        }
        if let Some(bytes) = command.output_limit {
            payload = payload.with_output_limit(bytes)?;
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

/// What the config file says of jobs, as far as it can hold for the job of a hook.
fn hook_options(usual: &JobOptions) -> JobOptions {
    JobOptions {
        unique: None,
        unique_for: None,
        on_duplicate: None,
        on_success: None,
        on_failure: None,
        on_end: None,
        ..usual.clone()
    }
}

#[cfg(test)]
mod tests {
    use jobq::api::job_request::EnvRequest;
    use jobq::handlers::exec::Program;

    use super::*;

    fn origin() -> Origin {
        Origin {
            cwd: "/srv".to_owned(),
            environ: Environ::default(),
            env: [("PATH", "/bin"), ("LANG", "C")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            umask: Some("22".parse().unwrap()),
            config: Arc::default(),
            usual: JobOptions::default(),
            inside: None,
            literal_secret: Arc::default(),
            mask: Mask::default(),
        }
    }

    fn ls() -> CommandRequest {
        CommandRequest::new(Program::Argv(vec!["ls".to_owned()]))
    }

    fn json(command: CommandRequest) -> String {
        origin().payload(command).unwrap().to_json().unwrap()
    }

    #[test]
    fn a_command_remembers_where_it_came_from() {
        assert_eq!(
            json(ls()),
            r#"{"command":["ls"],"cwd":"/srv","env":{"LANG":"C","PATH":"/bin"},"umask":"0022"}"#
        );
    }

    #[test]
    fn what_a_command_asks_for_wins() {
        let asked = CommandRequest {
            cwd: Some("sub/dir".to_owned()),
            env: EnvRequest {
                items: ["LANG=de", "A="].map(|item| item.parse().unwrap()).into(),
                ..EnvRequest::default()
            },
            output_limit: Some(10),
            fail_on: Some("2,64-78".to_owned()),
            ..ls()
        };
        assert_eq!(
            json(asked),
            r#"{"command":["ls"],"cwd":"/srv/sub/dir","env":{"A":"","LANG":"de","PATH":"/bin"},"umask":"0022","output_limit":10,"fail_on":"2,64-78"}"#
        );
        let absolute = CommandRequest {
            cwd: Some("/opt".to_owned()),
            ..ls()
        };
        assert!(json(absolute).contains(r#""cwd":"/opt""#));
    }

    #[test]
    fn an_exec_payload_given_as_json_is_checked() {
        let wanted = |payload: &str| JobRequest {
            work: Work::Kind {
                kind: EXEC.to_owned(),
                payload: payload.to_owned(),
            },
            options: JobOptions::default(),
        };
        assert!(origin().job(wanted(r#"{"shell":"true"}"#)).is_ok());
        assert!(origin().job(wanted(r#"{"shel":"true"}"#)).is_err());
    }
}
