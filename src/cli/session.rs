//! What every verb works with: the resolved options, the config, the queue.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jobq::{
    Durability, EnqueueLimits, Filter, JobId, LogAtClose, NetworkFs, OpenMode, Queue, QueueOptions,
    RunnerRecord,
};

use super::args::{Cli, Global, JobFilter};
use super::config::{Config, Sources};
use super::exit::{CliError, CliResult};
use super::mode;
use super::output::{Asked, Output};
use super::parse::{self, Ids};
use super::screen::Screen;

/// One run of the command line.
pub(crate) struct Session {
    pub(crate) output: Output,
    pub(crate) screen: Screen,
    pub(crate) config: Arc<Config>,
    db: PathBuf,
    mode: OpenMode,
    global: Global,
    log_at_close: LogAtClose,
    queue: OnceCell<Queue>,
}

impl Session {
    /// Reads the config file and decides where the database is. Opens nothing yet.
    pub(crate) fn new(cli: &Cli, output: Output, screen: Screen) -> CliResult<Session> {
        let global = &cli.global;
        let config = Config::load(global.config.as_deref())?;
        check_given(global.db.as_deref(), std::env::var_os("JOBQ_DB").as_deref())?;
        let given = [global.db.as_deref(), config.db.as_deref()];
        let db = match given.into_iter().flatten().find(|path| is_given(path)) {
            Some(path) => path.to_owned(),
            None => default_db(&|name| std::env::var_os(name))?,
        };
        Ok(Session {
            output,
            screen,
            config: Arc::new(config),
            db,
            mode: mode::of_verb(&cli.verb),
            global: global.clone(),
            log_at_close: LogAtClose::Remove,
            queue: OnceCell::new(),
        })
    }

    /// Where a config file is looked for.
    pub(crate) fn config_sources(&self) -> Sources {
        Sources::new(self.global.config.as_deref())
    }

    /// For a verb that is called often and ends at once: the removal of the log would cost it as much
    /// as all the rest.
    #[must_use]
    pub(crate) fn keeping_short_log(mut self) -> Session {
        self.log_at_close = LogAtClose::KeepShort;
        self
    }

    /// For the same verb at its end: the system closes the file as well as SQLite does, and need not free
    /// what SQLite has in memory first. A long log is tidied away.
    pub(crate) fn leave_to_the_system(self) {
        const SHORT_BYTES: u64 = 256 * 1024;
        let Some(queue) = self.queue.get() else {
            return;
        };
        let mut log = queue.path().as_os_str().to_owned();
        log.push("-wal");
        if std::fs::metadata(log).is_ok_and(|log| log.len() <= SHORT_BYTES) {
            std::mem::forget(self);
        }
    }

    /// Where the database is, or will be.
    pub(crate) fn db_path(&self) -> &Path {
        &self.db
    }

    /// The queue; opened when it is first asked for, and made where there is none by what adds to it.
    pub(crate) fn queue(&self) -> jobq::Result<Queue> {
        if let Some(queue) = self.queue.get() {
            return Ok(queue.clone());
        }
        let queue = self.options().mode(self.mode).open(&self.db)?;
        if let Some(found) = queue.upgraded_from() {
            let path = queue.path();
            self.screen.say(format_args!(
                "note: {} was upgraded from schema {found}; an older jobq can no longer open it",
                path.display()
            ));
        }
        if queue.is_read_only() {
            self.screen.say("note: the database is read-only");
        }
        if let Some(log) = queue.foreign_log() {
            self.screen.say(format_args!(
                "note: a copy was put in the place of {}; the log of the file that was there before is now {}",
                self.db.display(),
                log.display()
            ));
        }
        Ok(self.queue.get_or_init(|| queue).clone())
    }

    /// What a reply means for power cuts.
    pub(crate) fn durability(&self) -> Durability {
        let asked = self.global.durability.or(self.config.durability());
        asked.unwrap_or_default()
    }

    /// How files are opened.
    pub(crate) fn options(&self) -> QueueOptions {
        let network_fs = if self.global.allow_network_fs || self.config.allow_network_fs {
            NetworkFs::Allow
        } else {
            NetworkFs::Refuse
        };
        let limits = EnqueueLimits {
            retry: self.config.defaults.retry(),
            max_queue_size: self.config.defaults.max_queue_size,
            max_file_bytes: self.config.max_file_size,
            ..EnqueueLimits::default()
        };
        Queue::options()
            .durability(self.durability())
            .network_fs(network_fs)
            .log_at_close(self.log_at_close)
            .limits(limits)
    }

