//! The kind `cleanup`: removes old files.

mod folder;
#[cfg(test)]
mod tests;
mod walk;

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt::Display;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, millis};
use crate::handlers::built_in::{BuiltInJob, written_duration};
use crate::handlers::cleanup::folder::{Folder, Identity, may_pass};
use crate::handlers::cleanup::walk::{CleanupRule, TreeWalk, WalkObserver};
use crate::handlers::glob::Glob;
use crate::handlers::paths::{begin_at, check_roots};
use crate::model::event::Level;
use crate::model::job::{Job, JobOptions, NewJob, Progress};
use crate::runner::context::Context;
use crate::runner::handler::Failure;
use crate::{Error, Result};

/// The payload of kind `cleanup`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cleanup {
    /// Where the folders are named: here, or in the settings.
    #[serde(default)]
    pub action: CleanupAction,
    /// The folders to clean, by absolute paths without links in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathBuf>,
    /// Which files: `*` and `?` within a name, `**` for folders.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<String>,
    /// Which files and folders to leave alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Only what was changed before so long a time.
    #[serde(with = "written_duration", alias = "olderThan")]
    pub older_than: Duration,
    /// What the age is measured by.
    #[serde(default)]
    pub by: CleanupBy,
    /// How many of the newest files that match stay in each of the folders, however old.
    #[serde(default, alias = "minKeep")]
    pub min_keep: usize,
    /// How many entries are removed at most.
    #[serde(default = "max_delete", alias = "maxDelete")]
    pub max_delete: u64,
    /// Remove old folders that are empty, too.
    #[serde(default, alias = "emptyDirs")]
    pub empty_dirs: bool,
    /// Go into the folders of the folders.
    #[serde(default)]
    pub recursive: bool,
    /// Only say what would be removed.
    #[serde(default, alias = "dryRun")]
    pub dry_run: bool,
}

fn max_delete() -> u64 {
    10_000
}

/// Where the folders of a [`Cleanup`] are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CleanupAction {
    /// In its payload.
    #[default]
    Files,
    /// In the setting `remove_old_logs`.
    RemoveOldLogs,
    /// In the setting `temp_files`.
    TempFiles,
}

/// What the age of a file is measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CleanupBy {
    /// When it was written last.
    #[default]
    Mtime,
}

/// What `[kinds.cleanup.settings]` may say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CleanupSettings {
    /// The folders that payloads may name, and those below them; any, if this is left out.
    pub roots: Option<Vec<PathBuf>>,
    /// The folders of the action `remove_old_logs`.
    #[serde(default)]
    pub remove_old_logs: Vec<PathBuf>,
    /// The folders of the action `temp_files`.
    #[serde(default)]
    pub temp_files: Vec<PathBuf>,
}

/// The result of a cleanup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CleanupResult {
    /// How many files, links and folders were removed, or would be.
    pub deleted: u64,
    /// The size of the files among them that had no other name.
    pub bytes: u64,
    /// How many files match and stay: too young, among the newest, or over `max_delete`.
    pub kept: u64,
    /// `max_delete` was reached.
    pub is_cut_short: bool,
    /// What was left alone, the first 100 of it.
    pub skipped: Vec<CleanupNote>,
    /// What could not be read or removed, the first 100 of it.
    pub errors: Vec<CleanupNote>,
    /// How many more were skipped or could not be removed.
    pub unlisted: u64,
}

/// An entry that stays, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CleanupNote {
    /// Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// The reason.
    pub why: String,
}

impl CleanupResult {
    fn note_skipped(&mut self, path: &Path, why: &str) {
        self.unlisted += note(&mut self.skipped, path, &why);
    }

    fn note_error(&mut self, path: &Path, why: &dyn Display) {
        self.unlisted += note(&mut self.errors, path, why);
    }
}

/// How many notes of a sort are listed.
const NOTES: usize = 100;

/// Lists a note, or counts it.
fn note(notes: &mut Vec<CleanupNote>, path: &Path, why: &dyn Display) -> u64 {
    if notes.len() == NOTES {
        return 1;
    }
    notes.push(CleanupNote {
        path: path.to_string_lossy().into_owned(),
        why: why.to_string(),
    });
    0
}

