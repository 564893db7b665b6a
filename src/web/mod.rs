//! The browser page, the HTTP API and the live socket of a queue: `jobq serve`, or a part of an application.
//!
//! One thread holds the connections that wait (`acceptor`); a request whose head is there (`head`) gets a thread,
//! where it is admitted (`dispatch`), its body is read (`connection`), and its route (`table`) answers. What a
//! route can do to the file is a value that it is given (`access`).

mod acceptor;
mod access;
mod api;
mod assets;
mod auth;
mod bulk;
mod connection;
mod dispatch;
mod head;
mod incoming;
mod listen;
mod live;
mod origin;
mod page;
mod problem;
mod query;
mod request_slots;
mod response;
mod router;
mod routes;
mod server;
mod state;
mod stream;
mod table;
mod tenant_event;

pub use listen::ListenAddress;
pub use server::{Server, ServerHandle};
