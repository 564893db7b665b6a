//! The views of all sockets: one thread reads those again that may have changed, and sends what is new.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::web::live::mailbox::{SocketMailbox, Subscriber};
use crate::web::live::tail::{TailCommand, TailSender};
use crate::web::live::topic::ViewTopic;
use crate::web::live::touched::Touched;
use crate::web::live::view::LiveView;
use crate::web::problem::Problem;
use crate::{Error, Result, clock};

/// The time to the next try, and the number of tries, while an answer cannot be had that may be had later.
const TRY_AGAIN: Duration = Duration::from_secs(1);
const MOST_FAILURES: u32 = 10;

/// With more views than this the thread pauses after each reading as long as it took: they may cost half a processor.
const MANY_VIEWS: usize = 32;

const FOREVER: Duration = Duration::from_secs(3600);

/// Gives the JSON of an answer, as a client may see it whose token belongs to this tenant.
pub(crate) type Answers = Box<dyn Fn(&ViewTopic, Option<&str>) -> Result<Vec<u8>, Problem> + Send>;

pub(crate) enum ViewsCommand {
    Subscribe {
        subscriber: Subscriber,
        topic: ViewTopic,
        tenant: Option<String>,
    },
    /// A full mailbox has room again.
    Room(Arc<SocketMailbox>),
    /// Subscriptions have ended.
    Ended,
    /// The file has changed.
    Touched(Touched),
    Stop,
}

/// The thread's own.
struct LiveViews {
    answers: Answers,
    commands: Receiver<ViewsCommand>,
    tail: TailSender,
    views: Vec<LiveView>,
    are_watched: bool,
    is_stopped: bool,
}

/// Where commands for the views are put.
pub(crate) fn channel() -> (Sender<ViewsCommand>, Receiver<ViewsCommand>) {
    crossbeam_channel::bounded(1024)
}

/// Starts the thread.
pub(crate) fn start(
    answers: Answers,
    commands: Receiver<ViewsCommand>,
    tail: TailSender,
) -> Result<JoinHandle<()>> {
    let mut views = LiveViews {
        answers,
        commands,
        tail,
        views: Vec::new(),
        are_watched: false,
        is_stopped: false,
    };
    thread::Builder::new()
        .name("jobq-live-views".to_owned())
        .spawn(move || views.run())
        .map_err(|error| Error::no_thread("that reads what live views show", error))
}

impl LiveViews {
    fn run(&mut self) {
        while !self.is_stopped {
            self.sleep();
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command);
            }
            self.tell_tail();
            self.read_next();
        }
    }

    /// Until there is a command, or a view is due.
    fn sleep(&mut self) {
        let due = self.views.iter().filter_map(LiveView::due_at).min();
        let wait = due.map_or(FOREVER, |due| {
            due.saturating_duration_since(clock::instant())
        });
        match self.commands.recv_timeout(wait) {
            Ok(command) => self.obey(command),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.is_stopped = true,
        }
    }

    fn obey(&mut self, command: ViewsCommand) {
        match command {
            ViewsCommand::Subscribe {
                subscriber,
                topic,
                tenant,
            } => self.subscribe(subscriber, topic, tenant),
            ViewsCommand::Room(mailbox) => self.each(|view| view.has_room(&mailbox)),
            ViewsCommand::Ended => self.views.retain_mut(LiveView::is_watched),
            ViewsCommand::Touched(touched) => {
                self.views.iter_mut().for_each(|view| view.touch(&touched));
            }
            ViewsCommand::Stop => self.is_stopped = true,
        }
    }

    fn subscribe(&mut self, subscriber: Subscriber, topic: ViewTopic, tenant: Option<String>) {
        let is_same = |view: &LiveView| view.topic == topic && view.tenant == tenant;
        let at = self.views.iter().position(is_same).unwrap_or_else(|| {
            self.views.push(LiveView::new(topic, tenant));
            self.views.len() - 1
        });
        let watched = self.views[at].watch(subscriber);
        self.end_if_unreadable(at, watched);
    }

    fn each(&mut self, mut act: impl FnMut(&mut LiveView) -> serde_json::Result<()>) {
        for at in (0..self.views.len()).rev() {
            let done = act(&mut self.views[at]);
            self.end_if_unreadable(at, done);
        }
    }

    /// The tail watches the file as long as there are views.
    fn tell_tail(&mut self) {
        let are_watched = !self.views.is_empty();
        if are_watched != self.are_watched {
            self.are_watched = are_watched;
            self.tail.send(TailCommand::Views { are_watched });
        }
    }

    /// Reads the view that has been due for the longest time, if one is.
    fn read_next(&mut self) {
        let begun = clock::instant();
        let due = self.views.iter().enumerate();
        let due = due.filter_map(|(at, view)| view.due_at().map(|due| (due, at)));
        let Some((_, at)) = due.filter(|(due, _)| *due <= begun).min() else {
            return;
        };
        let view = &mut self.views[at];
        if !view.is_watched() {
            self.views.remove(at);
            return;
        }
        match (self.answers)(&view.topic, view.tenant.as_deref()) {
            Ok(body) => {
                let shown = view.show(&body, begun);
                self.end_if_unreadable(at, shown);
            }
            Err(problem) if problem.status() >= 500 && view.failures < MOST_FAILURES => {
                view.try_again_after(TRY_AGAIN);
            }
            Err(problem) => self.end(at, &problem),
        }
        if self.views.len() > MANY_VIEWS {
            thread::sleep(clock::instant().saturating_duration_since(begun));
        }
    }

    fn end_if_unreadable(&mut self, at: usize, result: serde_json::Result<()>) {
        if let Err(error) = result {
            self.end(at, &Problem::new("internal", error.to_string()));
        }
    }

    fn end(&mut self, at: usize, problem: &Problem) {
        self.views[at].fail(problem);
        self.views.remove(at);
    }
}
