//! The response: read, looked at, saved, and told.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use serde_json::value::RawValue;
use ureq::http::HeaderMap;

use crate::Error;
use crate::handlers::built_in::failed;
use crate::handlers::http::{HttpResponse, HttpSession, HttpUrl};
use crate::handlers::output_file::{OutputFile, OutputFiles};
use crate::handlers::webhook::WebhookResult;
use crate::handlers::webhook::outcome::{ResponseRules, ResponseSummary, ResponseVerdict};
use crate::handlers::webhook::payload::{MOST_BYTES_IN_MEMORY, Webhook};
use crate::handlers::webhook::{equality, pointer};
use crate::model::json;
use crate::model::mask::MaskedStream;
use crate::runner::context::Context;
use crate::runner::handler::Failure;

/// How much of a body is shown, in a result and in an error.
const SHOWN_BYTES: usize = 64 * 1024;
const SHOWN_BYTES_OF_ERROR: usize = 1024;

const MAX_BYTES: u64 = 1024 * 1024;
const MAX_BYTES_OF_FILE: u64 = 1024 * 1024 * 1024;

/// What a result has of the headers.
const SHOWN_HEADERS: [&str; 7] = [
    "content-type",
    "date",
    "etag",
    "last-modified",
    "location",
    "retry-after",
    "x-request-id",
];

/// What a response is measured by.
pub(super) struct Reader<'a> {
    pub(super) webhook: &'a Webhook,
    pub(super) rules: ResponseRules<'a>,
    pub(super) session: HttpSession<'a>,
    pub(super) ctx: &'a Context,
}

/// What was read of a body.
#[derive(Default)]
struct ReadBody {
    /// Empty, if it went into a file.
    bytes_in_memory: Vec<u8>,
    bytes: u64,
    /// There was more.
    is_cut: bool,
    /// It has all of it, but no name yet.
    file: Option<OutputFile>,
}

impl ReadBody {
    /// None, if it is no text. Where there is more of it, the last character may be cut.
    fn text(&self) -> Option<&str> {
        match std::str::from_utf8(&self.bytes_in_memory) {
            Ok(text) => Some(text),
            Err(error) if self.is_cut && error.error_len().is_none() => {
                let whole = &self.bytes_in_memory[..error.valid_up_to()];
                std::str::from_utf8(whole).ok()
            }
            Err(_) => None,
        }
    }
}

