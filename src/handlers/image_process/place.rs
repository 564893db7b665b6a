//! Where pictures are read and written: anywhere, or below a root that no link and no `..` leads out of.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat, fstat, open, openat2, statat};

use crate::handlers::image_process::failure::{ImageError, ImageErrorClass};
use crate::handlers::input_file::QueueFiles;
use crate::handlers::output_file::{OutputFile, OutputFiles, by_descriptor};
use crate::runner::cancellation::Cancellation;

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// The folder that paths are read from.
pub(super) struct ImageRoot {
    folder: Option<(PathBuf, OwnedFd)>,
}

/// What a file or folder is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ImageFileId(u64, u64);

impl ImageFileId {
    #[allow(clippy::unnecessary_cast, reason = "the types differ by system")]
    fn of(stat: &Stat) -> ImageFileId {
        ImageFileId(stat.st_dev as u64, stat.st_ino as u64)
    }
}

/// A source, read whole.
#[derive(Debug)]
pub(super) struct SourceFile {
    pub(super) bytes: Vec<u8>,
    pub(super) id: ImageFileId,
}

/// Where an output goes.
pub(super) struct OutputPlace {
    folder: OwnedFd,
    folder_id: ImageFileId,
    name: OsString,
    /// As the payload has it.
    path: PathBuf,
}

impl ImageRoot {
    /// Without a path, paths lead anywhere.
    pub(super) fn open(path: Option<&Path>) -> Result<ImageRoot, ImageError> {
        let enter = |path: &Path| {
            let folder = open(path, FOLDER | OFlags::CLOEXEC, Mode::empty());
            let folder = folder.map_err(|error| ImageError::reading(path, &error.into()))?;
            Ok((path.to_owned(), folder))
        };
        Ok(ImageRoot {
            folder: path.map(enter).transpose()?,
        })
    }

    fn enter(&self, path: &Path, how: OFlags) -> io::Result<OwnedFd> {
        let how = how | OFlags::CLOEXEC;
        let Some((root, folder)) = &self.folder else {
            return Ok(open(path, how, Mode::empty())?);
        };
        let below = path.strip_prefix(root).unwrap_or(path);
        let below = match below.as_os_str().is_empty() {
            true => Path::new("."),
            false => below,
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(folder, below, how, Mode::empty(), resolve)?)
    }

    /// Reads a source.
    pub(super) fn read(
        &self,
        path: &Path,
        max_bytes: u64,
        queue: &QueueFiles,
        cancellation: &Cancellation,
    ) -> Result<SourceFile, ImageError> {
        let failed = |error: io::Error| ImageError::reading(path, &error);
        let refused = |class, why: &str| {
            Err(ImageError::new(
                class,
                format!("'{}' {why}", path.display()),
            ))
        };
        // It is opened when it is known what it is: a pipe would wait.
        let place = File::from(self.enter(path, OFlags::PATH).map_err(failed)?);
        let found = place.metadata().map_err(failed)?;
        if !found.is_file() {
            return refused(ImageErrorClass::Source, "is not a file");
        }
        if queue.has(&found) {
            return refused(ImageErrorClass::Source, "is the queue's own file");
        }
        let mut file = File::open(by_descriptor(&place)).map_err(failed)?;
        let mut bytes = Vec::new();
        let mut piece = vec![0; 1 << 20];
        loop {
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => bytes.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
            if bytes.len() as u64 > max_bytes {
                let why = format!(
                    "is larger than {max_bytes} bytes, the max_input_bytes of the settings"
                );
                return refused(ImageErrorClass::TooLarge, &why);
            }
            if cancellation.is_cancelled() {
                return Err(ImageError::cancelled());
            }
        }
        Ok(SourceFile {
            bytes,
            id: ImageFileId(found.dev(), found.ino()),
        })
    }

    /// Opens the folder of an output.
    pub(super) fn place(&self, path: &Path) -> Result<OutputPlace, ImageError> {
        let failed = |error: io::Error| ImageError::writing(path, &error);
        let name = path
            .file_name()
            .ok_or_else(|| failed(rustix::io::Errno::ISDIR.into()))?;
        let parent = path.parent().unwrap_or(Path::new(""));
        let parent = match parent.as_os_str().is_empty() {
            true => Path::new("."),
            false => parent,
        };
        let folder = self.enter(parent, FOLDER).map_err(failed)?;
        let stat = fstat(&folder).map_err(|error| failed(error.into()))?;
        Ok(OutputPlace {
            folder,
            folder_id: ImageFileId::of(&stat),
            name: name.to_owned(),
            path: path.to_owned(),
        })
    }
}

impl OutputPlace {
    /// The file that has the name now, behind all links.
    pub(super) fn existing(&self) -> Option<ImageFileId> {
        let stat = statat(&self.folder, &*self.name, AtFlags::empty());
        stat.ok().as_ref().map(ImageFileId::of)
    }

    /// Whether both are one name in one folder.
    pub(super) fn is(&self, other: &OutputPlace) -> bool {
        self.folder_id == other.folder_id && self.name == other.name
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// An empty file that is to have the name. The place must stay open until the file is finished.
    pub(super) fn create(&self, files: &OutputFiles) -> Result<OutputFile, ImageError> {
        // By the descriptor: no link on the way can be changed meanwhile.
        let folder = by_descriptor(&self.folder);
        files
            .create(&folder.join(&self.name))
            .map_err(|error| ImageError::writing(&self.path, &error))
    }
}
