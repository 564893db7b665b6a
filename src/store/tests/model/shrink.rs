//! Makes a failing list of operations as short as it gets while it still fails.

use crate::store::tests::model::bench::fails;
use crate::store::tests::model::ops::Op::{Enqueue, Settle, Together, Turn, Undone};
use crate::store::tests::model::ops::{End, New, Op};

/// The list without one operation. Where that enqueued a job, those after it name the same jobs as
/// before.
fn without_job(ops: &[Op], at: usize) -> Vec<Op> {
    let mut fewer = ops.to_vec();
    if !matches!(fewer.remove(at), Enqueue(_)) {
        return fewer;
    }
    let mut younger = 0;
    for op in &mut fewer[at..] {
        for pick in op.jobs_named() {
            *pick -= u8::from(*pick > younger);
        }
        younger += u8::from(matches!(op, Enqueue(_)));
    }
    fewer
}

/// Drops ever smaller chunks, then makes what is left simpler, until neither helps.
pub(super) fn shrink(mut ops: Vec<Op>) -> Vec<Op> {
    loop {
        let before = ops.clone();
        let mut chunk = ops.len().div_ceil(2).max(1);
        loop {
            ops = without_chunks(ops, chunk);
            if chunk == 1 {
                break;
            }
            chunk = chunk.div_ceil(2);
        }
        ops = simpler(ops);
        if ops == before {
            return ops;
        }
    }
}

fn without_chunks(mut ops: Vec<Op>, chunk: usize) -> Vec<Op> {
    let mut at = 0;
    while at < ops.len() {
        let mut fewer = ops.clone();
        fewer.drain(at..(at + chunk).min(ops.len()));
        let renamed = (chunk == 1).then(|| without_job(&ops, at));
        if fails(&fewer) {
            ops = fewer;
        } else if let Some(renamed) = renamed.filter(|renamed| fails(renamed)) {
            ops = renamed;
        } else {
            at += chunk;
        }
    }
    ops
}

fn simpler(mut ops: Vec<Op>) -> Vec<Op> {
    for at in 0..ops.len() {
        while let Some(simpler) = simpler_op(&ops[at]).into_iter().find_map(|op| {
            let mut changed = ops.clone();
            changed[at] = op;
            fails(&changed).then_some(changed)
        }) {
            ops = simpler;
        }
        ops = nearer(ops, at);
    }
    ops
}

/// Names younger jobs where that does as well.
fn nearer(mut ops: Vec<Op>, at: usize) -> Vec<Op> {
    for named in 0..ops[at].jobs_named().len() {
        let pick = *ops[at].jobs_named()[named];
        for nearer in 0..pick.min(8) {
            let mut changed = ops.clone();
            *changed[at].jobs_named()[named] = nearer;
            if fails(&changed) {
                ops = changed;
                break;
            }
        }
    }
    ops
}

fn simpler_op(op: &Op) -> Vec<Op> {
    match op {
        Enqueue(new) => new.simpler().into_iter().map(Enqueue).collect(),
        Settle(pick, end) => simpler_end(end)
            .into_iter()
            .map(|end| Settle(*pick, end))
            .collect(),
        Undone(op) => vec![(**op).clone()],
        Together(ops) => ops
            .iter()
            .cloned()
            .chain((0..ops.len()).map(|at| Together(without(ops, at))))
            .collect(),
        Turn {
            runner,
            ends,
            crash,
            jobs,
        } => {
            let turn = |ends: Vec<_>, crash, jobs| Turn {
                runner: *runner,
                ends,
                crash,
                jobs,
            };
            let mut simpler: Vec<Op> = (0..ends.len())
                .map(|at| turn(without(ends, at), *crash, *jobs))
                .collect();
            if *jobs > 0 {
                simpler.push(turn(ends.clone(), *crash, 0));
            }
            if crash.is_some() {
                simpler.push(turn(ends.clone(), None, *jobs));
            }
            simpler
        }
        _ => Vec::new(),
    }
}

fn simpler_end(end: &End) -> Vec<End> {
    let End::Done { spawns, last_step } = end else {
        return Vec::new();
    };
    let done = |spawns: Vec<New>, last_step| End::Done { spawns, last_step };
    let mut simpler: Vec<End> = (0..spawns.len())
        .map(|at| done(without(spawns, at), *last_step))
        .collect();
    for (at, new) in spawns.iter().enumerate() {
        for new in new.simpler() {
            let mut spawns = spawns.clone();
            spawns[at] = new;
            simpler.push(done(spawns, *last_step));
        }
    }
    if *last_step {
        simpler.push(done(spawns.clone(), false));
    }
    simpler
}

fn without<T: Clone>(all: &[T], at: usize) -> Vec<T> {
    let mut fewer = all.to_vec();
    fewer.remove(at);
    fewer
}
