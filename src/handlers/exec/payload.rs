//! The payload of kind `exec`.

use crate::model::json;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::handlers::exec::environment::Environment;
use crate::handlers::exec::exit::FailOn;
use crate::handlers::exec::spawn::CommandSpec;
use crate::handlers::exec::umask::Umask;
use crate::model::base64;
use crate::{Error, Result};

/// Maximum length of a command's stdin in the payload.
pub const MAX_INPUT_BYTES: usize = 8 * 1024 * 1024;

/// Maximum output that can be kept of an attempt.
pub const MAX_OUTPUT_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// A command to run: its program, folder, environment and input.
///
/// As JSON: `{"command":["ls","-l"],"cwd":"/srv","env":{"LANG":"C"},"fail_on":"2,64-78"}`, or with
/// `"shell":"a | b"` in place of `command`. `"input":"text"` is what the command reads from stdin, or
/// `"input_base64":"/wA="` where it is not text; without it, stdin is `/dev/null`. `"umask":"0022"` is
/// the umask it begins with, `"output_limit":65536` how many bytes of its output are kept. Whatever is
/// in one of these has been checked: it can be given to the operating system as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecPayload {
    program: Program,
    cwd: Option<String>,
    env: BTreeMap<String, String>,
    umask: Option<Umask>,
    input: Option<Vec<u8>>,
    output_limit_bytes: Option<usize>,
    fail_on: FailOn,
}

/// What a job of kind `exec` runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// This argv as it is, without a shell.
    Argv(Vec<String>),
    /// This text, by `/bin/sh -c`.
    Shell(String),
}

/// The payload as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `command` or `shell`")]
struct PayloadField {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shell: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cwd: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    env: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    umask: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output_limit: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fail_on: Option<String>,
}

impl ExecPayload {
    /// A payload that runs `program`, with defaults for everything else.
    ///
    /// # Errors
    /// The command is empty or has a NUL byte.
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
            umask: None,
            input: None,
            output_limit_bytes: None,
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

    /// Adds an environment variable.
    pub fn with_env(
        mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<ExecPayload> {
        let (name, value) = (name.into(), value.into());
        check_variable(&name, &value)?;
        self.env.insert(name, value);
        Ok(self)
    }

    /// Runs it with this umask in place of the runner's.
    pub fn with_umask(mut self, umask: Umask) -> ExecPayload {
        self.umask = Some(umask);
        self
    }

    /// Maximum output kept of an attempt, at most [`MAX_OUTPUT_LIMIT_BYTES`]: of more, the beginning and the
    /// end.
    pub fn with_output_limit(mut self, bytes: u64) -> Result<ExecPayload> {
        self.output_limit_bytes = Some(check_output_limit(bytes)?);
        Ok(self)
    }

    /// Its stdin, at most [`MAX_INPUT_BYTES`]; default: `/dev/null`.
    pub fn with_input(mut self, input: impl Into<Vec<u8>>) -> Result<ExecPayload> {
        let input = input.into();
        if input.len() > MAX_INPUT_BYTES {
            return Err(Error::invalid(format!(
                "input: {} bytes are too many, {MAX_INPUT_BYTES} are possible",
                input.len()
            ))
            .with_hint("keep it in a file, and let the command read that"));
        }
        self.input = Some(input);
        Ok(self)
    }

    /// The bytes that an `input_base64` stands for.
    pub fn decode_input(text: &str) -> Result<Vec<u8>> {
        base64::decode(text)
            .ok_or_else(|| Error::invalid("input_base64: it is not base64, or lacks its padding"))
    }

    /// The exit codes that fail it for good.
    pub fn with_fail_on(mut self, fail_on: FailOn) -> ExecPayload {
        self.fail_on = fail_on;
        self
    }

    /// Reads and checks a job's payload.
    pub fn parse(json: &str) -> Result<ExecPayload> {
        let what = "the payload of kind exec";
        let fields: PayloadField = serde_json::from_str(json).map_err(|error| {
            let why = match json::check(json) {
                Ok(()) => json::explain(json, &error, |text| {
                    serde_json::from_str::<PayloadField>(text).map(drop)
                }),
                Err(error) => error.to_string(),
            };
            Error::invalid(format!("{what}: {why}"))
                .with_hint(r#"it looks like {"command":["ls","-l"]} or {"shell":"ls | wc"}"#)
        })?;
        ExecPayload::try_from(fields).map_err(|error| error.context(what))
    }

    /// The payload as JSON text.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(&PayloadField::from(self))
            .map_err(|error| Error::invalid("the payload of kind exec").with_source(error))
    }

    /// What it reads from stdin; none: nothing, from `/dev/null`.
    pub fn input(&self) -> Option<&[u8]> {
        self.input.as_deref()
    }

    /// Maximum output kept of an attempt, if the job sets one.
    pub fn output_limit_bytes(&self) -> Option<usize> {
        self.output_limit_bytes
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
        let remembered = self.env.iter();
        env.remember(remembered.map(|(name, value)| (&**name, &**value)));
        CommandSpec {
            argv,
            cwd: self.cwd.as_ref().map(Into::into),
            env,
            umask: self.umask,
        }
    }
}

impl TryFrom<PayloadField> for ExecPayload {
    type Error = Error;

