//! Requests over HTTP, for all kinds that make some: one set of rules about what may be called.

mod addresses;
mod client;
mod error;
#[allow(dead_code, reason = "not every set of kinds downloads")]
mod fetch;
mod settings;
mod status;
mod url;

pub use addresses::{AddressRange, Addresses};
pub(crate) use client::{HttpBody, HttpRequest, HttpResponse, HttpSession, HttpTimeouts};
#[allow(unused_imports, reason = "not every set of kinds downloads")]
pub(crate) use fetch::{Download, download};
pub use settings::HttpSettings;
pub(crate) use status::{StatusClass, retry_after};
pub(crate) use url::HttpUrl;
