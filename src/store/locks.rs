//! The lock files of runners, as those see them who only look; `runner/liveness.rs` holds them and
//! takes them over.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rusqlite::Connection;
use rustix::fs::OFlags;

use super::file::lock_file;
use super::runners;
use crate::Result;
use crate::clock::Clock;

/// What a look at a runner's lock tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Its process is gone.
    Free,
    /// There is no file.
    Missing,
    /// Somebody holds it, or it cannot be looked at.
    Held,
}

/// Looks at a runner's lock.
///
/// For the instant of the look it is held, shared with others that look. A runner that tries it in
/// that instant takes the dead one for alive; so that it tries once more, whoever has found a free
/// lock closes the file as a writer, which is what runners watch for.
pub(crate) fn look(folder: &Path, name: &str) -> Lock {
    let path = lock_file(folder, name);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Lock::Missing,
        Err(_) => return Lock::Held,
    };
    if file.try_lock_shared().is_err() {
        return Lock::Held;
    }
    // A process that is being started has a copy of the descriptor: closing this one may be too late.
    let _ = file.unlock();
    drop(OpenOptions::new().write(true).open(&path));
    Lock::Free
}

/// A file that is younger may belong to a runner that is not in the database yet.
const STRAY_AFTER_MS: i64 = 60_000;
const NAME_CHARS: usize = 32;

/// Removes the lock files that no runner of the database is behind: of one that was killed before it was
/// in there, or of which somebody has taken over. How many.
pub(crate) fn remove_strays(conn: &Connection, folder: &Path) -> Result<usize> {
    let alive = runners::alive(conn)?;
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(0);
    };
    let mut removed = 0;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(".lock"));
        let is_ours = |name: &&str| {
            name.len() == NAME_CHARS && name.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let Some(name) = name.filter(is_ours) else {
            continue;
        };
        let is_known = alive.iter().any(|runner| runner.name == name);
        if !is_known && is_old_and_free(&entry.path()) {
            removed += usize::from(std::fs::remove_file(entry.path()).is_ok());
        }
    }
    Ok(removed)
}

fn is_old_and_free(path: &Path) -> bool {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path);
    let Ok(file) = opened else { return false };
    let is_old = file.metadata().is_ok_and(|found| {
        found.is_file() && Clock::default().now_ms() - found.mtime() * 1000 > STRAY_AFTER_MS
    });
    is_old && file.try_lock().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(folder: &Path) -> File {
        let file = File::create(lock_file(folder, "a")).unwrap();
        file.lock().unwrap();
        file
    }

    #[test]
    fn a_lock_is_free_for_those_who_look_once_its_holder_is_gone_and_for_all_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let holder = locked(folder.path());
        assert_eq!(look(folder.path(), "a"), Lock::Held);
        assert_eq!(look(folder.path(), "b"), Lock::Missing);
        assert_eq!(look(&lock_file(folder.path(), "a"), "b"), Lock::Held);
        drop(holder);
        let other = File::open(lock_file(folder.path(), "a")).unwrap();
        other.lock_shared().unwrap();
        assert_eq!(look(folder.path(), "a"), Lock::Free, "another one looks");
        other.unlock().unwrap();
        assert!(other.try_lock().is_ok(), "nobody holds it after the look");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn whoever_finds_a_free_lock_has_the_watching_runners_look_again() {
        use crate::store::change::FileWatch;
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("jobs.db");
        for name in ["jobs.db", "jobs.db-wal"] {
            File::create(folder.path().join(name)).unwrap();
        }
        let locks = tempfile::tempdir().unwrap();
        let watch = FileWatch::new(&database).unwrap();
        let holder = locked(locks.path());
        watch.add_folder(locks.path()).unwrap();
        look(locks.path(), "a");
        assert!(
            !watch.drain().lock_closed,
            "a look at one that lives is no news"
        );
        drop(holder);
        assert!(watch.drain().lock_closed, "its death is");
        look(locks.path(), "a");
        assert!(
            watch.drain().lock_closed,
            "it may have been missed for the look"
        );
    }
}
