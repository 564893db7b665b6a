//! `jobq enqueue`.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgGroup, Args};
use jiff::Timestamp;
use jobq::api::built_in::how_to_build;
use jobq::api::job_request::{CommandRequest, JobRequest, Work};
use jobq::api::json::write_line;
use jobq::api::text::count;
use jobq::handlers::exec::Program;
use jobq::{BatchDedup, JobId, JobOptions, JobRef, State, Traceparent, When};

use crate::cli::args::{JobArgs, RULES};
use crate::cli::clock::now;
use crate::cli::exit::{CliError, CliResult, Exit};
use crate::cli::input::batch::{Added, BatchSource, CheckedBatch};
use crate::cli::input::each::EachArgs;
use crate::cli::input::origin::Origin;
use crate::cli::input::payload::{argv, as_text, input, payload, variables};
use crate::cli::input::{limits, values};
use crate::cli::render::enqueued::{self, Warnings};
use crate::cli::render::{Format, text};
use crate::cli::session::Session;
use crate::cli::verbs::{logs, report, wait};

#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("what").required(true).args(["command", "shell", "kind", "batch"])),
    group(ArgGroup::new("many").args(["batch", "each"])),
    override_usage = "\
jobq enqueue [OPTIONS] -- CMD ARG...
       jobq enqueue [OPTIONS] --shell TEXT
       jobq enqueue [OPTIONS] --kind KIND [--payload JSON|@FILE|-]
       jobq enqueue [OPTIONS] --each [FILE|-] -- CMD {} ARG...   (a job per line)
       jobq enqueue [OPTIONS] --batch FILE|- [--chunk N]   (OPTIONS are defaults for every line)",
    after_help = "\
Examples:
  jobq enqueue -- ffmpeg -i in.mkv out.mp4
  jobq enqueue --shell 'pg_dump shop | gzip > shop.gz' --timeout 1h
  jobq enqueue --kind thumbnail --payload '{\"photo\":\"cat.jpg\"}' --in '2 days'
  jobq enqueue --input @shop.sql -- psql shop
  jobq enqueue --after @last --key backup -- ./upload shop.gz
  jobq enqueue --batch jobs.jsonl
  ls *.jpg | jobq enqueue --each -- convert {} -resize 800 small/{/}
  find . -name '*.log' -print0 | jobq enqueue --each -0 --unique {} -- gzip
  jobq enqueue --each names.txt -- sh -c './greet \"$1\" > out/$2' sh {} {#}"
)]
pub(crate) struct EnqueueArgs {
    /// The command and its arguments, run as given, without a shell
    #[arg(last = true, value_name = "CMD ARG")]
    pub(crate) command: Vec<OsString>,
    /// A command line, run by /bin/sh
    #[arg(long, value_name = "TEXT")]
    pub(crate) shell: Option<OsString>,
    /// A job of this kind, for the handler of that kind. Built in: group, a parent without work of its
    /// own; sleep, with a payload like {"delay_ms":300}
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// The payload of a --kind job: JSON, @FILE with JSON in it, or - for stdin [default: null]
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true,
        conflicts_with_all = ["command", "shell", "batch"])]
    pub(crate) payload: Option<OsString>,
    /// Many jobs: JSON Lines in a file, or - for stdin. All or none are added
    #[arg(long, value_name = "FILE|-", conflicts_with = "each", conflicts_with_all = OF_ONE_JOB)]
    pub(crate) batch: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) each: EachArgs,
    /// Commit every N lines of a very large --batch or --each [default: all lines in one transaction]
    #[arg(long, value_name = "N", requires = "many")]
    pub(crate) chunk: Option<NonZeroU64>,
    /// A variable for the command, stored with the job: with this value, with its current value, or
    /// all whose names match a pattern ('AWS_*'); may be given more than once. Commands always get
    /// PATH, HOME, LANG, LC_*, TZ, TMPDIR, USER, LOGNAME and SHELL
    #[arg(long, value_name = "NAME[=VALUE]", conflicts_with = "kind")]
    pub(crate) env: Vec<OsString>,
    /// All variables that are set here, for the command; they are stored with the job in the file
    #[arg(long, conflicts_with = "kind")]
    pub(crate) env_all: bool,
    /// Do not warn of a password or a token that stands in a payload itself
    #[arg(long, conflicts_with_all = ["command", "shell", "each"])]
    pub(crate) allow_literal_secrets: bool,
    #[command(flatten)]
    pub(crate) job: JobArgs,
    #[command(flatten)]
    pub(crate) start: StartOptions,
    #[command(flatten)]
    pub(crate) one: OneJobOptions,
}

/// These are nothing for all lines of a batch; a key that is unique would leave one of them.
const OF_ONE_JOB: [&str; 8] = [
    "unique",
    "cwd",
    "fail_on",
    "input",
    "output_limit",
    "wait",
    "follow",
    "wait_timeout",
];

