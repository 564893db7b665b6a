//! The database file as the operating system sees it: its folder, its modes, its file system.

use std::ffi::OsStr;
use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::Kind;
use crate::model::file_options::{NetworkFs, OpenMode};
use crate::model::remedy::Remedy;
use crate::store::sqlite::ownership;
use crate::{Error, Result};

/// SQLite before this can lose commits when a checkpoint and a writer race.
const OLDEST_SQLITE: i32 = 3_051_003;

pub(crate) fn check_sqlite_version(version: i32) -> Result<()> {
    if version >= OLDEST_SQLITE {
        return Ok(());
    }
    Err(Error::new(
        Kind::Unsupported,
        format!(
            "SQLite {} can lose commits; jobq needs 3.51.3 or newer",
            spell_version(version)
        ),
    )
    .with_hint("build jobq with its bundled SQLite"))
}

fn spell_version(version: i32) -> String {
    format!(
        "{}.{}.{}",
        version / 1_000_000,
        version / 1000 % 1000,
        version % 1000
    )
}

/// The absolute path, after creating a missing folder. Links are resolved, as SQLite does, so that opening
/// the target by its own name finds the same log and the same runners.
pub(crate) fn prepare_folder(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path)
        .map_err(|error| Error::io(format_args!("{}", path.display()), error))?;
    check_length(&path)?;
    make_folder(&path)?;
    if path.is_symlink() {
        return Ok(std::fs::canonicalize(&path).unwrap_or(path));
    }
    Ok(path)
}

/// SQLite takes paths of 512 bytes, its `-journal` included, and only says that it cannot open longer
/// ones. A name has 255 bytes, `-runners` included.
fn check_length(path: &Path) -> Result<()> {
    const MAX_PATH_BYTES: usize = 512 - "-journal".len();
    const MAX_NAME_BYTES: usize = 255 - "-runners".len();
    let name_bytes = path.file_name().map_or(0, OsStr::len);
    let (what, bytes, most) = match path.as_os_str().len() {
        bytes if bytes > MAX_PATH_BYTES => ("path", bytes, MAX_PATH_BYTES),
        _ if name_bytes > MAX_NAME_BYTES => ("file name", name_bytes, MAX_NAME_BYTES),
        _ => return Ok(()),
    };
    let message = format!("the database's {what} is too long: {bytes} bytes of at most {most}");
    Err(Error::invalid(message).with_hint("put the file where its absolute path is shorter"))
}

fn make_folder(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| {
        let action = format_args!("the folder {} cannot be made", folder.display());
        ownership::explain(Error::io(action, error), folder)
    })
}

/// Maximum number of links to follow.
const MAX_LINKS: u32 = 40;

/// The file that `path` names: absolute and with links resolved, so that opening the target by its own name
/// finds the same log and the same runners. A link may lead to a file that is not
/// made yet.
pub(crate) fn locate(path: &Path) -> Result<PathBuf> {
    let named = path;
    let failed = |path: &Path, error| Error::io(format_args!("{}", path.display()), error);
    let mut path = std::path::absolute(path).map_err(|error| failed(path, error))?;
    check_length(&path)?;
    for _ in 0..MAX_LINKS {
        let Ok(link) = path.symlink_metadata() else {
            return Ok(path);
        };
        if !link.is_symlink() {
            return Ok(path);
        }
        if let Ok(file) = std::fs::canonicalize(&path) {
            return Ok(file);
        }
        // The kernel has no part in following a link that leads nowhere yet: it would refuse to go where
        // somebody else wants in a folder that is everybody's.
        let me = rustix::process::geteuid().as_raw();
        if link.uid() != me && link.uid() != 0 {
            return Err(Error::new(
                Kind::Io,
                format!(
                    "{} is a link of {} to a file that is not there",
                    path.display(),
                    ownership::user_name(link.uid())
                ),
            )
            .with_hint("name the file itself if that is the one you want"));
        }
        let target = std::fs::read_link(&path).map_err(|error| failed(&path, error))?;
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    Err(Error::new(
        Kind::Io,
        format!("{} is a link that leads to itself", named.display()),
    )
    .with_hint("name the file itself"))
}

/// Creates a missing file if asked to. Refuses anything but an ordinary file before opening it, which could
/// block.
pub(crate) fn find_or_make(path: &Path, mode: OpenMode) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(found) if found.is_dir() => return Err(is_folder(path)),
        Ok(found) => return Err(no_file(path, found.file_type())),
        Err(error) if is_missing(&error) && mode == OpenMode::Create => {
            make_folder(path)?;
            create_private(path)?;
        }
        Err(error) if is_missing(&error) => return Err(no_database(path)),
        Err(error) => {
            let action = format_args!("the database {} cannot be opened", path.display());
            return Err(ownership::explain(Error::io(action, error), path));
        }
    }
    for suffix in ["-wal", "-shm", "-journal"] {
        let path = with_suffix(path, suffix);
        match path.symlink_metadata() {
            Ok(found) if !found.is_file() => return Err(no_file(&path, found.file_type())),
            _ => {}
        }
    }
    Ok(())
}

