//! Files of the spine are upgraded by real processes, which may be killed while they do it.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jobq::rusqlite::Connection;
use jobq::{NewJob, Queue, Severity, State};

use crate::support::number_from_environment;
use crate::support::place::Scene;

const SCHEMA_1: &str = include_str!("../data/schema_1.sql");
const ROWS: &str = include_str!("../data/spine_rows.sql");

/// A file of the spine with so many jobs more than its rows, of which four in five have ended.
fn spine(path: &Path, jobs: u64) -> u64 {
    let conn = Connection::open(path).unwrap();
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")
        .unwrap();
    conn.pragma_update(None, "journal_mode", "WAL").unwrap();
    conn.execute_batch(&format!(
        "BEGIN; {SCHEMA_1}; {ROWS};
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {jobs})
         INSERT INTO jobq_job (queue_id, kind_id, state, priority, max_retries, backoff, retry_delay_ms, created_at,
             updated_at, finished_at)
         SELECT 1, 1 + i % 2, CASE WHEN i % 5 = 0 THEN 2 ELSE 5 + i % 3 END, i % 4, 3, 4, 5000, i, i,
             CASE WHEN i % 5 > 0 THEN 1700000000000 + (i * 7919) % 1000003 END FROM n;
         INSERT INTO jobq_payload SELECT id, '\"payload\"' FROM jobq_job WHERE id > 12 AND state = 2;
         DELETE FROM jobq_count;
         INSERT INTO jobq_count SELECT queue_id, state, count(*) FROM jobq_job GROUP BY queue_id, state;
         COMMIT; PRAGMA wal_checkpoint(TRUNCATE);"
    ))
    .unwrap();
    jobs + 12
}

/// A process that opens the file, and with that upgrades it.
fn opener(path: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_jobq"))
        .args(["resume", "--db"])
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn end_well(opener: Child) {
    let output = opener.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
}

/// What SQLite itself finds in a file.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    version: i64,
    schema: Vec<String>,
    jobs: u64,
    integrity: String,
}

fn look(path: &Path) -> Found {
    let conn = Connection::open(path).unwrap();
    let text = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, String>(0));
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let mut statement = conn
        .prepare("SELECT name || ': ' || coalesce(sql, '') FROM sqlite_schema ORDER BY name")
        .unwrap();
    let schema = statement.query_map([], |row| row.get(0)).unwrap();
    Found {
        version: number("SELECT value FROM jobq_meta WHERE key = 'schema_version'"),
        schema: schema.map(Result::unwrap).collect(),
        jobs: number("SELECT count(*) FROM jobq_job").unsigned_abs(),
        integrity: text("PRAGMA integrity_check").unwrap(),
    }
}

/// A process that has just begun to upgrade the file, or has done so already.
struct Upgrade {
    opener: Child,
    probe: Connection,
}

impl Upgrade {
    fn begin(path: &Path) -> Upgrade {
        let probe = Connection::open(path).unwrap();
        probe.busy_timeout(Duration::ZERO).unwrap();
        let mut upgrade = Upgrade {
            opener: opener(path),
            probe,
        };
        while !upgrade.holds_the_lock() && upgrade.opener.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        upgrade
    }

    /// Whether it is in its transaction: nobody else writes to the file.
    fn holds_the_lock(&self) -> bool {
        self.probe
            .execute_batch("BEGIN IMMEDIATE; ROLLBACK")
            .is_err()
    }
}

/// Files that are upgraded again and again, and what they may look like.
struct Campaign {
    scene: Scene,
    original: PathBuf,
    old: Found,
    new: Found,
    /// From its BEGIN to the end of its process.
    takes: Duration,
}

impl Campaign {
    fn new(jobs: u64) -> Campaign {
        let scene = Scene::new();
        let original = scene.file("spine.db");
        let jobs = spine(&original, jobs);
        let old = look(&original);
        assert_eq!((old.version, old.jobs), (1, jobs));
        let path = scene.database();
        copy(&original, &path);
        let upgrade = Upgrade::begin(&path);
        let began = Instant::now();
        end_well(upgrade.opener);
        let takes = began.elapsed();
        let new = look(&path);
        assert_eq!((new.version, new.jobs), (9, jobs));
        assert_eq!((old.integrity.as_str(), &*new.integrity), ("ok", "ok"));
        Campaign {
            scene,
            original,
            old,
            new,
            takes,
        }
    }

