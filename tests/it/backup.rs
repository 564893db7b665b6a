//! The kind `backup`, on real files.

mod retention;

use std::fs;
use std::io::{Seek, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use jobq::handlers::backup::{Backup, BackupResult, BackupSettings};
use jobq::handlers::built_in::{BuiltIn, BuiltInKind};
use jobq::rusqlite::Connection;
use jobq::{Job, JobRecord, NewJob, Queue, State, Until};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use crate::support::names;
use crate::support::place::Scene;
use crate::support::{PATIENCE, wait_until};

/// A queue, and a folder with what is copied and the copies.
struct Site {
    scene: Scene,
    folder: tempfile::TempDir,
    settings: BackupSettings,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        Site {
            scene: Scene::new(),
            folder,
            settings: BackupSettings::default(),
        }
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A database with so many rows of a kibibyte.
    fn database(&self, rows: u32) -> PathBuf {
        let path = self.path("data/app.db");
        let conn = Connection::open(&path).unwrap();
        conn.pragma_update(None, "journal_mode", "WAL").unwrap();
        conn.execute_batch(&format!(
            "CREATE TABLE t (n INTEGER PRIMARY KEY, x BLOB);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO t SELECT i, randomblob(1024) FROM n"
        ))
        .unwrap();
        path
    }

    /// Into the folder `copies`, with other fields as they are given.
    fn payload(&self, fields: Value) -> Value {
        let mut payload = json!({ "to": self.path("copies") });
        let all = payload.as_object_mut().unwrap();
        all.extend(fields.as_object().unwrap().clone());
        payload
    }

    fn handler(&self) -> BuiltIn<Backup> {
        BuiltIn::new(self.settings.clone())
    }

    fn run(&self, payload: &Value) -> JobRecord {
        let queue = self.scene.open();
        let job = NewJob::new("backup").payload(payload).max_retries(0);
        let id = queue.enqueue(job).unwrap().id;
        let runner = queue.runner().kind(Backup::KIND, self.handler());
        runner.run_due().unwrap();
        queue.get(id).unwrap().unwrap()
    }

    fn copy(&self, fields: Value) -> BackupResult {
        let job = self.run(&self.payload(fields));
        assert_eq!(job.state, State::Completed, "{job:?}");
        serde_json::from_str(job.result.unwrap().get()).unwrap()
    }

    fn error(&self, fields: Value) -> String {
        let job = self.run(&self.payload(fields));
        assert_eq!(job.state, State::Failed, "{job:?}");
        job.error.unwrap()
    }

    /// The names in the folder of the copies.
    fn copies(&self) -> Vec<String> {
        names(&self.path("copies"))
    }

    /// What a compressed copy holds, as a file.
    fn unpacked(&self, copy: &Path) -> PathBuf {
        let content = zstd::decode_all(fs::File::open(copy).unwrap()).unwrap();
        self.file("unpacked", content)
    }

    /// Unpacks an archive by tar itself, to a folder.
    fn extracted(&self, archive: &Path) -> PathBuf {
        let to = self.path("extracted");
        let _ = fs::remove_dir_all(&to);
        fs::create_dir(&to).unwrap();
        program("tar", &["-xf".as_ref(), archive, "-C".as_ref(), &to]);
        to.join(self.folder.path().strip_prefix("/").unwrap())
    }
}

fn program(name: &str, args: &[&Path]) {
    let ran = Command::new(name).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{name} {args:?}: {said}{told}");
}

fn count(database: &Path, sql: &str) -> u32 {
    let conn = Connection::open(database).unwrap();
    let sound: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_copy_of_the_queue_is_a_queue() {
    let site = Site::new();
    let queue = site.scene.open();
    let later = queue.enqueue(NewJob::new("later")).unwrap().id;
    // As the CMS of the reference systems has it.
    let job = site.run(&json!({ "what": "queue", "retention": "30 days" }));
    let result: BackupResult = serde_json::from_str(job.result.unwrap().get()).unwrap();
    let folder = queue.path().with_file_name("backups");
    assert_eq!(result.path.parent(), Some(&*folder));
    assert_eq!(result.kept.len(), 1);
    assert_eq!(result.kept[0].why, ["keep_within", "it is the new one"]);
    let name = result.path.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with("jobs-2") && name.ends_with("Z.db.zst"),
        "{name}"
    );
    assert_eq!(names(&folder), [name.to_owned(), format!("{name}.sha256")]);
    let mode = fs::metadata(&result.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let copy = Queue::open(site.unpacked(&result.path)).unwrap();
    assert_eq!(copy.get(later).unwrap().unwrap().kind, "later");
    assert_eq!(copy.get(job.id).unwrap().unwrap().state, State::Running);
    let checked = Command::new("sha256sum")
        .args(["--check", "--status"])
        .arg(folder.join(format!("{name}.sha256")))
        .current_dir(&folder)
        .status();
    assert!(checked.unwrap().success());
}

#[test]
fn a_database_is_copied_whole_while_others_write() {
    let site = Site::new();
    let source = site.database(2000);
    let over = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            let conn = Connection::open(&source).unwrap();
            conn.busy_timeout(Duration::from_secs(30)).unwrap();
            while !over.load(Ordering::SeqCst) {
                conn.execute_batch("BEGIN; UPDATE t SET n = -n; COMMIT")
                    .unwrap();
            }
        });
        let fields = json!({ "what": "sqlite", "source": source, "name": "app.db" });
        let result = site.copy(fields);
        over.store(true, Ordering::SeqCst);
        result
    });
    assert_eq!(result.rows, Some(2000));
    assert_eq!(site.copies(), ["app.db", "app.db.sha256"]);
    assert_eq!(count(&result.path, "SELECT abs(sum(sign(n))) FROM t"), 2000);
    // A name without a time is used again.
    Connection::open(&source)
        .unwrap()
        .execute_batch("DELETE FROM t WHERE abs(n) > 10")
        .unwrap();
    site.copy(json!({ "what": "sqlite", "source": source, "name": "app.db" }));
    assert_eq!(count(&result.path, "SELECT count(*) FROM t"), 10);
    assert_eq!(site.copies().len(), 2);
}

