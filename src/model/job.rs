//! A job: the request ([`NewJob`]) and its record in the file ([`JobRecord`]).

mod label;
mod new;
pub(crate) mod options;
mod record;
mod retries;
mod summary;
pub(crate) mod template;
mod traceparent;
mod typed;
pub(crate) mod update;

pub(crate) use crate::model::job::label::Labels;
pub(crate) use crate::model::job::new::{Due, derived_key};
pub use crate::model::job::new::{NewJob, OnDuplicate, UniqueKey, When};
pub use crate::model::job::options::{JobOptions, JobRef};
pub use crate::model::job::record::{AttemptRef, Enqueued, JobRecord, Prerequisite, Progress};
pub use crate::model::job::summary::{JobSummary, JobsPage, RecordsPage, TextPreview};
pub use crate::model::job::traceparent::Traceparent;
pub use crate::model::job::typed::Job;
