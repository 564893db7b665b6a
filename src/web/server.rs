//! The server as a program starts it.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::api::job_request::JobRequest;
use crate::web::acceptor::{Acceptor, ReturnQueue};
use crate::web::access::{ReadSide, WriteSide};
use crate::web::auth::{Tokens, new_token};
use crate::web::bulk::BulkChanges;
use crate::web::listen::{ListenAddress, ServerSocket};
use crate::web::live::answers;
use crate::web::live::service::LiveService;
use crate::web::origin::HostNames;
use crate::web::request_slots::RequestSlots;
use crate::web::state::{Commands, JobMaker, ServerState, StateParts};
use crate::{Error, NewJob, Queue, Result};

/// Where a server listens unless it is told otherwise.
const USUAL_ADDRESS: &str = "127.0.0.1:8787";

/// How long a stop waits for requests that are being answered.
const STOP_PATIENCE: Duration = Duration::from_millis(800);

/// The browser page and the HTTP API of a queue, as `jobq serve` has them.
///
/// It listens on this machine only, and a client needs the token: [`ServerHandle::url`] has it.
///
/// ```
/// use jobq::Queue;
/// use jobq::web::Server;
///
/// # let folder = tempfile::tempdir()?;
/// let queue = Queue::open(folder.path().join("jobs.db"))?;
/// let server = Server::new(queue).listen("127.0.0.1:0".parse()?).read_only().start()?;
/// println!("open {}", server.url());
/// server.stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct Server {
    queue: Queue,
    address: Option<ListenAddress>,
    tokens: TokenSource,
    is_read_only: bool,
    is_remote_allowed: bool,
    commands: Commands,
    hosts: HostNames,
    /// None: of any kind.
    kinds: Option<Vec<String>>,
    make_job: JobMaker,
}

enum TokenSource {
    New,
    Given(String),
    File(PathBuf),
    NotNeeded,
}

impl Server {
    /// Of this queue, at 127.0.0.1:8787, with a new token.
    pub fn new(queue: Queue) -> Server {
        Server {
            queue,
            address: None,
            tokens: TokenSource::New,
            is_read_only: false,
            is_remote_allowed: false,
            commands: Commands::Refused,
            hosts: HostNames::default(),
            kinds: None,
            make_job: Arc::new(JobRequest::into_job),
        }
    }

    /// Listens here.
    pub fn listen(mut self, address: ListenAddress) -> Server {
        self.address = Some(address);
        self
    }

    /// A token in place of a new one.
    pub fn token(mut self, token: impl Into<String>) -> Server {
        self.tokens = TokenSource::Given(token.into());
        self
    }

