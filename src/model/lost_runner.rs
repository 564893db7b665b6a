//! What a job is charged when its runner is lost while it runs: no retry, but one of three crashes, for the job
//! may be what killed the runner.

use crate::model::outcome::Verdict;

/// A job whose runner was lost this many times fails.
pub const MAX_CRASHES: u32 = 3;

/// The verdict on an attempt that was lost with its runner, after `crashes` earlier ones. The excuse is a
/// cause other than the job, which is then charged nothing.
pub(crate) fn verdict(crashes: u32, excuse: Option<&'static str>) -> Verdict {
    if let Some(why) = excuse {
        return Verdict::GiveBack { why: why.into() };
    }
    let crashes = crashes + 1;
    if crashes >= MAX_CRASHES {
        return Verdict::Fail {
            error: format!(
                "its runner was lost {crashes} times while it ran; this job may be the cause"
            ),
        };
    }
    Verdict::Recover {
        error: format!("its runner was lost while it ran ({crashes} of {MAX_CRASHES})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_crash_fails_the_job() {
        assert!(matches!(verdict(0, None), Verdict::Recover { .. }));
        assert!(matches!(verdict(1, None), Verdict::Recover { .. }));
        assert!(matches!(verdict(2, None), Verdict::Fail { .. }));
    }

    #[test]
    fn a_crash_with_another_cause_costs_nothing() {
        let excuse = Some("the machine was restarted while it ran");
        assert!(matches!(verdict(2, excuse), Verdict::GiveBack { .. }));
    }
}
