//! The kind `cleanup`, on real trees.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jobq::handlers::built_in::{BuiltIn, BuiltInJob, BuiltInKind};
use jobq::handlers::cleanup::{Cleanup, CleanupNote, CleanupResult, CleanupSettings};
use jobq::{EventKind, Job, JobRecord, LogEntry, State};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, mknodat, utimensat};
use serde_json::{Value, json};

use crate::support::place::{Scene, events};

const DAY: i64 = 86_400;

/// A tree to clean, and a queue elsewhere.
struct Tree {
    scene: Scene,
    folder: tempfile::TempDir,
    settings: CleanupSettings,
}

impl Tree {
    fn new() -> Tree {
        Tree {
            scene: Scene::new(),
            folder: tempfile::tempdir().unwrap(),
            settings: CleanupSettings::default(),
        }
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of ten bytes that was written so many days ago.
    fn file(&self, name: impl AsRef<Path>, days: i64) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "0123456789").unwrap();
        set_age(&path, days);
        path
    }

    /// All `*.log` older than a day, with other fields as they are given.
    fn payload(&self, fields: Value) -> Value {
        let mut payload =
            json!({ "paths": [self.folder.path()], "match": ["*.log"], "older_than": "1d" });
        let all = payload.as_object_mut().unwrap();
        all.extend(fields.as_object().unwrap().clone());
        payload
    }

    fn run(&self, payload: &Value) -> JobRecord {
        let queue = self.scene.open();
        let job = jobq::NewJob::new("cleanup").payload(payload).max_retries(0);
        let id = queue.enqueue(job).unwrap().id;
        let handler = BuiltIn::<Cleanup>::new(self.settings.clone());
        queue
            .runner()
            .kind(Cleanup::KIND, handler)
            .run_due()
            .unwrap();
        queue.get(id).unwrap().unwrap()
    }

    fn clean(&self, fields: Value) -> CleanupResult {
        let job = self.run(&self.payload(fields));
        assert_eq!(job.state, State::Completed, "{job:?}");
        serde_json::from_str(job.result.unwrap().get()).unwrap()
    }

    fn error(&self, fields: Value) -> String {
        let job = self.run(&self.payload(fields));
        assert_eq!(job.state, State::Failed, "{job:?}");
        job.error.unwrap()
    }

    /// All that is in the tree, by path.
    fn all(&self) -> Vec<PathBuf> {
        let (mut open, mut all) = (vec![self.folder.path().to_owned()], Vec::new());
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    open.push(entry.path());
                }
                all.push(entry.path());
            }
        }
        all.sort();
        all
    }
}

