//! One job of a persistent command: one loop around poll(2), in the worker's thread.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;

use crate::clock;
use crate::doorbell::Wake;
use crate::handlers::exec::capture::{Capture, Stream, Watcher};
use crate::handlers::exec::child::{FEED, LEADER, OUTPUT, Tools, WAKE, poll_all};
use crate::handlers::exec::exit::{CommandEnd, End, FailOn};
use crate::handlers::exec::leader::{DEFAULT_GRACE, Termination};
use crate::handlers::exec::persistent::lines::PrintedPiece;
use crate::handlers::exec::persistent::process::PersistentProcess;
use crate::handlers::exec::persistent::protocol::{MESSAGE_MAX_BYTES, Message, cancel_line};
use crate::model::outcome::{CancelReason, Outcome, Spelled, Usage};
use crate::runner::context::Context;

/// How long a command that is asked to cancel its job may go on before it gets SIGTERM.
const ANSWERS_WITHIN: Duration = Duration::from_millis(500);

/// How long a command that has closed its stdout may live on.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// How a job of a persistent command ended.
pub(super) enum Exchange {
    /// With this outcome, whether or not the command lives on.
    Over(Outcome),
    /// The command ended before it had begun to read the job, or did not begin in time. Says why.
    Unread(String),
}

/// The job that a command is given, and its conditions.
pub(super) struct Assignment<'a> {
    pub(super) ctx: &'a Context,
    /// The line that gives the job to the command.
    pub(super) line: Vec<u8>,
    pub(super) start_timeout: Duration,
    pub(super) output_limit_bytes: usize,
}

struct Conversation<'a> {
    process: &'a mut PersistentProcess,
    ctx: &'a Context,
    capture: Capture,
    wake: Arc<Wake>,
    /// What is to be written to its stdin, and how much of it has been.
    unsent: (Vec<u8>, usize),
    /// It has begun to read the job.
    is_read: bool,
    /// A command that is not ready by then is ended.
    start_by: (Instant, Duration),
    termination: Termination,
    /// Why it is to stop, if it was told before it had ended.
    stop_reason: Option<CancelReason>,
    /// It was asked to cancel the job, and gets SIGTERM then.
    term_at: Option<Instant>,
    /// Its stdout is closed: by then it ends, too.
    end_by: Option<Instant>,
    answer: Option<Outcome>,
    /// A job that it spawned was refused.
    refusal: Option<Outcome>,
    /// What it did that ends the attempt, and the command.
    fault: Option<String>,
    /// Why something that looks like an answer was none.
    no_answer: Option<String>,
}

/// Gives a command a job, and serves it until that has ended. A command that has ended is reaped.
pub(super) fn converse(
    process: &mut PersistentProcess,
    assignment: Assignment<'_>,
    watcher: &mut dyn Watcher,
) -> Exchange {
    let ctx = assignment.ctx;
    let tools = match Tools::take() {
        Ok(tools) => tools,
        Err(error) => {
            let error = format!("cannot wait for a command just now: {error}");
            return Exchange::Over(Outcome::OutOfResources { error });
        }
    };
    process.meter.begin();
    process.jobs += 1;
    let now = clock::instant();
    // It was started with the secrets that this attempt has read.
    let kept = (assignment.output_limit_bytes, &ctx.masked_secrets());
    let mut conversation = Conversation {
        process,
        ctx,
        capture: Capture::new(tools.buffers, kept, now),
        wake: tools.wake,
        unsent: (assignment.line, 0),
        is_read: false,
        start_by: (
            clock::after(now, assignment.start_timeout),
            assignment.start_timeout,
        ),
        termination: Termination::after(DEFAULT_GRACE),
        stop_reason: None,
        term_at: None,
        end_by: None,
        answer: None,
        refusal: None,
        fault: None,
        no_answer: None,
    };
    conversation.write();
    let wake = Arc::clone(&conversation.wake);
    let callback = ctx.cancellation().on_cancel_while(move || wake.ring());
    conversation.follow(watcher);
    drop(callback);
    conversation.finish(watcher)
}

