//! What went wrong in a browser, and whether another try can help: one table.

use std::fmt;

use crate::runner::handler::Failure;

/// The class of a failure: the first word of its error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureClass {
    /// A navigation, an action or a wait took too long.
    Timeout,
    /// The network or the server failed.
    Network,
    /// The browser did.
    Browser,
    /// The URL cannot be opened.
    InvalidUrl,
    /// The server or the proxy wants to know who asks.
    Authentication,
    /// The certificate of the server is not trusted.
    Certificate,
    /// The page is not what the job takes it for.
    Page,
    /// The rest.
    Unknown,
}

impl FailureClass {
    #[cfg(test)]
    pub(super) const ALL: [FailureClass; 8] = [
        FailureClass::Timeout,
        FailureClass::Network,
        FailureClass::Browser,
        FailureClass::InvalidUrl,
        FailureClass::Authentication,
        FailureClass::Certificate,
        FailureClass::Page,
        FailureClass::Unknown,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            FailureClass::Timeout => "timeout",
            FailureClass::Network => "network",
            FailureClass::Browser => "browser",
            FailureClass::InvalidUrl => "invalid_url",
            FailureClass::Authentication => "authentication",
            FailureClass::Certificate => "certificate",
            FailureClass::Page => "page",
            FailureClass::Unknown => "unknown",
        }
    }

    pub(super) fn is_retried(self) -> bool {
        match self {
            FailureClass::Timeout
            | FailureClass::Network
            | FailureClass::Browser
            | FailureClass::Unknown => true,
            FailureClass::InvalidUrl
            | FailureClass::Authentication
            | FailureClass::Certificate
            | FailureClass::Page => false,
        }
    }

    /// Of an error that Chrome's network stack names, as `net::ERR_NAME_NOT_RESOLVED`.
    pub(super) fn of_net_error(text: &str) -> FailureClass {
        let Some(name) = text.strip_prefix("net::ERR_") else {
            return FailureClass::Unknown;
        };
        match name {
            "TIMED_OUT" | "CONNECTION_TIMED_OUT" => FailureClass::Timeout,
            "INVALID_URL"
            | "UNKNOWN_URL_SCHEME"
            | "DISALLOWED_URL_SCHEME"
            | "UNSAFE_REDIRECT"
            | "UNSAFE_PORT"
            | "BLOCKED_BY_CLIENT" => FailureClass::InvalidUrl,
            "INVALID_AUTH_CREDENTIALS" | "MISSING_AUTH_CREDENTIALS" | "ACCESS_DENIED" => {
                FailureClass::Authentication
            }
            _ if name.starts_with("PROXY_AUTH_") || name.starts_with("UNSUPPORTED_AUTH") => {
                FailureClass::Authentication
            }
            _ if name.starts_with("CERT_") => FailureClass::Certificate,
            _ => FailureClass::Network,
        }
    }

    /// Of a status of the page itself; none where it is a success.
    pub(super) fn of_status(status: u16) -> Option<FailureClass> {
        match status {
            0..=399 => None,
            401 | 403 | 407 => Some(FailureClass::Authentication),
            408 | 429 | 500.. => Some(FailureClass::Network),
            _ => Some(FailureClass::Page),
        }
    }
}

/// What the browser says of commands to a page that has just gone.
const OF_A_PAGE_THAT_GOES: [&str; 7] = [
    "Session with given id not found",
    "No session with given id",
    "No target with given id",
    "Not attached to an active page",
    "Inspected target navigated or closed",
    "Execution context was destroyed",
    "Cannot find context with specified id",
];

/// What it says of values that are not JSON.
const OF_A_VALUE: [&str; 2] = [
    "Object reference chain is too long",
    "Object couldn't be returned by value",
];

fn has_one_of(why: &str, known: &[&str]) -> bool {
    known.iter().any(|known| why.contains(known))
}

/// Why a page did not do what it was to do.
#[derive(Debug)]
pub(super) enum BrowserError {
    /// With its class.
    Failed(FailureClass, String),
    /// The browser refused a command; it may be that the page has just gone.
    Refused(String),
    /// The attempt is to stop, or a secret is not to be had.
    Other(Failure),
}

impl BrowserError {
    pub(super) fn page(why: impl fmt::Display) -> BrowserError {
        BrowserError::Failed(FailureClass::Page, why.to_string())
    }

    pub(super) fn timeout(why: impl fmt::Display) -> BrowserError {
        BrowserError::Failed(FailureClass::Timeout, why.to_string())
    }

    pub(super) fn browser(why: impl fmt::Display) -> BrowserError {
        BrowserError::Failed(FailureClass::Browser, why.to_string())
    }

    /// Of a command that the browser would refuse again, unless its page was just going.
    pub(super) fn for_good(self) -> BrowserError {
        match self {
            BrowserError::Refused(why) if !has_one_of(&why, &OF_A_PAGE_THAT_GOES) => {
                BrowserError::page(why)
            }
            other => other,
        }
    }

    /// Of a script: what it comes to may be more than can be passed on.
    pub(super) fn of_script(self) -> BrowserError {
        match self {
            BrowserError::Refused(why) if has_one_of(&why, &OF_A_VALUE) => BrowserError::page(why),
            other => other,
        }
    }

    pub(super) fn is_of_browser(&self) -> bool {
        matches!(self, BrowserError::Failed(FailureClass::Browser, _))
    }

    /// Says what was being done.
    pub(super) fn context(self, what: impl fmt::Display) -> BrowserError {
        match self {
            BrowserError::Failed(class, why) => {
                BrowserError::Failed(class, format!("{what}: {why}"))
            }
            BrowserError::Refused(why) => BrowserError::Refused(format!("{what}: {why}")),
            BrowserError::Other(failure) if failure.is_cancelled() => BrowserError::Other(failure),
            BrowserError::Other(failure) => BrowserError::Other(failure.context(what)),
        }
    }
}

impl From<BrowserError> for Failure {
    fn from(error: BrowserError) -> Failure {
        let (class, why) = match error {
            BrowserError::Failed(class, why) => (class, why),
            BrowserError::Refused(why) => (FailureClass::Unknown, why),
            BrowserError::Other(failure) => return failure,
        };
        let message = format!("{}: {why}", class.name());
        match class.is_retried() {
            true => Failure::retry(message),
            false => Failure::permanent(message),
        }
    }
}
