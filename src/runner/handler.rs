//! What an application gives a runner: the code for each kind.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::context::Context;
use crate::family::GROUP_KIND;
use crate::handlers::group::GroupHandler;
use crate::job::Job;
use crate::outcome::{Outcome, Snooze};

/// The code for a kind.
///
/// Most handlers are closures: see [`RunnerBuilder::handle`](crate::RunnerBuilder::handle). This
/// trait is for those that take the payload as it comes.
pub trait Handler: Send + Sync + 'static {
    /// Runs one attempt. It may be called from several workers at once. A panic fails the attempt
    /// and nothing else.
    ///
    /// What it returns is taken at its word, also after it was told to stop (see
    /// [`Context::is_cancelled`]): [`Outcome::Done`] says that the work is done, whatever the reason came to
    /// meanwhile. One that has stopped half-way returns [`Outcome::Cancelled`]: then the reason decides
    /// (a timeout is a failed try, a stop of the runner gives the job back, a cancel ends it). A command
    /// that was told to stop never counts as done.
    fn run(&self, ctx: &Context) -> Outcome;
}

/// Why a typed handler did not return its output.
///
/// Any error becomes one by `?` and is tried again under the job's retry policy. Say more with
/// [`Failure::permanent`], [`Failure::retry_after`] or [`Failure::snooze`].
#[derive(Debug)]
pub struct Failure(pub(crate) Outcome);

impl Failure {
    /// Try again under the job's retry policy.
    pub fn retry(error: impl fmt::Display) -> Failure {
        Failure(Outcome::Retry {
            error: error.to_string(),
            after: None,
        })
    }

    /// Try again after this long, whatever the policy says.
    pub fn retry_after(error: impl fmt::Display, after: Duration) -> Failure {
        Failure(Outcome::Retry {
            error: error.to_string(),
            after: Some(after),
        })
    }

    /// Do not try again.
    pub fn permanent(error: impl fmt::Display) -> Failure {
        Failure(Outcome::Fail {
            error: error.to_string(),
        })
    }

    /// Not now: call again after this long. Costs no retry.
    pub fn snooze(time: Duration) -> Failure {
        Failure(Outcome::Snooze(Snooze::For(time)))
    }

    /// Not now: call again at this moment. Costs no retry.
    pub fn snooze_until(at: Timestamp) -> Failure {
        Failure(Outcome::Snooze(Snooze::Until(at)))
    }

    /// The handler stopped because it was asked to.
    pub fn cancelled() -> Failure {
        Failure(Outcome::Cancelled)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        Failure(Outcome::Retry {
            error: text,
            after: None,
        })
    }
}

impl From<Failure> for Outcome {
    fn from(Failure(outcome): Failure) -> Outcome {
        outcome
    }
}

/// A closure over a typed job.
pub(crate) struct Typed<F, J> {
    pub(crate) run: F,
    pub(crate) job: std::marker::PhantomData<fn() -> J>,
}

impl<F, J> Handler for Typed<F, J>
where
    J: Job + 'static,
    F: Fn(J, &Context) -> Result<J::Output, Failure> + Send + Sync + 'static,
{
    fn run(&self, ctx: &Context) -> Outcome {
        let job: J = match serde_json::from_str(ctx.payload()) {
            Ok(job) => job,
            // Another try would read the same payload.
            Err(error) => {
                return Outcome::Fail {
                    error: format!("the payload does not fit '{}': {error}", J::KIND),
                };
            }
        };
        match (self.run)(job, ctx) {
            Ok(output) => result_json(&output).map_or_else(Outcome::from, Outcome::Done),
            Err(failure) => failure.into(),
        }
    }
}

/// What a handler returned, as a job's result: none for `()` and the like.
pub(crate) fn result_json(output: &impl Serialize) -> Result<Option<String>, Failure> {
    let refused = |error: &dyn std::fmt::Display| {
        Failure::permanent(format_args!(
            "the output cannot be written as JSON: {error}"
        ))
    };
    let json = crate::json::write(output).map_err(|error| refused(&error))?;
    // It may hold text of JSON that somebody else has made.
    crate::json::check(&json).map_err(|error| refused(&error))?;
    Ok((json != "null").then_some(json))
}

/// The handlers by kind, and the state that the application shares with them.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) handlers: HashMap<String, Arc<dyn Handler>>,
    pub(crate) timeouts: HashMap<String, Duration>,
    /// How many jobs of a kind may run at once.
    pub(crate) limits: HashMap<String, usize>,
    pub(crate) data: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

impl Registry {
    /// What every runner can do: `group`.
    pub(crate) fn with_built_in() -> Registry {
        let mut registry = Registry::default();
        registry
            .handlers
            .insert(GROUP_KIND.to_owned(), Arc::new(GroupHandler));
        registry
    }

    pub(crate) fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> = self.handlers.keys().cloned().collect();
        kinds.sort();
        kinds
    }
}
