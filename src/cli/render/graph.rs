//! A graph of jobs as text: a tree in which each box has one line.
//!
//! A box stands under its parent, else under the last of the boxes that it waits for; the line names the others. A box that
//! is alone behind another stands right below it, so that a long chain is a list.

use std::collections::HashMap;
use std::io::{self, Write};

use jobq::api::job::task;
use jobq::api::text::shortened;
use jobq::{GraphEdge, GraphEdgeKind, GraphNode, JobGraph, JobId, Queue, State};

use crate::cli::render::style::Look;
use crate::cli::render::text::for_terminal;
use crate::cli::render::{Format, Output};

/// What the lines of the tree are drawn with.
struct Glyphs {
    branch: &'static str,
    last: &'static str,
    line: &'static str,
    /// The end of a branch, and what stands before a box that is alone behind another, by relation.
    child: &'static str,
    needs_completed: &'static str,
    needs_final: &'static str,
    spawned: &'static str,
    hook: &'static str,
}

const UTF_8: Glyphs = Glyphs {
    branch: "├",
    last: "└",
    line: "│   ",
    child: "──",
    needs_completed: "─→",
    needs_final: "╌→",
    spawned: "─+",
    hook: "─*",
};

const ASCII: Glyphs = Glyphs {
    branch: "|",
    last: "`",
    line: "|   ",
    child: "--",
    needs_completed: "->",
    needs_final: "~>",
    spawned: "-+",
    hook: "-*",
};

const RELATIONS: [GraphEdgeKind; 4] = [
    GraphEdgeKind::NeedsCompleted,
    GraphEdgeKind::NeedsFinal,
    GraphEdgeKind::Spawned,
    GraphEdgeKind::Hook,
];

impl Glyphs {
    fn of(&self, kind: GraphEdgeKind) -> &'static str {
        match kind {
            GraphEdgeKind::NeedsCompleted => self.needs_completed,
            GraphEdgeKind::NeedsFinal => self.needs_final,
            GraphEdgeKind::Spawned => self.spawned,
            GraphEdgeKind::Hook => self.hook,
            _ => self.child,
        }
    }
}

/// Whether the text of this process's locale may hold every letter.
pub(crate) fn is_utf_8_locale(variable: impl Fn(&str) -> Option<String>) -> bool {
    // The first that is set decides, as in setlocale(3).
    let names = ["LC_ALL", "LC_CTYPE", "LANG"];
    let mut set = names
        .into_iter()
        .filter_map(variable)
        .filter(|value| !value.is_empty());
    let locale = set.next().unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Maximum number of jobs of which the task is shown.
const TASKS: usize = 100;
/// Maximum number of characters of a task.
const TASK_CHARS: usize = 60;

/// A graph, and what its jobs are to do.
pub(crate) struct GraphPage {
    pub(crate) graph: JobGraph,
    tasks: HashMap<JobId, String>,
}

impl GraphPage {
    pub(crate) fn read(queue: &Queue, id: JobId) -> jobq::Result<GraphPage> {
        let graph = queue.graph(id)?;
        let mut tasks = HashMap::new();
        let single = graph.nodes.iter().filter(|node| node.jobs == 1);
        for id in single.filter_map(|node| node.id).take(TASKS) {
            if let Some(job) = queue.get(id)? {
                tasks.insert(id, shortened(&task(&job), TASK_CHARS));
            }
        }
        Ok(GraphPage { graph, tasks })
    }
}

/// A graph as text.
pub(crate) struct GraphText<'a> {
    graph: &'a JobGraph,
    tasks: &'a HashMap<JobId, String>,
    output: &'a Output,
    glyphs: &'static Glyphs,
    is_utf_8: bool,
    /// For each box the edge that it hangs on.
    hangs_on: Vec<Option<&'a GraphEdge>>,
    /// For each box the edges to those below it, in the order of their lines.
    below: Vec<Vec<&'a GraphEdge>>,
}