impl Job for Cleanup {
    const KIND: &'static str = "cleanup";
    type Output = CleanupResult;

    fn options(&self, job: NewJob) -> NewJob {
        job.with_options(Cleanup::defaults())
    }
}

impl BuiltInJob for Cleanup {
    type Settings = CleanupSettings;
    const HELP: &'static str = include_str!("help.txt");

    fn defaults() -> JobOptions {
        JobOptions {
            timeout: Some(Duration::from_secs(600)),
            max_retries: Some(2),
            retry_delay: Some(Duration::from_secs(60)),
            ..JobOptions::default()
        }
    }

    fn relative_to(mut settings: CleanupSettings, folder: &Path) -> CleanupSettings {
        let CleanupSettings {
            roots,
            remove_old_logs,
            temp_files,
        } = &mut settings;
        begin_at(folder, roots.iter_mut().flatten());
        begin_at(folder, remove_old_logs.iter_mut().chain(temp_files));
        settings
    }

    fn check(&self) -> Result<()> {
        let refused = |why: String| Err(Error::invalid(why));
        match (self.action, self.paths.is_empty()) {
            (CleanupAction::Files, true) => return refused("'paths' is missing".to_owned()),
            (CleanupAction::RemoveOldLogs | CleanupAction::TempFiles, false) => {
                let why = "'paths' goes with the action files; the settings name the others'";
                return refused(why.to_owned());
            }
            _ => {}
        }
        for path in &self.paths {
            check_path(path)?;
        }
        for (at, path) in self.paths.iter().enumerate() {
            let mut others = self.paths[..at].iter().chain(&self.paths[at + 1..]);
            if others.any(|other| path.starts_with(other)) {
                return refused(format!("'{}' is named twice", path.display()));
            }
        }
        if self.patterns.is_empty() && self.action == CleanupAction::Files {
            return refused("'match' is missing; \"*\" matches all files".to_owned());
        }
        for glob in self.globs()?.iter().chain(&globs(&self.exclude)?) {
            if glob.has_folders() && !self.recursive {
                return refused("a pattern with a slash needs 'recursive'".to_owned());
            }
        }
        if self.older_than < Duration::from_secs(60) {
            return refused("'older_than' must be at least 1 minute".to_owned());
        }
        Ok(())
    }

    fn run(
        self,
        settings: &CleanupSettings,
        ctx: &Context,
    ) -> std::result::Result<CleanupResult, Failure> {
        let paths = self.folders(settings).map_err(Failure::permanent)?;
        let rule = self.rule(ctx).map_err(Failure::permanent)?;
        let observer = Observer {
            ctx,
            removed: Cell::new(0),
            verb: if self.dry_run {
                "would remove"
            } else {
                "removed"
            },
        };
        let mut walk = TreeWalk::new(&rule, &observer);
        // All are looked at before anything is removed.
        let mut folders = Vec::new();
        for path in &paths {
            match Folder::open(path) {
                Ok(folder) if rule.protected.contains(&folder.identity) => {
                    return Err(refusal(
                        path,
                        &"it is /, a home, or the folder of the database",
                    ));
                }
                Ok(folder) => folders.push((folder, path)),
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    return Err(refusal(path, &"it is, or leads through, a link or a file"));
                }
                Err(error) if may_pass(error) => {
                    return Err(Failure::retry(refused(path, &std::io::Error::from(error))));
                }
                Err(error) => walk.result.note_error(path, &std::io::Error::from(error)),
            }
        }
        for (folder, path) in &folders {
            walk.clean(folder, path)?;
        }
        let nothing_done = walk.result.deleted == 0 && (folders.is_empty() || walk.tried > 0);
        match walk.result.errors.first().filter(|_| nothing_done) {
            Some(error) => Err(refusal(Path::new(&error.path), &error.why)),
            None => Ok(walk.result),
        }
    }
}

fn refused(path: &Path, why: &dyn Display) -> String {
    format!("'{}' cannot be cleaned: {why}", path.display())
}

