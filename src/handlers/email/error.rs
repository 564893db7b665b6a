//! Why a mail was not sent, and whether that may change.

use std::io;

use crate::handlers::email::payload::OnUnknown;
use crate::handlers::email::reply::{RefusedRecipient, SmtpReply, SmtpStage, is_temporary};
use crate::runner::handler::Failure;

/// Why a server has not taken a mail.
#[derive(Debug)]
pub(super) enum SmtpError {
    /// It refuses a command or the message.
    Refused(SmtpStage, SmtpReply),
    /// It refuses recipients, so nobody gets the mail.
    Recipients(Vec<RefusedRecipient>),
    /// The connection failed before the message was complete: the server does not have it.
    Broken(String),
    /// The connection failed while the dot that ends the message was sent, or later: the server may have taken it.
    Unknown(io::Error),
    /// Something that mail needs cannot be used at the moment.
    NotNow(String),
    /// What is set or asked for does not go with this server.
    Unfit(String),
}

impl From<Failure> for SmtpError {
    fn from(failure: Failure) -> SmtpError {
        match failure.is_permanent() {
            true => SmtpError::Unfit(failure.to_string()),
            false => SmtpError::NotNow(failure.to_string()),
        }
    }
}

impl SmtpError {
    /// The connection failed at a stage.
    pub(super) fn broken(stage: SmtpStage, error: &io::Error) -> SmtpError {
        let hint = match (stage, error.kind()) {
            (SmtpStage::Greeting, io::ErrorKind::TimedOut) => {
                "; a port that speaks TLS from the beginning needs tls = \"tls\""
            }
            _ => "",
        };
        SmtpError::Broken(format!("{stage}: {}{hint}", said(error)))
    }

    /// What it means for the attempt.
    pub(super) fn failure(&self, on_unknown: OnUnknown, is_cancelled: bool) -> Failure {
        let is_retried = match self {
            SmtpError::Unknown(_) if on_unknown == OnUnknown::Fail => false,
            // The cancel has broken it.
            SmtpError::Broken(_) if is_cancelled => return Failure::cancelled(),
            SmtpError::Refused(stage, reply) => is_temporary(*stage, reply.code, &reply.text()),
            SmtpError::Recipients(refused) => refused.iter().all(RefusedRecipient::is_temporary),
            SmtpError::Broken(_) | SmtpError::Unknown(_) | SmtpError::NotNow(_) => true,
            SmtpError::Unfit(_) => false,
        };
        match is_retried {
            true => Failure::retry(self.said()),
            false => Failure::permanent(self.said()),
        }
    }

    pub(super) fn said(&self) -> String {
        match self {
            SmtpError::Refused(stage, reply) => format!("{stage}: {reply}"),
            SmtpError::Recipients(refused) => {
                let each: Vec<String> = refused.iter().map(ToString::to_string).collect();
                format!("recipients refused: {}", each.join("; "))
            }
            SmtpError::Broken(why) | SmtpError::NotNow(why) | SmtpError::Unfit(why) => why.clone(),
            SmtpError::Unknown(error) => {
                let stage = SmtpStage::Message;
                format!("{stage}: {}; the mail may have been sent", said(error))
            }
        }
    }
}

/// An error of the connection in words that do not depend on the system.
fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        io::ErrorKind::UnexpectedEof => "the connection was closed".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16) -> RefusedRecipient {
        let reply = SmtpReply {
            code,
            lines: vec!["no".to_owned()],
        };
        RefusedRecipient::new("a@x.org", &reply)
    }

    fn lost() -> io::Error {
        io::ErrorKind::UnexpectedEof.into()
    }

    fn answered(code: u16) -> SmtpError {
        let lines = Vec::new();
        SmtpError::Refused(SmtpStage::Recipient, SmtpReply { code, lines })
    }

    #[test]
    fn each_end_of_a_dialogue_is_tried_again_or_not() {
        for (error, is_retried) in [
            (answered(535), false),
            (answered(454), true),
            (
                SmtpError::Recipients(vec![refused(450), refused(451)]),
                true,
            ),
            (
                SmtpError::Recipients(vec![refused(450), refused(550)]),
                false,
            ),
            (SmtpError::broken(SmtpStage::Data, &lost()), true),
            (SmtpError::Unknown(lost()), true),
            (SmtpError::NotNow("expired".to_owned()), true),
            (SmtpError::Unfit("no STARTTLS".to_owned()), false),
        ] {
            let failure = error.failure(OnUnknown::Retry, false);
            assert_eq!(failure.is_permanent(), !is_retried, "{error:?}");
        }
        let unknown = SmtpError::Unknown(lost());
        assert!(unknown.failure(OnUnknown::Fail, false).is_permanent());
    }

    #[test]
    fn only_a_broken_connection_is_the_work_of_a_cancel() {
        let broken = SmtpError::broken(SmtpStage::Data, &lost());
        let cancelled = |error: &SmtpError, on_unknown| error.failure(on_unknown, true);
        assert!(cancelled(&broken, OnUnknown::Fail).is_cancelled());
        let unknown = SmtpError::Unknown(lost());
        assert!(cancelled(&unknown, OnUnknown::Fail).is_permanent());
        // The server had answered before.
        assert!(cancelled(&answered(550), OnUnknown::Retry).is_permanent());
        let recipients = SmtpError::Recipients(vec![refused(550)]);
        assert!(cancelled(&recipients, OnUnknown::Retry).is_permanent());
        for error in [unknown, answered(450)] {
            let failure = cancelled(&error, OnUnknown::Retry);
            assert!(!failure.is_cancelled() && !failure.is_permanent());
        }
    }
}
