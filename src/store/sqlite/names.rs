//! Ids of kinds and queues: the hot rows have ids in place of names.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use crate::Result;
use crate::model::filter::KindFilter;
use crate::store::sqlite::blocks::KnownBlock;
use crate::store::sqlite::statement::{Statements, statements};

statements! {
    hot KIND_ID = "SELECT id FROM jobq_kind WHERE name = ?1";
    hot KIND_ADD = "INSERT INTO jobq_kind (name) VALUES (?1)";
    hot KIND_NAME = "SELECT name FROM jobq_kind WHERE id = ?1";
    cold KINDS_ALL = "SELECT id FROM jobq_kind";
    cold KINDS_LIKE = "SELECT id FROM jobq_kind WHERE name LIKE ?1 ESCAPE '\\'";
    cold KINDS_NAMED = "SELECT id, name FROM jobq_kind";
    hot QUEUE_ID = "SELECT id FROM jobq_queue WHERE name = ?1";
    hot QUEUE_ADD = "INSERT INTO jobq_queue (name) VALUES (?1)";
    hot QUEUE_NAME = "SELECT name FROM jobq_queue WHERE id = ?1";
}

/// The names that a writer has looked up, which are never changed or deleted, so that ids stay valid; and the rows of
/// the newest block that it knows.
#[derive(Debug, Default)]
pub(crate) struct Names {
    kinds: Table,
    queues: Table,
    pub(crate) block: KnownBlock,
}

#[derive(Debug, Default)]
struct Table {
    ids: HashMap<Arc<str>, i64>,
    names: HashMap<i64, Arc<str>>,
}

/// The three statements of one table of names.
struct Sql {
    id: &'static str,
    add: &'static str,
    name: &'static str,
}

const KIND: Sql = Sql {
    id: KIND_ID,
    add: KIND_ADD,
    name: KIND_NAME,
};
const QUEUE: Sql = Sql {
    id: QUEUE_ID,
    add: QUEUE_ADD,
    name: QUEUE_NAME,
};

impl Names {
    pub(crate) fn kind_id(&mut self, conn: &Connection, name: &str) -> Result<i64> {
        self.kinds.id_or_add(conn, &KIND, name)
    }

    pub(crate) fn queue_id(&mut self, conn: &Connection, name: &str) -> Result<i64> {
        self.queues.id_or_add(conn, &QUEUE, name)
    }

    pub(crate) fn kind_name(&mut self, conn: &Connection, id: i64) -> Result<Arc<str>> {
        self.kinds.name(conn, &KIND, id)
    }

    pub(crate) fn queue_name(&mut self, conn: &Connection, id: i64) -> Result<Arc<str>> {
        self.queues.name(conn, &QUEUE, id)
    }

    /// Call it after a rollback, also of a savepoint: added names do not exist, nor names found because they
    /// had just been added; and so with rows of a block.
    pub(crate) fn forget(&mut self) {
        *self = Names::default();
    }
}

impl Table {
    fn id_or_add(&mut self, conn: &Connection, sql: &Sql, name: &str) -> Result<i64> {
        if let Some(id) = self.ids.get(name) {
            return Ok(*id);
        }
        let found = conn
            .prepare_cached(sql.id)?
            .query_row([name], |row| row.get(0))
            .optional()?;
        let name: Arc<str> = name.into();
        let id = match found {
            Some(id) => id,
            None => conn.prepare_cached(sql.add)?.insert([&*name])?,
        };
        self.ids.insert(Arc::clone(&name), id);
        self.names.insert(id, name);
        Ok(id)
    }

    fn name(&mut self, conn: &Connection, sql: &Sql, id: i64) -> Result<Arc<str>> {
        if let Some(name) = self.names.get(&id) {
            return Ok(Arc::clone(name));
        }
        let name: String = conn
            .prepare_cached(sql.name)?
            .query_row([id], |row| row.get(0))?;
        let name: Arc<str> = name.into();
        self.names.insert(id, Arc::clone(&name));
        self.ids.insert(Arc::clone(&name), id);
        Ok(name)
    }
}

/// The id of a queue, if it exists.
pub(crate) fn find_queue(conn: &Connection, name: &str) -> Result<Option<i64>> {
    Ok(conn
        .prepare_cached(QUEUE_ID)?
        .query_row([name], |row| row.get(0))
        .optional()?)
}

/// The name of a queue, if it can be read.
pub(crate) fn queue_called(conn: &Connection, id: i64) -> Option<String> {
    let mut statement = conn.prepare_cached(QUEUE_NAME).ok()?;
    statement.query_row([id], |row| row.get(0)).ok()
}

/// The ids of all kinds: few, however many jobs there are.
pub(crate) fn kind_ids(conn: &Connection) -> Result<Vec<i64>> {
    let mut statement = conn.prepare_cached(KINDS_ALL)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The ids of those of the kinds that exist.
pub(crate) fn kinds_of(conn: &Connection, which: &KindFilter) -> Result<Vec<i64>> {
    let mut statement = conn.prepare_cached(KINDS_NAMED)?;
    let mut rows = statement.query([])?;
    let mut kinds = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(1)?;
        let is_meant = match which {
            KindFilter::All => true,
            KindFilter::Only(names) => names.contains(&name),
            KindFilter::AllBut(names) => !names.contains(&name),
        };
        if is_meant {
            kinds.push(row.get(0)?);
        }
    }
    Ok(kinds)
}

/// The ids of the kinds whose names are like a pattern.
pub(crate) fn kinds_like(conn: &Connection, pattern: &str) -> Result<Vec<i64>> {
    conn.all(KINDS_LIKE, [pattern], |row| row.get(0))
}