// When it may start, and after what.
#[derive(Debug, Args)]
pub(crate) struct StartOptions {
    /// Not before this time has passed: 90s, 1h30m, '2 days'
    #[arg(long = "in", value_name = "DURATION", value_parser = values::duration, conflicts_with = "at")]
    pub(crate) delay: Option<Duration>,
    /// Not before this time: RFC 3339, HH:MM, or 'YYYY-MM-DD HH:MM'
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(crate) at: Option<Timestamp>,
    /// Cancel it if it has not begun by then: a time as for --at, or a duration from now
    #[arg(long, value_name = "TIME", value_parser = values::deadline)]
    pub(crate) deadline: Option<When>,
    /// Run after all these jobs have completed; cancelled when one fails or is cancelled: 42, 3 5
    /// 8-12, 3,5, @last
    #[arg(long, value_name = "ID", num_args = 1.., value_delimiter = ',', help_heading = RULES)]
    pub(crate) after: Vec<String>,
    /// Run after all these jobs have ended, however they ended: ids as for --after
    #[arg(long, value_name = "ID", num_args = 1.., value_delimiter = ',', help_heading = RULES)]
    pub(crate) after_any: Vec<String>,
    /// Make it a child of this job, which completes once its children have. Added from inside that
    /// job, it begins once the attempt has completed
    #[arg(long, value_name = "ID", help_heading = RULES)]
    pub(crate) parent: Option<String>,
    /// The trace that it belongs to, as W3C Trace Context writes it; its command finds it in TRACEPARENT
    /// [default: $TRACEPARENT, if that is one]
    #[arg(long, value_name = "TRACEPARENT", value_parser = values::traceparent)]
    pub(crate) traceparent: Option<Traceparent>,
}

impl StartOptions {
    pub(crate) fn when(&self) -> Option<When> {
        self.delay.map(When::In).or(self.at.map(When::At))
    }
}

// Options that make sense for a single job only.
#[derive(Debug, Args)]
pub(crate) struct OneJobOptions {
    /// The folder that the command runs in; it may have placeholders of --each [default: the current
    /// one]
    #[arg(long, value_name = "FOLDER", conflicts_with = "kind")]
    pub(crate) cwd: Option<OsString>,
    /// Exit codes of the command that fail it for good, like 2,64-78 [default: 126,127]
    #[arg(long, value_name = "CODES", conflicts_with = "kind")]
    pub(crate) fail_on: Option<String>,
    /// How much of the command's output is kept, up to 64MiB: 100KiB, or 0 for nothing; of a longer
    /// output the beginning and the end [default: that of the config file, else 1MiB]
    #[arg(long, value_name = "SIZE", conflicts_with = "kind", value_parser = limits::bytes_given)]
    pub(crate) output_limit: Option<u64>,
    /// What the command reads from stdin: this text, what is in @FILE now, or - for this command's
    /// own stdin; at most 8 MiB [default: nothing, /dev/null]
    #[arg(
        long,
        value_name = "TEXT|@FILE|-",
        conflicts_with = "kind",
        allow_hyphen_values = true
    )]
    pub(crate) input: Option<OsString>,
    /// Wait until it has ended: exit code 0 or 4
    #[arg(long, conflicts_with = "each")]
    pub(crate) wait: bool,
    /// Print its output as it comes, until it has ended: exit code 0 or 4
    #[arg(long, conflicts_with_all = ["each", "wait"])]
    pub(crate) follow: bool,
    /// How long to wait at most [default: forever]
    #[arg(long, value_name = "DURATION", value_parser = values::duration, requires = "wait")]
    pub(crate) wait_timeout: Option<Duration>,
}

pub(crate) fn run(args: &EnqueueArgs, session: &Session) -> CliResult {
    let source = many(args)?;
    let mut options = options(args, session)?;
    options.traceparent = options.traceparent.or_else(traceparent_here);
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
    let literal_secret = origin.literal_secret();
    let added = match source {
        Some(source) => add_batch(args, source, origin, session),
        None => add_one(args, &origin, session),
    };
    if let Some(field) = literal_secret.get().filter(|_| !args.allow_literal_secrets) {
        session.screen.say(format_args!(
            "the payload has '{field}' in clear: it is stored so, and in every backup"
        ));
        session.screen.hint(
            "{\"secret\": \"NAME\"} in its place names a secret of the runner, where the kind takes one; \
             --allow-literal-secrets silences this",
        );
    }
    added
}

/// The jobs of `--batch` or `--each`.
fn many(args: &EnqueueArgs) -> CliResult<Option<BatchSource>> {
    if let Some(path) = &args.batch {
        return Ok(Some(BatchSource::jobs(path)));
    }
    args.each.source(|| {
        let reads_stdin = args.each.list.as_deref() == Some(Path::new("-"));
        if reads_stdin && args.one.input.as_deref() == Some(OsStr::new("-")) {
            return Err(CliError::usage("--each and --input cannot both read stdin")
                .with_hint("keep the items in a file: --each FILE"));
        }
        Ok(JobRequest {
            options: args.job.options(),
            ..wanted(args)?
        })
    })
}

