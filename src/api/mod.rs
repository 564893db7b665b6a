//! What programs and people are shown of a file: the JSON of every record, the words of events and of why a job
//! does not run; and a job as it is asked for in JSON. The command line and the HTTP server share it; it is not part of the API.

pub mod built_in;
pub mod clock;
pub mod environ;
pub mod error_group;
pub mod event;
pub mod hint;
pub mod hooks;
pub mod job;
pub mod job_in_full;
pub mod job_object;
pub mod job_request;
pub mod json;
pub mod options;
pub mod output;
pub mod queue;
pub mod runner;
pub mod schedule;
pub mod sizes;
pub mod text;
pub mod time;
pub mod undone;
pub mod unknown_key;
pub mod values;
pub mod why;
