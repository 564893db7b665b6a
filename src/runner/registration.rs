//! Becoming a runner: the lock file first, then the row that names it.

use std::collections::HashMap;
use std::path::Path;

use crate::model::part::Parts;
use crate::runner::dispatcher::Settings;
use crate::runner::liveness::{Lock, OwnLock};
use crate::store::{Beats, ClaimFor, ClaimRequest, KindCapacity, Registration, Tx, WriterLease};
use crate::{Result, store};

/// Who a runner is in the file.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) id: i64,
    pub(crate) workers: usize,
    /// The kinds it has handlers for.
    pub(crate) kinds: Vec<i64>,
    /// How many jobs of a kind it may hold; a kind that is not here: any number.
    pub(crate) kind_limits: HashMap<i64, usize>,
    /// The queues it serves; none: all.
    pub(crate) queues: Option<Vec<i64>>,
}

impl Identity {
    /// A request for jobs for a free worker; their number is yet to be set.
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

/// Registers under a fresh name. A lock that was held before is released afterwards, so that there
/// is no moment without one.
pub(crate) fn register(
    lease: &mut WriterLease,
    settings: &Settings,
    workers: usize,
    places: (&Path, &OwnLock),
) -> Result<Identity> {
    let limits = settings.kind_limits();
    let identity = register_by(places, |name| {
        let registration = registration(name, settings, (workers, Beats::Regularly));
        lease.writer.transact(&mut Vec::new(), &mut |tx| {
            insert(tx, &registration, &limits)
        })
    })?;
    crate::store::remove_stray_locks(lease.writer.conn()?, places.0)?;
    Ok(identity)
}

/// The same through whatever writes the row: `write` gets the name of the lock.
pub(crate) fn register_by(
    (folder, own): (&Path, &OwnLock),
    write: impl FnOnce(String) -> Result<Identity>,
) -> Result<Identity> {
    let (lock, name) = Lock::create(folder)?;
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
    (workers, beats): (usize, Beats),
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
        beats,
    }
}

/// The kinds by their numbers, and the limits of those that have one.
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

/// `limits` are those of kinds, in this runner.
pub(crate) fn insert(
    tx: &mut Tx<'_>,
    registration: &Registration,
    limits: &HashMap<String, usize>,
) -> Result<Identity> {
    let (kinds, kind_limits) = kinds(tx, &registration.kinds, limits)?;
    let mut queues = registration.queues.as_ref().map(|_| Vec::new());
    for queue in registration.queues.iter().flatten() {
        let id = tx.names.queue_id(tx.conn, queue)?;
        queues.get_or_insert_default().push(id);
    }
    Ok(Identity {
        id: store::register_runner(tx, registration, limits)?,
        workers: registration.workers,
        kinds,
        kind_limits,
        queues,
    })
}
