//! Who may name what: the direction of the crate, read from its sources.

mod graph;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use graph::Graph;

const LONGEST_FILE: usize = 499;

/// A source file: its path below `src/`, and its lines without tests and comments.
struct Source {
    path: String,
    lines: usize,
    code: Vec<(usize, String)>,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &root, &mut found);
    assert!(found.len() > 40, "the sources were not found");
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root).unwrap().to_str().unwrap();
            found.push(source(path, &text));
        }
    }
}

fn source(path: &str, text: &str) -> Source {
    let is_test =
        path.ends_with("tests.rs") || path.contains("/tests/") || path.starts_with("tests/");
    let code = text
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line))
        .scan("", |previous, (at, line)| {
            let tests_begin = *previous == "#[cfg(test)]" && line.starts_with("mod tests {");
            *previous = line;
            (!tests_begin).then_some((at, line))
        })
        .filter(|(_, line)| !is_test && !line.trim_start().starts_with("//"))
        .map(|(at, line)| (at, line.to_owned()))
        .collect();
    Source {
        path: path.to_owned(),
        lines: text.lines().count(),
        code,
    }
}

/// Where one of the words stands in a file that may not hold it.
fn trespassers(
    sources: &[Source],
    words: &[&str],
    may: impl Fn(&str, &str) -> bool,
) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for (at, line) in &source.code {
            if words.iter().any(|word| line.contains(word)) && !may(&source.path, line.trim()) {
                found.push(format!("src/{}:{at}: {}", source.path, line.trim()));
            }
        }
    }
    found
}

const NONE: [String; 0] = [];

/// The yardstick is raw SQLite, and the crate's own no more than a test.
fn is_yardstick(path: &str) -> bool {
    path.starts_with("bench/")
}

#[test]
fn only_one_folder_of_the_store_knows_sqlite() {
    let may = |path: &str, line: &str| {
        path.starts_with("store/sqlite/")
            || is_yardstick(path)
            || (path, line) == ("lib.rs", "pub use rusqlite;")
            || (path == "queue/transaction.rs" || path == "queue/enqueue.rs")
                && line == "use rusqlite::Connection;"
    };
    assert_eq!(trespassers(&sources(), &["rusqlite"], may), NONE);
}

#[test]
fn sql_is_written_only_in_the_store() {
    let words = [
        "\"SELECT ",
        "\"INSERT ",
        "\"UPDATE ",
        "\"DELETE ",
        "\"PRAGMA ",
        "\"BEGIN",
    ];
    let may = |path: &str, _: &str| path.starts_with("store/") || is_yardstick(path);
    assert_eq!(trespassers(&sources(), &words, may), NONE);
}

#[test]
fn unsafe_code_stands_in_one_file() {
    let may = |path: &str, _: &str| path == "handlers/exec/launch.rs";
    assert_eq!(trespassers(&sources(), &["unsafe"], may), NONE);
}

#[test]
fn only_the_clock_reads_the_clock() {
    let words = [
        "Instant::now",
        "SystemTime::now",
        "Timestamp::now",
        "Zoned::now",
        "clock_gettime",
    ];
    let may = |path: &str, _: &str| path == "clock.rs" || path.ends_with("/clock.rs");
    assert_eq!(trespassers(&sources(), &words, may), NONE);
}

#[test]
fn only_some_parts_start_threads() {
    let words = ["thread::spawn", "thread::Builder", "thread::scope"];
    // Of the handlers one: it looks after processes that no worker has in hand.
    const KEEPER: &str = "handlers/exec/persistent/keeper.rs";
    let may = |path: &str, _: &str| {
        ["runner/", "store/", "web/", "cli/", "bench/", KEEPER]
            .iter()
            .any(|folder| path.starts_with(folder))
    };
    assert_eq!(trespassers(&sources(), &words, may), NONE);
}

/// The layers, lowest first; each may use those before it. What no prefix names may be used by all.
const LAYERS: [&[&str]; 11] = [
    &["error", "model"],
    &["store/sqlite"],
    &["store/jobs"],
    &["store/upkeep"],
    &["store/read"],
    &["store"],
    &["queue"],
    &["runner"],
    &["handlers"],
    &["api"],
    &["web"],
];

fn layer(module: &str) -> Option<usize> {
    let is_in = |layer: &str| module == layer || module.starts_with(&format!("{layer}/"));
    let found = LAYERS.iter().enumerate().filter_map(|(at, layers)| {
        let longest = layers.iter().filter(|layer| is_in(layer)).map(|l| l.len());
        longest.max().map(|len| (len, at))
    });
    found.max().map(|(_, at)| at)
}

fn upward(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    for (user, used) in &graph.uses {
        for used in used {
            let (user, used) = (user.join("/"), used.join("/"));
            if let (Some(low), Some(high)) = (layer(&user), layer(&used))
                && low < high
            {
                found.push(format!("{user} uses {used}"));
            }
        }
    }
    found
}

#[test]
fn lower_layers_do_not_know_the_higher_ones() {
    assert_eq!(upward(&Graph::of(&sources())), NONE);
}

