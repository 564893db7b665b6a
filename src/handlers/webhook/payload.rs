//! The payload of kind `webhook`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use ureq::http::{HeaderName, HeaderValue, Method};

use crate::handlers::http::HttpUrl;
use crate::handlers::secrets::SecretText;
use crate::{Error, Result};

/// The payload of kind `webhook`: an HTTP request, and what its response must be.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where it goes: http or https.
    pub url: String,
    /// By default POST with a body, and GET without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<HttpMethod>,
    /// Parameters behind those of the URL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, SecretText>,
    /// Headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, SecretText>,
    /// A text that is sent as it is; any other JSON is sent as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Box<RawValue>>,
    /// JSON that is sent as it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Box<RawValue>>,
    /// Bytes that are sent, as Base64.
    #[serde(default, alias = "bodyBase64", skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// A file of the runner's machine that is sent.
    #[serde(default, alias = "bodyFile", skip_serializing_if = "Option::is_none")]
    pub body_file: Option<PathBuf>,
    /// Fields that are sent as a form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<BTreeMap<String, SecretText>>,
    /// Who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<WebhookAuth>,
    /// Sign it as Standard Webhooks say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign: Option<WebhookSigning>,
    /// Send the header `idempotency-key`.
    #[serde(
        default,
        alias = "idempotencyKey",
        skip_serializing_if = "Option::is_none"
    )]
    pub idempotency_key: Option<IdempotencyKey>,
    /// How long an attempt may take, with all redirects.
    #[serde(default = "timeout_ms", alias = "timeoutMs")]
    pub timeout_ms: u64,
    /// How long the lookup of the name and the connection may take, each.
    #[serde(default = "connect_timeout_ms", alias = "connectTimeoutMs")]
    pub connect_timeout_ms: u64,
    /// How many redirects are followed.
    #[serde(default)]
    pub redirects: u32,
    /// What the response must be.
    #[serde(default)]
    pub expect: ResponseExpectation,
    /// Parts of the response by name, as JSON pointers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extract: BTreeMap<String, String>,
    /// A file of the runner's machine that gets the response.
    #[serde(default, alias = "saveTo", skip_serializing_if = "Option::is_none")]
    pub save_to: Option<PathBuf>,
    /// How much of a response is read at most; by default 1 MiB, and 1 GiB into a file.
    #[serde(
        default,
        alias = "maxResponseBytes",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_response_bytes: Option<u64>,
    /// What is tried again, whatever else is said of it.
    #[serde(default, alias = "retryOn", skip_serializing_if = "Vec::is_empty")]
    pub retry_on: Vec<StatusPattern>,
    /// What fails for good, whatever else is said of it.
    #[serde(default, alias = "failOn", skip_serializing_if = "Vec::is_empty")]
    pub fail_on: Vec<StatusPattern>,
    /// What a response means that is not the expected one though its status is.
    #[serde(default, alias = "onMismatch")]
    pub on_mismatch: OnMismatch,
}

fn timeout_ms() -> u64 {
    30_000
}

fn connect_timeout_ms() -> u64 {
    5_000
}

/// A method of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "their names say it")]
#[non_exhaustive]
pub enum HttpMethod {
    #[serde(alias = "get")]
    Get,
    #[serde(alias = "head")]
    Head,
    #[serde(alias = "post")]
    Post,
    #[serde(alias = "put")]
    Put,
    #[serde(alias = "patch")]
    Patch,
    #[serde(alias = "delete")]
    Delete,
    #[serde(alias = "options")]
    Options,
}

impl From<HttpMethod> for Method {
    fn from(method: HttpMethod) -> Method {
        match method {
            HttpMethod::Get => Method::GET,
            HttpMethod::Head => Method::HEAD,
            HttpMethod::Post => Method::POST,
            HttpMethod::Put => Method::PUT,
            HttpMethod::Patch => Method::PATCH,
            HttpMethod::Delete => Method::DELETE,
            HttpMethod::Options => Method::OPTIONS,
        }
    }
}

/// Who asks, in the header `authorization`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WebhookAuth {
    /// A user and a password.
    Basic(BasicAuth),
    /// A token.
    Bearer(SecretText),
}

/// A user and a password.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// The user, without a colon.
    pub username: SecretText,
    /// The password.
    pub password: SecretText,
}

/// A signature as in Standard Webhooks 1.0.0.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSigning {
    /// The names of the secrets with the keys; there is a signature by each.
    pub secrets: Vec<String>,
}

