//! Where secrets are read.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Deserialize;
use zeroize::Zeroize;

use crate::clock;
use crate::handlers::exec::{Printout, printout};
use crate::handlers::secrets::{Secret, SecretRule};
use crate::runner::cancellation::lock;
use crate::runner::context::Context;
use crate::runner::handler::Failure;

/// The largest secret: written with escapes it still fits a piece of output.
const MAX_BYTES: usize = 8 * 1024;

/// How long a command may take: whoever waits for the secret waits for it.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Others than the owner and the group of a file with a secret can do nothing with it, and the group only read.
const FORBIDDEN_MODE: u32 = 0o037;

/// Where a secret is read. A line break at its end is cut.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SecretSource {
    /// This variable of the runner's environment.
    Env(String),
    /// A file that others cannot read.
    File(PathBuf),
    /// A file of this name in `$CREDENTIALS_DIRECTORY`, as systemd's `LoadCredential=` puts it there.
    Credential(String),
    /// What this command prints. Its messages are dropped, as they may show the secret.
    Command(SecretCommand),
}

/// A command that prints a secret.
#[derive(Debug, Default)]
pub struct SecretCommand {
    /// The program and its arguments, without a shell.
    pub argv: Vec<String>,
    /// Where it runs; without one where the runner does.
    pub cwd: Option<PathBuf>,
    /// For how long its answer holds; unless set, every attempt asks again.
    pub cache: Option<Duration>,
    cached: Mutex<Option<(Instant, Secret)>>,
}

impl Clone for SecretCommand {
    fn clone(&self) -> SecretCommand {
        SecretCommand {
            argv: self.argv.clone(),
            cwd: self.cwd.clone(),
            cache: self.cache,
            cached: Mutex::default(),
        }
    }
}

impl SecretSource {
    pub(super) fn set_folder(&mut self, folder: &Path) {
        match self {
            SecretSource::File(path) => *path = folder.join(&path),
            SecretSource::Command(command) => command.cwd = Some(folder.to_owned()),
            SecretSource::Env(_) | SecretSource::Credential(_) => {}
        }
    }

    /// The error says why not, to complete "the secret X cannot be read:".
    pub(super) fn read(&self, ctx: Option<&Context>) -> Result<Secret, Failure> {
        match self {
            SecretSource::Env(name) => match std::env::var(name) {
                Ok(value) => text(value.into_bytes()),
                Err(std::env::VarError::NotPresent) => Err(refused(format!(
                    "the runner's environment has no variable {name}"
                ))),
                Err(std::env::VarError::NotUnicode(_)) => {
                    Err(refused("it is not UTF-8".to_owned()))
                }
            },
            SecretSource::File(path) => from_file(path),
            SecretSource::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(folder) => from_file(&Path::new(&folder).join(name)),
                None => Err(refused(
                    "the runner has no CREDENTIALS_DIRECTORY: its unit needs LoadCredential="
                        .to_owned(),
                )),
            },
            SecretSource::Command(command) => command.read(ctx),
        }
    }
}

impl SecretCommand {
    fn read(&self, ctx: Option<&Context>) -> Result<Secret, Failure> {
        let now = clock::instant();
        if let (Some((read_at, secret)), Some(time)) = (&*lock(&self.cached), self.cache)
            && now.duration_since(*read_at) < time
        {
            return Ok(secret.clone());
        }
        // Without the lock: whoever waited for it would hear of no cancel and no timeout.
        let asked = Printout {
            argv: &self.argv,
            cwd: self.cwd.as_deref(),
            max_bytes: MAX_BYTES,
            timeout: COMMAND_TIMEOUT,
        };
        let secret = text(printout(ctx, &asked)?)?;
        if self.cache.is_some() {
            *lock(&self.cached) = Some((now, secret.clone()));
        }
        Ok(secret)
    }
}

fn refused(why: String) -> Failure {
    Failure::permanent(why)
}

fn from_file(path: &Path) -> Result<Secret, Failure> {
    let of_path = |why: &dyn std::fmt::Display| refused(format!("{}: {why}", path.display()));
    let found = fs::metadata(path).map_err(|error| of_path(&error))?;
    if found.mode() & FORBIDDEN_MODE != 0 {
        return Err(of_path(&format_args!(
            "others can read or write it (mode {:04o}): chmod 600 it",
            found.mode() & 0o7777
        )));
    }
    if found.len() > MAX_BYTES as u64 {
        return Err(of_path(&format_args!(
            "it is longer than {MAX_BYTES} bytes"
        )));
    }
    text(fs::read(path).map_err(|error| of_path(&error))?).map_err(|why| of_path(&why))
}

fn text(bytes: Vec<u8>) -> Result<Secret, Failure> {
    let mut value = String::from_utf8(bytes).map_err(|error| {
        error.into_bytes().zeroize();
        refused("it is not UTF-8".to_owned())
    })?;
    if value.ends_with('\n') {
        value.pop();
    }
    if value.ends_with('\r') {
        value.pop();
    }
    match value.is_empty() {
        true => Err(refused("it is empty".to_owned())),
        false => Ok(Secret::from(value)),
    }
}

/// A secret in the config file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretEntry {
    env: Option<String>,
    file: Option<PathBuf>,
    credential: Option<String>,
    command: Option<Vec<String>>,
    cache: Option<String>,
    hosts: Option<Vec<String>>,
    kinds: Option<Vec<String>>,
}

impl<'de> Deserialize<'de> for SecretRule {
    fn deserialize<D: serde::Deserializer<'de>>(value: D) -> Result<SecretRule, D::Error> {
        use serde::de::Error as _;

        let entry = SecretEntry::deserialize(value)?;
        let mut sources = Vec::new();
        sources.extend(entry.env.map(SecretSource::Env));
        sources.extend(entry.file.map(SecretSource::File));
        sources.extend(entry.credential.map(SecretSource::Credential));
        if let Some(argv) = entry.command {
            if argv.first().is_none_or(String::is_empty) {
                return Err(D::Error::custom("the command of a secret is empty"));
            }
            sources.push(SecretSource::Command(SecretCommand {
                argv,
                ..SecretCommand::default()
            }));
        }
        if let [SecretSource::Credential(name)] = &sources[..]
            && (name.contains('/') || name.starts_with('.'))
        {
            return Err(D::Error::custom(format_args!(
                "invalid credential '{name}': it is the name of a file, not a path"
            )));
        }
        let Ok([mut source]) = <[SecretSource; 1]>::try_from(sources) else {
            return Err(D::Error::custom(
                "a secret needs one of env, file, credential and command",
            ));
        };
        if let Some(time) = entry.cache {
            let time = crate::parse_duration(&time).map_err(|why| {
                D::Error::custom(format_args!("invalid duration '{time}': {why}"))
            })?;
            match &mut source {
                SecretSource::Command(command) => command.cache = Some(time),
                _ => return Err(D::Error::custom("cache goes with command")),
            }
        }
        Ok(SecretRule {
            source,
            hosts: entry.hosts,
            kinds: entry.kinds,
        })
    }
}
