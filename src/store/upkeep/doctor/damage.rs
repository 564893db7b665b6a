//! Damaged rows: values that their columns cannot have, such as a text in place of a number, or null. SQLite
//! does not write them into a strict table, but a damaged page or another program may.

use crate::Result;
use crate::model::id::JobId;
use crate::store::sqlite::types::ValueRef;
use crate::store::sqlite::{Connection, params, tables};

/// The tables that a runner works by, with the column that says whose a row is.
const TABLES: [(&str, &str, &str); 16] = [
    ("jobq_job", "id", "job"),
    ("jobq_payload", "job_id", "the payload of job"),
    ("jobq_outcome", "job_id", "the outcome of job"),
    ("jobq_prerequisite", "job_id", "a prerequisite of job"),
    ("jobq_family", "job_id", "the family of job"),
    (
        "jobq_concurrency_slot",
        "job_id",
        "the concurrency slot of job",
    ),
    ("jobq_unique", "job_id", "the unique key of job"),
    ("jobq_deadline", "job_id", "the deadline of job"),
    ("jobq_queue", "id", "queue number"),
    ("jobq_number", "id", "a state counter of queue number"),
    ("jobq_attempt", "job_id", "an attempt of job"),
    ("jobq_log", "job_id", "the log of job"),
    ("jobq_rate", "queue_id", "the rate of queue number"),
    ("jobq_kind", "id", "kind number"),
    ("jobq_runner", "id", "runner"),
    ("jobq_schedule", "id", "schedule number"),
];

/// Maximum number of rows that are named.
const NAMED: usize = 20;

/// A table's columns and their possible values, by `schema.sql`, not by the file.
struct ColumnShape {
    model: Connection,
}

impl ColumnShape {
    fn new() -> Result<ColumnShape> {
        let model = Connection::open_in_memory()?;
        model.execute_batch(tables::SCHEMA)?;
        Ok(ColumnShape { model })
    }

    /// An expression that names the first column of a row that holds what it cannot; null: none does.
    fn wrong_column(&self, table: &str) -> Result<String> {
        let mut columns = self
            .model
            .prepare("SELECT name, type, \"notnull\" FROM pragma_table_info(?1)")?;
        let mut rows = columns.query([table])?;
        let mut cases = String::new();
        while let Some(row) = rows.next()? {
            let (name, declared, is_set): (String, String, bool) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let fine = match declared.as_str() {
                "INTEGER" => "'integer'",
                "REAL" => "'real'",
                "TEXT" => "'text'",
                _ => continue,
            };
            let null = if is_set { "" } else { ", 'null'" };
            cases.push_str(&format!(
                " WHEN typeof(\"{name}\") NOT IN ({fine}{null}) THEN '{name}'"
            ));
        }
        Ok(format!("CASE{cases} END"))
    }
}

/// The damaged rows of the whole file, in words.
pub(crate) fn find(conn: &Connection) -> Result<Vec<String>> {
    let shape = ColumnShape::new()?;
    let mut found = Vec::new();
    for (table, key, whose) in TABLES {
        let wrong = shape.wrong_column(table)?;
        let sql = format!(
            "SELECT {key}, {wrong} AS wrong FROM {table} WHERE wrong IS NOT NULL LIMIT {NAMED}"
        );
        match rows(conn, &sql, None) {
            Ok(rows) => found.extend(rows.into_iter().map(|row| row.told(table, whose))),
            Err(error) => found.push(format!("{table} cannot be read: {error}")),
        }
    }
    Ok(found)
}

/// The damage of a job or its queue; none if nothing is found.
pub(crate) fn of_job(conn: &Connection, job: JobId) -> Result<Option<String>> {
    let shape = ColumnShape::new()?;
    for (table, key, whose) in TABLES {
        let rows_of = match (key, table) {
            ("job_id", _) | (_, "jobq_job") => format!("{key} = ?1"),
            ("queue_id", _) | (_, "jobq_queue") => {
                format!("{key} = (SELECT queue_id FROM jobq_job WHERE id = ?1)")
            }
            (_, "jobq_number") => {
                "what >= 0 AND id = (SELECT queue_id FROM jobq_job WHERE id = ?1)".to_owned()
            }
            (_, "jobq_kind") => "id = (SELECT kind_id FROM jobq_job WHERE id = ?1)".to_owned(),
            _ => continue,
        };
        let wrong = shape.wrong_column(table)?;
        let sql = format!(
            "SELECT {key}, {wrong} AS wrong FROM {table} WHERE {rows_of} AND wrong IS NOT NULL LIMIT 1"
        );
        match rows(conn, &sql, Some(job)) {
            Ok(rows) => {
                if let Some(row) = rows.into_iter().next() {
                    return Ok(Some(row.told(table, whose)));
                }
            }
            Err(error) if error.blames_data() => {
                return Ok(Some(format!("{table} cannot be read: {error}")));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// A damaged row.
struct Wrong {
    key: String,
    column: String,
}

impl Wrong {
    fn told(&self, table: &str, whose: &str) -> String {
        let Wrong { key, column } = self;
        format!("{whose} {key}: {table}.{column} holds what it cannot")
    }
}

fn rows(conn: &Connection, sql: &str, job: Option<JobId>) -> Result<Vec<Wrong>> {
    let mut statement = conn.prepare(sql)?;
    let mut rows = match job {
        Some(job) => statement.query(params![job.0])?,
        None => statement.query([])?,
    };
    let mut wrong = Vec::new();
    while let Some(row) = rows.next()? {
        wrong.push(Wrong {
            key: match row.get_ref(0)? {
                ValueRef::Integer(key) => key.to_string(),
                other => format!("({})", other.data_type()),
            },
            column: row.get(1)?,
        });
    }
    Ok(wrong)
}
