//! The tables of `jobq.toml` and their keys.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use jobq::api::environ::EnvItem;
use jobq::api::options::{self, with_job_options};
use jobq::api::text::shell_word;
use jobq::handlers::built_in::BuiltInKind;
use jobq::handlers::exec::PersistentOptions;
use jobq::handlers::secrets::Secrets;
use jobq::{
    HookTrigger, JobOptions, Missed, Overlap, Queue, QueueLimits, QueueLimitsUpdate, Rate,
    RetryPolicy, Update,
};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::cli::exit::{CliError, CliResult};
use crate::cli::input::limits;
use crate::cli::render::text::toml_key;

/// How many jobs a runner may run at a time.
pub(crate) const WORKERS: RangeInclusive<usize> = 1..=1024;

/// How long final jobs are kept, and how often the old ones are removed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetentionTable {
    #[serde(default, deserialize_with = "options::duration")]
    pub(crate) completed: Option<Duration>,
    /// Cancelled ones too.
    #[serde(default, deserialize_with = "options::duration")]
    pub(crate) failed: Option<Duration>,
    #[serde(default, deserialize_with = "options::duration")]
    pub(crate) every: Option<Duration>,
}

with_job_options! {
    /// For jobs that do not say it themselves.
    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct DefaultsTable {
        /// Variables for commands, from the environment of the process that enqueues; for the commands of
        /// kinds, from the runner's.
        #[serde(default)]
        pub(crate) env: Vec<EnvItem>,
        /// How much of a command's output is kept.
        #[serde(default, deserialize_with = "limits::output_limit")]
        pub(crate) output_limit: Option<u64>,
        /// For queues without a limit of their own.
        pub(crate) max_queue_size: Option<u64>,
    }
}

impl DefaultsTable {
    /// The library's defaults where these say nothing.
    pub(crate) fn retry(&self) -> RetryPolicy {
        let options = JobOptions {
            max_retries: self.retries,
            backoff: self.backoff,
            retry_delay: self.retry_delay,
            retry_delays: self.retry_delays.clone(),
            jitter: self.jitter.map(options::jitter),
            ..JobOptions::default()
        };
        options.retry_policy(&RetryPolicy::default())
    }
}

with_job_options! {
    /// Options of all jobs of a kind.
    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct KindTable {
        /// The handler: this command, with the payload on its stdin.
        pub(crate) command: Option<Vec<String>>,
        /// Whether the command's processes stay for further jobs, and for how long.
        #[serde(default, deserialize_with = "persistent")]
        pub(crate) persistent: Option<PersistentTable>,
        /// Variables for the command, from the runner's environment.
        #[serde(default)]
        pub(crate) env: Vec<EnvItem>,
        /// Variables for the command with secrets in them: their names, and those of the secrets.
        #[serde(default)]
        pub(crate) secrets: BTreeMap<String, String>,
        /// How much of the command's output is kept.
        #[serde(default, deserialize_with = "limits::output_limit")]
        pub(crate) output_limit: Option<u64>,
        /// Maximum number of its jobs that run at once in a runner.
        pub(crate) concurrency: Option<usize>,
        pub(crate) retention: Option<KindRetentionTable>,
        /// Of the handler, where it is a built-in one.
        #[serde(default, deserialize_with = "settings")]
        pub(crate) settings: Option<serde_json::Value>,
    }
}

/// Kinds with a handler of their own in every runner, and nothing to set.
const FIXED_KINDS: [&str; 2] = ["exec", jobq::GROUP_KIND];