/// In each way in which a path is written.
#[test]
fn a_step_upward_and_a_circle_are_found() {
    let sources = [
        ("lib.rs", "mod error;\n\npub use queue::Queue;"),
        ("queue/mod.rs", "\npub use crate::queue::open::Queue;"),
        ("queue/open.rs", "use crate::{runner::pool as p, error};"),
        ("runner/pool.rs", "fn f() -> super::wakeup::Bell { g() }"),
        ("runner/wakeup.rs", "use crate::{\n    model::{id, x},\n};"),
        ("model/id.rs", "use crate::Queue;"),
        ("model/x.rs", "// use crate::queue::open;"),
        ("error.rs", ""),
    ];
    let graph = Graph::of(&sources.map(|(path, text)| source(path, text)));
    let expected = ["model/id uses queue/open", "queue/open uses runner/pool"];
    assert_eq!(upward(&graph), expected);
    let circle = ["model/id", "queue/open", "runner/pool", "runner/wakeup"];
    assert_eq!(graph.circles(), [circle]);
}

#[test]
fn what_is_above_the_queue_does_not_know_the_store() {
    let above = ["handlers/", "api/", "web/", "cli/"];
    let may = |path: &str, _: &str| !above.iter().any(|folder| path.starts_with(folder));
    assert_eq!(trespassers(&sources(), &["crate::store"], may), NONE);
}

#[test]
fn no_circle_of_files_is_larger_than_three() {
    let circles = Graph::of(&sources()).circles();
    let large: Vec<&Vec<String>> = circles.iter().filter(|circle| circle.len() > 3).collect();
    assert!(large.is_empty(), "{large:#?}");
}

#[test]
fn no_type_name_is_there_twice() {
    let sources = sources();
    let mut places: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in &sources {
        for (_, line) in &source.code {
            // Within an impl a type is another's; a module inside of a file has types of its own.
            let may_be_indented = !line.trim_start().starts_with("type ");
            let rest = if may_be_indented {
                line.trim_start()
            } else {
                line
            };
            let rest = rest
                .trim_start_matches("pub ")
                .trim_start_matches("pub(crate) ")
                .trim_start_matches("pub(super) ");
            let name = ["struct ", "enum ", "trait ", "type "]
                .iter()
                .find_map(|kind| rest.strip_prefix(kind));
            if let Some(name) = name {
                let end = name.find(|c: char| !c.is_alphanumeric());
                let name = &name[..end.unwrap_or(name.len())];
                places.entry(name).or_default().insert(&source.path);
            }
        }
    }
    assert!(places.len() > 100, "the types were not found");
    let twice: Vec<String> = places
        .into_iter()
        .filter(|(_, places)| places.len() > 1)
        .map(|(name, places)| format!("{name}: {places:?}"))
        .collect();
    assert_eq!(twice, NONE);
}

#[test]
fn no_file_is_longer_than_a_reader_can_follow() {
    let sources = sources();
    let too_long = sources.iter().filter(|source| source.lines > LONGEST_FILE);
    let too_long: Vec<String> = too_long
        .map(|source| format!("src/{}: {} lines", source.path, source.lines))
        .collect();
    assert_eq!(too_long, NONE);
}

#[test]
fn a_trespasser_is_found_and_tests_and_comments_are_none() {
    let text = "\
//! Here rusqlite is only spoken of.
use rusqlite::Row;
    // and here: rusqlite
#[cfg(test)]
mod tests {
    use rusqlite::Connection;
}
";
    let found = trespassers(&[source("runner/x.rs", text)], &["rusqlite"], |_, _| false);
    assert_eq!(found, ["src/runner/x.rs:2: use rusqlite::Row;"]);
    let test = source("runner/x/tests.rs", text);
    assert_eq!(trespassers(&[test], &["rusqlite"], |_, _| false), NONE);
}

/// Phrases that a person who meets jobq for the first time stumbles over.
#[test]
fn what_is_shown_is_said_in_plain_words() {
    let coined = [
        "it is {state}",
        " is no JSON",
        " is no number",
        " is no directory",
        " is no rule",
        " is no duration",
        " is no UTF-8",
        " is no SQLite",
        "inside of a job",
        " are not possible",
        " is not possible",
        "runs jobs yet",
        "runs jobs now",
        "runner that looks",
        "the next one is due",
        "asked to be called again",
        "takes it down",
        "nobody waits",
        "ut back",
        "Put right",
        "puts it right",
        "Whose ",
        "At most so many",
        "so many of",
        "Call jobs off",
        "called off",
        "come again",
        "left running",
        "tries may follow",
        "unless set",
    ];
    let is_shown = |line: &str| line.contains('"');
    let may = |_: &str, line: &str| !is_shown(line);
    assert_eq!(trespassers(&sources(), &coined, may), NONE);
}

#[test]
fn test_names_have_at_most_sixty_characters() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut names, mut long) = (0, Vec::new());
    for folder in ["src", "tests"] {
        let mut open = vec![root.join(folder)];
        while let Some(path) = open.pop() {
            if path.is_dir() {
                let entries = std::fs::read_dir(&path).unwrap();
                open.extend(entries.map(|entry| entry.unwrap().path()));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let mut rest = text.as_str();
                while let Some((_, tail)) = rest.split_once("#[test]\n") {
                    let name = tail.split_once("fn ").map_or("", |(_, name)| name);
                    let end = name.find('(').unwrap_or_default();
                    names += 1;
                    if end > 60 {
                        long.push(name[..end].to_owned());
                    }
                    rest = tail;
                }
            }
        }
    }
    assert!(names > 1000, "the tests were not found");
    assert_eq!(long, NONE);
}
