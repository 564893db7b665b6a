//! Why a mail was not sent, and whether that may change.

use std::io;

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
    /// The connection failed when the message was complete: the server may have taken it.
    Unknown(io::Error),
    /// What is set or asked for does not go with this server.
    Unfit(String),
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

    /// Whether another try may have another end; none where the server may have taken the mail.
    pub(super) fn is_temporary(&self) -> Option<bool> {
        match self {
            SmtpError::Refused(stage, reply) => Some(is_temporary(*stage, reply)),
            SmtpError::Recipients(refused) => {
                Some(refused.iter().all(|refused| refused.is_temporary))
            }
            SmtpError::Broken(_) => Some(true),
            SmtpError::Unknown(_) => None,
            SmtpError::Unfit(_) => Some(false),
        }
    }

    pub(super) fn said(&self) -> String {
        match self {
            SmtpError::Refused(stage, reply) => format!("{stage}: {reply}"),
            SmtpError::Recipients(refused) => {
                let each: Vec<String> = refused.iter().map(ToString::to_string).collect();
                format!("recipients refused: {}", each.join("; "))
            }
            SmtpError::Broken(why) | SmtpError::Unfit(why) => why.clone(),
            SmtpError::Unknown(error) => format!(
                "it has got the message, and its reply did not come: {}; the mail may have been sent",
                said(error)
            ),
        }
    }
}

/// A failure for good or for now.
pub(super) fn failure(is_temporary: bool, why: String) -> Failure {
    match is_temporary {
        true => Failure::retry(why),
        false => Failure::permanent(why),
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

    #[test]
    fn each_end_of_a_dialogue_is_tried_again_or_not() {
        let lost = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let reply = |code| SmtpReply {
            code,
            lines: Vec::new(),
        };
        for (error, expected) in [
            (SmtpError::Refused(SmtpStage::Auth, reply(535)), Some(false)),
            (SmtpError::Refused(SmtpStage::Auth, reply(454)), Some(true)),
            (
                SmtpError::Recipients(vec![refused(450), refused(451)]),
                Some(true),
            ),
            (
                SmtpError::Recipients(vec![refused(450), refused(550)]),
                Some(false),
            ),
            (SmtpError::broken(SmtpStage::Data, &lost()), Some(true)),
            (SmtpError::Unknown(lost()), None),
            (SmtpError::Unfit("no STARTTLS".to_owned()), Some(false)),
        ] {
            assert_eq!(error.is_temporary(), expected, "{error:?}");
        }
    }
}
