//! What may be done to a file, as values that can be drawn, dropped, printed and pasted.
//!
//! An operation names a job by how many younger ones there are, modulo what exists, and an attempt in
//! the same way: so every list of operations is valid, whatever was dropped from it.

use std::fmt;

use fastrand::Rng;

pub(super) use crate::model::family::ChildPolicy;
pub(super) use crate::model::family::ChildPolicy::*;
pub(super) use crate::model::job::OnDuplicate;
pub(super) use crate::model::job::OnDuplicate::*;

/// Names a job, or an attempt: 0 is the youngest.
pub(super) type Pick = u8;

/// The three kinds that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    A,
    B,
    Group,
}

pub(super) use Kind::*;

/// When something is to be, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Delay {
    #[default]
    Now,
    In(u32),
    At(i32),
}

pub(super) use Delay::*;

/// A job with its options.
#[derive(Clone, Default, PartialEq)]
pub(super) struct New {
    pub(super) kind: Kind,
    pub(super) queue: u8,
    /// Added to the lowest.
    pub(super) priority: u8,
    pub(super) delay: Delay,
    pub(super) parent: Option<Pick>,
    /// The attempt that spawns it: a child of the attempt's own job, unless it has a parent.
    pub(super) by: Option<Pick>,
    pub(super) after: Vec<Pick>,
    pub(super) after_any: Vec<Pick>,
    pub(super) key: Option<u8>,
    pub(super) places: Option<u32>,
    pub(super) unique: Option<u8>,
    pub(super) window: Option<u32>,
    pub(super) duplicate: OnDuplicate,
    pub(super) deadline: Option<Delay>,
    pub(super) policy: Option<ChildPolicy>,
    pub(super) last_step: bool,
    /// A bit for each: completed, failed, ended.
    pub(super) hooks: u8,
}

/// A limit of a queue; none: it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cap {
    Concurrency(Option<u32>),
    /// So many jobs in so many seconds.
    Rate(Option<(u32, u32)>),
    MaxSize(Option<u32>),
}

pub(super) use Cap::*;

/// How an attempt ends.
#[derive(Clone, PartialEq)]
pub(super) enum End {
    /// With these jobs: its own children, unless they say whose.
    Done {
        spawns: Vec<New>,
        last_step: bool,
    },
    Fail,
    Again(u32),
    Snooze(Delay),
    /// Asks for a snooze of so many seconds, and succeeds.
    Asked(u32),
    Stop,
    Back,
    Recover,
}

pub(super) use End::{Again, Asked, Back, Done, Fail, Recover, Snooze, Stop};

