//! `jobq graph`: its tree of lines and its JSON.

use serde_json::json;

use crate::cli::support::Jobq;

/// A job, two that wait for it, and one that waits for both.
fn diamond() -> Jobq {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "fetch"]);
    jobq.enqueue(&["--kind", "left", "--after", "1"]);
    jobq.enqueue(&["--kind", "right", "--after", "1"]);
    jobq.enqueue(&["--kind", "join", "--after", "2", "--after-any", "3"]);
    jobq
}

#[test]
fn a_graph_in_a_pipe_is_a_tree_with_each_job_once() {
    let jobq = diamond();
    let ascii = "\
1 exec  pending  fetch
|-> 2 left  blocked
|   -> 4 join  blocked  (also after the end of 3)
`-> 3 right  blocked  (this job)
";
    assert_eq!(jobq.stdout(&["graph", "3"]), ascii);
    let utf_8 = jobq.call(&["graph", "3"]).env("LANG", "C.UTF-8");
    let lines = utf_8.run().exits(0).stdout;
    assert!(lines.contains("└─→ 3 right"), "{lines}");
}

#[test]
fn a_graph_as_json_has_nodes_edges_and_places() {
    let jobq = diamond();
    let graph = jobq.json(&["graph", "@last"]);
    assert_eq!(graph["job"], 4);
    assert_eq!(graph["complete"], true);
    let nodes = graph["nodes"].as_array().unwrap();
    let place = |id: i64| nodes.iter().position(|node| node["id"] == id).unwrap();
    assert_eq!(nodes.len(), 4);
    assert_eq!(nodes[0]["title"], "4 join");
    assert_eq!(nodes[place(1)]["state"], "pending");
    assert_eq!(nodes[place(1)]["counts"]["pending"], 1);
    let layers: Vec<_> = (1..=4)
        .map(|id| nodes[place(id)]["layer"].clone())
        .collect();
    assert_eq!(layers, [json!(0), json!(1), json!(1), json!(2)]);
    let edges = graph["edges"].as_array().unwrap();
    let kind = |from: i64, to: i64| {
        let ends = (json!(place(from)), json!(place(to)));
        let edge = edges
            .iter()
            .find(|edge| (&edge["from"], &edge["to"]) == (&ends.0, &ends.1));
        edge.unwrap()["kind"].clone()
    };
    assert_eq!(edges.len(), 4);
    assert_eq!(kind(2, 4), "needs_completed");
    assert_eq!(kind(3, 4), "needs_final");
}

#[test]
fn a_graph_of_a_job_that_does_not_exist_exits_3() {
    diamond().run(&["graph", "77"]).exits(3);
}
