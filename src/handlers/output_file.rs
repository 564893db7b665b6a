//! Files that handlers write: they take their name when they are complete and on the disk.

use std::fs::{File, Metadata, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags, RenameFlags, linkat, renameat_with};
use rustix::io::Errno;

use crate::clock::Clock;
use crate::handlers::input_file::QueueFiles;
use crate::runner::context::Context;
use crate::runner::handler::Failure;

/// Makes the files of a job.
pub(crate) struct OutputFiles {
    /// In the hidden names of the job's files.
    key: String,
    queue: QueueFiles,
}

impl OutputFiles {
    /// # Errors
    /// The queue's file cannot be read.
    pub(crate) fn of(ctx: &Context) -> Result<OutputFiles, Failure> {
        Ok(OutputFiles {
            key: ctx.idempotency_key()?,
            queue: QueueFiles::of(ctx),
        })
    }

    /// An empty file that is to be at `place`, whose folder must exist.
    ///
    /// # Errors
    /// The folder is missing or cannot be written, or the place is the queue's.
    pub(crate) fn create(&self, place: &Path) -> io::Result<OutputFile> {
        self.queue.refuse(place)?;
        OutputFile::create(&self.key, place)
    }

    /// The same with a hidden name from the beginning, for what writes by [path](OutputFile::part).
    pub(crate) fn create_named(&self, place: &Path) -> io::Result<OutputFile> {
        self.queue.refuse(place)?;
        OutputFile::create_named(&self.key, place)
    }

    /// Removes what killed attempts have left in a folder: those of this job, and those of other jobs that nobody
    /// works on any more.
    pub(crate) fn remove_parts(&self, folder: &Path) -> io::Result<()> {
        remove_parts(&self.key, folder)
    }
}

/// A file under work. Until it is finished it has no name, or where the file system must name it, a hidden one that
/// the job's next attempt uses again; so nothing is left of it after a crash. Dropped unfinished, it is gone.
pub(crate) struct OutputFile {
    file: File,
    place: PathBuf,
    /// Its hidden name, in the same folder.
    part: PathBuf,
    has_name: bool,
}

/// What becomes of a file that has the name already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SameName {
    Replace,
    Keep,
}

impl OutputFile {
    fn create(key: &str, place: &Path) -> io::Result<OutputFile> {
        let part = part_of(key, place)?;
        remove_file(&part)?;
        match nameless(folder_of(place)) {
            Some(file) => Ok(OutputFile {
                file: file?,
                place: place.to_owned(),
                part,
                has_name: false,
            }),
            None => OutputFile::create_named(key, place),
        }
    }

    fn create_named(key: &str, place: &Path) -> io::Result<OutputFile> {
        let part = part_of(key, place)?;
        remove_file(&part)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&part)?;
        // Where there are no locks it is no stray for a minute, and the job's own for ever.
        let _ = file.try_lock();
        Ok(OutputFile {
            file,
            place: place.to_owned(),
            part,
            has_name: true,
        })
    }

    /// Its hidden path, which only a file that was [created with it](OutputFiles::create_named) has.
    pub(crate) fn part(&self) -> &Path {
        &self.part
    }

    /// The open file.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives it its name, in place of a file that has it.
    ///
    /// # Errors
    /// It cannot be written to the disk, or the folder does not take it.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.take_name(SameName::Replace)
    }

    /// Gives it its name; an existing file stays, and that is an error.
    ///
    /// # Errors
    /// As for [`OutputFile::finish`], and [`io::ErrorKind::AlreadyExists`].
    pub(crate) fn finish_new(self) -> io::Result<()> {
        self.take_name(SameName::Keep)
    }

    fn take_name(mut self, existing: SameName) -> io::Result<()> {
        self.file.sync_all()?;
        if !self.has_name {
            // A link replaces nothing, so a file that is to be replaced needs a rename.
            match link(&self.file, &self.place) {
                Err(Errno::EXIST) if existing == SameName::Replace => {
                    link(&self.file, &self.part)?;
                    self.has_name = true;
                }
                linked => {
                    linked?;
                    return sync_folder(&self.place);
                }
            }
        }
        if !self.is_own_part() {
            return Err(io::Error::other("another attempt of the job has begun"));
        }
        match existing {
            SameName::Replace => std::fs::rename(&self.part, &self.place)?,
            SameName::Keep => rename_new(&self.part, &self.place)?,
        }
        self.has_name = false;
        sync_folder(&self.place)
    }
}

impl OutputFile {
    /// Whether the hidden name is still this file's: the next attempt of the job gives it to another file.
    fn is_own_part(&self) -> bool {
        let id = |found: Metadata| (found.dev(), found.ino());
        let own = self.file.metadata().map(id);
        let named = self.part.symlink_metadata().map(id);
        matches!((own, named), (Ok(own), Ok(named)) if own == named)
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if self.has_name && self.is_own_part() {
            // The next attempt removes what stays here.
            let _ = remove_with_companions(&self.part);
        }
    }
}

fn remove_parts(key: &str, folder: &Path) -> io::Result<()> {
    let own = format!("{PART_START}{key}-");
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let is_part = name.starts_with(PART_START.as_bytes()) && name.ends_with(b".part");
        if name.starts_with(own.as_bytes()) || (is_part && is_stray(&path)) {
            remove_with_companions(&path)?;
        }
    }
    Ok(())
}

