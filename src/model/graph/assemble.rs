//! From the jobs that were read to the boxes that are drawn.

use std::collections::{BTreeSet, HashMap};

use crate::model::graph::classes::{JobEdge, classes};
use crate::model::graph::layout::{BOX_HEIGHT, layers, layout};
use crate::model::graph::{GraphEdge, GraphEdgeKind, GraphNode, JobGraph, MAX_BOXES};
use crate::model::id::JobId;
use crate::model::queue::Counts;
use crate::model::state::State;

/// Maximum number of characters of a line of a box.
const MAX_LINE: usize = 40;

/// A job as it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GraphJob {
    pub(crate) id: JobId,
    pub(crate) kind: i64,
    pub(crate) state: State,
    /// Whether it has relations that were not read.
    pub(crate) more: bool,
}

/// Jobs that were counted and not looked at: the rest of a long list.
#[derive(Clone, Debug)]
pub(crate) struct RestOfList {
    /// The job whose list it is, by its place.
    pub(crate) of: usize,
    pub(crate) relation: GraphEdgeKind,
    /// Whether they come before that job.
    pub(crate) is_before: bool,
    /// None: not even that was looked at.
    pub(crate) kind: Option<i64>,
    pub(crate) counts: Counts,
    pub(crate) jobs: u64,
    pub(crate) first: Option<JobId>,
    pub(crate) first_failed: Option<JobId>,
    /// Whether they have relations.
    pub(crate) more: bool,
}

/// What was read around a job, the nearest first; the job itself is the first.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadGraph {
    pub(crate) jobs: Vec<GraphJob>,
    pub(crate) edges: Vec<JobEdge>,
    pub(crate) rests: Vec<RestOfList>,
    pub(crate) kinds: HashMap<i64, String>,
}

impl ReadGraph {
    /// The graph of the first job, with the places of its boxes.
    pub(crate) fn assemble(&self) -> JobGraph {
        let mut boxes = Boxes::new(self);
        for rest in &self.rests {
            boxes.add_rest(rest);
        }
        boxes.keep(MAX_BOXES);
        boxes.place(self)
    }
}

/// A box that is being put together.
#[derive(Clone, Debug)]
struct Bundle {
    id: Option<JobId>,
    jobs: u64,
    kind: Option<i64>,
    counts: Counts,
    first_failed: Option<JobId>,
    more: bool,
}

struct Boxes {
    bundles: Vec<Bundle>,
    /// The box of each job.
    of_job: Vec<usize>,
    edges: BTreeSet<JobEdge>,
}

impl Boxes {
    fn new(read: &ReadGraph) -> Boxes {
        let kinds: Vec<i64> = read.jobs.iter().map(|job| job.kind).collect();
        let of_job = classes(&kinds, &read.edges);
        let mut bundles: Vec<Bundle> = Vec::new();
        for (job, of) in read.jobs.iter().zip(&of_job) {
            let failed = (job.state == State::Failed).then_some(job.id);
            if *of == bundles.len() {
                bundles.push(Bundle {
                    id: Some(job.id),
                    jobs: 0,
                    kind: Some(job.kind),
                    counts: Counts::default(),
                    first_failed: None,
                    more: false,
                });
            }
            let bundle = &mut bundles[*of];
            bundle.jobs += 1;
            bundle.counts.add(job.state, 1);
            bundle.id = earlier(bundle.id, Some(job.id));
            bundle.first_failed = earlier(bundle.first_failed, failed);
            bundle.more |= job.more;
        }
        let edges = read.edges.iter();
        let edges = edges
            .map(|(from, to, kind)| (of_job[*from], of_job[*to], *kind))
            .filter(|(from, to, _)| from != to);
        Boxes {
            bundles,
            edges: edges.collect(),
            of_job,
        }
    }

