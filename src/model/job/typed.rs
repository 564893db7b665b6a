//! Typed jobs: a kind, its payload and its output as Rust types.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::job::{JobRecord, NewJob};
use crate::{Error, Result};

/// A typed job: the type is the payload, `KIND` selects the handler, `Output` is the type of the result.
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

    /// Default options of this type's jobs: retries, timeout, queue, tenant and so on. The caller that
    /// enqueues a job may override them. Sets none by default.
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

impl NewJob {
    /// A typed job with the [options](Job::options) of its type. A payload that cannot be written as JSON is reported when the job is enqueued.
    pub fn of<J: Job>(job: &J) -> NewJob {
        job.options(NewJob::new(J::KIND).payload(job))
    }
}

impl JobRecord {
    /// The payload as a typed job.
    ///
    /// # Errors
    /// The kind is another, or the payload does not fit the type.
    pub fn decode<J: Job>(&self) -> Result<J> {
        if self.kind != J::KIND {
            return Err(Error::invalid(format!(
                "job {} is of kind '{}', not '{}'",
                self.id,
                self.kind,
                J::KIND
            )));
        }
        serde_json::from_str(self.payload.get())
            .map_err(|error| Error::invalid(format!("the payload of job {}: {error}", self.id)))
    }
}
