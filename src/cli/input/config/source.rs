//! Where a config file is looked for, how it is read, and whose `./jobq.toml` is obeyed.

use std::ffi::OsString;
use std::fs::{Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::{getegid, geteuid};

use crate::cli::exit::{CliError, CliResult};
use crate::cli::input::config::{Config, Stamp, stamp_of};

const FILE_NAME: &str = "jobq.toml";

/// The files that may be the config file; the first of them that is there is.
#[derive(Clone, Debug)]
pub(crate) struct ConfigSources(Vec<ConfigSource>);

#[derive(Clone, Debug)]
enum ConfigSource {
    /// It must be there.
    Named(PathBuf),
    /// In the working directory; obeyed only if its owner is trusted.
    Here(PathBuf),
    /// In the user's folder for such files.
    OfUser(PathBuf),
}

impl ConfigSources {
    /// The file that was named, or else the usual ones.
    pub(crate) fn new(named: Option<&Path>) -> ConfigSources {
        if let Some(path) = named.filter(|path| !path.as_os_str().is_empty()) {
            return ConfigSources(vec![ConfigSource::Named(path.to_owned())]);
        }
        let env = |name: &str| std::env::var_os(name);
        let of_user = xdg_folder(&env, "XDG_CONFIG_HOME", ".config");
        let of_user = of_user.map(|folder| folder.join("jobq").join(FILE_NAME));
        let here = ConfigSource::Here(PathBuf::from(FILE_NAME));
        ConfigSources(
            [here]
                .into_iter()
                .chain(of_user.map(ConfigSource::OfUser))
                .collect(),
        )
    }

    /// What the file says; everything is left out where there is none.
    pub(crate) fn load(&self) -> CliResult<Config> {
        match (self.read()?, &self.0[..]) {
            (Some(config), _) => Ok(config),
            (None, [ConfigSource::Named(path)]) => Err(CliError::usage(format!(
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
                ConfigSource::Named(path) | ConfigSource::OfUser(path) => Config::read(path)?,
                ConfigSource::Here(path) => Config::read_here(path)?,
            };
            if config.is_some() {
                return Ok(config);
            }
        }
        Ok(None)
    }

    /// The file of `config` and those that come before it; all of them where there is none yet.
    #[must_use]
    pub(crate) fn up_to(mut self, config: &Config) -> ConfigSources {
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
            ConfigSource::Named(path) | ConfigSource::Here(path) | ConfigSource::OfUser(path) => {
                path.as_path()
            }
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

    /// The same for the file in the working directory, which was not named.
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
        // A folder gives its own error when it is read.
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

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

const STICKY: u32 = 0o1000;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// The user who calls jobq, as whom the commands of `./jobq.toml` run. As for git's own
/// configuration, only a file of the user or of root counts, in a folder where nobody else can put another
/// one in its place. A file that was named on the command line is trusted.
#[derive(Clone, Copy, Debug)]
struct Caller {
    user: u32,
    group: u32,
    /// The user who has become root by sudo.
    behind_sudo: Option<u32>,
}

impl Caller {
    fn of_process() -> Caller {
        let user = geteuid().as_raw();
        let sudo = std::env::var("SUDO_UID").ok();
        Caller {
            user,
            group: getegid().as_raw(),
            behind_sudo: sudo.and_then(|id| id.parse().ok()).filter(|_| user == 0),
        }
    }

    fn trusts(self, owner: u32) -> bool {
        owner == self.user || owner == 0 || Some(owner) == self.behind_sudo
    }

    /// The group that belongs to the user alone has the user's own number.
    fn is_private(self, group: u32) -> bool {
        group == 0 || group == self.user && group == self.group || Some(group) == self.behind_sudo
    }

    /// Why the file is not to be obeyed.
    fn distrust(self, file: &Metadata, folder: &Metadata) -> Option<String> {
        self.judge(FileAccess::of(file), FileAccess::of(folder))
    }

    fn judge(self, file: FileAccess, folder: FileAccess) -> Option<String> {
        let kept = FileAccess {
            // Of a sticky folder only the owner of a file can remove it.
            mode: match folder.mode & STICKY {
                0 => folder.mode,
                _ => folder.mode & !(GROUP_WRITES | OTHERS_WRITE),
            },
            ..folder
        };
        self.fault(file)
            .map(|fault| format!("it {fault}"))
            .or_else(|| self.fault(kept).map(|fault| format!("its folder {fault}")))
    }

    fn fault(self, of: FileAccess) -> Option<String> {
        if !self.trusts(of.owner) {
            return Some(format!("belongs to user {}", of.owner));
        }
        if of.mode & OTHERS_WRITE != 0 {
            return Some("can be written by everybody".to_owned());
        }
        if of.mode & GROUP_WRITES != 0 && !self.is_private(of.group) {
            return Some(format!("can be written by group {}", of.group));
        }
        None
    }
}

#[derive(Clone, Copy, Debug)]
struct FileAccess {
    owner: u32,
    group: u32,
    mode: u32,
}

impl FileAccess {
    fn of(found: &Metadata) -> FileAccess {
        FileAccess {
            owner: found.uid(),
            group: found.gid(),
            mode: found.mode() & 0o7777,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: Caller = Caller {
        user: 1000,
        group: 1000,
        behind_sudo: None,
    };

    const fn access(owner: u32, group: u32, mode: u32) -> FileAccess {
        FileAccess { owner, group, mode }
    }

    const OWN_FOLDER: FileAccess = access(1000, 1000, 0o755);

    #[test]
    fn a_file_only_its_user_or_root_can_write_is_obeyed() {
        for file in [
            access(1000, 1000, 0o644),
            access(1000, 1000, 0o664),
            access(0, 0, 0o644),
            access(1000, 100, 0o644),
        ] {
            assert_eq!(ANN.judge(file, OWN_FOLDER), None, "{file:?}");
        }
        for file in [
            access(1001, 1000, 0o600),
            access(1000, 1000, 0o666),
            access(1000, 100, 0o664),
        ] {
            let why = ANN.judge(file, OWN_FOLDER).unwrap();
            assert!(why.starts_with("it "), "{why}");
        }
    }

    #[test]
    fn a_folder_where_others_can_put_a_file_in_its_place_is_not() {
        let file = access(1000, 1000, 0o644);
        for folder in [
            access(0, 0, 0o755),
            access(0, 0, 0o1777),
            access(1000, 1000, 0o775),
        ] {
            assert_eq!(ANN.judge(file, folder), None, "{folder:?}");
        }
        for folder in [
            access(1001, 1000, 0o755),
            access(0, 0, 0o777),
            access(1000, 100, 0o775),
            access(1001, 1001, 0o1777),
        ] {
            let why = ANN.judge(file, folder).unwrap();
            assert!(why.starts_with("its folder "), "{why}");
        }
    }

    #[test]
    fn root_obeys_the_user_who_has_become_root_and_nobody_else() {
        let root = Caller {
            user: 0,
            group: 0,
            behind_sudo: None,
        };
        let sudo = Caller {
            behind_sudo: Some(1000),
            ..root
        };
        let file = access(1000, 1000, 0o664);
        assert!(root.judge(file, OWN_FOLDER).is_some());
        assert_eq!(sudo.judge(file, OWN_FOLDER), None);
        assert!(sudo.judge(access(1001, 1000, 0o644), OWN_FOLDER).is_some());
    }
}
