//! The kind `email`: sends a mail through a server of the settings.

mod address;
mod attachment;
mod connection;
mod error;
mod header;
mod message;
mod payload;
mod reply;
mod session;
mod settings;
mod texts;

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::instant;
use crate::handlers::built_in::BuiltInJob;
pub use crate::handlers::email::address::{AddressPattern, Mailbox};
pub use crate::handlers::email::attachment::EmailFile;
use crate::handlers::email::error::{SmtpError, failure};
use crate::handlers::email::header::{check_header, check_line};
use crate::handlers::email::message::MessageParts;
pub use crate::handlers::email::payload::{Email, EmailTemplate, OnUnknown, PartialDelivery};
pub use crate::handlers::email::reply::RefusedRecipient;
use crate::handlers::email::session::{Delivery, Envelope, SmtpSession};
pub use crate::handlers::email::settings::{EmailServer, EmailSettings, TlsMode};
use crate::handlers::email::texts::MailTexts;
use crate::handlers::secrets::{Secret, SecretText, Secrets};
use crate::model::job::{Job, JobOptions, NewJob};
use crate::model::mask::Mask;
use crate::runner::cancellation::Cancellation;
use crate::runner::context::Context;
use crate::runner::handler::Failure;
use crate::{Error, Result};

/// The result of an email.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EmailResult {
    /// The same in every attempt of the job.
    pub message_id: String,
    /// The addresses that the server has taken.
    pub accepted: Vec<String>,
    /// Those that it has refused.
    pub refused: Vec<RefusedRecipient>,
    /// The server's reply to the message.
    pub reply: String,
    /// How long it took.
    pub ms: u64,
}

impl Job for Email {
    const KIND: &'static str = "email";
    type Output = EmailResult;

    fn options(&self, job: NewJob) -> NewJob {
        job.with_options(Email::defaults())
    }
}

/// RFC 5321: a server takes at least so many.
const MAX_RECIPIENTS: usize = 100;

impl BuiltInJob for Email {
    type Settings = EmailSettings;
    const HELP: &'static str = include_str!("help.txt");

    fn defaults() -> JobOptions {
        JobOptions {
            timeout: Some(Duration::from_secs(600)),
            max_retries: Some(3),
            retry_delay: Some(Duration::from_secs(5)),
            ..JobOptions::default()
        }
    }

    fn relative_to(settings: EmailSettings, folder: &Path) -> EmailSettings {
        settings.relative_to(folder)
    }

    fn check(&self) -> Result<()> {
        let refused = |why: &str| Err(Error::invalid(why));
        let recipients = self.recipients().count();
        if recipients == 0 {
            return refused("there is nobody in 'to', 'cc' and 'bcc'");
        }
        if recipients > MAX_RECIPIENTS {
            return refused("there are more than 100 recipients; a job for each is better");
        }
        if let Some(subject) = &self.subject {
            check_line("the subject", subject)?;
        }
        match &self.template {
            Some(EmailTemplate::Named(_)) if self.text.is_some() || self.html.is_some() => {
                return refused("the named template is in place of 'text' and 'html'");
            }
            Some(EmailTemplate::Named(_)) => {}
            None if !self.variables.is_empty() => return refused("'variables' go with 'template'"),
            _ if self.subject.is_none() => return refused("'subject' is missing"),
            _ if self.text.is_none() => {
                return refused("'text' is missing; not everybody reads 'html'");
            }
            _ => {}
        }
        for (name, value) in &self.headers {
            check_header(name)?;
            check_line(&format!("the header '{name}'"), value)?;
        }
        if !self.inline.is_empty() && self.html.is_none() && self.template.is_none() {
            return refused("'inline' goes with 'html'");
        }
        if self.inline.iter().any(|file| file.cid.is_none()) {
            return refused("an inline image needs a 'cid'");
        }
        if self.attachments.iter().any(|file| file.cid.is_some()) {
            return refused("'cid' is for 'inline' images");
        }
        self.files().try_for_each(EmailFile::check)
    }

