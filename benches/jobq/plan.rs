//! How much is measured, and where.

use std::path::{Path, PathBuf};

use jobq::bench::Setup;
use jobq::{Durability, Queue};

use crate::report::Goal;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// For figures.
    Full,
    /// To see that everything runs.
    Quick,
}

pub(crate) struct Plan {
    folder: PathBuf,
    size: Size,
    jobs: Option<usize>,
}

impl Plan {
    pub(crate) fn new(folder: &Path, size: Size, jobs: Option<usize>) -> Plan {
        Plan {
            folder: folder.to_owned(),
            size,
            jobs,
        }
    }

    /// As many jobs as were asked for, or the usual number.
    pub(crate) fn jobs_or(&self, usual: usize) -> usize {
        self.jobs.unwrap_or(usual)
    }

    /// The first for figures, the second for a smoke run.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        match self.size {
            Size::Full => full,
            Size::Quick => quick,
        }
    }

    /// A smoke run has no goals.
    pub(crate) fn goal(&self, goal: Goal) -> Option<Goal> {
        self.pick(Some(goal), None)
    }

    pub(crate) fn setup(&self, durability: Durability) -> Setup {
        Setup::new(&self.folder, Queue::options(), durability)
    }
}
