//! Tokens of Rust as text, however they are formatted.

use proc_macro2::{TokenStream, TokenTree};

/// Tokens as one line. A path loses its modules, as an import could stand for them.
pub(crate) fn text(tokens: TokenStream) -> String {
    let mut words = Vec::new();
    flatten(tokens, &mut words);
    let mut line = String::new();
    let mut at = 0;
    while at < words.len() {
        let word = &words[at];
        let is_module = word.starts_with(|first: char| first.is_ascii_lowercase());
        if is_module && words.get(at + 1).is_some_and(|next| next == "::") {
            at += 2;
            continue;
        }
        let closes = |word: &str| matches!(word, ")" | "]" | ">");
        // rustfmt adds a comma behind the last argument of a long list.
        let is_last = words.get(at + 1).is_some_and(|next| closes(next));
        if !(word == "," && is_last) {
            push(&mut line, word);
        }
        at += 1;
    }
    line
}

fn push(line: &mut String, word: &str) {
    let tight_before = ["", "(", "[", "<", "&", "::", "'", "#", "!", "?"];
    let tight_after = [",", ";", ":", ")", "]", ">", "::", "?", "!"];
    let is_tight = tight_before.iter().any(|end| match *end {
        "" => line.is_empty(),
        end => line.ends_with(end),
    });
    let behind_name = line.ends_with(|last: char| last.is_alphanumeric() || last == '_')
        || (line.ends_with('>') && !line.ends_with("->"));
    let is_opened = behind_name && matches!(word, "(" | "<" | "[");
    if !(is_tight || is_opened || tight_after.contains(&word)) {
        line.push(' ');
    }
    line.push_str(word);
}

/// Each token as a word; `::`, `->` and a lifetime are one.
fn flatten(tokens: TokenStream, words: &mut Vec<String>) {
    let mut joins = false;
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    proc_macro2::Delimiter::Parenthesis => ("(", ")"),
                    proc_macro2::Delimiter::Brace => ("{", "}"),
                    proc_macro2::Delimiter::Bracket => ("[", "]"),
                    proc_macro2::Delimiter::None => ("", ""),
                };
                words.push(open.to_owned());
                flatten(group.stream(), words);
                words.push(close.to_owned());
                joins = false;
            }
            TokenTree::Punct(mark) => {
                match words.last_mut().filter(|_| joins) {
                    Some(last) => last.push(mark.as_char()),
                    None => words.push(mark.as_char().to_string()),
                }
                joins = mark.spacing() == proc_macro2::Spacing::Joint;
            }
            other => {
                match words.last_mut().filter(|last| joins && *last == "'") {
                    Some(last) => last.push_str(&other.to_string()),
                    None => words.push(other.to_string()),
                }
                joins = false;
            }
        }
    }
}

/// Without attributes: in a list of variants and fields they are comments.
pub(crate) fn without_docs(tokens: TokenStream) -> TokenStream {
    let mut kept: Vec<TokenTree> = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let is_attribute = group.delimiter() == proc_macro2::Delimiter::Bracket
                    && kept.last().is_some_and(|last| last.to_string() == "#");
                if is_attribute {
                    kept.pop();
                    continue;
                }
                let inside = without_docs(group.stream());
                kept.push(proc_macro2::Group::new(group.delimiter(), inside).into());
            }
            other => kept.push(other),
        }
    }
    kept.into_iter().collect()
}

/// Whether a name stands anywhere in these.
pub(crate) fn mentions(tokens: &TokenStream, name: &str) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Group(group) => mentions(&group.stream(), name),
        TokenTree::Ident(ident) => ident == name,
        _ => false,
    })
}
