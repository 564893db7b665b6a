//! A folder for the time of a measurement.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A new folder that only its owner can enter; removed with all that is in it when this is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes it in `parent`, which must be there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new_in(parent: &Path) -> Result<Scratch> {
        let name = format!(
            ".jobq-bench-{}-{:08x}",
            std::process::id(),
            fastrand::u32(..)
        );
        let path = parent.join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| {
                Error::io(
                    format_args!("the folder {} cannot be made", path.display()),
                    error,
                )
            })?;
        Ok(Scratch(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Removes such a folder although somebody may still be making files in it.
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
        Scratch::remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_it() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new_in(parent.path()).unwrap();
        fs::write(scratch.path().join("file"), "x").unwrap();
        drop(scratch);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
