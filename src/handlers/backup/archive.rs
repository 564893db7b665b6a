//! Folders and files as a tar archive. A file that changes while it is read, or cannot be read, spoils nothing
//! but itself.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;
use tar::{Builder, EntryType, Header};

use crate::handlers::backup::name::NamePattern;
use crate::handlers::backup::sink::{Asking, CHUNK};
use crate::handlers::glob::Glob;
use crate::handlers::input_file::QueueFiles;
use crate::handlers::output_file::PART_START;

/// What goes into an archive.
pub(super) struct ArchivePlan<'a> {
    pub(super) sources: &'a [PathBuf],
    pub(super) exclude: Vec<Glob>,
    /// The folder of the backups, by device and inode: those in it are left out.
    pub(super) target: Option<(u64, u64)>,
    pub(super) name: &'a NamePattern,
    pub(super) queue: QueueFiles,
}

/// Who has the archive written.
pub(super) trait ArchiveObserver {
    fn goes_on(&self) -> bool;
    /// So much is in the archive.
    fn wrote(&self, files: u64, bytes: u64);
    /// This could not be read as it should be.
    fn warn(&self, path: &Path, why: &str);
}

/// An archive under work.
pub(super) struct Archive<'a, W: Write> {
    plan: &'a ArchivePlan<'a>,
    observer: &'a dyn ArchiveObserver,
    /// None in a dry run.
    tar: Option<Builder<W>>,
    pub(super) files: u64,
    bytes: u64,
    /// It lacks what is there: a folder or a file could not be read.
    pub(super) is_incomplete: bool,
}

/// How many folders may be below each other.
const MAX_DEPTH: usize = 256;

impl<'a, W: Write> Archive<'a, W> {
    pub(super) fn new(
        plan: &'a ArchivePlan<'a>,
        observer: &'a dyn ArchiveObserver,
        to: Option<W>,
    ) -> Archive<'a, W> {
        Archive {
            plan,
            observer,
            tar: to.map(Builder::new),
            files: 0,
            bytes: 0,
            is_incomplete: false,
        }
    }

    /// Adds all sources. Returns what it was written to.
    ///
    /// # Errors
    /// The archive cannot be written, a source cannot be read at all, or it is not to go on.
    pub(super) fn write(&mut self) -> io::Result<Option<W>> {
        for source in self.plan.sources {
            // The source itself may be a link.
            let opened = source.canonicalize().and_then(|path| {
                let found = path.metadata()?;
                if found.is_dir() {
                    std::fs::read_dir(&path)?;
                }
                Ok((found, path))
            });
            let (found, path) = opened.map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", source.display()))
            })?;
            self.entry(&path, &name_in_archive(source), &[], &found)?;
        }
        self.tar.take().map(Builder::into_inner).transpose()
    }

    fn entry(
        &mut self,
        path: &Path,
        name: &Path,
        below: &[String],
        found: &Metadata,
    ) -> io::Result<()> {
        if !self.observer.goes_on() {
            return Err(io::Error::other("it was told to stop"));
        }
        let kind = found.file_type();
        if kind.is_dir() {
            // The archive's own root has no name.
            if name.as_os_str().is_empty() {
                return self.children(path, name, below, found);
            }
            self.add(name, found, EntryType::Directory, |tar, header| {
                tar.append_data(header, name, io::empty())
            })?;
            self.children(path, name, below, found)
        } else if kind.is_symlink() {
            match std::fs::read_link(path) {
                Ok(target) => self.add(name, found, EntryType::Symlink, |tar, header| {
                    tar.append_link(header, name, &target)
                }),
                Err(error) => self.lack(path, &error),
            }
        } else if kind.is_file() && self.plan.queue.has(found) {
            self.warn(
                path,
                "it is the queue's own file, which what \"queue\" copies",
            )
        } else if kind.is_file() {
            self.file(path, name)
        } else {
            self.warn(path, "it is neither a file nor a link nor a folder")
        }
    }

    fn children(
        &mut self,
        path: &Path,
        name: &Path,
        below: &[String],
        found: &Metadata,
    ) -> io::Result<()> {
        let entries = std::fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => return self.lack(path, &error),
        };
        if below.len() >= MAX_DEPTH {
            return self.lack(
                path,
                &format_args!("it is more than {MAX_DEPTH} folders deep"),
            );
        }
        entries.sort_by_key(std::fs::DirEntry::file_name);
        let is_target = self.plan.target == Some((found.dev(), found.ino()));
        for entry in entries {
            let mut below = below.to_vec();
            below.push(entry.file_name().to_string_lossy().into_owned());
            let own = || below.last().is_some_and(|name| self.is_own(name));
            if (is_target && own()) || self.plan.exclude.iter().any(|glob| glob.fits(&below)) {
                continue;
            }
            match entry.path().symlink_metadata() {
                Ok(found) => {
                    self.entry(&entry.path(), &name.join(entry.file_name()), &below, &found)?;
                }
                // It was removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.lack(&entry.path(), &error)?,
            }
        }
        Ok(())
    }

    /// Whether an entry of the folder of the backups is one, or is about to be.
    fn is_own(&self, name: &str) -> bool {
        name.starts_with(PART_START) || self.plan.name.fits(name)
    }

    fn file(&mut self, path: &Path, name: &Path) -> io::Result<()> {
        // It may have become a link or a pipe meanwhile.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let opened = opened.and_then(|file| Ok((file.metadata()?, file)));
        let (found, file) = match opened {
            Ok((found, file)) if found.is_file() => (found, file),
            Ok(_) => return self.warn(path, "it has changed meanwhile"),
            Err(error) => return self.lack(path, &error),
        };
        let observer = self.observer;
        let mut content = WholeFile::new(&file, found.len());
        self.add(name, &found, EntryType::Regular, |tar, header| {
            let content = Asking(&mut content, || observer.goes_on());
            tar.append_data(header, name, io::BufReader::with_capacity(CHUNK, content))
        })?;
        self.files += 1;
        self.bytes += found.len();
        observer.wrote(self.files, self.bytes);
        if let Some(error) = content.error {
            return self.lack(path, &format_args!("{error}; zeros stand for the rest"));
        }
        let now = file.metadata()?;
        let has_changed = (now.len(), now.mtime(), now.mtime_nsec())
            != (found.len(), found.mtime(), found.mtime_nsec());
        match has_changed && self.tar.is_some() {
            true => self.warn(path, "it was written to while it was read"),
            false => Ok(()),
        }
    }

    fn add(
        &mut self,
        name: &Path,
        found: &Metadata,
        kind: EntryType,
        append: impl FnOnce(&mut Builder<W>, &mut Header) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(tar) = &mut self.tar else {
            return Ok(());
        };
        let mut header = Header::new_gnu();
        header.set_metadata(found);
        header.set_entry_type(kind);
        if kind != EntryType::Regular {
            header.set_size(0);
        }
        append(tar, &mut header)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", name.display())))
    }

    fn lack(&mut self, path: &Path, why: &dyn std::fmt::Display) -> io::Result<()> {
        self.is_incomplete = true;
        self.warn(path, &why.to_string())
    }

    fn warn(&self, path: &Path, why: &str) -> io::Result<()> {
        self.observer.warn(path, why);
        Ok(())
    }
}