    /// The tokens of a file: a line each, `TOKEN` or `TOKEN tenant=acme read-only`. A token with a tenant sees and
    /// changes jobs of that tenant only. In the file the unique and concurrency keys that come by it begin with the
    /// tenant's name, so that they reach no job of another: `acme:KEY`.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Server {
        self.tokens = TokenSource::File(path.into());
        self
    }

    /// No token: whoever reaches the address may do all that the server does, each user of this machine.
    pub fn no_token(mut self) -> Server {
        self.tokens = TokenSource::NotNeeded;
        self
    }

    /// Shows the file and changes nothing.
    pub fn read_only(mut self) -> Server {
        self.is_read_only = true;
        self
    }

    /// Takes commands, that is jobs of kind `exec` and commands as hooks: whoever has the token can run any program
    /// as the user of the runner.
    pub fn allow_exec(mut self) -> Server {
        self.commands = Commands::Allowed;
        self
    }

    /// Takes jobs of these kinds only. Usually it takes any, since a runner that is started later may have its handler.
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = impl Into<String>>) -> Server {
        self.kinds = Some(kinds.into_iter().map(Into::into).collect());
        self
    }

    /// Listens on addresses that other machines reach, too; it needs a token file. There is no TLS: put a proxy in
    /// front, or use `ssh -L`.
    pub fn allow_remote(mut self) -> Server {
        self.is_remote_allowed = true;
        self
    }

    /// Answers to this host name as well, as a proxy in front may have it.
    pub fn allow_host(mut self, name: &str) -> Server {
        self.hosts.allow(name);
        self
    }

    /// Makes jobs of requests in another way: with the defaults of a config file.
    #[doc(hidden)]
    pub fn make_jobs_with(
        mut self,
        make: impl Fn(JobRequest) -> Result<NewJob> + Send + Sync + 'static,
    ) -> Server {
        self.make_job = Arc::new(make);
        self
    }

    /// Starts it. When this returns it listens.
    ///
    /// # Errors
    /// The address is taken or not allowed, the token file cannot be read, or no thread can be started.
    pub fn start(self) -> Result<ServerHandle> {
        let address = match &self.address {
            Some(address) => address.clone(),
            None => USUAL_ADDRESS.parse()?,
        };
        self.check_remote(&address)?;
        let (tokens, token) = match &self.tokens {
            TokenSource::New => {
                let token = new_token()?;
                (Tokens::one(token.clone()), Some(token))
            }
            TokenSource::Given(token) => (Tokens::one(token.clone()), Some(token.clone())),
            TokenSource::File(path) => (Tokens::read(path)?, None),
            TokenSource::NotNeeded => (Tokens::not_needed(), None),
        };
        let writes = (!self.is_read_only).then(|| WriteSide::new(self.queue.clone()));
        let reads = ReadSide::new(self.queue);
        let bulks = Arc::<BulkChanges>::default();
        let answers = answers::from_file(reads.clone(), Arc::clone(&bulks));
        let state = Arc::new(ServerState::new(StateParts {
            live: LiveService::start(reads.history(), answers)?,
            bulks,
            reads,
            writes,
            tokens,
            hosts: self.hosts,
            commands: self.commands,
            make_job: of_kinds(self.kinds, self.make_job),
        }));
        let socket = ServerSocket::bind(&address)?;
        let io = |error| Error::io("the server cannot be started", error);
        let address = socket.address().map_err(io)?;
        let (returns, slots) = (ReturnQueue::new().map_err(io)?, RequestSlots::default());
        let acceptor = Acceptor::new(socket, Arc::clone(&state), (returns.clone(), slots.clone()));
        let thread = thread::Builder::new()
            .name("jobq-web-accept".to_owned())
            .spawn(move || acceptor.run())
            .map_err(|error| Error::no_thread("server's", error))?;
        Ok(ServerHandle {
            url: url(&address, token.as_deref()),
            address,
            token,
            state,
            returns,
            slots,
            thread: Mutex::new(Some(thread)),
        })
    }

    fn check_remote(&self, address: &ListenAddress) -> Result<()> {
        if !address.is_remote() {
            return Ok(());
        }
        if !self.is_remote_allowed {
            return Err(Error::invalid(format!("{address} can be reached from other machines"))
                .with_hint("listen on 127.0.0.1 and use `ssh -L 8787:127.0.0.1:8787 HOST`, or give --allow-remote and a --token-file"));
        }
        match self.tokens {
            TokenSource::File(_) => Ok(()),
            _ => Err(
                Error::invalid("a server that other machines reach needs a token file")
                    .with_hint("--token-file FILE, with a line for each token"),
            ),
        }
    }
}

/// Makes jobs as `make` does, and refuses those of other kinds.
fn of_kinds(kinds: Option<Vec<String>>, make: JobMaker) -> JobMaker {
    let Some(kinds) = kinds else { return make };
    Arc::new(move |request| {
        let job = make(request)?;
        match kinds.iter().any(|kind| kind == job.kind()) {
            true => Ok(job),
            false => Err(Error::invalid(format!(
                "this server takes no jobs of kind '{}'",
                job.kind()
            ))
            .with_hint(format!("the kinds are {}", kinds.join(", ")))),
        }
    })
}

fn url(address: &ListenAddress, token: Option<&str>) -> String {
    let base = match address {
        ListenAddress::Tcp(socket) => format!("http://{socket}/"),
        ListenAddress::Unix(path) => format!("unix:{}", path.display()),
    };
    match token {
        Some(token) => format!("{base}#token={token}"),
        None => base,
    }
}

/// A server that is running. It ends with [`ServerHandle::stop`], or when this is dropped.
pub struct ServerHandle {
    url: String,
    address: ListenAddress,
    token: Option<String>,
    state: Arc<ServerState>,
    returns: ReturnQueue,
    slots: RequestSlots,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl ServerHandle {
    /// The address of the page, with the token where there is one for all.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// The token, where there is one for all.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Stops it: nothing more is accepted, and requests that are being answered get most of a second to end.
    pub fn stop(&self) {
        self.state.stop();
        self.returns.wake();
        self.wait();
        self.slots.wait_until_idle(STOP_PATIENCE);
    }

    /// Waits until it has been stopped by another thread.
    pub fn wait(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // If it has panicked, it has ended as well.
            let _ = thread.join();
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
