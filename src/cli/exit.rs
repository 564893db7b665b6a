//! How the process ends: the exit codes of the contract, and the one error type of the verbs.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use jobq::JobId;
use jobq::api::hint::hint;

use crate::cli::render::text::block;

/// What a verb returns: how the process is to end, or another value on the way there.
pub(crate) type CliResult<T = Exit> = Result<T, CliError>;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// It did not work.
    Failed,
    /// It was asked for wrongly.
    Usage,
    /// There is no such job, queue or file entry.
    NotFound,
    /// A job that was waited for or drained failed or was cancelled.
    JobFailed,
    /// The database is busy or full: try again.
    TryAgain,
    /// The time to wait has passed.
    TimedOut,
    /// Ctrl-C.
    Interrupted,
    /// The reader of a followed output has gone away: as after SIGPIPE, which is not a success.
    ReaderGone,
    /// The exit code of the command that was waited for.
    Code(u8),
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::JobFailed => 4,
            Exit::TryAgain => 75,
            Exit::TimedOut => 124,
            Exit::Interrupted => 130,
            Exit::ReaderGone => 141,
            Exit::Code(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// What went wrong, what to do next, and the exit code for it.
#[derive(Debug)]
pub(crate) struct CliError(Box<ErrorParts>);

#[derive(Debug)]
struct ErrorParts {
    exit: Exit,
    what: What,
    hint: Option<String>,
}

#[derive(Debug)]
enum What {
    Message(String),
    /// Worded and laid out by clap, help and version texts included.
    Clap(clap::Error),
    /// The reader of the output has gone away: nothing more is printed.
    ReaderGone,
}

impl CliError {
    fn new(exit: Exit, what: What) -> CliError {
        CliError(Box::new(ErrorParts {
            exit,
            what,
            hint: None,
        }))
    }

    /// It was asked for wrongly: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> CliError {
        CliError::new(Exit::Usage, What::Message(message.into()))
    }

    /// It did not work: exit code 1.
    pub(crate) fn failed(message: impl Into<String>) -> CliError {
        CliError::new(Exit::Failed, What::Message(message.into()))
    }

    /// There is no such job or queue: exit code 3.
    pub(crate) fn not_found(message: impl Into<String>) -> CliError {
        CliError::new(Exit::NotFound, What::Message(message.into()))
    }

    /// There is no job of this number.
    pub(crate) fn no_job(id: JobId) -> CliError {
        CliError::not_found(format!("no job {id}"))
            .with_hint("`jobq list` shows the jobs in the file")
    }

    /// A file could not be read or written.
    pub(crate) fn io(action: impl std::fmt::Display, error: &io::Error) -> CliError {
        let exit = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Exit::TryAgain,
            _ => Exit::Failed,
        };
        CliError::new(exit, What::Message(format!("{action}: {error}")))
    }

    /// Of a verb whose exit code says how a job has ended: where its reader has gone, it does not know.
    pub(crate) fn with_unknown_end(mut self) -> CliError {
        if matches!(self.0.what, What::ReaderGone) {
            self.0.exit = Exit::ReaderGone;
        }
        self
    }

    /// Adds a hint: what to do next.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> CliError {
        self.0.hint = Some(hint.into());
        self
    }

    /// Prepends what was being done to the message.
    #[must_use]
    pub(crate) fn context(mut self, action: impl std::fmt::Display) -> CliError {
        if let What::Message(message) = &mut self.0.what {
            *message = format!("{action}: {message}");
        }
        self
    }

    /// The same for the library, which takes it for wrong input.
    pub(crate) fn into_invalid(self) -> jobq::Error {
        let error = jobq::Error::invalid(self.message());
        match self.0.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    /// The exit code for it.
    pub(crate) fn exit(&self) -> Exit {
        self.0.exit
    }

    /// The message, without the hint.
    pub(crate) fn message(&self) -> String {
        match &self.0.what {
            What::Message(message) => message.clone(),
            What::Clap(error) => error.to_string(),
            What::ReaderGone => String::new(),
        }
    }

    /// Says it on stderr; a help text that was asked for goes to stdout. Returns how the process ends.
    pub(crate) fn print(&self) -> Exit {
        let printed = match &self.0.what {
            What::Clap(error) => print_usage(error),
            What::Message(message) => print_message(message, self.0.hint.as_deref()),
            What::ReaderGone => Ok(()),
        };
        match (self.0.exit, printed) {
            // A help text that is not there, and not because its reader has gone.
            (Exit::Done, Err(error)) => {
                let error = CliError::from(error);
                let _ = print_message(&error.message(), None);
                error.exit()
            }
            // There is nowhere left to say that stderr itself is closed.
            (exit, _) => exit,
        }
    }
}