    fn run(
        self,
        settings: &EmailSettings,
        ctx: &Context,
    ) -> std::result::Result<EmailResult, Failure> {
        let began = instant();
        let server = self.server(settings).map_err(Failure::permanent)?;
        let from = self.sender(server).map_err(Failure::permanent)?;
        let message_id = format!("jobq.{}@{}", ctx.idempotency_key()?, from.domain());
        let parts = MessageParts {
            mail: &self,
            from,
            message_id: &message_id,
            texts: MailTexts::of(&self, server.templates.as_deref()).map_err(Failure::permanent)?,
            files: attachment::read_all(self.files(), settings)?,
        };
        let message = parts.message().map_err(Failure::permanent)?;
        let delivery = self.deliver(server, (from, &message), ctx)?;
        let is_refused = |to: &str| delivery.refused.iter().any(|refused| refused.to == to);
        let taken = self.recipients().map(Mailbox::address);
        Ok(EmailResult {
            message_id: format!("<{message_id}>"),
            accepted: taken
                .filter(|to| !is_refused(to))
                .map(str::to_owned)
                .collect(),
            refused: delivery.refused,
            reply: delivery.reply.to_string(),
            ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }
}

impl Email {
    /// The server, if mail to these recipients may be sent through it.
    fn server<'s>(&self, settings: &'s EmailSettings) -> Result<&'s EmailServer> {
        let Some(server) = settings.servers.get(&self.server) else {
            let names: Vec<&str> = settings.servers.keys().map(String::as_str).collect();
            return Err(Error::invalid(format!(
                "[kinds.email.settings.servers] has no '{}'{}",
                self.server,
                match names.is_empty() {
                    true => String::new(),
                    false => format!("; it has {}", names.join(", ")),
                }
            )));
        };
        if let Some(only_to) = &server.only_to {
            let is_allowed =
                |to: &&Mailbox| only_to.iter().any(|pattern| pattern.fits(to.address()));
            if let Some(to) = self.recipients().find(|to| !is_allowed(to)) {
                return Err(Error::invalid(format!(
                    "{} gets no mail from here: 'only_to' of the server '{}' does not name it",
                    to.address(),
                    self.server
                )));
            }
        }
        Ok(server)
    }

    fn sender<'a>(&'a self, server: &'a EmailServer) -> Result<&'a Mailbox> {
        let from = self.from.as_ref().or(server.from.as_ref());
        from.ok_or_else(|| {
            Error::invalid("'from' is missing, in the payload and in the server's settings")
        })
    }

    fn deliver(
        &self,
        server: &EmailServer,
        (from, message): (&Mailbox, &[u8]),
        ctx: &Context,
    ) -> std::result::Result<Delivery, Failure> {
        let mut to: Vec<&str> = self.recipients().map(Mailbox::address).collect();
        let mut known = std::collections::HashSet::new();
        to.retain(|to| known.insert(*to));
        let envelope = Envelope {
            from: from.address(),
            to,
            partial: self.partial == PartialDelivery::Ok,
            message,
        };
        let login = server.login(|password| {
            let password = password.read(ctx, Some(&server.host))?;
            ctx.mask(password.reveal());
            Ok(password)
        })?;
        let sent = SmtpSession::open(server, ctx.cancellation()).and_then(|mut session| {
            let sent = session.log_in(login).and_then(|()| session.send(&envelope));
            session.quit();
            sent
        });
        sent.map_err(|error| self.failed(&error, ctx))
    }

    fn failed(&self, error: &SmtpError, ctx: &Context) -> Failure {
        let is_temporary = match error.is_temporary() {
            None if self.on_unknown == OnUnknown::Fail => return Failure::permanent(error.said()),
            None => true,
            Some(is_temporary) => is_temporary,
        };
        // A cancel breaks the connection, so the error is none of the server's.
        match ctx.is_cancelled() {
            true => Failure::cancelled(),
            false => failure(is_temporary, error.said()),
        }
    }
}

impl EmailServer {
    /// Connects and logs in, for a look at whether that works; nothing is sent.
    ///
    /// # Errors
    /// Why it does not.
    pub fn try_login(&self, secrets: &Secrets) -> Result<()> {
        // The server's reply may have the password in it.
        let mut mask = Mask::default();
        let login = self.login(|password| {
            let password = match password {
                SecretText::Plain(password) => Secret::from(password.clone()),
                SecretText::Secret(named) => {
                    let secret = secrets.read(&named.secret)?;
                    Secret::from([&named.prefix, secret.reveal(), &named.suffix].concat())
                }
            };
            mask.add(password.reveal());
            Ok(password)
        });
        let login = login.map_err(|failure| Error::invalid(failure.to_string()))?;
        let tried = SmtpSession::open(self, &Cancellation::default()).and_then(|mut session| {
            session.log_in(login)?;
            session.quit();
            Ok(())
        });
        tried.map_err(|error| Error::invalid(mask.text(error.said())))
    }
}
