//! What a job says of itself, for every verb that makes jobs.

use std::time::Duration;

use clap::Args;
use jobq::{Backoff, ChildPolicy, Jitter, NewJob, OnDuplicate, Priority};

use super::choices;
use crate::cli::exit::CliResult;
use crate::cli::options::{Options, Unique};
use crate::cli::parse;

/// Where the help text lists what ties jobs to each other.
pub(super) const RULES: &str = "Rules between jobs";

/// What goes for a job however often and whenever it is made.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct JobOptions {
    /// The queue [default: default]
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Option<String>,
    /// Which jobs of the queue go first [default: normal]
    #[arg(long, value_parser = choices::priority())]
    pub(crate) priority: Option<Priority>,
    /// Maximum retries [default: 3]
    #[arg(long, value_name = "N")]
    pub(crate) retries: Option<u32>,
    /// How the wait between retries grows [default: exponential]
    #[arg(long, value_name = "HOW", value_parser = choices::backoff())]
    pub(crate) backoff: Option<Backoff>,
    /// The first wait between retries [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub(crate) retry_delay: Option<Duration>,
    #[command(flatten)]
    pub(crate) jitter: JitterOptions,
    /// Time limit of each attempt [default: none]
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub(crate) timeout: Option<Duration>,
    /// Tenant that owns the job
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// A tag to find it by; may be given more than once
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = parse::tag)]
    pub(crate) tags: Vec<(String, String)>,
    /// At most one live job has this key: a second one is not added
    #[arg(long, value_name = "KEY", conflicts_with = "unique_by_payload", help_heading = RULES)]
    pub(crate) unique: Option<String>,
    /// At most one live job of this kind has this payload; of a command that is what is run, where,
    /// and its environment
    #[arg(long, help_heading = RULES)]
    pub(crate) unique_by_payload: bool,
    /// How long the unique key stays taken after the job has ended [default: not at all]
    #[arg(long, value_name = "DURATION", value_parser = parse::duration, help_heading = RULES)]
    pub(crate) unique_for: Option<Duration>,
    /// When the unique key is taken: keep the job that has it, replace its payload and options if it
    /// does not run yet, or reject this one [default: keep]
    #[arg(long, value_name = "HOW", value_parser = choices::on_duplicate(), help_heading = RULES)]
    pub(crate) on_duplicate: Option<OnDuplicate>,
    /// Concurrency key: one job with this key runs at a time, or as many as --key-limit says
    #[arg(long, value_name = "KEY", help_heading = RULES)]
    pub(crate) key: Option<String>,
    /// How many jobs of the concurrency key run at a time from now on, 1 to 1000 [default: 1]
    #[arg(long, value_name = "N", requires = "key", value_parser = clap::value_parser!(u32).range(1..), help_heading = RULES)]
    pub(crate) key_limit: Option<u32>,
    /// What a child's failure means for this job: it fails when all children are final, fails at once,
    /// fails at once and cancels the others, or goes on [default: fail-at-end]
    #[arg(long, value_name = "HOW", value_parser = choices::child_policy(), help_heading = RULES)]
    pub(crate) child_policy: Option<ChildPolicy>,
    /// Run it once more when all its children are final, with JOBQ_PHASE=finalize
    #[arg(long, help_heading = RULES)]
    pub(crate) finalize: bool,
}

/// Whether chance lengthens the waits.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct JitterOptions {
    /// Let chance lengthen the waits between retries by up to a tenth
    #[arg(long, conflicts_with = "no_jitter")]
    jitter: bool,
    /// Wait between retries exactly as long as is said
    #[arg(long)]
    no_jitter: bool,
}

impl JitterOptions {
    pub(crate) fn given(self) -> Option<Jitter> {
        match (self.jitter, self.no_jitter) {
            (true, _) => Some(Jitter::Tenth),
            (false, true) => Some(Jitter::Off),
            (false, false) => None,
        }
    }
}

impl JobOptions {
    /// The same, apart from the command line.
    pub(crate) fn options(&self) -> Options {
        let by_payload = self.unique_by_payload.then_some(Unique::KindAndPayload);
        Options {
            queue: self.queue.clone(),
            priority: self.priority,
            retries: self.retries,
            backoff: self.backoff,
            retry_delay: self.retry_delay,
            jitter: self.jitter.given(),
            timeout: self.timeout,
            unique: self.unique.clone().map(Unique::Key).or(by_payload),
            unique_for: self.unique_for,
            on_duplicate: self.on_duplicate,
            key: self.key.clone(),
            key_limit: self.key_limit,
            child_policy: self.child_policy,
            finalize: self.finalize.then_some(true),
            tenant: self.tenant.clone(),
            tags: self.tags.iter().cloned().collect(),
            ..Options::default()
        }
    }

    /// The job with all of this said.
    #[allow(
        dead_code,
        reason = "for verbs that make jobs without a working directory of their own"
    )]
    pub(crate) fn apply(&self, job: NewJob) -> CliResult<NewJob> {
        self.options().apply(job, None)
    }
}