/// The name of a source in the archive: its path without the root, as tar itself has it.
fn name_in_archive(source: &Path) -> PathBuf {
    let names = source.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    names.collect()
}

/// Exactly as many bytes as the file had when it was opened: what was added is left out, and zeros stand for
/// what cannot be read any more.
struct WholeFile<'a> {
    file: &'a File,
    left: u64,
    is_over: bool,
    error: Option<io::Error>,
}

impl WholeFile<'_> {
    fn new(file: &File, bytes: u64) -> WholeFile<'_> {
        WholeFile {
            file,
            left: bytes,
            is_over: false,
            error: None,
        }
    }
}

impl Read for WholeFile<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let bytes = &mut bytes[..most];
        if !self.is_over && most > 0 {
            match self.file.read(bytes) {
                Ok(0) => self.is_over = true,
                Ok(read) => {
                    self.left -= read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => {
                    self.is_over = true;
                    self.error = Some(error);
                }
            }
        }
        bytes.fill(0);
        self.left -= most as u64;
        Ok(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(written: &str, bytes: u64) -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), written).unwrap();
        let mut read = Vec::new();
        let opened = File::open(file.path()).unwrap();
        WholeFile::new(&opened, bytes)
            .read_to_end(&mut read)
            .unwrap();
        read
    }

    #[test]
    fn a_file_is_as_long_as_it_was_whatever_became_of_it() {
        assert_eq!(read_all("0123", 4), b"0123");
        assert_eq!(read_all("0123", 2), b"01");
        assert_eq!(read_all("01", 4), b"01\0\0");
        assert_eq!(read_all("", 0), b"");
        assert_eq!(read_all("", 300_000), [0; 300_000]);
        // A folder can be opened, but not read.
        let folder = File::open("/").unwrap();
        let mut content = WholeFile::new(&folder, 2);
        let mut read = Vec::new();
        content.read_to_end(&mut read).unwrap();
        assert_eq!(read, [0, 0]);
        assert!(content.error.is_some());
    }

    #[test]
    fn names_in_the_archive_have_no_root() {
        for (source, name) in [
            ("/var/log", "var/log"),
            ("./a//b/.", "a/b"),
            ("a", "a"),
            ("/", ""),
            (".", ""),
        ] {
            assert_eq!(name_in_archive(Path::new(source)), Path::new(name));
        }
    }
}
