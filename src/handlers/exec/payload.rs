//! What a job of kind `exec` carries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::environment::Environment;
use super::fail_on::FailOn;
use super::spawn::CommandSpec;
use crate::{Error, Result};

/// A command line as a job carries it: what to run, where, and with which environment.
///
/// As JSON: `{"command":["ls","-l"],"cwd":"/srv","env":{"LANG":"C"},"fail_on":"2,64-78"}`, or with
/// `"shell":"a | b"` in place of `command`. Whatever is in one of these has been checked: it can be
/// given to the operating system as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecPayload {
    program: Program,
    cwd: Option<String>,
    env: BTreeMap<String, String>,
    fail_on: FailOn,
}

/// What a job of kind `exec` runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// This argv, as given: no shell looks at it.
    Argv(Vec<String>),
    /// This text, by `/bin/sh -c`.
    Shell(String),
}

/// The payload as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `command` or `shell`")]
struct Fields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shell: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cwd: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    env: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fail_on: Option<String>,
}

impl ExecPayload {
    /// A payload that runs `program` and leaves everything else open.
    ///
    /// Invalid where there is no command, or a NUL byte in it.
    pub fn new(program: Program) -> Result<ExecPayload> {
        match &program {
            Program::Argv(argv) => check_argv(argv)?,
            Program::Shell(text) if text.trim().is_empty() => {
                return Err(Error::invalid("`shell` is empty"));
            }
            Program::Shell(text) => check_text("shell", text)?,
        }
        Ok(ExecPayload {
            program,
            cwd: None,
            env: BTreeMap::new(),
            fail_on: FailOn::default(),
        })
    }

    /// Runs it in this directory: an absolute path, as a runner may be at home anywhere.
    pub fn with_cwd(mut self, cwd: impl Into<String>) -> Result<ExecPayload> {
        let cwd = cwd.into();
        check_text("cwd", &cwd)?;
        if !cwd.starts_with('/') {
            return Err(Error::invalid(format!(
                "cwd: `{cwd}` is not an absolute path"
            )));
        }
        self.cwd = Some(cwd);
        Ok(self)
    }

    /// Remembers an environment variable for it.
    pub fn with_env(
        mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<ExecPayload> {
        let (name, value) = (name.into(), value.into());
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(Error::invalid(format!(
                "env: {name:?} cannot be the name of a variable"
            )));
        }
        check_text(&format!("env: {name}"), &value)?;
        self.env.insert(name, value);
        Ok(self)
    }

    /// Fails for good with these exit codes.
    pub fn with_fail_on(mut self, fail_on: FailOn) -> ExecPayload {
        self.fail_on = fail_on;
        self
    }

    /// Reads and checks a job's payload. The error says what is wrong with it.
    pub fn parse(json: &str) -> Result<ExecPayload> {
        let what = "the payload of kind exec";
        let fields: Fields = serde_json::from_str(json).map_err(|error| {
            Error::invalid(format!("{what}: {error}"))
                .hint(r#"it looks like {"command":["ls","-l"]} or {"shell":"ls | wc"}"#)
        })?;
        ExecPayload::try_from(fields).map_err(|error| error.context(what))
    }

    /// The payload as JSON text.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(&Fields::from(self))
            .map_err(|error| Error::invalid("the payload of kind exec").with_source(error))
    }

    /// The exit codes that fail it for good.
    pub fn fail_on(&self) -> &FailOn {
        &self.fail_on
    }

    /// What to start: what the job remembers wins over what this process would hand down.
    pub(crate) fn spec(&self) -> CommandSpec {
        let argv = match &self.program {
            Program::Argv(argv) => argv.iter().map(Into::into).collect(),
            Program::Shell(text) => vec!["/bin/sh".into(), "-c".into(), text.into()],
        };
        let mut env = Environment::inherited();
        for (name, value) in &self.env {
            env.set(name, value);
        }
        CommandSpec {
            argv,
            cwd: self.cwd.as_ref().map(Into::into),
            env,
        }
    }
}

impl TryFrom<Fields> for ExecPayload {
    type Error = Error;

    fn try_from(fields: Fields) -> Result<ExecPayload> {
        let program = match (fields.command, fields.shell) {
            (Some(argv), None) => Program::Argv(argv),
            (None, Some(text)) => Program::Shell(text),
            (Some(_), Some(_)) => {
                return Err(Error::invalid(
                    "it has both `command` and `shell`; one is wanted",
                ));
            }
            (None, None) => return Err(Error::invalid("it has neither `command` nor `shell`")),
        };
        let mut payload = ExecPayload::new(program)?;
        if let Some(cwd) = fields.cwd {
            payload = payload.with_cwd(cwd)?;
        }
        for (name, value) in fields.env.unwrap_or_default() {
            payload = payload.with_env(name, value)?;
        }
        match fields.fail_on {
            Some(codes) => Ok(payload.with_fail_on(codes.parse()?)),
            None => Ok(payload),
        }
    }
}

