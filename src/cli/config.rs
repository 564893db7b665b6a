//! `jobq.toml`.

mod schedules;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jobq::{Backoff, Durability, RetryPolicy};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

pub(crate) use schedules::ScheduleTable;

use super::args::{Unknown, WORKERS};
use super::exit::{CliError, CliResult};
use super::limits::{self, LimitedQueue};
use super::nearest::UnknownKey;
use super::options::Options;
use super::{parse, session};

/// What the config file says; everything may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The database; relative paths are relative to the config file's folder.
    pub(crate) db: Option<PathBuf>,
    pub(crate) workers: Option<usize>,
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
    #[serde(default, deserialize_with = "duration")]
    pub(crate) timeout: Option<Duration>,
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
            jitter: usual.jitter,
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
const BUILT_IN_KINDS: [&str; 3] = ["exec", "sleep", jobq::GROUP];

/// The shortest time that a runner waits for.
const MOMENT: Duration = Duration::from_millis(1);

const FILE_NAME: &str = "jobq.toml";

impl Config {
    /// Reads the file that was named, which must be there, or else the first of the usual ones that
    /// is there.
    pub(crate) fn load(named: Option<&Path>) -> CliResult<Config> {
        if let Some(path) = named.filter(|path| !path.as_os_str().is_empty()) {
            return Config::read(path)?.ok_or_else(|| {
                CliError::usage(format!("there is no config file {}", path.display()))
            });
        }
        if let Some(config) = Config::read(Path::new(FILE_NAME))? {
            return Ok(config);
        }
        let env = |name: &str| std::env::var_os(name);
        match session::xdg_folder(&env, "XDG_CONFIG_HOME", ".config") {
            Some(folder) => {
                Ok(Config::read(&folder.join("jobq").join(FILE_NAME))?.unwrap_or_default())
            }
            None => Ok(Config::default()),
        }
    }

    /// None where there is no such file.
    fn read(path: &Path) -> CliResult<Option<Config>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(CliError::io(path.display(), &error)),
        };
        let mut config = Config::parse(&text, path)?;
        let path =
            std::path::absolute(path).map_err(|error| CliError::io(path.display(), &error))?;
        config.folder = path.parent().map(Path::to_owned);
        if let (Some(db), Some(folder)) = (&config.db, &config.folder) {
            config.db = Some(folder.join(db));
        }
        Ok(Some(config))
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
                "workers: {workers} are not possible, {} to {} are",
                WORKERS.start(),
                WORKERS.end()
            )));
        }
        if self.retention.every.is_some_and(|every| every < MOMENT) {
            return Err(CliError::usage(
                "[retention] every: a runner cannot look without a pause; 1ms and more are possible",
            ));
        }
        if self.defaults.max_queue_size == Some(0) {
            return Err(CliError::usage("max_queue_size: 0 lets no job in"));
        }
        for (name, kind) in &self.kinds {
            if kind.concurrency == Some(0) {
                return Err(CliError::usage(format!(
                    "[kinds.{name}]: a concurrency of 0 lets no job run"
                )));
            }
            if BUILT_IN_KINDS.contains(&name.as_str()) {
                return Err(CliError::usage(format!(
                    "[kinds.{name}]: the kind {name} is built in"
                ))
                .hint("give your handler a kind with another name"));
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
            timeout: kind.and_then(|kind| kind.timeout).or(self.defaults.timeout),
            ..Options::default()
        }
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
        Some(unknown) => {
            CliError::usage(format!("{place}: unknown key '{}'", unknown.key)).hint(unknown.hint())
        }
        None => CliError::usage(format!("{place}: {}", error.message())),
    }
}

