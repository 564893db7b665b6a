//! Registering a runner: the lock file first, then the row that names it.

use std::collections::HashMap;
use std::path::Path;

use crate::model::part::Parts;
use crate::model::runner_options::UnknownKinds;
use crate::runner::liveness::{OwnLock, RunnerLock};
use crate::runner::settings::Settings;
use crate::store::{
    ClaimFor, ClaimRequest, HeartbeatMode, KindCapacity, Registration, Tx, WriterLease,
};
use crate::{Result, store};

/// A runner's identity in the file.
#[derive(Clone, Debug)]
pub(crate) struct RunnerIdentity {
    pub(crate) id: i64,
    pub(crate) workers: usize,
    /// The kinds it has handlers for.
    pub(crate) kinds: Vec<i64>,
    /// Maximum number of jobs in flight, for kinds with a limit.
    pub(crate) kind_limits: HashMap<i64, usize>,
    /// The ids of the queues it serves; none: all.
    pub(crate) queues: Option<Vec<i64>>,
}

impl RunnerIdentity {
    /// Its kinds without their limits.
    pub(super) fn any_of_its_kinds(&self) -> Vec<KindCapacity> {
        self.kinds.iter().copied().map(KindCapacity::any).collect()
    }

    /// The kinds without a handler, if their jobs are to fail; `all` reads the kinds of the file.
    pub(super) fn failing_kinds(
        &self,
        unknown_kinds: UnknownKinds,
        all: impl FnOnce() -> Result<Vec<i64>>,
    ) -> Result<Option<Vec<KindCapacity>>> {
        if unknown_kinds == UnknownKinds::Keep {
            return Ok(None);
        }
        let mut kinds = all()?;
        kinds.retain(|kind| !self.kinds.contains(kind));
        Ok(Some(kinds.into_iter().map(KindCapacity::any).collect()))
    }

    /// A request for jobs for a free worker; the number of jobs is yet to be set.
    pub(crate) fn claim_request<'a>(
        &'a self,
        kinds: &'a [KindCapacity],
        aside: &'a Parts,
    ) -> ClaimRequest<'a> {
        ClaimRequest {
            runner: self.id,
            queues: self.queues.as_deref(),
            kinds,
            claim_for: ClaimFor::FreeWorker,
            jobs: 0,
            aside,
        }
    }
}

/// Registers under a fresh name. A lock that was held before is released afterwards, so that the runner
/// is never without one.
pub(crate) fn register(
    lease: &mut WriterLease,
    settings: &Settings,
    workers: usize,
    lock_files: (&Path, &OwnLock),
) -> Result<RunnerIdentity> {
    let limits = settings.kind_limits();
    let identity = register_by(lock_files, |name| {
        let registration = registration(name, settings, (workers, HeartbeatMode::Regular));
        lease.writer.transact(&mut Vec::new(), &mut |tx| {
            insert(tx, &registration, &limits)
        })
    })?;
    store::remove_unused_locks(lease.writer.conn()?, lock_files.0)?;
    Ok(identity)
}

/// Registers through `write`, which gets the name of the lock and writes the row.
pub(crate) fn register_by(
    (folder, own): (&Path, &OwnLock),
    write: impl FnOnce(String) -> Result<RunnerIdentity>,
) -> Result<RunnerIdentity> {
    let (lock, name) = RunnerLock::create(folder)?;
    match write(name) {
        Ok(identity) => {
            if let Some(lost) = own.change(Some(lock)) {
                lost.remove();
            }
            Ok(identity)
        }
        Err(error) => {
            lock.remove();
            Err(error)
        }
    }
}

pub(crate) fn registration(
    name: String,
    settings: &Settings,
    (workers, heartbeat_mode): (usize, HeartbeatMode),
) -> Registration {
    Registration {
        name,
        pid: std::process::id(),
        host: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        workers,
        kinds: settings.registry.kinds(),
        queues: settings.queues.clone(),
        heartbeat_mode,
    }
}

/// The ids of the kinds, and the limits of those that have one.
pub(crate) fn kinds(
    tx: &mut Tx<'_>,
    names: &[String],
    limits: &HashMap<String, usize>,
) -> Result<(Vec<i64>, HashMap<i64, usize>)> {
    let mut kinds = Vec::with_capacity(names.len());
    let mut kind_limits = HashMap::new();
    for kind in names {
        let id = tx.names.kind_id(tx.conn, kind)?;
        kinds.push(id);
        if let Some(limit) = limits.get(kind) {
            kind_limits.insert(id, *limit);
        }
    }
    Ok((kinds, kind_limits))
}

/// `limits` are the limits of kinds in this runner.
pub(crate) fn insert(
    tx: &mut Tx<'_>,
    registration: &Registration,
    limits: &HashMap<String, usize>,
) -> Result<RunnerIdentity> {
    let (kinds, kind_limits) = kinds(tx, &registration.kinds, limits)?;
    let mut queues = registration.queues.as_ref().map(|_| Vec::new());
    for queue in registration.queues.iter().flatten() {
        let id = tx.names.queue_id(tx.conn, queue)?;
        queues.get_or_insert_default().push(id);
    }
    Ok(RunnerIdentity {
        id: store::register_runner(tx, registration, limits)?,
        workers: registration.workers,
        kinds,
        kind_limits,
        queues,
    })
}
