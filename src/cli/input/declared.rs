//! The schedules and hooks of the config file. A runner brings schedules into the database when it starts; its hooks it has
//! in memory.

use std::fs::Metadata;
use std::path::Path;
use std::sync::Arc;

use jobq::api::environ::Unset;
use jobq::api::job_request::{CommandRequest, EnvRequest, JobRequest, Work};
use jobq::api::options;
use jobq::api::text::shell_word;
use jobq::handlers::exec::{EXEC, Program};
use jobq::{Hook, NewJob, Queue, Schedule, ScheduleOrigin, ScheduleRecord, SchedulesSynced};

use crate::cli::clock::now;
use crate::cli::exit::{CliError, CliResult};
use crate::cli::input::config::Config;
use crate::cli::input::config::tables::{HookTable, JobFields, ScheduleTable};
use crate::cli::input::config::usual::check_table;
use crate::cli::input::origin::Origin;
use crate::cli::render::screen::Screen;
use crate::cli::render::text::toml_key;

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
    let options = table
        .options()
        .map_err(|error| ("unique", CliError::from(error)))?;
    let job = table.job();
    let usual = config.usual.of_kind(job.kind.unwrap_or(EXEC));
    check_table(&options::fill_in(options.clone(), usual))?;
    let wanted = JobRequest {
        work: work(&job, ("null", config))?,
        options,
    };
    let error_at = |error| (key_of(&job), error);
    origin.job(wanted).map_err(error_at)
}

/// The hooks of the file. The error names the file, the table and the key.
pub(crate) fn hooks(config: &Arc<Config>) -> CliResult<Vec<Hook>> {
    let mut hooks = config.hooks.each().peekable();
    if hooks.peek().is_none() {
        return Ok(Vec::new());
    }
    let origin = Origin::here(Arc::clone(config))?;
    let declared = hooks.map(|(trigger, table)| {
        let at = |key: &str| format!("[hooks.{trigger}] {key}");
        let job = hook_job(table, &origin, config);
        let job = job.map_err(|(key, error)| config.refused(error.context(at(key).trim_end())))?;
        let hook = Hook::new(trigger, job);
        Ok(hook.kinds(&table.kinds).queues(&table.queues))
    });
    declared.collect()
}

fn hook_job(table: &HookTable, origin: &Origin, config: &Config) -> Result<NewJob, AtKey> {
    let options = table
        .options()
        .map_err(|error| ("unique", CliError::from(error)))?;
    check_table(&options)?;
    let job = table.job();
    let wanted = JobRequest {
        work: work(&job, (WHOLE_EVENT, config))?,
        options,
    };
    origin
        .hook_job(wanted)
        .map_err(|error| (key_of(&job), error))
}

/// The payload of a hook's job that is given none.
const WHOLE_EVENT: &str = r#""{hook}""#;

/// The key that an error is about.
fn key_of(job: &JobFields<'_>) -> &'static str {
    match (job.kind, job.shell) {
        (Some(_), _) => "payload",
        (None, Some(_)) => "shell",
        (None, None) => "command",
    }
}

/// A command runs where the config file lies. The job of a kind has this payload if it is given none.
fn work(job: &JobFields<'_>, (payload, config): (&str, &Config)) -> Result<Work, AtKey> {
    let program = match (job.kind, job.command, job.shell) {
        (Some(kind), None, None) => {
            for (key, is_given) in [
                ("input", job.input.is_some()),
                ("env", !job.env.is_empty()),
                ("output_limit", job.output_limit.is_some()),
            ] {
                if is_given {
                    let error =
                        CliError::usage("it goes with 'command' or 'shell', not with 'kind'");
                    return Err((key, error));
                }
            }
            let given = job.payload.map(ToString::to_string);
            return Ok(Work::Kind {
                kind: kind.to_owned(),
                payload: given.unwrap_or_else(|| payload.to_owned()),
            });
        }
        (None, Some(argv), None) => Program::Argv(argv.to_owned()),
        (None, None, Some(text)) => Program::Shell(text.to_owned()),
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
    if job.payload.is_some() {
        let error = CliError::usage("only the job of a kind has one");
        return Err(("payload", error));
    }
    let folder = config.folder.as_ref();
    Ok(Work::Exec(CommandRequest {
        program,
        cwd: folder.and_then(|folder| folder.to_str()).map(str::to_owned),
        env: EnvRequest {
            items: job.env.to_owned(),
            unset: Unset::LeaveOut,
        },
        output_limit: job.output_limit,
        input: job.input.map(|text| text.as_bytes().to_owned()),
        fail_on: None,
    }))
}