fn is_missing(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

pub(crate) fn no_database(path: &Path) -> Error {
    Error::new(
        Kind::NoDatabase,
        format!("there is no database {}", path.display()),
    )
}

fn is_folder(path: &Path) -> Error {
    Error::new(
        Kind::NotADatabase,
        format!("{} is a folder, not a database", path.display()),
    )
    .with_hint(format!(
        "name a file in it: {}",
        path.join("jobq.db").display()
    ))
}

fn no_file(path: &Path, kind: std::fs::FileType) -> Error {
    let what = if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else {
        "a device"
    };
    Error::new(
        Kind::Io,
        format!("{} is {what}, not an ordinary file", path.display()),
    )
    .with_hint("name another file as the database")
}

/// Creates an empty file that only its owner can read, unless it exists. SQLite would make it readable to
/// everybody; its `-wal` and `-shm` take its mode.
pub(crate) fn create_private(path: &Path) -> Result<()> {
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => {
            let action = format_args!("the database {} cannot be made", path.display());
            Err(ownership::explain(Error::io(action, error), path))
        }
    }
}

/// Refuses a file system whose locks do not hold between machines.
#[cfg(target_os = "linux")]
pub(crate) fn check_file_system(path: &Path, network_fs: NetworkFs) -> Result<()> {
    if network_fs == NetworkFs::Allow {
        return Ok(());
    }
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    let Ok(stat) = rustix::fs::statfs(folder) else {
        return Ok(());
    };
    match network_fs_name(stat.f_type as u32) {
        None => Ok(()),
        Some(name) => Err(Error::new(
            Kind::Unsupported,
            format!(
                "{} is on a network file system ({name}), where SQLite's locks cannot be trusted",
                path.display()
            ),
        )
        .with_hint("put the file on a local disk")
        .with_remedy(Remedy::AllowNetworkFs)),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn check_file_system(_: &Path, _: NetworkFs) -> Result<()> {
    Ok(())
}

/// The magic numbers of `statfs(2)`.
#[cfg(any(target_os = "linux", test))]
fn network_fs_name(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517B => "SMB",
        0xFF53_4D42 => "CIFS",
        0xFE53_4D42 => "SMB2",
        0x0102_1997 => "9p",
        0x00C3_6400 => "Ceph",
        0x5346_414F => "AFS",
        0x7375_7245 => "Coda",
        0x564C => "NCP",
        0x0116_1970 => "GFS2",
        _ => return None,
    })
}

/// The folder beside the database in which runners keep their lock files.
pub(crate) fn runners_folder(path: &Path) -> PathBuf {
    with_suffix(path, "-runners")
}

/// The database of such a folder.
pub(crate) fn database_of(runners_folder: &Path) -> Option<PathBuf> {
    let name = runners_folder.file_name()?.as_encoded_bytes();
    let name = name.strip_suffix(b"-runners")?;
    Some(runners_folder.with_file_name(OsStr::from_bytes(name)))
}

/// `path` with `suffix` appended to its file name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sqlite_that_can_lose_commits_is_refused() {
        assert!(check_sqlite_version(3_051_003).is_ok());
        let error = check_sqlite_version(3_051_002).unwrap_err();
        assert!(error.to_string().contains("3.51.2"), "{error}");
        assert!(check_sqlite_version(rusqlite::version_number()).is_ok());
    }

    #[test]
    fn a_path_too_long_for_sqlite_or_for_a_name_is_an_error() {
        let in_folder = |bytes: usize| PathBuf::from(format!("/{}/x", "f/".repeat(bytes / 2 - 2)));
        assert!(check_length(&in_folder(504)).is_ok());
        let error = check_length(&in_folder(506)).unwrap_err();
        assert!(
            error.to_string().contains("505 bytes of at most 504"),
            "{error}"
        );
        let named = |bytes: usize| PathBuf::from(format!("/{}", "n".repeat(bytes)));
        assert!(check_length(&named(247)).is_ok());
        let error = check_length(&named(248)).unwrap_err();
        assert!(
            error.to_string().contains("248 bytes of at most 247"),
            "{error}"
        );
    }

    #[test]
    fn a_link_to_a_file_is_that_file() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let [file, link] = ["jobs.db", "link"].map(|name| folder.join(name));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(locate(&link).unwrap(), file, "it is not made yet");
        std::fs::write(&file, "").unwrap();
        assert_eq!(locate(&link).unwrap(), file);
        assert_eq!(locate(&file).unwrap(), file);
        assert_eq!(prepare_folder(&link).unwrap(), file);
    }

    #[test]
    fn network_file_systems_are_known_by_their_magic() {
        assert_eq!(network_fs_name(0x0102_1997), Some("9p"));
        assert_eq!(network_fs_name(0x6969), Some("NFS"));
        assert_eq!(network_fs_name(0xEF53), None, "ext4");
    }
}
