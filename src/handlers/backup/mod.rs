//! The kind `backup`: copies the queue, another SQLite file, or folders, and removes old copies.

mod archive;
mod name;
mod retention;
mod sink;
#[cfg(test)]
mod tests;
mod work;

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::handlers::backup::name::NamePattern;
pub use crate::handlers::backup::retention::BackupRetention;
pub use crate::handlers::backup::sink::BackupCompression;
use crate::handlers::backup::work::BackupWork;
use crate::handlers::built_in::{BuiltInJob, one_or_more};
use crate::handlers::glob::Glob;
use crate::handlers::paths::begin_at;
use crate::model::job::{Job, JobOptions, NewJob};
use crate::runner::context::Context;
use crate::runner::handler::Failure;
use crate::{Error, Result};

/// The payload of kind `backup`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// What is copied.
    pub what: BackupOf,
    /// The SQLite file, or the folders and files.
    #[serde(
        default,
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub source: Vec<PathBuf>,
    /// The folder of the backups; `backups` beside the queue's file, if neither this nor the settings name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<PathBuf>,
    /// The name of a backup, with `{time}` for its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How it is compressed; as the end of the name says, or with zstd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compress: Option<BackupCompression>,
    /// Read it again to see that it is right.
    #[serde(default = "yes")]
    pub verify: bool,
    /// Which of the backups with such a name stay; all, if this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<BackupRetention>,
    /// Which files and folders to leave out: `*` and `?` within a name, `**` for folders.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Fail if a file cannot be read as it should be.
    #[serde(default)]
    pub strict: bool,
    /// Only say what would be done.
    #[serde(default, alias = "dryRun")]
    pub dry_run: bool,
}

fn yes() -> bool {
    true
}

/// What a [`Backup`] copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BackupOf {
    /// The file of the queue that the job is in.
    Queue,
    /// Another SQLite file.
    Sqlite,
    /// Folders and files.
    Files,
}

/// What `[kinds.backup.settings]` may say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct BackupSettings {
    /// The folder of the backups of payloads that name none.
    pub to: Option<PathBuf>,
    /// The folders that payloads may read from and write to, with those below them; any, if this is left out.
    pub roots: Option<Vec<PathBuf>>,
}

/// The result of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BackupResult {
    /// The backup.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, which is also in the file of this name with `.sha256` at its end.
    pub sha256: String,
    /// How many files are in it, if it is of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// How many rows are in it, if it is a database and was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// The backups that stay, the newest first, if there are rules.
    pub kept: Vec<KeptBackup>,
    /// The names of the backups that were removed, or would be.
    pub removed: Vec<String>,
    /// What could not be read or removed, the first 100 of it.
    pub warnings: Vec<BackupNote>,
    /// How many more warnings there were.
    pub unlisted: u64,
}

/// A backup that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeptBackup {
    /// Its name.
    pub name: String,
    /// The rules that keep it.
    pub why: Vec<String>,
}

/// A warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BackupNote {
    /// Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// The reason.
    pub why: String,
}

impl Job for Backup {
    const KIND: &'static str = "backup";
    type Output = BackupResult;

    fn options(&self, job: NewJob) -> NewJob {
        job.with_options(Backup::defaults())
    }
}

impl BuiltInJob for Backup {
    type Settings = BackupSettings;
    const HELP: &'static str = include_str!("help.txt");

    fn defaults() -> JobOptions {
        JobOptions {
            timeout: Some(Duration::from_secs(600)),
            max_retries: Some(1),
            retry_delay: Some(Duration::from_secs(60)),
            ..JobOptions::default()
        }
    }

    fn relative_to(mut settings: BackupSettings, folder: &Path) -> BackupSettings {
        let BackupSettings { to, roots } = &mut settings;
        begin_at(folder, to.iter_mut().chain(roots.iter_mut().flatten()));
        settings
    }

    fn check(&self) -> Result<()> {
        let refused = |why: &str| Err(Error::invalid(why));
        match (self.what, self.source.len()) {
            (BackupOf::Queue, 1..) => return refused("'source' goes with what sqlite and files"),
            (BackupOf::Sqlite, 0 | 2..) => return refused("'source' must be one SQLite file"),
            (BackupOf::Files, 0) => return refused("'source' is missing"),
            _ => {}
        }
        if self.what != BackupOf::Files && (self.strict || !self.exclude.is_empty()) {
            return refused("'exclude' and 'strict' go with what files");
        }
        let leads_up = |path: &PathBuf| path.components().any(|part| part == Component::ParentDir);
        if let Some(path) = self
            .source
            .iter()
            .chain(&self.to)
            .find(|path| leads_up(path))
        {
            return refused(&format!("'{}' has '..' in it", path.display()));
        }
        if self.retention.is_some() && !self.verify {
            return refused(
                "'retention' needs 'verify': old backups go when the new one is known to be right",
            );
        }
        for pattern in &self.exclude {
            Glob::parse(pattern)?;
        }
        let Some(name) = &self.name else {
            // Backups of other jobs in the folder may have the usual name, too.
            return match self.retention.is_some() && self.what != BackupOf::Queue {
                true => refused("'retention' needs a 'name' of this job's own, with {time} in it"),
                false => Ok(()),
            };
        };
        let is_zstd = name.ends_with(".zst");
        if is_zstd != (self.compression() == BackupCompression::Zstd) {
            return refused("'name' ends with .zst if and only if 'compress' is zstd");
        }
        if !NamePattern::parse(name)?.has_time() && self.retention.is_some() {
            return refused("'retention' needs a 'name' with {time} in it");
        }
        Ok(())
    }

    fn run(
        self,
        settings: &BackupSettings,
        ctx: &Context,
    ) -> std::result::Result<BackupResult, Failure> {
        BackupWork::begin(&self, settings, ctx)?.run()
    }
}

impl Backup {
    fn compression(&self) -> BackupCompression {
        let by_name = self.name.as_ref().map(|name| match name.ends_with(".zst") {
            true => BackupCompression::Zstd,
            false => BackupCompression::None,
        });
        let wanted = self.compress.or(by_name);
        wanted.unwrap_or(BackupCompression::Zstd)
    }
}
