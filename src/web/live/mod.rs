//! The live socket (`jobq.v1`): what a client has subscribed to, as it changes.
//!
//! The thread of a connection becomes that of its socket ([`socket`]): it reads what the client asks for ([`topic`])
//! and writes the frames of its mailbox ([`mailbox`]). Two threads of the server fill the mailboxes of all sockets
//! ([`service`]). One is the tail of the history ([`tail`]): it waits for changes of the file, finds out what they
//! concern ([`touched`]), and sends events and output to each stream ([`stream`]). The other reads the views that may
//! have changed ([`views`]), and sends what differs from the last reading ([`view`], [`patch`]). It is a thread of its
//! own since a reading may take long, and events must not wait for it.
//!
//! A stream has a position in the history, so that it waits for a client that reads slowly, and goes on without a gap
//! after a cut. A view has none: a client that has missed a patch is told to subscribe again.

pub(crate) mod answers;
pub(crate) mod connect;
mod handshake;
pub(crate) mod history;
mod mailbox;
mod patch;
pub(crate) mod service;
mod socket;
mod stream;
mod tail;
#[cfg(test)]
mod tests;
mod topic;
mod touched;
mod view;
mod views;
