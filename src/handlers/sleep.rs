//! The kind `sleep`: waits for `{"delay_ms": …}`, for tests and experiments.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::job::{Job, Progress};
use crate::model::outcome::Outcome;
use crate::runner::context::Context;
use crate::runner::handler::Handler;

/// The payload of kind `sleep`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sleep {
    /// How long to wait, in milliseconds.
    pub delay_ms: u64,
}

impl Job for Sleep {
    const KIND: &'static str = "sleep";
    type Output = ();
}

/// Runs the kind `sleep`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SleepHandler;

/// How often a sleeping job reports its progress.
const STEP: Duration = Duration::from_millis(500);

impl Handler for SleepHandler {
    fn run(&self, ctx: &Context) -> Outcome {
        let sleep: Sleep = match ctx.payload_as() {
            Ok(sleep) => sleep,
            Err(failure) => return failure.into(),
        };
        let total = Duration::from_millis(sleep.delay_ms);
        let mut slept = Duration::ZERO;
        while slept < total {
            let step = STEP.min(total - slept);
            if ctx.cancellation().wait(step) {
                return Outcome::Cancelled;
            }
            slept += step;
            if total > STEP {
                ctx.progress(Progress::percent(
                    slept.as_secs_f64() * 100.0 / total.as_secs_f64(),
                ));
            }
        }
        Outcome::Done(None)
    }
}