/// Also of a link, not of what it leads to.
fn set_age(path: &Path, days: i64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let time = Timespec {
        tv_sec: i64::try_from(now.unwrap().as_secs()).unwrap() - days * DAY,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn whys(notes: &[CleanupNote]) -> Vec<&str> {
    notes.iter().map(|note| &*note.why).collect()
}

#[test]
fn only_old_files_that_match_are_removed() {
    let tree = Tree::new();
    let old = tree.file("a.log", 2);
    let stay = [
        tree.file("young.log", 0),
        tree.file("old.txt", 2),
        tree.file("sub/old.log", 2),
        tree.file("keep.log", 2),
    ];
    let result = tree.clean(json!({ "exclude": ["keep.*"] }));
    assert_eq!((result.deleted, result.bytes, result.kept), (1, 10, 1));
    assert_eq!((result.skipped, result.errors), (vec![], vec![]));
    assert!(!old.exists() && stay.iter().all(|path| path.exists()));
    let events = events(&tree.scene.open(), None);
    let logged = events.iter().filter(|event| event.kind == EventKind::Log);
    let logged = logged.map(|event| {
        let entry: LogEntry =
            serde_json::from_slice(event.data.as_ref().unwrap().as_bytes()).unwrap();
        entry.message
    });
    assert_eq!(logged.collect::<Vec<_>>(), [format!("removed {old:?}")]);
}

#[test]
fn links_are_removed_and_never_followed() {
    let (tree, outside) = (Tree::new(), Tree::new());
    let victims = [outside.file("a.log", 9), outside.file("dir/b.log", 9)];
    symlink(&victims[0], tree.path("file.log")).unwrap();
    symlink(outside.path("dir"), tree.path("dir.log")).unwrap();
    symlink(outside.path("dir"), tree.path("dir")).unwrap();
    for name in ["file.log", "dir.log", "dir"] {
        set_age(&tree.path(name), 9);
    }
    let result = tree.clean(json!({ "recursive": true, "empty_dirs": true }));
    assert_eq!((result.deleted, result.bytes), (2, 0));
    assert_eq!(tree.all(), [tree.path("dir")]);
    assert!(victims.iter().all(|path| path.exists()));
    for named in [
        tree.path("dir"),
        tree.path("dir").join("."),
        victims[0].clone(),
    ] {
        let error = tree.error(json!({ "paths": [named] }));
        assert!(error.contains("a link or a file"), "{error}");
    }
    fs::create_dir(outside.path("dir/x")).unwrap();
    let error = tree.error(json!({ "paths": [tree.path("dir/x")] }));
    assert!(error.contains("a link or a file"), "{error}");
}

#[test]
fn the_newest_stay_and_the_number_has_a_bound() {
    let tree = Tree::new();
    for days in 2..12 {
        tree.file(format!("{days}.log"), days);
    }
    let result = tree.clean(json!({ "min_keep": 3, "max_delete": 5 }));
    assert_eq!((result.deleted, result.kept), (5, 5));
    assert!(result.is_cut_short);
    assert!((2..5).all(|days| tree.path(format!("{days}.log")).exists()));
    let result = tree.clean(json!({ "minKeep": 3 }));
    assert_eq!((result.deleted, result.kept), (2, 3));
    assert!(!result.is_cut_short);
}

#[test]
fn only_old_folders_that_become_empty_are_removed() {
    let tree = Tree::new();
    tree.file("old/deep/a.log", 5);
    tree.file("young/a.log", 5);
    tree.file("full/a.log", 5);
    tree.file("full/b.txt", 5);
    for folder in ["old/deep", "old", "full"] {
        set_age(&tree.path(folder), 5);
    }
    let result = tree.clean(json!({ "recursive": true, "empty_dirs": true }));
    assert_eq!(result.deleted, 5);
    let left = ["full", "full/b.txt", "young"].map(|name| tree.path(name));
    assert_eq!(tree.all(), left);
}

#[test]
fn what_is_neither_file_nor_link_or_from_the_future_is_skipped() {
    let tree = Tree::new();
    mknodat(CWD, tree.path("pipe.log"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    set_age(&tree.path("pipe.log"), 9);
    tree.file("tomorrow.log", -1);
    let result = tree.clean(json!({}));
    assert_eq!((result.deleted, result.kept), (0, 1));
    let whys = whys(&result.skipped);
    assert!(whys[0].contains("neither"), "{whys:?}");
    assert!(whys[1].contains("future"), "{whys:?}");
}

#[test]
fn names_of_any_bytes_are_removed_by_those_bytes() {
    let tree = Tree::new();
    let long = [b'x'; 251];
    for name in [
        &b"new\nline"[..],
        b"\xff\xfe",
        b"-rf",
        b"...",
        b" ",
        b"\x1b[2J",
        b"*",
        b"%s",
        &long,
    ] {
        tree.file(OsStr::from_bytes(&[name, b".log"].concat()), 2);
    }
    let result = tree.clean(json!({}));
    assert_eq!((result.deleted, &*result.errors), (9, &[][..]));
    assert!(tree.all().is_empty());
}

#[test]
fn what_would_lead_too_far_is_refused_before_anything_runs() {
    let kind = BuiltInKind::named("cleanup").unwrap();
    let tree = Tree::new();
    let folder = tree.folder.path();
    for (fields, why) in [
        (json!({ "paths": ["/"] }), "whole system"),
        (json!({ "paths": ["/var"] }), "whole system"),
        (json!({ "paths": ["/var//."] }), "whole system"),
        (json!({ "paths": ["logs"] }), "absolute"),
        (json!({ "paths": ["/var/log/../.."] }), "'..'"),
        (json!({ "paths": [] }), "'paths' is missing"),
        (
            json!({ "paths": [folder, folder.join("a")] }),
            "named twice",
        ),
        (json!({ "paths": [folder, folder] }), "named twice"),
        (json!({ "action": "temp_files" }), "'paths' goes with"),
        (json!({ "action": "all" }), "there is no 'all'"),
        (json!({ "match": [] }), "'match' is missing"),
        (json!({ "match": ["a/*"] }), "'recursive'"),
        (json!({ "match": ["[a]"] }), "'['"),
        (json!({ "exclude": ["a/../b"] }), "pattern"),
        (json!({ "older_than": "59s" }), "1 minute"),
        (json!({ "older_than": "30" }), "lacks a unit"),
        (json!({ "older_than": "-30 days" }), "negative"),
        (json!({ "by": "ctime" }), "there is no 'ctime'"),
        (json!({ "min_keep": -1 }), "'min_keep'"),
    ] {
        let payload = tree.payload(fields);
        let error = kind.check(&payload.to_string()).unwrap_err().to_string();
        assert!(error.starts_with("a payload of cleanup: "), "{error}");
        assert!(error.contains(why), "{payload}: {error}");
    }
    tree.file("a.log", 5);
    tree.error(json!({ "match": [] }));
    assert_eq!(tree.all().len(), 1);
}

#[test]
fn a_home_and_the_folder_of_the_database_are_left_alone() {
    let mut tree = Tree::new();
    let database = tree.scene.open().path();
    let database = database.parent().unwrap();
    let old = database.join("old.log");
    fs::write(&old, "").unwrap();
    set_age(&old, 5);
    let error = tree.error(json!({ "paths": [database] }));
    assert!(error.contains("folder of the database"), "{error}");
    // Nor from above.
    let around = database.parent().unwrap();
    if around.components().count() > 2 {
        let result =
            tree.clean(json!({ "paths": [around], "recursive": true, "match": ["old.log"] }));
        assert!(
            result
                .skipped
                .iter()
                .any(|note| Path::new(&note.path) == database)
        );
    }
    assert!(old.exists());
    tree.settings.roots = Some(vec![tree.path("logs")]);
    let outside = tree.file("a.log", 5);
    let error = tree.error(json!({}));
    assert!(error.contains("not below the 'roots'"), "{error}");
    tree.file("logs/app/a.log", 5);
    let result = tree.clean(json!({ "paths": [tree.path("logs/app")] }));
    assert_eq!(result.deleted, 1);
    assert!(outside.exists());
}

#[test]
fn presets_clean_the_folders_of_the_settings() {
    let mut tree = Tree::new();
    for name in ["logs/a.log", "logs/a.log.1", "logs/a.txt", "tmp/x"] {
        tree.file(name, 40);
    }
    let logs = json!({ "action": "remove_old_logs", "olderThan": "30 days" });
    let job = tree.run(&logs);
    assert!(job.error.unwrap().contains("remove_old_logs is missing"));
    tree.settings.remove_old_logs = vec![tree.path("logs")];
    tree.settings.temp_files = vec![tree.path("tmp")];
    assert_eq!(tree.run(&logs).state, State::Completed);
    let temp = json!({ "action": "temp_files", "older_than": "30d" });
    assert_eq!(tree.run(&temp).state, State::Completed);
    let left = ["logs", "logs/a.txt", "tmp"].map(|name| tree.path(name));
    assert_eq!(tree.all(), left);
}

#[test]
fn a_folder_that_is_not_there_fails_the_job_only_by_itself() {
    let tree = Tree::new();
    let none = tree.path("none");
    let error = tree.error(json!({ "paths": [none] }));
    assert!(error.contains("No such file"), "{error}");
    tree.file("logs/a.log", 5);
    let result = tree.clean(json!({ "paths": [none, tree.path("logs")] }));
    assert_eq!(result.deleted, 1);
    assert_eq!(result.errors[0].path, none.to_string_lossy());
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_the_real_one_does() {
    fastrand::seed(7);
    for _ in 0..30 {
        let tree = Tree::new();
        for number in 0..fastrand::u32(0..60) {
            let depth = fastrand::usize(0..4);
            let folders: String = (0..depth)
                .map(|_| format!("{}/", fastrand::u8(0..3)))
                .collect();
            let kind = fastrand::choice(["log", "tmp"]).unwrap();
            tree.file(format!("{folders}{number}.{kind}"), fastrand::i64(-1..9));
        }
        for path in tree.all().into_iter().filter(|path| path.is_dir()).rev() {
            set_age(&path, fastrand::i64(0..9));
        }
        let fields = |dry_run| {
            json!({
                "match": ["**/*.log"], "older_than": "3d", "recursive": true, "empty_dirs": true,
                "min_keep": 2, "max_delete": 15, "exclude": ["1/**"], "dry_run": dry_run,
            })
        };
        let before = tree.all();
        let foretold = tree.clean(fields(true));
        assert_eq!(tree.all(), before);
        let done = tree.clean(fields(false));
        assert_eq!(done, foretold);
        let gone = before.len() - tree.all().len();
        assert_eq!(u64::try_from(gone).unwrap(), done.deleted);
    }
}

#[test]
fn its_jobs_have_options_of_their_own() {
    let tree = Tree::new();
    let queue = tree.scene.open();
    let job: Cleanup = serde_json::from_value(tree.payload(json!({}))).unwrap();
    let id = queue.enqueue(job).unwrap().id;
    let job = queue.get(id).unwrap().unwrap();
    assert_eq!(job.timeout, Some(Duration::from_secs(600)));
    assert_eq!(Cleanup::defaults().max_retries, Some(2));
    // What is written is read again.
    assert!(
        BuiltInKind::named("cleanup")
            .unwrap()
            .check(job.payload.get())
            .is_ok()
    );
}

#[test]
fn a_cleanup_that_is_told_to_stop_stops() {
    let tree = Tree::new();
    for number in 0..20_000 {
        tree.file(format!("{number}.log"), 2);
    }
    let queue = tree.scene.open();
    let payload = tree.payload(json!({}));
    let job = jobq::NewJob::new("cleanup")
        .payload(&payload)
        .max_retries(0);
    let id = queue
        .enqueue(job.timeout(Duration::from_millis(1)))
        .unwrap()
        .id;
    let handler = BuiltIn::<Cleanup>::new(tree.settings.clone());
    let runner = queue.runner().kind(Cleanup::KIND, handler);
    let runner = runner.until(jobq::Until::Drained).start().unwrap();
    runner.wait().unwrap();
    let job = queue.get(id).unwrap().unwrap();
    assert_eq!(job.error.as_deref(), Some("timed out after 1ms"));
    let left = tree.all().len();
    assert!(left > 0, "it went on to the end");
}
