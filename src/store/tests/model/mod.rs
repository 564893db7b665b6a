//! Whatever is done to a file in whatever order, it is what a plain model in memory says.
//!
//! Random operations of three runners and of anybody else: jobs with every combination of options,
//! claims, reports of attempts and of zombies, crashes, hung runners, cancelled, retried, edited and
//! removed jobs, queues that are paused and limited, schedules, a clock that passes and one that is
//! set, restarts, transactions that fail in the middle. After every transaction the file is recounted
//! by SQL and compared with the model (`check.rs`), and at the end its history (`history.rs`), before
//! and after everything that can still run is run: then nothing may be left.
//!
//! A failure prints its seed and the shortest list of operations that still fails, in lines to be
//! pasted into a regression test. Short with the other tests; long with
//! `JOBQ_SEED=1 JOBQ_ROUNDS=10000 cargo test --lib model -- --ignored`.
//!
//! A new rule gets its operations in `ops.rs`, what it promises in `plain.rs` (or, as for queues and
//! schedules, beside it), and its recount in `check.rs`.

mod action;
mod acts;
mod asks;
mod bench;
mod check;
mod clock;
mod controls;
mod history;
mod hooks;
mod ops;
mod plain;
mod queues;
mod settings;
mod shrink;
mod slots;
mod stories;
mod undo;
mod world;

use crate::store::tests::model::bench::{Seen, run};
use fastrand::Rng;

use crate::model::state::State;

/// So many operations make a sequence, on average.
const LENGTH: usize = 60;

/// Draws the sequences that follow from a seed, and stops at the first that fails.
fn campaign(seed: u64, rounds: u64) -> Seen {
    let mut seen = Seen::default();
    for round in 0..rounds {
        let seed = seed.wrapping_add(round);
        let mut rng = Rng::with_seed(seed);
        let length = rng.usize(1..2 * LENGTH);
        let ops = ops::sequence(&mut rng, length);
        match run(&ops) {
            Ok(more) => seen.add(more),
            Err(first) => fail(seed, shrink::shrink(ops), first),
        }
    }
    seen
}

fn fail(seed: u64, ops: Vec<ops::Op>, first: String) -> ! {
    let last = run(&ops).err().unwrap_or(first);
    let lines: Vec<String> = ops.iter().map(|op| format!("    {op:?},\n")).collect();
    panic!(
        "JOBQ_SEED={seed} JOBQ_ROUNDS=1 fails:\n{}{last}",
        lines.concat()
    );
}

/// And the sequences lead through every change of state and every refusal.
#[test]
fn the_file_is_what_the_model_says_after_anything() {
    let seen = campaign(1, 100);
    for from in State::ALL {
        for to in from.leaves_to() {
            // Some final states are rarely put back to some others.
            let alike = State::ALL.into_iter();
            let alike = alike.filter(|state| *state == from || from.is_final() && state.is_final());
            let step = alike
                .map(|from| (from, *to))
                .find(|step| seen.steps.contains(step));
            assert!(step.is_some(), "{from} → {to} was never seen");
        }
    }
    let all = [
        "Duplicate",
        "Invalid",
        "NotFound",
        "QueueFull",
        "WrongState",
    ];
    assert_eq!(seen.refused, all.map(str::to_owned).into());
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
#[ignore = "takes minutes; JOBQ_SEED and JOBQ_ROUNDS say how"]
fn the_file_is_what_the_model_says_after_anything_for_long() {
    let seed = from_environment("JOBQ_SEED").unwrap_or_else(|| Rng::new().u64(..));
    campaign(seed, from_environment("JOBQ_ROUNDS").unwrap_or(5000));
}
