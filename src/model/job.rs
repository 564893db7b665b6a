//! A job: what is asked for ([`NewJob`]), and what the file says of it ([`JobRecord`]).

mod label;
mod new;
mod record;
pub(crate) mod template;
pub(crate) mod update;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use crate::model::job::label::{LabelRefs, Labels};
#[allow(unused_imports)]
pub(crate) use crate::model::job::new::Parent;
pub(crate) use crate::model::job::new::UniqueKey;
pub use crate::model::job::new::{NewJob, OnDuplicate, When};
pub use crate::model::job::record::AttemptRef;
pub use crate::model::job::record::Enqueued;
pub use crate::model::job::record::JobRecord;
pub use crate::model::job::record::Prerequisite;
pub use crate::model::job::record::Progress;

/// A typed job: a serde type is the payload, `KIND` finds its handler, `Output` is what it leaves behind.
///
/// ```
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Thumbnail { photo: String, width: u32 }
///
/// impl jobq::Job for Thumbnail {
///     const KIND: &'static str = "thumbnail";
///     type Output = String; // the path of the small picture
/// }
/// ```
pub trait Job: Serialize + DeserializeOwned {
    /// The name under which a handler is registered.
    const KIND: &'static str;
    /// What a successful attempt returns; read it back with [`Queue::output`](crate::Queue::output).
    type Output: Serialize + DeserializeOwned;

    /// The options that a job of this type has unless whoever enqueues it says otherwise: how it is
    /// retried, its timeout, its queue, whose it is. None unless this is written.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use jobq::{Job, NewJob};
    /// # use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Export { shop: String }
    ///
    /// impl Job for Export {
    ///     const KIND: &'static str = "export";
    ///     type Output = String;
    ///
    ///     fn options(&self, job: NewJob) -> NewJob {
    ///         let job = job.timeout(Duration::from_secs(120)).max_retries(2);
    ///         job.tenant(&self.shop).unique(format!("export-{}", self.shop))
    ///     }
    /// }
    /// ```
    fn options(&self, job: NewJob) -> NewJob {
        job
    }
}

impl<J: Job> From<J> for NewJob {
    fn from(job: J) -> NewJob {
        NewJob::of(&job)
    }
}
