//! The graph of a job: what is read around it, and what becomes one box.

use jobq::{GraphEdgeKind, JobGraph, JobId, NewJob, Outcome, Queue};

use crate::support::by;

fn add(queue: &Queue, job: NewJob) -> JobId {
    queue.enqueue(job).unwrap().id
}

fn file() -> (tempfile::TempDir, Queue) {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(folder.path().join("jobs.db")).unwrap();
    (folder, queue)
}

/// Each relation as `from relation to`, by the titles of the boxes, sorted.
fn relations(graph: &JobGraph) -> Vec<String> {
    let title = |at: usize| &graph.nodes[at].title;
    let edges = graph.edges.iter();
    let mut found: Vec<_> = edges
        .map(|edge| format!("{} {} {}", title(edge.from), edge.kind, title(edge.to)))
        .collect();
    found.sort();
    found
}

#[test]
fn all_relations_of_a_job_are_followed_in_both_directions() {
    let (_folder, queue) = file();
    let first = add(&queue, NewJob::new("first"));
    let parent = add(&queue, NewJob::new("parent").after([first]));
    let child = add(&queue, NewJob::new("child").parent(parent));
    add(&queue, NewJob::new("last").after_any([child]));
    add(&queue, NewJob::new("stranger"));
    let graph = queue.graph(child).unwrap();
    assert_eq!(
        relations(&graph),
        [
            "1 first needs_completed 2 parent",
            "2 parent child 3 child",
            "3 child needs_final 4 last"
        ]
    );
    assert_eq!(graph.nodes[0].id, Some(child));
    assert!(graph.complete);
    let gone = queue.graph(JobId(77)).unwrap_err();
    assert!(gone.is_not_found(), "{gone}");
}

#[test]
fn spawned_children_hang_on_their_parent_by_one_relation() {
    let (_folder, queue) = file();
    let parent = add(&queue, NewJob::new("parent"));
    let spawn = by(|ctx| {
        ctx.spawn_child(NewJob::new("child")).unwrap();
        Outcome::Done(None)
    });
    queue.runner().kind("parent", spawn).run_due().unwrap();
    let graph = queue.graph(parent).unwrap();
    assert_eq!(relations(&graph), ["1 parent child 2 child"]);
}

#[test]
fn a_hooks_job_hangs_on_the_job_that_has_ended() {
    let (_folder, queue) = file();
    let job = NewJob::new("work").on_success(NewJob::new("tell"));
    let job = add(&queue, job);
    let done = by(|_| Outcome::Done(None));
    queue.runner().kind("work", done).run_due().unwrap();
    let expected = ["1 work hook 2 tell"];
    assert_eq!(relations(&queue.graph(job).unwrap()), expected);
    assert_eq!(relations(&queue.graph(JobId(2)).unwrap()), expected);
}

/// More than are read one by one, less than are counted in the time there is, also on a slow machine.
#[test]
fn each_of_many_children_is_counted_once() {
    let (_folder, queue) = file();
    let parent = add(&queue, NewJob::new("album"));
    let child = |kind: &str| NewJob::new(kind).parent(parent);
    let resizes = (0..600).map(|_| child("resize"));
    let children = resizes.chain((0..400).map(|_| child("scan")));
    let ids = queue.enqueue_many(children).unwrap();
    let asked = ids[500].id;
    queue.cancel(ids[10].id).unwrap();
    let graph = queue.graph(asked).unwrap();
    let jobs: u64 = graph.nodes.iter().map(|node| node.jobs).sum();
    assert_eq!(jobs, 1001, "{:#?}", graph.nodes);
    assert_eq!(graph.nodes[0].id, Some(asked));
    let of_all = |kind: &str| {
        let nodes = graph.nodes.iter();
        let of_kind = nodes.filter(|node| node.kind.as_deref() == Some(kind));
        of_kind.map(|node| node.jobs).sum::<u64>()
    };
    let not_looked_at = graph.nodes.iter().filter(|node| node.kind.is_none());
    let not_looked_at: u64 = not_looked_at.map(|node| node.jobs).sum();
    assert_eq!(of_all("resize") + of_all("scan") + not_looked_at, 1000);
    let cancelled = jobq::State::Cancelled;
    let cancelled: u64 = graph
        .nodes
        .iter()
        .map(|node| node.counts.get(cancelled))
        .sum();
    assert_eq!(cancelled, 1);
    assert!(graph.nodes.len() <= 5);
}

#[test]
fn a_graph_has_at_most_300_boxes_and_says_where_it_ends() {
    let (_folder, queue) = file();
    let mut last = add(&queue, NewJob::new("step"));
    for _ in 0..400 {
        last = add(&queue, NewJob::new("step").after([last]));
    }
    let graph = queue.graph(JobId(1)).unwrap();
    assert!(graph.nodes.len() <= 300, "{}", graph.nodes.len());
    assert!(!graph.complete);
    let cut: Vec<_> = graph.nodes.iter().filter(|node| node.more).collect();
    assert_eq!(cut.len(), 1, "{cut:?}");
    assert!(
        graph
            .edges
            .iter()
            .all(|edge| edge.kind == GraphEdgeKind::NeedsCompleted)
    );
}
