//! The identity of the open file, and whether its path still leads to it.
//!
//! Only by `stat`: closing a descriptor of the database would drop SQLite's locks on it.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Kind;
use crate::store::sqlite::file::with_suffix;
use crate::{Error, Result, clock};

/// Checks less than this apart count as one: each costs a microsecond.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The identity of a file on this machine, independent of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

/// Where a path leads now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundFile {
    File(FileId),
    Nothing,
    /// It may be there, but this process cannot see it now.
    Hidden,
}

impl FoundFile {
    pub(crate) fn at(path: &Path) -> FoundFile {
        match std::fs::metadata(path) {
            Ok(file) => FoundFile::File(FileId {
                device: file.dev(),
                inode: file.ino(),
            }),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => FoundFile::Nothing,
                _ => FoundFile::Hidden,
            },
        }
    }
}

/// Whether the path leads to this open file, and not by a link.
pub(crate) fn leads_to(path: &Path, file: &File) -> bool {
    let id = |found: std::fs::Metadata| (found.dev(), found.ino());
    let (open, there) = (file.metadata(), std::fs::symlink_metadata(path));
    open.is_ok_and(|open| there.is_ok_and(|there| id(open) == id(there)))
}

/// The file that a process works with, and the log and shared memory that SQLite keeps beside it: two
/// processes that have the same database and not the same log damage it.
#[derive(Debug)]
pub(crate) struct OpenFile {
    path: PathBuf,
    file: FoundFile,
    beside: Mutex<Beside>,
}

#[derive(Debug)]
struct Beside {
    /// Each as it was when the file was opened.
    files: [(PathBuf, FoundFile); 2],
    looked_at: Instant,
}

impl OpenFile {
    /// Call it right after a connection has opened the file and read from it. `before` is where the path led
    /// before that: if it leads elsewhere now, it is unknown which file the connection has.
    pub(crate) fn just_opened(path: &Path, before: FoundFile) -> Option<OpenFile> {
        let file = FoundFile::at(path);
        (file == before).then(|| OpenFile {
            path: path.to_owned(),
            file,
            beside: Mutex::new(Beside {
                files: ["-wal", "-shm"].map(|suffix| {
                    let path = with_suffix(path, suffix);
                    let found = FoundFile::at(&path);
                    (path, found)
                }),
                looked_at: clock::instant(),
            }),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails if the path no longer leads to the open file.
    pub(crate) fn check(&self) -> Result<()> {
        self.look(&mut self.beside())
    }

    /// Checks only the database itself, for reopening, when the log may be another one.
    pub(crate) fn check_file(&self) -> Result<()> {
        compare(&self.path, self.file, "database")
    }

    /// As [`OpenFile::check`], unless it was checked just now.
    pub(crate) fn check_lately(&self) -> Result<()> {
        let mut beside = self.beside();
        if clock::instant().duration_since(beside.looked_at) < LOOK_EVERY {
            return Ok(());
        }
        self.look(&mut beside)
    }

    /// After the last connection was closed, and opened again: until then another process may have
    /// removed the log, as the last one that closes the file does.
    pub(crate) fn reopened(&self) {
        for (path, found) in &mut self.beside().files {
            *found = FoundFile::at(path);
        }
    }

    fn look(&self, beside: &mut Beside) -> Result<()> {
        self.check_file()?;
        for (path, found) in &beside.files {
            compare(path, *found, "database's log")?;
        }
        beside.looked_at = clock::instant();
        Ok(())
    }

    fn beside(&self) -> MutexGuard<'_, Beside> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn compare(path: &Path, opened: FoundFile, what: &str) -> Result<()> {
    let happened = match (opened, FoundFile::at(path)) {
        (FoundFile::File(_), FoundFile::Nothing) => "was removed",
        (FoundFile::File(opened), FoundFile::File(now)) if now != opened => {
            "was replaced by another file"
        }
        _ => return Ok(()),
    };
    Err(replaced(path, what, happened))
}

pub(crate) fn replaced(path: &Path, what: &str, happened: &str) -> Error {
    Error::new(
        Kind::Replaced,
        format!(
            "the {what} {} {happened} while this process had it open; nothing more is written to the old one",
            path.display()
        ),
    )
    .with_hint("start again: that opens the file which is there now, with what it holds")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        for suffix in ["", "-wal", "-shm"] {
            fs::write(with_suffix(&path, suffix), "").unwrap();
        }
        (folder, path)
    }

    fn opened(path: &Path) -> OpenFile {
        OpenFile::just_opened(path, FoundFile::at(path)).unwrap()
    }

    #[test]
    fn a_removed_or_replaced_file_is_not_the_opened_one() {
        for suffix in ["", "-wal", "-shm"] {
            let (_folder, path) = folder();
            let file = opened(&path);
            file.check().unwrap();
            let part = with_suffix(&path, suffix);
            fs::write(with_suffix(&path, ".new"), "").unwrap();
            fs::rename(with_suffix(&path, ".new"), &part).unwrap();
            let error = file.check().unwrap_err();
            assert!(error.is_replaced(), "{suffix}");
            assert!(
                error.to_string().contains("replaced by another file"),
                "{error}"
            );
            fs::remove_file(&part).unwrap();
            let error = file.check().unwrap_err();
            assert!(error.to_string().contains("was removed"), "{error}");
        }
    }

    #[test]
    fn a_folder_that_was_replaced_leads_to_another_file() {
        let (folder, path) = folder();
        let inner = folder.path().join("data");
        fs::create_dir(&inner).unwrap();
        let path = {
            let to = inner.join("jobs.db");
            fs::rename(path, &to).unwrap();
            to
        };
        let file = opened(&path);
        fs::rename(&inner, folder.path().join("old")).unwrap();
        assert!(file.check().unwrap_err().is_replaced());
        fs::write(&inner, "a file in place of the folder").unwrap();
        assert!(file.check().unwrap_err().is_replaced());
    }

    #[test]
    fn two_looks_within_a_moment_are_one_and_a_later_one_is_made() {
        let (_folder, path) = folder();
        let file = opened(&path);
        fs::remove_file(&path).unwrap();
        let began = Instant::now();
        while file.check_lately().is_ok() {
            assert!(began.elapsed() < LOOK_EVERY * 100);
        }
    }

    #[test]
    fn a_file_changed_while_being_opened_is_accepted_as_neither() {
        let (_folder, path) = folder();
        let before = FoundFile::at(&path);
        fs::rename(&path, with_suffix(&path, ".old")).unwrap();
        fs::write(&path, "").unwrap();
        assert!(OpenFile::just_opened(&path, before).is_none());
    }
}
