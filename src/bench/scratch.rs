//! A folder for the time of a measurement.

use crate::clock::Clock;
use std::fs;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A new folder that only its owner can enter; removed with all that is in it when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Locked as long as it is used, so that one of a killed measurement is known.
    _folder: File,
}

const PREFIX: &str = ".jobq-bench-";

/// A folder that is younger may not be locked yet.
const STRAY_AFTER_MS: i64 = 60_000;

impl Scratch {
    /// Makes it in `parent`, which must be there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new_in(parent: &Path) -> Result<Scratch> {
        remove_strays(parent);
        let name = format!("{PREFIX}{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = parent.join(name);
        let made = DirBuilder::new().mode(0o700).create(&path);
        let folder = made
            .and_then(|()| File::open(&path))
            .and_then(|folder| folder.try_lock().map(|()| folder).map_err(Into::into))
            .map_err(|error| {
                Error::io(
                    format_args!("the folder {} cannot be made", path.display()),
                    error,
                )
            })?;
        Ok(Scratch {
            path,
            _folder: folder,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes such a folder although another process may still be creating files in it.
    pub fn remove(path: &Path) {
        for _ in 0..10 {
            if fs::remove_dir_all(path).is_ok() || !path.exists() {
                return;
            }
        }
        log::warn!("the folder {} could not be removed", path.display());
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        Scratch::remove(&self.path);
    }
}

/// Removes what killed measurements have left: old folders of this user that are not locked.
fn remove_strays(parent: &Path) {
    let now_ms = Clock::default().now_ms();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let is_old = || {
            entry.metadata().is_ok_and(|found| {
                found.is_dir()
                    && found.uid() == rustix::process::geteuid().as_raw()
                    && now_ms - found.mtime() * 1000 > STRAY_AFTER_MS
            })
        };
        let is_free = || File::open(entry.path()).is_ok_and(|folder| folder.try_lock().is_ok());
        if is_ours && is_old() && is_free() {
            Scratch::remove(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use std::time::SystemTime;

    #[test]
    fn nothing_is_left_of_it() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new_in(parent.path()).unwrap();
        fs::write(scratch.path().join("file"), "x").unwrap();
        drop(scratch);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_of_a_killed_measurement_is_removed_by_the_next() {
        let parent = tempfile::tempdir().unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let live = Scratch::new_in(parent.path()).unwrap();
        let dead = parent.path().join(".jobq-bench-1-00000000");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("file"), "x").unwrap();
        for folder in [live.path(), &dead] {
            File::open(folder).unwrap().set_modified(old).unwrap();
        }
        drop(Scratch::new_in(parent.path()).unwrap());
        assert!(live.path().exists() && !dead.exists());
    }
}