#[derive(Clone, PartialEq)]
pub(super) enum Op {
    Enqueue(New),
    Claim {
        runner: u8,
        jobs: u8,
        ahead: bool,
    },
    /// Of an attempt that holds its job.
    Settle(Pick, End),
    /// Of any attempt there ever was: most are zombies.
    Report(Pick, End),
    /// Comes back unbegun, with whether it may be claimed ahead again.
    Unbegun(Pick, bool),
    /// What was claimed ahead has begun.
    Begin(Pick),
    /// The runner's process is gone; another takes over, and a new runner comes.
    Crash(u8),
    /// The runner hangs: it is taken over in the same way, and may report later.
    Hang(u8),
    /// An observer saw an older beat: nothing is taken over.
    LivesAfterAll(u8),
    Cancel(Pick),
    Retry(Pick),
    /// Of a job that was cancelled by hand.
    UndoCancel(Pick),
    Remove(Pick),
    Edit {
        job: Pick,
        priority: Option<u8>,
        queue: Option<u8>,
        delay: Option<Delay>,
    },
    /// Removes what ended so (0 completed, 1 failed, 2 cancelled) before so many seconds.
    Prune(u8, u32),
    /// Seconds pass.
    Pass(u32),
    /// Somebody sets the clock: nothing has passed.
    Step(i32),
    Places(u8, u32),
    Limit(u8, Cap),
    Pause(u8),
    Resume(u8),
    PauseSchedules,
    ResumeSchedules,
    /// A whole turn of a dispatcher in one transaction.
    Turn {
        runner: u8,
        ends: Vec<(Pick, End)>,
        crash: Option<u8>,
        jobs: u8,
    },
    /// What the doctor repairs: nothing is broken.
    Repair,
    /// The connection is closed and the file opened anew.
    Restart,
    /// The transaction works and then fails.
    Undone(Box<Op>),
    /// Commands of several threads in one transaction, each in a savepoint of its own.
    Together(Vec<Op>),
    /// Raw SQL behind the store's back, for the negative controls.
    Sabotage(&'static str),
}

pub(super) use Op::*;

pub(super) fn sequence(rng: &mut Rng, length: usize) -> Vec<Op> {
    (0..length).map(|_| op(rng)).collect()
}

fn op(rng: &mut Rng) -> Op {
    match rng.u8(0..100) {
        0..92 => single(rng),
        92..95 => Undone(Box::new(single(rng))),
        95..96 => Repair,
        96..97 => Restart,
        _ => {
            let length = rng.usize(2..4);
            // An undo names an event that others have committed.
            let all = (0..length).map(|_| single(rng));
            Together(all.filter(|op| !matches!(op, UndoCancel(_))).collect())
        }
    }
}

fn single(rng: &mut Rng) -> Op {
    match rng.u8(0..100) {
        0..27 => Enqueue(new(rng)),
        27..40 => Claim {
            runner: rng.u8(0..3),
            jobs: rng.u8(1..4),
            ahead: rng.u8(0..4) == 0,
        },
        40..60 => Settle(pick(rng), end(rng)),
        60..63 => Report(pick(rng), end(rng)),
        63..65 => Unbegun(pick(rng), rng.bool()),
        65..66 => Begin(pick(rng)),
        66..68 => Crash(rng.u8(0..3)),
        68..69 => Hang(rng.u8(0..3)),
        69..70 => LivesAfterAll(rng.u8(0..3)),
        70..75 => Cancel(pick(rng)),
        75..79 => Retry(pick(rng)),
        79..81 => Remove(pick(rng)),
        81..83 => UndoCancel(rng.u8(0..3)),
        83..85 => Edit {
            job: pick(rng),
            priority: maybe(rng, 2, |rng| rng.u8(0..4)),
            queue: maybe(rng, 4, |rng| rng.u8(0..2)),
            delay: maybe(rng, 4, delay),
        },
        85..86 => Prune(rng.u8(0..3), rng.u32(0..20)),
        86..89 => Pass(rng.u32(1..8)),
        89..91 => Step(rng.i32(-30..30)),
        91..92 => Places(rng.u8(0..2), rng.u32(1..4)),
        92..94 => Limit(rng.u8(0..2), cap(rng)),
        94..95 => match rng.u8(0..5) {
            0 => PauseSchedules,
            1 => ResumeSchedules,
            2 => Pause(rng.u8(0..2)),
            _ => Resume(rng.u8(0..2)),
        },
        _ => {
            let ends = rng.usize(0..4);
            Turn {
                runner: rng.u8(0..3),
                ends: (0..ends).map(|_| (pick(rng), end(rng))).collect(),
                crash: maybe(rng, 6, |rng| rng.u8(0..3)),
                jobs: rng.u8(0..4),
            }
        }
    }
}

fn cap(rng: &mut Rng) -> Cap {
    let jobs = maybe(rng, 2, |rng| rng.u32(1..4));
    match rng.u8(0..3) {
        0 => Concurrency(jobs),
        1 => Rate(jobs.map(|jobs| (jobs, rng.u32(1..15)))),
        _ => MaxSize(jobs.map(|jobs| jobs * 3)),
    }
}

fn new(rng: &mut Rng) -> New {
    let kind = match rng.u8(0..8) {
        0 => Group,
        1..3 => B,
        _ => A,
    };
    let key = maybe(rng, 2, |rng| rng.u8(0..2)).filter(|_| kind != Group);
    let unique = maybe(rng, 5, |rng| rng.u8(0..3));
    New {
        kind,
        queue: rng.u8(0..2),
        priority: rng.u8(0..4),
        delay: maybe(rng, 5, delay).unwrap_or_default(),
        parent: maybe(rng, 3, pick),
        by: maybe(rng, 5, pick),
        after: some(rng),
        after_any: some(rng),
        key,
        places: key.and_then(|_| maybe(rng, 4, |rng| rng.u32(1..4))),
        unique,
        window: unique.and_then(|_| maybe(rng, 3, |rng| rng.u32(0..15))),
        duplicate: *rng
            .choice(&[Keep, Replace, Rerun, Rerun, Reject])
            .unwrap_or(&Keep),
        deadline: maybe(rng, 6, |rng| match rng.bool() {
            true => At(rng.i32(-2..12)),
            false => In(rng.u32(0..12)),
        }),
        policy: maybe(rng, 4, |rng| {
            *rng.choice(&ChildPolicy::ALL).unwrap_or(&FailAtEnd)
        }),
        last_step: rng.u8(0..6) == 0,
        hooks: maybe(rng, 4, |rng| rng.u8(1..8)).unwrap_or_default(),
    }
}

fn end(rng: &mut Rng) -> End {
    match rng.u8(0..21) {
        0..11 => {
            let spawns = if rng.u8(0..4) == 0 {
                rng.usize(1..3)
            } else {
                0
            };
            Done {
                spawns: (0..spawns).map(|_| new(rng)).collect(),
                last_step: rng.u8(0..12) == 0,
            }
        }
        11..14 => Fail,
        14..16 => Again(rng.u32(0..6)),
        16..17 => Snooze(delay(rng)),
        17..18 => Stop,
        18..19 => Back,
        19..20 => Asked(rng.u32(0..10)),
        _ => Recover,
    }
}

fn delay(rng: &mut Rng) -> Delay {
    match rng.u8(0..4) {
        0 => Now,
        1 => At(rng.i32(-3..10)),
        _ => In(rng.u32(0..10)),
    }
}

/// The young are the ones with a life before them.
fn pick(rng: &mut Rng) -> Pick {
    if rng.u8(0..4) == 0 {
        rng.u8(0..40)
    } else {
        rng.u8(0..6)
    }
}

fn some(rng: &mut Rng) -> Vec<Pick> {
    let length = rng.usize(0..12).saturating_sub(9);
    (0..length).map(|_| pick(rng)).collect()
}

fn maybe<T>(rng: &mut Rng, one_in: u8, draw: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    (rng.u8(0..one_in) == 0).then(|| draw(rng))
}

impl Op {
    /// The jobs that it names, to be renamed.
    pub(super) fn jobs_named(&mut self) -> Vec<&mut Pick> {
        match self {
            Enqueue(new) => new.jobs_named(),
            Settle(_, Done { spawns, .. }) | Report(_, Done { spawns, .. }) => {
                spawns.iter_mut().flat_map(New::jobs_named).collect()
            }
            Cancel(job) | Retry(job) | Remove(job) | Edit { job, .. } => vec![job],
            Undone(op) => op.jobs_named(),
            Together(ops) => ops.iter_mut().flat_map(Op::jobs_named).collect(),
            _ => Vec::new(),
        }
    }
}

impl New {
    fn jobs_named(&mut self) -> Vec<&mut Pick> {
        let parent = self.parent.iter_mut();
        let needs = self.after.iter_mut().chain(&mut self.after_any);
        parent.chain(needs).collect()
    }

