//! Which jobs of a graph are alike, so that one box shows many of them.

use std::collections::{BTreeSet, HashMap};

use crate::model::graph::GraphEdgeKind;
use crate::model::graph::layout::layers;

/// Up to this number, jobs that are alike have boxes of their own.
pub(crate) const FEW: usize = 8;

/// Number of relations that are looked at while classes are divided, and the rounds that there are in any case. What is
/// not divided by then stays together: a box may then stand in relations that not all of its jobs have.
const RELATIONS: usize = 500_000;
const LEAST_ROUNDS: usize = 4;

/// A relation of two jobs by their places.
pub(crate) type JobEdge = (usize, usize, GraphEdgeKind);

/// The class of each job; classes are numbered in the order of their first jobs. Jobs of a class have one kind and stand
/// in the same relations to the same classes. A class of up to [`FEW`] jobs is divided, and job 0 is always alone. No
/// edges between classes form a circle.
pub(crate) fn classes(kinds: &[i64], edges: &[JobEdge]) -> Vec<usize> {
    let pairs: Vec<(usize, usize)> = edges.iter().map(|(from, to, _)| (*from, *to)).collect();
    // Within a class no job leads to another, since both are in one layer.
    let layers = layers(kinds.len(), &pairs);
    let first = (0..kinds.len()).map(|job| (kinds[job], layers[job], job == 0));
    let mut classes = numbered(first);
    let forward = |edge: &&JobEdge| layers[edge.0] < layers[edge.1];
    let mut near: Vec<Vec<(usize, bool, GraphEdgeKind)>> = vec![Vec::new(); kinds.len()];
    for (from, to, kind) in edges.iter().filter(forward) {
        near[*from].push((*to, true, *kind));
        near[*to].push((*from, false, *kind));
    }
    let rounds = RELATIONS / (kinds.len() + 2 * edges.len()).max(1);
    for _ in 0..rounds.max(LEAST_ROUNDS) {
        let count = number_of(&classes);
        classes = numbered((0..kinds.len()).map(|job| {
            let relations: BTreeSet<_> = near[job]
                .iter()
                .map(|(other, is_later, kind)| (classes[*other], *is_later, *kind))
                .collect();
            (classes[job], relations)
        }));
        if number_of(&classes) == count {
            classes = without_small(&classes);
            if number_of(&classes) == count {
                break;
            }
        }
    }
    without_small(&classes)
}

/// The jobs of small classes have classes of their own.
fn without_small(classes: &[usize]) -> Vec<usize> {
    let mut sizes = vec![0; number_of(classes)];
    classes.iter().for_each(|class| sizes[*class] += 1);
    let alone = |(job, class): (usize, &usize)| (*class, (sizes[*class] <= FEW).then_some(job));
    numbered(classes.iter().enumerate().map(alone))
}

/// Numbers for what is equal, in the order in which it comes first.
fn numbered<T: std::hash::Hash + Eq>(of: impl Iterator<Item = T>) -> Vec<usize> {
    let mut numbers = HashMap::new();
    of.map(|of| {
        let next = numbers.len();
        *numbers.entry(of).or_insert(next)
    })
    .collect()
}

fn number_of(classes: &[usize]) -> usize {
    classes.iter().max().map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHILD: GraphEdgeKind = GraphEdgeKind::Child;
    const NEEDS: GraphEdgeKind = GraphEdgeKind::NeedsCompleted;

    #[test]
    fn many_children_and_the_job_behind_them_are_three_boxes() {
        let children = 1..=20;
        let mut kinds = vec![1];
        kinds.extend(children.clone().map(|_| 2));
        kinds.push(3);
        let edges: Vec<JobEdge> = children
            .flat_map(|child| [(0, child, CHILD), (child, 21, NEEDS)])
            .collect();
        let classes = classes(&kinds, &edges);
        assert_eq!(number_of(&classes), 3);
        assert!(classes[1..=20].iter().all(|class| *class == 1));
    }

    #[test]
    fn a_few_children_have_boxes_of_their_own() {
        let edges: Vec<JobEdge> = (1..=FEW).map(|child| (0, child, CHILD)).collect();
        assert_eq!(number_of(&classes(&[1; FEW + 1], &edges)), FEW + 1);
    }

    /// Two albums with twenty pictures each: a picture belongs to one of them.
    #[test]
    fn children_of_different_parents_are_different_boxes() {
        let mut edges = vec![(0, 1, CHILD), (0, 2, CHILD)];
        let mut kinds = vec![1, 2, 2];
        for child in 3..43 {
            kinds.push(3);
            edges.push((1 + child % 2, child, CHILD));
        }
        assert_eq!(number_of(&classes(&kinds, &edges)), 5);
    }

    #[test]
    fn many_chains_of_two_are_two_boxes() {
        let mut edges = Vec::new();
        for first in (1..101).step_by(2) {
            edges.push((0, first, CHILD));
            edges.push((first, first + 1, NEEDS));
        }
        assert_eq!(number_of(&classes(&[1; 101], &edges)), 3);
    }

    proptest! {
        #[test]
        fn classes_form_no_circle(
            kinds in prop::collection::vec(0..2_i64, 2..60), pairs in prop::collection::vec((0..60_usize, 0..60_usize), 0..90)
        ) {
            let edges: Vec<JobEdge> = pairs
                .into_iter()
                .map(|(one, other)| (one % kinds.len(), other % kinds.len()))
                .filter(|(one, other)| one < other)
                .map(|(one, other)| (one, other, NEEDS))
                .collect();
            let classes = classes(&kinds, &edges);
            let count = number_of(&classes);
            let between: Vec<_> = edges.iter().map(|(from, to, _)| (classes[*from], classes[*to])).collect();
            let layers = layers(count, &between);
            for (from, to) in between {
                prop_assert!(layers[from] < layers[to]);
            }
            for class in 0..count {
                let jobs: Vec<usize> = (0..kinds.len()).filter(|job| classes[*job] == class).collect();
                prop_assert!(jobs.len() == 1 || jobs.len() > FEW);
                prop_assert!(jobs.iter().all(|job| kinds[*job] == kinds[jobs[0]]));
            }
            prop_assert_eq!(classes[0], 0);
        }
    }
}