    /// The jobs that these words name: `42`, `3,5`, `8-12`, `@last`. Each once, in the order given.
    pub(crate) fn resolve_ids(&self, words: &[String]) -> CliResult<Vec<JobId>> {
        let mut seen = HashSet::new();
        let mut ids = Vec::new();
        for word in words {
            for part in parse::ids(word)? {
                let (first, last) = match part {
                    Ids::Range(first, last) => (first, last),
                    Ids::Last => {
                        let last = self.last_id()?.0;
                        (last, last)
                    }
                };
                ids.extend((first..=last).map(JobId).filter(|id| seen.insert(*id)));
            }
        }
        Ok(ids)
    }

    /// As [`Session::resolve_ids`], but of a range only the jobs that there are. What is missing of ranges
    /// is one error for all.
    pub(crate) fn resolve_existing(&self, words: &[String]) -> CliResult<Existing> {
        let mut seen = HashSet::new();
        let mut found = Existing::default();
        for word in words {
            for part in parse::ids(word)? {
                match part {
                    Ids::Last => found.ids.push(self.last_id()?),
                    Ids::Range(id, last) if id == last => found.ids.push(JobId(id)),
                    Ids::Range(first, last) => {
                        let there = self.queue()?.ids_between(JobId(first), JobId(last))?;
                        found.note_missing(first, last, &there);
                        found.ids.extend(there);
                    }
                }
            }
        }
        found.ids.retain(|id| seen.insert(*id));
        Ok(found)
    }

    /// The one job that this word names.
    pub(crate) fn resolve_id(&self, word: &str) -> CliResult<JobId> {
        match parse::ids(word)?[..] {
            [Ids::Last] => self.last_id(),
            [Ids::Range(first, last)] if first == last => Ok(JobId(first)),
            _ => Err(CliError::usage(format!(
                "'{word}' names several jobs; one is wanted"
            ))),
        }
    }

    /// What the options of a verb ask for.
    pub(crate) fn filter(&self, of: &JobFilter) -> CliResult<Filter> {
        let parent = of.parent.as_deref().map(|word| self.resolve_parent(word));
        Ok(Filter {
            queues: of.queues.clone(),
            kinds: of.kinds.clone(),
            tenant: of.tenant.clone(),
            tags: of.tags.clone(),
            parent: parent.transpose()?,
            ..Filter::default()
        })
    }

    /// A job whose children are asked for. It may have been removed before them.
    fn resolve_parent(&self, word: &str) -> CliResult<JobId> {
        let id = self.resolve_id(word)?;
        let children = Filter {
            parent: Some(id),
            limit: Some(1),
            ..Filter::default()
        };
        let queue = self.queue()?;
        match queue.state(id)?.is_none() && queue.list(&children)?.is_empty() {
            true => Err(CliError::no_job(id)),
            false => Ok(id),
        }
    }

    /// Tells what to type where no runner is active. It is no reason to fail.
    pub(crate) fn hint_at_run(&self) {
        if self.output.quiet {
            return;
        }
        let runners = self.queue().and_then(|queue| queue.runners_before_exit());
        let Ok(runners) = runners else { return };
        match runners.first() {
            None => self
                .screen
                .hint("no runner is active; start one with `jobq run`"),
            Some(gone) if !runners.iter().any(RunnerRecord::is_alive) => {
                let id = gone.id;
                self.screen.hint(format_args!(
                    "runner {id} is gone and no other is active; start one with `jobq run`"
                ));
            }
            Some(_) => {}
        }
    }

    fn last_id(&self) -> CliResult<JobId> {
        self.queue()?.last_id()?.ok_or_else(|| {
            CliError::not_found(format!("@last: there is no job in {}", self.db.display()))
                .with_hint("add one: jobq enqueue -- CMD ARG…")
        })
    }
}

/// The jobs that words name, and what is missing of the ranges among them.
#[derive(Default)]
pub(crate) struct Existing {
    pub(crate) ids: Vec<JobId>,
    /// From a number to another.
    missing: Vec<(i64, i64)>,
}

impl Existing {
    fn note_missing(&mut self, first: i64, last: i64, there: &[JobId]) {
        let mut next = first;
        for id in there {
            if id.0 > next {
                self.missing.push((next, id.0 - 1));
            }
            next = id.0 + 1;
        }
        if next <= last {
            self.missing.push((next, last));
        }
    }

