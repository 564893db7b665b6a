//! Which file uses which, read from the paths in the sources.

use std::collections::{BTreeMap, BTreeSet};

use super::Source;

/// A module by its path: `["store", "jobs", "claim"]`.
type Module = Vec<String>;

pub(super) struct Graph {
    pub(super) uses: BTreeMap<Module, BTreeSet<Module>>,
}

impl Graph {
    pub(super) fn of(sources: &[Source]) -> Graph {
        let modules: BTreeSet<Module> = sources.iter().map(|source| module(&source.path)).collect();
        let reexports: BTreeMap<Module, BTreeMap<String, Module>> = sources
            .iter()
            .map(|source| (module(&source.path), reexports_of(source, &modules)))
            .collect();
        let uses = sources
            .iter()
            .filter(|source| !source.code.is_empty())
            .map(|source| {
                let own = module(&source.path);
                let found = paths(source, &own, &modules)
                    .into_iter()
                    .filter_map(|path| resolve(path, &modules, &reexports))
                    .filter(|used| *used != own && !used.is_empty())
                    .collect();
                (own, found)
            })
            .collect();
        Graph { uses }
    }

    /// Sets of files that all reach each other, by size.
    pub(super) fn circles(&self) -> Vec<Vec<String>> {
        let reach: BTreeMap<&Module, BTreeSet<&Module>> = self
            .uses
            .keys()
            .map(|from| (from, self.reachable(from)))
            .collect();
        let mut circles = BTreeSet::new();
        for (from, reached) in &reach {
            let circle: Vec<String> = reached
                .iter()
                .filter(|to| reach.get(**to).is_some_and(|back| back.contains(from)))
                .map(|module| module.join("/"))
                .collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }

    fn reachable<'a>(&'a self, from: &Module) -> BTreeSet<&'a Module> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&Module> = self.uses[from].iter().collect();
        while let Some(module) = open.pop() {
            if reached.insert(module) {
                open.extend(self.uses.get(module).into_iter().flatten());
            }
        }
        reached
    }
}

fn module(path: &str) -> Module {
    let path = path.trim_end_matches(".rs");
    let mut parts: Module = path.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod") || path == "lib" {
        parts.pop();
    }
    parts
}

/// The paths into the crate that a file names, without the names of its own nested modules.
fn paths(source: &Source, own: &Module, modules: &BTreeSet<Module>) -> Vec<Module> {
    let code: Vec<&str> = source.code.iter().map(|(_, line)| line.as_str()).collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    let mut rest = code.clone();
    for (at, end, tree) in uses(&code) {
        // In a nested module `super` is the file itself.
        let is_nested = code[..at].ends_with(' ') && !code[..at].ends_with("pub ");
        for used in expand(&tree) {
            if !(is_nested && used.starts_with("super::")) {
                found.extend(absolute(&used, own, modules));
            }
        }
        rest.replace_range(at..end, &" ".repeat(end - at));
    }
    let code = rest;
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            if !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == ':') {
                let path: String = code[at..]
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':')
                    .collect();
                found.extend(absolute(path.trim_end_matches(':'), own, modules));
            }
        }
    }
    // `claim::claim(…)` by a module that is a child of this one.
    for child in modules.iter().filter(|module| module.starts_with(own)) {
        if let [name] = &child[own.len()..]
            && code.contains(&format!(" {name}::"))
        {
            found.push(child.clone());
        }
    }
    found
}

/// Each `use` without its spaces, with where it begins and ends.
fn uses(code: &str) -> Vec<(usize, usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let begins = code[..at].ends_with(['\n', ' ']) || at == 0;
        if let (true, Some(len)) = (begins, code[at..].find(';')) {
            found.push((at, at + len, without_spaces(&code[at + 4..at + len])));
        }
    }
    found
}

/// A tree of paths without its spaces and its other names.
fn without_spaces(tree: &str) -> String {
    let mut found = String::new();
    let mut is_other_name = false;
    for word in tree.split_whitespace() {
        if word == "as" {
            is_other_name = true;
        } else if is_other_name {
            found.extend(word.chars().filter(|c| matches!(c, ',' | '}')));
            is_other_name = false;
        } else {
            found.push_str(word);
        }
    }
    found
}

fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.to_owned()];
    };
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for c in rest.trim_end_matches('}').chars().chain([',']) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    let closed = |part: &String| match part.matches('{').count() > part.matches('}').count() {
        true => format!("{part}}}"),
        false => part.clone(),
    };
    let parts = parts.iter().filter(|part| !part.is_empty()).map(closed);
    parts
        .flat_map(|part| expand(&format!("{prefix}{part}")))
        .map(|path| path.trim_end_matches("::self").to_owned())
        .collect()
}

fn absolute(path: &str, own: &Module, modules: &BTreeSet<Module>) -> Option<Module> {
    let mut parts: Vec<String> = path.split("::").map(str::to_owned).collect();
    let mut base = own.clone();
    match parts.first()?.as_str() {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            while parts.get(1).is_some_and(|next| next == "super") {
                base.pop()?;
                parts.remove(0);
            }
            base.pop()?;
        }
        name => {
            let child = [own.clone(), vec![name.to_owned()]].concat();
            return modules
                .contains(&child)
                .then(|| [own.clone(), parts].concat());
        }
    }
    Some([base, parts.split_off(1)].concat())
}

fn reexports_of(source: &Source, modules: &BTreeSet<Module>) -> BTreeMap<String, Module> {
    let code: Vec<&str> = source.code.iter().map(|(_, line)| line.as_str()).collect();
    let code = code.join("\n");
    let own = module(&source.path);
    let mut found = BTreeMap::new();
    for (at, _) in code.match_indices("\npub") {
        let line = &code[at + 1..];
        let Some(tree) = line
            .strip_prefix("pub use ")
            .or_else(|| line.strip_prefix("pub(crate) use "))
        else {
            continue;
        };
        for path in expand(&without_spaces(&tree[..tree.find(';').unwrap_or(0)])) {
            if let Some(path) = absolute(&path, &own, modules)
                && let Some(name) = path.last()
            {
                found.insert(name.clone(), path.clone());
            }
        }
    }
    found
}

/// The file that a path leads to, through what is re-exported.
fn resolve(
    path: Module,
    modules: &BTreeSet<Module>,
    reexports: &BTreeMap<Module, BTreeMap<String, Module>>,
) -> Option<Module> {
    let mut path = path;
    for _ in 0..5 {
        let known = (0..=path.len())
            .rev()
            .find(|len| modules.contains(&path[..*len]))?;
        let (module, rest) = path.split_at(known);
        let next = rest
            .first()
            .and_then(|name| reexports.get(module)?.get(name));
        match next {
            Some(target) => path = [target.clone(), rest[1..].to_vec()].concat(),
            None => return Some(module.to_vec()),
        }
    }
    None
}
