//! How a file is opened, closed and restored.

use std::path::PathBuf;

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Acknowledged writes survive a power cut.
    #[default]
    Full,
    /// Acknowledged writes survive the end of any process; a power cut may lose the last moments. The
    /// file is never corrupted, and single writes are several times faster.
    Normal,
}

words!(Durability, "durability", "durabilities" {
    Full = "full",
    Normal = "normal",
});

/// What becomes of the log when the last process that has the file open closes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogAtClose {
    /// It is moved into the file, synced, and removed: the file alone then holds everything.
    #[default]
    Remove,
    /// A short log stays: reading it costs the next process less than the syncs would cost this one.
    KeepShort,
}

/// Whether file systems on which SQLite's locks cannot be trusted are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkFs {
    /// NFS, SMB, 9p and the like are refused.
    #[default]
    Refuse,
    /// They are accepted: the caller vouches for the file's locks and shared memory.
    Allow,
}

/// What opening may do to a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenMode {
    /// Creates a missing file, with its folder; upgrades an older schema.
    #[default]
    Create,
    /// It must be there ([`Error::is_no_database`](crate::Error::is_no_database)); one of an older schema is upgraded.
    Existing,
    /// It must be there, and one of an older schema stays as it is: it can be backed up, and whatever
    /// else is wanted of it is refused ([`Error::is_older_schema`](crate::Error::is_older_schema)).
    AsIs,
}

/// Whether to replace a file that processes have open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum InUse {
    /// It is left as it is.
    #[default]
    Refuse,
    /// It is replaced all the same: those processes notice and end, and their later writes stay in the
    /// old file.
    Replace,
}

/// A file that was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replaced {
    /// Where it is now.
    pub kept: PathBuf,
    /// The number of its jobs; none if it could not be read.
    pub jobs: Option<u64>,
    /// How many of them were added after the backup was made.
    pub newer: Option<u64>,
}

/// The result of a restore: the new file, and the file it replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// The number of jobs in the file now.
    pub jobs: u64,
    /// The file that was in its place.
    pub replaced: Option<Replaced>,
}
