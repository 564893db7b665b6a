//! Putting a dispatcher together: registering, watching the file, starting the workers.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::model::runner_options::Until;
use crate::runner::builder::RunnerBuilder;
use crate::runner::context::SharedContext;
use crate::runner::dispatcher::{Dispatcher, StopPhase};
use crate::runner::kind_pauses::KindPauses;
use crate::runner::liveness::{LivenessMonitor, OwnLock};
use crate::runner::pending_work::PendingWork;
use crate::runner::pool::Pool;
use crate::runner::prefetch::RunTimeEstimate;
use crate::runner::registration;
use crate::runner::scarcity::Scarcity;
use crate::runner::set_aside::Aside;
use crate::runner::signals::Signals;
use crate::store::{FairShares, FileWatch, LogCopies, Store, WriterLease};
use crate::{Result, clock, store};

impl Dispatcher {
    pub(crate) fn new(
        builder: RunnerBuilder,
        mut lease: WriterLease,
        signals: Arc<Signals>,
    ) -> Result<Dispatcher> {
        let store = Arc::clone(&builder.queue.store);
        match Dispatcher::prepare(builder, &mut lease, signals) {
            Ok(with_lease) => Ok(with_lease(lease)),
            Err(error) => {
                store.writer.give_back(lease);
                Err(error)
            }
        }
    }

    /// Everything but the writer, which is given back if this fails.
    fn prepare(
        builder: RunnerBuilder,
        lease: &mut WriterLease,
        signals: Arc<Signals>,
    ) -> Result<impl FnOnce(WriterLease) -> Dispatcher + use<>> {
        let store = Arc::clone(&builder.queue.store);
        let queue = builder.queue.clone();
        let folder = store.runners_folder();
        let lock = OwnLock::default();
        let workers = builder.workers;
        let settings = builder.settings()?;
        // Before there is anything to undo. A failed read is tried again where the id is needed.
        let file_id = lease.writer.conn();
        if let Err(error) = file_id.and_then(|conn| store.read_file_id(conn).map(|_| ())) {
            log::warn!("the file's id cannot be read: {error}");
        }
        let identity = registration::register(lease, &settings, workers, (&folder, &lock))?;
        let watch = watch(&store, &folder);
        if settings.until == Until::Stopped {
            tell_of_schedules(&store);
        }
        let shared = SharedContext {
            queue,
            registry: Mutex::new(Arc::clone(&settings.registry)),
            bell: Arc::clone(&lease.bell),
        };
        let pool = Pool::start(workers, shared)?;
        let pending = PendingWork::new(clock::instant(), settings.heartbeat.every);
        Ok(move |lease| Dispatcher {
            store,
            lease,
            log_copies: LogCopies::default(),
            settings,
            identity,
            folder,
            lock,
            pool,
            watch,
            signals,
            in_flight: HashMap::new(),
            abandoned: Vec::new(),
            dead_locks: Vec::new(),
            enforced_at: None,
            run_times: RunTimeEstimate::default(),
            liveness: LivenessMonitor::default(),
            phase: StopPhase::Running,
            pending,
            shares: FairShares::default(),
            aside: Aside::default(),
            scarcity: Scarcity::default(),
            kind_pauses: KindPauses::default(),
            replaced: Vec::new(),
        })
    }
}

/// No reason not to run jobs: another machine may fire these schedules.
fn tell_of_schedules(store: &Store) {
    let unreadable = store
        .reader()
        .and_then(|reader| store::unreadable_schedules(&reader));
    for (name, zone) in unreadable.unwrap_or_default() {
        log::warn!(
            "schedule '{name}' is not fired here: this machine does not know the time zone '{zone}'"
        );
    }
}

/// If the file cannot be watched, only the safety poll notices changes.
fn watch(store: &Store, folder: &Path) -> Option<FileWatch> {
    let watch =
        FileWatch::new(store.path()).and_then(|watch| watch.add_folder(folder).map(|()| watch));
    watch
        .inspect_err(|error| log::warn!("{error}; looking every few seconds instead"))
        .ok()
}
