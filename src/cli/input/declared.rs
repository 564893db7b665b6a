//! The schedules of the config file: a runner brings them into the database when it starts.

use std::fs::Metadata;
use std::path::Path;
use std::sync::Arc;

use jobq::handlers::exec::Program;
use jobq::{NewJob, Queue, Schedule, ScheduleOrigin, ScheduleRecord, SchedulesSynced};

use crate::cli::clock::now;
use crate::cli::exit::{CliError, CliResult};
use crate::cli::input::config::Config;
use crate::cli::input::config::tables::ScheduleTable;
use crate::cli::input::environ::Unset;
use crate::cli::input::options;
use crate::cli::input::origin::{CommandRequest, EXEC, EnvRequest, JobRequest, Origin, Work};
use crate::cli::render::screen::Screen;
use crate::cli::render::text::{shell_word, toml_key};

/// Makes the schedules that this config file has declared in the database those that it has now, and
/// says what changed. Where one is wrong, as [`check`] finds, nothing is changed. What
/// other files have declared stays.
pub(crate) fn sync(queue: &Queue, config: &Arc<Config>, screen: &Screen) -> CliResult<()> {
    let Some(file) = &config.canonical else {
        return Ok(());
    };
    let file = file.display().to_string();
    let known = queue.schedules()?;
    let is_own = |known: &ScheduleRecord| known.declared_by.as_deref() == Some(&file);
    if !config.schedules.is_empty() || known.iter().any(is_own) {
        let synced = queue.sync_schedules(file, check(queue, config)?)?;
        print_changes(&synced, screen);
    }
    for schedule in queue.schedules()? {
        if let Some(lost) = lost(&schedule) {
            screen.hint(lost);
        }
    }
    Ok(())
}

fn print_changes(synced: &SchedulesSynced, screen: &Screen) {
    for (names, did) in [
        (&synced.added, "added"),
        (&synced.changed, "changed"),
        (&synced.removed, "removed"),
    ] {
        for name in names {
            screen.say(format_args!(
                "schedule '{name}' {did}, as the config file says"
            ));
        }
    }
    for (name, file) in &synced.taken_over {
        screen.say(format_args!(
            "schedule '{name}' was declared by {file}; it belongs to this config file now"
        ));
    }
}

/// Config files are short. What the database names may be any file.
const LONGEST_CONFIG: u64 = 1 << 20;

/// What is the matter with a schedule that a config file is to have declared, and no longer does.
pub(crate) fn lost(schedule: &ScheduleRecord) -> Option<String> {
    if schedule.origin != ScheduleOrigin::Config {
        return None;
    }
    let name = &schedule.name;
    let file = match schedule.declared_by.as_deref() {
        None => "a config file that is not known".to_owned(),
        Some(file) => match still_declares(Path::new(file), name) {
            Some(true) => return None,
            Some(false) => format!("{file}, which no longer has it"),
            None => format!("{file}, which is not there any more"),
        },
    };
    let word = shell_word(name);
    Some(format!(
        "schedule '{name}' was declared by {file}; `jobq schedule remove {word}` removes it"
    ))
}

/// None where there is no such file. One that cannot be read is given the benefit of the doubt.
fn still_declares(file: &Path, name: &str) -> Option<bool> {
    let found = std::fs::metadata(file).ok().filter(Metadata::is_file)?;
    if found.len() > LONGEST_CONFIG {
        return Some(true);
    }
    let Ok(text) = std::fs::read_to_string(file) else {
        return Some(true);
    };
    let Ok(table) = text.parse::<toml::Table>() else {
        return Some(true);
    };
    let schedules = table.get("schedules").and_then(toml::Value::as_table);
    Some(schedules.is_some_and(|schedules| schedules.contains_key(name)))
}

/// The schedules of the file. The error names the file, the table and the key.
pub(crate) fn check(queue: &Queue, config: &Arc<Config>) -> CliResult<Vec<Schedule>> {
    let mut schedules = Vec::new();
    if config.schedules.is_empty() {
        return Ok(schedules);
    }
    let origin = Origin::here(Arc::clone(config))?;
    for (name, table) in &config.schedules {
        let schedule = declared(name, table, &origin, (queue, config));
        schedules.push(schedule.map_err(|error| config.refused(error))?);
    }
    Ok(schedules)
}

fn declared(
    name: &str,
    table: &ScheduleTable,
    origin: &Origin,
    (queue, config): (&Queue, &Config),
) -> CliResult<Schedule> {
    let header = format!("[schedules.{}]", toml_key(name));
    let at = |key: &str| format!("{header} {key}");
    let zone = table.timezone.as_deref();
    // The rule was checked when the file was read.
    jobq::next_slots(&table.cron, zone, now(), 1)
        .map_err(|error| CliError::from(error).context(at("timezone")))?;
    let job =
        job(table, origin, config).map_err(|(key, error)| error.context(at(key).trim_end()))?;
    let refused = |error| CliError::from(error).context(&header);
    queue.check_job(job.clone()).map_err(refused)?;
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

fn job(table: &ScheduleTable, origin: &Origin, config: &Config) -> Result<NewJob, AtKey> {
    let options = table.options().map_err(|error| ("unique", error))?;
    let usual = config.usual.of_kind(table.kind.as_deref().unwrap_or(EXEC));
    options::check_table(&options::fill_in(options.clone(), usual))?;
    let wanted = JobRequest {
        work: work(table, config)?,
        options,
    };
    let key = match (&table.kind, &table.shell) {
        (Some(_), _) => "payload",
        (None, Some(_)) => "shell",
        (None, None) => "command",
    };
    origin.job(wanted).map_err(|error| (key, error))
}

/// A command runs where the config file lies.
fn work(table: &ScheduleTable, config: &Config) -> Result<Work, AtKey> {
    let program = match (&table.kind, &table.command, &table.shell) {
        (Some(kind), None, None) => {
            for (key, is_given) in [
                ("input", table.input.is_some()),
                ("env", !table.env.is_empty()),
                ("output_limit", table.output_limit.is_some()),
            ] {
                if is_given {
                    let error =
                        CliError::usage("it goes with 'command' or 'shell', not with 'kind'");
                    return Err((key, error));
                }
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
            return Err((
                "kind",
                error.with_hint("one of the three says what the job is"),
            ));
        }
        _ => {
            let error = CliError::usage("kind, command and shell do not go together");
            return Err((
                "kind",
                error.with_hint("one of the three says what the job is"),
            ));
        }
    };
    if table.payload.is_some() {
        let error = CliError::usage("only the job of a kind has one");
        return Err(("payload", error));
    }
    let folder = config.folder.as_ref();
    Ok(Work::Exec(CommandRequest {
        program,
        cwd: folder.and_then(|folder| folder.to_str()).map(str::to_owned),
        env: EnvRequest {
            items: table.env.clone(),
            unset: Unset::LeaveOut,
        },
        output_limit: table.output_limit,
        input: table.input.clone().map(String::into_bytes),
        fail_on: None,
    }))
}
