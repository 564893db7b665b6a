//! From a payload to the request: secrets are read, and the body is written once.

use std::collections::BTreeMap;
use std::fmt;

use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use crate::Error;
use crate::clock::Clock;
use crate::handlers::built_in::failed;
use crate::handlers::http::{FileBody, HttpBody, HttpRequest, HttpSession, HttpUrl};
use crate::handlers::input_file::open_input;
use crate::handlers::secrets::{Secret, SecretText};
use crate::handlers::webhook::WebhookSettings;
use crate::handlers::webhook::payload::{
    HttpMethod, IdempotencyKey, Webhook, WebhookAuth, check_username,
};
use crate::handlers::webhook::sign::{SignedMessage, SigningKey};
use crate::model::{base64, mask};
use crate::runner::context::Context;
use crate::runner::handler::Failure;

/// The request of this attempt.
pub(super) fn request(
    webhook: &Webhook,
    settings: &WebhookSettings,
    session: &HttpSession<'_>,
) -> Result<HttpRequest, Failure> {
    let url = HttpUrl::parse(&webhook.url).map_err(Failure::permanent)?;
    let draft = Draft {
        webhook,
        ctx: session.ctx(),
        session,
        host: url.host(),
    };
    let query = draft.form(&webhook.query)?;
    let (mut body, content_type) = draft.body(settings)?;
    let mut headers = draft.headers()?;
    if let Some(content_type) = content_type {
        let content_type = HeaderValue::from_static(content_type);
        headers.entry(CONTENT_TYPE).or_insert(content_type);
    }
    draft.sign(&mut headers, &mut body)?;
    Ok(HttpRequest {
        method: webhook.method().into(),
        url: url.with_query(&query).map_err(Failure::permanent)?,
        headers,
        body,
        redirects: webhook.redirects,
    })
}

struct Draft<'a> {
    webhook: &'a Webhook,
    ctx: &'a Context,
    session: &'a HttpSession<'a>,
    host: &'a str,
}