/// What was typed stands in the message: where it would steer the terminal, there are no colours.
fn print_usage(error: &clap::Error) -> io::Result<()> {
    let plain = error.render().to_string();
    let safe = block(&plain, 0);
    match safe.trim_end() == plain.trim_end() || !error.use_stderr() {
        true => error.print(),
        false => writeln!(anstream::stderr().lock(), "{safe}"),
    }
}

fn print_message(message: &str, hint: Option<&str>) -> io::Result<()> {
    let mut stderr = anstream::stderr().lock();
    let message = block(message, 0);
    writeln!(stderr, "\x1b[1;31merror:\x1b[0m {message}")?;
    if let Some(hint) = hint.map(|hint| block(hint, 0)) {
        writeln!(stderr, "\x1b[1;36mhint:\x1b[0m {hint}")?;
    }
    Ok(())
}

impl From<jobq::Error> for CliError {
    fn from(error: jobq::Error) -> CliError {
        let exit = if error.is_not_found() {
            Exit::NotFound
        } else if error.is_invalid_input() {
            Exit::Usage
        } else if error.is_busy() || error.is_full() || error.is_queue_full() {
            Exit::TryAgain
        } else if error.is_timed_out() {
            Exit::TimedOut
        } else {
            Exit::Failed
        };
        let told = CliError::new(exit, What::Message(error.to_string()));
        match hint(&error) {
            Some(hint) => told.with_hint(hint),
            None => told,
        }
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> CliError {
        match error.kind() {
            ErrorKind::BrokenPipe => CliError::new(Exit::Done, What::ReaderGone),
            // No reason to try again, as a full database is: what it tells of may have been done.
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                CliError::failed(format!("the output could not be written: {error}"))
            }
            _ => {
                let failed = CliError::failed(error.to_string());
                match jobq::Error::hint_for_io(&error) {
                    Some(hint) => failed.with_hint(hint),
                    None => failed,
                }
            }
        }
    }
}

impl From<clap::Error> for CliError {
    fn from(error: clap::Error) -> CliError {
        let exit = if error.exit_code() == 0 {
            Exit::Done
        } else {
            Exit::Usage
        };
        CliError::new(exit, What::Clap(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        let codes = [
            (Exit::Done, 0),
            (Exit::Failed, 1),
            (Exit::Usage, 2),
            (Exit::NotFound, 3),
            (Exit::JobFailed, 4),
            (Exit::TryAgain, 75),
            (Exit::TimedOut, 124),
            (Exit::Interrupted, 130),
            (Exit::ReaderGone, 141),
            (Exit::Code(9), 9),
        ];
        for (exit, code) in codes {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
    }

    #[test]
    fn an_error_of_the_library_keeps_its_hint_and_gets_its_code() {
        let error = CliError::from("often".parse::<jobq::Priority>().unwrap_err());
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.message().contains("often"));
        assert!(error.0.hint.unwrap().contains("urgent"));
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure() {
        let error = CliError::from(io::Error::from(ErrorKind::BrokenPipe));
        assert_eq!(error.exit(), Exit::Done);
        assert_eq!(error.message(), "");
        assert_eq!(error.with_unknown_end().exit(), Exit::ReaderGone);
        let full = CliError::from(io::Error::from(ErrorKind::StorageFull));
        assert_eq!(full.exit(), Exit::Failed);
        assert!(
            full.message()
                .starts_with("the output could not be written")
        );
    }
}
