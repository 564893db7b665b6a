//! The kind `sleep`: waits for `{"delay_ms": …}`, for tests and experiments.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::handlers::built_in::{BuiltInJob, NoSettings};
use crate::model::job::{Job, Progress};
use crate::runner::context::Context;
use crate::runner::handler::Failure;

/// The payload of kind `sleep`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sleep {
    /// How long to wait, in milliseconds.
    #[serde(alias = "delayMs")]
    pub delay_ms: u64,
}

impl Job for Sleep {
    const KIND: &'static str = "sleep";
    type Output = ();
}

/// How often a sleeping job reports its progress.
const STEP: Duration = Duration::from_millis(500);

impl BuiltInJob for Sleep {
    type Settings = NoSettings;
    const HELP: &'static str = "\
The kind sleep waits, for tests and experiments.

Payload:
  delay_ms   how long, in milliseconds [required] (delayMs)

It has no result. A cancel or a timeout ends it at once. The progress is saved twice a second.

Example:
  jobq enqueue --kind sleep --payload '{\"delay_ms\":300}'
";

    fn relative_to(settings: NoSettings, _: &Path) -> NoSettings {
        settings
    }

    fn run(self, _: &NoSettings, ctx: &Context) -> Result<(), Failure> {
        let total = Duration::from_millis(self.delay_ms);
        let mut slept = Duration::ZERO;
        while slept < total {
            let step = STEP.min(total - slept);
            if ctx.cancellation().wait(step) {
                return Err(Failure::cancelled());
            }
            slept += step;
            if total > STEP {
                ctx.progress(Progress::percent(
                    slept.as_secs_f64() * 100.0 / total.as_secs_f64(),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_has_two_spellings() {
        for payload in [r#"{"delay_ms":20}"#, r#"{"delayMs":20}"#] {
            let sleep: Sleep = serde_json::from_str(payload).unwrap();
            assert_eq!(sleep.delay_ms, 20, "{payload}");
        }
    }
}