impl Reader<'_> {
    /// The result of the job, or why it has none.
    pub(super) fn read(&self, mut response: HttpResponse) -> Result<WebhookResult, Failure> {
        let status = response.response.status().as_u16();
        let is_expected = self.rules.expects(status);
        let body = match is_expected {
            true => self.body(&mut response)?,
            false => self.body_of_error(&mut response),
        };
        let mismatch = match is_expected {
            true => self.mismatch(&body),
            false => None,
        };
        let answer = ResponseSummary {
            status,
            retry_after: response.asked_delay(),
            is_aborted: header(&response, "webhook-delivery") == Some("abort-message"),
            has_expected_body: mismatch.is_none(),
        };
        let why = || ResponseMessage {
            target: &response.target,
            status: response.response.status().to_string(),
            mismatch: mismatch.as_deref(),
            body: self.shown(&body, SHOWN_BYTES_OF_ERROR).0,
        };
        match self.rules.judge(answer) {
            ResponseVerdict::Done => self.result(&response, body),
            ResponseVerdict::Fail => Err(Failure::permanent(why())),
            ResponseVerdict::Retry(None) => Err(Failure::retry(why())),
            ResponseVerdict::Retry(Some(asked)) => {
                let wait = asked.max(self.ctx.retry_delay());
                Err(Failure::retry_after(why(), wait))
            }
        }
    }

    fn body(&self, response: &mut HttpResponse) -> Result<ReadBody, Failure> {
        let webhook = self.webhook;
        let usual = match webhook.save_to {
            Some(_) => MAX_BYTES_OF_FILE,
            None => MAX_BYTES,
        };
        let mut max_bytes = webhook.max_response_bytes.unwrap_or(usual);
        let is_in_memory = webhook.looks_at_body() || webhook.save_to.is_none();
        if is_in_memory {
            max_bytes = max_bytes.min(MOST_BYTES_IN_MEMORY);
        }
        let mut file = self.file()?;
        let mut bytes_in_memory = Vec::new();
        let copied = self.session.copy(response, max_bytes, &mut |piece| {
            if is_in_memory {
                bytes_in_memory.extend_from_slice(piece);
            }
            match &mut file {
                Some(file) => file
                    .file()
                    .write_all(piece)
                    .map_err(|error| self.unsaved(error)),
                None => Ok(()),
            }
        })?;
        if copied.is_cut && (file.is_some() || webhook.looks_at_body()) {
            return Err(Failure::permanent(format_args!(
                "{}: the response is longer than {max_bytes} bytes; 'max_response_bytes' says how long it may be",
                response.target
            )));
        }
        Ok(ReadBody {
            bytes_in_memory,
            bytes: copied.bytes,
            is_cut: copied.is_cut,
            file,
        })
    }

    /// As much as is shown, if it can be read.
    fn body_of_error(&self, response: &mut HttpResponse) -> ReadBody {
        let mut body = ReadBody::default();
        let max_bytes = SHOWN_BYTES_OF_ERROR as u64;
        let copied = self.session.copy(response, max_bytes, &mut |piece| {
            body.bytes_in_memory.extend_from_slice(piece);
            Ok(())
        });
        // What was to be said about the response is known already.
        body.is_cut = copied.is_ok_and(|copied| copied.is_cut);
        body
    }

    /// The file that the response goes into.
    fn file(&self) -> Result<Option<OutputFile>, Failure> {
        let Some(path) = &self.webhook.save_to else {
            return Ok(None);
        };
        let created = OutputFiles::of(self.ctx)?.create(path);
        created.map(Some).map_err(|error| self.unsaved(error))
    }

    fn unsaved(&self, error: io::Error) -> Failure {
        let path = self.webhook.save_to.as_deref().unwrap_or("".as_ref());
        failed(
            self.ctx,
            Error::io(format_args!("save_to {}", path.display()), error),
        )
    }

    /// How the body is not as it is expected.
    fn mismatch(&self, body: &ReadBody) -> Option<String> {
        let expect = &self.webhook.expect;
        if expect.body.is_none() && expect.json.is_empty() {
            return None;
        }
        let text = String::from_utf8_lossy(&body.bytes_in_memory);
        if let Some(part) = &expect.body
            && !text.contains(part)
        {
            return Some(format!("the body has no {part:?}"));
        }
        expect.json.iter().find_map(|(pointer, expected)| {
            let Some(found) = pointer::part(&text, pointer) else {
                return Some(format!("the body has no \"{pointer}\""));
            };
            let expected = expected.get();
            let is_same = equality::is_same(found, expected);
            (!is_same).then(|| format!("\"{pointer}\" of the body is not {expected}"))
        })
    }

    /// The beginning of a body without the secrets in it, and whether that is all. Where a secret may be cut, the
    /// part of it is left out, too.
    fn shown(&self, body: &ReadBody, max_bytes: usize) -> (String, bool) {
        let begin = &body.bytes_in_memory[..body.bytes_in_memory.len().min(max_bytes)];
        let is_whole = !body.is_cut && begin.len() == body.bytes_in_memory.len();
        let mut stream = MaskedStream::new(self.ctx.masked_secrets());
        let mut masked = Vec::with_capacity(begin.len());
        stream.take(begin, &mut masked);
        if is_whole {
            stream.finish(&mut masked);
        }
        let mut text = String::from_utf8_lossy(&masked).into_owned();
        if !is_whole {
            // The last character may be cut.
            text.truncate(text.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
        }
        (text, is_whole)
    }

    fn result(
        &self,
        response: &HttpResponse,
        mut body: ReadBody,
    ) -> Result<WebhookResult, Failure> {
        let mut result = WebhookResult {
            status: response.response.status().as_u16(),
            url: response.url.to_string(),
            bytes: body.bytes,
            headers: shown_headers(response.response.headers(), &response.url),
            ..WebhookResult::default()
        };
        let text = body.text();
        let (shown, is_whole) = self.shown(&body, SHOWN_BYTES);
        result.is_truncated = !is_whole;
        for (name, pointer) in &self.webhook.extract {
            let part = text.and_then(|text| raw(pointer::part(text, pointer)?));
            result.extract.insert(name.clone(), part);
        }
        let json = text
            .filter(|_| is_whole && body.file.is_none() && is_json(response))
            .and_then(raw);
        let is_text = text.is_some();
        if let Some(file) = body.file.take() {
            file.finish().map_err(|error| self.unsaved(error))?;
            result.saved.clone_from(&self.webhook.save_to);
            result.is_truncated = false;
        } else if json.is_some() {
            result.json = json;
        } else if is_text && !shown.is_empty() {
            result.body = Some(shown);
        }
        Ok(result)
    }
}

fn header<'a>(response: &'a HttpResponse, name: &str) -> Option<&'a str> {
    response.response.headers().get(name)?.to_str().ok()
}

/// JSON text that a result can have in it.
fn raw(json: &str) -> Option<Box<RawValue>> {
    json::check(&format!("[[{json}]]")).ok()?;
    RawValue::from_string(json.trim().to_owned()).ok()
}

fn is_json(response: &HttpResponse) -> bool {
    let content_type = header(response, "content-type").unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

fn shown_headers(headers: &HeaderMap, url: &HttpUrl) -> BTreeMap<String, String> {
    let shown = SHOWN_HEADERS.iter().filter_map(|name| {
        let text = headers.get(*name)?.to_str().ok()?;
        let text = match *name {
            "location" => url.join(text).ok()?.to_string(),
            _ => text.to_owned(),
        };
        Some(((*name).to_owned(), text))
    });
    shown.collect()
}

/// What an error says.
struct ResponseMessage<'a> {
    target: &'a str,
    status: String,
    mismatch: Option<&'a str>,
    body: String,
}

impl fmt::Display for ResponseMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.target, self.status)?;
        if let Some(mismatch) = self.mismatch {
            write!(f, ", but {mismatch}")?;
        }
        match self.body.trim() {
            "" => Ok(()),
            body => write!(f, ": {body}"),
        }
    }
}
