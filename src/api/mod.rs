//! What programs and people are shown of a file: the JSON of every record, the words of events and of why a job
//! does not run. The command line and the HTTP server share it; it is not part of the API.

pub mod built_in;
pub mod event;
pub mod hint;
pub mod job;
pub mod job_in_full;
pub mod json;
pub mod queue;
pub mod runner;
pub mod schedule;
pub mod text;
pub mod time;
pub mod why;
