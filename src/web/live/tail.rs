//! The tail of the history: one thread waits for changes of the file, finds out what they concern, and sends to each
//! stream what is new. While nobody listens it sleeps, and the file is not watched.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::doorbell::Wake;
use crate::web::live::history::History;
use crate::web::live::mailbox::{SocketMailbox, Subscriber};
use crate::web::live::stream::{HistoryStream, ReadingKey};
use crate::web::live::topic::StreamTopic;
use crate::web::live::touched::Touched;
use crate::web::live::views::ViewsCommand;
use crate::web::problem::Problem;
use crate::{Changes, Error, EventId, EventPage, Result, clock};

/// The number of events that are looked through at once.
const LOOK_THROUGH: usize = 5_000;

/// The number of readings of a turn that are kept for streams that read the same.
const SHARED_READINGS: usize = 4;

/// After a turn it rests nine times as long, so that it takes a tenth of a processor at most, and no frame is late.
const REST_FACTOR: u32 = 9;
const LONGEST_REST: Duration = Duration::from_millis(40);

/// How long one wait for a change lasts; another follows.
const WAIT: Duration = Duration::from_secs(3600);

/// When events that the views did not take are offered again.
const OFFER_AGAIN: Duration = Duration::from_millis(20);

/// Sockets that are closed have ended after this long.
const AFTER_LOSS: Duration = Duration::from_millis(500);

pub(crate) enum TailCommand {
    Subscribe {
        subscriber: Subscriber,
        topic: StreamTopic,
        tenant: Option<String>,
    },
    /// A full mailbox has room again.
    Room(Arc<SocketMailbox>),
    /// Subscriptions have ended.
    Ended,
    /// Whether there are views that are to be told of changes.
    Views {
        are_watched: bool,
    },
    Stop,
}

/// Where commands for the tail are put.
#[derive(Clone)]
pub(crate) struct TailSender {
    commands: Sender<TailCommand>,
    bell: Arc<Wake>,
}

impl TailSender {
    pub(crate) fn send(&self, command: TailCommand) {
        // A tail that has ended serves nobody.
        let _has_ended = self.commands.send(command);
        self.bell.ring();
    }
}

/// The thread's own.
pub(crate) struct FeedTail {
    history: History,
    commands: Receiver<TailCommand>,
    bell: Arc<Wake>,
    views: Sender<ViewsCommand>,
    are_views_watched: bool,
    streams: Vec<HistoryStream>,
    watch: Option<Watch>,
    /// What the views have not been told of.
    untold: Option<Touched>,
    is_stopped: bool,
    /// Called when the file cannot be read any more: every socket is closed.
    lost: Box<dyn Fn(&Error) + Send>,
}

/// The file is watched, and its history was looked through up to a position.
struct Watch {
    changes: Changes,
    position: EventId,
}

/// Starts the thread.
pub(crate) fn start(
    history: History,
    views: Sender<ViewsCommand>,
    lost: Box<dyn Fn(&Error) + Send>,
) -> Result<(TailSender, JoinHandle<()>)> {
    let (sender, commands) = crossbeam_channel::bounded(1024);
    let failed = |error| {
        Error::io(
            "the thread that follows the history cannot be started",
            error,
        )
    };
    let bell = Arc::new(Wake::new().map_err(failed)?);
    let mut tail = FeedTail {
        history,
        commands,
        bell: Arc::clone(&bell),
        views,
        are_views_watched: false,
        streams: Vec::new(),
        watch: None,
        untold: None,
        is_stopped: false,
        lost,
    };
    let thread = thread::Builder::new()
        .name("jobq-live-tail".to_owned())
        .spawn(move || tail.run())
        .map_err(failed)?;
    let sender = TailSender {
        commands: sender,
        bell,
    };
    Ok((sender, thread))
}

impl FeedTail {
    fn run(&mut self) {
        while !self.is_stopped {
            if let Err(error) = self.turn() {
                (self.lost)(&error);
                self.watch = None;
                self.streams.clear();
                thread::sleep(AFTER_LOSS);
            }
        }
    }

