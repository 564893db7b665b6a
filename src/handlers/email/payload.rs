//! The payload of the kind `email`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::handlers::built_in::one_or_more;
use crate::handlers::email::address::Mailbox;
use crate::handlers::email::attachment::EmailFile;

/// The payload of kind `email`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// Who gets it: an address or a list of them.
    #[serde(deserialize_with = "one_or_more")]
    pub to: Vec<Mailbox>,
    /// Who gets a copy.
    #[serde(
        default,
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub cc: Vec<Mailbox>,
    /// Who gets a copy that the others do not see.
    #[serde(
        default,
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub bcc: Vec<Mailbox>,
    /// Who sends it; unless set, the server's `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Mailbox>,
    /// Who gets the answers.
    #[serde(
        default,
        alias = "replyTo",
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub reply_to: Vec<Mailbox>,
    /// The subject; unless set, that of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Whether the texts are made from a template, and from which.
    #[serde(
        default,
        deserialize_with = "template",
        skip_serializing_if = "Option::is_none"
    )]
    pub template: Option<EmailTemplate>,
    /// What the template is filled with.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub variables: Map<String, Value>,
    /// The text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The same as HTML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// Files that go with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<EmailFile>,
    /// Images that the HTML shows, each with a `cid`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inline: Vec<EmailFile>,
    /// More headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The server of the settings.
    #[serde(default = "server", skip_serializing_if = "is_usual_server")]
    pub server: String,
    /// What happens when some recipients are refused.
    #[serde(default)]
    pub partial: PartialDelivery,
    /// What happens when it is not known whether the server has taken the mail.
    #[serde(default, alias = "onUnknown")]
    pub on_unknown: OnUnknown,
}

fn server() -> String {
    "default".to_owned()
}

fn is_usual_server(server: &String) -> bool {
    *server == self::server()
}

/// What a mail is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmailTemplate {
    /// The files of this name in the server's folder `templates`, with the ends `.subject`, `.txt` and `.html`.
    Named(String),
    /// The texts of the payload.
    Payload,
}

impl Serialize for EmailTemplate {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            EmailTemplate::Named(name) => to.serialize_str(name),
            EmailTemplate::Payload => to.serialize_bool(true),
        }
    }
}

fn template<'de, D: Deserializer<'de>>(
    value: D,
) -> std::result::Result<Option<EmailTemplate>, D::Error> {
    match Value::deserialize(value)? {
        Value::Null | Value::Bool(false) => Ok(None),
        Value::Bool(true) => Ok(Some(EmailTemplate::Payload)),
        Value::String(name) => Ok(Some(EmailTemplate::Named(name))),
        _ => Err(serde::de::Error::custom(
            "'template' must be a name, or true where the payload's own texts are templates",
        )),
    }
}

/// What happens when the server refuses some of the recipients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PartialDelivery {
    /// Nobody gets the mail.
    #[default]
    None,
    /// The others get it.
    Ok,
}

/// What happens when the connection is lost after the message was sent and before the server replied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnUnknown {
    /// It is sent again: somebody may get it twice.
    #[default]
    Retry,
    /// The job fails: maybe nobody gets it.
    Fail,
}

impl Email {
    /// A mail with a subject and a text, and everything else as it is where a payload does not say it.
    pub fn new(to: Vec<Mailbox>, subject: impl Into<String>, text: impl Into<String>) -> Email {
        Email {
            to,
            cc: Vec::new(),
            bcc: Vec::new(),
            from: None,
            reply_to: Vec::new(),
            subject: Some(subject.into()),
            template: None,
            variables: Map::new(),
            text: Some(text.into()),
            html: None,
            attachments: Vec::new(),
            inline: Vec::new(),
            headers: BTreeMap::new(),
            server: server(),
            partial: PartialDelivery::default(),
            on_unknown: OnUnknown::default(),
        }
    }

    /// All recipients.
    pub(super) fn recipients(&self) -> impl Iterator<Item = &Mailbox> {
        [&self.to, &self.cc, &self.bcc].into_iter().flatten()
    }

    /// Attachments, then inline images.
    pub(super) fn files(&self) -> impl Iterator<Item = &EmailFile> {
        [&self.attachments, &self.inline].into_iter().flatten()
    }
}