impl KindTable {
    pub(crate) fn check(&self, name: &str, secrets: &Secrets) -> CliResult<()> {
        let refused = |why: String| Err(CliError::usage(why));
        if self.concurrency == Some(0) {
            return refused("concurrency must be at least 1".to_owned());
        }
        let is_built_in = BuiltInKind::named(name).is_some();
        if FIXED_KINDS.contains(&name) || is_built_in && self.command.is_some() {
            let error = CliError::usage(format!("the kind {name} is built in"));
            return Err(error.with_hint("give your handler a kind with another name"));
        }
        let for_commands = [
            ("env", !self.env.is_empty()),
            ("output_limit", self.output_limit.is_some()),
            ("persistent", self.persistent.is_some()),
            ("secrets", !self.secrets.is_empty()),
        ];
        let given = for_commands.iter().find(|(_, is_given)| *is_given);
        if let Some((key, _)) = given.filter(|_| self.command.is_none()) {
            return refused(format!("{key}: it goes with 'command', and there is none"));
        }
        if self.settings.is_some() && self.command.is_some() {
            let why = "settings: they are for a built-in handler, not for a command";
            return refused(why.to_owned());
        }
        let is_known = |secret: &str| secrets.names().any(|name| name == secret);
        if let Some(secret) = self.secrets.values().find(|name| !is_known(name)) {
            return refused(format!("secrets: there is no '{secret}' in [secrets]"));
        }
        let program = self.command.as_ref().map(|command| command.first());
        if matches!(program, Some(first) if first.is_none_or(String::is_empty)) {
            return refused("the command is empty".to_owned());
        }
        Ok(())
    }
}

/// How long the processes of a kind's command stay; what is not said is as usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersistentTable {
    max_jobs: Option<u64>,
    #[serde(default, deserialize_with = "limits::max_rss")]
    max_rss: Option<u64>,
    #[serde(default, deserialize_with = "options::duration")]
    idle: Option<Duration>,
    #[serde(default, deserialize_with = "options::duration")]
    start_timeout: Option<Duration>,
}

impl PersistentTable {
    pub(crate) fn options(&self) -> PersistentOptions {
        let mut options = PersistentOptions::new();
        if let Some(jobs) = self.max_jobs {
            options = options.max_jobs(jobs);
        }
        if let Some(bytes) = self.max_rss {
            options = options.max_rss(bytes);
        }
        if let Some(idle) = self.idle {
            options = options.idle(idle);
        }
        if let Some(timeout) = self.start_timeout {
            options = options.start_timeout(timeout);
        }
        options
    }
}

/// `true`, `false`, or the table.
fn persistent<'de, D: Deserializer<'de>>(value: D) -> Result<Option<PersistentTable>, D::Error> {
    match toml::Value::deserialize(value)? {
        toml::Value::Boolean(is) => Ok(is.then(PersistentTable::default)),
        value => {
            let table = PersistentTable::deserialize(value).map_err(D::Error::custom)?;
            match table.max_jobs {
                Some(0) => Err(D::Error::custom("max_jobs must be at least 1")),
                _ => Ok(Some(table)),
            }
        }
    }
}

/// How long final jobs of a kind are kept, where that is not what `[retention]` says.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KindRetentionTable {
    #[serde(default, deserialize_with = "options::duration")]
    pub(crate) completed: Option<Duration>,
    /// Cancelled ones too.
    #[serde(default, deserialize_with = "options::duration")]
    pub(crate) failed: Option<Duration>,
}

/// What a `[queues.NAME]` section of the config file says; what it leaves out stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueueTable {
    concurrency: Option<u32>,
    #[serde(default, deserialize_with = "limits::rate_of_config")]
    rate: Option<Rate>,
    max_size: Option<u64>,
    weight: Option<u32>,
}

impl QueueTable {
    pub(crate) fn change(&self) -> QueueLimitsUpdate {
        QueueLimitsUpdate {
            concurrency: change(self.concurrency),
            rate: change(self.rate),
            max_size: change(self.max_size),
            weight: change(self.weight),
        }
    }

    /// The error names the table and the key.
    pub(crate) fn check(&self, name: &str) -> CliResult<()> {
        let table = format!("[queues.{}]", toml_key(name));
        let keep = QueueLimitsUpdate::default();
        keep.check(name)
            .map_err(|error| CliError::from(error).context(&table))?;
        let QueueLimitsUpdate {
            concurrency,
            rate,
            max_size,
            weight,
        } = self.change();
        for (key, alone) in [
            (
                "concurrency",
                QueueLimitsUpdate {
                    concurrency,
                    ..keep
                },
            ),
            ("rate", QueueLimitsUpdate { rate, ..keep }),
            ("max_size", QueueLimitsUpdate { max_size, ..keep }),
            ("weight", QueueLimitsUpdate { weight, ..keep }),
        ] {
            alone.check(name).map_err(|error| {
                CliError::from(error).context(&table).with_hint(format!(
                    "leave {key} out to set none; `jobq pause {}` lets nothing of the queue start",
                    shell_word(name)
                ))
            })?;
        }
        Ok(())
    }

