//! Where a config file is looked for, and how it is read.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::trust::Caller;
use super::{Config, Stamp, stamp_of};
use crate::cli::exit::{CliError, CliResult};
use crate::cli::session;

const FILE_NAME: &str = "jobq.toml";

/// The files that may be the config file; the first of them that is there is.
#[derive(Clone, Debug)]
pub(crate) struct Sources(Vec<Source>);

#[derive(Clone, Debug)]
enum Source {
    /// It must be there.
    Named(PathBuf),
    /// It lies where somebody happens to be, and is obeyed only where its owner may be.
    Here(PathBuf),
    /// In the user's folder for such files.
    OfUser(PathBuf),
}

impl Sources {
    /// The file that was named, or else the usual ones.
    pub(crate) fn new(named: Option<&Path>) -> Sources {
        if let Some(path) = named.filter(|path| !path.as_os_str().is_empty()) {
            return Sources(vec![Source::Named(path.to_owned())]);
        }
        let env = |name: &str| std::env::var_os(name);
        let of_user = session::xdg_folder(&env, "XDG_CONFIG_HOME", ".config");
        let of_user = of_user.map(|folder| folder.join("jobq").join(FILE_NAME));
        let here = Source::Here(PathBuf::from(FILE_NAME));
        Sources(
            [here]
                .into_iter()
                .chain(of_user.map(Source::OfUser))
                .collect(),
        )
    }

    /// What the file says; everything is left out where there is none.
    pub(super) fn load(&self) -> CliResult<Config> {
        match (self.read()?, &self.0[..]) {
            (Some(config), _) => Ok(config),
            (None, [Source::Named(path)]) => Err(CliError::usage(format!(
                "there is no config file {}",
                path.display()
            ))),
            (None, _) => Ok(Config::default()),
        }
    }

    /// The first that is there.
    pub(crate) fn read(&self) -> CliResult<Option<Config>> {
        for source in &self.0 {
            let config = match source {
                Source::Named(path) | Source::OfUser(path) => Config::read(path)?,
                Source::Here(path) => Config::read_here(path)?,
            };
            if config.is_some() {
                return Ok(config);
            }
        }
        Ok(None)
    }

    /// The file of `config` and those that come before it; all of them where there is none yet.
    #[must_use]
    pub(crate) fn up_to(mut self, config: &Config) -> Sources {
        if let Some(at) = self.position(config) {
            self.0.truncate(at + 1);
        }
        self
    }

    /// Which file is there, and its state. None: there is none.
    pub(crate) fn state(&self) -> Option<(usize, Stamp)> {
        let mut states = self.paths().map(stamp_of).enumerate();
        states.find(|(_, stamp)| stamp.is_some())
    }

    /// The same at the moment when `config` was read.
    pub(crate) fn state_of(&self, config: &Config) -> Option<(usize, Stamp)> {
        let at = self.position(config)?;
        config.stamp.is_some().then_some((at, config.stamp))
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|source| match source {
            Source::Named(path) | Source::Here(path) | Source::OfUser(path) => path.as_path(),
        })
    }

    fn position(&self, config: &Config) -> Option<usize> {
        self.paths().position(|path| path == config.path)
    }
}

impl Config {
    /// None where there is no such file.
    fn read(path: &Path) -> CliResult<Option<Config>> {
        let stamp = stamp_of(path);
        match std::fs::read_to_string(path) {
            Ok(text) => Config::of(&text, path, stamp).map(Some),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(CliError::io(path.display(), &error)),
        }
    }

    /// The same for a file that nobody has named: it lies where somebody happens to be.
    fn read_here(path: &Path) -> CliResult<Option<Config>> {
        let failed = |error| CliError::io(path.display(), &error);
        let stamp = stamp_of(path);
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path);
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let found = file.metadata().map_err(failed)?;
        let refused = |why: String| {
            Err(
                CliError::failed(format!("./{} is not obeyed: {why}", path.display())).with_hint(
                    format!("if you trust what it says: --config ./{}", path.display()),
                ),
            )
        };
        // A folder is told as such when it is read.
        if !found.is_file() && !found.is_dir() {
            return refused("it is not a regular file".to_owned());
        }
        let folder = std::fs::metadata(".").map_err(failed)?;
        let fault = Caller::of_process().distrust(&found, &folder);
        if let Some(why) = fault.filter(|_| found.is_file()) {
            return refused(why);
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        Config::of(&text, path, stamp).map(Some)
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
