//! SQLite: the file and its connections, the writer, the read pool, and the write transaction.

pub(crate) mod backlog;
pub(crate) mod blocks;
pub(crate) mod command;
pub(crate) mod connection;
#[allow(dead_code, reason = "the kinds that use all of it are features")]
pub(crate) mod database;
pub(crate) mod error;
pub(crate) mod file;
pub(crate) mod file_identity;
pub(crate) mod file_watch;
pub(crate) mod foreign_log;
pub(crate) mod functions;
pub(crate) mod inbox;
pub(crate) mod log_copies;
pub(crate) mod names;
pub(crate) mod new_file;
pub(crate) mod ownership;
pub(crate) mod process_locks;
pub(crate) mod read_pool;
pub(crate) mod schema;
pub(crate) mod statement;
pub(crate) mod stuck_lock;
pub(crate) mod tables;
pub(crate) mod tx;
pub(crate) mod user_transactions;
pub(crate) mod write_lock;
pub(crate) mod writer;
pub(crate) mod writer_handle;

#[cfg(feature = "cli")]
pub(crate) use rusqlite::StatementStatus;
/// The parts of rusqlite that the rest of the store uses.
pub(crate) use rusqlite::blob::Blob;
pub(crate) use rusqlite::config::DbConfig;
pub(crate) use rusqlite::{
    CachedStatement, Connection, MAIN_DB, OpenFlags, OptionalExtension, Result as RowResult, Row,
    Statement, Transaction as ReadTransaction, params, params_from_iter, types,
    version as sqlite_version,
};
