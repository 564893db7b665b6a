//! What an attempt leaves besides its end: the jobs that it has spawned.

use super::checked::{CheckedJob, FamilyRules};
use super::enqueue;
use super::families;
use super::tx::Tx;
use crate::Result;

/// The jobs that an attempt has spawned, to be added with its completion.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spawned {
    pub(crate) jobs: Vec<CheckedJob>,
    /// Some of them are the job's own children, or it wants a finalize phase.
    pub(crate) founds_family: bool,
    pub(crate) family: FamilyRules,
}

impl Spawned {
    pub(crate) fn add(&self, tx: &mut Tx<'_>) -> Result<()> {
        for job in &self.jobs {
            // A sibling comes too late for a parent that has failed or was cancelled meanwhile.
            if families::takes_children_of(tx, job)? {
                enqueue::enqueue(tx, job)?;
            }
        }
        Ok(())
    }
}
