//! `src/resources.md` names tests: they are there.

use std::collections::HashSet;
use std::path::Path;

const TABLES: &str = include_str!("../../resources.md");

const RESOURCES: [&str; 10] = [
    "Descriptors",
    "Processes",
    "Memory",
    "Disk",
    "Write lock",
    "File",
    "Folder",
    "Terminal",
    "Environment",
    "Clock",
];

/// The names of all tests below a folder of the crate.
fn tests_in(folder: &Path, found: &mut HashSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.extend(tests_of(&text));
        }
    }
}

/// Each function behind a `#[test]`, whatever other attributes stand between.
fn tests_of(text: &str) -> Vec<String> {
    let mut is_test = false;
    let mut names = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if line == "#[test]" {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("fn ") {
            let name = rest.split('(').next().unwrap_or_default();
            names.extend(is_test.then(|| name.to_owned()));
            is_test = false;
        }
    }
    names
}

/// The cells of each row, without the heads.
fn rows(tables: &str) -> Vec<Vec<&str>> {
    let rows = tables.lines().filter(|line| line.starts_with("| "));
    let cells = rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect());
    cells
        .filter(|row: &Vec<&str>| row.first() != Some(&"condition"))
        .collect()
}

/// What stands between back quotes.
fn names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_row_of_the_tables_names_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !root.join("tests").exists() {
        return; // A packaged crate comes without them.
    }
    let mut tests = HashSet::new();
    for folder in ["src", "tests"] {
        tests_in(&root.join(folder), &mut tests);
    }
    let rows = rows(TABLES);
    assert!(rows.len() > 60, "{} rows were found", rows.len());
    let mut wrong = Vec::new();
    for row in rows {
        let [condition, does, shown] = row[..] else {
            panic!("three cells are wanted: {row:?}");
        };
        assert!(!does.is_empty(), "{condition}");
        let named = names(shown);
        if named.is_empty() {
            wrong.push(format!("{condition}: no test"));
        }
        let missing = named.into_iter().filter(|name| !tests.contains(*name));
        wrong.extend(missing.map(|name| format!("{condition}: there is no test `{name}`")));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_resource_has_its_table() {
    let titles = TABLES.lines().filter_map(|line| line.strip_prefix("### "));
    assert_eq!(titles.collect::<Vec<_>>(), RESOURCES);
}

#[test]
fn a_test_is_told_from_other_functions() {
    let text = "
        #[test]
        fn a_claim() {}
        fn no_claim() {}
        #[test]
        #[ignore = \"long\"]
        fn a_long_claim() {}
        async fn other() {}
    ";
    assert_eq!(tests_of(text), ["a_claim", "a_long_claim"]);
    let cells = rows("| condition | does | test |\n|---|---|---|\n| a | b | `c`, `d` |\n");
    assert_eq!(cells, [["a", "b", "`c`, `d`"]]);
    assert_eq!(names("`c`, `d`"), ["c", "d"]);
}