    /// Adds it to the box of many that stands in the same relation, or as a box of its own.
    fn add_rest(&mut self, rest: &RestOfList) {
        let of = self.of_job[rest.of];
        let edge = |other: usize| match rest.is_before {
            true => (other, of, rest.relation),
            false => (of, other, rest.relation),
        };
        let is_like = |at: &usize| {
            let bundle = &self.bundles[*at];
            rest.kind.is_some()
                && bundle.jobs > 1
                && bundle.kind == rest.kind
                && self.edges.contains(&edge(*at))
        };
        let like = (0..self.bundles.len()).find(is_like);
        let at = like.unwrap_or(self.bundles.len());
        if like.is_none() {
            self.bundles.push(Bundle {
                id: None,
                jobs: 0,
                kind: rest.kind,
                counts: Counts::default(),
                first_failed: None,
                more: false,
            });
            self.edges.insert(edge(at));
        }
        let bundle = &mut self.bundles[at];
        bundle.jobs = bundle.jobs.saturating_add(rest.jobs);
        for (state, jobs) in rest.counts.iter() {
            let jobs = i64::try_from(jobs).unwrap_or(i64::MAX);
            bundle.counts.add(state, jobs);
        }
        bundle.id = earlier(bundle.id, rest.first);
        bundle.first_failed = earlier(bundle.first_failed, rest.first_failed);
        bundle.more |= rest.more;
    }

    /// Leaves out the boxes that are farthest away.
    fn keep(&mut self, most: usize) {
        if self.bundles.len() <= most {
            return;
        }
        for (from, to, _) in &self.edges {
            if *from >= most || *to >= most {
                self.bundles[*from].more = true;
                self.bundles[*to].more = true;
            }
        }
        self.bundles.truncate(most);
        self.edges
            .retain(|(from, to, _)| *from < most && *to < most);
    }

    fn place(self, read: &ReadGraph) -> JobGraph {
        let pairs = |edges: &[&JobEdge]| -> Vec<(usize, usize)> {
            edges.iter().map(|(from, to, _)| (*from, *to)).collect()
        };
        let edges: Vec<&JobEdge> = self.edges.iter().collect();
        let layers = layers(self.bundles.len(), &pairs(&edges));
        // In a file that another program has spoiled, jobs may wait for each other.
        let forward = edges
            .into_iter()
            .filter(|(from, to, _)| layers[*from] < layers[*to]);
        let edges: Vec<&JobEdge> = forward.collect();
        let mut nodes: Vec<GraphNode> = self.bundles.iter().map(|of| node(of, read)).collect();
        let widths: Vec<u32> = nodes.iter().map(|node| node.width).collect();
        let drawn = layout(&widths, &pairs(&edges));
        for (node, place) in nodes.iter_mut().zip(&drawn.places) {
            (node.layer, node.x, node.y) = (place.layer, place.x, place.y);
        }
        let edges = edges.into_iter().zip(drawn.points);
        JobGraph {
            job: read.jobs.first().map(|job| job.id).unwrap_or_default(),
            complete: !nodes.iter().any(|node| node.more),
            width: drawn.width,
            height: drawn.height,
            nodes,
            edges: edges
                .map(|((from, to, kind), points)| GraphEdge {
                    from: *from,
                    to: *to,
                    kind: *kind,
                    points,
                })
                .collect(),
        }
    }
}

fn earlier(one: Option<JobId>, other: Option<JobId>) -> Option<JobId> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn node(of: &Bundle, read: &ReadGraph) -> GraphNode {
    let kind = of.kind.and_then(|kind| read.kinds.get(&kind)).cloned();
    let only = of.counts.iter().find(|(_, jobs)| *jobs > 0);
    let state = only.map(|(state, _)| state).filter(|_| of.jobs == 1);
    let title = match (of.jobs, of.id, &kind) {
        (1, Some(id), Some(kind)) => format!("{id} {kind}"),
        (jobs, _, Some(kind)) => format!("{} × {kind}", grouped(jobs)),
        (jobs, _, None) => format!("{} more", grouped(jobs)),
    };
    let (title, summary) = (cut(title), cut(summary(of, state)));
    let longest = title.chars().count().max(summary.chars().count());
    GraphNode {
        id: of.id,
        jobs: of.jobs,
        kind,
        state,
        counts: of.counts,
        first_failed: of.first_failed,
        more: of.more,
        title,
        summary,
        layer: 0,
        x: 0,
        y: 0,
        // A blank on either side.
        width: longest as u32 + 2,
        height: BOX_HEIGHT,
    }
}