    /// Kills an upgrade so far on, from 0 to 1; whether that was in its midst, with the old file whole.
    fn kill_at(&self, at: f64) -> bool {
        let path = self.scene.database();
        let mut upgrade = Upgrade::begin(&path);
        let moment = Instant::now() + self.takes.mul_f64(at);
        while Instant::now() < moment {
            std::thread::sleep(Duration::from_micros(200));
        }
        let was_in_its_midst = upgrade.holds_the_lock();
        upgrade.opener.kill().unwrap();
        let was_killed = upgrade.opener.wait().unwrap().signal().is_some();
        let found = look(&path);
        assert!(
            found == self.old || found == self.new,
            "killed at {at} of {:?}: {found:?}",
            self.takes
        );
        was_in_its_midst && was_killed && found == self.old
    }

    /// Each file is killed in several times, each kill lying about as far on as the rounds are.
    fn run(&self, random: &mut fastrand::Rng, rounds: u64) -> u64 {
        let mut in_the_midst = 0;
        for round in 0..rounds {
            if round % 3 == 0 {
                copy(&self.original, &self.scene.database());
            }
            let at = (round as f64 + random.f64()) / rounds as f64;
            in_the_midst += u64::from(self.kill_at(at));
        }
        in_the_midst
    }

    /// What was killed in is finished by whoever opens it next.
    fn finish(&self) {
        copy(&self.original, &self.scene.database());
        self.kill_at(0.5);
        let queue = self.scene.open();
        assert_eq!(look(&self.scene.database()), self.new);
        let mut findings = queue.check().unwrap();
        // It has runners, and never had their lock files.
        findings.retain(|found| found.check != "locks");
        assert!(
            findings.iter().all(|found| found.severity == Severity::Ok),
            "{findings:?}"
        );
        let enqueued = queue.enqueue(NewJob::new("send").key("k")).unwrap();
        assert_eq!(enqueued.state, State::Pending);
    }
}

/// The file without a log, in place of what is there.
fn copy(from: &Path, to: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = to.as_os_str().to_owned();
        name.push(suffix);
        let _ = fs::remove_file(PathBuf::from(name));
    }
    fs::copy(from, to).unwrap();
}

fn campaign(seed: u64, rounds: u64, jobs: u64) {
    let campaign = Campaign::new(jobs);
    let in_the_midst = campaign.run(&mut fastrand::Rng::with_seed(seed), rounds);
    assert!(
        in_the_midst > 0,
        "JOBQ_SEED={seed}: of {rounds} kills none struck an upgrade of {:?}",
        campaign.takes
    );
    campaign.finish();
}

#[test]
fn a_kill_during_an_upgrade_leaves_the_old_file_or_the_new() {
    campaign(fastrand::u64(..), 9, 40_000);
}

#[test]
#[ignore = "takes minutes; JOBQ_SEED and JOBQ_ROUNDS say how"]
fn kills_during_an_upgrade_leave_the_old_file_or_the_new_one() {
    let seed = number_from_environment("JOBQ_SEED").unwrap_or_else(|| fastrand::u64(..));
    let rounds = number_from_environment("JOBQ_ROUNDS").unwrap_or(100);
    campaign(seed, rounds, 400_000);
}

#[test]
fn two_processes_upgrading_at_once_do_it_once_and_both_work() {
    let scene = Scene::new();
    let path = scene.database();
    let jobs = spine(&path, 50_000);
    let openers = [opener(&path), opener(&path)];
    openers.into_iter().for_each(end_well);
    let found = look(&path);
    assert_eq!((found.version, found.jobs), (9, jobs));
    assert_eq!(found.integrity, "ok");
    let queue = Queue::open(&path).unwrap();
    assert_eq!(queue.counts().unwrap().total(), jobs);
}
