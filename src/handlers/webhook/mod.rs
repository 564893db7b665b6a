//! The kind `webhook`, also called `http`: sends an HTTP request.

mod equality;
mod outcome;
mod payload;
mod pointer;
mod request;
mod response;
mod sign;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock;
use crate::handlers::built_in::BuiltInJob;
use crate::handlers::http::{HttpSession, HttpSettings, HttpTimeouts};
use crate::handlers::paths::{begin_at, check_roots};
use crate::handlers::webhook::outcome::ResponseRules;
pub use crate::handlers::webhook::payload::{
    BasicAuth, HttpMethod, IdempotencyKey, OnMismatch, ResponseExpectation, StatusPattern, Webhook,
    WebhookAuth, WebhookSigning,
};
use crate::handlers::webhook::response::Reader;
use crate::model::job::{Job, JobOptions, NewJob};
use crate::model::retry::Jitter;
use crate::runner::context::Context;
use crate::runner::handler::Failure;

/// What `[kinds.webhook.settings]` may say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct WebhookSettings {
    /// What may be called, and how.
    #[serde(flatten)]
    pub http: HttpSettings,
    /// The folders that files may be read from and saved in, and those below them; any, if this is left out.
    pub roots: Option<Vec<PathBuf>>,
}

/// The result of a webhook.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WebhookResult {
    /// The status of the response.
    pub status: u16,
    /// Where it came from, after redirects, without the query.
    pub url: String,
    /// How long it took from the first look at the payload, in milliseconds.
    pub ms: u64,
    /// How many bytes of the body were read, after decompression.
    pub bytes: u64,
    /// Some of the headers.
    pub headers: BTreeMap<String, String>,
    /// The body, if it says that it is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Box<RawValue>>,
    /// The body, if it is another text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Whether the body was longer than what is shown here.
    #[serde(rename = "truncated")]
    pub is_truncated: bool,
    /// The parts that the payload asks for; null where there are none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extract: BTreeMap<String, Option<Box<RawValue>>>,
    /// The file that has the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<PathBuf>,
}

impl Job for Webhook {
    const KIND: &'static str = "webhook";
    type Output = WebhookResult;

    fn options(&self, job: NewJob) -> NewJob {
        job.with_options(Webhook::defaults())
    }
}

/// The schedule that Standard Webhooks recommend.
const RETRY_DELAYS_S: [u64; 9] = [
    5,
    5 * 60,
    30 * 60,
    2 * 3600,
    5 * 3600,
    10 * 3600,
    14 * 3600,
    20 * 3600,
    24 * 3600,
];

impl BuiltInJob for Webhook {
    type Settings = WebhookSettings;
    const HELP: &'static str = include_str!("help.txt");
    const TAKES_SECRETS: bool = true;

    fn defaults() -> JobOptions {
        JobOptions {
            retry_delays: Some(RETRY_DELAYS_S.map(Duration::from_secs).to_vec()),
            jitter: Some(Jitter::Tenth),
            ..JobOptions::default()
        }
    }

    fn relative_to(mut settings: WebhookSettings, folder: &Path) -> WebhookSettings {
        let WebhookSettings { http, roots } = &mut settings;
        begin_at(
            folder,
            http.ca_file.iter_mut().chain(roots.iter_mut().flatten()),
        );
        settings
    }

    fn check(&self) -> crate::Result<()> {
        self.check_all()
    }

    fn run(self, settings: &WebhookSettings, ctx: &Context) -> Result<WebhookResult, Failure> {
        let began = clock::instant();
        if let Some(path) = &self.save_to {
            settings.check_path("save_to", path)?;
        }
        let timeouts = HttpTimeouts {
            whole: Duration::from_millis(self.timeout_ms),
            connect: Duration::from_millis(self.connect_timeout_ms),
        };
        let mut session = HttpSession::begin(&settings.http, ctx, timeouts);
        let request = request::request(&self, settings, &session)?;
        let has_key = request.headers.contains_key("idempotency-key");
        let response = session.send(request)?;
        let reader = Reader {
            webhook: &self,
            rules: ResponseRules::of(&self, has_key),
            session,
            ctx,
        };
        let mut result = reader.read(response)?;
        let took = clock::instant().duration_since(began);
        result.ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Ok(result)
    }
}

impl WebhookSettings {
    fn check_path(&self, field: &str, path: &Path) -> Result<(), Failure> {
        check_roots(Webhook::KIND, self.roots.as_deref(), path)
            .map_err(|error| Failure::permanent(error.context(field)))
    }
}
