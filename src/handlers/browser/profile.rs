//! The folders that browsers keep their files in while they run. A lock shows that the owner of one is alive; the folders
//! of those that were killed are removed by the next that starts a browser.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PREFIX: &str = "jobq-browser-";
const LOCK: &str = "lock";
/// A folder without a lock is just being made, unless it is older.
const MADE_WITHIN: Duration = Duration::from_secs(60);

/// A folder for one browser. Dropped, it is removed.
pub(super) struct BrowserProfile {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl BrowserProfile {
    pub(super) fn create(within: &Path) -> io::Result<BrowserProfile> {
        loop {
            let path = within.join(format!("{PREFIX}{:016x}", fastrand::u64(..)));
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            let lock = File::create_new(path.join(LOCK))?;
            // Another may take it for an old one until it is locked.
            if lock.try_lock().is_ok() && lock.metadata()?.nlink() > 0 {
                return Ok(BrowserProfile { path, _lock: lock });
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BrowserProfile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            log::warn!("'{}' cannot be removed: {error}", self.path.display());
        }
    }
}

/// Removes the folders of browsers whose owners have gone.
pub(super) fn remove_abandoned(within: &Path) {
    let entries = fs::read_dir(within).into_iter().flatten().flatten();
    let is_named = |name: &std::ffi::OsStr| name.to_str().is_some_and(|it| it.starts_with(PREFIX));
    for entry in entries.filter(|entry| is_named(&entry.file_name())) {
        let path = entry.path();
        // Held until the folder has gone: its owner cannot begin to use it meanwhile.
        if let Ok(Some(_lock)) = lock_abandoned(&path)
            && let Err(error) = fs::remove_dir_all(&path)
        {
            log::warn!("'{}' cannot be removed: {error}", path.display());
        }
    }
}

/// The lock of a folder whose owner has gone.
fn lock_abandoned(folder: &Path) -> io::Result<Option<File>> {
    let found = fs::symlink_metadata(folder)?;
    let is_own = found.uid() == rustix::process::geteuid().as_raw();
    if !found.is_dir() || !is_own {
        return Ok(None);
    }
    let is_old = found.modified()?.elapsed().unwrap_or_default() > MADE_WITHIN;
    let lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(is_old)
        .truncate(false)
        .open(folder.join(LOCK));
    match lock {
        Ok(lock) => Ok(lock.try_lock().is_ok().then_some(lock)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_being_removed_gets_no_owner() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(LOCK), "").unwrap();
        let removed = lock_abandoned(folder.path()).unwrap();
        assert!(removed.is_some());
        let lock = File::open(folder.path().join(LOCK)).unwrap();
        assert!(lock.try_lock().is_err());
        assert!(lock_abandoned(folder.path()).unwrap().is_none());
        drop(removed);
        assert!(lock.try_lock().is_ok());
    }

    #[test]
    fn a_folder_stays_while_its_owner_lives() {
        let folder = tempfile::tempdir().unwrap();
        let profile = BrowserProfile::create(folder.path()).unwrap();
        let abandoned = folder.path().join("jobq-browser-1");
        fs::create_dir_all(abandoned.join("Default")).unwrap();
        fs::write(abandoned.join(LOCK), "").unwrap();
        let others = ["jobq-other", "jobq-browser-2"].map(|name| folder.path().join(name));
        others.iter().for_each(|path| fs::create_dir(path).unwrap());
        std::os::unix::fs::symlink(&others[0], folder.path().join("jobq-browser-3")).unwrap();
        remove_abandoned(folder.path());
        assert!(!abandoned.exists());
        assert!(profile.path().exists() && others.iter().all(|path| path.exists()));
        let path = profile.path().to_owned();
        drop(profile);
        assert!(!path.exists());
    }
}
