//! The walk: looks at each entry below a folder and removes what the rule names.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::ffi::CStr;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::handlers::cleanup::CleanupResult;
use crate::handlers::cleanup::folder::{Folder, Identity, may_pass, modified_ms};
use crate::handlers::glob::Glob;
use crate::runner::handler::Failure;

/// Each level holds a descriptor.
const DEEPEST: usize = 100;

/// What is to be removed.
pub(super) struct CleanupRule {
    pub(super) patterns: Vec<Glob>,
    pub(super) exclude: Vec<Glob>,
    pub(super) now_ms: i64,
    /// What was changed later is too young.
    pub(super) old_until_ms: i64,
    pub(super) min_keep: usize,
    pub(super) max_delete: u64,
    pub(super) empty_dirs: bool,
    pub(super) recursive: bool,
    pub(super) dry_run: bool,
    /// Folders that nothing is removed from.
    pub(super) protected: HashSet<Identity>,
}

/// Who runs the walk.
pub(super) trait WalkObserver {
    /// Called before each entry is looked at; an error ends the walk.
    fn at_entry(&self, looked_at: u64) -> Result<(), Failure>;
    /// This was removed, or would be.
    fn removed(&self, path: &Path);
}

/// A walk over several folders, with what came of it so far.
pub(super) struct TreeWalk<'a> {
    rule: &'a CleanupRule,
    observer: &'a dyn WalkObserver,
    pub(super) result: CleanupResult,
    /// How many removals were tried.
    pub(super) tried: u64,
    looked_at: u64,
    pass: Pass,
}

/// What a walk over a folder is for.
enum Pass {
    /// Find the newest files, which stay.
    Newest(BinaryHeap<Reverse<(i64, Identity)>>),
    /// Remove the others.
    Remove(HashSet<Identity>),
}

/// A folder on the way.
struct FolderInTree<'a> {
    folder: &'a Folder,
    /// The folder that is cleaned.
    top: Identity,
    path: PathBuf,
    /// Its names below the folder that is cleaned.
    below: Vec<String>,
}

/// An entry of a folder.
struct Entry<'a> {
    place: &'a FolderInTree<'a>,
    name: &'a CStr,
    path: PathBuf,
    below: Vec<String>,
    stat: Stat,
}

