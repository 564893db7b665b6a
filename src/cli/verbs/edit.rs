//! `jobq edit`.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jobq::api::built_in::check_payload;
use jobq::api::environ::{Environ, Unset};
use jobq::handlers::exec::{EXEC, ExecPayload, Program};
use jobq::{
    Backoff, ClearOption, JobId, JobOptions, JobRecord, JobUpdate, Priority, Queue, UniqueKey,
    Update, When, json,
};

use crate::cli::args::{JitterArgs, RULES};
use crate::cli::bulk::{Changed, JobChange, each};
use crate::cli::exit::{CliError, CliResult};
use crate::cli::input::{limits, payload, values};
use crate::cli::session::Session;

#[derive(Debug, Args)]
#[command(
    override_usage = "\
jobq edit [OPTIONS] <ID>...
       jobq edit [OPTIONS] <ID>... -- CMD ARG...",
    after_help = "\
Parts of a command that are not named stay: its folder, its environment, its input.

Examples:
  jobq edit 7 --priority urgent --timeout none
  jobq edit 3-5 --env DRY_RUN=1 -- make all
  jobq edit 7 --input @new.sql --output-limit 100KiB"
)]
pub(crate) struct EditArgs {
    /// The jobs: 42, 3,5, 8-12, @last
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,
    /// Another queue
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Option<String>,
    /// Another priority
    #[arg(long, value_parser = values::priority())]
    pub(crate) priority: Option<Priority>,
    /// When it is due, from now: 90s, 1h30m, '2 days'
    #[arg(long = "in", value_name = "DURATION", value_parser = values::duration, conflicts_with = "at")]
    pub(crate) delay: Option<Duration>,
    /// When it is due: RFC 3339, HH:MM, or 'YYYY-MM-DD HH:MM'
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(crate) at: Option<Timestamp>,
    /// Maximum retries
    #[arg(long, value_name = "N", value_parser = values::retries)]
    pub(crate) retries: Option<u32>,
    /// How the delay between retries grows
    #[arg(long, value_name = "HOW", value_parser = values::backoff())]
    pub(crate) backoff: Option<Backoff>,
    /// The first delay between retries
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) retry_delay: Option<Duration>,
    /// A delay for each retry, and as many retries unless --retries is given: 5s,5m,2h
    #[arg(long, value_name = "DURATION", value_delimiter = ',', value_parser = values::duration,
        conflicts_with_all = ["backoff", "retry_delay"])]
    pub(crate) retry_delays: Option<Vec<Duration>>,
    #[command(flatten)]
    pub(crate) jitter: JitterArgs,
    /// Time limit of each attempt
    #[arg(long, value_name = "DURATION|none", value_parser = duration_or_none)]
    pub(crate) timeout: Option<Update<Duration>>,
    /// Cancelled unless it has begun by then: a time, or a duration from now
    #[arg(long, value_name = "TIME|none", value_parser = deadline_or_none)]
    pub(crate) deadline: Option<Update<When>>,
    /// Another tenant
    #[arg(long, value_name = "NAME", conflicts_with = "no_tenant")]
    pub(crate) tenant: Option<String>,
    /// No tenant
    #[arg(long)]
    pub(crate) no_tenant: bool,
    /// A tag to add or to change; may be given more than once
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = values::tag)]
    pub(crate) tags: Vec<(String, String)>,
    /// A tag to remove; may be given more than once
    #[arg(long = "remove-tag", value_name = "NAME")]
    pub(crate) remove_tags: Vec<String>,
    /// Another concurrency key
    #[arg(long, value_name = "KEY", conflicts_with = "no_key", help_heading = RULES)]
    pub(crate) key: Option<String>,
    /// No concurrency key
    #[arg(long, conflicts_with = "key_limit", help_heading = RULES)]
    pub(crate) no_key: bool,
    /// How many jobs with its concurrency key run at once from now on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = RULES)]
    pub(crate) key_limit: Option<u32>,
    /// Another unique key, which must be free
    #[arg(long, value_name = "KEY", conflicts_with = "no_unique", help_heading = RULES)]
    pub(crate) unique: Option<String>,
    /// No unique key
    #[arg(long, help_heading = RULES)]
    pub(crate) no_unique: bool,
    /// How long the unique key stays taken after the job has ended
    #[arg(long, value_name = "DURATION|none", value_parser = duration_or_none, help_heading = RULES)]
    pub(crate) unique_for: Option<Update<Duration>>,
    /// Another payload: JSON, @FILE with JSON in it, or - for stdin. Of a command's only the fields that
    /// it names change
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true,
        conflicts_with_all = ["command", "shell", "env", "cwd", "fail_on", "output_limit", "input", "no_input"])]
    pub(crate) payload: Option<OsString>,
    /// Another command and its arguments
    #[arg(last = true, value_name = "CMD ARG", conflicts_with = "shell")]
    pub(crate) command: Vec<OsString>,
    /// Another command line for /bin/sh
    #[arg(long, value_name = "TEXT")]
    pub(crate) shell: Option<OsString>,
    /// A variable for the command to add or to change: with this value, or with the one it has here
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<OsString>,
    /// Another folder for the command
    #[arg(long, value_name = "FOLDER")]
    pub(crate) cwd: Option<OsString>,
    /// Other exit codes of the command that fail it for good, like 2,64-78; '' for none
    #[arg(long, value_name = "CODES")]
    pub(crate) fail_on: Option<String>,
    /// How much of the command's output is kept, up to 64MiB: 100KiB, 0 for nothing; or none, for what
    /// the runner keeps of every command
    #[arg(long, value_name = "SIZE|none", value_parser = size_or_none)]
    pub(crate) output_limit: Option<Update<u64>>,
    /// What the command reads from stdin: this text, what is in @FILE now, or - for this command's own
    /// stdin
    #[arg(
        long,
        value_name = "TEXT|@FILE|-",
        conflicts_with = "no_input",
        allow_hyphen_values = true
    )]
    pub(crate) input: Option<OsString>,
    /// No input: the command's stdin is /dev/null
    #[arg(long)]
    pub(crate) no_input: bool,
    #[command(flatten)]
    pub(crate) fixed: FixedOptions,
}