    /// Whether it is a parent by what it says of its children.
    pub(super) fn founds(&self) -> bool {
        self.policy.is_some() || self.last_step || self.kind == Group
    }

    /// The same with one option less.
    pub(super) fn simpler(&self) -> Vec<New> {
        let mut simpler = Vec::new();
        let none = New::default();
        macro_rules! without {
            ($($field:ident),*) => {
                $(if self.$field != none.$field {
                    simpler.push(New { $field: none.$field.clone(), ..self.clone() });
                })*
            };
        }
        without!(
            kind, queue, priority, delay, parent, by, after, after_any, key, places, unique,
            window, duplicate, deadline, policy, last_step, hooks
        );
        simpler
    }
}

impl fmt::Debug for New {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = New::default();
        write!(f, "New {{ ")?;
        macro_rules! show {
            ($($field:ident),*) => {
                $(if self.$field != none.$field { write!(f, "{}: {:?}, ", stringify!($field), self.$field)?; })*
            };
        }
        show!(kind, queue, priority, delay, parent, by);
        for (name, picks) in [("after", &self.after), ("after_any", &self.after_any)] {
            if !picks.is_empty() {
                write!(f, "{name}: vec!{picks:?}, ")?;
            }
        }
        show!(
            key, places, unique, window, duplicate, deadline, policy, last_step, hooks
        );
        write!(f, "..New::default() }}")
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Done { spawns, last_step } => {
                write!(
                    f,
                    "Done {{ spawns: vec!{spawns:?}, last_step: {last_step} }}"
                )
            }
            Fail => write!(f, "Fail"),
            Again(seconds) => write!(f, "Again({seconds})"),
            Snooze(delay) => write!(f, "Snooze({delay:?})"),
            Asked(wait) => write!(f, "Asked({wait})"),
            Stop => write!(f, "Stop"),
            Back => write!(f, "Back"),
            Recover => write!(f, "Recover"),
        }
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Enqueue(new) => write!(f, "Enqueue({new:?})"),
            Claim {
                runner,
                jobs,
                ahead,
            } => write!(
                f,
                "Claim {{ runner: {runner}, jobs: {jobs}, ahead: {ahead} }}"
            ),
            Settle(pick, end) => write!(f, "Settle({pick}, {end:?})"),
            Report(pick, end) => write!(f, "Report({pick}, {end:?})"),
            Unbegun(pick, again) => write!(f, "Unbegun({pick}, {again})"),
            Begin(pick) => write!(f, "Begin({pick})"),
            Crash(runner) => write!(f, "Crash({runner})"),
            Hang(runner) => write!(f, "Hang({runner})"),
            LivesAfterAll(runner) => write!(f, "LivesAfterAll({runner})"),
            Cancel(pick) => write!(f, "Cancel({pick})"),
            Retry(pick) => write!(f, "Retry({pick})"),
            UndoCancel(pick) => write!(f, "UndoCancel({pick})"),
            Remove(pick) => write!(f, "Remove({pick})"),
            Edit {
                job,
                priority,
                queue,
                delay,
            } => write!(
                f,
                "Edit {{ job: {job}, priority: {priority:?}, queue: {queue:?}, delay: {delay:?} }}"
            ),
            Prune(state, seconds) => write!(f, "Prune({state}, {seconds})"),
            Pass(seconds) => write!(f, "Pass({seconds})"),
            Step(seconds) => write!(f, "Step({seconds})"),
            Places(key, places) => write!(f, "Places({key}, {places})"),
            Limit(queue, cap) => write!(f, "Limit({queue}, {cap:?})"),
            Pause(queue) => write!(f, "Pause({queue})"),
            Resume(queue) => write!(f, "Resume({queue})"),
            PauseSchedules => write!(f, "PauseSchedules"),
            ResumeSchedules => write!(f, "ResumeSchedules"),
            Turn {
                runner,
                ends,
                crash,
                jobs,
            } => write!(
                f,
                "Turn {{ runner: {runner}, ends: vec!{ends:?}, crash: {crash:?}, jobs: {jobs} }}"
            ),
            Repair => write!(f, "Repair"),
            Restart => write!(f, "Restart"),
            Undone(op) => write!(f, "Undone(Box::new({op:?}))"),
            Together(ops) => write!(f, "Together(vec!{ops:?})"),
            Sabotage(sql) => write!(f, "Sabotage({sql:?})"),
        }
    }
}