fn duration<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(value)?;
    let duration = parse::duration(&text)
        .map_err(|why| D::Error::custom(format_args!("invalid duration '{text}': {why}")))?;
    Ok(Some(duration))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

    fn read(text: &str) -> CliResult<Config> {
        Config::parse(text, Path::new("jobq.toml"))
    }

    #[test]
    fn a_full_file_is_read() {
        let config = read(
            r#"
            db = "jobs.db"
            workers = 8
            durability = "normal"
            allow_network_fs = true
            unknown_kinds = "fail"
            [retention]
            completed = "1h"
            failed = "14 days"
            every = "10m"
            [defaults]
            retries = 5
            backoff = "quadratic"
            timeout = "90s"
            [kinds.thumbnail]
            command = ["./thumbnail.py", "-v"]
            timeout = "2m"
            retries = 2
            backoff = "fixed"
            retry_delay = "10s"
            [kinds.plain]
            retries = 0
            "#,
        )
        .unwrap();
        assert_eq!(config.workers, Some(8));
        assert_eq!(config.durability(), Some(Durability::Normal));
        assert_eq!(config.unknown_kinds, Some(Unknown::Fail));
        assert_eq!(
            config.retention.failed,
            Some(Duration::from_secs(14 * 86_400))
        );
        let retry = config.defaults.retry();
        assert_eq!(
            (retry.max_retries, retry.delay),
            (5, Duration::from_secs(1))
        );
        let thumbnail = config.usual_of("thumbnail");
        assert_eq!(thumbnail.timeout, Some(Duration::from_secs(120)));
        assert_eq!(thumbnail.backoff, Some(Backoff::Fixed));
        assert_eq!(thumbnail.retry_delay, Some(Duration::from_secs(10)));
        assert_eq!(config.usual_of("plain").retries, Some(0));
        let exec = config.usual_of("exec");
        assert_eq!(exec.timeout, Some(Duration::from_secs(90)));
        assert_eq!((exec.retries, exec.backoff), (None, None));
    }

    #[test]
    fn limits_and_retention_are_read() {
        let config = read(
            r#"
            max_file_size = "1GiB"
            [retention]
            completed = "1h"
            [defaults]
            max_queue_size = 1000
            [kinds.thumbnail]
            concurrency = 3
            retention = { completed = "10m" }
            [queues.images]
            concurrency = 2
            rate = "10/1m"
            max_size = 100
            weight = 3
            "#,
        )
        .unwrap();
        assert_eq!(config.max_file_size, Some(1 << 30));
        assert_eq!(config.defaults.max_queue_size, Some(1000));
        assert_eq!(config.kinds["thumbnail"].concurrency, Some(3));
        let of_kind = config.retention_of(Some("thumbnail"));
        assert_eq!(of_kind.completed, Some(Duration::from_secs(600)));
        assert_eq!(of_kind.failed, config.retention.failed);
        let usual = config.retention_of(Some("plain"));
        assert_eq!(usual.completed, Some(Duration::from_secs(3600)));
        let minute = Duration::from_secs(60);
        assert_eq!(
            config.queues["images"].change(),
            jobq::QueueLimits {
                concurrency: jobq::Change::Set(2),
                rate: jobq::Change::Set(jobq::Rate {
                    jobs: 10,
                    per: minute
                }),
                max_size: jobq::Change::Set(100),
                weight: jobq::Change::Set(3),
            }
        );
    }

    #[test]
    fn an_empty_file_leaves_the_librarys_defaults() {
        let config = read("").unwrap();
        assert_eq!(config.defaults.retry(), RetryPolicy::default());
        assert!(config.workers.is_none() && config.durability().is_none());
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        for (text, message, hint) in [
            ("wokers = 5", "line 1: unknown key 'wokers'", "'workers'"),
            (
                "\n[defaults]\nretires = 1",
                "line 3: unknown key 'retires'",
                "'retries'",
            ),
            (
                "[retention]\n\nkeep = 1",
                "line 3: unknown key 'keep'",
                "completed, failed, every",
            ),
            (
                "[kinds.a]\ncomand = []",
                "line 2: unknown key 'comand'",
                "'command'",
            ),
            ("[kidns.a]", "line 1: unknown key 'kidns'", "'kinds'"),
            (
                "[queues.a]\nconcurency = 1",
                "line 2: unknown key 'concurency'",
                "'concurrency'",
            ),
            (
                "[kinds.a.retention]\nevery = \"1h\"",
                "line 2: unknown key 'every'",
                "completed, failed",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.exit(), Exit::Usage);
            assert!(error.message().contains(message), "{}", error.message());
            assert!(format!("{error:?}").contains(hint), "{error:?}");
        }
        for (text, message) in [
            ("workers = 0", "workers"),
            ("workers = \"five\"", "line 1: "),
            ("\ndb = ", "line 2: "),
            ("durability = \"some\"", "`full` or `normal`"),
            (
                "[defaults]\ntimeout = \"5\"",
                "line 2: invalid duration '5'",
            ),
            ("[defaults]\ntimeout = 5", "line 2: "),
            ("[queues.a]\nrate = \"ten\"", "line 2: invalid rate 'ten'"),
            ("max_file_size = \"big\"", "line 1: invalid size 'big'"),
            ("max_file_size = 0", "line 1: invalid size 0"),
            (
                "max_file_size = \"1KiB\"",
                "line 1: invalid size '1KiB': an empty database takes more",
            ),
            ("max_file_size = 4096", "line 1: invalid size 4096: an"),
            ("[retention]\nevery = \"0s\"", "[retention] every: "),
            ("[retention]\nevery = \"999us\"", "[retention] every: "),
            ("[defaults]\nmax_queue_size = 0", "max_queue_size: 0"),
            (
                "[kinds.a]\nconcurrency = 0",
                "[kinds.a]: a concurrency of 0",
            ),
            ("[kinds.exec]\ncommand = [\"x\"]", "[kinds.exec]"),
            ("[kinds.sleep]\ncommand = [\"x\"]", "[kinds.sleep]"),
            ("[kinds.group]\ncommand = [\"x\"]", "[kinds.group]"),
            ("[kinds.a]\ncommand = []", "[kinds.a]: the command is empty"),
            (
                "[kinds.a]\ncommand = [\"\"]",
                "[kinds.a]: the command is empty",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.message().contains(message), "{}", error.message());
        }
    }

    #[test]
    fn a_database_is_relative_to_the_config_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobq.toml");
        assert!(Config::load(Some(&path)).is_err());
        std::fs::write(&path, "db = \"data/jobs.db\"").unwrap();
        let config = Config::load(Some(&path)).unwrap();
        assert_eq!(config.db, Some(folder.path().join("data/jobs.db")));
    }
}
