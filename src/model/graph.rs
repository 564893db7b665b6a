//! The jobs around a job, as a graph: its family and what it waits for.

pub(crate) mod assemble;
pub(crate) mod classes;
pub(crate) mod layout;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::model::id::JobId;
use crate::model::queue::Counts;
use crate::model::state::State;

/// Maximum number of boxes of a graph.
pub(crate) const MAX_BOXES: usize = 300;

/// The jobs around a job: parents and children, jobs that wait for others, and those that hooks have enqueued. Many
/// jobs of one kind that stand in the same relations are one box.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct JobGraph {
    /// The job that was asked for. It has a box of its own.
    pub job: JobId,
    /// Whether all jobs that are connected with it are shown; where not, a box has [`more`](GraphNode::more).
    pub complete: bool,
    /// The size of the drawing: in characters, and in lines of text.
    pub width: u32,
    /// Its height.
    pub height: u32,
    /// The boxes, the nearest to the job first.
    pub nodes: Vec<GraphNode>,
    /// The relations of the boxes.
    pub edges: Vec<GraphEdge>,
}

/// A box of a graph: a job, or many.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GraphNode {
    /// The job; of many, the first one. None: only their number is known.
    pub id: Option<JobId>,
    /// The number of jobs.
    pub jobs: u64,
    /// Their kind; none: it was not looked at.
    pub kind: Option<String>,
    /// The state of a job; none: these are many.
    pub state: Option<State>,
    /// The jobs by state. Those that are missing here are not final, and were not looked at.
    #[serde(serialize_with = "by_state")]
    pub counts: Counts,
    /// Of many, the first that has failed.
    pub first_failed: Option<JobId>,
    /// Whether relations of it are not shown.
    pub more: bool,
    /// What the box says: `42 resize` or `1,204 × resize`.
    pub title: String,
    /// Its second line: the state, or `1,190 done, 14 failed`.
    pub summary: String,
    /// Its column, from 0: the longest way to it.
    pub layer: u32,
    /// The left edge of the box, in characters.
    pub x: u32,
    /// Its upper edge, in lines of text.
    pub y: u32,
    /// Its width, in characters.
    pub width: u32,
    /// Its height, in lines of text.
    pub height: u32,
}

/// A relation of two boxes. It leads to a later layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GraphEdge {
    /// The place of its first box in [`JobGraph::nodes`].
    pub from: usize,
    /// The place of its last box.
    pub to: usize,
    /// What the last box is to the first.
    pub kind: GraphEdgeKind,
    /// The points between the boxes of layers in between, each as x and y.
    pub points: Vec<(u32, u32)>,
}

/// What a job is to another, which comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum GraphEdgeKind {
    /// Its child.
    Child,
    /// It runs once the other has completed.
    NeedsCompleted,
    /// It runs once the other is final, however it ended.
    NeedsFinal,
    /// It runs once the attempt of the other has completed that enqueued it.
    Spawned,
    /// A hook enqueued it when the other ended.
    Hook,
}

words!(GraphEdgeKind, "relation", "relations" {
    Child = "child",
    NeedsCompleted = "needs_completed",
    NeedsFinal = "needs_final",
    Spawned = "spawned",
    Hook = "hook",
});

impl Serialize for GraphEdgeKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

fn by_state<S: Serializer>(counts: &Counts, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(State::ALL.len()))?;
    for (state, jobs) in counts.iter() {
        map.serialize_entry(state.as_str(), &jobs)?;
    }
    map.end()
}
