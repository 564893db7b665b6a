//! Which jobs: by what they are, for every verb that takes many.

use clap::Args;
use jobq::State;

use super::choices;
use crate::cli::parse;

/// What jobs have in common.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct JobFilter {
    /// Only jobs of this queue; may be given more than once
    #[arg(long = "queue", value_name = "NAME")]
    pub(crate) queues: Vec<String>,
    /// Only jobs of this kind; may be given more than once
    #[arg(long = "kind", value_name = "KIND")]
    pub(crate) kinds: Vec<String>,
    /// Only jobs of this tenant
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// Only jobs with this tag; of several, with all
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = parse::tag)]
    pub(crate) tags: Vec<(String, String)>,
    /// Only children of this job
    #[arg(long, value_name = "ID")]
    pub(crate) parent: Option<String>,
}

/// In which state they are.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct StateFilter {
    /// Only jobs in this state; may be given more than once, or as a list: pending,running
    #[arg(long = "state", value_name = "STATE", value_parser = choices::state(), value_delimiter = ',')]
    pub(crate) states: Vec<State>,
}

/// The arguments of [`JobFilter`], for verbs that take it in place of numbers.
pub(super) const FILTERS: [&str; 5] = ["queues", "kinds", "tenant", "tags", "parent"];
/// Those of [`JobFilter`] and [`StateFilter`].
pub(super) const FILTERS_AND_STATE: [&str; 6] =
    ["queues", "kinds", "tenant", "tags", "parent", "states"];
