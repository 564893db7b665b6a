//! Why a picture is not made, and what that means for the job.

use std::fmt::{Display, Formatter};
use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::error::is_lasting;
use crate::runner::handler::Failure;

/// What goes wrong with pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ImageErrorClass {
    /// The source is missing, is no file, may not be read, or is outside the root.
    Source,
    /// More bytes or pixels than the settings allow.
    TooLarge,
    /// Not a format that is read, or not one that holds such a picture.
    Unsupported,
    /// Broken, cut off, or such that the decoder panics.
    Undecodable,
    /// An operation that does not fit the picture.
    Geometry,
    /// The output's folder is missing or refuses it, or the output would replace the source.
    Output,
    /// The file system fails: no space, an I/O error, too many open files.
    FileSystem,
    /// The attempt is to stop.
    Cancelled,
}

/// Why a picture is not made.
#[derive(Debug)]
pub(super) struct ImageError {
    pub(super) class: ImageErrorClass,
    message: String,
}

impl ImageError {
    pub(super) fn new(class: ImageErrorClass, message: impl Display) -> ImageError {
        let message = message.to_string();
        ImageError { class, message }
    }

    pub(super) fn cancelled() -> ImageError {
        ImageError::new(ImageErrorClass::Cancelled, "cancelled")
    }

    /// A source that cannot be opened or read.
    pub(super) fn reading(path: &Path, error: &io::Error) -> ImageError {
        let class = class_of(error, ImageErrorClass::Source);
        ImageError::new(
            class,
            format!("'{}' cannot be read: {}", path.display(), why(error)),
        )
    }

    /// An output that cannot be written.
    pub(super) fn writing(path: &Path, error: &io::Error) -> ImageError {
        let class = class_of(error, ImageErrorClass::Output);
        ImageError::new(
            class,
            format!("'{}' cannot be written: {}", path.display(), why(error)),
        )
    }

    /// The outcome of each class.
    pub(super) fn failure(self) -> Failure {
        match self.class {
            ImageErrorClass::Source
            | ImageErrorClass::TooLarge
            | ImageErrorClass::Unsupported
            | ImageErrorClass::Undecodable
            | ImageErrorClass::Geometry
            | ImageErrorClass::Output => Failure::permanent(self.message),
            ImageErrorClass::FileSystem => Failure::retry(self.message),
            ImageErrorClass::Cancelled => Failure::cancelled(),
        }
    }
}

impl Display for ImageError {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

fn why(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::XDEV) => "it is outside the root of the settings".to_owned(),
        _ => error.to_string(),
    }
}

fn class_of(error: &io::Error, refused: ImageErrorClass) -> ImageErrorClass {
    match is_lasting(error) {
        true => refused,
        false => ImageErrorClass::FileSystem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_its_outcome() {
        use ImageErrorClass::*;
        for (class, is_permanent, is_cancelled) in [
            (Source, true, false),
            (TooLarge, true, false),
            (Unsupported, true, false),
            (Undecodable, true, false),
            (Geometry, true, false),
            (Output, true, false),
            (FileSystem, false, false),
            (Cancelled, false, true),
        ] {
            let failure = ImageError::new(class, "why").failure();
            assert_eq!(failure.is_permanent(), is_permanent, "{class:?}");
            assert_eq!(failure.is_cancelled(), is_cancelled, "{class:?}");
            let message = failure.message();
            assert_eq!(message, (!is_cancelled).then_some("why"), "{class:?}");
        }
    }

    #[test]
    fn what_a_path_causes_stays_and_other_errors_may_pass() {
        for (errno, class) in [
            (Errno::NOENT, ImageErrorClass::Output),
            (Errno::NOSPC, ImageErrorClass::FileSystem),
            (Errno::IO, ImageErrorClass::FileSystem),
        ] {
            let path = Path::new("a.jpg");
            assert_eq!(
                ImageError::writing(path, &errno.into()).class,
                class,
                "{errno}"
            );
            let read = ImageError::reading(path, &errno.into()).class;
            let is_source = class == ImageErrorClass::Output;
            assert_eq!(read == ImageErrorClass::Source, is_source, "{errno}");
        }
    }
}
