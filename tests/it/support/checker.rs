//! What must hold after anything, as a list of what does not.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jobq::{Event, EventKind, JobId, JobRecord, Queue, State};

use super::effects::Effect;
use super::place::{Place, ailments, all_jobs, events};

/// What is known of a scene once all its jobs are final.
pub(crate) struct Witness<'a> {
    queue: &'a Queue,
    acknowledged: Vec<JobId>,
    effects: BTreeMap<(JobId, u32), Vec<Effect>>,
    /// Since when a process does not count as a live holder: it was killed or stopped then.
    gone: &'a HashMap<String, Duration>,
}

impl<'a> Witness<'a> {
    pub(crate) fn of(
        place: &Place,
        queue: &'a Queue,
        gone: &'a HashMap<String, Duration>,
    ) -> Witness<'a> {
        let mut effects: BTreeMap<_, Vec<Effect>> = BTreeMap::new();
        for effect in place.effects() {
            let attempt = (effect.job, effect.attempt);
            effects.entry(attempt).or_default().push(effect);
        }
        Witness {
            queue,
            acknowledged: super::notes::acknowledged(place),
            effects,
            gone,
        }
    }

    /// What is wrong: nothing, if all promises were kept.
    pub(crate) fn violations(&self) -> Vec<String> {
        let jobs: BTreeMap<JobId, JobRecord> = all_jobs(self.queue)
            .into_iter()
            .map(|job| (job.id, job))
            .collect();
        let histories = histories(self.queue);
        let mut wrong = ailments(self.queue);
        for id in &self.acknowledged {
            if !jobs.contains_key(id) {
                wrong.push(format!("job {id} was acknowledged and is not there"));
            }
        }
        let nothing = History::default();
        for job in jobs.values() {
            let history = histories.get(&job.id).unwrap_or(&nothing);
            wrong.extend(history.violations(job));
            wrong.extend(self.missing_effects(job));
        }
        wrong.extend(self.doubles(&histories));
        wrong.extend(self.overlaps());
        wrong
    }

    fn missing_effects(&self, job: &JobRecord) -> Option<String> {
        let of_last = self.effects.get(&(job.id, job.attempt));
        let ended = of_last.is_some_and(|effects| effects.iter().any(Effect::is_end));
        (job.state == State::Completed && !ended).then(|| {
            format!(
                "job {} completed by attempt {}, which never ended",
                job.id, job.attempt
            )
        })
    }

    fn doubles(&self, histories: &BTreeMap<JobId, History>) -> Vec<String> {
        let mut wrong = Vec::new();
        for ((job, attempt), effects) in &self.effects {
            let begun = effects.iter().filter(|effect| effect.is_begin()).count();
            if begun != 1 {
                wrong.push(format!(
                    "job {job}: attempt {attempt} was begun {begun} times"
                ));
            }
            let history = histories.get(job);
            if !history.is_some_and(|history| history.starts.contains_key(attempt)) {
                wrong.push(format!(
                    "job {job}: attempt {attempt} was begun and never claimed"
                ));
            }
        }
        wrong
    }

    /// Where an attempt began while the holder of an earlier one was still at it.
    fn overlaps(&self) -> Vec<String> {
        let mut holders: HashMap<JobId, Vec<(&Effect, Duration)>> = HashMap::new();
        let effects = self.effects.values().flatten();
        for begin in effects.filter(|effect| effect.is_begin()) {
            holders
                .entry(begin.job)
                .or_default()
                .push((begin, self.over(begin)));
        }
        let mut wrong = Vec::new();
        for (job, mut holders) in holders {
            holders.sort_by_key(|(begin, _)| begin.at);
            for pair in holders.windows(2) {
                let [(first, over), (second, _)] = pair else {
                    continue;
                };
                if second.at < *over {
                    wrong.push(format!(
                        "job {job}: attempt {} began on {} while {} was still at attempt {}",
                        second.attempt, second.process, first.process, first.attempt
                    ));
                }
            }
        }
        wrong
    }

    /// When the attempt was over: it ended, or its process was gone.
    fn over(&self, begin: &Effect) -> Duration {
        let effects = &self.effects[&(begin.job, begin.attempt)];
        let ended = effects
            .iter()
            .filter(|effect| effect.process == begin.process && !effect.is_begin())
            .map(|effect| effect.at);
        let gone = self.gone.get(&begin.process).copied();
        ended.chain(gone).min().unwrap_or(Duration::MAX)
    }
}

/// What the file's history says of one job.
#[derive(Default)]
struct History {
    /// The runner that claimed each attempt.
    starts: BTreeMap<u32, Option<jobq::RunnerId>>,
    ends: Vec<Event>,
    wrong: Vec<String>,
}

fn histories(queue: &Queue) -> BTreeMap<JobId, History> {
    let mut histories: BTreeMap<JobId, History> = BTreeMap::new();
    for event in events(queue, None) {
        if let Some(job) = event.job {
            histories.entry(job).or_default().add(event);
        }
    }
    histories
}

impl History {
    fn add(&mut self, event: Event) {
        let Some(attempt) = event.attempt else { return };
        if event.kind == EventKind::Started {
            if self.starts.insert(attempt, event.runner).is_some() {
                self.wrong
                    .push(format!("attempt {attempt} was claimed twice"));
            }
        } else if event.kind.ends_attempt() {
            if self.starts.get(&attempt) != Some(&event.runner) {
                let kind = event.kind;
                self.wrong.push(format!(
                    "{kind} of attempt {attempt} comes from runner {:?}, which did not claim it",
                    event.runner
                ));
            }
            self.ends.push(event);
        }
    }

    fn violations(&self, job: &JobRecord) -> Vec<String> {
        let mut wrong = self.wrong.clone();
        if !job.state.is_final() {
            wrong.push(format!("it is {}, not final", job.state));
        }
        let attempts: Vec<u32> = self.starts.keys().copied().collect();
        if attempts != (1..=job.attempt).collect::<Vec<_>>() {
            wrong.push(format!(
                "it is at attempt {} and {attempts:?} were claimed",
                job.attempt
            ));
        }
        let mut ended: Vec<u32> = self.ends.iter().filter_map(|event| event.attempt).collect();
        ended.sort_unstable();
        if ended != attempts {
            wrong.push(format!("{attempts:?} were claimed and {ended:?} ended"));
        }
        let finals: Vec<EventKind> = self
            .ends
            .iter()
            .map(|event| event.kind)
            .filter(is_final)
            .collect();
        let expected = match job.state {
            State::Completed => EventKind::Completed,
            State::Failed => EventKind::Failed,
            _ => EventKind::Cancelled,
        };
        if finals != [expected] {
            wrong.push(format!(
                "it is {} and its history ends with {finals:?}",
                job.state
            ));
        }
        wrong
            .into_iter()
            .map(|wrong| format!("job {}: {wrong}", job.id))
            .collect()
    }
}

fn is_final(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Completed | EventKind::Failed | EventKind::Cancelled
    )
}
