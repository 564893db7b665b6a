//! Requests over HTTP, for all kinds that make some: one set of rules about what may be called.

mod addresses;
mod agent;
mod body;
mod client;
mod connect;
mod error;
mod fetch;
mod settings;
mod status;
mod url;

pub use addresses::{AddressRange, Addresses};
pub(crate) use agent::HttpTimeouts;
pub(crate) use body::{FileBody, HttpBody};
pub(crate) use client::{HttpRequest, HttpResponse, HttpSession};
pub use settings::HttpSettings;
pub(crate) use status::StatusClass;
pub(crate) use url::HttpUrl;
