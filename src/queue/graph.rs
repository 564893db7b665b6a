//! The jobs around a job, as a graph.

use crate::model::graph::JobGraph;
use crate::model::id::JobId;
use crate::queue::Queue;
use crate::{Result, store};

impl Queue {
    /// The jobs around a job as a graph that can be drawn: its family, what it waits for and what waits for it, and the
    /// jobs of hooks. Many jobs of one kind in the same relations are one box. It has at most 300 boxes and is read
    /// within about 50 ms however many jobs there are; boxes whose relations were not all read say so.
    ///
    /// ```
    /// # use jobq::{NewJob, Queue};
    /// # let folder = tempfile::tempdir()?;
    /// # let queue = Queue::open(folder.path().join("jobs.db"))?;
    /// let fetch = queue.enqueue(NewJob::new("fetch"))?.id;
    /// queue.enqueue_many((0..1000).map(|_| NewJob::new("unpack").after([fetch])))?;
    /// let graph = queue.graph(fetch)?;
    /// assert_eq!(graph.nodes[0].title, "1 fetch");
    /// assert_eq!(graph.nodes[1].title, "1,000 × unpack");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// There is no such job ([`Error::is_not_found`](crate::Error::is_not_found)), or the file cannot be read.
    pub fn graph(&self, id: JobId) -> Result<JobGraph> {
        Ok(store::read_graph(&*self.store.reader()?, id)?.assemble())
    }
}
