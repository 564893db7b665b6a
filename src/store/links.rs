//! What else changes when a job does, as bits in its row: a job without rules costs nothing.

use rusqlite::params;
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use super::statement::statements;
use super::tx::Tx;
use crate::Result;
use crate::job::JobId;

statements! {
    hot JOB_LINK_IF_NOT = "UPDATE jobq_job SET links = links | ?2 WHERE id = ?1 AND links & ?2 = 0";
}

/// A set of rules that a job is under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links(i64);

impl Links {
    pub(crate) const NONE: Links = Links(0);
    /// It has a parent.
    pub(crate) const CHILD: Links = Links(1);
    /// It has a row in `jobq_family`.
    pub(crate) const FAMILY: Links = Links(2);
    /// Others wait for it, or did.
    pub(crate) const NEEDED: Links = Links(4);
    /// It has a concurrency key.
    pub(crate) const KEY: Links = Links(8);
    /// It has a unique key.
    pub(crate) const UNIQUE: Links = Links(16);
    /// It has a deadline that it can still miss.
    pub(crate) const DEADLINE: Links = Links(32);
    /// It has tags.
    pub(crate) const TAGS: Links = Links(64);
    /// It waits for others, or did.
    pub(crate) const WAITS: Links = Links(128);
    /// Its deadline was given as a duration: it follows steps of the clock.
    pub(crate) const DEADLINE_MOVES: Links = Links(256);

    pub(crate) const fn has(self, other: Links) -> bool {
        self.0 & other.0 == other.0
    }

    #[must_use]
    pub(crate) const fn with(self, other: Links) -> Links {
        Links(self.0 | other.0)
    }

    /// `other` where `is`, for building a set.
    #[must_use]
    pub(crate) const fn and(self, other: Links, is: bool) -> Links {
        if is { self.with(other) } else { self }
    }
}

/// Sets bits of a job's row that it has not.
pub(crate) fn link(tx: &Tx<'_>, job: JobId, links: Links) -> Result<()> {
    tx.conn
        .prepare_cached(JOB_LINK_IF_NOT)?
        .execute(params![job.0, links])?;
    Ok(())
}

impl FromSql for Links {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Links> {
        value.as_i64().map(Links)
    }
}

impl ToSql for Links {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.into())
    }
}