/// `completed`, or `1,190 done, 14 failed`.
fn summary(of: &Bundle, state: Option<State>) -> String {
    if let Some(state) = state {
        return state.to_string();
    }
    let known = of.counts.iter().filter(|(_, jobs)| *jobs > 0);
    // What has ended first.
    let mut known: Vec<(State, u64)> = known.collect();
    known.sort_by_key(|(state, _)| !state.is_final());
    let mut parts: Vec<String> = known
        .into_iter()
        .map(|(state, jobs)| match state {
            State::Completed => format!("{} done", grouped(jobs)),
            state => format!("{} {state}", grouped(jobs)),
        })
        .collect();
    let unknown = of.jobs.saturating_sub(of.counts.total());
    if unknown > 0 {
        parts.push(format!("{} not final", grouped(unknown)));
    }
    parts.join(", ")
}

/// `1,204`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn cut(line: String) -> String {
    match line.char_indices().nth(MAX_LINE) {
        Some(_) => line.chars().take(MAX_LINE - 1).chain(['…']).collect(),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESIZE: i64 = 2;

    fn job(id: i64, kind: i64, state: State) -> GraphJob {
        GraphJob {
            id: JobId(id),
            kind,
            state,
            more: false,
        }
    }

    /// A parent with this number of children, of which one has failed.
    fn family(children: i64) -> ReadGraph {
        let mut read = ReadGraph {
            jobs: vec![job(1, 1, State::Waiting)],
            kinds: [(1, "album".to_owned()), (RESIZE, "resize".to_owned())].into(),
            ..ReadGraph::default()
        };
        for child in 1..=children {
            let state = match child {
                3 => State::Failed,
                _ => State::Completed,
            };
            read.jobs.push(job(1 + child, RESIZE, state));
            read.edges.push((0, child as usize, GraphEdgeKind::Child));
        }
        read
    }

    fn rest(kind: Option<i64>, jobs: u64, done: i64) -> RestOfList {
        let mut counts = Counts::default();
        counts.add(State::Completed, done);
        RestOfList {
            of: 0,
            relation: GraphEdgeKind::Child,
            is_before: false,
            kind,
            counts,
            jobs,
            first: None,
            first_failed: None,
            more: true,
        }
    }

    fn titles(graph: &JobGraph) -> Vec<(&str, &str)> {
        let nodes = graph.nodes.iter();
        nodes
            .map(|node| (node.title.as_str(), node.summary.as_str()))
            .collect()
    }

    #[test]
    fn many_children_are_one_box_with_their_states() {
        let graph = family(1204).assemble();
        assert_eq!(
            titles(&graph),
            [
                ("1 album", "waiting"),
                ("1,204 × resize", "1,203 done, 1 failed")
            ]
        );
        assert!(graph.complete);
        assert_eq!(graph.nodes[1].first_failed, Some(JobId(4)));
        assert_eq!(graph.edges.len(), 1);
    }

    #[test]
    fn the_rest_of_a_list_joins_the_box_of_its_kind() {
        let mut read = family(20);
        read.rests = vec![rest(Some(RESIZE), 500, 500), rest(None, 70, 60)];
        let graph = read.assemble();
        assert_eq!(
            titles(&graph)[1..],
            [
                ("520 × resize", "519 done, 1 failed"),
                ("70 more", "60 done, 10 not final")
            ]
        );
        assert!(!graph.complete);
    }

    #[test]
    fn boxes_beyond_the_most_are_left_out_and_it_is_said() {
        let mut read = family(1);
        for next in 2..400 {
            read.jobs.push(job(1 + next, next, State::Blocked));
            let from = next as usize - 1;
            let edge = (from, from + 1, GraphEdgeKind::NeedsCompleted);
            read.edges.push(edge);
        }
        let graph = read.assemble();
        assert_eq!(graph.nodes.len(), MAX_BOXES);
        let more: Vec<usize> = (0..MAX_BOXES).filter(|at| graph.nodes[*at].more).collect();
        assert_eq!(more, [MAX_BOXES - 1]);
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
