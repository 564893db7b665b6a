//! `jobq.toml`.

pub(crate) mod source;
pub(crate) mod tables;
pub(crate) mod usual;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jobq::api::options;
use jobq::api::unknown_key::UnknownKey;
use jobq::handlers::secrets::Secrets;
use jobq::{Durability, UnknownKinds};
use serde::Deserialize;

use crate::cli::clock::now;
use crate::cli::exit::{CliError, CliResult};
use crate::cli::input::config::tables::{
    DefaultsTable, HooksTable, KindRetentionTable, KindTable, QueueTable, RetentionTable,
    ScheduleTable, WORKERS,
};
use crate::cli::input::config::usual::UsualOptions;
use crate::cli::input::limits;
use crate::cli::render::text::toml_key;

/// What the config file says; everything may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The database; relative paths are relative to the config file's folder.
    pub(crate) db: Option<PathBuf>,
    pub(crate) workers: Option<usize>,
    /// How long a runner may take to stop.
    #[serde(default, deserialize_with = "options::duration")]
    pub(crate) stop_timeout: Option<Duration>,
    pub(crate) durability: Option<Durability>,
    #[serde(default)]
    pub(crate) allow_network_fs: bool,
    pub(crate) unknown_kinds: Option<UnknownKinds>,
    #[serde(default)]
    pub(crate) retention: RetentionTable,
    #[serde(default)]
    pub(crate) defaults: DefaultsTable,
    #[serde(default)]
    pub(crate) kinds: BTreeMap<String, KindTable>,
    #[serde(default)]
    pub(crate) schedules: BTreeMap<String, ScheduleTable>,
    #[serde(default)]
    pub(crate) hooks: HooksTable,
    #[serde(default)]
    pub(crate) queues: BTreeMap<String, QueueTable>,
    #[serde(default)]
    pub(crate) secrets: Secrets,
    /// The database may use so much of the disk, in bytes.
    #[serde(default, deserialize_with = "limits::size")]
    pub(crate) max_file_size: Option<u64>,
    /// The options of jobs where they do not give them.
    #[serde(skip)]
    pub(crate) usual: UsualOptions,
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

/// The shortest time that a runner waits for.
const MOMENT: Duration = Duration::from_millis(1);

