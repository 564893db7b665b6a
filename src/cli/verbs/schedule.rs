//! `jobq schedule`.

use std::sync::Arc;

use clap::{Arg, Args, Subcommand};
use jiff::Zoned;
use jobq::api::json::Time;
use jobq::api::schedule::ScheduleJson;
use jobq::api::time::{relative, rfc3339};
use jobq::nearest::nearest;
use jobq::{Missed, Overlap, Schedule, ScheduleChange, ScheduleRecord, next_slots};
use serde::Serialize;

use crate::cli::clock::{local_zone_has_name, now};
use crate::cli::exit::{CliError, CliResult, Exit};
use crate::cli::input::origin::Origin;
use crate::cli::input::{declared, payload, values};
use crate::cli::render::enqueued;
use crate::cli::render::schedule::{COLUMNS, row};
use crate::cli::render::table::{Cell, Column, Fit, Rows};
use crate::cli::session::Session;
use crate::cli::verbs::enqueue::{self, EnqueueArgs};

#[derive(Debug, Args)]
pub(crate) struct ScheduleArgs {
    #[command(subcommand)]
    pub(crate) verb: ScheduleVerb,
}

// The commands on schedules.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ScheduleVerb {
    /// Add a schedule, or change the one of this name
    Add(Box<ScheduleAddArgs>),
    /// List the schedules
    List,
    /// Remove schedules; their jobs stay
    Remove(ScheduleNamesArgs),
    /// Pause schedules: their slots pass without a job
    Pause(ScheduleNamesArgs),
    /// Resume schedules with their next slot
    Resume(ScheduleNamesArgs),
    /// Enqueue the job of a schedule now; its slots stay as they are
    Run(ScheduleNamesArgs),
    /// Show the next times of a rule or a schedule
    Next(ScheduleNextArgs),
}

#[derive(Debug, Args)]
#[command(
    mut_args(hide_what_comes_once),
    mut_group("what", |what| what.required(false)),
    override_usage = "\
jobq schedule add [OPTIONS] NAME CRON -- CMD ARG...
       jobq schedule add [OPTIONS] NAME CRON --shell TEXT
       jobq schedule add [OPTIONS] NAME CRON --kind KIND [--payload JSON|@FILE|-]",
    after_help = "\
CRON has five fields (minute, hour, day of the month, month, weekday) or six (a second in front),
with names, lists, ranges, steps, L, 15W and MON#2; or it is @yearly, @monthly, @weekly, @daily,
@midnight, @hourly, or '@every 10m'. When summer time begins or ends, a skipped time of day
fires right after the gap, and a repeated one fires once; rules with a wildcard in the minute or the
hour follow the wall clock.

Examples:
  jobq schedule add nightly '0 2 * * *' --tz Europe/Berlin -- ./backup.sh
  jobq schedule add sales '30 7 * * MON-FRI' --kind report --payload '{\"name\":\"sales\"}' --missed skip
  jobq schedule add poll '@every 10m' --overlap skip --shell 'curl -fsS localhost/poll'"
)]
pub(crate) struct ScheduleAddArgs {
    /// Its name
    pub(crate) name: String,
    /// When its jobs are enqueued
    pub(crate) cron: String,
    /// The time zone, like Europe/Berlin [default: the system's]
    #[arg(long = "tz", value_name = "ZONE")]
    pub(crate) timezone: Option<String>,
    /// What happens to slots that passed while no runner was active: skip them, one job for all, or a
    /// job for each of the last 100
    #[arg(long, value_name = "POLICY", default_value = "once", value_parser = values::missed())]
    pub(crate) missed: Missed,
    /// What happens at a slot while the last job has not ended: allow another one, or skip it
    #[arg(long, value_name = "POLICY", default_value = "allow", value_parser = values::overlap())]
    pub(crate) overlap: Overlap,
    #[command(flatten)]
    pub(crate) job: EnqueueArgs,
}

/// Options that make sense only once, which a schedule's recurring job cannot have; they are refused.
fn hide_what_comes_once(arg: Arg) -> Arg {
    const ONCE: [&str; 11] = [
        "batch",
        "chunk",
        "delay",
        "at",
        "after",
        "after_any",
        "parent",
        "traceparent",
        "wait",
        "follow",
        "wait_timeout",
    ];
    let hidden = ONCE.contains(&arg.get_id().as_str());
    if hidden { arg.hide(true) } else { arg }
}

