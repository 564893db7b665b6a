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

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::instant;
use crate::handlers::built_in::BuiltInJob;
pub use crate::handlers::email::address::{AddressPattern, Mailbox};
pub use crate::handlers::email::attachment::EmailFile;
#[cfg(feature = "report")]
pub(crate) use crate::handlers::email::attachment::MAX_BYTES as MAX_FILE_BYTES;
use crate::handlers::email::header::{check_header, check_line};
use crate::handlers::email::message::MessageParts;
pub use crate::handlers::email::payload::{Email, EmailTemplate, OnUnknown, PartialDelivery};
pub use crate::handlers::email::reply::RefusedRecipient;
use crate::handlers::email::session::{Delivery, Envelope, SmtpSession};
pub use crate::handlers::email::settings::{EmailServer, EmailSettings, TlsMode};
use crate::handlers::email::texts::MailTexts;
use crate::handlers::input_file::QueueFiles;
use crate::handlers::secrets::Secrets;
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
    /// The addresses that the server has taken, each once.
    pub accepted: Vec<String>,
    /// Those that it has refused.
    pub refused: Vec<RefusedRecipient>,
    /// The server's reply to the message.
    pub reply: String,
    /// How long the attempt took, in milliseconds.
    pub ms: u64,
}

impl Job for Email {
    const KIND: &'static str = "email";
    type Output = EmailResult;

    fn options(&self, job: NewJob) -> NewJob {
        job.with_options(Email::defaults())
    }
}

/// RFC 5321 (4.5.3.1.8): every server takes at least this many.
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
        let is_named = matches!(self.template, Some(EmailTemplate::Named(_)));
        if !self.inline.is_empty() && self.html.is_none() && !is_named {
            return refused("'inline' images are shown by 'html', which is missing");
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
        let queue = QueueFiles::of(ctx);
        let parts = MessageParts {
            mail: &self,
            from,
            message_id: &message_id,
            texts: MailTexts::of(&self, server.templates.as_deref(), &queue)?,
            files: attachment::read_all(self.files(), settings, &queue)?,
        };
        let message = parts.message().map_err(Failure::permanent)?;
        let to = self.envelope();
        let delivery = self.deliver(server, (from, &to, &message), ctx)?;
        let is_refused = |to: &str| delivery.refused.iter().any(|refused| refused.to == to);
        let accepted = to.iter().filter(|to| !is_refused(to));
        Ok(EmailResult {
            message_id: format!("<{message_id}>"),
            accepted: accepted.map(|to| (*to).to_owned()).collect(),
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

    /// The addresses of all recipients, each once.
    fn envelope(&self) -> Vec<&str> {
        let mut known = HashSet::new();
        let to = self.recipients().map(Mailbox::address);
        to.filter(|to| known.insert(*to)).collect()
    }

    fn deliver(
        &self,
        server: &EmailServer,
        (from, to, message): (&Mailbox, &[&str], &[u8]),
        ctx: &Context,
    ) -> std::result::Result<Delivery, Failure> {
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
        sent.map_err(|error| error.failure(self.on_unknown, ctx.is_cancelled()))
    }
}

impl EmailServer {
    /// Connects and logs in as a job would, without sending anything: a check of the settings.
    ///
    /// # Errors
    /// Why a job could not log in.
    pub fn try_login(&self, secrets: &Secrets) -> Result<()> {
        // The server's reply may repeat the password.
        let mut mask = Mask::default();
        let login = self.login(|password| {
            let password =
                password.read_by(|name| secrets.read_for(name, Email::KIND, Some(&self.host)))?;
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
