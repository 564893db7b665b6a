//! Whatever is done to a file in whatever order, it is what a plain model in memory says.
//!
//! Random operations of three runners and of anybody else: jobs with every combination of options,
//! claims, reports of attempts and of zombies, crashes, hung runners, cancelled, retried, edited and
//! removed jobs, a clock that passes and one that is set, restarts, transactions that fail in the
//! middle. After every transaction the file is recounted by SQL and compared with the model
//! (`check.rs`), and at the end everything that can still run is run: then nothing may be left.
//!
//! A failure prints its seed and the shortest list of operations that still fails, in lines to be
//! pasted into a regression test. Short with the other tests; long with
//! `JOBQ_SEED=1 JOBQ_ROUNDS=10000 cargo test --lib model -- --ignored`.
//!
//! A new rule gets its operations in `ops.rs`, what it promises in `plain.rs` and its recount in
//! `check.rs`.

mod action;
mod acts;
mod asks;
mod bench;
mod check;
mod controls;
mod ops;
mod plain;
mod shrink;
mod stories;
mod world;

use bench::fails;
use fastrand::Rng;

/// Draws the sequences that follow from a seed, and stops at the first that fails.
fn campaign(seed: u64, rounds: u64, length: usize) {
    for round in 0..rounds {
        let seed = seed.wrapping_add(round);
        let ops = ops::sequence(&mut Rng::with_seed(seed), length);
        if let Err(first) = fails(&ops) {
            let ops = shrink::shrink(ops);
            let last = fails(&ops).err().unwrap_or(first);
            let lines: Vec<String> = ops.iter().map(|op| format!("    {op:?},\n")).collect();
            panic!(
                "JOBQ_SEED={seed} JOBQ_ROUNDS=1 fails:\n{}{last}",
                lines.concat()
            );
        }
    }
}

#[test]
fn the_file_is_what_the_model_says_after_anything() {
    campaign(1, 80, 60);
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
#[ignore = "takes minutes; JOBQ_SEED and JOBQ_ROUNDS say how"]
fn the_file_is_what_the_model_says_after_anything_for_long() {
    let seed = from_environment("JOBQ_SEED").unwrap_or_else(|| Rng::new().u64(..));
    campaign(seed, from_environment("JOBQ_ROUNDS").unwrap_or(5000), 60);
}
