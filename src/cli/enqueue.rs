//! `jobq enqueue`.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use jobq::handlers::exec::{MAX_INPUT_BYTES, Program};
use jobq::{BatchDedup, JobId, State, When};

use super::args::{Enqueue, Start};
use super::batch::{Added, CheckedBatch};
use super::clock::now;
use super::enqueued::{self, Warnings};
use super::environ::EnvItem;
use super::exit::{CliError, CliResult, Exit};
use super::options::{JobRef, Options};
use super::origin::{Command, Env, Origin, Wanted, Work};
use super::output::{Format, json, text};
use super::session::Session;
use super::{limits, logs, report, wait};

pub(super) fn run(args: &Enqueue, session: &Session) -> CliResult {
    let options = options(args, session)?;
    let inside = report::attempt_in(session.db_path());
    let is_spawned = inside.is_some() && args.start.parent.is_some();
    if is_spawned && (args.one.wait || args.one.follow) {
        return Err(CliError::usage(
            "a child of a running job begins when the attempt that adds it has completed: this one cannot wait for it",
        )
        .with_hint("leave --wait and --follow out; a parent with --finalize is run again when its children are final"));
    }
    let origin = Origin::here(Arc::clone(&session.config))?
        .usual(options)
        .env(&variables(&args.env, args.env_all)?, &session.screen)?
        .inside(inside);
    match &args.batch {
        Some(path) => add_batch(args, path, origin, session),
        None => add_one(args, &origin, session),
    }
}

fn add_one(args: &Enqueue, origin: &Origin, session: &Session) -> CliResult {
    let job = origin.job(wanted(args)?)?;
    limits::sync(session)?;
    let enqueued = session.queue()?.enqueue(job)?;
    let id = enqueued.id;
    enqueued::tell(&enqueued, session)?;
    let exit = enqueued::warn(&enqueued, args.job.on_duplicate, session)?;
    if exit != Exit::Done {
        return Ok(exit);
    }
    hint_at_deadline(&args.start, session);
    if args.one.wait {
        return wait::until_final(&[id], args.one.wait_timeout, session);
    }
    session.hint_at_run();
    if args.one.follow {
        return follow(id, session);
    }
    Ok(Exit::Done)
}

/// A job that will miss its deadline whatever happens may not be what was meant.
fn hint_at_deadline(start: &Start, session: &Session) {
    let now = now();
    let moment = |when| match when {
        When::Now => Some(now),
        When::In(wait) => now.checked_add(wait).ok(),
        When::At(at) => Some(at),
    };
    let Some(deadline) = start.deadline.and_then(moment) else {
        return;
    };
    if deadline <= now {
        session
            .screen
            .hint("its deadline has already passed; the next active runner will cancel it");
    } else if start
        .when()
        .and_then(moment)
        .is_some_and(|due| deadline <= due)
    {
        session
            .screen
            .hint("it is due only after its deadline, so it will be cancelled");
    }
}

fn follow(id: JobId, session: &Session) -> CliResult {
    Ok(match logs::follow(session, id)? {
        State::Completed => Exit::Done,
        _ => Exit::JobFailed,
    })
}

pub(super) fn wanted(args: &Enqueue) -> CliResult<Wanted> {
    let work = match (&args.kind, &args.shell) {
        (Some(kind), _) => Work::Kind {
            kind: kind.clone(),
            payload: payload(args.payload.as_deref())?,
        },
        (None, shell) => {
            let program = match shell {
                Some(text) => Program::Shell(as_text("--shell", text)?),
                None => Program::Argv(argv(&args.command)?),
            };
            Work::Exec(Command {
                program,
                cwd: None,
                env: Env::default(),
                output_limit: args.one.output_limit,
                input: args.one.input.as_deref().map(input).transpose()?,
                fail_on: args.one.fail_on.clone(),
            })
        }
    };
    Ok(Wanted {
        work,
        options: Options::default(),
    })
}

