//! What the routes answer: a file for each kind of thing.

pub(crate) mod bulk;
pub(crate) mod enqueue;
pub(crate) mod events;
pub(crate) mod export;
pub(crate) mod insight;
pub(crate) mod job;
pub(crate) mod jobs;
pub(crate) mod logs;
pub(crate) mod openapi;
pub(crate) mod overview;
pub(crate) mod queues;
pub(crate) mod remedy;
pub(crate) mod runners;
pub(crate) mod schedules;
pub(crate) mod schemas;
pub(crate) mod server;
pub(crate) mod undo;
pub(crate) mod update;