    /// Whether the database has another value for something that is said here.
    pub(crate) fn differs_from(&self, now: &QueueLimits) -> bool {
        // The database knows milliseconds.
        let in_ms = |rate: Rate| (rate.jobs, rate.per.as_millis());
        let differs = |said: Option<u64>, now: Option<u64>| said.is_some() && said != now;
        differs(
            self.concurrency.map(u64::from),
            now.concurrency.map(u64::from),
        ) || self.rate.is_some() && self.rate.map(in_ms) != now.rate.map(in_ms)
            || differs(self.max_size, now.max_size)
            || differs(self.weight.map(u64::from), Some(u64::from(now.weight)))
    }
}

/// Brings the limits of the config file into the database. Where they are there already it only reads.
pub(crate) fn sync_limits(queue: &Queue, declared: &BTreeMap<String, QueueTable>) -> CliResult<()> {
    let known = queue.queues()?;
    for (name, limits) in declared {
        let known = known.iter().find(|known| known.name == *name);
        if known.is_none_or(|known| limits.differs_from(&known.limits)) {
            queue.set_limits(name, limits.change())?;
        }
    }
    Ok(())
}

fn change<T>(value: Option<T>) -> Update<T> {
    value.map_or(Update::Keep, Update::Set)
}

with_job_options! {
    /// A schedule with its job, as the file has it.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct ScheduleTable {
        pub(crate) cron: String,
        pub(crate) timezone: Option<String>,
        #[serde(default)]
        pub(crate) missed: Missed,
        #[serde(default)]
        pub(crate) overlap: Overlap,
        /// One of these three says what the job is.
        kind: Option<String>,
        command: Option<Vec<String>>,
        shell: Option<String>,
        /// What the command reads from stdin.
        input: Option<String>,
        /// Variables for the command, from the environment of the runner that declares the schedule.
        #[serde(default)]
        env: Vec<EnvItem>,
        /// How much of the command's output is kept.
        #[serde(default, deserialize_with = "limits::output_limit")]
        output_limit: Option<u64>,
        /// Of a kind's job; null where nothing is said.
        #[serde(default, deserialize_with = "payload")]
        payload: Option<serde_json::Value>,
    }
}

with_job_options! {
    /// A hook of runners with this config file, with its job.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct HookTable {
        /// Only for jobs of these kinds; of all if empty.
        #[serde(default)]
        pub(crate) kinds: Vec<String>,
        /// Only for jobs of these queues; of all if empty.
        #[serde(default)]
        pub(crate) queues: Vec<String>,
        kind: Option<String>,
        command: Option<Vec<String>>,
        shell: Option<String>,
        input: Option<String>,
        #[serde(default)]
        env: Vec<EnvItem>,
        #[serde(default, deserialize_with = "limits::output_limit")]
        output_limit: Option<u64>,
        /// Of a kind's job; the event where nothing is said.
        #[serde(default, deserialize_with = "payload")]
        payload: Option<serde_json::Value>,
    }
}

/// The hooks of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HooksTable {
    completed: Option<HookTable>,
    failed: Option<HookTable>,
    ended: Option<HookTable>,
    batch_done: Option<HookTable>,
}

impl HooksTable {
    pub(crate) fn each(&self) -> impl Iterator<Item = (HookTrigger, &HookTable)> {
        let all = [
            (HookTrigger::Completed, &self.completed),
            (HookTrigger::Failed, &self.failed),
            (HookTrigger::Ended, &self.ended),
            (HookTrigger::BatchDone, &self.batch_done),
        ];
        let all = all.into_iter();
        all.filter_map(|(trigger, table)| Some((trigger, table.as_ref()?)))
    }
}

/// What a table says of its job, besides the options.
pub(crate) struct JobFields<'a> {
    pub(crate) kind: Option<&'a str>,
    pub(crate) command: Option<&'a [String]>,
    pub(crate) shell: Option<&'a str>,
    pub(crate) input: Option<&'a str>,
    pub(crate) env: &'a [EnvItem],
    pub(crate) output_limit: Option<u64>,
    pub(crate) payload: Option<&'a serde_json::Value>,
}

