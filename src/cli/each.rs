//! One change to many jobs: each is done for itself, and one that cannot be does not stop the rest.

use jobq::JobId;

use super::exit::{CliError, CliResult, Exit};
use super::output::json::DoneJson;
use super::session::Session;

/// What was done to a job: in a word for programs, in a sentence for people.
pub(super) struct Done {
    pub(super) result: &'static str,
    pub(super) said: String,
}

/// How a walk over many jobs is going.
pub(super) struct Walk<'a> {
    session: &'a Session,
    worst: Exit,
}

impl<'a> Walk<'a> {
    pub(super) fn new(session: &'a Session) -> Walk<'a> {
        Walk {
            session,
            worst: Exit::Done,
        }
    }

    /// Tells what became of one job. What is wrong with this job only is remembered for the end;
    /// what would be wrong with every other ends the walk.
    pub(super) fn tell(&mut self, id: JobId, done: jobq::Result<Done>) -> CliResult<()> {
        let error = match done {
            Ok(Done { result, said }) => {
                self.session.output.line(&DoneJson { id, result }, said)?;
                return Ok(());
            }
            Err(error) if error.is_not_found() || error.is_wrong_state() => CliError::from(error),
            Err(error) => return Err(error.into()),
        };
        error.print();
        self.worst = worse(self.worst, error.exit());
        Ok(())
    }

    pub(super) fn end(self) -> CliResult {
        Ok(self.worst)
    }
}

/// Does `act` to every job named by `ids`.
pub(super) fn each(
    session: &Session,
    ids: &[String],
    mut act: impl FnMut(JobId) -> jobq::Result<Done>,
) -> CliResult {
    let mut walk = Walk::new(session);
    for id in session.resolve_ids(ids)? {
        walk.tell(id, act(id))?;
    }
    walk.end()
}

/// A job that is missing weighs more than one that is in the wrong state.
fn worse(a: Exit, b: Exit) -> Exit {
    [Exit::NotFound, Exit::Failed]
        .into_iter()
        .find(|exit| a == *exit || b == *exit)
        .unwrap_or(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_job_decides_the_exit_code() {
        assert_eq!(worse(Exit::Done, Exit::Failed), Exit::Failed);
        assert_eq!(worse(Exit::NotFound, Exit::Failed), Exit::NotFound);
        assert_eq!(worse(Exit::Failed, Exit::NotFound), Exit::NotFound);
    }
}
