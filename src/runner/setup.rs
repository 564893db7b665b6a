//! Putting a dispatcher together: registering, watching the file, starting the workers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::agenda::Agenda;
use super::ahead::Pace;
use super::aside::Aside;
use super::builder::{RunnerBuilder, Until};
use super::dispatcher::{Dispatcher, Settings};
use super::handle::Signals;
use super::liveness::{Observer, OwnLock};
use super::pool::{Pool, Shared};
use super::registration::{self, Identity};
use super::scarcity::Scarcity;
use super::shutdown::Phase;
use crate::queue::Queue;
use crate::store::Store;
use crate::store::change::FileWatch;
use crate::store::fire;
use crate::store::room::Bounds;
use crate::store::seat::SeatLease;
use crate::store::shares::Shares;
use crate::{Result, clock};

impl Settings {
    pub(crate) fn of(builder: RunnerBuilder) -> Settings {
        Settings {
            queues: builder.queues,
            unknown_kinds: builder.unknown_kinds,
            until: builder.until,
            default_timeout: builder.default_timeout,
            retention: builder.retention,
            kind_retention: builder.kind_retention,
            pulse: builder.pulse,
            batch: builder.batch,
            bounds: Bounds::of(&builder.queue.limits),
            registry: Arc::new(builder.registry),
        }
    }
}

impl Dispatcher {
    pub(crate) fn new(
        builder: RunnerBuilder,
        mut lease: SeatLease,
        signals: Arc<Signals>,
    ) -> Result<Dispatcher> {
        let store = Arc::clone(&builder.queue.store);
        match Dispatcher::prepare(builder, &mut lease) {
            Ok(prepared) => Ok(prepared.with(lease, signals)),
            Err(error) => {
                store.seat.give_back(lease);
                Err(error)
            }
        }
    }

    fn prepare(builder: RunnerBuilder, lease: &mut SeatLease) -> Result<Prepared> {
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
    fn with(self, lease: SeatLease, signals: Arc<Signals>) -> Dispatcher {
        let now = clock::instant();
        let agenda = Agenda::new(now, self.settings.pulse.every);
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
            agenda,
            shares: Shares::default(),
            aside: Aside::default(),
            scarcity: Scarcity::default(),
        }
    }
}

/// No reason not to run jobs: another machine may fire them.
fn tell_of_schedules(store: &Store) {
    let unreadable = store
        .reader()
        .and_then(|reader| fire::unreadable_here(&reader));
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