impl Conversation<'_> {
    /// Serves the pipes and the cancellation until the job has ended.
    fn follow(&mut self, watcher: &mut dyn Watcher) {
        while !self.is_over() {
            let ready = self.wait(watcher.is_ready());
            let now = clock::instant();
            if !ready[WAKE].is_empty() {
                self.wake.reset();
            }
            if !ready[FEED].is_empty() {
                self.write();
            }
            for stream in Stream::ALL {
                if !ready[OUTPUT + stream as usize].is_empty() {
                    self.read(stream, now, watcher);
                }
            }
            let leader = &mut self.process.leader;
            let may_have_ended = !ready[LEADER].is_empty() || leader.pidfd.is_none();
            if may_have_ended && !leader.has_ended {
                leader.look();
            }
            if leader.has_ended {
                self.read_rest(now, watcher);
            }
            self.advance(now, &ready);
            self.capture.pass_due(now, watcher);
        }
    }

    fn is_over(&self) -> bool {
        let is_answered = self.answer.is_some() && !self.termination.has_begun();
        is_answered || self.termination.is_over(&self.process.leader)
    }

    fn wait(&mut self, can_take: bool) -> [PollFlags; 5] {
        let timeout = self.timeout(can_take);
        let leader = &self.process.leader;
        let pidfd = leader.pidfd.as_ref().filter(|_| !leader.has_ended);
        let feed = (self.process.stdin.as_ref()).filter(|_| self.unsent.1 < self.unsent.0.len());
        let pipes = self.process.pipes.each_ref().map(Option::as_ref);
        let [stdout, stderr] = pipes.map(|pipe| pipe.filter(|_| can_take));
        let asked = [pidfd, feed, stdout, stderr];
        poll_all(&self.wake, asked.map(|fd| fd.map(AsFd::as_fd)), timeout)
    }

    fn timeout(&mut self, can_take: bool) -> Option<Duration> {
        let start_by = (!self.process.is_ready).then_some(self.start_by.0);
        let moments = [
            self.capture.deadline(),
            self.termination
                .next_look(self.ctx.cancellation().stop_by()),
            start_by,
            self.end_by,
            self.term_at,
        ];
        let moments = moments.iter().flatten();
        let now = clock::instant();
        let wait = moments.min().map(|at| at.saturating_duration_since(now));
        let leader = &self.process.leader;
        let must_look = leader.has_ended || leader.pidfd.is_none() || !can_take;
        let pause = must_look.then(|| self.termination.pause());
        wait.into_iter().chain(pause).min()
    }

    fn advance(&mut self, now: Instant, ready: &[PollFlags]) {
        let stop_by = self.ctx.cancellation().stop_by();
        let leader = &mut self.process.leader;
        if self.termination.has_begun() {
            let is_busy = !ready.iter().all(PollFlags::is_empty);
            return self.termination.advance(leader, (now, stop_by), is_busy);
        }
        let reason = self.ctx.cancellation().reason();
        if reason.is_some() && !leader.has_ended {
            // What has ended before it is told to stop has not ended because of it.
            leader.look();
        }
        if leader.has_ended {
            if !leader.is_done && !leader.remains.is_empty() {
                self.termination.begin(leader, now);
            }
            return;
        }
        self.stop_reason = reason;
        self.find_fault(now);
        let must_end = self.fault.is_some()
            || reason.is_some() && !self.ask(now)
            || self.term_at.is_some_and(|at| now >= at);
        if must_end && self.answer.is_none() {
            self.term_at = None;
            self.end_by = None;
            self.termination.begin(&mut self.process.leader, now);
        }
    }

    /// Asks it to cancel the job, if it has read that; false if there is no use in asking.
    fn ask(&mut self, now: Instant) -> bool {
        if self.term_at.is_some() {
            return true;
        }
        if !self.has_begun_to_read() || self.unsent.1 < self.unsent.0.len() {
            return false;
        }
        self.term_at = Some(clock::after(now, ANSWERS_WITHIN));
        self.unsent = (cancel_line(self.ctx.job_id()), 0);
        self.write();
        true
    }

    /// What it lets wait for too long.
    fn find_fault(&mut self, now: Instant) {
        if self.end_by.is_some_and(|by| now >= by) {
            self.fault = Some("it closed its stdout and gave no answer".to_owned());
        }
        if !self.process.is_ready && now >= self.start_by.0 && !self.has_begun_to_read() {
            let within = Spelled(self.start_by.1);
            self.fault = Some(format!("it was not ready within {within}"));
        }
    }

    /// Whether it has begun to read the job.
    fn has_begun_to_read(&mut self) -> bool {
        if !self.is_read {
            let pipe = self.process.stdin.as_ref();
            let unread = pipe.and_then(|pipe| rustix::io::ioctl_fionread(pipe).ok());
            let written = self.unsent.1 as u64;
            self.is_read = unread.is_some_and(|unread| unread < written);
            self.process.is_ready |= self.is_read;
        }
        self.is_read
    }

    fn write(&mut self) {
        let (line, sent) = &mut self.unsent;
        let Some(pipe) = &self.process.stdin else {
            return;
        };
        match rustix::io::write(pipe, &line[*sent..]) {
            Ok(count) => *sent += count,
            Err(Errno::AGAIN | Errno::INTR) => {}
            // EPIPE: it reads no more. Either it ends, or it has no more use.
            Err(_) => {
                *sent = line.len();
                self.process.is_spent = true;
            }
        }
    }

    /// One read: a pipe with nothing in it is left alone.
    fn read(&mut self, stream: Stream, now: Instant, watcher: &mut dyn Watcher) {
        let slot = &mut self.process.pipes[stream as usize];
        let Some(pipe) = slot else { return };
        let mut read = [0; 16 * 1024];
        let count = match stream {
            Stream::Stdout => rustix::io::retry_on_intr(|| rustix::io::read(&*pipe, &mut read)),
            Stream::Stderr => {
                let count = self.capture.read(stream, pipe, now, watcher);
                count.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            }
        };
        match (count, stream) {
            (Ok(0), _) => {
                *slot = None;
                if stream == Stream::Stdout {
                    self.end_by = Some(clock::after(now, ENDS_WITHIN));
                }
            }
            (Ok(count), Stream::Stdout) => self.heed(&read[..count], now, watcher),
            (Err(Errno::AGAIN), _) | (Ok(_), Stream::Stderr) => {}
            (Err(_), _) => *slot = None,
        }
    }

    /// Reads what is in the pipes at this moment, and no more.
    fn read_rest(&mut self, now: Instant, watcher: &mut dyn Watcher) {
        for stream in Stream::ALL {
            let pipe = self.process.pipes[stream as usize].as_ref();
            let left = pipe.and_then(|pipe| rustix::io::ioctl_fionread(pipe).ok());
            let mut reads = left.unwrap_or(0).div_ceil(16 * 1024);
            while reads > 0 {
                self.read(stream, now, watcher);
                reads -= 1;
            }
        }
    }

    /// Tells messages from output.
    fn heed(&mut self, read: &[u8], now: Instant, watcher: &mut dyn Watcher) {
        let mut lines = std::mem::take(&mut self.process.lines);
        lines.take(read, |piece| match piece {
            PrintedPiece::Output(bytes) => {
                self.capture
                    .print(Stream::Stdout, bytes, (now, &mut *watcher));
            }
            PrintedPiece::Message(message) => self.obey(*message),
            PrintedPiece::Unreadable(error) => {
                self.no_answer = Some(format!("it printed a message that is none: {error}"));
            }
            PrintedPiece::TooLong => {
                let most = MESSAGE_MAX_BYTES >> 20;
                self.fault = Some(format!("it printed a message of more than {most} MiB"));
            }
        });
        self.process.lines = lines;
    }

    fn obey(&mut self, message: Message) {
        let own = self.ctx.job_id();
        self.process.is_ready = true;
        self.process.is_spent |= message.recycle;
        match message.job {
            Some(job) if job != own => {
                log::warn!("a message about job {job} came while job {own} ran, and was dropped");
            }
            _ if message
                .attempt
                .is_some_and(|attempt| attempt != self.ctx.attempt()) =>
            {
                log::warn!("a message about another attempt of job {own} was dropped");
            }
            None if message.is_answer() => {
                self.no_answer = Some("it printed an answer that names no job".to_owned());
            }
            _ if self.answer.is_some() => {
                log::warn!("a message about job {own} came after its answer, and was dropped");
            }
            _ if message.is_answer() => self.answer = message.apply(self.ctx),
            _ => {
                let refusal = message.apply(self.ctx);
                self.refusal = self.refusal.take().or(refusal);
            }
        }
    }

    fn finish(mut self, watcher: &mut dyn Watcher) -> Exchange {
        let now = clock::instant();
        self.read_rest(now, watcher);
        // What it would get next would be the rest of this line.
        self.process.is_spent |= self.unsent.1 < self.unsent.0.len();
        let has_ended = self.process.leader.has_ended;
        if self.process.lines.holds_message() {
            self.no_answer = Some("it printed an answer without a newline".to_owned());
        }
        if has_ended || self.answer.is_none() {
            let rest = self.process.lines.finish();
            self.capture
                .print(Stream::Stdout, &rest, (now, &mut *watcher));
        }
        let has_begun = self.has_begun_to_read();
        let (last_words, buffers) = self.capture.finish(watcher);
        let wake = Arc::clone(&self.wake);
        Tools { wake, buffers }.put_back();
        let mut usage = Usage::default();
        let mut end = CommandEnd {
            end: End::NotBegun,
            usage: None,
            last_words,
            stop_reason: self.stop_reason,
        };
        if has_ended {
            (end.end, end.usage) = self.process.leader.reap();
            let meter = &mut self.process.meter;
            usage.cpu_ms = end.usage.map(|used| meter.until(used.cpu_ms));
            usage.max_rss_bytes = end.usage.map(|used| used.max_rss_bytes);
        } else {
            usage = self.process.meter.end();
        }
        if let Some(answer) = self.answer {
            self.ctx.record_usage(usage);
            return Exchange::Over(match answer {
                Outcome::Done(_) => self.refusal.unwrap_or(answer),
                answer => answer,
            });
        }
        usage.exit_code = end.exit_code();
        self.ctx.record_usage(usage);
        without_answer(&end, has_begun, (self.fault, self.no_answer))
    }
}

/// What it means that a command has ended without an answer.
fn without_answer(
    end: &CommandEnd,
    has_begun: bool,
    (fault, no_answer): (Option<String>, Option<String>),
) -> Exchange {
    let retry = |error| Exchange::Over(Outcome::Retry { error, after: None });
    match (fault, end.stop_reason) {
        (_, Some(CancelReason::Timeout)) if no_answer.is_some() => {
            retry(no_answer.unwrap_or_default())
        }
        (_, Some(CancelReason::Timeout)) if !has_begun => {
            let error = "it was not ready when the job's timeout was over";
            Exchange::Unread(end.with_last_words(error.to_owned()))
        }
        (_, Some(_)) => Exchange::Over(Outcome::Cancelled),
        (Some(fault), None) if !has_begun => Exchange::Unread(end.with_last_words(fault)),
        (Some(fault), None) => retry(fault),
        (None, None) if !has_begun => Exchange::Unread(end.described()),
        (None, None) if end.end == End::Exited(0) => {
            let because = no_answer.map_or_else(String::new, |why| format!(": {why}"));
            retry(end.with_last_words(format!("it ended without an answer{because}")))
        }
        (None, None) => Exchange::Over(end.outcome(&FailOn::default())),
    }
}