fn refusal(path: &Path, why: &dyn Display) -> Failure {
    Failure::permanent(refused(path, why))
}

impl Cleanup {
    /// The folders to clean.
    fn folders(&self, settings: &CleanupSettings) -> Result<Vec<PathBuf>> {
        let (name, paths) = match self.action {
            CleanupAction::Files => {
                let roots = settings.roots.as_deref();
                let mut paths = self.paths.iter();
                paths.try_for_each(|path| check_roots(Cleanup::KIND, roots, path))?;
                return Ok(self.paths.clone());
            }
            CleanupAction::RemoveOldLogs => ("remove_old_logs", &settings.remove_old_logs),
            CleanupAction::TempFiles => ("temp_files", &settings.temp_files),
        };
        if paths.is_empty() {
            return Err(Error::invalid(format!(
                "[kinds.cleanup.settings] {name} is missing: it names the folders"
            )));
        }
        paths.iter().try_for_each(|path| check_path(path))?;
        Ok(paths.clone())
    }

    /// The patterns, which an action may imply.
    fn globs(&self) -> Result<Vec<Glob>> {
        if !self.patterns.is_empty() {
            return globs(&self.patterns);
        }
        globs(&match self.action {
            CleanupAction::Files => Vec::new(),
            CleanupAction::RemoveOldLogs => vec!["*.log".to_owned(), "*.log.*".to_owned()],
            CleanupAction::TempFiles => vec!["*".to_owned()],
        })
    }

    fn rule(&self, ctx: &Context) -> Result<CleanupRule> {
        let now_ms = Clock::default().now_ms();
        let database = ctx.queue().path();
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let folders = [Some(Path::new("/")), home.as_deref(), database.parent()];
        let protected = folders.into_iter().flatten().filter_map(Identity::at);
        Ok(CleanupRule {
            patterns: self.globs()?,
            exclude: globs(&self.exclude)?,
            now_ms,
            old_until_ms: now_ms.saturating_sub(millis(self.older_than)),
            min_keep: self.min_keep,
            max_delete: self.max_delete,
            empty_dirs: self.empty_dirs,
            recursive: self.recursive,
            dry_run: self.dry_run,
            protected: protected.collect::<HashSet<_>>(),
        })
    }
}

fn globs(patterns: &[String]) -> Result<Vec<Glob>> {
    patterns.iter().map(|text| Glob::parse(text)).collect()
}

/// What may be seen from the path alone.
fn check_path(path: &Path) -> Result<()> {
    let refused = |why: &str| Err(Error::invalid(format!("'{}' {why}", path.display())));
    // Parts such as '.' and a second slash are left out of the components.
    let is_plain = path
        .components()
        .all(|component| matches!(component, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !is_plain {
        return refused("is not an absolute path without '..'");
    }
    if path.components().count() < 3 {
        return refused("is a folder of the whole system; name one below it");
    }
    Ok(())
}

/// How many names the log has.
const LOGGED: u64 = 1000;
/// The progress is reported after so many entries.
const PROGRESS_EVERY: u64 = 100;

struct Observer<'a> {
    ctx: &'a Context,
    removed: Cell<u64>,
    verb: &'static str,
}

impl WalkObserver for Observer<'_> {
    fn at_entry(&self, looked_at: u64) -> std::result::Result<(), Failure> {
        if self.ctx.is_cancelled() {
            return Err(Failure::cancelled());
        }
        if looked_at.is_multiple_of(PROGRESS_EVERY) {
            let message = format!("{} {} of {looked_at}", self.verb, self.removed.get());
            self.ctx.progress(Progress::default().message(message));
        }
        Ok(())
    }

    fn removed(&self, path: &Path) {
        let removed = self.removed.get() + 1;
        self.removed.set(removed);
        let message = match removed {
            0..=LOGGED => format!("{} {path:?}", self.verb),
            _ if removed == LOGGED + 1 => "more names are not listed".to_owned(),
            _ => return,
        };
        self.ctx.log(Level::Info, message);
    }
}
