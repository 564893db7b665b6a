//! The schedules of the config file: a runner brings them into the database when it starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use jobq::handlers::exec::Program;
use jobq::{NewJob, Schedule, ScheduleOrigin, ScheduleRecord, When};

use crate::cli::clock::now;
use crate::cli::config::{self, ScheduleTable};
use crate::cli::exit::{CliError, CliResult};
use crate::cli::options::{Options, Unique};
use crate::cli::origin::{Command, Origin, Wanted, Work};
use crate::cli::session::Session;

/// Makes the database's schedules of the file those that the file has, and says what changed. What is
/// wrong with one is told as [`check`] does, and nothing is changed. Where there is no config file,
/// those of another stay.
pub(in crate::cli) fn sync(session: &Session) -> CliResult<()> {
    let config = &session.config;
    let queue = session.queue()?;
    let of_a_config = |schedule: &ScheduleRecord| schedule.origin == ScheduleOrigin::Config;
    let has_none = config.schedules.is_empty() && !queue.schedules()?.iter().any(of_a_config);
    if config.folder.is_none() || has_none {
        return Ok(());
    }
    let synced = queue.sync_schedules(check(session)?)?;
    for (names, did) in [
        (&synced.added, "added"),
        (&synced.changed, "changed"),
        (&synced.removed, "removed"),
    ] {
        for name in names {
            session.screen.say(format_args!(
                "schedule '{name}' {did}, as the config file says"
            ));
        }
    }
    Ok(())
}

/// The schedules of the file. What is wrong with one is told by the file, its table and key.
pub(in crate::cli) fn check(session: &Session) -> CliResult<Vec<Schedule>> {
    let config = &session.config;
    let mut schedules = Vec::new();
    if config.schedules.is_empty() {
        return Ok(schedules);
    }
    let origin = Origin::here(Arc::clone(config))?;
    for (name, table) in &config.schedules {
        let schedule = declared(name, table, &origin, session);
        schedules.push(schedule.map_err(|error| config.refused(error))?);
    }
    Ok(schedules)
}

fn declared(
    name: &str,
    table: &ScheduleTable,
    origin: &Origin,
    session: &Session,
) -> CliResult<Schedule> {
    let header = format!("[schedules.{}]", config::key(name));
    let at = |key: &str| format!("{header} {key}");
    let zone = table.timezone.as_deref();
    let check = |zone| jobq::next_slots(&table.cron, zone, now(), 1).map(|_| ());
    check(Some("UTC")).map_err(|error| CliError::from(error).context(at("cron")))?;
    check(zone).map_err(|error| CliError::from(error).context(at("timezone")))?;
    let job = job(table, origin, session).map_err(|(key, error)| error.context(at(key)))?;
    let queue = session.queue()?;
    let refused = |error| CliError::from(error).context(&header);
    queue.check(job.clone()).map_err(refused)?;
    let mut schedule = Schedule::new(name, &table.cron, job)
        .missed(table.missed)
        .overlap(table.overlap);
    if let Some(zone) = zone {
        schedule = schedule.timezone(zone);
    }
    queue.check_schedule(schedule.clone()).map_err(refused)?;
    Ok(schedule)
}

type AtKey = (&'static str, CliError);

fn job(table: &ScheduleTable, origin: &Origin, session: &Session) -> Result<NewJob, AtKey> {
    for (key, needs, is_alone) in [
        (
            "unique_for",
            "unique",
            table.unique_for.is_some() && table.unique.is_none(),
        ),
        (
            "on_duplicate",
            "unique",
            table.on_duplicate.is_some() && table.unique.is_none(),
        ),
        (
            "places",
            "key",
            table.places.is_some() && table.key.is_none(),
        ),
    ] {
        if is_alone {
            let error = CliError::usage(format!("it goes with '{needs}', and there is none"));
            return Err((
                key,
                error.hint(format!("say what it is for: {needs} = \"NAME\"")),
            ));
        }
    }
    let wanted = Wanted {
        work: work(table, session)?,
        options: Options {
            queue: table.queue.clone(),
            priority: table.priority,
            retries: table.retries,
            backoff: table.backoff,
            retry_delay: table.retry_delay,
            timeout: table.timeout,
            deadline: table.deadline.map(When::In),
            unique: table.unique.clone().map(Unique::Key),
            unique_for: table.unique_for,
            on_duplicate: table.on_duplicate,
            key: table.key.clone(),
            places: table.places,
            tenant: table.tenant.clone(),
            tags: table.tags.clone(),
            ..Options::default()
        },
    };
    let key = match (&table.kind, &table.shell) {
        (Some(_), _) => "payload",
        (None, Some(_)) => "shell",
        (None, None) => "command",
    };
    origin.job(wanted).map_err(|error| (key, error))
}

/// A command runs where the config file lies.
fn work(table: &ScheduleTable, session: &Session) -> Result<Work, AtKey> {
    let program = match (&table.kind, &table.command, &table.shell) {
        (Some(kind), None, None) => {
            if table.input.is_some() {
                let error = CliError::usage("only a command has one");
                return Err(("input", error.hint("the job of a kind has a payload")));
            }
            let payload = table.payload.as_ref();
            return Ok(Work::Kind {
                kind: kind.clone(),
                payload: payload.map_or_else(|| "null".to_owned(), ToString::to_string),
            });
        }
        (None, Some(argv), None) => Program::Argv(argv.clone()),
        (None, None, Some(text)) => Program::Shell(text.clone()),
        (None, None, None) => {
            let error = CliError::usage("it is missing, and there is no command or shell either");
            return Err(("kind", error.hint("one of the three says what the job is")));
        }
        _ => {
            let error = CliError::usage("kind, command and shell do not go together");
            return Err(("kind", error.hint("one of the three says what the job is")));
        }
    };
    if table.payload.is_some() {
        let error = CliError::usage("only the job of a kind has one");
        return Err(("payload", error));
    }
    let folder = session.config.folder.as_ref();
    Ok(Work::Exec(Command {
        program,
        cwd: folder.and_then(|folder| folder.to_str()).map(str::to_owned),
        env: BTreeMap::new(),
        input: table.input.clone().map(String::into_bytes),
        fail_on: None,
    }))
}