    fn try_from(fields: PayloadField) -> Result<ExecPayload> {
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
        if let Some(umask) = fields.umask {
            payload = payload.with_umask(umask.parse()?);
        }
        if let Some(bytes) = fields.output_limit {
            payload = payload.with_output_limit(bytes)?;
        }
        payload = match (fields.input, fields.input_base64) {
            (None, None) => payload,
            (Some(text), None) => payload.with_input(text)?,
            (None, Some(text)) => payload.with_input(ExecPayload::decode_input(&text)?)?,
            (Some(_), Some(_)) => {
                return Err(Error::invalid(
                    "it has both `input` and `input_base64`; one is wanted",
                ));
            }
        };
        match fields.fail_on {
            Some(codes) => Ok(payload.with_fail_on(codes.parse()?)),
            None => Ok(payload),
        }
    }
}

impl From<&ExecPayload> for PayloadField {
    fn from(payload: &ExecPayload) -> PayloadField {
        let (command, shell) = match payload.program.clone() {
            Program::Argv(argv) => (Some(argv), None),
            Program::Shell(text) => (None, Some(text)),
        };
        let (input, input_base64) = written_input(payload.input.as_deref());
        let has_codes = !payload.fail_on.is_empty();
        PayloadField {
            command,
            shell,
            cwd: payload.cwd.clone(),
            env: Some(payload.env.clone()).filter(|env| !env.is_empty()),
            umask: payload.umask.map(|umask| umask.to_string()),
            input,
            input_base64,
            output_limit: payload.output_limit_bytes.map(|bytes| bytes as u64),
            fail_on: has_codes.then(|| payload.fail_on.to_string()),
        }
    }
}

/// Whether this can be a variable of a command's environment.
pub(crate) fn check_variable(name: &str, value: &str) -> Result<()> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(Error::invalid(format!(
            "env: {name:?} cannot be the name of a variable"
        )));
    }
    check_text(&format!("env: {name}"), value)
}

/// Checks a limit of an attempt's output.
pub(crate) fn check_output_limit(bytes: u64) -> Result<usize> {
    let limit = usize::try_from(bytes).ok();
    limit
        .filter(|limit| *limit <= MAX_OUTPUT_LIMIT_BYTES)
        .ok_or_else(|| {
            Error::invalid(format!(
                "output_limit: {bytes} bytes are too many, {MAX_OUTPUT_LIMIT_BYTES} are possible"
            ))
            .with_hint("let the command write to a file of its own")
        })
}

/// As text where it is text; else, and where JSON would need more room for it, as base64.
fn written_input(input: Option<&[u8]>) -> (Option<String>, Option<String>) {
    let Some(bytes) = input else {
        return (None, None);
    };
    match str::from_utf8(bytes) {
        Ok(text) if json_len(text) <= base64::encoded_len(bytes.len()).max(MIN_BASE64) => {
            (Some(text.to_owned()), None)
        }
        _ => (None, Some(base64::encode(bytes))),
    }
}

/// A short text stays one that people can read, whatever is in it.
const MIN_BASE64: usize = 64 * 1024;

/// How long a text is in JSON: control characters take six bytes, some only two.
fn json_len(text: &str) -> usize {
    let len = |byte| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(len).sum()
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
            r#""umask":"0022","input":"text","output_limit":0,"fail_on":"2,64-78"}"#
        );
        let payload = ExecPayload::parse(json).unwrap();
        assert_eq!(payload.to_json().unwrap(), json);
        let shell = r#"{"shell":"a | b"}"#;
        assert_eq!(ExecPayload::parse(shell).unwrap().to_json().unwrap(), shell);
    }

    #[test]
    fn an_input_is_written_as_text_where_it_is_text() {
        let written = |input: &[u8]| {
            let payload = ExecPayload::new(Program::Shell("x".into())).unwrap();
            let payload = payload.with_input(input).unwrap();
            let json = payload.to_json().unwrap();
            assert_eq!(ExecPayload::parse(&json).unwrap(), payload);
            json
        };
        assert_eq!(written(b""), r#"{"shell":"x","input":""}"#);
        assert_eq!(
            written("é\n\0".as_bytes()),
            r#"{"shell":"x","input":"é\n\u0000"}"#
        );
        assert_eq!(written(b"\xff"), r#"{"shell":"x","input_base64":"/w=="}"#);
        // JSON would make six times as much of it, more than a job may have.
        let zeros = written(&[0; MAX_INPUT_BYTES]);
        assert!(zeros.len() < crate::MAX_PAYLOAD_BYTES);
        let too_long = ExecPayload::new(Program::Shell("x".into()))
            .and_then(|payload| payload.with_input(vec![b'a'; MAX_INPUT_BYTES + 1]));
        assert!(too_long.unwrap_err().is_invalid_input());
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
            ("[", "the end in place of a value"),
            (
                r#"{"command":["a"],"shell":"b"}"#,
                "both `command` and `shell`",
            ),
            (
                r#"{"shell":"b","input":"","input_base64":""}"#,
                "both `input` and `input_base64`",
            ),
            (r#"{"shell":"b","input_base64":"Zg"}"#, "not base64"),
            (r#"{"shell":"b","umask":"8"}"#, "umask: `8`"),
            (r#"{"shell":"b","output_limit":67108865}"#, "too many"),
            (r#"{"shell":"b","output_limit":-1}"#, "not negative"),
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
            (r#"{"command":"ls -l"}"#, "expected a list of texts"),
        ] {
            assert!(error(json).contains(part), "{json}: {}", error(json));
        }
    }
}
