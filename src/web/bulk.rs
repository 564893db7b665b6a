//! Changes to many jobs that go on behind their requests: each on a thread of its own, with its progress to be asked
//! for, and stopped.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::web::access::WriteAccess;
use crate::web::problem::Problem;
use crate::web::state::ServerState;
use crate::{BulkAction, Filter, JobId};

/// Maximum number of changes at once: they take turns at writing anyway.
const MAX_RUNNING: usize = 4;

/// How many that have ended are remembered.
const MAX_REMEMBERED: usize = 100;

/// How many refusals are remembered of each.
pub(crate) const MAX_REFUSALS: usize = 20;

/// How many jobs of a list of ids are changed at a time.
const IDS_AT_ONCE: usize = 64;

/// Which jobs a change is for.
pub(crate) enum BulkJobs {
    Ids(Vec<JobId>),
    Matching(Box<Filter>),
}

/// A change to many jobs.
pub(crate) struct BulkChange {
    pub(crate) id: u64,
    pub(crate) action: BulkAction,
    tenant: Option<String>,
    stopped: AtomicBool,
    progress: Mutex<BulkState>,
}

/// How far a change has come.
#[derive(Clone, Default)]
pub(crate) struct BulkState {
    pub(crate) jobs: u64,
    pub(crate) refused: u64,
    /// The first of them, each with the reason.
    pub(crate) refusals: Vec<(JobId, String)>,
    pub(crate) is_finished: bool,
    pub(crate) error: Option<Problem>,
}

impl BulkChange {
    pub(crate) fn state(&self) -> BulkState {
        self.progress().clone()
    }

    /// Ends it after the jobs that it has in hand.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    fn progress(&self) -> MutexGuard<'_, BulkState> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn goes_on(&self, server: &ServerState) -> ControlFlow<()> {
        match self.stopped.load(Ordering::SeqCst) || server.is_stopped() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn run(&self, server: &ServerState, writer: &WriteAccess, jobs: BulkJobs) {
        let ended = match jobs {
            BulkJobs::Ids(ids) => self.change_ids(server, writer, &ids),
            BulkJobs::Matching(filter) => writer
                .change_where(*filter, self.action, |report| {
                    let mut progress = self.progress();
                    progress.jobs = report.jobs;
                    progress.refused = report.refused.len() as u64;
                    progress.refusals = report.refused.iter().take(MAX_REFUSALS).cloned().collect();
                    drop(progress);
                    self.goes_on(server)
                })
                .map(drop),
        };
        let mut progress = self.progress();
        progress.error = ended.err();
        progress.is_finished = true;
    }

    fn change_ids(
        &self,
        server: &ServerState,
        writer: &WriteAccess,
        ids: &[JobId],
    ) -> Result<(), Problem> {
        for ids in ids.chunks(IDS_AT_ONCE) {
            if self.goes_on(server).is_break() {
                return Ok(());
            }
            for (id, changed) in ids.iter().zip(writer.change_many(ids, self.action)) {
                let mut progress = self.progress();
                match changed {
                    Ok(()) => progress.jobs += 1,
                    Err(problem) => {
                        progress.refused += 1;
                        if progress.refusals.len() < MAX_REFUSALS {
                            progress.refusals.push((*id, problem.detail));
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// The changes of a server.
#[derive(Default)]
pub(crate) struct BulkChanges(Mutex<BTreeMap<u64, Arc<BulkChange>>>);

impl BulkChanges {
    /// Starts a change, and returns it at once.
    pub(crate) fn start(
        &self,
        server: &Arc<ServerState>,
        writer: WriteAccess,
        (action, jobs): (BulkAction, BulkJobs),
    ) -> Result<Arc<BulkChange>, Problem> {
        let change = self.add(action, writer.tenant())?;
        let (server, own) = (Arc::clone(server), Arc::clone(&change));
        thread::Builder::new()
            .name("jobq-web-bulk".to_owned())
            .spawn(move || own.run(&server, &writer, jobs))
            .map_err(|error| crate::Error::no_thread("bulk change's", error))?;
        Ok(change)
    }

    fn add(&self, action: BulkAction, tenant: Option<&str>) -> Result<Arc<BulkChange>, Problem> {
        let mut all = self.all();
        let running = all.values().filter(|change| !change.progress().is_finished);
        if running.count() >= MAX_RUNNING {
            let why = format!(
                "{MAX_RUNNING} changes of many jobs are going on; wait for one, or stop it"
            );
            return Err(Problem::new("busy", why).with_header("Retry-After", "5"));
        }
        while all.len() >= MAX_REMEMBERED {
            let ended = all.iter().find(|(_, change)| change.progress().is_finished);
            let Some(id) = ended.map(|(id, _)| *id) else {
                break;
            };
            all.remove(&id);
        }
        let id = all.last_key_value().map_or(1, |(last, _)| last + 1);
        let change = Arc::new(BulkChange {
            id,
            action,
            tenant: tenant.map(str::to_owned),
            stopped: AtomicBool::new(false),
            progress: Mutex::default(),
        });
        all.insert(id, Arc::clone(&change));
        Ok(change)
    }

    /// The change of this id, for a client of this tenant.
    pub(crate) fn get(&self, id: u64, tenant: Option<&str>) -> Option<Arc<BulkChange>> {
        let found = self.all().get(&id).cloned();
        found.filter(|change| tenant.is_none() || change.tenant.as_deref() == tenant)
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<BulkChange>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
