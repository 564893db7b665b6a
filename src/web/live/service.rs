//! The live service of a server: its two threads, and its sockets.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender;
use serde::Serialize;

use crate::web::live::history::History;
use crate::web::live::mailbox::{ServerClose, SocketMailbox, Subscriber};
use crate::web::live::socket::{Authorise, LiveGrant, LiveSocket};
use crate::web::live::tail::{self, TailCommand, TailSender};
use crate::web::live::topic::LiveTopic;
use crate::web::live::views::{self, Answers, ViewsCommand};
use crate::{EventId, Result};

/// Maximum number of sockets of a server.
const MOST_SOCKETS: usize = 64;

/// How long a stop waits for clients to confirm that their sockets are closed.
const CLOSED_WITHIN: Duration = Duration::from_millis(600);

/// Started once; stopped any number of times, and stopped when `stop` returns.
pub(crate) struct LiveService {
    history: History,
    tail: TailSender,
    views: Sender<ViewsCommand>,
    sockets: Arc<LiveSockets>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The mailboxes of the sockets that are open; none are taken any more once it is stopped.
#[derive(Default)]
struct LiveSockets {
    list: Mutex<SocketList>,
    has_left: Condvar,
}

#[derive(Default)]
struct SocketList {
    mailboxes: Vec<Arc<SocketMailbox>>,
    is_stopped: bool,
}

impl LiveService {
    pub(crate) fn start(history: History, answers: Answers) -> Result<LiveService> {
        let sockets = Arc::<LiveSockets>::default();
        let (views, commands) = views::channel();
        let to_close = Arc::clone(&sockets);
        let lost = move |error: &crate::Error| {
            log::warn!("live views are cut off: {error}");
            to_close.close(ServerClose::Database);
        };
        let (tail, tail_thread) = tail::start(history.clone(), views.clone(), Box::new(lost))?;
        let views_thread = views::start(answers, commands, tail.clone())
            .inspect_err(|_| tail.send(TailCommand::Stop))?;
        Ok(LiveService {
            history,
            tail,
            views,
            sockets,
            threads: Mutex::new(vec![tail_thread, views_thread]),
        })
    }

    /// Keeps a place for a socket; none if there are too many or the server stops.
    pub(crate) fn enter(&self) -> Result<Option<SocketPlace<'_>>> {
        let mailbox = Arc::new(SocketMailbox::new()?);
        let mut sockets = self.sockets.list();
        if sockets.is_stopped || sockets.mailboxes.len() >= MOST_SOCKETS {
            return Ok(None);
        }
        sockets.mailboxes.push(Arc::clone(&mailbox));
        Ok(Some(SocketPlace {
            service: self,
            mailbox,
        }))
    }

    /// Closes all sockets and ends the threads.
    pub(crate) fn stop(&self) {
        self.sockets.list().is_stopped = true;
        self.sockets.close(ServerClose::Shutdown);
        self.sockets.wait_until_empty();
        self.tail.send(TailCommand::Stop);
        let _has_ended = self.views.send(ViewsCommand::Stop);
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // One that has panicked has ended, too.
            let _ = thread.join();
        }
    }

    /// The first message to a client.
    pub(crate) fn hello(&self, grant: &LiveGrant) -> Result<String> {
        #[derive(Serialize)]
        struct HelloJson<'a> {
            version: &'static str,
            at: EventId,
            tenant: Option<&'a str>,
            read_only: bool,
        }
        let hello = HelloJson {
            version: env!("CARGO_PKG_VERSION"),
            at: self.history.last_event()?,
            tenant: grant.tenant.as_deref(),
            read_only: grant.read_only,
        };
        let hello = serde_json::to_string(&hello).unwrap_or_default();
        Ok(format!("{{\"hello\":{hello}}}"))
    }

    pub(crate) fn subscribe(
        &self,
        subscriber: Subscriber,
        topic: LiveTopic,
        tenant: Option<String>,
    ) {
        match topic {
            LiveTopic::Stream(topic) => self.tail.send(TailCommand::Subscribe {
                subscriber,
                topic,
                tenant,
            }),
            LiveTopic::View(topic) => self.tell_views(ViewsCommand::Subscribe {
                subscriber,
                topic,
                tenant,
            }),
        }
    }

    pub(crate) fn subscriptions_ended(&self) {
        self.tail.send(TailCommand::Ended);
        self.tell_views(ViewsCommand::Ended);
    }

    /// A full mailbox has been read.
    pub(crate) fn has_room(&self, mailbox: &Arc<SocketMailbox>) {
        self.tail.send(TailCommand::Room(Arc::clone(mailbox)));
        self.tell_views(ViewsCommand::Room(Arc::clone(mailbox)));
    }

    fn tell_views(&self, command: ViewsCommand) {
        // A thread that has ended serves nobody.
        let _has_ended = self.views.send(command);
    }
}

impl Drop for LiveService {
    fn drop(&mut self) {
        self.stop();
    }
}

impl LiveSockets {
    fn list(&self) -> MutexGuard<'_, SocketList> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until all have left, or it has taken too long.
    fn wait_until_empty(&self) {
        let list = self.list();
        let are_there = |list: &mut SocketList| !list.mailboxes.is_empty();
        let waited = self
            .has_left
            .wait_timeout_while(list, CLOSED_WITHIN, are_there);
        drop(waited);
    }

    fn close(&self, why: ServerClose) {
        for mailbox in &self.list().mailboxes {
            mailbox.close(why);
        }
    }
}

/// A place among the sockets, until it is dropped.
pub(crate) struct SocketPlace<'a> {
    service: &'a LiveService,
    mailbox: Arc<SocketMailbox>,
}

impl SocketPlace<'_> {
    /// Serves a connection that was upgraded, until it ends. `leftover` was read from the stream already, which does
    /// not block.
    pub(crate) fn serve<S: Read + Write + AsFd>(
        &self,
        (stream, leftover): (S, Vec<u8>),
        authorise: Authorise<'_>,
    ) {
        let mailbox = Arc::clone(&self.mailbox);
        LiveSocket::new(self.service, (stream, leftover), mailbox).run(authorise);
    }
}

impl Drop for SocketPlace<'_> {
    fn drop(&mut self) {
        self.mailbox.gone();
        let mut sockets = self.service.sockets.list();
        sockets
            .mailboxes
            .retain(|mailbox| !Arc::ptr_eq(mailbox, &self.mailbox));
        drop(sockets);
        self.service.sockets.has_left.notify_all();
        self.service.subscriptions_ended();
    }
}