// Options that an edit cannot change: refused with the reason, rather than as unknown.
#[derive(Debug, Args)]
pub(crate) struct FixedOptions {
    #[arg(long, hide = true)]
    pub(crate) kind: Option<String>,
    #[arg(long, hide = true, num_args = 0..)]
    pub(crate) after: Option<Vec<String>>,
    #[arg(long, hide = true, num_args = 0..)]
    pub(crate) after_any: Option<Vec<String>>,
    #[arg(long, hide = true)]
    pub(crate) parent: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) child_policy: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) finalize: bool,
    #[arg(long, hide = true)]
    pub(crate) unique_by_payload: bool,
    #[arg(long, hide = true)]
    pub(crate) on_duplicate: Option<String>,
}

fn duration_or_none(text: &str) -> Result<Update<Duration>, String> {
    match text {
        "none" => Ok(Update::Clear),
        text => values::duration(text).map(Update::Set),
    }
}

fn size_or_none(text: &str) -> Result<Update<u64>, String> {
    match text {
        "none" => Ok(Update::Clear),
        text => limits::bytes_given(text).map(Update::Set),
    }
}

fn deadline_or_none(text: &str) -> Result<Update<When>, String> {
    match text {
        "none" => Ok(Update::Clear),
        text => values::deadline(text).map(Update::Set),
    }
}

pub(crate) fn run(args: &EditArgs, session: &Session) -> CliResult {
    refuse_fixed(&args.fixed)?;
    let edit = JobUpdate {
        set: JobOptions {
            queue: args.queue.clone(),
            priority: args.priority,
            when: when(args),
            max_retries: args.retries,
            backoff: args.backoff,
            retry_delay: args.retry_delay,
            retry_delays: args.retry_delays.clone(),
            jitter: args.jitter.given(),
            timeout: set(args.timeout),
            deadline: set(args.deadline),
            tenant: args.tenant.clone(),
            tags: args.tags.iter().cloned().collect(),
            key: args.key.clone(),
            key_limit: args.key_limit,
            unique: args.unique.clone().map(UniqueKey::Named),
            unique_for: set(args.unique_for),
            ..JobOptions::default()
        },
        clear: cleared(args),
        ..JobUpdate::default()
    };
    let payload = args.payload.as_deref();
    let payload = payload.map(|given| payload::payload(Some(given)));
    let (payload, command) = (payload.transpose()?, command(args)?);
    let is_any = edit.set != JobOptions::default() || !edit.clear.is_empty();
    if !is_any && payload.is_none() && command.is_empty() {
        return Err(CliError::usage("there is nothing to change")
            .with_hint("name what: `jobq edit 7 --priority urgent`, or another command after --"));
    }
    let edit = EditAction {
        queue: session.queue()?,
        edit,
        payload,
        command,
    };
    each(session, &args.ids, &edit)
}

