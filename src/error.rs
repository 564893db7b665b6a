//! The crate's one error type.

use crate::model::id::JobId;
use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;

use crate::model::part::Part;
use crate::model::remedy::Remedy;

/// What went wrong, on what, and what to do next.
///
/// It is opaque: the text is for people, the predicates (`is_not_found`, `is_busy` …) are for programs.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    hint: Option<String>,
    remedy: Option<Remedy>,
    /// The conflicting job, and where the message names it.
    job: Option<(JobId, Range<usize>)>,
    /// The part of the file it belongs to, if its data are at fault.
    part: Option<Part>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The kinds of errors that a caller may distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Invalid,
    NotFound,
    WrongState,
    Duplicate,
    QueueFull,
    Busy,
    /// This process itself holds the lock it waits for: in another thread, or because it was never
    /// released.
    Stuck,
    Full,
    /// The file is at its maximum size; the disk is not full.
    OverBudget,
    ReadOnly,
    NotADatabase,
    /// There is no file, or it has no jobq tables.
    NoDatabase,
    Corrupt,
    NewerSchema,
    OlderSchema,
    Unsupported,
    UnknownOutcome,
    /// The path leads to a different file than the open one.
    Replaced,
    TimedOut,
    Io,
    Sqlite,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            hint: None,
            remedy: None,
            job: None,
            part: None,
            source: None,
        }))
    }

    /// An error whose message names the conflicting job between two pieces of text.
    pub(crate) fn because_of(kind: Kind, (before, job, after): (&str, JobId, &str)) -> Error {
        let name = format!("job {job}");
        let mut error = Error::new(kind, format!("{before}{name}{after}"));
        error.0.job = Some((job, before.len()..before.len() + name.len()));
        error
    }

    /// Invalid input, for the source of a [batch](crate::Queue::enqueue_batch) to report.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Kind::Invalid, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Error {
        Error::new(Kind::NotFound, message)
    }

    pub(crate) fn no_such_job(id: JobId) -> Error {
        Error::not_found(format!("no job {id}")).with_remedy(Remedy::ListJobs)
    }

    pub(crate) fn wrong_state(message: impl Into<String>) -> Error {
        Error::new(Kind::WrongState, message)
    }

    /// A failed system call: what could not be done, and the system's reason.
    pub fn io(action: impl fmt::Display, source: std::io::Error) -> Error {
        let kind = match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Kind::Full,
            std::io::ErrorKind::ReadOnlyFilesystem => Kind::ReadOnly,
            _ => Kind::Io,
        };
        let mut error = Error::new(kind, format!("{action}: {source}"));
        error.0.hint = Error::hint_for_io(&source).map(str::to_owned);
        error.0.source = Some(Box::new(source));
        error
    }

    /// A thread could not be started.
    #[doc(hidden)]
    pub fn no_thread(thread: &str, source: std::io::Error) -> Error {
        Error::io(format_args!("the {thread} thread cannot be started"), source)
            .with_hint("use fewer workers, or raise the limits of this process on processes (`ulimit -u`) and memory (`ulimit -v`)")
    }

    /// The hint for an error that is a limit of this process or of the system.
    #[doc(hidden)]
    pub fn hint_for_io(source: &std::io::Error) -> Option<&'static str> {
        use rustix::io::Errno;
        match Errno::from_io_error(source)? {
            Errno::MFILE => Some("raise the limit of this process on open files (`ulimit -n`)"),
            Errno::NFILE => Some("the whole machine has too many files open: see what else runs"),
            _ => None,
        }
    }

    /// Adds a hint: what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn with_remedy(mut self, remedy: Remedy) -> Error {
        self.0.remedy = Some(remedy);
        self
    }

    #[must_use]
    pub(crate) fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Error {
        self.0.source = Some(Box::new(source));
        self
    }

    /// Prepends what was being done to the message.
    #[must_use]
    pub(crate) fn context(mut self, action: impl fmt::Display) -> Error {
        let action = format!("{action}: ");
        self.0.message.insert_str(0, &action);
        if let Some((_, at)) = &mut self.0.job {
            *at = at.start + action.len()..at.end + action.len();
        }
        self
    }

    /// Renames the conflicting job in the message: a job that is rolled back has no id. Removes the hint,
    /// which names it too.
    #[must_use]
    #[doc(hidden)]
    pub fn with_job_called(mut self, name: &str) -> Error {
        if let Some((_, at)) = self.0.job.take() {
            self.0.message.replace_range(at, name);
            self.0.hint = None;
            self.0.remedy = None;
        }
        self
    }

    /// Whether the data of the file are at fault, not a lock, a full disk or the like: another try fails the
    /// same way.
    pub(crate) fn blames_data(&self) -> bool {
        use Kind::{Corrupt, Duplicate, Invalid, NotFound, Sqlite, WrongState};
        matches!(
            self.0.kind,
            Corrupt | Sqlite | Invalid | NotFound | WrongState | Duplicate
        )
    }

    /// Whether nothing was changed, and the same call may work later.
    pub(crate) fn may_pass(&self) -> bool {
        use Kind::{Busy, Full, Io, ReadOnly};
        let source = self.0.source.as_deref();
        let of_file = source.and_then(|source| source.downcast_ref::<std::io::Error>());
        matches!(self.0.kind, Busy | Full | Io | ReadOnly) && !of_file.is_some_and(is_lasting)
    }

    /// Sets the part of the file it belongs to, if its data are at fault. The first setting stays.
    #[must_use]
    pub(crate) fn of(mut self, part: Part) -> Error {
        if self.0.part.is_none() && self.blames_data() {
            self.0.part = Some(part);
        }
        self
    }

    pub(crate) fn part(&self) -> Option<Part> {
        self.0.part
    }

    /// A copy for a second caller who waits for the same thing. The source stays with the first.
    pub(crate) fn duplicate(&self) -> Error {
        let mut copy = Error::new(self.0.kind, self.0.message.clone());
        copy.0.hint.clone_from(&self.0.hint);
        copy.0.remedy.clone_from(&self.0.remedy);
        copy.0.job.clone_from(&self.0.job);
        copy.0.part = self.0.part;
        copy
    }

    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Advice in words, besides the [remedy](Error::remedy).
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// What can be done about it, where jobq has something for it.
    pub fn remedy(&self) -> Option<&Remedy> {
        self.0.remedy.as_ref()
    }

    /// The job that conflicts with a new one, if the message names it: it has the unique key, or would close
    /// a circle of dependencies. It may be a job of the same batch, which was not added.
    pub fn job(&self) -> Option<JobId> {
        self.0.job.as_ref().map(|(job, _)| *job)
    }

    /// The input is invalid: bad JSON, an unknown name, a payload over the limit.
    pub fn is_invalid_input(&self) -> bool {
        self.0.kind == Kind::Invalid
    }

    /// The job, queue, runner or schedule does not exist.
    pub fn is_not_found(&self) -> bool {
        self.0.kind == Kind::NotFound
    }

    /// The job's state does not allow the operation.
    pub fn is_wrong_state(&self) -> bool {
        self.0.kind == Kind::WrongState
    }

    /// The job's unique key is taken, and duplicates are rejected.
    pub fn is_duplicate(&self) -> bool {
        self.0.kind == Kind::Duplicate
    }

    /// The queue is at its size limit: try again when some of its jobs have ended.
    pub fn is_queue_full(&self) -> bool {
        self.0.kind == Kind::QueueFull
    }

    /// Other processes held the file's lock for too long: nothing was changed, try again.
    pub fn is_busy(&self) -> bool {
        matches!(self.0.kind, Kind::Busy | Kind::Stuck)
    }

    /// The disk is full, or the file is at its maximum size: nothing was changed.
    pub fn is_full(&self) -> bool {
        matches!(self.0.kind, Kind::Full | Kind::OverBudget)
    }

    /// The disk is full: nothing can be written.
    pub(crate) fn is_disk_full(&self) -> bool {
        self.0.kind == Kind::Full
    }

    /// The file is open only for reading.
    pub fn is_read_only(&self) -> bool {
        self.0.kind == Kind::ReadOnly
    }

    /// The file is not an SQLite database.
    pub fn is_not_a_database(&self) -> bool {
        self.0.kind == Kind::NotADatabase
    }

    /// The database does not exist, or has no jobq tables.
    pub fn is_no_database(&self) -> bool {
        self.0.kind == Kind::NoDatabase
    }

    /// The database is damaged.
    pub fn is_corrupt(&self) -> bool {
        self.0.kind == Kind::Corrupt
    }

    /// The file was written by a newer jobq.
    pub fn is_newer_schema(&self) -> bool {
        self.0.kind == Kind::NewerSchema
    }

    /// The file has an older schema, and reading does not upgrade it or it cannot be upgraded.
    pub fn is_older_schema(&self) -> bool {
        self.0.kind == Kind::OlderSchema
    }

    /// The commit failed, and it is unknown whether it landed: check before trying again.
    pub fn is_unknown_outcome(&self) -> bool {
        self.0.kind == Kind::UnknownOutcome
    }

    /// The file or its log was removed or replaced while it was open. The old file is neither read nor
    /// written any more: open the queue anew.
    pub fn is_replaced(&self) -> bool {
        self.0.kind == Kind::Replaced
    }

    /// The time to wait has passed.
    pub fn is_timed_out(&self) -> bool {
        self.0.kind == Kind::TimedOut
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("hint", &self.0.hint)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Names the part of the file that a failure belongs to.
pub(crate) trait Of<T> {
    /// The first setting stays: it is the closest.
    fn of(self, part: Part) -> Result<T>;
}

impl<T, E: Into<Error>> Of<T> for Result<T, E> {
    fn of(self, part: Part) -> Result<T> {
        self.map_err(|error| error.into().of(part))
    }
}

/// Whether an error is of a path or a mode, which stay as they are until somebody changes them.
pub(crate) fn is_lasting(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    use std::io::ErrorKind::{
        CrossesDevices, FileTooLarge, InvalidData, InvalidFilename, InvalidInput, IsADirectory,
        NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem,
    };
    match error.kind() {
        NotFound | PermissionDenied | NotADirectory | IsADirectory | InvalidInput | InvalidData
        | InvalidFilename | FileTooLarge | CrossesDevices | ReadOnlyFilesystem => true,
        _ => matches!(Errno::from_io_error(error), Some(Errno::LOOP | Errno::NXIO)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_path_lasts_and_one_of_the_device_may_pass() {
        use rustix::io::Errno;
        let path = [
            Errno::NOENT,
            Errno::ACCESS,
            Errno::PERM,
            Errno::NOTDIR,
            Errno::ISDIR,
            Errno::LOOP,
            Errno::XDEV,
            Errno::NAMETOOLONG,
            Errno::ROFS,
            Errno::FBIG,
            Errno::INVAL,
            Errno::NXIO,
        ];
        let device = [
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::IO,
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::STALE,
            Errno::NOTCONN,
            Errno::AGAIN,
            Errno::INTR,
        ];
        for errno in path {
            assert!(!Error::io("a", errno.into()).may_pass(), "{errno}");
        }
        for errno in device {
            assert!(Error::io("a", errno.into()).may_pass(), "{errno}");
        }
    }

    #[test]
    fn an_error_can_rename_the_blocking_job_in_its_whole_message() {
        let parts = ("it would wait for ", JobId(41), ", which is its parent");
        let error = Error::because_of(Kind::Invalid, parts).with_hint("see job 41");
        assert_eq!(error.job(), Some(JobId(41)));
        let error = error
            .context("line 7")
            .duplicate()
            .with_job_called("line 3's");
        assert_eq!(
            error.to_string(),
            "line 7: it would wait for line 3's, which is its parent"
        );
        assert_eq!((error.job(), error.hint()), (None, None));
    }
}