impl Draft<'_> {
    fn read(&self, text: &SecretText) -> Result<Secret, Failure> {
        text.read(self.ctx, Some(self.host))
    }

    /// The fields as a form or a query has them.
    fn form(&self, fields: &BTreeMap<String, SecretText>) -> Result<String, Failure> {
        let pairs = fields.iter().map(|(name, value)| {
            let value = self.read(value)?;
            Ok(format!(
                "{}={}",
                mask::percent(name, true),
                mask::percent(value.reveal(), true)
            ))
        });
        Ok(pairs.collect::<Result<Vec<_>, Failure>>()?.join("&"))
    }

    /// The body, and its content type.
    fn body(
        &self,
        settings: &WebhookSettings,
    ) -> Result<(HttpBody, Option<&'static str>), Failure> {
        const JSON: &str = "application/json";
        const TEXT: &str = "text/plain; charset=utf-8";
        const FORM: &str = "application/x-www-form-urlencoded";
        const BYTES: &str = "application/octet-stream";

        let webhook = self.webhook;
        let (bytes, content_type) = if let Some(body) = &webhook.body {
            match serde_json::from_str::<String>(body.get()) {
                Ok(text) => (text.into_bytes(), TEXT),
                Err(_) => (body.get().as_bytes().to_vec(), JSON),
            }
        } else if let Some(json) = &webhook.json {
            (json.get().as_bytes().to_vec(), JSON)
        } else if let Some(text) = &webhook.body_base64 {
            (base64::decode(text).unwrap_or_default(), BYTES)
        } else if let Some(fields) = &webhook.form {
            (self.form(fields)?.into_bytes(), FORM)
        } else if let Some(path) = &webhook.body_file {
            settings.check_path("body_file", path)?;
            let what = format_args!("body_file {}", path.display());
            let file = open_input(self.ctx, path)
                .and_then(FileBody::new)
                .map_err(|error| failed(self.ctx, Error::io(what, error)))?;
            return Ok((HttpBody::File(file), Some(BYTES)));
        } else if matches!(
            webhook.method(),
            HttpMethod::Post | HttpMethod::Put | HttpMethod::Patch
        ) {
            // Some servers demand to be told that the body is empty.
            return Ok((HttpBody::Bytes(Vec::new()), None));
        } else {
            return Ok((HttpBody::None, None));
        };
        Ok((HttpBody::Bytes(bytes), Some(content_type)))
    }

    fn headers(&self) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.webhook.headers {
            let name: HeaderName = name.parse().map_err(Failure::permanent)?;
            let value = header(&name, self.read(value)?.reveal())?;
            headers.insert(name, value);
        }
        if let Some(traceparent) = self.ctx.traceparent() {
            let name = HeaderName::from_static("traceparent");
            let value = header(&name, &traceparent.to_string())?;
            headers.entry(name).or_insert(value);
        }
        match &self.webhook.auth {
            None => {}
            Some(WebhookAuth::Bearer(token)) => {
                let text = Secret::from(format!("Bearer {}", self.read(token)?.reveal()));
                headers.insert(AUTHORIZATION, header(&AUTHORIZATION, text.reveal())?);
            }
            Some(WebhookAuth::Basic(auth)) => {
                let (username, password) = (self.read(&auth.username)?, self.read(&auth.password)?);
                check_username(username.reveal()).map_err(Failure::permanent)?;
                let both = Secret::from(format!("{}:{}", username.reveal(), password.reveal()));
                let text = Secret::from(format!(
                    "Basic {}",
                    base64::encode(both.reveal().as_bytes())
                ));
                headers.insert(AUTHORIZATION, header(&AUTHORIZATION, text.reveal())?);
            }
        }
        let key = match &self.webhook.idempotency_key {
            None | Some(IdempotencyKey::OfJob(false)) => return Ok(headers),
            Some(IdempotencyKey::OfJob(true)) => self.ctx.idempotency_key()?,
            Some(IdempotencyKey::Named(key)) => key.clone(),
        };
        let name = HeaderName::from_static("idempotency-key");
        let value = header(&name, &key)?;
        headers.insert(name, value);
        Ok(headers)
    }

    /// Adds the headers of Standard Webhooks.
    fn sign(&self, headers: &mut HeaderMap, body: &mut HttpBody) -> Result<(), Failure> {
        let Some(sign) = &self.webhook.sign else {
            return Ok(());
        };
        let keys = sign.secrets.iter().map(|name| {
            let secret = self.ctx.secret(name, Some(self.host))?;
            SigningKey::parse(secret.reveal()).ok_or_else(|| {
                Failure::permanent(format_args!(
                    "the secret '{name}' is no key to sign with: that is whsec_ and Base64"
                ))
            })
        });
        let keys = keys.collect::<Result<Vec<_>, Failure>>()?;
        let id = self.ctx.idempotency_key()?;
        let message = SignedMessage {
            id: &id,
            timestamp_s: Clock::default().now_ms() / 1000,
        };
        let signature = match body {
            HttpBody::None => message.signature(&keys, &mut std::io::empty()),
            HttpBody::Bytes(bytes) => message.signature(&keys, &mut bytes.as_slice()),
            HttpBody::File(file) => file
                .reader(&|| self.session.is_over())
                .and_then(|mut reader| message.signature(&keys, &mut reader)),
        };
        let signature = signature.map_err(|error| match self.ctx.is_cancelled() {
            true => Failure::cancelled(),
            false => Failure::retry(format_args!("body_file cannot be signed: {error}")),
        })?;
        for (name, value) in [
            ("webhook-id", message.id),
            ("webhook-timestamp", &message.timestamp_s.to_string()),
            ("webhook-signature", &signature),
        ] {
            let name = HeaderName::from_static(name);
            let value = header(&name, value)?;
            headers.insert(name, value);
        }
        Ok(())
    }
}

/// A value that is not shown where headers are logged.
fn header(name: &dyn fmt::Display, value: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        Failure::permanent(format_args!(
            "the header {name} has a character that none may have"
        ))
    })?;
    value.set_sensitive(true);
    Ok(value)
}