#[test]
fn what_is_damaged_or_missing_or_no_database_is_no_backup() {
    let site = Site::new();
    let source = site.database(2000);
    program(
        "sqlite3",
        &[&source, "PRAGMA wal_checkpoint(TRUNCATE)".as_ref()],
    );
    let mut file = fs::File::options().write(true).open(&source).unwrap();
    file.seek(std::io::SeekFrom::Start(200_000)).unwrap();
    file.write_all(&[0xff; 300_000]).unwrap();
    let fields = |source: &Path| json!({ "what": "sqlite", "source": source });
    let error = site.error(fields(&source));
    assert!(error.contains("damaged"), "{error}");
    let text = site.file(
        "data/text",
        "no database at all, but long enough to be taken for one",
    );
    let error = site.error(fields(&text));
    assert!(error.contains("not a SQLite database"), "{error}");
    for (source, why) in [("none", "No such file"), ("data", "it is not a file")] {
        let error = site.error(fields(&site.path(source)));
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(site.copies(), [""; 0]);
}

#[test]
fn an_archive_holds_what_the_folders_hold() {
    let site = Site::new();
    site.file("data/a.txt", "one");
    site.file("data/empty", "");
    let long = "x".repeat(200);
    site.file(&format!("data/{long}/{long}"), vec![7; 300_000]);
    symlink("a.txt", site.path("data/link")).unwrap();
    symlink("nowhere/at/all", site.path("data/broken")).unwrap();
    fs::set_permissions(site.path("data/a.txt"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::create_dir(site.path("data/hollow")).unwrap();
    for compress in ["zstd", "none"] {
        let fields =
            json!({ "what": "files", "source": [site.path("data")], "compress": compress });
        let result = site.copy(fields);
        assert_eq!((result.files, &*result.warnings), (Some(3), &[][..]));
        assert_eq!(fs::metadata(&result.path).unwrap().len(), result.bytes);
        let archive = match compress {
            "zstd" => site.unpacked(&result.path),
            _ => result.path,
        };
        let extracted = site.extracted(&archive).join("data");
        program(
            "diff",
            &[
                "-r".as_ref(),
                "--no-dereference".as_ref(),
                &site.path("data"),
                &extracted,
            ],
        );
        let mode = fs::metadata(extracted.join("a.txt")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o640);
    }
}

#[test]
fn what_is_excluded_and_the_backups_themselves_are_left_out() {
    let site = Site::new();
    for name in ["a.txt", "a.tmp", "cache/x", "deep/cache/y", "deep/z"] {
        site.file(&format!("data/{name}"), name);
    }
    let fields = json!({
        "what": "files", "source": site.path("data"), "to": site.path("data/copies"),
        "name": "all-{time}.tar", "exclude": ["*.tmp", "cache"],
    });
    let first = site.copy(fields.clone());
    site.file("data/copies/notes", "stays");
    let second = || UNIX_EPOCH.elapsed().unwrap().as_secs();
    let of_first = second();
    wait_until("its name is another", PATIENCE, || second() > of_first);
    let second = site.copy(fields);
    assert_eq!((first.files, second.files), (Some(2), Some(3)));
    let extracted = site.extracted(&second.path).join("data");
    assert_eq!(names(&extracted), ["a.txt", "copies", "deep"]);
    assert_eq!(names(&extracted.join("deep")), ["z"]);
    assert_eq!(names(&extracted.join("copies")), ["notes"]);
}

#[test]
fn what_cannot_be_read_is_a_warning_or_fails_if_strict() {
    let site = Site::new();
    site.file("data/a", "one");
    mknodat(CWD, site.path("data/pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let fields = |strict| json!({ "what": "files", "source": site.path("data"), "strict": strict });
    let result = site.copy(fields(false));
    assert_eq!((result.files, result.warnings.len()), (Some(1), 1));
    assert!(result.warnings[0].path.ends_with("data/pipe"));
    let before = site.copies();
    let error = site.error(fields(true));
    assert!(
        error.contains("data/pipe") && error.contains("neither"),
        "{error}"
    );
    assert_eq!(site.copies(), before);
}

#[test]
fn the_files_of_the_queue_are_neither_copied_nor_replaced() {
    let site = Site::new();
    let folder = site.scene.folder().to_owned();
    let queue = site.scene.open();
    let fields = json!({ "what": "files", "source": folder, "name": "all.tar" });
    let result = site.copy(fields);
    let warned = |end: &str| result.warnings.iter().any(|it| it.path.ends_with(end));
    assert!(warned("jobs.db") && warned("jobs.db-wal"), "{result:?}");
    let on_itself = json!({ "what": "queue", "to": folder, "name": "jobs.db" });
    let error = site.error(on_itself);
    assert!(error.contains("the queue's own file"), "{error}");
    drop(queue);
}

#[test]
fn a_file_that_changes_while_it_is_read_spoils_only_itself() {
    let site = Site::new();
    let restless = site.file("data/b", vec![1; 1 << 20]);
    site.file("data/a", "before");
    site.file("data/c", vec![3; 100_000]);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let file = fs::File::options().write(true).open(&restless).unwrap();
                file.set_len(fastrand::u64(0..1 << 21)).unwrap();
            }
        });
        for round in 0..20 {
            let name = format!("{round}.tar");
            let fields = json!({ "what": "files", "source": site.path("data"), "name": name });
            let result = site.copy(fields);
            let extracted = site.extracted(&result.path).join("data");
            assert_eq!(fs::read(extracted.join("a")).unwrap(), b"before");
            assert_eq!(fs::read(extracted.join("c")).unwrap(), vec![3; 100_000]);
        }
        over.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_payload_that_makes_no_sense_is_refused() {
    let kind = BuiltInKind::named("backup").unwrap();
    for (payload, why) in [
        (json!({}), "what"),
        (json!({ "what": "disk" }), "'disk'"),
        (
            json!({ "what": "queue", "source": "a" }),
            "'source' goes with",
        ),
        (json!({ "what": "sqlite" }), "one SQLite file"),
        (
            json!({ "what": "sqlite", "source": ["a", "b"] }),
            "one SQLite file",
        ),
        (json!({ "what": "files" }), "'source' is missing"),
        (json!({ "what": "files", "source": "a/../b" }), "'..'"),
        (json!({ "what": "queue", "to": "../b" }), "'..'"),
        (json!({ "what": "queue", "exclude": ["a"] }), "'exclude'"),
        (json!({ "what": "queue", "strict": true }), "'strict'"),
        (
            json!({ "what": "files", "source": "a", "exclude": ["[a]"] }),
            "'['",
        ),
        (json!({ "what": "queue", "name": "a/b" }), "plain name"),
        (
            json!({ "what": "queue", "name": "a.db", "compress": "zstd" }),
            ".zst",
        ),
        (
            json!({ "what": "queue", "name": "a.zst", "compress": "none" }),
            ".zst",
        ),
        (
            json!({ "what": "queue", "name": "a.db", "retention": "30 days" }),
            "{time}",
        ),
        (
            json!({ "what": "files", "source": "a", "retention": "30 days" }),
            "'name' of this job's own",
        ),
        (
            json!({ "what": "queue", "verify": false, "retention": "30 days" }),
            "needs 'verify'",
        ),
        (
            json!({ "what": "queue", "retention": "a while" }),
            "invalid duration",
        ),
        (
            json!({ "what": "queue", "retention": { "keep": 1 } }),
            "unknown field `keep`",
        ),
    ] {
        let error = kind.check(&payload.to_string()).unwrap_err().to_string();
        assert!(error.contains(why), "{payload}: {error}");
    }
}

#[test]
fn roots_limit_what_is_read_and_written_behind_links() {
    let mut site = Site::new();
    let inside = site.file("data/a", "one");
    let outside = site.file("secret", "two");
    symlink(&outside, site.path("data/link")).unwrap();
    site.settings.roots = Some(vec![site.path("data")]);
    let to = site.path("data/copies");
    for source in [&outside, &site.path("data/link")] {
        let error = site.error(json!({ "what": "files", "source": source, "to": to }));
        assert!(error.contains("'roots'"), "{error}");
    }
    let error = site.error(json!({ "what": "files", "source": inside }));
    assert!(error.contains("'roots'"), "{error}");
    site.copy(json!({ "what": "files", "source": inside, "to": to }));
    assert_eq!(site.copies(), [""; 0]);
}

#[test]
fn a_backup_that_is_told_to_stop_stops_and_leaves_nothing() {
    let site = Site::new();
    let database = site.database(100_000);
    let large = site.path("data/large");
    let file = fs::File::create(&large).unwrap();
    file.set_len(40 << 30).unwrap();
    for (fields, timeout_ms) in [
        (json!({ "what": "sqlite", "source": database }), 50),
        (json!({ "what": "files", "source": large }), 300),
    ] {
        let queue = site.scene.open();
        let payload = site.payload(fields);
        let timeout = Duration::from_millis(timeout_ms);
        let job = NewJob::new("backup")
            .payload(&payload)
            .max_retries(0)
            .timeout(timeout);
        let id = queue.enqueue(job).unwrap().id;
        let runner = queue.runner().kind(Backup::KIND, site.handler());
        let begun = Instant::now();
        let runner = runner.until(Until::Drained).start().unwrap();
        runner.wait().unwrap();
        let took = begun.elapsed();
        let job = queue.get(id).unwrap().unwrap();
        let error = job.error.unwrap_or_default();
        assert!(error.starts_with("timed out after"), "{payload}: {error}");
        assert!(
            took < timeout + Duration::from_secs(1),
            "{payload}: {took:?}"
        );
        assert_eq!(site.copies(), [""; 0]);
    }
}