pub(super) fn options(args: &Enqueue, session: &Session) -> CliResult<Options> {
    let named = |words: &[String]| -> CliResult<Vec<JobRef>> {
        let ids = session.resolve_ids(words)?.into_iter();
        Ok(ids.map(JobRef::Id).collect())
    };
    let parent = args.start.parent.as_deref();
    let parent = parent.map(|word| session.resolve_id(word)).transpose()?;
    Ok(Options {
        when: args.start.when(),
        deadline: args.start.deadline,
        after: named(&args.start.after)?,
        after_any: named(&args.start.after_any)?,
        parent: parent.map(JobRef::Id),
        ..args.job.options()
    })
}

pub(super) fn as_text(what: &str, given: &OsStr) -> CliResult<String> {
    given.to_str().map(str::to_owned).ok_or_else(|| {
        CliError::usage(format!("{what} is not UTF-8: {given:?}"))
            .with_hint("a job's payload is JSON, which holds text only; rename the file, or wrap the command in a script")
    })
}

pub(super) fn argv(command: &[OsString]) -> CliResult<Vec<String>> {
    let numbered = command.iter().enumerate();
    numbered
        .map(|(at, argument)| match at {
            0 => as_text("the command's name", argument),
            _ => as_text(&format!("argument {at} of the command"), argument),
        })
        .collect()
}

/// What `--env` and `--env-all` ask for.
pub(super) fn variables(given: &[OsString], all: bool) -> CliResult<Vec<EnvItem>> {
    let mut items = Vec::new();
    if all {
        items.push(EnvItem::all());
    }
    for variable in given {
        let text = as_text("--env", variable)?;
        let item = text.parse();
        items.push(item.map_err(|why: String| {
            CliError::usage(format!("--env: {why}"))
                .with_hint("it is NAME, NAME=VALUE, or a pattern of names: 'AWS_*'")
        })?);
    }
    Ok(items)
}

/// JSON, `@FILE` with JSON in it, or `-` for stdin; `null` where nothing is given.
pub(super) fn payload(given: Option<&OsStr>) -> CliResult<String> {
    let Some(given) = given else {
        return Ok("null".to_owned());
    };
    if given == "-" {
        let mut bytes = Vec::new();
        io::stdin()
            .read_to_end(&mut bytes)
            .map_err(|error| CliError::io("the payload on stdin", &error))?;
        return utf8(bytes, "the payload on stdin");
    }
    let text = as_text("--payload", given)?;
    match text.strip_prefix('@') {
        Some(file) => {
            let bytes = fs::read(file).map_err(|error| CliError::io(file, &error))?;
            utf8(bytes, file)
        }
        None => Ok(text),
    }
}

/// The bytes of a text, of `@FILE`, or of stdin for `-`: any bytes.
pub(super) fn input(given: &OsStr) -> CliResult<Vec<u8>> {
    let given = given.as_bytes();
    let (source, name): (Box<dyn Read>, _) = match given {
        b"-" => (Box::new(io::stdin()), "the input on stdin".to_owned()),
        [b'@', path @ ..] => {
            let path = Path::new(OsStr::from_bytes(path));
            let name = path.display().to_string();
            let file = File::open(path).map_err(|error| CliError::io(&name, &error))?;
            (Box::new(file), name)
        }
        text => return Ok(text.to_vec()),
    };
    // One more than is possible: it is refused with the rest, and nothing endless is read to its end.
    let most = MAX_INPUT_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let read = source.take(most).read_to_end(&mut bytes);
    read.map_err(|error| CliError::io(&name, &error))?;
    if bytes.len() as u64 == most {
        let error = format!("{name}: more than {MAX_INPUT_BYTES} bytes cannot be kept with a job");
        return Err(CliError::usage(error).with_hint(
            "keep it in a file, and let the command read that: --shell 'CMD < /path/to/file'",
        ));
    }
    Ok(bytes)
}

fn utf8(bytes: Vec<u8>, what: &str) -> CliResult<String> {
    String::from_utf8(bytes).map_err(|error| {
        let byte = error.utf8_error().valid_up_to() + 1;
        CliError::usage(format!("{what} is not UTF-8 from byte {byte}"))
    })
}

