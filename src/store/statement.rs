//! How the store declares its SQL: named constants, each with the reason for its shape.

use rusqlite::Row;
use rusqlite::types::ValueRef;

/// Declares SQL constants and lists them, so that a test can prepare each one against `schema.sql`
/// and reject a scan where a statement is `hot`.
macro_rules! statements {
    ($($(#[doc = $doc:literal])* $heat:ident $name:ident = $sql:expr;)*) => {
        $($(#[doc = $doc])* pub(crate) const $name: &str = $sql;)*

        #[cfg(test)]
        pub(crate) const STATEMENTS: &[$crate::store::statement::Statement] = &[
            $($crate::store::statement::Statement {
                name: stringify!($name),
                sql: $name,
                heat: $crate::store::statement::heat::$heat,
            }),*
        ];
    };
}

pub(crate) use statements;

/// A moment in a row. What is no number is none: it comes after all numbers, so where it is the least
/// there are no others.
pub(crate) fn moment(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<i64>> {
    Ok(match row.get_ref(at)? {
        ValueRef::Integer(ms) => Some(ms),
        ValueRef::Real(ms) => Some(ms as i64),
        _ => None,
    })
}

/// How often a statement runs: what is hot may never scan a table that grows.
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