/// What the header `idempotency-key` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IdempotencyKey {
    /// A key that is the job's own and the same in each attempt; or none.
    OfJob(bool),
    /// This text.
    Named(String),
}

/// What a response must be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResponseExpectation {
    /// The status; by default 2xx.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<StatusPattern>,
    /// A text in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Values in the body by their JSON pointers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub json: BTreeMap<String, Box<RawValue>>,
}

/// What a response means that is not the expected one though its status is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnMismatch {
    /// The job is tried again.
    #[default]
    Retry,
    /// The job fails.
    Fail,
}

/// A status, as `404`, or all of a class, as `"5xx"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusPattern {
    /// This one.
    One(u16),
    /// All that begin with this digit.
    Class(u16),
}

impl StatusPattern {
    pub(super) fn fits(self, status: u16) -> bool {
        match self {
            StatusPattern::One(one) => status == one,
            StatusPattern::Class(digit) => status / 100 == digit,
        }
    }
}

impl FromStr for StatusPattern {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<StatusPattern, String> {
        let class = text.strip_suffix("xx").or(text.strip_suffix("XX"));
        let number = class.unwrap_or(text).parse::<u16>().ok();
        match (class, number) {
            (Some(_), Some(digit @ 1..=9)) => Ok(StatusPattern::Class(digit)),
            (None, Some(status @ 100..=999)) => Ok(StatusPattern::One(status)),
            _ => Err(format!("'{text}' is no status such as 404 or \"5xx\"")),
        }
    }
}

impl fmt::Display for StatusPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StatusPattern::One(status) => write!(f, "{status}"),
            StatusPattern::Class(digit) => write!(f, "{digit}xx"),
        }
    }
}

