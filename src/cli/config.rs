//! `jobq.toml`.

pub(crate) mod reference;
mod schedules;
mod source;
#[cfg(test)]
mod tests;
mod trust;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jobq::handlers::exec::MAX_OUTPUT_LIMIT_BYTES;
use jobq::{Backoff, Durability, RetryPolicy};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

pub(crate) use schedules::ScheduleTable;
pub(crate) use source::Sources;

use super::args::{Unknown, WORKERS};
use super::environ::EnvItem;
use super::exit::{CliError, CliResult};
use super::limits::{self, LimitedQueue};
use super::nearest::UnknownKey;
use super::options::{self, Options};
use super::parse;

/// What the config file says; everything may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The database; relative paths are relative to the config file's folder.
    pub(crate) db: Option<PathBuf>,
    pub(crate) workers: Option<usize>,
    /// How long a runner may take to stop.
    #[serde(default, deserialize_with = "duration")]
    pub(crate) stop_timeout: Option<Duration>,
    durability: Option<DurabilityName>,
    #[serde(default)]
    pub(crate) allow_network_fs: bool,
    pub(crate) unknown_kinds: Option<Unknown>,
    #[serde(default)]
    pub(crate) retention: Retention,
    #[serde(default)]
    pub(crate) defaults: Defaults,
    #[serde(default)]
    pub(crate) kinds: BTreeMap<String, Kind>,
    #[serde(default)]
    pub(crate) schedules: BTreeMap<String, ScheduleTable>,
    #[serde(default)]
    pub(crate) queues: BTreeMap<String, LimitedQueue>,
    /// The database may use so much of the disk, in bytes.
    #[serde(default, deserialize_with = "limits::size")]
    pub(crate) max_file_size: Option<u64>,
    /// The file, as messages name it.
    #[serde(skip)]
    pub(crate) path: PathBuf,
    /// The file by its one name, which tells it from every other: what it declares belongs to it.
    #[serde(skip)]
    pub(crate) canonical: Option<PathBuf>,
    /// The state of the file before it was read.
    #[serde(skip)]
    pub(crate) stamp: Stamp,
    /// Where the file lies: its handlers' commands run there.
    #[serde(skip)]
    pub(crate) folder: Option<PathBuf>,
}

/// How long final jobs are kept, and how often the old ones are removed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retention {
    #[serde(default, deserialize_with = "duration")]
    pub(crate) completed: Option<Duration>,
    /// Cancelled ones too.
    #[serde(default, deserialize_with = "duration")]
    pub(crate) failed: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    pub(crate) every: Option<Duration>,
}

/// For jobs that do not say it themselves.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Defaults {
    pub(crate) retries: Option<u32>,
    pub(crate) backoff: Option<Backoff>,
    #[serde(default, deserialize_with = "duration")]
    pub(crate) retry_delay: Option<Duration>,
    pub(crate) jitter: Option<bool>,
    #[serde(default, deserialize_with = "duration")]
    pub(crate) timeout: Option<Duration>,
    /// Variables for commands, from the environment of whoever enqueues; for the commands of kinds,
    /// from the runner's.
    #[serde(default)]
    pub(crate) env: Vec<EnvItem>,
    /// How much of a command's output is kept.
    #[serde(default, deserialize_with = "output_limit")]
    pub(crate) output_limit: Option<u64>,
    /// For queues without a limit of their own.
    pub(crate) max_queue_size: Option<u64>,
}

impl Defaults {
    /// The library's defaults where these say nothing.
    pub(crate) fn retry(&self) -> RetryPolicy {
        let usual = RetryPolicy::default();
        let backoff = self.backoff.unwrap_or(usual.backoff);
        RetryPolicy {
            max_retries: self.retries.unwrap_or(usual.max_retries),
            backoff,
            delay: self.retry_delay.unwrap_or(backoff.default_delay()),
            jitter: self.jitter.map_or(usual.jitter, options::jitter),
        }
    }
}

