//! The store's SQL: named constants, each with the reason for its shape.

use crate::model::json;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Params, Row};
use serde_json::value::RawValue;

use crate::Result;

/// Declares SQL constants and lists them, so that a test can prepare each one against `schema.sql`
/// and reject a scan where a statement is `hot`.
macro_rules! statements {
    ($($(#[doc = $doc:literal])* $heat:ident $name:ident = $sql:expr;)*) => {
        $($(#[doc = $doc])* pub(crate) const $name: &str = $sql;)*

        #[cfg(test)]
        pub(crate) const STATEMENTS: &[$crate::store::sqlite::statement::Statement] = &[
            $($crate::store::sqlite::statement::Statement {
                name: stringify!($name),
                sql: $name,
                heat: $crate::store::sqlite::statement::heat::$heat,
            }),*
        ];
    };
}

pub(crate) use statements;

/// Running the store's statements on a connection that keeps them prepared.
pub(crate) trait Statements {
    /// Runs it; returns the number of changed rows.
    fn run(&self, sql: &str, params: impl Params) -> Result<usize>;

    /// Its only row, which must exist.
    fn one<T>(&self, sql: &str, params: impl Params, read: impl Read<T>) -> Result<T>;

    /// Its first row.
    fn optional<T>(&self, sql: &str, params: impl Params, read: impl Read<T>) -> Result<Option<T>>;

    /// All of its rows.
    fn all<T>(&self, sql: &str, params: impl Params, read: impl Read<T>) -> Result<Vec<T>>;

    /// Whether it has a row.
    fn has_row(&self, sql: &str, params: impl Params) -> Result<bool>;
}

/// Reads a row.
pub(crate) trait Read<T>: FnMut(&Row<'_>) -> rusqlite::Result<T> {}
impl<T, F: FnMut(&Row<'_>) -> rusqlite::Result<T>> Read<T> for F {}

impl Statements for Connection {
    fn run(&self, sql: &str, params: impl Params) -> Result<usize> {
        Ok(self.prepare_cached(sql)?.execute(params)?)
    }

    fn one<T>(&self, sql: &str, params: impl Params, read: impl Read<T>) -> Result<T> {
        Ok(self.prepare_cached(sql)?.query_row(params, read)?)
    }

    fn optional<T>(&self, sql: &str, params: impl Params, read: impl Read<T>) -> Result<Option<T>> {
        let mut statement = self.prepare_cached(sql)?;
        Ok(statement.query_row(params, read).optional()?)
    }

    fn all<T>(&self, sql: &str, params: impl Params, read: impl Read<T>) -> Result<Vec<T>> {
        let mut statement = self.prepare_cached(sql)?;
        let rows = statement.query_map(params, read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn has_row(&self, sql: &str, params: impl Params) -> Result<bool> {
        Ok(self.prepare_cached(sql)?.exists(params)?)
    }
}

/// Text as it is, also if another program has written bytes that are not UTF-8.
pub(crate) fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        _ => None,
    }
}

pub(crate) fn readable_json(text: String) -> Box<RawValue> {
    let quoted = |text: &str| serde_json::value::to_raw_value(text).unwrap_or_default();
    match json::check(&text) {
        Ok(()) => RawValue::from_string(text).unwrap_or_default(),
        Err(_) => quoted(&text),
    }
}

/// A moment in a row. A value that is not a number is none: it sorts after all numbers, so if it is the least
/// there are no others.
pub(crate) fn moment(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<i64>> {
    Ok(match row.get_ref(at)? {
        ValueRef::Integer(ms) => Some(ms),
        ValueRef::Real(ms) => Some(ms as i64),
        _ => None,
    })
}

/// How often a statement runs: a hot statement must never scan a growing table.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heat {
    Hot,
    Cold,
}

#[cfg(test)]
#[allow(non_upper_case_globals, reason = "the macro spells them as words")]
pub(crate) mod heat {
    use super::Heat;

    pub(crate) const hot: Heat = Heat::Hot;
    pub(crate) const cold: Heat = Heat::Cold;
}

#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
    pub(crate) heat: Heat,
}