impl Serialize for StatusPattern {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            StatusPattern::One(status) => to.serialize_u16(*status),
            StatusPattern::Class(_) => to.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for StatusPattern {
    fn deserialize<D: Deserializer<'de>>(value: D) -> std::result::Result<StatusPattern, D::Error> {
        let text = match Value::deserialize(value)? {
            Value::String(text) => text,
            other => other.to_string(),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// These are set by the request itself.
const OWN_HEADERS: [&str; 11] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "expect",
];

const SIGNATURE_HEADERS: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

const LONGEST_MS: u64 = 24 * 3600 * 1000;
const MOST_REDIRECTS: u32 = 20;
/// What is looked at, or shown in the result, is in memory.
pub(super) const MOST_BYTES_IN_MEMORY: u64 = 64 * 1024 * 1024;

impl Webhook {
    /// A request of this URL.
    pub fn new(url: impl Into<String>) -> Webhook {
        Webhook {
            url: url.into(),
            method: None,
            query: BTreeMap::new(),
            headers: BTreeMap::new(),
            body: None,
            json: None,
            body_base64: None,
            body_file: None,
            form: None,
            auth: None,
            sign: None,
            idempotency_key: None,
            timeout_ms: timeout_ms(),
            connect_timeout_ms: connect_timeout_ms(),
            redirects: 0,
            expect: ResponseExpectation::default(),
            extract: BTreeMap::new(),
            save_to: None,
            max_response_bytes: None,
            retry_on: Vec::new(),
            fail_on: Vec::new(),
            on_mismatch: OnMismatch::default(),
        }
    }

    pub(super) fn method(&self) -> HttpMethod {
        let usual = match self.has_body() {
            true => HttpMethod::Post,
            false => HttpMethod::Get,
        };
        self.method.unwrap_or(usual)
    }

    fn bodies(&self) -> [(&'static str, bool); 5] {
        [
            ("body", self.body.is_some()),
            ("json", self.json.is_some()),
            ("body_base64", self.body_base64.is_some()),
            ("body_file", self.body_file.is_some()),
            ("form", self.form.is_some()),
        ]
    }

    fn has_body(&self) -> bool {
        self.bodies().iter().any(|(_, is_given)| *is_given)
    }

    /// Whether the response is looked at.
    pub(super) fn looks_at_body(&self) -> bool {
        self.expect.body.is_some() || !self.expect.json.is_empty() || !self.extract.is_empty()
    }

    pub(super) fn check_all(&self) -> Result<()> {
        HttpUrl::parse(&self.url)?;
        self.check_body()?;
        self.check_headers()?;
        self.check_limits()?;
        for path in self.body_file.iter().chain(&self.save_to) {
            check_path(path)?;
        }
        let pointers = self.expect.json.keys().chain(self.extract.values());
        for pointer in pointers {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                return refused(format!(
                    "'{pointer}' is not a JSON pointer such as \"/data/id\""
                ));
            }
        }
        Ok(())
    }

    fn check_body(&self) -> Result<()> {
        let bodies = self.bodies();
        let mut given = bodies.iter().filter(|(_, is_given)| *is_given);
        let (first, second) = (given.next(), given.next());
        if let (Some((first, _)), Some((second, _))) = (first, second) {
            return refused(format!("'{first}' and '{second}' exclude each other"));
        }
        if first.is_some() && self.method() == HttpMethod::Head {
            return refused("a HEAD request has no body".to_owned());
        }
        if let Some(text) = &self.body_base64
            && crate::model::base64::decode(text).is_none()
        {
            return refused("'body_base64' is not Base64".to_owned());
        }
        Ok(())
    }

    fn check_headers(&self) -> Result<()> {
        let mut names = Vec::new();
        for (text, value) in &self.headers {
            let Ok(name) = text.parse::<HeaderName>() else {
                return refused(format!("'{text}' is no name of a header"));
            };
            if OWN_HEADERS.contains(&name.as_str()) {
                return refused(format!("the header {name} is set by the request itself"));
            }
            let others = [
                ("auth", self.auth.is_some(), &["authorization"][..]),
                ("sign", self.sign.is_some(), &SIGNATURE_HEADERS),
                (
                    "idempotency_key",
                    matches!(&self.idempotency_key, Some(key) if *key != IdempotencyKey::OfJob(false)),
                    &["idempotency-key"],
                ),
            ];
            let is_of = |(_, is_given, names): &&(_, bool, &[&str])| {
                *is_given && names.contains(&name.as_str())
            };
            if let Some((field, ..)) = others.iter().find(is_of) {
                return refused(format!("the header {name} is set by '{field}'"));
            }
            if let SecretText::Plain(value) = value
                && HeaderValue::from_str(value).is_err()
            {
                return refused(format!(
                    "the header {name} has a character that none may have"
                ));
            }
            if names.contains(&name) {
                return refused(format!("the header {name} is given twice"));
            }
            names.push(name);
        }
        if let Some(WebhookAuth::Basic(auth)) = &self.auth
            && let SecretText::Plain(username) = &auth.username
        {
            check_username(username)?;
        }
        if let Some(IdempotencyKey::Named(key)) = &self.idempotency_key
            && (key.is_empty() || HeaderValue::from_str(key).is_err())
        {
            return refused("'idempotency_key' is no value of a header".to_owned());
        }
        match &self.sign {
            Some(sign) if sign.secrets.is_empty() => refused("'sign' names no secrets".to_owned()),
            Some(sign) if sign.secrets.iter().any(|name| name.starts_with("whsec_")) => {
                refused("'sign' has a key; it is to have the name of a secret".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn check_limits(&self) -> Result<()> {
        for (name, time_ms) in [
            ("timeout_ms", self.timeout_ms),
            ("connect_timeout_ms", self.connect_timeout_ms),
        ] {
            if !(1..=LONGEST_MS).contains(&time_ms) {
                return refused(format!("'{name}' must be from 1 to {LONGEST_MS}"));
            }
        }
        if self.redirects > MOST_REDIRECTS {
            return refused(format!("'redirects' must be at most {MOST_REDIRECTS}"));
        }
        let is_read = matches!(self.method(), HttpMethod::Get | HttpMethod::Head);
        if self.redirects > 0 && (!is_read || self.has_body()) {
            return refused("'redirects' goes with GET and HEAD, without a body".to_owned());
        }
        let is_in_memory = self.looks_at_body() || self.save_to.is_none();
        if is_in_memory && self.max_response_bytes.unwrap_or(0) > MOST_BYTES_IN_MEMORY {
            return refused(format!(
                "'max_response_bytes' must be at most {MOST_BYTES_IN_MEMORY}, but for a file whose content nothing \
                 else looks at"
            ));
        }
        Ok(())
    }
}

fn refused(why: String) -> Result<()> {
    Err(Error::invalid(why))
}

/// What stands behind the first colon is the password (RFC 7617).
pub(super) fn check_username(username: &str) -> Result<()> {
    match username.contains(':') {
        true => refused("the username of 'auth' has a colon".to_owned()),
        false => Ok(()),
    }
}

fn check_path(path: &Path) -> Result<()> {
    let is_plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    match path.is_absolute() && is_plain && path.file_name().is_some() {
        true => Ok(()),
        false => refused(format!(
            "'{}' is not an absolute path of a file without '..'",
            path.display()
        )),
    }
}
