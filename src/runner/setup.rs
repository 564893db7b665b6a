//! Putting a dispatcher together: registering, watching the file, starting the workers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::queue::Queue;
use crate::runner::builder::{RunnerBuilder, Until};
use crate::runner::dispatcher::{Dispatcher, Settings};
use crate::runner::handle::Signals;
use crate::runner::liveness::{Observer, OwnLock};
use crate::runner::pending_work::PendingWork;
use crate::runner::pool::{Pool, Shared};
use crate::runner::prefetch::Pace;
use crate::runner::registration;
use crate::runner::registration::Identity;
use crate::runner::scarcity::Scarcity;
use crate::runner::set_aside::Aside;
use crate::runner::shutdown::Phase;
use crate::store::{FairShares, FileWatch, QuotaLimits, Store, WriterLease};
use crate::{Result, clock, store};

impl Settings {
    pub(crate) fn of(builder: RunnerBuilder) -> Settings {
        Settings {
            queues: builder.queues,
            unknown_kinds: builder.unknown_kinds,
            until: builder.until,
            default_timeout: builder.default_timeout,
            retention: builder.retention,
            kinds: builder.kinds,
            pulse: builder.pulse,
            batch: builder.batch,
            quota: QuotaLimits::of(&builder.queue.limits),
            registry: Arc::new(builder.registry),
        }
    }

    /// How many jobs of a kind may run at once, where that is limited.
    pub(super) fn kind_limits(&self) -> HashMap<String, usize> {
        let limited = self.kinds.iter();
        limited
            .filter_map(|(kind, options)| Some((kind.clone(), options.limit?)))
            .collect()
    }
}

impl Dispatcher {
    pub(crate) fn new(
        builder: RunnerBuilder,
        mut lease: WriterLease,
        signals: Arc<Signals>,
    ) -> Result<Dispatcher> {
        let store = Arc::clone(&builder.queue.store);
        match Dispatcher::prepare(builder, &mut lease) {
            Ok(prepared) => Ok(prepared.with(lease, signals)),
            Err(error) => {
                store.writer.give_back(lease);
                Err(error)
            }
        }
    }

    fn prepare(builder: RunnerBuilder, lease: &mut WriterLease) -> Result<Prepared> {
        let store = Arc::clone(&builder.queue.store);
        let queue: Queue = builder.queue.clone();
        let folder = store.runners_folder();
        let lock = OwnLock::default();
        let workers = builder.workers;
        let settings = Settings::of(builder);
        let identity = registration::register(lease, &settings, workers, (&folder, &lock))?;
        let watch = watch(&store, &folder);
        if settings.until == Until::Stopped {
            tell_of_schedules(&store);
        }
        let shared = Shared {
            queue,
            registry: Mutex::new(Arc::clone(&settings.registry)),
            bell: Arc::clone(&lease.bell),
        };
        let pool = Pool::start(workers, shared)?;
        Ok(Prepared {
            store,
            settings,
            identity,
            folder,
            lock,
            watch,
            pool,
        })
    }
}

/// A dispatcher that lacks only the writer.
struct Prepared {
    store: Arc<Store>,
    settings: Settings,
    identity: Identity,
    folder: PathBuf,
    lock: OwnLock,
    watch: Option<FileWatch>,
    pool: Pool,
}

impl Prepared {
    fn with(self, lease: WriterLease, signals: Arc<Signals>) -> Dispatcher {
        let now = clock::instant();
        let pending = PendingWork::new(now, self.settings.pulse.every);
        Dispatcher {
            store: self.store,
            lease,
            settings: self.settings,
            identity: self.identity,
            folder: self.folder,
            lock: self.lock,
            pool: self.pool,
            watch: self.watch,
            signals,
            in_flight: HashMap::new(),
            orphans: Vec::new(),
            dead_locks: Vec::new(),
            enforced_at: None,
            pace: Pace::default(),
            observer: Observer::default(),
            phase: Phase::Running,
            pending,
            shares: FairShares::default(),
            aside: Aside::default(),
            scarcity: Scarcity::default(),
        }
    }
}

/// No reason not to run jobs: another machine may fire them.
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

/// Where the file cannot be watched the safety poll alone notices changes.
fn watch(store: &Store, folder: &Path) -> Option<FileWatch> {
    let watch =
        FileWatch::new(store.path()).and_then(|watch| watch.add_folder(folder).map(|()| watch));
    watch
        .inspect_err(|error| log::warn!("{error}; looking every few seconds instead"))
        .ok()
}