/// What goes for all jobs of a kind.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kind {
    /// The handler: this command, with the payload on its stdin.
    pub(crate) command: Option<Vec<String>>,
    #[serde(default, deserialize_with = "duration")]
    pub(crate) timeout: Option<Duration>,
    pub(crate) retries: Option<u32>,
    pub(crate) backoff: Option<Backoff>,
    #[serde(default, deserialize_with = "duration")]
    pub(crate) retry_delay: Option<Duration>,
    pub(crate) jitter: Option<bool>,
    /// Variables for the command, from the runner's environment.
    #[serde(default)]
    pub(crate) env: Vec<EnvItem>,
    /// How much of the command's output is kept.
    #[serde(default, deserialize_with = "output_limit")]
    pub(crate) output_limit: Option<u64>,
    /// So many of its jobs run at once in a runner.
    pub(crate) concurrency: Option<usize>,
    pub(crate) retention: Option<KindRetention>,
}

/// How long final jobs of a kind are kept, where that is not what `[retention]` says.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KindRetention {
    #[serde(default, deserialize_with = "duration")]
    pub(crate) completed: Option<Duration>,
    /// Cancelled ones too.
    #[serde(default, deserialize_with = "duration")]
    pub(crate) failed: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DurabilityName {
    Full,
    Normal,
}

/// Kinds that have a handler of their own in every runner.
const BUILT_IN_KINDS: [&str; 3] = ["exec", "sleep", jobq::GROUP_KIND];

/// The shortest time that a runner waits for.
const MOMENT: Duration = Duration::from_millis(1);

impl Config {
    /// Reads the file that was named, which must be there, or else the first of the usual ones that
    /// is there.
    pub(crate) fn load(named: Option<&Path>) -> CliResult<Config> {
        Sources::new(named).load()
    }

    fn of(text: &str, path: &Path, stamp: Stamp) -> CliResult<Config> {
        let mut config = Config::parse(text, path)?;
        config.stamp = stamp;
        config.path = path.to_owned();
        let path =
            std::path::absolute(path).map_err(|error| CliError::io(path.display(), &error))?;
        config.folder = path.parent().map(Path::to_owned);
        config.canonical = Some(std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone()));
        if let (Some(db), Some(folder)) = (&config.db, &config.folder) {
            config.db = Some(folder.join(db));
        }
        Ok(config)
    }

    fn parse(text: &str, path: &Path) -> CliResult<Config> {
        let config: Config = toml::from_str(text).map_err(|error| explain(&error, text, path))?;
        config
            .check()
            .map_err(|error| error.context(path.display()))?;
        Ok(config)
    }

    fn check(&self) -> CliResult<()> {
        if let Some(workers) = self.workers.filter(|workers| !WORKERS.contains(workers)) {
            return Err(CliError::usage(format!(
                "workers must be {} to {}, not {workers}",
                WORKERS.start(),
                WORKERS.end()
            )));
        }
        if self.retention.every.is_some_and(|every| every < MOMENT) {
            return Err(CliError::usage("[retention] every must be at least 1ms"));
        }
        if self.defaults.max_queue_size == Some(0) {
            return Err(CliError::usage("max_queue_size must be at least 1"));
        }
        for (name, limits) in &self.queues {
            limits.check(name)?;
        }
        for (name, kind) in &self.kinds {
            if kind.concurrency == Some(0) {
                return Err(CliError::usage(format!(
                    "[kinds.{name}]: concurrency must be at least 1"
                )));
            }
            if BUILT_IN_KINDS.contains(&name.as_str()) {
                return Err(CliError::usage(format!(
                    "[kinds.{name}]: the kind {name} is built in"
                ))
                .with_hint("give your handler a kind with another name"));
            }
            let for_commands = [
                ("env", !kind.env.is_empty()),
                ("output_limit", kind.output_limit.is_some()),
            ];
            let given = for_commands.iter().find(|(_, is_given)| *is_given);
            if let Some((key, _)) = given.filter(|_| kind.command.is_none()) {
                return Err(CliError::usage(format!(
                    "[kinds.{name}] {key}: it goes with 'command', and there is none"
                )));
            }
            let program = kind.command.as_ref().map(|command| command.first());
            if matches!(program, Some(first) if first.is_none_or(String::is_empty)) {
                return Err(CliError::usage(format!(
                    "[kinds.{name}]: the command is empty"
                )));
            }
        }
        Ok(())
    }

    /// What differs in `new` and goes for runners that are started later only.
    pub(crate) fn needs_restart(&self, new: &Config) -> Vec<&'static str> {
        let differs = [
            ("db", self.db != new.db),
            ("workers", self.workers != new.workers),
            ("stop_timeout", self.stop_timeout != new.stop_timeout),
            ("durability", self.durability() != new.durability()),
            (
                "allow_network_fs",
                self.allow_network_fs != new.allow_network_fs,
            ),
            ("max_file_size", self.max_file_size != new.max_file_size),
            (
                "[defaults] max_queue_size",
                self.defaults.max_queue_size != new.defaults.max_queue_size,
            ),
            (
                "[defaults] retries, backoff, retry_delay, jitter",
                self.defaults.retry() != new.defaults.retry(),
            ),
        ];
        let differing = differs.into_iter().filter(|(_, differs)| *differs);
        differing.map(|(key, _)| key).collect()
    }

    /// What is wrong with something that the file says.
    pub(crate) fn refused(&self, error: CliError) -> CliError {
        error.context(self.path.display())
    }

    /// How long final jobs of a kind are kept, as far as the file says.
    pub(crate) fn retention_of(&self, kind: Option<&str>) -> KindRetention {
        let own = kind.and_then(|kind| self.kinds.get(kind)?.retention);
        let own = own.unwrap_or_default();
        KindRetention {
            completed: own.completed.or(self.retention.completed),
            failed: own.failed.or(self.retention.failed),
        }
    }

    pub(crate) fn durability(&self) -> Option<Durability> {
        self.durability.map(|name| match name {
            DurabilityName::Full => Durability::Full,
            DurabilityName::Normal => Durability::Normal,
        })
    }

    /// What jobs of this kind take for themselves where they do not say it.
    pub(crate) fn usual_of(&self, kind: &str) -> Options {
        let kind = self.kinds.get(kind);
        Options {
            retries: kind.and_then(|kind| kind.retries),
            backoff: kind.and_then(|kind| kind.backoff),
            retry_delay: kind.and_then(|kind| kind.retry_delay),
            jitter: kind.and_then(|kind| kind.jitter).map(options::jitter),
            timeout: kind.and_then(|kind| kind.timeout).or(self.defaults.timeout),
            ..Options::default()
        }
    }
}

