//! What an application gives a runner: the code for each kind.

use crate::model::json;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::model::family::GROUP_KIND;
use crate::model::job::Job;
use crate::model::outcome::{Outcome, Snooze};
use crate::runner::context::Context;

/// The code for a kind.
///
/// Most handlers are closures: see [`RunnerBuilder::job`](crate::RunnerBuilder::job). This
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

    /// Called once when its runner has ended: ends what the handler has kept between attempts, such as processes.
    /// A handler that is replaced by a [reload](crate::Reloader) is dropped instead, unless [`replaced`](Handler::replaced) says
    /// otherwise.
    fn close(&self) {}

    /// Called when a reload has put other handlers in its place; jobs that it runs go on. Returns whether the runner is to
    /// [close](Handler::close) it at its end nonetheless, as what it has started may take time to end.
    fn replaced(&self) -> bool {
        false
    }
}

/// Why a typed handler did not return its output.
///
/// A text and any error become one by `?`, those of `anyhow` and boxed ones too; the job is tried again
/// under its retry policy. Other ends are [`Failure::permanent`], [`Failure::retry_after`] and
/// [`Failure::snooze`].
///
/// ```
/// use jobq::Failure;
///
/// fn width(text: &str) -> Result<u32, Failure> {
///     let width = text.parse()?; // its error is a failure that is tried again
///     if width == 0 {
///         return Err("the width is 0".into());
///     }
///     Ok(width)
/// }
///
/// let failure = width("0").unwrap_err();
/// assert_eq!(failure.to_string(), "the width is 0");
/// assert!(!failure.is_permanent());
/// ```
#[derive(Debug)]
pub struct Failure(Outcome);

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

    /// Says what it was that failed.
    #[cfg(feature = "exec")]
    pub(crate) fn context(self, what: impl fmt::Display) -> Failure {
        let told = |error| format!("{what}: {error}");
        Failure(match self.0 {
            Outcome::Retry { error, after } => Outcome::Retry {
                error: told(error),
                after,
            },
            Outcome::Fail { error } => Outcome::Fail { error: told(error) },
            other => other,
        })
    }

    /// What the end of something else, which was not its success, means for the attempt.
    #[cfg(feature = "exec")]
    pub(crate) fn of(outcome: Outcome) -> Failure {
        Failure(outcome)
    }

    /// What went wrong; none where the job was snoozed or the handler was cancelled.
    pub fn message(&self) -> Option<&str> {
        match &self.0 {
            Outcome::Retry { error, .. } | Outcome::Fail { error } => Some(error),
            _ => None,
        }
    }

    /// How long to wait before the next call, where the handler chose that for itself.
    pub fn delay(&self) -> Option<Duration> {
        match self.0 {
            Outcome::Retry { after, .. } => after,
            Outcome::Snooze(Snooze::For(time)) => Some(time),
            _ => None,
        }
    }

    /// Whether the job is not tried again.
    pub fn is_permanent(&self) -> bool {
        matches!(self.0, Outcome::Fail { .. })
    }

    /// Whether the job is called again without the loss of a retry.
    pub fn is_snooze(&self) -> bool {
        matches!(self.0, Outcome::Snooze(_))
    }

    /// Whether the handler stopped because it was asked to.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0, Outcome::Cancelled)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Outcome::Snooze(Snooze::For(time)) => write!(f, "snoozed for {time:?}"),
            Outcome::Snooze(Snooze::Until(at)) => write!(f, "snoozed until {at}"),
            _ => f.write_str(self.message().unwrap_or("cancelled")),
        }
    }
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Failure {
        let error = error.into();
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
    let json = json::write(output).map_err(|error| refused(&error))?;
    // It may hold text of JSON that somebody else has made.
    json::check(&json).map_err(|error| refused(&error))?;
    Ok((json != "null").then_some(json))
}

/// The handlers by kind, and the state that the application shares with them.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) handlers: HashMap<String, Arc<dyn Handler>>,
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

    /// Tells the handlers that their runner has ended.
    pub(crate) fn close(&self) {
        for handler in self.handlers.values() {
            handler.close();
        }
    }

    /// Tells the handlers that others are in their place, and keeps those that are yet to be closed.
    pub(crate) fn replaced(&self) -> impl Iterator<Item = Arc<dyn Handler>> {
        let handlers = self.handlers.values();
        handlers.filter(|handler| handler.replaced()).cloned()
    }

    pub(crate) fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> = self.handlers.keys().cloned().collect();
        kinds.sort();
        kinds
    }
}

/// Runs the kind `group`, which has no work of its own. Most groups never get here: without a delay or
/// prerequisites one is waiting for its children from the start.
struct GroupHandler;

impl Handler for GroupHandler {
    fn run(&self, _: &Context) -> Outcome {
        Outcome::Done(None)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    /// An error as anyhow's: it is none by itself and converts to a boxed one.
    #[derive(Debug)]
    struct Any(Box<dyn Error + Send + Sync>);

    impl From<Any> for Box<dyn Error + Send + Sync> {
        fn from(any: Any) -> Box<dyn Error + Send + Sync> {
            any.0
        }
    }

    fn failure<E: Into<Failure>>(error: E) -> Failure {
        let failed = || -> Result<(), Failure> { Err(error.into()) };
        failed().unwrap_err()
    }

    #[test]
    fn texts_and_errors_of_all_sorts_become_retried_failures() {
        let any = Any("no such host".into());
        let by_question_mark = || -> Result<(), Failure> { Ok(Err(any)?) };
        let failures = [
            by_question_mark().unwrap_err(),
            failure("no such host"),
            failure("no such host".to_owned()),
            failure(std::io::Error::other("no such host")),
            failure(crate::Error::not_found("no such host")),
            failure(Box::<dyn Error + Send + Sync>::from("no such host")),
        ];
        for failure in failures {
            assert_eq!(failure.message(), Some("no such host"));
            assert!(matches!(
                Outcome::from(failure),
                Outcome::Retry { after: None, .. }
            ));
        }
    }

    #[test]
    fn a_failure_says_what_it_is() {
        const MINUTE: Duration = Duration::from_secs(60);
        let failure = Failure::permanent("no such shop");
        assert!(failure.is_permanent() && !failure.is_snooze() && !failure.is_cancelled());
        assert_eq!(failure.to_string(), "no such shop");
        let failure = Failure::retry_after("busy", MINUTE);
        assert_eq!(failure.delay(), Some(MINUTE));
        assert!(!failure.is_permanent());
        let failure = Failure::snooze(MINUTE);
        assert!(failure.is_snooze() && failure.message().is_none());
        assert_eq!(failure.delay(), Some(MINUTE));
        assert_eq!(failure.to_string(), "snoozed for 60s");
        let failure = Failure::snooze_until(Timestamp::UNIX_EPOCH);
        assert_eq!(failure.to_string(), "snoozed until 1970-01-01T00:00:00Z");
        let failure = Failure::cancelled();
        assert!(failure.is_cancelled());
        assert_eq!(failure.to_string(), "cancelled");
    }
}
