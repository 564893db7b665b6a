//! What becomes of a COMMIT that reports an error.

use std::path::Path;
use std::process::{Command as Process, Stdio};

use crossbeam_channel::bounded;
use tempfile::TempDir;

use super::*;
use crate::model::file_options::Durability;
use crate::model::job::NewJob;
use crate::model::limits::EnqueueLimits;
use crate::model::part::Part;
use crate::store::jobs::enqueue;
use crate::store::jobs::validate::ValidatedJob;
use crate::store::sqlite::command::{Answer, Call, ReplyTo};

fn open(folder: &Path) -> Writer {
    let config = OpenConfig {
        path: folder.join("jobs.db"),
        durability: Durability::Normal,
        ..OpenConfig::default()
    };
    let conn = connection::open_first(&config).unwrap().conn;
    Writer::new(conn, (config, crate::store::JOB_RULES), Arc::default())
}

pub(super) fn writer() -> (TempDir, Writer) {
    let folder = tempfile::tempdir().unwrap();
    let writer = open(folder.path());
    (folder, writer)
}

fn add(tx: &mut Tx<'_>) -> Result<()> {
    add_of(tx, 1)
}

fn add_of(tx: &mut Tx<'_>, bytes: usize) -> Result<()> {
    let job = NewJob::new("send").payload(&"x".repeat(bytes));
    enqueue::enqueue(tx, &ValidatedJob::new(job, &EnqueueLimits::default())?).map(|_| ())
}

fn jobs(writer: &mut Writer) -> i64 {
    writer
        .conn()
        .unwrap()
        .query_row("SELECT count(*) FROM jobq_job", [], |row| row.get(0))
        .unwrap()
}

/// Everything up to the COMMIT, which is then carried out, or not, behind the writer's back.
fn run_and(writer: &mut Writer, end: &str) {
    let (_, answer) = writer.run(&mut [], &mut |tx| add(tx)).unwrap();
    answer.unwrap();
    writer.conn.as_ref().unwrap().execute_batch(end).unwrap();
}

#[test]
fn a_commit_that_landed_is_found_by_its_mark() {
    let (_folder, mut writer) = writer();
    for _ in 0..2 {
        run_and(&mut writer, "COMMIT");
        writer.drop_connection();
        assert!(writer.look_for_mark() == Landed::Yes);
    }
    assert_eq!(jobs(&mut writer), 2);
}

#[test]
fn a_commit_that_did_not_land_is_known_by_the_mark_before_it() {
    let (_folder, mut writer) = writer();
    // The first transaction of a writer finds no mark at all, the next its own.
    for _ in 0..2 {
        run_and(&mut writer, "ROLLBACK");
        writer.drop_connection();
        assert!(writer.look_for_mark() == Landed::No);
        writer.transact(&mut Vec::new(), &mut |tx| add(tx)).unwrap();
    }
    assert_eq!(jobs(&mut writer), 2);
}

#[test]
fn what_somebody_else_has_overwritten_stays_unknown() {
    for end in ["COMMIT", "ROLLBACK"] {
        let (_folder, mut writer) = writer();
        writer.transact(&mut Vec::new(), &mut |tx| add(tx)).unwrap();
        run_and(&mut writer, end);
        writer.drop_connection();
        let other = Connection::open(&writer.config.path).unwrap();
        other
            .execute(
                "UPDATE jobq_number SET value = value + 1 WHERE what = -1",
                [],
            )
            .unwrap();
        assert!(writer.look_for_mark() == Landed::Unknown);
    }
}

#[test]
fn an_unreadable_commit_stays_unknown_and_is_not_acknowledged() {
    let (folder, mut writer) = writer();
    run_and(&mut writer, "COMMIT");
    writer.drop_connection();
    let path = writer.config.path.clone();
    let away = folder.path().join("away.db");
    std::fs::rename(&path, &away).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(writer.look_for_mark() == Landed::Unknown);
    let refused = writer.transact(&mut Vec::new(), &mut |tx| add(tx));
    assert!(refused.is_err());
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&away, &path).unwrap();
    writer.transact(&mut Vec::new(), &mut |tx| add(tx)).unwrap();
    assert!(jobs(&mut writer) >= 1);
}

#[test]
fn after_a_lost_connection_a_checkpoint_comes_first() {
    let (_folder, mut writer) = writer();
    writer.transact(&mut Vec::new(), &mut |tx| add(tx)).unwrap();
    writer.drop_connection();
    assert!(writer.needs_checkpoint);
    let log = file::with_suffix(&writer.config.path, "-wal");
    let before = std::fs::metadata(&writer.config.path).unwrap().len();
    assert!(std::fs::metadata(log).unwrap().len() > 0);
    writer.transact(&mut Vec::new(), &mut |tx| add(tx)).unwrap();
    assert!(!writer.needs_checkpoint);
    assert!(std::fs::metadata(&writer.config.path).unwrap().len() > before);
    assert_eq!(jobs(&mut writer), 2);
}