impl From<&ExecPayload> for Fields {
    fn from(payload: &ExecPayload) -> Fields {
        let (command, shell) = match payload.program.clone() {
            Program::Argv(argv) => (Some(argv), None),
            Program::Shell(text) => (None, Some(text)),
        };
        let has_codes = !payload.fail_on.is_empty();
        Fields {
            command,
            shell,
            cwd: payload.cwd.clone(),
            env: Some(payload.env.clone()).filter(|env| !env.is_empty()),
            fail_on: has_codes.then(|| payload.fail_on.to_string()),
        }
    }
}

/// Whether this can be an argv: the command's name and its arguments.
pub(crate) fn check_argv(argv: &[String]) -> Result<()> {
    match argv.first() {
        None => {
            return Err(Error::invalid(
                "`command` is empty: it needs at least a program",
            ));
        }
        Some(program) if program.is_empty() => {
            return Err(Error::invalid("`command`: the program's name is empty"));
        }
        Some(_) => {}
    }
    argv.iter()
        .try_for_each(|argument| check_text("command", argument))
}

fn check_text(what: &str, text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::invalid(format!(
            "{what}: {text:?} has a NUL character in it"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn error(json: &str) -> String {
        let error = ExecPayload::parse(json).unwrap_err();
        assert!(error.is_invalid_input());
        error.to_string()
    }

    #[test]
    fn a_payload_is_read_back_as_it_was_written() {
        let json = concat!(
            r#"{"command":["cp","a b","*"],"cwd":"/srv","env":{"A":"1=2","B":""},"#,
            r#""fail_on":"2,64-78"}"#
        );
        let payload = ExecPayload::parse(json).unwrap();
        assert_eq!(payload.to_json().unwrap(), json);
        let shell = r#"{"shell":"a | b"}"#;
        assert_eq!(ExecPayload::parse(shell).unwrap().to_json().unwrap(), shell);
    }

    #[test]
    fn an_argv_is_run_as_given_and_a_text_by_the_shell() {
        let argv = |json| ExecPayload::parse(json).unwrap().spec().argv;
        assert_eq!(argv(r#"{"command":["ls","$HOME; x"]}"#), ["ls", "$HOME; x"]);
        assert_eq!(
            argv(r#"{"shell":"ls $HOME"}"#),
            ["/bin/sh", "-c", "ls $HOME"]
        );
    }

    #[test]
    fn what_the_job_remembers_wins_over_the_runners_environment() {
        let json = r#"{"command":["ls"],"env":{"PATH":"/opt","X":"1"}}"#;
        let env = ExecPayload::parse(json).unwrap().spec().env;
        assert_eq!(env.get("PATH"), Some(OsStr::new("/opt")));
        assert_eq!(env.get("X"), Some(OsStr::new("1")));
        assert_eq!(
            env.get("HOME").map(OsStr::to_owned),
            std::env::var_os("HOME")
        );
    }

    #[test]
    fn an_error_says_what_is_wrong() {
        for (json, part) in [
            ("{}", "neither `command` nor `shell`"),
            ("null", "an object with `command` or `shell`"),
            ("[", "EOF"),
            (
                r#"{"command":["a"],"shell":"b"}"#,
                "both `command` and `shell`",
            ),
            (r#"{"command":[]}"#, "`command` is empty"),
            (r#"{"command":[""]}"#, "name is empty"),
            (r#"{"command":["a","b\u0000c"]}"#, "NUL"),
            (r#"{"shell":" "}"#, "`shell` is empty"),
            (r#"{"shell":"a\u0000"}"#, "NUL"),
            (
                r#"{"command":["a"],"cwd":"sub"}"#,
                "`sub` is not an absolute path",
            ),
            (r#"{"command":["a"],"cwd":"/\u0000"}"#, "NUL"),
            (
                r#"{"command":["a"],"env":{"":"1"}}"#,
                "\"\" cannot be the name",
            ),
            (
                r#"{"command":["a"],"env":{"A=B":"1"}}"#,
                "\"A=B\" cannot be the name",
            ),
            (
                r#"{"command":["a"],"env":{"A\u0000":"1"}}"#,
                "cannot be the name",
            ),
            (r#"{"command":["a"],"env":{"A":"\u0000"}}"#, "env: A"),
            (r#"{"command":["a"],"fail_on":"2,999"}"#, "`999`"),
            (r#"{"comand":["a"]}"#, "unknown field `comand`"),
            (r#"{"command":"ls -l"}"#, "expected a sequence"),
        ] {
            assert!(error(json).contains(part), "{json}: {}", error(json));
        }
    }
}
