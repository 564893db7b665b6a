//! The lock files of runners, for readers; `runner/liveness.rs` holds and takes over the locks.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::Result;

/// The file in the folder that a runner of this name holds locked. The name comes out of the database,
/// which anybody may have made: where it is none that a runner gives itself, there is no file.
pub(crate) fn lock_file(folder: &Path, name: &str) -> Option<PathBuf> {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_name = name.len() == 32 && name.bytes().all(is_digit);
    is_name.then(|| folder.join(format!("{name}.lock")))
}

/// Whether the file exists, as far as can be seen.
pub(crate) fn has_lock_file(folder: &Path, name: &str) -> bool {
    let Some(path) = lock_file(folder, name) else {
        return false;
    };
    let found = path.symlink_metadata();
    found.map_or_else(|error| error.kind() != ErrorKind::NotFound, |_| true)
}

/// Opens a lock file. Something else in its place does not block (a FIFO), leads nowhere (a link), and does
/// nothing (a device).
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> Result<File, Error> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).map_err(Error::other)?;
    let file = options.custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(Error::other("it is not an ordinary file"))
}

/// The state of a runner's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Its process is dead.
    Free,
    /// There is no file.
    Missing,
    /// It is held, or it cannot be checked.
    Held,
}

/// Checks a runner's lock.
///
/// The check holds it for an instant, shared with other checks. A runner that tries it in that instant takes
/// the dead one for alive; so after finding a free lock the check closes the file as a writer, which runners
/// watch for, and they try again.
pub(crate) fn look(folder: &Path, name: &str) -> Lock {
    let Some(path) = lock_file(folder, name) else {
        return Lock::Missing;
    };
    let file = match open(&path, OpenOptions::new().read(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Lock::Missing,
        Err(_) => return Lock::Held,
    };
    if file.try_lock_shared().is_err() {
        return Lock::Held;
    }
    // A process that is being started has a copy of the descriptor: closing this one may be too late.
    let _ = file.unlock();
    drop(open(&path, OpenOptions::new().write(true)));
    Lock::Free
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0123456789abcdef0123456789abcdef";
    const B: &str = "00000000000000000000000000000000";

    fn locked(folder: &Path) -> File {
        let file = File::create(lock_file(folder, A).unwrap()).unwrap();
        file.lock().unwrap();
        file
    }

    #[test]
    fn a_lock_of_a_gone_holder_looks_free_to_all_observers() {
        let folder = tempfile::tempdir().unwrap();
        let holder = locked(folder.path());
        assert_eq!(look(folder.path(), A), Lock::Held);
        assert_eq!(look(folder.path(), B), Lock::Missing);
        assert_eq!(look(&lock_file(folder.path(), A).unwrap(), B), Lock::Held);
        drop(holder);
        let other = File::open(lock_file(folder.path(), A).unwrap()).unwrap();
        other.lock_shared().unwrap();
        assert_eq!(look(folder.path(), A), Lock::Free, "another one looks");
        other.unlock().unwrap();
        assert!(other.try_lock().is_ok(), "nobody holds it after the look");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn finding_a_free_lock_makes_watching_runners_look_again() {
        use crate::store::sqlite::file_watch::FileWatch;
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("jobs.db");
        for name in ["jobs.db", "jobs.db-wal"] {
            File::create(folder.path().join(name)).unwrap();
        }
        let locks = tempfile::tempdir().unwrap();
        let watch = FileWatch::new(&database).unwrap();
        let holder = locked(locks.path());
        watch.add_folder(locks.path()).unwrap();
        look(locks.path(), A);
        assert!(
            !watch.drain().lock_closed,
            "a look at one that lives is no news"
        );
        drop(holder);
        assert!(watch.drain().lock_closed, "its death is");
        look(locks.path(), A);
        assert!(
            watch.drain().lock_closed,
            "it may have been missed for the look"
        );
    }

    #[test]
    fn a_name_out_of_a_file_leads_nowhere_but_to_a_lock_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("f.lock"), "").unwrap();
        let inner = folder.path().join("x");
        std::fs::create_dir(&inner).unwrap();
        let short = &A[1..];
        let upper = A.to_uppercase();
        let path = format!("{}/../f", "0".repeat(27));
        for name in ["", "../f", "/etc/passwd", short, &upper, &path, "\0"] {
            assert_eq!(lock_file(&inner, name), None, "{name}");
            assert_eq!(look(&inner, name), Lock::Missing, "{name}");
            assert!(!has_lock_file(&inner, name), "{name}");
        }
    }

    #[test]
    fn a_non_file_at_a_lock_file_path_neither_blocks_nor_proves() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = [A, B].map(|name| lock_file(folder.path(), name).unwrap());
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &a,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        std::fs::write(folder.path().join("other"), "").unwrap();
        std::os::unix::fs::symlink(folder.path().join("other"), &b).unwrap();
        assert_eq!(
            [A, B].map(|name| look(folder.path(), name)),
            [Lock::Held; 2]
        );
        assert!([A, B].iter().all(|name| has_lock_file(folder.path(), name)));
    }
}
