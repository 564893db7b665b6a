//! The states as the README shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::model::state::State;

/// The table under the header `| state |…`: each state with the names in its last column.
fn table(markdown: &str) -> BTreeMap<String, BTreeSet<String>> {
    let lines = markdown
        .lines()
        .map(str::trim)
        .skip_while(|line| !line.starts_with("| state |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut table = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let (Some(states), Some(leaves_to)) = (cells.first(), cells.last()) else {
            continue;
        };
        for state in words(states) {
            let named = words(leaves_to).filter(|word| word.parse::<State>().is_ok());
            table.insert(state, named.collect());
        }
    }
    table
}

/// The words of a cell; what stands in brackets is a remark.
fn words(cell: &str) -> impl Iterator<Item = String> {
    let mut depth = 0;
    let plain: String = cell
        .chars()
        .map(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            if depth > 0 || !c.is_ascii_alphabetic() {
                ' '
            } else {
                c
            }
        })
        .collect();
    let words: Vec<String> = plain.split_whitespace().map(str::to_owned).collect();
    words.into_iter()
}

fn owned() -> BTreeMap<String, BTreeSet<String>> {
    let row = |state: State| {
        let leaves_to = state.leaves_to().iter().map(State::to_string).collect();
        (state.to_string(), leaves_to)
    };
    State::ALL.into_iter().map(row).collect()
}

#[test]
fn the_readme_and_the_design_agree_on_the_states() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    assert_eq!(table(&readme), owned(), "the README is on the left");
}

#[test]
fn a_table_that_disagrees_is_noticed() {
    let design = "
| state | means | can become |
|---|---|---|
| scheduled | not due yet, with the reason: delay, retry, snooze | pending, blocked (its key is taken), cancelled |
| blocked | waits for other jobs, or for a free slot of its concurrency key | pending, scheduled, cancelled |
| `pending` | may be claimed now | `running`, `cancelled` |
| running | an attempt holds it | completed, failed, scheduled (retry, snooze), pending (given back), waiting, cancelled |
| waiting | its run phase is done, its children are not; holds no worker | pending (its finalize phase), completed, failed, cancelled |
| completed, failed | final | pending, blocked or waiting, only by an explicit retry |
| cancelled | final | pending, blocked or waiting, and scheduled by an undo |

Text that follows.";
    assert_eq!(table(design), owned());
    let wrong = design.replace("| `running`, `cancelled` |", "| `running` |");
    assert_ne!(table(&wrong), owned());
    let more = design.replace("final | pending", "final | running, pending");
    assert_ne!(table(&more), owned());
    assert_ne!(table("no table"), owned());
}
