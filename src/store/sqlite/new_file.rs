//! Creating files: under a random name beside the target, and renamed only when complete and on the disk.

use std::fs;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::clock::Clock;
use crate::store::sqlite::file::with_suffix;
use crate::store::sqlite::file_identity::leads_to;
use crate::{Error, Result};

const PREFIX: &str = ".jobq-new-";
const CHANCE_CHARS: usize = 16;

/// Files that SQLite may create beside a database.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// A younger file may belong to a process that has not locked it yet.
const STRAY_AFTER_MS: i64 = 60_000;

/// A file under its temporary name; removed when dropped, unless it was renamed.
pub(crate) struct NewFile {
    /// Locked while a process works on it, so that strays are recognised.
    file: File,
    path: PathBuf,
    is_in_place: bool,
}

impl NewFile {
    /// An empty file that only its owner can read, in the target's folder.
    pub(crate) fn beside(place: &Path) -> Result<NewFile> {
        let folder = folder_of(place);
        remove_strays(folder);
        let path = folder.join(format!("{PREFIX}{:016x}", fastrand::u64(..)));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| not_made(folder, error))?;
        let new = NewFile {
            file,
            path,
            is_in_place: false,
        };
        new.file
            .try_lock()
            .map_err(|error| not_made(folder, error.into()))?;
        Ok(new)
    }

    /// Its temporary path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Renames it to its target; returns false if that exists, which then stays.
    pub(crate) fn publish(mut self, place: &Path) -> Result<bool> {
        self.sync()?;
        let moved = renameat_with(CWD, &self.path, CWD, place, RenameFlags::NOREPLACE);
        let moved = match moved {
            // The file system does not support this kind of rename.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                fs::hard_link(&self.path, place).and_then(|()| fs::remove_file(&self.path))
            }
            moved => moved.map_err(Into::into),
        };
        match moved {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            moved => moved.map_err(|error| at(place, error))?,
        }
        self.is_in_place = true;
        sync_folder(place)?;
        Ok(true)
    }

    /// Renames it to its target, which is replaced atomically.
    pub(crate) fn replace(mut self, place: &Path) -> Result<()> {
        fs::rename(&self.path, place).map_err(|error| at(place, error))?;
        self.is_in_place = true;
        Ok(())
    }

    /// Syncs it, and checks that it is still the file that was created.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file
            .sync_all()
            .map_err(|error| at(&self.path, error))?;
        if leads_to(&self.path, &self.file) {
            return Ok(());
        }
        Err(Error::io(
            format_args!("{}", self.path.display()),
            std::io::Error::other("somebody else has put another file in its place"),
        ))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_in_place {
            remove_with_companions(&self.path);
        }
    }
}

fn remove_with_companions(path: &Path) {
    for companion in COMPANIONS {
        let _ = fs::remove_file(with_suffix(path, companion));
    }
    let _ = fs::remove_file(path);
}

/// Syncs a folder: its names then survive a power cut.
pub(crate) fn sync_folder(of: &Path) -> Result<()> {
    let folder = folder_of(of);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| at(folder, error))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Removes files that killed processes have left unfinished in the folder. Returns how many.
pub(crate) fn remove_strays(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut strays: Vec<String> = names.filter_map(|name| new_name(&name)).collect();
    strays.sort();
    strays.dedup();
    strays.retain(|name| {
        let path = folder.join(name);
        let is_stray = is_stray(&path);
        if is_stray {
            remove_with_companions(&path);
        }
        is_stray
    });
    strays.len()
}

/// The name of the unfinished file that this one is, or accompanies.
fn new_name(name: &str) -> Option<String> {
    let companion = COMPANIONS.iter().find_map(|end| name.strip_suffix(end));
    let name = companion.unwrap_or(name);
    let chance = name.strip_prefix(PREFIX)?;
    let is_ours =
        chance.len() == CHANCE_CHARS && chance.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_ours.then(|| name.to_owned())
}

/// Whether it is ours, old, and not locked. Companions without their file count too.
fn is_stray(path: &Path) -> bool {
    let now_ms = Clock::default().now_ms();
    let old = |path: &Path| {
        fs::symlink_metadata(path).is_ok_and(|found| {
            found.is_file()
                && found.uid() == rustix::process::geteuid().as_raw()
                && now_ms - found.mtime() * 1000 > STRAY_AFTER_MS
        })
    };
    if fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return COMPANIONS.iter().any(|end| old(&with_suffix(path, end)));
    }
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path);
    old(path) && opened.is_ok_and(|file| file.try_lock().is_ok())
}

fn at(path: &Path, error: std::io::Error) -> Error {
    Error::io(format_args!("{}", path.display()), error)
}

fn not_made(folder: &Path, error: std::io::Error) -> Error {
    let is_missing = error.kind() == ErrorKind::NotFound;
    let failed = Error::io(
        format_args!("no file can be made in {}", folder.display()),
        error,
    );
    match is_missing {
        true => failed.with_hint(format!("make the folder: mkdir -p '{}'", folder.display())),
        false => failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use std::time::SystemTime;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_gets_its_place_whole_or_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("place");
        drop(NewFile::beside(&place).unwrap());
        assert_eq!(names(folder.path()), [""; 0]);
        let new = NewFile::beside(&place).unwrap();
        fs::write(new.path(), "new").unwrap();
        fs::write(&place, "old").unwrap();
        assert!(!new.publish(&place).unwrap());
        assert_eq!(names(folder.path()), ["place"]);
        assert_eq!(fs::read_to_string(&place).unwrap(), "old");
        let new = NewFile::beside(&place).unwrap();
        fs::write(new.path(), "new").unwrap();
        fs::remove_file(&place).unwrap();
        assert!(new.publish(&place).unwrap());
        assert_eq!(names(folder.path()), ["place"]);
    }

    #[test]
    fn a_file_that_was_exchanged_in_the_making_is_not_published() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("place");
        let new = NewFile::beside(&place).unwrap();
        fs::remove_file(new.path()).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", new.path()).unwrap();
        assert!(new.publish(&place).is_err());
        assert!(!place.exists());
    }

    #[test]
    fn strays_are_removed_when_they_are_old_and_nobody_holds_them() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let live = NewFile::beside(&at("x")).unwrap();
        let dead = at(&format!("{PREFIX}0123456789abcdef"));
        let lone = at(&format!("{PREFIX}fedcba9876543210-wal"));
        let young = at(&format!("{PREFIX}00000000000000aa"));
        let others = [
            at(".jobq-new-12"),
            at(".jobq-new-0123456789abcdex"),
            at("jobs.db-wal"),
        ];
        for path in [&dead, &with_suffix(&dead, "-wal"), &lone, &young]
            .into_iter()
            .chain(&others)
        {
            fs::write(path, "").unwrap();
        }
        for path in [live.path(), &dead, &lone]
            .into_iter()
            .chain(others.iter().map(PathBuf::as_path))
        {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(old)
                .unwrap();
        }
        assert_eq!(remove_strays(folder.path()), 2);
        assert!(live.path().exists() && young.exists() && others.iter().all(|path| path.exists()));
        assert_eq!(names(folder.path()).len(), 5);
    }
}