/// A name as the file writes it in a table's header.
pub(crate) fn key(name: &str) -> Cow<'_, str> {
    let bare = |char: char| char.is_ascii_alphanumeric() || "-_".contains(char);
    if !name.is_empty() && name.chars().all(bare) {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(format!("{name:?}"))
    }
}

/// What is wrong, on which line, and what may have been meant.
fn explain(error: &toml::de::Error, text: &str, path: &Path) -> CliError {
    let line = error
        .span()
        .and_then(|span| text.as_bytes().get(..span.start))
        .map(|before| before.iter().filter(|byte| **byte == b'\n').count() + 1);
    let place = match line {
        Some(line) => format!("{} line {line}", path.display()),
        None => path.display().to_string(),
    };
    match UnknownKey::of(error.message()) {
        Some(unknown) => CliError::usage(format!("{place}: unknown key '{}'", unknown.key))
            .with_hint(unknown.hint()),
        None => {
            let told = jobq::json::plain(error.message());
            let key = line
                .and_then(|line| text.lines().nth(line - 1)?.split_once('='))
                .filter(|_| told != error.message())
                .map(|(key, _)| format!("'{}': ", key.trim()));
            CliError::usage(format!("{place}: {}{told}", key.unwrap_or_default()))
        }
    }
}

fn output_limit<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    let bytes = limits::bytes_written(value)?;
    let most = MAX_OUTPUT_LIMIT_BYTES as u64;
    match bytes <= most {
        true => Ok(Some(bytes)),
        false => Err(D::Error::custom(format_args!(
            "output_limit: {bytes} bytes are too many, {most} (64MiB) are possible"
        ))),
    }
}

fn duration<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(value)?;
    let duration = parse::duration(&text)
        .map_err(|why| D::Error::custom(format_args!("invalid duration '{text}': {why}")))?;
    Ok(Some(duration))
}

/// What tells one state of a file from another. None: it is not there.
pub(crate) type Stamp = Option<[i64; 6]>;

/// The state of a file, behind all links.
pub(crate) fn stamp_of(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    Some([
        found.dev().cast_signed(),
        found.ino().cast_signed(),
        found.size().cast_signed(),
        found.mtime(),
        found.mtime_nsec(),
        found.ctime_nsec(),
    ])
}
