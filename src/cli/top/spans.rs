//! How long a job was in each of its states, from its history.

use std::time::Duration;

use jiff::Timestamp;
use jobq::{AttemptEnd, Event, EventKind, JobRecord, State};

/// The states that are told apart, in the order in which they are shown.
const SHOWN: [State; 5] = [
    State::Scheduled,
    State::Blocked,
    State::Pending,
    State::Running,
    State::Waiting,
];

/// The time in each state until it ended, or until now; states that took no time are left out. `history` is the job's,
/// oldest first, without output. When a delayed job became due before its first attempt is not in the file: that
/// delay counts as pending once it is over.
pub(crate) fn time_in_states(
    job: &JobRecord,
    history: &[Event],
    now: Timestamp,
) -> Vec<(State, Duration)> {
    let mut track = StateTrack {
        state: first_state(job, history),
        since: job.created_at,
        due: first_due(job, history),
        spent: [Duration::ZERO; SHOWN.len()],
    };
    for event in history {
        track.follow(event);
    }
    if !job.state.is_final() {
        track.advance(now);
    }
    let spent = SHOWN.into_iter().zip(track.spent);
    spent.filter(|(_, time)| !time.is_zero()).collect()
}

/// The events do not say it: what comes next does.
fn first_state(job: &JobRecord, history: &[Event]) -> State {
    let next = history
        .iter()
        .find(|event| !matches!(event.kind, EventKind::Enqueued | EventKind::Edited));
    match next.map(|event| event.kind) {
        Some(EventKind::Released) => State::Blocked,
        Some(EventKind::Started) => State::Pending,
        _ if job.attempt == 0 && !job.state.is_final() => job.state,
        _ => State::Pending,
    }
}

/// Until when a job that is scheduled at first waits, while that is known.
fn first_due(job: &JobRecord, history: &[Event]) -> Option<Timestamp> {
    let has_started = history.iter().any(|event| event.kind == EventKind::Started);
    job.run_at.filter(|_| !has_started)
}

struct StateTrack {
    state: State,
    since: Timestamp,
    /// When it becomes pending, while it is scheduled.
    due: Option<Timestamp>,
    spent: [Duration; SHOWN.len()],
}

impl StateTrack {
    fn follow(&mut self, event: &Event) {
        let next = match event.kind {
            EventKind::Started => State::Running,
            EventKind::Waiting => State::Waiting,
            EventKind::Retry | EventKind::Snoozed => State::Scheduled,
            EventKind::Released
            | EventKind::Returned
            | EventKind::Recovered
            | EventKind::Requeued => State::Pending,
            EventKind::Completed => State::Completed,
            EventKind::Failed => State::Failed,
            EventKind::Cancelled => State::Cancelled,
            _ => return,
        };
        self.advance(event.at);
        self.state = next;
        self.due = match next {
            State::Scheduled => due_after(event),
            _ => None,
        };
    }

    /// Adds the time up to a moment to the present state, and to pending what is after its due time.
    fn advance(&mut self, to: Timestamp) {
        let pending_from = match (self.state, self.due) {
            (State::Scheduled, Some(due)) => due.clamp(self.since, to.max(self.since)),
            _ => to,
        };
        self.add(self.state, self.since, pending_from);
        self.add(State::Pending, pending_from, to);
        self.since = to;
    }

    fn add(&mut self, state: State, from: Timestamp, to: Timestamp) {
        let time = Duration::try_from(to.duration_since(from)).unwrap_or_default();
        if let Some(at) = SHOWN.iter().position(|shown| *shown == state) {
            self.spent[at] += time;
        }
    }
}

fn due_after(event: &Event) -> Option<Timestamp> {
    let data = event.data.as_ref()?;
    let end: AttemptEnd = serde_json::from_slice(data.as_bytes()).ok()?;
    Timestamp::from_millisecond(end.run_at_ms?).ok()
}

#[cfg(test)]
mod tests {
    use jobq::testing::TestQueue;
    use jobq::{Context, EventFilter, Failure, Handler, Jitter, NewJob, Outcome};

    use super::*;

    fn spans(queue: &TestQueue, id: jobq::JobId) -> Vec<(State, Duration)> {
        let filter = EventFilter {
            job: Some(id),
            ..EventFilter::default()
        };
        let history = queue.events(&filter).unwrap().events;
        let job = queue.get(id).unwrap().unwrap();
        time_in_states(&job, &history, queue.now())
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    struct Failing;

    impl Handler for Failing {
        fn run(&self, _: &Context) -> Outcome {
            Failure::from("no").into()
        }
    }

    #[test]
    fn a_retried_job_was_scheduled_until_it_was_due() {
        let queue = TestQueue::new();
        let mut job = NewJob::new("k").max_retries(3);
        job = job.retry_delay(s(30)).jitter(Jitter::Off);
        let id = queue.enqueue(job).unwrap().id;
        queue.advance(s(5));
        queue.run_due(|runner| runner.kind("k", Failing));
        queue.advance(s(40));
        let scheduled = (State::Scheduled, s(30));
        assert_eq!(spans(&queue, id), [scheduled, (State::Pending, s(5 + 10))]);
    }

    #[test]
    fn a_job_that_waits_for_another_was_blocked() {
        let queue = TestQueue::new();
        let first = queue.enqueue(NewJob::new("k")).unwrap().id;
        let second = queue.enqueue(NewJob::new("k").after_any([first])).unwrap();
        queue.advance(s(7));
        assert_eq!(spans(&queue, second.id), [(State::Blocked, s(7))]);
        queue.cancel(first).unwrap();
        queue.advance(s(2));
        let found = spans(&queue, second.id);
        assert_eq!(found, [(State::Blocked, s(7)), (State::Pending, s(2))]);
        assert_eq!(spans(&queue, first), [(State::Pending, s(7))]);
    }

    #[test]
    fn a_delayed_job_is_scheduled_until_it_is_due() {
        let queue = TestQueue::new();
        let id = queue.enqueue(NewJob::new("k").delay(s(60))).unwrap().id;
        queue.advance(s(20));
        assert_eq!(spans(&queue, id), [(State::Scheduled, s(20))]);
    }
}
