//! The rules of a job, as bits in its row: a job without rules costs no extra query.

/// A set of rules that a job is under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JobFlags(pub(crate) i64);

impl JobFlags {
    pub(crate) const NONE: JobFlags = JobFlags(0);
    /// It has a parent.
    pub(crate) const CHILD: JobFlags = JobFlags(1);
    /// It has a row in `jobq_family`.
    pub(crate) const FAMILY: JobFlags = JobFlags(2);
    /// Others wait for it, or did.
    pub(crate) const NEEDED: JobFlags = JobFlags(4);
    /// It has a concurrency key.
    pub(crate) const KEY: JobFlags = JobFlags(8);
    /// It has a unique key.
    pub(crate) const UNIQUE: JobFlags = JobFlags(16);
    /// It has a deadline that it can still miss.
    pub(crate) const DEADLINE: JobFlags = JobFlags(32);
    /// It has tags.
    pub(crate) const TAGS: JobFlags = JobFlags(64);
    /// It waits for others, or did.
    pub(crate) const WAITS: JobFlags = JobFlags(128);
    /// Its deadline was given as a duration: it follows steps of the clock.
    pub(crate) const DEADLINE_MOVES: JobFlags = JobFlags(256);
    /// A schedule has enqueued it.
    pub(crate) const SCHEDULED: JobFlags = JobFlags(512);
    /// It has a list of delays between its retries.
    pub(crate) const RETRY_DELAYS: JobFlags = JobFlags(1024);
    /// Its running attempt has asked for a snooze.
    pub(crate) const SNOOZE: JobFlags = JobFlags(2048);
    /// It has hooks.
    pub(crate) const HOOKS: JobFlags = JobFlags(4096);
    /// A hook has enqueued it; it fires none.
    pub(crate) const HOOK_JOB: JobFlags = JobFlags(8192);
    /// It is a child of a hook's job, or of one with this bit; it fires none either.
    pub(crate) const UNDER_HOOK: JobFlags = JobFlags(16384);
    /// It belongs to a trace.
    pub(crate) const TRACED: JobFlags = JobFlags(32768);

    pub(crate) const fn has(self, other: JobFlags) -> bool {
        self.0 & other.0 == other.0
    }

    #[must_use]
    pub(crate) const fn with(self, other: JobFlags) -> JobFlags {
        JobFlags(self.0 | other.0)
    }

    /// `other` where `is`, for building a set.
    #[must_use]
    pub(crate) const fn and(self, other: JobFlags, is: bool) -> JobFlags {
        if is { self.with(other) } else { self }
    }
}