#[derive(Debug, Args)]
pub(crate) struct ScheduleNamesArgs {
    /// The schedules
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ScheduleNextArgs {
    /// The rule, or a schedule's name
    #[arg(value_name = "CRON|NAME")]
    pub(crate) rule: String,
    /// The time zone, like Europe/Berlin [default: the system's]
    #[arg(long = "tz", value_name = "ZONE")]
    pub(crate) timezone: Option<String>,
    /// How many slots
    #[arg(short, long = "number", value_name = "N", default_value_t = 5)]
    pub(crate) number: usize,
}

pub(crate) fn run(args: &ScheduleArgs, session: &Session) -> CliResult {
    match &args.verb {
        ScheduleVerb::Add(args) => add(args, session),
        ScheduleVerb::List => list(session),
        ScheduleVerb::Remove(args) => each(&args.names, session, |name| {
            let queue = session.queue()?;
            let known = queue.schedule(name)?;
            queue.remove_schedule(name)?;
            if let Some(file) = known.as_ref().and_then(still_declared_by) {
                session.screen.hint(format_args!(
                    "{file} declares it: the next `jobq run` with that file adds it again"
                ));
            }
            Ok((
                "removed",
                format!("schedule '{name}' removed; its jobs stay"),
            ))
        }),
        ScheduleVerb::Pause(args) => each(&args.names, session, |name| {
            Ok(match session.queue()?.pause_schedule(name)? {
                true => ("paused", format!("schedule '{name}' paused")),
                false => ("unchanged", format!("schedule '{name}' was paused already")),
            })
        }),
        ScheduleVerb::Resume(args) => each(&args.names, session, |name| {
            Ok(match session.queue()?.resume_schedule(name)? {
                true => (
                    "resumed",
                    format!("schedule '{name}' resumed{}", next_of(name, session)?),
                ),
                false => ("unchanged", format!("schedule '{name}' was not paused")),
            })
        }),
        ScheduleVerb::Run(args) => run_now(&args.names, session),
        ScheduleVerb::Next(args) => next(args, session),
    }
}

/// The config file that has it, where one does.
fn still_declared_by(schedule: &ScheduleRecord) -> Option<&str> {
    let file = schedule.declared_by.as_deref()?;
    declared::lost(schedule).is_none().then_some(file)
}

/// The result of a change to a schedule.
#[derive(Serialize)]
struct ChangedScheduleJson<'a> {
    name: &'a str,
    result: &'a str,
}

