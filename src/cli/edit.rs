//! `jobq edit`.

use std::ffi::OsStr;

use jobq::handlers::exec::{ExecPayload, Program};
use jobq::{JobId, JobRecord, JobUpdate, Queue, Update, When, json};

use super::args;
use super::each::{Done, Verb, each};
use super::enqueue;
use super::environ::{Environ, Unset};
use super::exit::{CliError, CliResult};
use super::origin::EXEC;
use super::session::Session;

pub(super) fn run(args: &args::Edit, session: &Session) -> CliResult {
    refuse_fixed(&args.fixed)?;
    let tags = args.tags.iter();
    let tags = tags.map(|(name, value)| (name.clone(), Some(value.clone())));
    let removed = args.remove_tags.iter().map(|name| (name.clone(), None));
    let edit = JobUpdate {
        queue: args.queue.clone(),
        priority: args.priority,
        when: when(args),
        max_retries: args.retries,
        backoff: args.backoff,
        retry_delay: args.retry_delay,
        jitter: args.jitter.given(),
        timeout: args.timeout.unwrap_or_default(),
        deadline: args.deadline.unwrap_or_default(),
        tenant: change(args.tenant.as_ref(), args.no_tenant),
        tags: tags.chain(removed).collect(),
        key: change(args.key.as_ref(), args.no_key),
        key_limit: args.key_limit,
        unique: change(args.unique.as_ref(), args.no_unique),
        unique_for: args.unique_for.unwrap_or_default(),
        ..JobUpdate::default()
    };
    let payload = args.payload.as_deref();
    let edit = Edits {
        queue: session.queue()?,
        edit,
        payload: payload
            .map(|given| enqueue::payload(Some(given)))
            .transpose()?,
        command: command(args)?,
    };
    each(session, &args.ids, &edit)
}

fn change(set: Option<&String>, clear: bool) -> Update<String> {
    match set {
        Some(text) => Update::Set(text.clone()),
        None if clear => Update::Clear,
        None => Update::Keep,
    }
}

/// A field of a command's payload by its path, and its JSON; none takes it away.
type Field = (Vec<String>, Option<String>);

struct Edits {
    queue: Queue,
    edit: JobUpdate,
    payload: Option<String>,
    /// Of a command.
    command: Vec<Field>,
}

impl Verb for Edits {
    /// What is wrong with the change would be wrong with it for the next job as well.
    const AT_ONCE: usize = 1;

    fn act(&self, ids: &[JobId]) -> Vec<jobq::Result<Done>> {
        ids.iter().map(|id| self.one(*id)).collect()
    }
}

impl Edits {
    fn one(&self, id: JobId) -> jobq::Result<Done> {
        self.queue.edit(id, self.edit_of(id)?)?;
        Ok(Done {
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
fn named_in(payload: &str) -> jobq::Result<Vec<Field>> {
    let Some(named) = json::fields(payload) else {
        // Says what is wrong with it.
        ExecPayload::parse(payload)?;
        return Ok(Vec::new());
    };
    let mut fields: Vec<Field> = Vec::new();
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
fn check(job: &JobRecord, fields: &[Field]) -> jobq::Result<()> {
    let mut payload = job.payload.get().to_owned();
    for (path, value) in fields {
        if let Some(with) = json::with_field(&payload, path, value.as_deref()) {
            payload = with;
        }
    }
    ExecPayload::parse(&payload).map(|_| ())
}

/// What is to be changed of a command.
fn command(args: &args::Edit) -> CliResult<Vec<Field>> {
    let text = |text: &str| Some(serde_json::Value::from(text).to_string());
    let field = |name: &str, value| (vec![name.to_owned()], value);
    let mut fields = Vec::new();
    if !args.command.is_empty() {
        let argv = serde_json::Value::from(enqueue::argv(&args.command)?);
        fields.push(field("command", Some(argv.to_string())));
        fields.push(field("shell", None));
    }
    if let Some(shell) = &args.shell {
        fields.push(field("shell", text(&enqueue::as_text("--shell", shell)?)));
        fields.push(field("command", None));
    }
    let env = enqueue::variables(&args.env, false)?;
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
fn input(given: Option<&OsStr>) -> CliResult<[Field; 2]> {
    let mut payload = ExecPayload::new(Program::Shell(":".to_owned()))?;
    if let Some(given) = given {
        payload = payload.with_input(enqueue::input(given)?)?;
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
    enqueue::as_text("--cwd", path.as_os_str())
}

fn refuse_fixed(fixed: &args::Fixed) -> CliResult<()> {
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

fn when(args: &args::Edit) -> Option<When> {
    match (args.delay, args.at) {
        (Some(delay), _) if delay.is_zero() => Some(When::Now),
        (Some(delay), _) => Some(When::In(delay)),
        (None, at) => at.map(When::At),
    }
}