impl<'a> TreeWalk<'a> {
    pub(super) fn new(rule: &'a CleanupRule, observer: &'a dyn WalkObserver) -> TreeWalk<'a> {
        TreeWalk {
            rule,
            observer,
            result: CleanupResult::default(),
            tried: 0,
            looked_at: 0,
            pass: Pass::Remove(HashSet::new()),
        }
    }

    /// Cleans a folder.
    pub(super) fn clean(&mut self, folder: &Folder, path: &Path) -> Result<(), Failure> {
        let place = || FolderInTree {
            folder,
            top: folder.identity,
            path: path.to_owned(),
            below: Vec::new(),
        };
        let mut newest = HashSet::new();
        if self.rule.min_keep > 0 {
            self.pass = Pass::Newest(BinaryHeap::new());
            self.entries(&place())?;
            if let Pass::Newest(heap) = &mut self.pass {
                newest = heap.drain().map(|Reverse((_, file))| file).collect();
            }
        }
        self.pass = Pass::Remove(newest);
        self.entries(&place()).map(drop)
    }

    fn is_full(&self) -> bool {
        self.tried >= self.rule.max_delete
    }

    fn removes(&self) -> bool {
        matches!(self.pass, Pass::Remove(_))
    }

    /// All entries of a folder. Whether none is left.
    fn entries(&mut self, place: &FolderInTree<'_>) -> Result<bool, Failure> {
        let names = match place.folder.names() {
            Ok(names) => names,
            Err(error) => return self.failed(&place.path, error),
        };
        let mut is_empty = true;
        for name in &names {
            self.looked_at += 1;
            self.observer.at_entry(self.looked_at)?;
            is_empty &= self.entry(place, name)?;
        }
        Ok(is_empty)
    }

    /// Whether the entry is gone.
    fn entry(&mut self, place: &FolderInTree<'_>, name: &CStr) -> Result<bool, Failure> {
        let bytes: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(name.to_bytes());
        let path = place.path.join(bytes);
        let stat = match place.folder.stat(name) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(true),
            Err(error) => return self.failed(&path, error),
        };
        let mut below = place.below.clone();
        below.push(bytes.to_string_lossy().into_owned());
        if self.rule.exclude.iter().any(|glob| glob.fits(&below)) {
            return Ok(false);
        }
        let fits = || self.rule.patterns.iter().any(|glob| glob.fits(&below));
        let entry = |below| Entry {
            place,
            name,
            path,
            below,
            stat,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if self.rule.recursive => self.inner(entry(below)),
            FileType::Directory => Ok(false),
            _ if !fits() => Ok(false),
            FileType::RegularFile | FileType::Symlink => self.file(&entry(below)),
            _ => Ok(self.skip(
                &entry(below).path,
                "it is neither a file nor a link nor a folder",
            )),
        }
    }

    /// A folder in a folder. Whether it is gone.
    fn inner(&mut self, entry: Entry<'_>) -> Result<bool, Failure> {
        let identity = Identity::of(&entry.stat);
        if !identity.is_on_device_of(entry.place.top) {
            return Ok(self.skip(&entry.path, "it is on another file system"));
        }
        if self.rule.protected.contains(&identity) {
            return Ok(self.skip(&entry.path, "it is a home or the folder of the database"));
        }
        if entry.below.len() > DEEPEST {
            return Ok(self.skip(&entry.path, "it is too deep"));
        }
        let folder = match entry.place.folder.inner(entry.name) {
            Ok(folder) if folder.identity == identity => folder,
            Err(Errno::NOENT) => return Ok(true),
            Ok(_) | Err(Errno::NOTDIR) => return Ok(self.skip(&entry.path, CHANGED)),
            Err(error) => return self.failed(&entry.path, error),
        };
        let is_empty = self.entries(&FolderInTree {
            folder: &folder,
            top: entry.place.top,
            path: entry.path.clone(),
            below: entry.below.clone(),
        })?;
        // It is as old as it was before its files were removed.
        let is_old = modified_ms(&entry.stat) <= self.rule.old_until_ms;
        if !(is_empty && is_old && self.rule.empty_dirs && self.removes()) {
            return Ok(false);
        }
        let remove = || entry.place.folder.remove_empty(entry.name);
        self.remove(&entry, remove)
    }

    /// A file or a link that fits. Whether it is gone.
    fn file(&mut self, entry: &Entry<'_>) -> Result<bool, Failure> {
        let modified_ms = modified_ms(&entry.stat);
        let identity = Identity::of(&entry.stat);
        let newest = match &mut self.pass {
            Pass::Remove(newest) => newest,
            Pass::Newest(newest) => {
                newest.push(Reverse((modified_ms, identity)));
                if newest.len() > self.rule.min_keep {
                    newest.pop();
                }
                return Ok(false);
            }
        };
        if modified_ms > self.rule.now_ms {
            self.result.kept += 1;
            return Ok(self.skip(&entry.path, "its time is in the future"));
        }
        if modified_ms > self.rule.old_until_ms || newest.contains(&identity) {
            self.result.kept += 1;
            return Ok(false);
        }
        self.remove(entry, || entry.place.folder.remove(entry.name))
    }

    /// Whether the entry is gone.
    fn remove(
        &mut self,
        entry: &Entry<'_>,
        remove: impl Fn() -> rustix::io::Result<()>,
    ) -> Result<bool, Failure> {
        if self.is_full() {
            self.result.kept += 1;
            self.result.is_cut_short = true;
            return Ok(false);
        }
        self.tried += 1;
        // What is there now is what was judged.
        if !self.rule.dry_run {
            match entry.place.folder.stat(entry.name) {
                Ok(now) if is_same(&now, &entry.stat) => {}
                Err(Errno::NOENT) => return Ok(true),
                Ok(_) => return Ok(self.skip(&entry.path, CHANGED)),
                Err(error) => return self.failed(&entry.path, error),
            }
            match remove() {
                Ok(()) => {}
                Err(Errno::NOENT) => return Ok(true),
                Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(false),
                Err(error) => return self.failed(&entry.path, error),
            }
        }
        self.result.deleted += 1;
        if FileType::from_raw_mode(entry.stat.st_mode) == FileType::RegularFile
            && entry.stat.st_nlink == 1
        {
            self.result.bytes += u64::try_from(entry.stat.st_size).unwrap_or_default();
        }
        self.observer.removed(&entry.path);
        Ok(true)
    }

    /// It stays.
    fn skip(&mut self, path: &Path, why: &str) -> bool {
        if self.removes() {
            self.result.note_skipped(path, why);
        }
        false
    }

    /// An entry that cannot be read or removed is an error of its own, unless the file system fails.
    fn failed(&mut self, path: &Path, error: Errno) -> Result<bool, Failure> {
        let why = std::io::Error::from(error);
        if may_pass(error) {
            return Err(Failure::retry(format_args!("{}: {why}", path.display())));
        }
        if self.removes() {
            self.result.note_error(path, &why);
        }
        Ok(false)
    }
}

const CHANGED: &str = "it has changed meanwhile";

/// Whether an entry is still the one that was looked at. A folder changes as its files are removed.
fn is_same(now: &Stat, then: &Stat) -> bool {
    let is_folder = FileType::from_raw_mode(then.st_mode) == FileType::Directory;
    Identity::of(now) == Identity::of(then)
        && FileType::from_raw_mode(now.st_mode) == FileType::from_raw_mode(then.st_mode)
        && (is_folder || modified_ms(now) == modified_ms(then))
}