    /// `no such jobs: 4-1000000 (999997 of them)`; none where nothing is missing.
    pub(crate) fn error(&self) -> Option<CliError> {
        /// So many ranges are named.
        const NAMED: usize = 5;
        let jobs: i64 = self.missing.iter().map(|(a, b)| b - a + 1).sum();
        let ranges = self.missing.iter().take(NAMED);
        let mut named: Vec<String> = ranges
            .map(|(first, last)| match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            })
            .collect();
        if self.missing.len() > NAMED {
            named.push("…".to_owned());
        }
        let message = match jobs {
            0 => return None,
            1 => format!("no job {}", named.join(" ")),
            jobs => format!("no such jobs: {} ({jobs} of them)", named.join(" ")),
        };
        Some(CliError::not_found(message).with_hint("`jobq list` shows the jobs in the file"))
    }
}

/// How things are shown: decided once, before anything is said.
pub(crate) fn decide_output(global: &Global) -> Output {
    Output::decide(Asked {
        json: global.json,
        quiet: global.quiet,
        color: global.color,
    })
}

fn is_given(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

/// An empty `JOBQ_DB` is none, as of any such variable. An empty option comes of a script's variable
/// that is not set: the default database is not what was meant.
fn check_given(db: Option<&Path>, variable: Option<&OsStr>) -> CliResult<()> {
    let is_empty = db.is_some_and(|db| !is_given(db));
    if is_empty && variable.is_none_or(|variable| !variable.is_empty()) {
        return Err(CliError::usage("--db is empty").with_hint("name a file: --db PATH"));
    }
    Ok(())
}

fn default_db(env: &dyn Fn(&str) -> Option<OsString>) -> CliResult<PathBuf> {
    if let Some(folder) = xdg_folder(env, "XDG_STATE_HOME", ".local/state") {
        return Ok(folder.join("jobq/jobq.db"));
    }
    let home = match env("HOME").filter(|home| !home.is_empty()) {
        Some(home) => format!("HOME is no absolute path ({})", home.display()),
        None => "HOME is not set".to_owned(),
    };
    Err(
        CliError::usage(format!("{home}: there is no place for the database"))
            .with_hint("say where it is: --db PATH, or JOBQ_DB=PATH in the environment"),
    )
}

/// A folder of the XDG base directories. Relative ones do not count: that is their rule.
pub(crate) fn xdg_folder(
    env: &dyn Fn(&str) -> Option<OsString>,
    name: &str,
    below_home: &str,
) -> Option<PathBuf> {
    let absolute = |name: &str| {
        env(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute(name).or_else(|| absolute("HOME").map(|home| home.join(below_home)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

    #[test]
    fn what_is_missing_of_a_range_is_told_once() {
        let mut found = Existing::default();
        assert!(found.error().is_none());
        found.note_missing(3, 3, &[]);
        assert_eq!(found.error().unwrap().message(), "no job 3");
        found.note_missing(4, 1_000_000, &[JobId(5), JobId(9)]);
        assert_eq!(
            found.error().unwrap().message(),
            "no such jobs: 3 4 6-8 10-1000000 (999996 of them)"
        );
    }

    fn db(vars: &[(&str, &str)]) -> CliResult<PathBuf> {
        default_db(&|name| {
            let var = vars.iter().find(|var| var.0 == name)?;
            Some(var.1.into())
        })
    }

    #[test]
    fn the_database_is_in_the_state_folder() {
        let xdg = ("XDG_STATE_HOME", "/state");
        let home = ("HOME", "/u/ann");
        assert_eq!(db(&[xdg, home]).unwrap(), Path::new("/state/jobq/jobq.db"));
        let below_home = Path::new("/u/ann/.local/state/jobq/jobq.db");
        assert_eq!(db(&[home]).unwrap(), below_home);
        let relative = ("XDG_STATE_HOME", "state");
        assert_eq!(db(&[relative, home]).unwrap(), below_home);
    }

    #[test]
    fn an_empty_option_is_a_mistake_and_an_empty_variable_is_none() {
        let check = |db: &str, variable: Option<&str>| {
            check_given(Some(Path::new(db)), variable.map(OsStr::new))
        };
        assert!(check("", Some("")).is_ok());
        assert!(check("jobs.db", None).is_ok());
        for variable in [None, Some("other.db")] {
            assert_eq!(check("", variable).unwrap_err().exit(), Exit::Usage);
        }
    }

    #[test]
    fn without_a_home_the_database_must_be_named() {
        for vars in [&[][..], &[("HOME", "")], &[("HOME", "rel")]] {
            let error = db(vars).unwrap_err();
            assert_eq!(error.exit(), Exit::Usage);
            assert!(error.message().contains("HOME"));
        }
    }
}