impl<'a> GraphText<'a> {
    pub(crate) fn new(page: &'a GraphPage, output: &'a Output, is_utf_8: bool) -> GraphText<'a> {
        let graph = &page.graph;
        let nodes = &graph.nodes;
        let mut hangs_on: Vec<Option<&GraphEdge>> = vec![None; nodes.len()];
        let nearness = |edge: &GraphEdge| {
            let is_child = edge.kind == GraphEdgeKind::Child;
            (is_child, nodes[edge.from].layer, edge.from)
        };
        for edge in &graph.edges {
            let on = &mut hangs_on[edge.to];
            if on.is_none_or(|other| nearness(other) < nearness(edge)) {
                *on = Some(edge);
            }
        }
        let mut below: Vec<Vec<&GraphEdge>> = vec![Vec::new(); nodes.len()];
        for edge in hangs_on.iter().flatten() {
            below[edge.from].push(edge);
        }
        for edges in &mut below {
            edges.sort_by_key(|edge| (edge.kind, nodes[edge.to].layer, nodes[edge.to].id));
        }
        GraphText {
            graph,
            tasks: &page.tasks,
            output,
            glyphs: if is_utf_8 { &UTF_8 } else { &ASCII },
            is_utf_8,
            hangs_on,
            below,
        }
    }

    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let hang = |at: &usize| self.hangs_on[*at].is_some();
        let mut roots: Vec<usize> = (0..self.graph.nodes.len()).filter(|at| !hang(at)).collect();
        roots.sort_by_key(|at| self.graph.nodes[*at].id);
        for root in roots {
            self.write_line(out, ("", ""), root)?;
            self.write_below(out, "", root)?;
        }
        self.write_legend(out)
    }

    fn write_below(&self, out: &mut dyn Write, indent: &str, at: usize) -> io::Result<()> {
        let below = &self.below[at];
        if let [edge] = below[..]
            && edge.kind != GraphEdgeKind::Child
        {
            let arrow = format!("{} ", self.glyphs.of(edge.kind));
            self.write_line(out, (indent, &arrow), edge.to)?;
            return self.write_below(out, indent, edge.to);
        }
        for (place, edge) in below.iter().enumerate() {
            let is_last = place + 1 == below.len();
            let (corner, further) = match is_last {
                true => (self.glyphs.last, "    "),
                false => (self.glyphs.branch, self.glyphs.line),
            };
            let branch = format!("{corner}{} ", self.glyphs.of(edge.kind));
            self.write_line(out, (indent, &branch), edge.to)?;
            self.write_below(out, &format!("{indent}{further}"), edge.to)?;
        }
        Ok(())
    }

    fn write_line(
        &self,
        out: &mut dyn Write,
        (indent, branch): (&str, &str),
        at: usize,
    ) -> io::Result<()> {
        let node = &self.graph.nodes[at];
        let is_asked_for = at == 0;
        let pieces = [
            (Look::Dim, format!("{indent}{branch}")),
            (
                if is_asked_for {
                    Look::Bold
                } else {
                    Look::Plain
                },
                self.name(node),
            ),
            (look(node), format!("  {}", node.summary)),
            (Look::Dim, self.notes(at)),
            (Look::Plain, self.task(node)),
        ];
        let mut room = match self.output.format {
            Format::Table => usize::from(self.output.width),
            Format::Tabs | Format::Json => usize::MAX,
        };
        for (look, piece) in pieces {
            let piece = self.cut(&for_terminal(&piece), &mut room);
            write!(out, "{}", self.output.paint(look, piece))?;
        }
        writeln!(out)
    }

    /// What fits into the room that is left.
    fn cut(&self, piece: &str, room: &mut usize) -> String {
        let length = piece.chars().count();
        if length <= *room {
            *room -= length;
            return piece.to_owned();
        }
        let end = if self.is_utf_8 { "…" } else { ">" };
        let start: String = piece.chars().take(room.saturating_sub(1)).collect();
        let is_full = *room == 0;
        *room = 0;
        if is_full { String::new() } else { start + end }
    }

    fn name(&self, node: &GraphNode) -> String {
        match self.is_utf_8 {
            true => node.title.clone(),
            false => node.title.replace('×', "x").replace('…', ">"),
        }
    }

    /// The relations that the place of the line does not show.
    fn notes(&self, at: usize) -> String {
        let node = &self.graph.nodes[at];
        let mut notes = Vec::new();
        if at == 0 {
            notes.push("this job".to_owned());
        }
        if node.jobs > 1
            && let Some(failed) = node.first_failed
        {
            notes.push(format!("first failed: {failed}"));
        }
        let others = self.graph.edges.iter().filter(|edge| {
            edge.to == at && !self.hangs_on[at].is_some_and(|shown| std::ptr::eq(*edge, shown))
        });
        let mut others: Vec<&GraphEdge> = others.collect();
        others.sort_by_key(|edge| self.graph.nodes[edge.from].id);
        for (kind, words) in [
            (GraphEdgeKind::Child, "also child of"),
            (GraphEdgeKind::NeedsCompleted, "also after"),
            (GraphEdgeKind::NeedsFinal, "also after the end of"),
            (GraphEdgeKind::Spawned, "also spawned by"),
            (GraphEdgeKind::Hook, "also a hook of"),
        ] {
            let of_kind = others.iter().filter(|edge| edge.kind == kind);
            let names: Vec<String> = of_kind
                .map(|edge| self.short_name(&self.graph.nodes[edge.from]))
                .collect();
            if !names.is_empty() {
                notes.push(format!("{words} {}", names.join(", ")));
            }
        }
        if node.more {
            notes.push("more not shown".to_owned());
        }
        match notes.is_empty() {
            true => String::new(),
            false => format!("  ({})", notes.join("; ")),
        }
    }

    fn task(&self, node: &GraphNode) -> String {
        let task = node.id.and_then(|id| self.tasks.get(&id));
        let task = task.filter(|task| node.jobs == 1 && !matches!(task.as_str(), "" | "null"));
        task.map(|task| format!("  {task}")).unwrap_or_default()
    }

    /// A job by its id, many by their title.
    fn short_name(&self, node: &GraphNode) -> String {
        match (node.jobs, node.id) {
            (1, Some(id)) => id.to_string(),
            _ => self.name(node),
        }
    }

    /// The signs of the relations that there are.
    fn write_legend(&self, out: &mut dyn Write) -> io::Result<()> {
        let is_there = |kind: &GraphEdgeKind| {
            let mut shown = self.hangs_on.iter().flatten();
            shown.any(|edge| edge.kind == *kind)
        };
        let signs: Vec<String> = RELATIONS
            .into_iter()
            .filter(is_there)
            .map(|kind| {
                let words = match kind {
                    GraphEdgeKind::NeedsCompleted => "once it has completed",
                    GraphEdgeKind::NeedsFinal => "once it is final",
                    GraphEdgeKind::Spawned => "spawned by it",
                    _ => "its hook",
                };
                format!("{} {words}", self.glyphs.of(kind))
            })
            .collect();
        if signs.is_empty() || self.output.format != Format::Table {
            return Ok(());
        }
        let legend = signs.join("   ");
        writeln!(out, "\n{}", self.output.paint(Look::Dim, legend))
    }
}

