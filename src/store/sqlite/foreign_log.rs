//! A log that lies beside the file but belongs to another one: a copy has replaced the file, and the log of
//! the old file has stayed. SQLite would take that log's pages for the copy's own.
//!
//! Every commit of jobq writes the page of `jobq_number` that names the file, so each log names its file.
//! It must be the name that the file has when it is read without the log.

use std::fs;
use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::OptionalExtension;
use rustix::fs::{FlockOperation, OFlags, fcntl_lock};

use crate::clock::Clock;
use crate::error::Kind;
use crate::model::remedy::Remedy;
use crate::store::sqlite::connection;
use crate::store::sqlite::file::with_suffix;
use crate::store::sqlite::file_identity::leads_to;
use crate::store::sqlite::schema::{FILE_ID_PREFIX, file_id};
use crate::{Error, Result};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const FILE_ID_CHARS: usize = 32;

/// Puts a log aside that belongs to another file, and returns its new path.
///
/// No process may have the two open meanwhile: it would go on with a log that has lost its name.
pub(crate) fn put_aside(path: &Path) -> Result<Option<PathBuf>> {
    let log = with_suffix(path, "-wal");
    // Another process may have put it aside already, and a new log may be there.
    for _ in 0..5 {
        let Some(foreign) = Foreign::find(path, &log)? else {
            return Ok(None);
        };
        let _nobody_else = Unused::take(path)?;
        foreign.file.lock().map_err(|error| at(&log, error))?;
        if !leads_to(&log, &foreign.file) {
            continue;
        }
        let aside = with_suffix(
            &log,
            &format!("-of-{:.8}-{:04x}", foreign.owner, fastrand::u16(..)),
        );
        fs::rename(&log, &aside).map_err(|error| refused(path, &log, &error))?;
        let _ = fs::remove_file(with_suffix(path, "-shm"));
        return Ok(Some(aside));
    }
    Err(in_use(path))
}

/// Refuses to read a file beside which such a log lies.
pub(crate) fn refuse(path: &Path) -> Result<()> {
    let log = with_suffix(path, "-wal");
    match Foreign::find(path, &log)? {
        None => Ok(()),
        Some(_) => Err(Error::new(
            Kind::Replaced,
            format!("{} is the log of another file", log.display()),
        )
        .with_hint("move that log away")),
    }
}

/// Refuses a file if a process has it, or the file before it, open.
pub(crate) fn refuse_in_use(path: &Path) -> Result<()> {
    Unused::take(path).map(drop)
}

/// A log, and the file that it names.
struct Foreign {
    file: File,
    owner: String,
}

impl Foreign {
    fn find(path: &Path, log: &Path) -> Result<Option<Foreign>> {
        let (Ok(main), Ok(found)) = (fs::metadata(path), fs::symlink_metadata(log)) else {
            return Ok(None);
        };
        let is_log = found.is_file() && found.len() > HEADER_BYTES as u64;
        if !is_log || is_untouched_since(&main, &found) {
            return Ok(None);
        }
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(log);
        let Ok(file) = opened else {
            // SQLite will say what is wrong with it.
            return Ok(None);
        };
        let Some(owner) = owner(&file).map_err(|error| at(log, error))? else {
            return Ok(None);
        };
        Ok(match own_id(path) {
            Some(own) if own != owner => Some(Foreign { file, owner }),
            _ => None,
        })
    }
}

/// Whether the log was written after the file was last changed, moved or put there: by a process that
/// has looked at both. A log from the future proves nothing.
fn is_untouched_since(main: &Metadata, log: &Metadata) -> bool {
    let changed = (main.ctime(), main.ctime_nsec());
    let written = (log.mtime(), log.mtime_nsec());
    changed < written && log.mtime() <= Clock::default().now_ms() / 1000
}

/// The file's id, read without its log. A file that cannot be read so may be in the middle of a checkpoint
/// of its own log.
fn own_id(path: &Path) -> Option<String> {
    let conn = connection::open_immutable(path).ok()?;
    file_id(&conn).optional().ok().flatten()
}

/// The file that the log belongs to; none if it has no commit of jobq.
fn owner(log: &File) -> std::io::Result<Option<String>> {
    let mut header = [0; HEADER_BYTES];
    log.read_exact_at(&mut header, 0)?;
    let page_bytes = match number(&header[8..12]) {
        1 => 65536,
        bytes @ 512..=32768 if bytes.is_power_of_two() => bytes as usize,
        _ => return Ok(None),
    };
    if number(&header[0..4]) & !1 != 0x377F_0682 {
        return Ok(None);
    }
    let salts = &header[16..24];
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes];
    let mut at = HEADER_BYTES as u64;
    while log.read_exact_at(&mut frame, at).is_ok() {
        let (head, page) = frame.split_at(FRAME_HEADER_BYTES);
        // The rest is left from an earlier use of the log.
        if &head[8..16] != salts {
            break;
        }
        if let Some(owner) = named_on(page) {
            return Ok(Some(owner));
        }
        at += frame.len() as u64;
    }
    Ok(None)
}

fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// The file that a page names: one with the row for it, in `jobq_number` or, up to schema 5, in `jobq_commit`. Only
/// where a row begins is looked, so that no job's payload passes for one.
fn named_on(page: &[u8]) -> Option<String> {
    const INDEX_LEAF: u8 = 0x0A;
    const TABLE_LEAF: u8 = 0x0D;
    const LEAF_HEADER_BYTES: usize = 8;
    let text = FILE_ID_PREFIX.len() + FILE_ID_CHARS;
    let text_type = 2 * text as u8 + 13;
    let begins: &[u8] = match *page.first()? {
        // Bytes of the record; of the record: its header's length, a byte, two zeros, a text; and the byte, -2.
        INDEX_LEAF => &[text as u8 + 6, 5, 1, 8, 8, text_type, 0xFE],
        // Bytes of the record, row 64; of the record: its header's length, a null, a zero, a text.
        TABLE_LEAF => &[text as u8 + 4, 64, 4, 0, 8, text_type],
        _ => return None,
    };
    let rows = number(page.get(3..5)?) as usize;
    let starts = page.get(LEAF_HEADER_BYTES..LEAF_HEADER_BYTES + 2 * rows)?;
    starts.chunks(2).find_map(|start| {
        let row = page.get(number(start) as usize..)?.strip_prefix(begins)?;
        let id = row.get(..text)?.strip_prefix(FILE_ID_PREFIX.as_bytes())?;
        id.iter()
            .all(u8::is_ascii_hexdigit)
            .then(|| String::from_utf8_lossy(id).into_owned())
    })
}

/// Proof that no other process has the file or its log open: each holds a lock on the log's index while it
/// has. No process can open them while this exists.
struct Unused {
    _index: Option<File>,
}

impl Unused {
    fn take(path: &Path) -> Result<Unused> {
        let index = with_suffix(path, "-shm");
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(&index);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Unused { _index: None });
            }
            Err(error) => return Err(refused(path, &with_suffix(path, "-wal"), &error)),
        };
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Unused { _index: Some(file) }),
            Err(_) => Err(in_use(path)),
        }
    }
}

fn at(path: &Path, error: std::io::Error) -> Error {
    Error::io(format_args!("{}", path.display()), error)
}

fn in_use(path: &Path) -> Error {
    let name = path.display();
    Error::new(
        Kind::Replaced,
        format!("{name} was replaced while a process works with the file that was there before"),
    )
    .with_hint(
        "end that process, a runner or another program that has the queue open, then try again",
    )
}

fn refused(path: &Path, log: &Path, error: &std::io::Error) -> Error {
    Error::new(
        Kind::Replaced,
        format!(
            "{} is the log of another file than {}, and cannot be put aside: {error}",
            log.display(),
            path.display()
        ),
    )
    .with_hint(
        "a copy was put in the file's place while its log stayed: move the log away, or restore",
    )
    .with_remedy(Remedy::Restore)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::store::sqlite::tables::SCHEMA;

    /// A log whose last commit is like one of jobq.
    fn log_of(schema: &str, name_it: &str, commit: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(&format!("BEGIN; {schema}; {name_it}; COMMIT"))
            .unwrap();
        conn.pragma_update(None, "journal_mode", "WAL").unwrap();
        conn.execute_batch(commit).unwrap();
        let log = File::open(with_suffix(&path, "-wal")).unwrap();
        owner(&log).unwrap()
    }

    #[test]
    fn a_log_names_its_file_whichever_schema_has_written_it() {
        let id = "0123456789abcdef".repeat(2);
        let schema_5 = include_str!("../../../tests/data/schema_5.sql");
        let then = log_of(
            schema_5,
            &format!("INSERT INTO jobq_commit VALUES (64, 0, 'jobq file {id}')"),
            "INSERT INTO jobq_commit VALUES (7, 1, NULL)",
        );
        assert_eq!(then.as_deref(), Some(&*id));
        let now = log_of(
            SCHEMA,
            &format!("INSERT INTO jobq_number VALUES (-2, 0, 0, 'jobq file {id}')"),
            "INSERT INTO jobq_number VALUES (-1, 7, 1, NULL)",
        );
        assert_eq!(now.as_deref(), Some(&*id));
        let none = log_of(SCHEMA, "", "INSERT INTO jobq_kind (name) VALUES ('send')");
        assert_eq!(none, None);
    }
}
