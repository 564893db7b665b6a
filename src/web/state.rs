//! What all connections of a server share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::api::job_request::JobRequest;
use crate::web::access::{ReadAccess, ReadSide, WriteAccess, WriteSide};
use crate::web::auth::{Grant, TokenRights, Tokens};
use crate::web::bulk::BulkChanges;
use crate::web::live::service::LiveService;
use crate::web::origin::HostNames;
use crate::web::problem::Problem;
use crate::{NewJob, Result};

/// Makes a job of what a client asks for.
pub(crate) type JobMaker = Arc<dyn Fn(JobRequest) -> Result<NewJob> + Send + Sync>;

/// Whether commands are taken over HTTP: they are code that is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Commands {
    #[default]
    Refused,
    Allowed,
}

/// What all connections of a server share.
pub(crate) struct ServerState {
    pub(crate) reads: ReadSide,
    /// None in a server that only reads.
    pub(crate) writes: Option<WriteSide>,
    pub(crate) tokens: Tokens,
    pub(crate) hosts: HostNames,
    pub(crate) commands: Commands,
    pub(crate) make_job: JobMaker,
    pub(crate) bulks: Arc<BulkChanges>,
    pub(crate) live: LiveService,
    stopped: AtomicBool,
}

/// The parts of a [`ServerState`].
pub(crate) struct StateParts {
    pub(crate) reads: ReadSide,
    pub(crate) writes: Option<WriteSide>,
    pub(crate) tokens: Tokens,
    pub(crate) hosts: HostNames,
    pub(crate) commands: Commands,
    pub(crate) make_job: JobMaker,
    pub(crate) bulks: Arc<BulkChanges>,
    pub(crate) live: LiveService,
}

impl ServerState {
    pub(crate) fn new(parts: StateParts) -> ServerState {
        ServerState {
            reads: parts.reads,
            writes: parts.writes,
            tokens: parts.tokens,
            hosts: parts.hosts,
            commands: parts.commands,
            make_job: parts.make_job,
            bulks: parts.bulks,
            live: parts.live,
            stopped: AtomicBool::new(false),
        }
    }

    /// What a client may read.
    pub(crate) fn reader(&self, grant: &Grant) -> ReadAccess {
        self.reads.of(grant)
    }

    /// What a client may change.
    ///
    /// # Errors
    /// The server only reads, or the token is only for reading.
    pub(crate) fn writer(&self, grant: &Grant) -> Result<WriteAccess, Problem> {
        let Some(writes) = &self.writes else {
            return Err(Problem::new("read-only", "this server only shows the file")
                .with_hint("start `jobq serve` without --read-only to change it"));
        };
        match grant.rights {
            TokenRights::Change => Ok(writes.of(grant)),
            TokenRights::Read => Err(Problem::new("read-only", "this token is for reading only")),
        }
    }

    /// Whether this client may change anything.
    pub(crate) fn is_read_only(&self, grant: &Grant) -> bool {
        self.writer(grant).is_err()
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.live.stop();
    }

    /// Whether the server is stopping: what goes on without an end asks.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}
