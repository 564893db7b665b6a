//! How a file is opened, closed and restored.

use std::path::PathBuf;

/// What a reply means for power cuts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// What was acknowledged survives a power cut.
    #[default]
    Full,
    /// What was acknowledged survives the end of any process; a power cut may take the last
    /// moments. Never corrupt, and several times faster for single writes.
    Normal,
}

/// What becomes of the log when the last process that has the file open closes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogAtClose {
    /// It is moved into the file, synced, and removed: the file alone is then all there is.
    #[default]
    Remove,
    /// A short one stays: the next process reads it, which costs that process less than the syncs
    /// would cost this one.
    KeepShort,
}

/// Whether file systems on which SQLite's locks cannot be trusted are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkFs {
    /// NFS, SMB, 9p and the like are refused.
    #[default]
    Refuse,
    /// Whoever opens the file vouches for its locks and shared memory.
    Allow,
}

/// What opening a file may do to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenMode {
    /// It is made, with its folder, where there is none; one of an older schema is upgraded.
    #[default]
    Create,
    /// It must be there ([`Error::is_no_database`](crate::Error::is_no_database)); one of an older schema is upgraded.
    Existing,
    /// It must be there, and one of an older schema stays as it is: it can be backed up, and whatever
    /// else is wanted of it is refused ([`Error::is_older_schema`](crate::Error::is_older_schema)).
    AsIs,
}

/// Whether a file that processes work with is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum InUse {
    /// It is left as it is.
    #[default]
    Refuse,
    /// It is replaced all the same: those processes notice and end, and what they have written to the
    /// old file since stays there.
    Replace,
}

/// A file that another one has been put in the place of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replaced {
    /// Where it is now.
    pub kept: PathBuf,
    /// Its jobs; none where it could not be read.
    pub jobs: Option<u64>,
    /// Those of them that were added after the backup was made.
    pub newer: Option<u64>,
}

/// What a restored file holds, and what was there before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// The jobs in the file now.
    pub jobs: u64,
    /// The file that was in its place.
    pub replaced: Option<Replaced>,
}