fn add_one(args: &EnqueueArgs, origin: &Origin, session: &Session) -> CliResult {
    let job = origin.job(wanted(args)?)?;
    session.sync_limits()?;
    let on_duplicate = job.options().on_duplicate;
    let kind = job.kind().to_owned();
    let queue = session.queue()?;
    // Its first attempt may have failed before the wait begins.
    let since = args.one.wait.then(|| queue.last_event()).transpose()?;
    let enqueued = queue.enqueue(job)?;
    let id = enqueued.id;
    enqueued::print(&enqueued, session)?;
    let exit = enqueued::print_warning(&enqueued, on_duplicate, session)?;
    if exit != Exit::Done {
        return Ok(exit);
    }
    hint_at_deadline(&args.start, session);
    if let Some(since) = since {
        return wait::until_final(id, since, args.one.wait_timeout, session);
    }
    session.hint_at_run();
    if let Some(how) = how_to_build(&kind).filter(|_| !session.is_handled(&kind)) {
        session.screen.hint(how);
    }
    if args.one.follow {
        return follow(id, session);
    }
    Ok(Exit::Done)
}

/// A job that will miss its deadline whatever happens may not be what was meant.
fn hint_at_deadline(start: &StartOptions, session: &Session) {
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

pub(crate) fn wanted(args: &EnqueueArgs) -> CliResult<JobRequest> {
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
            Work::Exec(CommandRequest {
                cwd: args
                    .one
                    .cwd
                    .as_deref()
                    .map(|cwd| as_text("--cwd", cwd))
                    .transpose()?,
                output_limit: args.one.output_limit,
                input: args.one.input.as_deref().map(input).transpose()?,
                fail_on: args.one.fail_on.clone(),
                ..CommandRequest::new(program)
            })
        }
    };
    Ok(JobRequest {
        work,
        options: JobOptions::default(),
    })
}

/// That of this process. Another program may have set anything.
fn traceparent_here() -> Option<Traceparent> {
    std::env::var("TRACEPARENT").ok()?.parse().ok()
}

pub(crate) fn options(args: &EnqueueArgs, session: &Session) -> CliResult<JobOptions> {
    let named = |words: &[String]| -> CliResult<Vec<JobRef>> {
        let ids = session.resolve_ids(words)?.into_iter();
        Ok(ids.map(JobRef::Id).collect())
    };
    let parent = args.start.parent.as_deref();
    let parent = parent.map(|word| session.resolve_id(word)).transpose()?;
    Ok(JobOptions {
        when: args.start.when(),
        deadline: args.start.deadline,
        after: named(&args.start.after)?,
        after_any: named(&args.start.after_any)?,
        parent: parent.map(JobRef::Id),
        traceparent: args.start.traceparent,
        ..args.job.options()
    })
}

fn add_batch(
    args: &EnqueueArgs,
    source: BatchSource,
    origin: Origin,
    session: &Session,
) -> CliResult {
    let queue = session.queue()?;
    let batch = CheckedBatch::read(source, origin, &queue, &session.screen)?;
    session.sync_limits()?;
    let mut told = BatchReport::default();
    match args.chunk {
        None => told.add(&batch.add(&queue, BatchDedup::No)?, session)?,
        Some(jobs) => {
            batch.add_in_chunks(&queue, jobs.get(), |added| told.add(added, session))?;
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
    let exit = told.warnings.print(session)?;
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
                write_line(&mut out, &enqueued)?;
            }
        }
    }
    out.flush()
}

/// What has been added so far.
#[derive(Default)]
struct BatchReport {
    /// The first new job and the last.
    ids: Option<(JobId, JobId)>,
    /// How many were there already.
    duplicates: u64,
    warnings: Warnings,
}

impl BatchReport {
    /// For programs: each job, as soon as it is durable.
    fn add(&mut self, added: &Added, session: &Session) -> CliResult<()> {
        if let Some(batch) = added.start.batch() {
            let first = self.ids.map_or(batch.first, |(first, _)| first);
            self.ids = Some((first, batch.last));
        }
        self.duplicates += added.duplicates();
        self.warnings.and(added.warnings);
        let printed = print_added(added, session);
        // The hint keeps a script from enqueuing them twice after this error.
        printed.map_err(|error| match self.ids {
            Some((first, last)) => CliError::from(error).with_hint(format!(
                "jobs {first} to {last} are in the queue all the same"
            )),
            None => CliError::from(error),
        })
    }

    /// `3 jobs enqueued (7–9), 1 was there already`.
    fn summary(&self, jobs: u64) -> String {
        let new = count(jobs - self.duplicates, "job");
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