fn call(
    body: impl FnMut(&mut Tx<'_>) -> Result<()> + Send + 'static,
) -> (Box<dyn Command>, crossbeam_channel::Receiver<Answer<()>>) {
    let (reply, answer) = bounded(1);
    (Box::new(Call::new(body, ReplyTo::Caller(reply))), answer)
}

/// A reference that is looked at only when the transaction ends.
#[test]
fn a_refused_commit_is_rolled_back_and_reported_to_everyone() {
    let (_folder, mut writer) = writer();
    let (good, good_answer) = call(add);
    let (bad, bad_answer) = call(|tx| {
        tx.conn.execute_batch(
            "PRAGMA defer_foreign_keys = ON; INSERT INTO jobq_tag VALUES ('a', 'b', 999)",
        )?;
        Ok(())
    });
    let body = writer.transact(&mut vec![good, bad], &mut |_| Ok(()));
    assert!(body.is_err());
    assert!(good_answer.recv().unwrap().done().is_err());
    assert!(bad_answer.recv().unwrap().done().is_err());
    assert_eq!(jobs(&mut writer), 0);
    writer.transact(&mut Vec::new(), &mut |tx| add(tx)).unwrap();
    assert_eq!(jobs(&mut writer), 1);
}

/// The first command adds the name, the second fails, the third finds the name in the transaction,
/// the fourth ends it: nobody may go on with the number of a name that is not there.
#[test]
fn names_that_went_with_a_transaction_are_looked_up_again() {
    let (_folder, mut writer) = writer();
    let (first, first_answer) = call(add);
    let (failing, _) = call(|_| Err(Error::invalid("no")));
    let (third, third_answer) = call(add);
    let (ending, _) = call(|tx| {
        // As an error does that ends the transaction from inside.
        tx.conn.execute_batch("ROLLBACK")?;
        Err(Error::new(Kind::Full, "the disk is full"))
    });
    let body = writer.transact(&mut vec![first, failing, third, ending], &mut |_| Ok(()));
    assert!(body.is_ok(), "{body:?}");
    first_answer.recv().unwrap().done().unwrap();
    third_answer.recv().unwrap().done().unwrap();
    assert_eq!(jobs(&mut writer), 2);
}

/// Set to a folder where this test is to play the process whose disk fails.
const FAILING_DISK: &str = "JOBQ_TEST_FAILING_DISK";

/// A real error at COMMIT: the kernel lets the process's files grow no further. That holds for a
/// whole process, so the test plays it in one of its own.
#[test]
fn a_commit_the_disk_refuses_is_reported_and_the_next_saved() {
    if let Some(folder) = std::env::var_os(FAILING_DISK) {
        return fail_at_commit(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let name =
        "store::sqlite::writer::tests::a_commit_the_disk_refuses_is_reported_and_the_next_saved";
    let child = Process::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(FAILING_DISK, folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stdout);
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(
        child.status.success() && told.contains("1 passed"),
        "{told}\n{said}"
    );
    let mut writer = open(folder.path());
    assert_eq!(jobs(&mut writer), 2, "the one before and the one after");
}

fn fail_at_commit(folder: &Path) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut writer = open(folder);
    writer.transact(&mut Vec::new(), &mut |tx| add(tx)).unwrap();
    let conn = writer.conn().unwrap();
    let emptied = "PRAGMA wal_checkpoint(TRUNCATE)";
    conn.query_row(emptied, [], |_| Ok(())).unwrap();
    let limit_bytes = std::fs::metadata(&writer.config.path).unwrap().len() + 32 * 1024;
    let mut limit = getrlimit(Resource::Fsize);
    limit.current = Some(limit_bytes);
    setrlimit(Resource::Fsize, limit).unwrap();
    let (small, small_answer) = call(add);
    let (large, large_answer) = call(move |tx| add_of(tx, 1_000_000));
    let body = writer.transact(&mut vec![small, large], &mut |_| Ok(()));
    let error = body.unwrap_err();
    assert_eq!(error.kind(), Kind::Full, "{error:?}");
    for answer in [small_answer, large_answer] {
        let error = answer.recv().unwrap().done().unwrap_err();
        assert!(
            !error.is_unknown_outcome(),
            "the mark was not found: {error}"
        );
    }
    assert_eq!(jobs(&mut writer), 1);
    writer.transact(&mut Vec::new(), &mut |tx| add(tx)).unwrap();
    assert_eq!(jobs(&mut writer), 2);
}

thread_local! {
    static FOLLOWED: Cell<u32> = const { Cell::new(0) };
}

fn cannot_follow(tx: &mut Tx<'_>, kind: Kind) -> Result<usize> {
    FOLLOWED.set(FOLLOWED.get() + 1);
    tx.run("INSERT INTO jobq_meta (key, value) VALUES ('half', 1)", [])?;
    Err(Error::new(kind, "a wait cannot be read"))
}

fn is_half_followed(writer: &mut Writer) -> bool {
    let half = "SELECT EXISTS (SELECT 1 FROM jobq_meta WHERE key = 'half')";
    let conn = writer.conn().unwrap();
    conn.query_row(half, [], |row| row.get(0)).unwrap()
}

/// Each transaction would read the damage again.
#[test]
fn an_unfollowable_clock_step_is_tried_once_a_minute() {
    let (_folder, mut writer) = writer();
    writer.rules.follow_clock = |tx, _| cannot_follow(tx, Kind::Corrupt);
    for _ in 0..3 {
        writer.transact(&mut Vec::new(), &mut |tx| add(tx)).unwrap();
        let error = writer.transact(&mut Vec::new(), &mut |tx| tx.clock_followed());
        let error = error.unwrap_err();
        assert_eq!(error.part(), Some(Part::Clock));
        assert_eq!(error.to_string(), "a wait cannot be read");
    }
    assert_eq!(FOLLOWED.get(), 1);
    assert_eq!(jobs(&mut writer), 3);
    assert!(!is_half_followed(&mut writer));
    writer.unfollowed = None;
    writer.rules.follow_clock = |tx, _| cannot_follow(tx, Kind::Full);
    for _ in 0..3 {
        writer.transact(&mut Vec::new(), &mut |tx| add(tx)).unwrap();
    }
    assert_eq!(FOLLOWED.get(), 4, "a full disk is tried again");
    assert_eq!(jobs(&mut writer), 6);
    assert!(!is_half_followed(&mut writer));
}