fn add_batch(args: &Enqueue, path: &Path, origin: Origin, session: &Session) -> CliResult {
    let queue = session.queue()?;
    let batch = CheckedBatch::read(path, origin, &queue, &session.screen)?;
    limits::sync(session)?;
    let mut told = Told::default();
    match args.chunk {
        None => told.tell(&batch.add(&queue, BatchDedup::No)?, session)?,
        Some(jobs) => {
            batch.add_in_chunks(&queue, jobs.get(), |added| told.tell(added, session))?;
        }
    }
    if batch.jobs() == 0 {
        session
            .screen
            .say(format_args!("{} holds no jobs", batch.name()));
    } else if session.output.format == Format::Table {
        let mut out = session.output.stdout();
        writeln!(out, "{}", told.summary(batch.jobs()))?;
        out.flush()?;
    }
    let exit = told.warnings.tell(session)?;
    session.hint_at_run();
    Ok(exit)
}

fn print_added(added: &Added, session: &Session) -> io::Result<()> {
    let mut out = session.output.stdout();
    match session.output.format {
        Format::Table => {}
        Format::Tabs => {
            for job in added.each() {
                writeln!(out, "{}", job.id)?;
            }
        }
        Format::Json => {
            for enqueued in added.each() {
                json::write_line(&mut out, &enqueued)?;
            }
        }
    }
    out.flush()
}

/// What has been added so far.
#[derive(Default)]
struct Told {
    /// The first new job and the last.
    ids: Option<(JobId, JobId)>,
    /// How many were there already.
    duplicates: u64,
    warnings: Warnings,
}

impl Told {
    /// For programs: each job, as soon as it is durable.
    fn tell(&mut self, added: &Added, session: &Session) -> CliResult<()> {
        if let Some(batch) = added.start.batch() {
            let first = self.ids.map_or(batch.first, |(first, _)| first);
            self.ids = Some((first, batch.last));
        }
        self.duplicates += added.duplicates();
        self.warnings.and(added.warnings);
        let printed = print_added(added, session);
        // Whoever tries again on an error would have them twice.
        printed.map_err(|error| match self.ids {
            Some((first, last)) => CliError::from(error).with_hint(format!(
                "jobs {first} to {last} are in the queue all the same"
            )),
            None => CliError::from(error),
        })
    }

    /// `3 jobs enqueued (7–9), 1 was there already`.
    fn summary(&self, jobs: u64) -> String {
        let new = text::count(jobs - self.duplicates, "job");
        let new = match self.ids {
            None => format!("{new} enqueued"),
            Some((first, last)) => format!("{new} enqueued ({})", text::span(first, last)),
        };
        match self.duplicates {
            0 => new,
            1 => format!("{new}, 1 was there already"),
            many => format!("{new}, {many} were there already"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_that_is_no_text_is_named() {
        let words = [
            OsStr::new("cp"),
            OsStr::from_bytes(b"caf\xe9"),
            OsStr::new("x"),
        ];
        let error = argv(&words.map(OsStr::to_owned)).unwrap_err();
        assert!(
            error.message().contains("argument 1"),
            "{}",
            error.message()
        );
        assert!(error.message().contains("caf"), "{}", error.message());
        let error = argv(&[OsString::from(words[1])]).unwrap_err();
        assert!(error.message().contains("name"), "{}", error.message());
    }

    #[test]
    fn a_payload_is_given_as_json_or_in_a_file() {
        assert_eq!(payload(None).unwrap(), "null");
        assert_eq!(payload(Some(OsStr::new("{}"))).unwrap(), "{}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("payload.json");
        let given = format!("@{}", path.display());
        let error = payload(Some(OsStr::new(&given))).unwrap_err();
        assert!(error.message().contains("payload.json"));
        fs::write(&path, "[1,2]\n").unwrap();
        assert_eq!(payload(Some(OsStr::new(&given))).unwrap(), "[1,2]\n");
        fs::write(&path, b"\"\xff\"").unwrap();
        let error = payload(Some(OsStr::new(&given))).unwrap_err();
        assert!(error.message().contains("byte 2"), "{}", error.message());
    }
}
