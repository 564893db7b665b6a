//! The kind `group`: no work of its own; it is there for its children.

use crate::outcome::Outcome;
use crate::runner::context::Context;
use crate::runner::handler::Handler;

/// Runs the kind `group`. Most groups never get here: without a delay or prerequisites one is waiting
/// for its children from the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GroupHandler;

impl Handler for GroupHandler {
    fn run(&self, _: &Context) -> Outcome {
        Outcome::Done(None)
    }
}
