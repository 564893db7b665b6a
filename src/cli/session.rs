//! What every verb works with: the resolved options, the config, the queue.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jobq::{
    Durability, EnqueueLimits, LogAtClose, NetworkFs, OpenMode, Queue, QueueOptions, RunnerRecord,
};

use crate::cli::args::GlobalOptions;
use crate::cli::exit::{CliError, CliResult};
use crate::cli::input::config::source::{ConfigSources, xdg_folder};
use crate::cli::input::config::{Config, tables};
use crate::cli::render::screen::Screen;
use crate::cli::render::{Asked, Output};

/// One run of the command line.
pub(crate) struct Session {
    pub(crate) output: Output,
    pub(crate) screen: Screen,
    pub(crate) config: Arc<Config>,
    db: PathBuf,
    mode: OpenMode,
    global: GlobalOptions,
    log_at_close: LogAtClose,
    queue: OnceCell<Queue>,
}

impl Session {
    /// Reads the config file and decides where the database is. Opens nothing yet.
    pub(crate) fn new(
        global: &GlobalOptions,
        mode: OpenMode,
        output: Output,
        screen: Screen,
    ) -> CliResult<Session> {
        let config = ConfigSources::new(global.config.as_deref()).load()?;
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
            mode,
            global: global.clone(),
            log_at_close: LogAtClose::Remove,
            queue: OnceCell::new(),
        })
    }

    /// Where a config file is looked for.
    pub(crate) fn config_sources(&self) -> ConfigSources {
        ConfigSources::new(self.global.config.as_deref())
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
        let queue = match user() {
            Some(user) => queue.acting_as(format!("cli:{user}")),
            None => queue,
        };
        Ok(self.queue.get_or_init(|| queue).clone())
    }

    /// Brings the limits of the config file into the database, before jobs are held to them. Where the
    /// file limits no queue, the database is not even read.
    pub(crate) fn sync_limits(&self) -> CliResult<()> {
        match self.config.queues.is_empty() {
            true => Ok(()),
            false => tables::sync_limits(&self.queue()?, &self.config.queues),
        }
    }

    /// What acknowledged writes survive.
    pub(crate) fn durability(&self) -> Durability {
        let asked = self.global.durability.or(self.config.durability);
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

    /// Hints at `jobq run` if no runner is active. It is not an error.
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
                    "runner {id} is dead and no other is active; start one with `jobq run`"
                ));
            }
            Some(_) => {}
        }
    }

    /// Whether the config file or an active runner has a handler for a kind.
    pub(crate) fn is_handled(&self, kind: &str) -> bool {
        let has = |runner: &RunnerRecord| runner.kinds.iter().any(|known| known == kind);
        let runners = self.queue().and_then(|queue| queue.runners_before_exit());
        self.config.kinds.contains_key(kind) || runners.is_ok_and(|runners| runners.iter().any(has))
    }
}

/// Who calls, for the history: for people only, so what the environment says will do.
fn user() -> Option<String> {
    let names = ["USER", "LOGNAME"].into_iter();
    let mut names = names.filter_map(|name| std::env::var(name).ok());
    names.find(|name| !name.is_empty())
}

/// How things are shown: decided once, before anything is said.
pub(crate) fn decide_output(global: &GlobalOptions) -> Output {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

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