/// The colour of a box: that of its state; of many, what is wrong with them, or the state of all.
fn look(node: &GraphNode) -> Look {
    if let Some(state) = node.state {
        return Look::State(state);
    }
    let mut states = node.counts.iter().filter(|(_, jobs)| *jobs > 0);
    match (states.next(), states.next()) {
        _ if node.counts.get(State::Failed) > 0 => Look::Bad,
        (Some((state, _)), None) => Look::State(state),
        _ => Look::Plain,
    }
}

#[cfg(test)]
mod tests {
    use jobq::{JobId, NewJob, Queue};

    use super::*;

    const OUTPUT: Output = Output {
        format: Format::Tabs,
        color: false,
        quiet: false,
        width: 80,
    };

    fn queue() -> (tempfile::TempDir, Queue) {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(folder.path().join("jobs.db")).unwrap();
        (folder, queue)
    }

    fn add(queue: &Queue, job: NewJob) -> JobId {
        queue.enqueue(job).unwrap().id
    }

    fn text(queue: &Queue, id: JobId, is_utf_8: bool) -> String {
        let page = GraphPage::read(queue, id).unwrap();
        let mut out = Vec::new();
        GraphText::new(&page, &OUTPUT, is_utf_8)
            .write(&mut out)
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_chain_is_a_list_and_a_fork_a_tree() {
        let (_folder, queue) = queue();
        let fetch = add(&queue, NewJob::new("fetch"));
        let split = add(&queue, NewJob::new("split").after([fetch]));
        let left = add(&queue, NewJob::new("left").after([split]));
        let right = add(&queue, NewJob::new("right").after_any([split]));
        add(&queue, NewJob::new("join").after([left, right]));
        let expected = "\
1 fetch  pending
─→ 2 split  blocked  (this job)
├─→ 3 left  blocked
└╌→ 4 right  blocked
    ─→ 5 join  blocked  (also after 3)
";
        assert_eq!(text(&queue, split, true), expected);
    }

    #[test]
    fn a_family_is_a_tree_in_ascii_too() {
        let (_folder, queue) = queue();
        let album = add(&queue, NewJob::new("album"));
        for _ in 0..9 {
            add(&queue, NewJob::new("resize").parent(album));
        }
        let pack = add(&queue, NewJob::new("pack").parent(album));
        add(&queue, NewJob::new("mail").after([pack]));
        let expected = "\
1 album  pending  (this job)
|-- 9 x resize  9 blocked
`-- 11 pack  blocked
    -> 12 mail  blocked
";
        assert_eq!(text(&queue, album, false), expected);
    }

    #[test]
    fn a_line_ends_where_the_terminal_does() {
        let (_folder, queue) = queue();
        let long = add(&queue, NewJob::new("resize").payload(&"a long payload"));
        let page = GraphPage::read(&queue, long).unwrap();
        let narrow = Output {
            format: Format::Table,
            width: 20,
            ..OUTPUT
        };
        let mut out = Vec::new();
        GraphText::new(&page, &narrow, true)
            .write(&mut out)
            .unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "1 resize  pending  …\n");
    }

    #[test]
    fn the_locale_decides_which_letters_are_drawn() {
        let locale = |set: &[(&str, &str)]| {
            is_utf_8_locale(|name| {
                let found = set.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(locale(&[("LANG", "de_DE.UTF-8")]));
        assert!(locale(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")]));
        assert!(!locale(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]));
        assert!(!locale(&[]));
    }
}
