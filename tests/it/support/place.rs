//! A folder of a test's own, with the database and what handlers leave behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jobq::rusqlite::Connection;
use jobq::{Event, EventFilter, EventKind, Filter, JobId, JobRecord, Queue, Severity, Sort, State};

use super::effects::{Effect, EffectLog};
use super::{PATIENCE, wait_for, wait_until};

/// Where one test's files are. Processes find each other's files through it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    folder: PathBuf,
    /// Where the database is, if it is not in the folder.
    disk: PathBuf,
}

impl Place {
    pub(crate) fn at(folder: impl Into<PathBuf>) -> Place {
        let folder = folder.into();
        Place {
            disk: folder.clone(),
            folder,
        }
    }

    /// With the database in another folder.
    pub(crate) fn on_disk(self, disk: impl Into<PathBuf>) -> Place {
        Place {
            disk: disk.into(),
            ..self
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn disk(&self) -> &Path {
        &self.disk
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.disk.join("jobs.db")
    }

    pub(crate) fn log_of_writes(&self) -> PathBuf {
        self.disk.join("jobs.db-wal")
    }

    pub(crate) fn open(&self) -> Queue {
        Queue::open(self.database()).unwrap()
    }

    /// How many lock files of runners there are.
    pub(crate) fn lock_files(&self) -> usize {
        std::fs::read_dir(self.disk.join("jobs.db-runners"))
            .unwrap()
            .count()
    }

    /// As somebody does who does not know what they are for.
    pub(crate) fn remove_lock_files(&self) {
        std::fs::remove_dir_all(self.disk.join("jobs.db-runners")).unwrap();
    }

    /// A connection that is none of jobq's, as an application has one.
    pub(crate) fn connect(&self) -> Connection {
        let conn = Connection::open(self.database()).unwrap();
        conn.busy_timeout(super::PATIENCE).unwrap();
        conn
    }

    /// Whether SQLite's write lock can be had; a live process gives it back within this time.
    pub(crate) fn write_lock_is_free(&self) -> bool {
        let conn = self.connect();
        conn.busy_timeout(Duration::from_millis(500)).unwrap();
        conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok()
    }

    pub(crate) fn effect_log(&self) -> EffectLog {
        EffectLog::at(self.file("effects"))
    }

    pub(crate) fn effects(&self) -> Vec<Effect> {
        self.effect_log().read()
    }

    pub(crate) fn begins_of(&self, job: JobId) -> Vec<Effect> {
        let mut effects = self.effects();
        effects.retain(|effect| effect.job == job && effect.is_begin());
        effects
    }

    /// Where the attempt begins: the first of it that is seen.
    pub(crate) fn wait_until_begun(&self, job: JobId, attempt: u32) -> Effect {
        wait_for(
            &format!("attempt {attempt} of job {job} begins"),
            PATIENCE,
            || {
                self.begins_of(job)
                    .into_iter()
                    .find(|begin| begin.attempt == attempt)
            },
        )
    }

    /// Lets the tasks go on that wait for this gate.
    pub(crate) fn open_gate(&self, name: &str) {
        std::fs::write(self.file(name), "").unwrap();
    }
}

/// A [`Place`] that is removed at the end, unless the test fails.
pub(crate) struct Scene {
    place: Place,
    folder: Option<tempfile::TempDir>,
}

impl Scene {
    pub(crate) fn new() -> Scene {
        let folder = tempfile::Builder::new()
            .prefix("jobq-it-")
            .tempdir()
            .unwrap();
        Scene {
            place: Place::at(folder.path()),
            folder: Some(folder),
        }
    }
}

impl std::ops::Deref for Scene {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!(
                "what the test left behind is kept in {}",
                folder.keep().display()
            );
        }
    }
}

/// The job, which must be there.
pub(crate) fn job(queue: &Queue, id: JobId) -> JobRecord {
    queue
        .get(id)
        .unwrap()
        .unwrap_or_else(|| panic!("job {id} is not there"))
}

pub(crate) fn state(queue: &Queue, id: JobId) -> State {
    job(queue, id).state
}

pub(crate) fn wait_until_completed(queue: &Queue, id: JobId) {
    wait_until(&format!("job {id} completes"), PATIENCE, || {
        state(queue, id) == State::Completed
    });
}

/// The history of a job, or of all.
pub(crate) fn events(queue: &Queue, job: Option<JobId>) -> Vec<Event> {
    let mut filter = EventFilter {
        job,
        kinds: EventKind::ALL.to_vec(),
        ..EventFilter::default()
    };
    let mut events = Vec::new();
    loop {
        let page = queue.events(&filter).unwrap();
        events.extend(page.events);
        if page.at_end {
            return events;
        }
        filter.since = page.next;
    }
}

pub(crate) fn count_events(queue: &Queue, job: Option<JobId>, kind: EventKind) -> usize {
    events(queue, job)
        .iter()
        .filter(|event| event.kind == kind)
        .count()
}

pub(crate) fn result(queue: &Queue, id: JobId) -> Option<String> {
    job(queue, id).result.map(|json| json.get().to_owned())
}

pub(crate) fn all_jobs(queue: &Queue) -> Vec<JobRecord> {
    queue
        .list(&Filter {
            sort: Sort::Oldest,
            ..Filter::default()
        })
        .unwrap()
}

/// What the doctor finds wrong: nothing, if all is well.
pub(crate) fn ailments(queue: &Queue) -> Vec<String> {
    let findings = queue.check().unwrap();
    assert!(!findings.is_empty(), "the doctor looked at nothing");
    findings
        .into_iter()
        .filter(|finding| finding.severity != Severity::Ok)
        .map(|finding| format!("{}: {}", finding.check, finding.message))
        .collect()
}
