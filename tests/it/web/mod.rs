//! The HTTP API from outside.

mod changes;
mod client;
mod connections;
mod document;
mod reads;
mod security;
mod streams;
mod tenants;
