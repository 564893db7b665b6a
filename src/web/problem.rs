//! Errors as HTTP tells them: `application/problem+json` (RFC 9457).

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::api::hint::hint;
use crate::web::response::Response;
use crate::{Error, JobId};

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Problem {
    name: &'static str,
    pub(crate) detail: String,
    hint: Option<String>,
    /// Members of its own.
    more: Vec<(&'static str, Value)>,
    headers: Vec<(&'static str, String)>,
}

/// The kinds of problems: the name, the status and the title.
pub(crate) const PROBLEMS: [(&str, u16, &str); 26] = [
    ("bad-request", 400, "The request cannot be read"),
    ("unauthorized", 401, "A token is needed"),
    ("read-only", 403, "Nothing may be changed"),
    ("origin", 403, "The request comes from another site"),
    ("host", 403, "The host name is not one of this server"),
    ("exec", 403, "Commands are not accepted"),
    ("tenant", 403, "The token belongs to a tenant"),
    ("not-found", 404, "There is no such thing"),
    ("method", 405, "The method does not fit"),
    ("wrong-state", 409, "The state does not allow it"),
    ("duplicate", 409, "The unique key is taken"),
    ("changed", 412, "It has changed meanwhile"),
    ("too-large", 413, "The body is too large"),
    ("media-type", 415, "The body is not JSON"),
    ("unknown-field", 422, "A field is unknown"),
    ("invalid", 422, "A value is invalid"),
    ("upgrade-required", 426, "This address speaks WebSocket"),
    ("queue-full", 429, "The queue is full"),
    ("head-too-large", 431, "The head is too large"),
    ("timeout", 408, "The request did not come in time"),
    ("unknown-outcome", 500, "It is unknown whether it was done"),
    ("internal", 500, "It did not work"),
    ("busy", 503, "The server is busy"),
    ("stopping", 503, "The server is stopping"),
    ("too-many", 503, "There are too many connections"),
    ("file-full", 507, "The file cannot grow"),
];

impl Problem {
    /// A problem by its name in [`PROBLEMS`].
    pub(crate) fn new(name: &'static str, detail: impl Into<String>) -> Problem {
        debug_assert!(PROBLEMS.iter().any(|(known, ..)| *known == name), "{name}");
        Problem {
            name,
            detail: detail.into(),
            hint: None,
            more: Vec::new(),
            headers: Vec::new(),
        }
    }

    pub(crate) fn no_job(id: JobId) -> Problem {
        Problem::new("not-found", format!("no job {id}"))
    }

    /// An error of what a client has sent: an unknown field has a problem of its own.
    pub(crate) fn of_input(error: Error) -> Problem {
        let problem = Problem::from(error);
        // How `api::unknown_key` words it.
        match problem.detail.contains("unknown key '") || problem.detail.contains("unknown field '")
        {
            true => Problem {
                name: "unknown-field",
                ..problem
            },
            false => problem,
        }
    }

    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a member.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Problem {
        self.more.push((name, value.into()));
        self
    }

    #[must_use]
    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Problem {
        self.headers.push((name, value.into()));
        self
    }

    /// Names the job of an array that it is about, from 0.
    #[must_use]
    pub(crate) fn at_index(self, index: usize) -> Problem {
        let detail = format!("job {} of the array: {}", index + 1, self.detail);
        Problem { detail, ..self }.with("index", index)
    }

    #[must_use]
    fn retry_after(self, seconds: u32) -> Problem {
        self.with_header("Retry-After", seconds.to_string())
    }

    pub(crate) fn status(&self) -> u16 {
        self.kind().1
    }

    fn kind(&self) -> (&'static str, u16, &'static str) {
        let known = PROBLEMS.iter().find(|(name, ..)| *name == self.name);
        known
            .copied()
            .unwrap_or((self.name, 500, "It did not work"))
    }

    /// Whether it is the server's own fault, and worth a line in its log.
    pub(crate) fn is_internal(&self) -> bool {
        self.status() == 500
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let name = if error.is_not_found() {
            "not-found"
        } else if error.is_unknown_outcome() {
            "unknown-outcome"
        } else if error.is_duplicate() {
            "duplicate"
        } else if error.is_wrong_state() {
            "wrong-state"
        } else if error.is_queue_full() {
            "queue-full"
        } else if error.is_busy() {
            "busy"
        } else if error.is_full() {
            "file-full"
        } else if error.is_read_only() {
            "read-only"
        } else if error.is_invalid_input() {
            "invalid"
        } else {
            "internal"
        };
        let mut problem = Problem::new(name, error.to_string());
        problem.hint = hint(&error);
        if let (true, Some(job)) = (error.is_duplicate(), error.job()) {
            problem = problem.with("job", job.0);
        }
        match name {
            "queue-full" => problem.retry_after(5),
            "busy" => problem.retry_after(1),
            _ => problem,
        }
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Response {
        // A value that serializes into memory does not fail.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::of(problem.status(), "application/problem+json", body);
        for (name, value) in problem.headers {
            response = response.header(name, value);
        }
        response
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (name, status, title) = self.kind();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("/problems/{name}"))?;
        map.serialize_entry("title", title)?;
        map.serialize_entry("status", &status)?;
        map.serialize_entry("detail", &self.detail)?;
        map.serialize_entry("hint", &self.hint)?;
        for (name, value) in &self.more {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_kind_and_keeps_the_hint() {
        let error = "often".parse::<crate::Priority>().unwrap_err();
        let problem = Problem::from(error);
        assert_eq!(problem.status(), 422);
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["type"], "/problems/invalid");
        assert!(json["hint"].as_str().unwrap().contains("urgent"), "{json}");
    }

    #[test]
    fn problems_have_names_of_their_own() {
        let names: std::collections::BTreeSet<_> = PROBLEMS.iter().map(|(name, ..)| name).collect();
        assert_eq!(names.len(), PROBLEMS.len());
    }
}
