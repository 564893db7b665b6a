//! The files of the page.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/page")
}

fn read(path: &str) -> String {
    let path = folder().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files that a script imports, below the folder of the page.
fn imports(path: &str, text: &str) -> Vec<String> {
    let parent = Path::new(path).parent().unwrap();
    let quoted = text.split(" from \"").chain(text.split("from\"")).skip(1);
    let named = quoted.filter_map(|rest| rest.split_once('"').map(|(name, _)| name));
    let named = named.filter(|name| name.starts_with('.') && name.ends_with(".js"));
    let paths = named.map(|name| match name.strip_prefix("../") {
        Some(name) => parent.parent().unwrap().join(name),
        None => parent.join(name.trim_start_matches("./")),
    });
    paths
        .map(|path| path.to_str().unwrap().to_owned())
        .collect()
}

/// What is fetched before anything is shown: the page, its style, and the scripts that it imports at once.
fn first_load() -> BTreeSet<String> {
    let mut files = BTreeSet::from(["index.html", "app.css", "icon.svg"].map(str::to_owned));
    let mut new = vec!["app.js".to_owned()];
    while let Some(path) = new.pop() {
        new.extend(
            imports(&path, &read(&path))
                .into_iter()
                .filter(|path| !files.contains(path)),
        );
        files.insert(path);
    }
    files
}

#[test]
fn what_is_fetched_first_is_named_in_the_page() {
    let html = read("index.html");
    for path in first_load() {
        let is_named = html.contains(&format!("\"{path}\""));
        assert!(
            is_named || path == "index.html",
            "index.html does not preload {path}"
        );
    }
    assert!(first_load().len() > 15, "{:?}", first_load());
}

#[cfg(feature = "http-client")]
#[test]
fn the_first_load_is_at_most_60_kb() {
    use std::io::Write;

    let mut sum = 0;
    for path in first_load() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(read(&path).as_bytes()).unwrap();
        sum += packed.finish().unwrap().len();
    }
    assert!((20_000..=60_000).contains(&sum), "{sum} bytes");
}

#[test]
fn nothing_is_inline_and_no_text_becomes_markup() {
    let html = read("index.html");
    assert_eq!(
        html.matches("<script").count(),
        html.matches("<script type=\"module\" src=").count()
    );
    for word in [
        "<style",
        " style=",
        " onclick",
        "javascript:",
        "http:",
        "https:",
        "//",
    ] {
        assert!(!html.contains(word), "{word}");
    }
    for kind in ["", "parts", "views"] {
        for entry in fs::read_dir(folder().join(kind)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "js") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "style=\"",
            ] {
                assert!(!text.contains(word), "{}: {word}", path.display());
            }
        }
    }
}

#[cfg(feature = "backup")]
#[test]
fn vendored_files_are_those_that_were_looked_at() {
    use sha2::{Digest, Sha256};

    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/axe");
    let folders = [(folder().join("vendor"), 5), (data, 1)];
    for (folder, expected) in folders {
        let notes = fs::read_to_string(folder.join("VENDORED.md")).unwrap();
        let sums = notes.lines().filter_map(|line| line.split_once("  "));
        let sums: Vec<_> = sums.filter(|(sum, _)| sum.len() == 64).collect();
        assert_eq!(sums.len(), expected, "{notes}");
        for (sum, name) in sums {
            let digest = Sha256::digest(fs::read(folder.join(name)).unwrap());
            let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, sum, "{name}");
        }
        let is_known = |name: &str| notes.contains(&format!("`{name}`"));
        for entry in fs::read_dir(&folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(name == "VENDORED.md" || is_known(&name), "{name}");
        }
    }
}