fn set<T: Copy>(change: Option<Update<T>>) -> Option<T> {
    match change? {
        Update::Set(value) => Some(value),
        Update::Keep | Update::Clear => None,
    }
}

fn cleared(args: &EditArgs) -> Vec<ClearOption> {
    let tags = args.remove_tags.iter().cloned().map(ClearOption::Tag);
    let others = [
        (args.timeout == Some(Update::Clear), ClearOption::Timeout),
        (args.deadline == Some(Update::Clear), ClearOption::Deadline),
        (args.no_tenant, ClearOption::Tenant),
        (args.no_key, ClearOption::Key),
        (args.no_unique, ClearOption::Unique),
        (
            args.unique_for == Some(Update::Clear),
            ClearOption::UniqueFor,
        ),
    ];
    let others = others.into_iter().filter(|(is_cleared, _)| *is_cleared);
    others.map(|(_, option)| option).chain(tags).collect()
}

/// A field of a command's payload by its path, and its JSON; none takes it away.
type FieldChange = (Vec<String>, Option<String>);

struct EditAction {
    queue: Queue,
    edit: JobUpdate,
    payload: Option<String>,
    /// Of a command.
    command: Vec<FieldChange>,
}

impl JobChange for EditAction {
    /// What is wrong with the change would be wrong with it for the next job as well.
    const AT_ONCE: usize = 1;

    fn act(&self, ids: &[JobId]) -> Vec<jobq::Result<Changed>> {
        ids.iter().map(|id| self.one(*id)).collect()
    }
}

impl EditAction {
    fn one(&self, id: JobId) -> jobq::Result<Changed> {
        self.queue.edit(id, self.edit_of(id)?)?;
        Ok(Changed {
            result: "edited",
            said: format!("job {id} edited"),
        })
    }

    /// Of a command's payload what is not named stays.
    fn edit_of(&self, id: JobId) -> jobq::Result<JobUpdate> {
        let mut edit = self.edit.clone();
        if self.payload.is_none() && self.command.is_empty() {
            return Ok(edit);
        }
        let Some(job) = self.queue.get(id)? else {
            // The edit says that there is no such job.
            return Ok(edit);
        };
        if job.kind != EXEC {
            if !self.command.is_empty() {
                return Err(jobq::Error::invalid(format!(
                    "job {id} is not a command: its kind is '{}'",
                    job.kind
                ))
                .with_hint("change its payload: --payload JSON"));
            }
            if let Some(payload) = &self.payload {
                check_payload(&job.kind, payload)?;
            }
            edit.payload.clone_from(&self.payload);
            return Ok(edit);
        }
        edit.payload_fields = match &self.payload {
            Some(payload) => named_in(payload)?,
            None => self.command.clone(),
        };
        check(&job, &edit.payload_fields)?;
        Ok(edit)
    }
}

/// The fields that a payload names, and those that they take the place of.
fn named_in(payload: &str) -> jobq::Result<Vec<FieldChange>> {
    let Some(named) = json::fields(payload) else {
        // Says what is wrong with it.
        ExecPayload::parse(payload)?;
        return Ok(Vec::new());
    };
    let mut fields: Vec<FieldChange> = Vec::new();
    for (key, value) in named {
        for pair in [["command", "shell"], ["input", "input_base64"]] {
            let other = pair.into_iter().find(|other| *other != key);
            if let (true, Some(other)) = (pair.contains(&&*key), other) {
                fields.push((vec![other.to_owned()], None));
            }
        }
        fields.push((vec![key], Some(value)));
    }
    // What is named itself is not taken away again by its other.
    let named: Vec<Vec<String>> = fields
        .iter()
        .filter(|(_, value)| value.is_some())
        .map(|(path, _)| path.clone())
        .collect();
    fields.retain(|(path, value)| value.is_some() || !named.contains(path));
    Ok(fields)
}

