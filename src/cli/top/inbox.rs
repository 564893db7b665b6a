//! The threads that wait: for keys, for changes of the file, for signals, for reads and for writes. Each sends what it
//! learns to the one that draws.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use ratatui::crossterm::event::{Event, read};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;

use crate::cli::clock::instant;
use crate::cli::exit::CliError;
use crate::cli::signals::is_ignored;
use crate::cli::top::action::{ChangeReport, FileChange};
use crate::cli::top::app::{LoadedView, Msg};
use crate::cli::top::data::ReadRequest;
use crate::cli::top::loader::LiveFile;
use crate::cli::top::terminal::give_back_modes;

/// What the one that draws gets.
#[derive(Debug)]
pub(crate) enum Arrival {
    Msg(Msg),
    Signal(i32),
    /// No more keys: the terminal has gone.
    Hangup,
    /// A thread has ended by a panic.
    Panicked,
}

/// The sending ends of the threads that work, and what comes back from all.
pub(crate) struct Threads {
    pub(crate) arrivals: Receiver<Arrival>,
    pub(crate) reads: Sender<ReadRequest>,
    pub(crate) changes: Sender<FileChange>,
}

/// Between two announcements of changes: more often nothing is drawn.
const REST: Duration = Duration::from_millis(100);

/// How long one wait for a change lasts; another follows.
const WAIT: Duration = Duration::from_secs(3600);

/// A terminal that has been written to for so long takes nothing.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// After an error of the watch.
const RETRY: Duration = Duration::from_secs(2);

impl Threads {
    pub(crate) fn start(source: &Arc<LiveFile>) -> io::Result<Threads> {
        let (sender, arrivals) = channel();
        // Before anything is drawn: a signal from here on gives the terminal back.
        let signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT])?;
        start("jobq-signals", &sender, move |sender| {
            wait_for_signals(signals, sender)
        })?;
        start("jobq-keys", &sender, wait_for_keys)?;
        start("jobq-hangup", &sender, wait_for_hangup)?;
        let watched = Arc::clone(source);
        start("jobq-changes", &sender, move |sender| {
            watch(&watched, sender)
        })?;
        let (reads, requests) = channel();
        let read_from = Arc::clone(source);
        start("jobq-reads", &sender, move |sender| {
            load(&read_from, &requests, sender)
        })?;
        let (changes, wanted) = channel();
        let changed = Arc::clone(source);
        start("jobq-writes", &sender, move |sender| {
            change(&changed, &wanted, sender)
        })?;
        Ok(Threads {
            arrivals,
            reads,
            changes,
        })
    }
}

/// The thread ends with the process, or when nobody listens any more.
fn start(
    name: &str,
    sender: &Sender<Arrival>,
    work: impl FnOnce(&Sender<Arrival>) + Send + 'static,
) -> io::Result<()> {
    let sender = sender.clone();
    let run = move || {
        let _told = TellsPanic(&sender);
        work(&sender);
    };
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map(|_| ())
}

/// Tells the one that draws when its thread panics: it has given the terminal back.
struct TellsPanic<'a>(&'a Sender<Arrival>);

impl Drop for TellsPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.send(Arrival::Panicked);
        }
    }
}

fn wait_for_signals(mut signals: Signals, sender: &Sender<Arrival>) {
    for signal in signals.forever() {
        if sender.send(Arrival::Signal(signal)).is_err() {
            return;
        }
        let ends = ![SIGTSTP, SIGCONT].contains(&signal) && !is_ignored(signal);
        if ends {
            // The one that draws ends the process, unless its terminal takes nothing any more.
            thread::sleep(STALLED_AFTER);
            give_back_modes();
            std::process::exit(128 + signal);
        }
    }
}

fn wait_for_keys(sender: &Sender<Arrival>) {
    loop {
        let arrival = match read() {
            Ok(Event::Key(key)) => Arrival::Msg(Msg::Key(key)),
            Ok(Event::Resize(width, height)) => Arrival::Msg(Msg::Resize(width, height)),
            Ok(_) => continue,
            Err(_) => Arrival::Hangup,
        };
        let is_last = matches!(arrival, Arrival::Hangup);
        if sender.send(arrival).is_err() || is_last {
            return;
        }
    }
}

/// The reader of keys does not notice that its terminal has gone.
fn wait_for_hangup(sender: &Sender<Arrival>) {
    let stdin = io::stdin();
    loop {
        let mut fds = [PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::empty())];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => {}
            Ok(_) if fds[0].revents().is_empty() => {}
            Ok(_) | Err(_) => {
                let _ = sender.send(Arrival::Hangup);
                return;
            }
        }
    }
}

fn watch(source: &LiveFile, sender: &Sender<Arrival>) {
    loop {
        let ended = watch_file(source, sender);
        let Err(error) = ended else { return };
        // A file that has taken its place is opened by the next read, which this asks for.
        let told = Msg::Trouble(CliError::from(error).message());
        if sender.send(Arrival::Msg(told)).is_err() {
            return;
        }
        thread::sleep(RETRY);
        if sender.send(Arrival::Msg(Msg::FileChanged)).is_err() {
            return;
        }
    }
}

/// Until nobody listens any more.
fn watch_file(source: &LiveFile, sender: &Sender<Arrival>) -> jobq::Result<()> {
    let mut changes = source.queue().changes()?;
    loop {
        if changes.wait(WAIT)? && sender.send(Arrival::Msg(Msg::FileChanged)).is_err() {
            return Ok(());
        }
        thread::sleep(REST);
    }
}

fn load(source: &LiveFile, requests: &Receiver<ReadRequest>, sender: &Sender<Arrival>) {
    while let Ok(request) = requests.recv() {
        let began = instant();
        let answer = source.read(&request).map_err(|error| error.message());
        let loaded = LoadedView {
            request,
            answer,
            took: began.elapsed(),
        };
        if sender
            .send(Arrival::Msg(Msg::Loaded(Box::new(loaded))))
            .is_err()
        {
            return;
        }
    }
}

fn change(source: &LiveFile, wanted: &Receiver<FileChange>, sender: &Sender<Arrival>) {
    while let Ok(change) = wanted.recv() {
        let progress = |report: ChangeReport| {
            let _ = sender.send(Arrival::Msg(Msg::Changed(report)));
        };
        let report = change.perform(&source.queue(), &progress);
        if sender.send(Arrival::Msg(Msg::Changed(report))).is_err() {
            return;
        }
    }
}
