//! The live socket, from outside: what its clients are told, and what they are not.

mod client;
mod limits;
mod resume;
mod topics;