    /// Waits for something to do, and does it.
    fn turn(&mut self) -> Result<()> {
        let has_changed = match &mut self.watch {
            None => {
                self.sleep_on_commands();
                false
            }
            Some(watch) => {
                let wait = match self.streams.iter().any(HistoryStream::is_ready) {
                    true => Duration::ZERO,
                    false if self.untold.is_some() => OFFER_AGAIN,
                    false => WAIT,
                };
                watch.changes.wait_or_rung(wait, &self.bell)?
            }
        };
        let begun = clock::instant();
        self.bell.reset();
        while let Ok(command) = self.commands.try_recv() {
            self.obey(command)?;
        }
        if self.is_stopped {
            return Ok(());
        }
        self.watch_or_not()?;
        if has_changed {
            self.look_through()?;
        }
        self.tell_views();
        self.deliver()?;
        self.rest(begun);
        Ok(())
    }

    /// Without a watch there is nothing else to wait for.
    fn sleep_on_commands(&mut self) {
        if let Ok(command) = self.commands.recv()
            && self.obey(command).is_err()
        {
            self.is_stopped = true;
        }
    }

    fn obey(&mut self, command: TailCommand) -> Result<()> {
        match command {
            TailCommand::Subscribe {
                subscriber,
                topic,
                tenant,
            } => self.subscribe(subscriber, topic, tenant)?,
            TailCommand::Room(mailbox) => {
                for stream in &mut self.streams {
                    stream.has_room(&mailbox);
                }
            }
            TailCommand::Ended => self.streams.retain(|stream| !stream.is_gone()),
            TailCommand::Views { are_watched } => self.are_views_watched = are_watched,
            TailCommand::Stop => self.is_stopped = true,
        }
        Ok(())
    }

    fn subscribe(
        &mut self,
        subscriber: Subscriber,
        topic: StreamTopic,
        tenant: Option<String>,
    ) -> Result<()> {
        if let Some(id) = topic.job
            && !self.history.has_job(id, tenant.as_deref())?
        {
            subscriber.fail(&Problem::no_job(id));
            return Ok(());
        }
        let last = self.history.last_event()?;
        let stream = HistoryStream::new(subscriber, topic, (tenant, last));
        self.streams.push(stream);
        Ok(())
    }

    /// The file is watched as long as somebody listens.
    fn watch_or_not(&mut self) -> Result<()> {
        let is_needed = self.are_views_watched || !self.streams.is_empty();
        if !is_needed {
            self.watch = None;
            self.untold = None;
        } else if self.watch.is_none() {
            // The position after the watch: what comes in between is then both announced and looked through.
            let changes = self.history.changes()?;
            let position = self.history.last_event()?;
            self.watch = Some(Watch { changes, position });
            self.touch(Touched::everything());
        }
        Ok(())
    }

    /// Finds out what the new events concern.
    fn look_through(&mut self) -> Result<()> {
        let Some(watch) = &mut self.watch else {
            return Ok(());
        };
        let mut touched = Touched::default();
        let before = watch.position;
        loop {
            let page = self.history.feed(watch.position, LOOK_THROUGH)?;
            touched.add(&page.events);
            watch.position = page.next;
            if page.at_end {
                break;
            }
            if touched.is_everything() {
                watch.position = self.history.last_event()?;
                break;
            }
        }
        if watch.position == before {
            touched = Touched::everything();
        }
        self.touch(touched);
        Ok(())
    }

    fn touch(&mut self, touched: Touched) {
        for stream in &mut self.streams {
            stream.touch(&touched);
        }
        if self.are_views_watched {
            match &mut self.untold {
                Some(untold) => untold.merge(touched),
                untold => *untold = Some(touched),
            }
        }
    }

    /// Never waits for the views: they may be in a long reading.
    fn tell_views(&mut self) {
        if let Some(touched) = self.untold.take() {
            let told = self.views.try_send(ViewsCommand::Touched(touched));
            if let Err(TrySendError::Full(ViewsCommand::Touched(touched))) = told {
                self.untold = Some(touched);
            }
        }
    }

    /// A page for each stream that has something to read; streams at the same position share it.
    fn deliver(&mut self) -> Result<()> {
        let mut readings: Vec<(ReadingKey, EventPage)> = Vec::new();
        for stream in self.streams.iter_mut().filter(|stream| stream.is_ready()) {
            let key = stream.key();
            let at = match readings.iter().position(|(known, _)| *known == key) {
                Some(at) => at,
                None => {
                    if readings.len() == SHARED_READINGS {
                        readings.remove(0);
                    }
                    readings.push((key, self.history.events(stream.filter())?));
                    readings.len() - 1
                }
            };
            stream.deliver(&readings[at].1);
        }
        Ok(())
    }

    fn rest(&self, begun: Instant) {
        let took = clock::instant().saturating_duration_since(begun);
        thread::sleep((took * REST_FACTOR).min(LONGEST_REST));
    }
}
