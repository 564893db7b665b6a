//! The HTTP API from outside.

mod changes;
mod client;
mod connections;
mod document;
#[cfg(feature = "cli")]
mod live;
#[cfg(feature = "cli")]
mod page;
mod reads;
mod schemathesis;
mod security;
mod streams;
mod tenants;
mod undo;