/// The fields of a table that has them all.
macro_rules! job_fields {
    ($Table:ident) => {
        impl $Table {
            pub(crate) fn job(&self) -> JobFields<'_> {
                JobFields {
                    kind: self.kind.as_deref(),
                    command: self.command.as_deref(),
                    shell: self.shell.as_deref(),
                    input: self.input.as_deref(),
                    env: &self.env,
                    output_limit: self.output_limit,
                    payload: self.payload.as_ref(),
                }
            }
        }
    };
}

job_fields!(ScheduleTable);
job_fields!(HookTable);

fn payload<'de, D: Deserializer<'de>>(value: D) -> Result<Option<serde_json::Value>, D::Error> {
    let value = toml::Value::deserialize(value)?;
    json(value, "payload").map(Some).map_err(D::Error::custom)
}

fn settings<'de, D: Deserializer<'de>>(value: D) -> Result<Option<serde_json::Value>, D::Error> {
    let value = toml::Value::deserialize(value)?;
    json(value, "settings").map(Some).map_err(D::Error::custom)
}

/// A value as a handler gets it. JSON has no dates, which become text, and knows finite numbers only.
fn json(value: toml::Value, at: &str) -> Result<serde_json::Value, String> {
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) if number.is_finite() => number.into(),
        toml::Value::Float(number) => {
            return Err(format!("{at}: {number} is not a number in JSON"));
        }
        toml::Value::Boolean(is) => is.into(),
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(values) => {
            let values = values.into_iter().enumerate();
            let values = values.map(|(number, value)| json(value, &format!("{at}[{number}]")));
            values.collect::<Result<Vec<_>, _>>()?.into()
        }
        toml::Value::Table(table) => {
            let fields = table.into_iter().map(|(key, value)| {
                let value = json(value, &format!("{at}.{key}"))?;
                Ok((key, value))
            });
            serde_json::Value::Object(fields.collect::<Result<_, String>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(payload: &str) -> Result<Option<serde_json::Value>, toml::de::Error> {
        let table = format!("cron = '@daily'\nkind = 'k'\npayload = {payload}");
        toml::from_str::<ScheduleTable>(&table).map(|table| table.payload)
    }

    #[test]
    fn a_date_in_a_payload_is_text() {
        for (date, text) in [
            ("2026-01-01", "2026-01-01"),
            ("07:32:00", "07:32:00"),
            ("2026-01-01T07:32:00Z", "2026-01-01T07:32:00Z"),
        ] {
            assert_eq!(read(date).unwrap(), Some(json!(text)));
        }
        assert_eq!(
            read("{ from = 2026-01-01, days = [1, 2.5, true, 'x'] }").unwrap(),
            Some(json!({ "from": "2026-01-01", "days": [1, 2.5, true, "x"] }))
        );
    }

    #[test]
    fn a_number_that_json_has_not_is_named_by_its_key() {
        for (payload, why) in [
            ("nan", "payload: NaN is not a number"),
            (
                "{ most = [1.0, inf] }",
                "payload.most[1]: inf is not a number",
            ),
            ("{ a = { b = -inf } }", "payload.a.b: -inf is not a number"),
        ] {
            let error = read(payload).unwrap_err();
            assert!(error.message().contains(why), "{}", error.message());
        }
    }

    #[test]
    fn a_limit_that_the_file_does_not_mention_does_not_differ() {
        let now = QueueLimits {
            concurrency: Some(2),
            rate: Some(jobq::api::values::rate("10/1ms").unwrap()),
            max_size: None,
            weight: 3,
        };
        let said = |text: &str| toml::from_str::<QueueTable>(text).unwrap();
        for same in ["", "concurrency = 2", "rate = '10/1500us'", "weight = 3"] {
            assert!(!said(same).differs_from(&now), "{same}");
        }
        for other in [
            "concurrency = 1",
            "rate = '10/1s'",
            "max_size = 4",
            "weight = 1",
        ] {
            assert!(said(other).differs_from(&now), "{other}");
        }
    }
}
