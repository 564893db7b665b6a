//! Checks that the tables of a file are jobq's, before anything is read from them.
//!
//! Anybody may have made the file. A view in place of a table can compute anything for any time; so can a
//! virtual table, a computed column, and a trigger at every write.

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::error::Kind;
use crate::model::remedy::Remedy;
use crate::store::sqlite::statement::statements;
use crate::{Error, Result};

pub(crate) const SCHEMA: &str = include_str!("../../../schema.sql");

statements! {
    /// Indexes hold nothing that is not in their table, and the doctor compares them.
    cold SCHEMA_OTHER_THAN_INDEXES = "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema WHERE type <> 'index'";
    /// Computed and hidden columns have a number here.
    cold COLUMNS_NOT_PLAIN = "SELECT name FROM pragma_table_xinfo(?1) WHERE hidden <> 0 LIMIT 1";
}

/// The views for people; jobq never reads from them itself.
const VIEWS: [&str; 5] = [
    "jobq_jobs",
    "jobq_schedules",
    "jobq_history",
    "jobq_runners",
    "jobq_queues",
];

/// Fails if something named like jobq's is not made by jobq.
pub(crate) fn check(conn: &Connection) -> Result<()> {
    let mut statement = conn.prepare(SCHEMA_OTHER_THAN_INDEXES)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let text = |column| row.get_ref(column).map(text_of);
        let (what, name, table) = (text(0)?, text(1)?, text(2)?);
        if !is_ours(name) && !is_ours(table) {
            continue;
        }
        match what {
            "table" => {
                let sql = text(4)?;
                if is_in_schema(sql) {
                    continue;
                }
                if row.get_ref(3)? == ValueRef::Integer(0) {
                    return Err(refused(name, "a virtual table, not an ordinary one"));
                }
                check_columns(conn, name)?;
            }
            "view" if VIEWS.contains(&name) => {}
            "view" => return Err(refused(name, "a view, not a table")),
            "trigger" => return Err(refused(name, "a trigger on a table of jobq's")),
            _ => return Err(refused(name, "something that jobq does not make")),
        }
    }
    Ok(())
}

/// Whether the schema creates a table with this text.
fn is_in_schema(sql: &str) -> bool {
    let is_one_of_them = |at: &usize| SCHEMA[*at..].starts_with(sql);
    !sql.is_empty() && TABLES.iter().any(is_one_of_them)
}

const CREATE_TABLE: &[u8] = b"CREATE TABLE jobq_";

/// The positions of the tables in the schema, computed at build time: searching for their texts would cost
/// more than all else in opening a file.
const TABLES: [usize; TABLES_COUNT] = {
    let mut tables = [0; TABLES_COUNT];
    let (mut at, mut found) = (0, 0);
    while found < TABLES_COUNT {
        if begins_table(at) {
            tables[found] = at;
            found += 1;
        }
        at += 1;
    }
    tables
};

const TABLES_COUNT: usize = {
    let (mut at, mut found) = (0, 0);
    while at < SCHEMA.len() {
        found += begins_table(at) as usize;
        at += 1;
    }
    found
};

const fn begins_table(at: usize) -> bool {
    let schema = SCHEMA.as_bytes();
    let mut length = 0;
    while length < CREATE_TABLE.len() && at + length < schema.len() {
        if schema[at + length] != CREATE_TABLE[length] {
            return false;
        }
        length += 1;
    }
    length == CREATE_TABLE.len()
}

/// Checks a table of an upgraded file, whose text differs from the schema's.
fn check_columns(conn: &Connection, table: &str) -> Result<()> {
    match conn.prepare(COLUMNS_NOT_PLAIN)?.exists([table])? {
        false => Ok(()),
        true => Err(refused(table, "a table with computed columns")),
    }
}

fn text_of(value: ValueRef<'_>) -> &str {
    value.as_str().unwrap_or_default()
}

/// SQLite takes names for the same whatever their case.
fn is_ours(name: &str) -> bool {
    let start = name.as_bytes().get(..5);
    start.is_some_and(|start| start.eq_ignore_ascii_case(b"jobq_"))
}

fn refused(name: &str, what: &str) -> Error {
    Error::new(
        Kind::Corrupt,
        format!("'{name}' in the database is {what}: jobq has not made this file like that"),
    )
    .with_hint("do not use it unless you know who changed it")
    .with_remedy(Remedy::Restore)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(sql: &str) -> Result<()> {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(SCHEMA).unwrap();
        conn.execute_batch(sql).unwrap();
        check(&conn)
    }

    #[test]
    fn tables_of_jobq_and_of_an_application_are_accepted() {
        with("").unwrap();
        with(
            "CREATE TABLE app (x, y AS (x + 1));
              CREATE VIEW app_view AS SELECT count(*) FROM jobq_job;
              CREATE TRIGGER app_trigger AFTER INSERT ON app BEGIN DELETE FROM app; END;
              CREATE INDEX app_index ON jobq_job (created_at);
              ALTER TABLE jobq_job ADD COLUMN later TEXT;",
        )
        .unwrap();
    }

    #[test]
    fn every_table_of_the_schema_is_known_by_its_text() {
        assert_eq!(TABLES.len(), SCHEMA.matches("CREATE TABLE").count());
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(SCHEMA).unwrap();
        let mut tables = conn
            .prepare("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name LIKE 'jobq_%'")
            .unwrap();
        let texts = tables.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let texts: Vec<String> = texts.map(Result::unwrap).collect();
        assert_eq!(texts.len(), TABLES.len());
        assert!(texts.iter().all(|sql| is_in_schema(sql)));
        assert!(!is_in_schema(&texts[0].replace("NOT NULL", "")));
    }

    #[test]
    fn what_is_named_as_jobqs_and_is_not_made_by_jobq_is_refused() {
        let endless =
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id FROM n";
        let bad = [
            format!("DROP TABLE jobq_batch; CREATE VIEW jobq_batch AS {endless};"),
            format!("DROP TABLE jobq_batch; CREATE VIEW JOBQ_Batch AS {endless};"),
            format!("CREATE VIEW jobq_more AS {endless};"),
            "CREATE TRIGGER t AFTER INSERT ON jobq_job BEGIN DELETE FROM jobq_job; END;".to_owned(),
            "CREATE TRIGGER t INSTEAD OF INSERT ON jobq_jobs BEGIN DELETE FROM jobq_job; END;"
                .to_owned(),
            "ALTER TABLE jobq_job ADD COLUMN x TEXT AS (printf('%.*c', 1000000, 'x'));".to_owned(),
            // As a SQLite that knows the module would have written it.
            "DROP TABLE jobq_batch; PRAGMA writable_schema = ON; INSERT INTO sqlite_schema
                VALUES ('table', 'jobq_batch', 'jobq_batch', 0, 'CREATE VIRTUAL TABLE jobq_batch USING fts5(x)');"
                .to_owned(),
        ];
        for sql in bad {
            let error = with(&sql).expect_err(&sql);
            assert!(error.is_corrupt(), "{sql}: {error}");
        }
    }
}
