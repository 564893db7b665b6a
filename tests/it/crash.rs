//! Processes are killed at any moment: nothing acknowledged is lost, nothing runs twice at once,
//! nothing is torn.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jobq::{Queue, State, Until};

use crate::support::checker::Witness;
use crate::support::child::{EnqueuerRole, RunnerRole};
use crate::support::place::{Scene, wait_until_completed};
use crate::support::process::{Process, Spawn};
use crate::support::task::{self, KILLER, Task};
use crate::support::{PATIENCE, notes, number_from_environment, wait_until};

/// Enqueuers, and runners that are killed while they run what those enqueue.
struct Campaign {
    scene: Scene,
    queue: Queue,
    random: fastrand::Rng,
    runners: Vec<Process>,
    enqueuer: Option<Process>,
    gone: HashMap<String, Duration>,
    started: usize,
}

impl Campaign {
    fn new(seed: u64) -> Campaign {
        let scene = Scene::new();
        let queue = scene.open();
        let mut campaign = Campaign {
            scene,
            queue,
            random: fastrand::Rng::with_seed(seed),
            runners: Vec::new(),
            enqueuer: None,
            gone: HashMap::new(),
            started: 0,
        };
        campaign.fill_up();
        campaign
    }

    /// Two runners and an enqueuer. Not all are waited for: some are killed while they start.
    fn fill_up(&mut self) {
        while self.runners.len() < 2 {
            self.started += 1;
            let runner = Spawn::new(
                &self.scene,
                format!("runner{}", self.started),
                RunnerRole::default(),
            );
            self.runners.push(runner.start());
        }
        if self.enqueuer.is_none() {
            self.started += 1;
            let role = EnqueuerRole {
                longest: Duration::from_millis(8),
                pause: Duration::from_millis(4),
                seed: self.random.u64(..),
            };
            let enqueuer = Spawn::new(&self.scene, format!("enqueuer{}", self.started), role);
            self.enqueuer = Some(enqueuer.start());
        }
    }

    /// Until some more has happened, and then a little while that nothing depends on.
    fn let_run(&mut self) {
        let effects = || self.scene.effect_log().count();
        let wanted = effects() + self.random.usize(0..60);
        wait_until("jobs are run", PATIENCE, || effects() >= wanted);
        let moment = Instant::now() + Duration::from_micros(self.random.u64(0..4000));
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
    }

    fn kill_a_runner(&mut self) {
        let victim = self
            .runners
            .swap_remove(self.random.usize(0..self.runners.len()));
        let name = victim.name.clone();
        self.gone.insert(name, victim.kill());
    }

    fn round(&mut self) {
        self.let_run();
        match self.random.u8(0..10) {
            0 => drop(self.enqueuer.take().map(Process::kill)),
            1 => {
                self.kill_a_runner();
                self.kill_a_runner();
            }
            2 => {
                self.kill_a_runner();
                self.fill_up();
                self.kill_a_runner();
            }
            _ => self.kill_a_runner(),
        }
        self.fill_up();
    }

    /// Runs what is left to its end and says what is wrong then.
    fn finish(mut self) -> Vec<String> {
        if let Some(enqueuer) = self.enqueuer.take() {
            enqueuer.end();
        }
        while !self.runners.is_empty() {
            self.kill_a_runner();
        }
        let fresh = task::register(self.queue.runner(), &self.scene.effect_log(), "fresh");
        fresh.until(Until::Drained).start().unwrap().wait().unwrap();
        let mut wrong = Witness::of(&self.scene, &self.queue, &self.gone).violations();
        wrong.extend(
            notes::complaints(&self.scene)
                .iter()
                .map(|told| format!("{told:?}")),
        );
        let acknowledged = notes::acknowledged(&self.scene).len();
        if acknowledged == 0 || self.scene.effect_log().count() < acknowledged {
            wrong.push(format!(
                "{acknowledged} jobs were acknowledged and fewer ran"
            ));
        }
        wrong
    }
}

fn campaign(seed: u64, rounds: u64) {
    let mut campaign = Campaign::new(seed);
    for _ in 0..rounds {
        campaign.round();
    }
    let wrong = campaign.finish();
    assert!(
        wrong.is_empty(),
        "JOBQ_SEED={seed} JOBQ_ROUNDS={rounds}: {wrong:#?}"
    );
}

#[test]
fn a_kill_at_any_moment_loses_doubles_and_tears_nothing() {
    campaign(fastrand::u64(..), 15);
}

#[test]
#[ignore = "takes minutes; JOBQ_SEED and JOBQ_ROUNDS say how"]
fn many_kills_at_any_moment_lose_double_and_tear_nothing() {
    let seed = number_from_environment("JOBQ_SEED").unwrap_or_else(|| fastrand::u64(..));
    campaign(seed, number_from_environment("JOBQ_ROUNDS").unwrap_or(1000));
}

#[test]
fn a_killed_runners_job_begins_anew_on_another_within_a_second() {
    let scene = Scene::new();
    let queue = scene.open();
    let start = |name: &str| Spawn::new(&scene, name, RunnerRole::default()).start_runner(&queue);
    let mut runners = vec![start("runner0")];
    let mut took = Vec::new();
    for round in 1..=15 {
        runners.push(start(&format!("runner{round}")));
        let gate = format!("gate{round}");
        let id = queue
            .enqueue(Task::until(scene.file(&gate)).job())
            .unwrap()
            .id;
        let first = scene.wait_until_begun(id, 1);
        let holder = runners
            .iter()
            .position(|runner| runner.name == first.process)
            .unwrap();
        let killed_at = runners.swap_remove(holder).kill();
        let second = scene.wait_until_begun(id, 2);
        assert_ne!(second.process, first.process);
        took.push(second.at - killed_at);
        scene.open_gate(&gate);
        wait_until_completed(&queue, id);
    }
    assert!(
        took.iter().all(|took| *took < Duration::from_secs(1)),
        "{took:?}"
    );
}

#[test]
fn a_job_that_kills_three_runners_fails_and_others_complete() {
    let scene = Scene::new();
    let queue = scene.open();
    let killer = queue.enqueue(jobq::NewJob::new(KILLER)).unwrap().id;
    let others: Vec<_> = (0..20)
        .map(|_| {
            queue
                .enqueue(Task::taking(Duration::from_millis(2)).job())
                .unwrap()
                .id
        })
        .collect();
    for round in 1..=3 {
        let role = RunnerRole {
            workers: 1,
            ..RunnerRole::default()
        };
        let mut runner = Spawn::new(&scene, format!("runner{round}"), role).start();
        assert!(!runner.wait_to_exit().success(), "the job kills it");
        assert_eq!(scene.begins_of(killer).len(), round);
    }
    let last = Spawn::new(&scene, "last", RunnerRole::default()).start_runner(&queue);
    let jobs = queue
        .wait(&[&others[..], &[killer]].concat(), Some(PATIENCE))
        .unwrap();
    last.end();
    let (killer, others) = jobs.split_last().unwrap();
    assert_eq!((killer.state, killer.attempt), (State::Failed, 3));
    let error = killer.error.as_deref().unwrap();
    assert!(error.contains("its runner was lost 3 times"), "{error}");
    assert!(
        others
            .iter()
            .all(|job| job.state == State::Completed && job.retries == 0)
    );
}
