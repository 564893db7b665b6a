//! The lock files of runners, as those see them who only look; `runner/liveness.rs` holds them and
//! takes them over.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// The lock file of the runner of this name.
pub(crate) fn lock_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.lock"))
}

/// Whether a runner's lock is free: its process is gone. A file that is missing or cannot be opened
/// proves nothing.
///
/// For the instant of the look the lock is held, shared with others that look. A runner that tries
/// it in that instant takes the dead one for alive; so that it tries once more, whoever has found a
/// free lock closes the file as a writer, which is what runners watch for.
pub(crate) fn is_free(folder: &Path, name: &str) -> bool {
    let path = lock_path(folder, name);
    let Ok(file) = File::open(&path) else {
        return false;
    };
    if file.try_lock_shared().is_err() {
        return false;
    }
    // A process that is being started has a copy of the descriptor: closing this one may be too late.
    let _ = file.unlock();
    drop(OpenOptions::new().write(true).open(&path));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(folder: &Path) -> File {
        let file = File::create(lock_path(folder, "a")).unwrap();
        file.lock().unwrap();
        file
    }

    #[test]
    fn a_lock_is_free_for_those_who_look_once_its_holder_is_gone_and_for_all_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let holder = locked(folder.path());
        assert!(!is_free(folder.path(), "a"), "it is held");
        assert!(
            !is_free(folder.path(), "b"),
            "a missing file proves nothing"
        );
        drop(holder);
        let other = File::open(lock_path(folder.path(), "a")).unwrap();
        other.lock_shared().unwrap();
        assert!(is_free(folder.path(), "a"), "another one looks");
        other.unlock().unwrap();
        assert!(other.try_lock().is_ok(), "nobody holds it after the look");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn whoever_finds_a_free_lock_has_the_watching_runners_look_again() {
        use crate::store::change::FileWatch;
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("jobs.db");
        File::create(folder.path().join("jobs.db-wal")).unwrap();
        let locks = tempfile::tempdir().unwrap();
        let watch = FileWatch::new(&database).unwrap();
        let holder = locked(locks.path());
        watch.add_folder(locks.path()).unwrap();
        assert!(!is_free(locks.path(), "a"));
        assert!(
            !watch.drain().lock_closed,
            "a look at one that lives is no news"
        );
        drop(holder);
        assert!(watch.drain().lock_closed, "its death is");
        assert!(is_free(locks.path(), "a"));
        assert!(
            watch.drain().lock_closed,
            "it may have been missed for the look"
        );
    }
}
