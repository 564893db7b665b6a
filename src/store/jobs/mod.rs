//! Operations on jobs: one operation or rule a file, each with its SQL.

pub(crate) mod attempt_reports;
pub(crate) mod attempts;
pub(crate) mod cancel;
pub(crate) mod claim;
pub(crate) mod claim_queues;
pub(crate) mod concurrency_slots;
pub(crate) mod consequences;
pub(crate) mod deadlines;
pub(crate) mod dependencies;
pub(crate) mod enqueue;
pub(crate) mod fair_share;
pub(crate) mod families;
pub(crate) mod finish_attempt;
pub(crate) mod job_row;
pub(crate) mod queues;
pub(crate) mod quota;
pub(crate) mod rate;
pub(crate) mod release;
pub(crate) mod remove;
pub(crate) mod requeue;
pub(crate) mod retry_delays;
pub(crate) mod take;
pub(crate) mod unique;
pub(crate) mod update;
pub(crate) mod update_rules;
pub(crate) mod validate;