/// A command that could not be enqueued is not edited into a job either.
fn check(job: &JobRecord, fields: &[FieldChange]) -> jobq::Result<()> {
    let mut payload = job.payload.get().to_owned();
    for (path, value) in fields {
        if let Some(with) = json::with_field(&payload, path, value.as_deref()) {
            payload = with;
        }
    }
    ExecPayload::parse(&payload).map(|_| ())
}

/// Changes to a command.
fn command(args: &EditArgs) -> CliResult<Vec<FieldChange>> {
    let text = |text: &str| Some(serde_json::Value::from(text).to_string());
    let field = |name: &str, value| (vec![name.to_owned()], value);
    let mut fields = Vec::new();
    if !args.command.is_empty() {
        let argv = serde_json::Value::from(payload::argv(&args.command)?);
        fields.push(field("command", Some(argv.to_string())));
        fields.push(field("shell", None));
    }
    if let Some(shell) = &args.shell {
        fields.push(field("shell", text(&payload::as_text("--shell", shell)?)));
        fields.push(field("command", None));
    }
    let env = payload::variables(&args.env, false)?;
    for (name, value) in Environ::here().pick(&env, Unset::Refuse)? {
        fields.push((vec!["env".to_owned(), name], text(&value)));
    }
    if let Some(cwd) = &args.cwd {
        fields.push(field("cwd", text(&folder(cwd)?)));
    }
    match args.fail_on.as_deref() {
        None => {}
        Some("") => fields.push(field("fail_on", None)),
        Some(codes) => fields.push(field("fail_on", text(codes))),
    }
    match args.output_limit {
        None | Some(Update::Keep) => {}
        Some(Update::Clear) => fields.push(field("output_limit", None)),
        Some(Update::Set(bytes)) => fields.push(field("output_limit", Some(bytes.to_string()))),
    }
    if args.input.is_some() || args.no_input {
        fields.extend(input(args.input.as_deref())?);
    }
    Ok(fields)
}

/// As a command's payload has it: text, or the base64 of what is not.
fn input(given: Option<&OsStr>) -> CliResult<[FieldChange; 2]> {
    let mut payload = ExecPayload::new(Program::Shell(":".to_owned()))?;
    if let Some(given) = given {
        payload = payload.with_input(payload::input(given)?)?;
    }
    let written = json::fields(&payload.to_json()?).unwrap_or_default();
    Ok(["input", "input_base64"].map(|name| {
        let value = written.iter().find(|(key, _)| key == name);
        (vec![name.to_owned()], value.map(|(_, value)| value.clone()))
    }))
}

/// As an absolute path: a runner may be at home anywhere.
fn folder(given: &OsStr) -> CliResult<String> {
    let path = std::path::absolute(given).map_err(|error| CliError::io("--cwd", &error))?;
    payload::as_text("--cwd", path.as_os_str())
}

fn refuse_fixed(fixed: &FixedOptions) -> CliResult<()> {
    let is = [
        (fixed.kind.is_some(), "--kind", "its kind says who runs it"),
        (
            fixed.after.is_some() || fixed.after_any.is_some(),
            "--after",
            "the jobs that it waits for are tied to it when it is enqueued",
        ),
        (
            fixed.parent.is_some(),
            "--parent",
            "its parent has counted it as a child",
        ),
        (
            fixed.child_policy.is_some() || fixed.finalize,
            "--child-policy and --finalize",
            "they hold for children that may have ended already",
        ),
        (
            fixed.unique_by_payload,
            "--unique-by-payload",
            "a unique key that was derived from the payload follows it by itself",
        ),
        (
            fixed.on_duplicate.is_some(),
            "--on-duplicate",
            "it says what is done when a job is enqueued",
        ),
    ];
    match is.into_iter().find(|(given, ..)| *given) {
        None => Ok(()),
        Some((_, what, why)) => Err(CliError::usage(format!("{what} cannot be edited: {why}"))
            .with_hint("cancel the job and enqueue another: jobq cancel ID")),
    }
}

fn when(args: &EditArgs) -> Option<When> {
    match (args.delay, args.at) {
        (Some(delay), _) if delay.is_zero() => Some(When::Now),
        (Some(delay), _) => Some(When::In(delay)),
        (None, at) => at.map(When::At),
    }
}