/// Does `act` to each of them; one that is missing does not stop the rest.
fn each(
    names: &[String],
    session: &Session,
    act: impl Fn(&str) -> jobq::Result<(&'static str, String)>,
) -> CliResult {
    let mut exit = Exit::Done;
    for name in names {
        match act(name) {
            Ok((result, said)) => session
                .output
                .line(&ChangedScheduleJson { name, result }, said)?,
            Err(error) if error.is_not_found() => {
                missing(name, session)?.print();
                exit = Exit::NotFound;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(exit)
}

/// There is no such schedule; perhaps one whose name is nearly the same.
fn missing(name: &str, session: &Session) -> jobq::Result<CliError> {
    let known = session.queue()?.schedules()?;
    let names = known.iter().map(|schedule| schedule.name.as_str());
    let error = CliError::not_found(format!("no schedule '{name}'"));
    Ok(match nearest(name, names) {
        Some(meant) => error.with_hint(format!("did you mean '{meant}'?")),
        None => error.with_hint("`jobq schedule list` shows them"),
    })
}

fn add(args: &ScheduleAddArgs, session: &Session) -> CliResult {
    if args.job.batch.is_some() {
        return Err(
            CliError::usage("a schedule has one job, and no --batch of them")
                .with_hint("let its job enqueue them: --shell 'jobq enqueue --batch jobs.jsonl'"),
        );
    }
    if args.job.each.list.is_some() {
        return Err(
            CliError::usage("a schedule has one job, and no --each of them").with_hint(
                "let its job enqueue them: --shell 'ls *.jpg | jobq enqueue --each -- CMD {}'",
            ),
        );
    }
    if args.job.one.wait || args.job.one.follow {
        return Err(
            CliError::usage("a schedule has no job yet that could be waited for")
                .with_hint("`jobq schedule run NAME` enqueues one now"),
        );
    }
    // clap would name --batch among what is missing.
    if args.job.command.is_empty() && args.job.shell.is_none() && args.job.kind.is_none() {
        return Err(
            CliError::usage("a schedule needs a job: a command, --shell or --kind")
                .with_hint("jobq schedule add NAME CRON -- CMD ARG…"),
        );
    }
    let options = enqueue::options(&args.job, session)?;
    let env = payload::variables(&args.job.env, args.job.env_all)?;
    let origin = Origin::here(Arc::clone(&session.config))?
        .usual(options)
        .env(&env, &session.screen)?;
    let job = origin.job(enqueue::wanted(&args.job)?)?;
    let mut schedule = Schedule::new(&args.name, &args.cron, job)
        .missed(args.missed)
        .overlap(args.overlap);
    if let Some(zone) = &args.timezone {
        schedule = schedule.timezone(zone);
    }
    let change = session.queue()?.add_schedule(schedule)?;
    let name = &args.name;
    let (result, did) = match change {
        ScheduleChange::Added => ("added", "added"),
        ScheduleChange::Changed => ("changed", "changed"),
        ScheduleChange::Unchanged => ("unchanged", "is as it was"),
    };
    let said = format!("schedule '{name}' {did}{}", next_of(name, session)?);
    session
        .output
        .line(&ChangedScheduleJson { name, result }, said)?;
    hint_at_utc(&args.cron, args.timezone.as_deref(), session);
    session.hint_at_run();
    Ok(Exit::Done)
}

/// A time of day in UTC may not be what was meant. An interval knows no time of day.
fn hint_at_utc(rule: &str, timezone: Option<&str>, session: &Session) {
    if timezone.is_none() && !rule.starts_with("@every") && !local_zone_has_name() {
        session.screen.hint(
            "the system's time zone has no name, so UTC is meant: --tz Europe/Berlin names one",
        );
    }
}

/// When it comes next, for the end of a sentence.
fn next_of(name: &str, session: &Session) -> jobq::Result<String> {
    let schedule = session.queue()?.schedule(name)?;
    let paused = schedule
        .as_ref()
        .is_some_and(|schedule| schedule.paused_at.is_some());
    let next_at = schedule.and_then(|schedule| schedule.next_at);
    Ok(match next_at {
        _ if paused => "; it is paused".to_owned(),
        Some(at) => format!("; next {}, {}", rfc3339(at), relative(at, now())),
        None => String::new(),
    })
}

fn run_now(names: &[String], session: &Session) -> CliResult {
    session.sync_limits()?;
    let mut exit = Exit::Done;
    let mut enqueued_any = false;
    for name in names {
        match session.queue()?.run_schedule(name) {
            Ok(enqueued) => {
                enqueued::print(&enqueued, session)?;
                enqueued_any = true;
            }
            Err(error) if error.is_not_found() => {
                missing(name, session)?.print();
                exit = Exit::NotFound;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if enqueued_any {
        session.hint_at_run();
    }
    Ok(exit)
}

fn list(session: &Session) -> CliResult {
    let (mut rows, now) = (Rows::new(&session.output, &COLUMNS), now());
    for schedule in &session.queue()?.schedules()? {
        rows.push(&ScheduleJson(schedule), || row(schedule, now))?;
    }
    rows.finish()?;
    Ok(Exit::Done)
}

/// A slot to come.
#[derive(Serialize)]
struct SlotJson<'a> {
    at: Time,
    /// With its offset: `2026-03-29T03:00:00+02:00`.
    local: &'a str,
    timezone: &'a str,
}

const SLOT_COLUMNS: [Column; 3] = [
    ("LOCAL", Fit::Whole),
    ("UTC", Fit::Whole),
    ("IN", Fit::Whole),
];

/// Of a rule, which has several words or an @, or of the schedule of that name.
fn slots_to_come(args: &ScheduleNextArgs, session: &Session) -> CliResult<Vec<Zoned>> {
    let rule = &args.rule;
    if rule.starts_with('@') || rule.contains(char::is_whitespace) {
        let zone = args.timezone.as_deref();
        let slots = next_slots(rule, zone, now(), args.number)?;
        hint_at_utc(rule, zone, session);
        return Ok(slots);
    }
    let Some(schedule) = session.queue()?.schedule(rule)? else {
        return Err(missing(rule, session)?);
    };
    let zone = &schedule.timezone;
    if args.timezone.is_some() {
        return Err(
            CliError::usage(format!("schedule '{rule}' has a time zone, {zone}"))
                .with_hint("leave out --tz, or give the rule itself"),
        );
    }
    if schedule.paused_at.is_some() {
        let goes_on = format!("it is paused: `jobq schedule resume {rule}`");
        session.screen.hint(goes_on);
    }
    Ok(schedule.next_slots(args.number)?)
}

fn next(args: &ScheduleNextArgs, session: &Session) -> CliResult {
    let slots = slots_to_come(args, session)?;
    let (mut rows, now) = (Rows::new(&session.output, &SLOT_COLUMNS), now());
    for slot in &slots {
        let (at, local) = (slot.timestamp(), with_offset(slot));
        let json = SlotJson {
            at: Time(at),
            local: &local,
            timezone: slot.time_zone().iana_name().unwrap_or("UTC"),
        };
        rows.push(&json, || {
            let shown = slot.strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string();
            vec![
                Cell::either(shown, &local),
                Cell::new(rfc3339(at)),
                Cell::new(relative(at, now)),
            ]
        })?;
    }
    rows.finish()?;
    Ok(Exit::Done)
}

fn with_offset(slot: &Zoned) -> String {
    slot.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}
