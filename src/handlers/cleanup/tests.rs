//! What others do to a tree while it is cleaned.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::handlers::cleanup::folder::Folder;
use crate::handlers::cleanup::walk::{CleanupRule, TreeWalk, WalkObserver};
use crate::handlers::glob::Glob;
use crate::runner::handler::Failure;

/// Everything, however young.
fn all() -> CleanupRule {
    CleanupRule {
        patterns: vec![Glob::parse("*").unwrap()],
        exclude: Vec::new(),
        now_ms: i64::MAX,
        old_until_ms: i64::MAX,
        min_keep: 0,
        max_delete: u64::MAX,
        empty_dirs: true,
        recursive: true,
        dry_run: false,
        protected: HashSet::new(),
    }
}

/// Meddles before an entry is looked at, and after one is removed.
struct Meddler<F> {
    at_entry: F,
    removed: RefCell<Vec<PathBuf>>,
}

impl<F: Fn(u64) -> Result<(), Failure>> WalkObserver for Meddler<F> {
    fn at_entry(&self, looked_at: u64) -> Result<(), Failure> {
        (self.at_entry)(looked_at)
    }

    fn removed(&self, path: &Path) {
        self.removed.borrow_mut().push(path.to_owned());
    }
}

fn walk(
    rule: &CleanupRule,
    path: &Path,
    at_entry: impl Fn(u64) -> Result<(), Failure>,
) -> (Vec<PathBuf>, Result<(), Failure>) {
    let meddler = Meddler {
        at_entry,
        removed: RefCell::default(),
    };
    let mut walk = TreeWalk::new(rule, &meddler);
    let ended = walk.clean(&Folder::open(path).unwrap(), path);
    (meddler.removed.take(), ended)
}

#[test]
fn a_file_that_became_a_link_is_not_followed() {
    let (tree, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let victim = outside.path().join("victim");
    fs::write(&victim, "").unwrap();
    let (file, folder) = (tree.path().join("a"), tree.path().join("b"));
    fs::write(&file, "").unwrap();
    fs::create_dir(&folder).unwrap();
    let (removed, ended) = walk(&all(), tree.path(), |looked_at| {
        // The names are listed already.
        if looked_at == 1 {
            fs::remove_file(&file).unwrap();
            symlink(&victim, &file).unwrap();
            fs::remove_dir(&folder).unwrap();
            symlink(outside.path(), &folder).unwrap();
        }
        Ok(())
    });
    ended.unwrap();
    assert_eq!(removed, [file, folder]);
    assert!(victim.exists());
}

/// Only what has this name, in all folders.
fn victims() -> CleanupRule {
    CleanupRule {
        patterns: vec![Glob::parse("victim").unwrap()],
        empty_dirs: false,
        ..all()
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_is_swapped_for_a_link_leads_nowhere() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};

    let (tree, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let victim = outside.path().join("victim");
    fs::write(&victim, "").unwrap();
    let [folder, link] = ["folder", "link"].map(|name| tree.path().join(name));
    fs::create_dir(&folder).unwrap();
    symlink(outside.path(), &link).unwrap();
    let over = AtomicBool::new(false);
    let walks = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                renameat_with(CWD, &folder, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let walks = (0..5000).map(|_| walk(&victims(), tree.path(), |_| Ok(())));
        let walks: Vec<_> = walks.collect();
        over.store(true, Ordering::SeqCst);
        walks
    });
    for (removed, ended) in walks {
        ended.unwrap();
        assert_eq!(removed, Vec::<PathBuf>::new());
    }
    assert!(victim.exists());
}

#[test]
fn a_folder_that_took_the_place_of_a_cleaned_one_stays() {
    let (tree, aside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (folder, file) = (tree.path().join("a"), tree.path().join("a/b"));
    fs::create_dir(&folder).unwrap();
    fs::write(&file, "").unwrap();
    let (removed, ended) = walk(&all(), tree.path(), |looked_at| {
        if looked_at == 2 {
            fs::rename(&folder, aside.path().join("a")).unwrap();
            fs::create_dir(&folder).unwrap();
        }
        Ok(())
    });
    ended.unwrap();
    assert_eq!(removed, [file]);
    assert!(folder.exists());
}

#[test]
fn a_cancel_ends_the_walk_at_the_next_entry() {
    let tree = tempfile::tempdir().unwrap();
    for number in 0..100 {
        fs::write(tree.path().join(number.to_string()), "").unwrap();
    }
    let (removed, ended) = walk(&all(), tree.path(), |looked_at| match looked_at {
        50 => Err(Failure::cancelled()),
        _ => Ok(()),
    });
    assert!(ended.unwrap_err().is_cancelled());
    assert_eq!(removed.len(), 49);
    // Another attempt removes the rest.
    let (removed, ended) = walk(&all(), tree.path(), |_| Ok(()));
    ended.unwrap();
    assert_eq!(removed.len(), 51);
}

#[test]
fn a_deep_tree_is_left_where_it_is_too_deep() {
    let tree = tempfile::tempdir().unwrap();
    let mut path = tree.path().to_owned();
    for _ in 0..130 {
        path.push("d");
    }
    fs::create_dir_all(&path).unwrap();
    let (removed, ended) = walk(&all(), tree.path(), |_| Ok(()));
    ended.unwrap();
    assert_eq!(removed, Vec::<PathBuf>::new());
    assert!(path.exists());
}