impl Config {
    pub(crate) fn of(text: &str, path: &Path, stamp: Stamp) -> CliResult<Config> {
        let mut config = Config::parse(text, path)?;
        config.stamp = stamp;
        config.path = path.to_owned();
        let path =
            std::path::absolute(path).map_err(|error| CliError::io(path.display(), &error))?;
        config.folder = path.parent().map(Path::to_owned);
        config.canonical = Some(std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone()));
        if let Some(folder) = &config.folder {
            config.db = config.db.map(|db| folder.join(db));
            config.secrets = config.secrets.relative_to(folder);
        }
        Ok(config)
    }

    pub(crate) fn parse(text: &str, path: &Path) -> CliResult<Config> {
        let mut config: Config =
            toml::from_str(text).map_err(|error| explain(&error, text, path))?;
        config
            .check()
            .map_err(|error| error.context(path.display()))?;
        config.usual = UsualOptions::of(&config.defaults, &config.kinds)
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
        for (name, schedule) in &self.schedules {
            let cron = jobq::next_slots(&schedule.cron, Some("UTC"), now(), 1);
            cron.map_err(|error| {
                let at = format!("[schedules.{}] cron", toml_key(name));
                CliError::from(error).context(at)
            })?;
        }
        for (name, limits) in &self.queues {
            limits.check(name)?;
        }
        for (name, kind) in &self.kinds {
            kind.check(name, &self.secrets)
                .map_err(|error| error.context(format!("[kinds.{}]", toml_key(name))))?;
        }
        Ok(())
    }

    /// The settings of a built-in kind as JSON, and the folder at which relative paths in them begin.
    pub(crate) fn built_in_settings(&self, kind: &str) -> (String, &Path) {
        let given = self.kinds.get(kind).and_then(|kind| kind.settings.as_ref());
        let settings = given.map_or_else(|| "{}".to_owned(), ToString::to_string);
        (settings, self.folder.as_deref().unwrap_or(Path::new("")))
    }

    /// The keys that differ in `new` and hold only for runners that are started later.
    pub(crate) fn needs_restart(&self, new: &Config) -> Vec<&'static str> {
        let differs = [
            ("db", self.db != new.db),
            ("workers", self.workers != new.workers),
            ("stop_timeout", self.stop_timeout != new.stop_timeout),
            ("durability", self.durability != new.durability),
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
                "[defaults] retries, backoff, retry_delay, retry_delays, jitter",
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
    pub(crate) fn retention_of(&self, kind: Option<&str>) -> KindRetentionTable {
        let own = kind.and_then(|kind| self.kinds.get(kind)?.retention);
        let own = own.unwrap_or_default();
        KindRetentionTable {
            completed: own.completed.or(self.retention.completed),
            failed: own.failed.or(self.retention.failed),
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

#[cfg(test)]
mod tests {
    use jobq::{Backoff, RetryPolicy};

    use super::*;
    use crate::cli::exit::Exit;
    use crate::cli::input::config::source::ConfigSources;

    fn read(text: &str) -> CliResult<Config> {
        Config::parse(text, Path::new("jobq.toml"))
    }

    #[test]
    fn a_full_file_is_read() {
        let config = read(
            r#"
        db = "jobs.db"
        workers = 8
        stop_timeout = "25s"
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
        assert_eq!(config.stop_timeout, Some(Duration::from_secs(25)));
        assert_eq!(config.durability, Some(Durability::Normal));
        assert_eq!(config.unknown_kinds, Some(UnknownKinds::Fail));
        assert_eq!(
            config.retention.failed,
            Some(Duration::from_secs(14 * 86_400))
        );
        let retry = config.defaults.retry();
        assert_eq!(
            (retry.max_retries, retry.delay),
            (5, Duration::from_secs(1))
        );
        let thumbnail = config.usual.of_kind("thumbnail");
        assert_eq!(thumbnail.timeout, Some(Duration::from_secs(120)));
        assert_eq!(thumbnail.backoff, Some(Backoff::Fixed));
        assert_eq!(thumbnail.retry_delay, Some(Duration::from_secs(10)));
        assert_eq!(config.usual.of_kind("plain").max_retries, Some(0));
        let exec = config.usual.of_kind("exec");
        assert_eq!(exec.timeout, Some(Duration::from_secs(90)));
        assert_eq!((exec.max_retries, exec.backoff), (None, None));
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
            jobq::QueueLimitsUpdate {
                concurrency: jobq::Update::Set(2),
                rate: jobq::Update::Set(jobq::Rate {
                    jobs: 10,
                    per: minute
                }),
                max_size: jobq::Update::Set(100),
                weight: jobq::Update::Set(3),
            }
        );
    }

    #[test]
    fn an_empty_file_leaves_the_librarys_defaults() {
        let config = read("").unwrap();
        assert_eq!(config.defaults.retry(), RetryPolicy::default());
        assert!(config.workers.is_none() && config.durability.is_none());
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
    }

    #[test]
    fn a_value_that_cannot_be_is_named_with_its_place() {
        for (text, message) in [
            ("workers = 0", "workers"),
            ("workers = \"five\"", "line 1: "),
            ("\ndb = ", "line 2: "),
            ("durability = \"some\"", "full or normal"),
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
                "line 1: invalid size '1KiB': it must be at least 256KiB",
            ),
            ("max_file_size = 4096", "line 1: invalid size 4096: it"),
            (
                "[retention]\nevery = \"0s\"",
                "[retention] every must be at least 1ms",
            ),
            (
                "[retention]\nevery = \"999us\"",
                "[retention] every must be at least 1ms",
            ),
            (
                "[defaults]\nmax_queue_size = 0",
                "max_queue_size must be at least 1",
            ),
            (
                "[queues.a]\nconcurrency = 0",
                "jobq.toml: [queues.a]: concurrency must be at least 1",
            ),
            (
                "[queues.a]\nrate = \"0/1m\"",
                "[queues.a]: a rate's number of jobs must be 1 to",
            ),
            (
                "[queues.a]\nmax_size = 0",
                "[queues.a]: a queue's size must be at least 1",
            ),
            (
                "[queues.'a b']\nweight = 0",
                "[queues.\"a b\"]: a queue's weight must be 1 to",
            ),
            (
                "[queues.\"\"]\nweight = 2",
                "[queues.\"\"]: the queue's name is empty",
            ),
            (
                "[kinds.a]\nconcurrency = 0",
                "[kinds.a]: concurrency must be at least 1",
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
    fn what_is_wrong_with_a_secret_is_named() {
        for (text, message) in [
            (
                "[kinds.a]\ncommand = [\"x\"]\nsecrets = { A = \"b\" }",
                "[kinds.a]: secrets: there is no 'b' in [secrets]",
            ),
            (
                "[secrets]\na = { env = \"A\", file = \"b\" }",
                "line 2: a secret needs one of env, file, credential and command",
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
        assert!(ConfigSources::new(Some(&path)).load().is_err());
        std::fs::write(&path, "db = \"data/jobs.db\"").unwrap();
        let config = ConfigSources::new(Some(&path)).load().unwrap();
        assert_eq!(config.db, Some(folder.path().join("data/jobs.db")));
    }
}