/// Whether a part is neither locked nor so young that it may be soon.
fn is_stray(part: &Path) -> bool {
    let now_ms = Clock::default().now_ms();
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(part);
    opened.is_ok_and(|file| {
        let is_old = |found: Metadata| now_ms - found.mtime() * 1000 > STRAY_AFTER_MS;
        file.metadata().is_ok_and(is_old) && file.try_lock().is_ok()
    })
}

const STRAY_AFTER_MS: i64 = 60_000;

/// With what SQLite may have made beside a database.
fn remove_with_companions(part: &Path) -> io::Result<()> {
    for end in ["-journal", "-wal", "-shm"] {
        let mut name = part.as_os_str().to_owned();
        name.push(end);
        remove_file(Path::new(&name))?;
    }
    remove_file(part)
}

/// How the names of unfinished files begin.
pub(crate) const PART_START: &str = ".jobq-";

fn part_of(key: &str, place: &Path) -> io::Result<PathBuf> {
    let name = place.file_name().ok_or(Errno::ISDIR)?;
    let mut hash = DefaultHasher::new();
    name.hash(&mut hash);
    Ok(place.with_file_name(format!("{PART_START}{key}-{:016x}.part", hash.finish())))
}

/// A file without a name; none where the file system has none such, or no way to name it later.
fn nameless(folder: &Path) -> Option<io::Result<File>> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o666)
        .custom_flags(OFlags::TMPFILE.bits().cast_signed())
        .open(folder);
    match opened {
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => None,
            _ => Some(Err(error)),
        },
        Ok(file) => by_descriptor(&file).exists().then_some(Ok(file)),
    }
}

/// A path that leads to what is open.
pub(crate) fn by_descriptor(file: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}

/// Renames a file; an existing one stays, and that is an error.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system does not support this kind of rename.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            std::fs::hard_link(from, to)?;
            remove_file(from)
        }
        moved => Ok(moved?),
    }
}

fn link(file: &File, name: &Path) -> rustix::io::Result<()> {
    linkat(CWD, by_descriptor(file), CWD, name, AtFlags::SYMLINK_FOLLOW)
}

/// Removes a file, if there is one.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The folder of a file.
pub(crate) fn folder_of(place: &Path) -> &Path {
    let folder = place.parent();
    folder
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// After it the name is on the disk, too.
fn sync_folder(place: &Path) -> io::Result<()> {
    File::open(folder_of(place))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// The same file with a hidden name, as on a file system that knows no other.
    fn named(key: &str, place: &Path) -> OutputFile {
        OutputFile::create_named(key, place).unwrap()
    }

    #[test]
    fn a_file_appears_when_it_is_finished_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.txt");
        for create in [
            |place: &Path| OutputFile::create("f-1", place).unwrap(),
            |place: &Path| named("f-1", place),
        ] {
            let mut file = create(&place);
            file.file().write_all(b"one").unwrap();
            assert!(!place.exists());
            file.finish().unwrap();
            let mut file = create(&place);
            file.file().write_all(b"two").unwrap();
            assert_eq!(fs::read(&place).unwrap(), b"one");
            file.finish().unwrap();
            assert_eq!(fs::read(&place).unwrap(), b"two");
            let refused = create(&place).finish_new().unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&place).unwrap(), b"two");
            drop(create(&place));
            assert_eq!(names(folder.path()), ["a.txt"]);
            fs::remove_file(&place).unwrap();
            create(&place).finish_new().unwrap();
            assert_eq!(names(folder.path()), ["a.txt"]);
            fs::remove_file(&place).unwrap();
        }
    }

    #[test]
    fn the_next_attempt_removes_what_a_killed_one_left() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.txt");
        std::mem::forget(named("f-1", &place));
        std::mem::forget(named("f-2", &place));
        assert_eq!(names(folder.path()).len(), 2);
        OutputFile::create("f-1", &place).unwrap().finish().unwrap();
        let left = names(folder.path());
        assert!(
            left.len() == 2 && left[0].starts_with(".jobq-f-2-"),
            "{left:?}"
        );
        assert_eq!(left[1], "a.txt");
    }

    #[test]
    fn what_killed_attempts_left_is_removed_under_any_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["monday.db", "tuesday.db"] {
            let left = named("f-1", &folder.path().join(name));
            fs::write(left.part().with_extension("part-journal"), "").unwrap();
            std::mem::forget(left);
        }
        let live = named("f-2", &folder.path().join("monday.db"));
        let young = named("f-11", &folder.path().join("monday.db"));
        let young = young.file.unlock().map(|()| young);
        let dead = folder.path().join(".jobq-f-3-0123456789abcdef.part");
        fs::write(&dead, "").unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH;
        for path in [live.part(), &dead] {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_modified(old).unwrap();
        }
        remove_parts("f-1", folder.path()).unwrap();
        let left = names(folder.path());
        assert!(
            left.len() == 2
                && left[0].starts_with(".jobq-f-11-")
                && left[1].starts_with(".jobq-f-2-"),
            "{left:?}"
        );
        drop((live, young));
    }

    #[test]
    fn an_attempt_leaves_the_part_of_the_next_one_alone() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.txt");
        let first = OutputFile::create_named("f-1", &place).unwrap();
        let dropped = OutputFile::create_named("f-1", &place).unwrap();
        let mut last = OutputFile::create_named("f-1", &place).unwrap();
        assert!(first.finish().is_err());
        drop(dropped);
        last.file().write_all(b"whole").unwrap();
        last.finish().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"whole");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_folder_that_is_missing_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let refused = OutputFile::create("f-1", &folder.path().join("none/a.txt"));
        assert_eq!(
            refused.err().map(|error| error.kind()),
            Some(io::ErrorKind::NotFound)
        );
    }
}
