//! Cutting a search into terms.

use crate::{Error, Result};

/// A term of a search: `word:value`, `word>value`, or a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Term {
    /// With its colon or comparison; none: the value is a text to search for.
    pub(super) word: Option<String>,
    pub(super) value: Value,
}

/// A value: its characters, and of each whether it was between quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Value(Vec<(char, bool)>);

/// The terms of a search, in order. Outside of quotes a space ends a term.
pub(super) fn terms(text: &str) -> Result<Vec<Term>> {
    let mut terms = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(first) = chars.peek() {
        if first.is_whitespace() {
            chars.next();
            continue;
        }
        let mut value = Vec::new();
        while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
            if c == '"' {
                quoted(&mut chars, &mut value)?;
            } else {
                value.push((c, false));
            }
        }
        terms.push(term(value));
    }
    Ok(terms)
}

/// Within quotes a backslash stands before a quote or a backslash; before other characters it is one itself.
fn quoted(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    value: &mut Vec<(char, bool)>,
) -> Result<()> {
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok(()),
            '\\' => {
                let escaped = chars.next_if(|next| matches!(next, '"' | '\\'));
                value.push((escaped.unwrap_or(c), true));
            }
            c => value.push((c, true)),
        }
    }
    Err(Error::invalid("a quote is not closed")
        .with_hint("within quotes a quote is written \\\" and a backslash \\\\"))
}

/// A word begins with a letter: `10:30` is a text.
fn term(value: Vec<(char, bool)>) -> Term {
    let is_of_word = |(c, is_quoted): &&(char, bool)| {
        !is_quoted && (c.is_ascii_alphabetic() || matches!(c, '_' | '-'))
    };
    let length = value.iter().take_while(is_of_word).count();
    let begins = value.first().is_some_and(|(c, _)| c.is_ascii_alphabetic());
    match value.get(length) {
        Some((':' | '>' | '<', false)) if begins => {
            let word = value[..=length].iter().map(|(c, _)| c).collect();
            Term {
                word: Some(word),
                value: Value(value[length + 1..].to_vec()),
            }
        }
        _ => Term {
            word: None,
            value: Value(value),
        },
    }
}

impl Value {
    pub(super) fn text(&self) -> String {
        self.0.iter().map(|(c, _)| c).collect()
    }

    /// The parts between commas outside of quotes.
    pub(super) fn parts(&self) -> Vec<Value> {
        let parts = self.0.split(|part| *part == (',', false));
        parts.map(|part| Value(part.to_vec())).collect()
    }

    /// What is before and behind the first such character outside of quotes; if there is none, the first at all.
    pub(super) fn split_once(&self, at: char) -> Option<(String, String)> {
        let outside = self.0.iter().position(|part| *part == (at, false));
        let found = outside.or_else(|| self.0.iter().position(|(c, _)| *c == at))?;
        let text = |part: &[(char, bool)]| part.iter().map(|(c, _)| c).collect();
        Some((text(&self.0[..found]), text(&self.0[found + 1..])))
    }
}
