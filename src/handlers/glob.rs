//! Patterns of file names: `*` and `?` within a name, `**` for any folders between.
//!
//! Three signs need no crate. What else a shell or a git file may write (`[a-z]`, `{a,b}`, `!x`, `\`) is
//! refused, so that no pattern of something that deletes means less or more than its author thinks.

use crate::{Error, Result};

/// A pattern. Without a slash it is for the name alone, in every folder; with one, for the path below the
/// folder that is cleaned.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    /// The parts between the slashes, by character.
    parts: Vec<Vec<char>>,
}

impl Glob {
    pub(crate) fn parse(text: &str) -> Result<Glob> {
        let refused = |why: &str| Err(Error::invalid(format!("the pattern '{text}' {why}")));
        if let Some(sign) = text.chars().find(|sign| "[]{}\\!".contains(*sign)) {
            return refused(&format!(
                "has '{sign}' in it; the signs are *, ? and ** (? stands for any one character)"
            ));
        }
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|part| ["", ".", ".."].contains(part)) {
            return refused("is not a name or a path below the folder");
        }
        if parts
            .iter()
            .any(|part| *part != "**" && part.contains("**"))
        {
            return refused("has ** beside other signs; it stands for whole folders: **/*.log");
        }
        let parts = parts.iter().map(|part| part.chars().collect());
        Ok(Glob {
            parts: parts.collect(),
        })
    }

    /// Whether it is for more than a name.
    #[allow(dead_code, reason = "only a cleanup asks")]
    pub(crate) fn has_folders(&self) -> bool {
        self.parts.len() > 1
    }

    /// Whether it fits an entry, by its path below the folder that is cleaned. Bytes that are not UTF-8 are
    /// one unknown character each.
    pub(crate) fn fits(&self, path: &[String]) -> bool {
        let path = match self.parts.len() {
            1 => &path[path.len().saturating_sub(1)..],
            _ => path,
        };
        wild(
            (&self.parts, path),
            |part| matches!(part[..], ['*', '*']),
            |part, name| {
                let name: Vec<char> = name.chars().collect();
                wild(
                    (part, &name),
                    |sign| *sign == '*',
                    |sign, letter| *sign == '?' || sign == letter,
                )
            },
        )
    }
}

/// Whether a pattern fits a whole text, where some of its items stand for any number of the text's. It takes
/// at most their lengths' product: only the last such item is ever tried with more.
fn wild<P, T>(
    (pattern, text): (&[P], &[T]),
    is_any: impl Fn(&P) -> bool,
    fits: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut at, mut done) = (0, 0);
    let mut last: Option<(usize, usize)> = None;
    while done < text.len() {
        match pattern.get(at) {
            Some(item) if is_any(item) => {
                last = Some((at, done));
                at += 1;
            }
            Some(item) if fits(item, &text[done]) => (at, done) = (at + 1, done + 1),
            _ => match last {
                Some((any, from)) => {
                    last = Some((any, from + 1));
                    (at, done) = (any + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(is_any)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('/').map(str::to_owned).collect()
    }

    fn fits(pattern: &str, text: &str) -> bool {
        Glob::parse(pattern).unwrap().fits(&path(text))
    }

    #[test]
    fn a_name_fits_in_every_folder_and_a_path_from_the_top() {
        for (pattern, yes, no) in [
            ("*.log", "a/b/.log", "a.log/b"),
            ("?.log", "ü.log", "ab.log"),
            ("a/*.log", "a/b.log", "x/a/b.log"),
            ("**/*.tmp", "b.tmp", "b.tmp/c"),
            ("**/*.tmp", "a/c/b.tmp", "b.tm"),
            ("a/**/b", "a/b", "a/bb"),
            ("a/**/b", "a/x/y/b", "b"),
            ("a/**", "a/x", "b/x"),
            ("*", ".hidden", ""),
            ("a*b*c", "aXbbYc", "acb"),
        ] {
            assert!(fits(pattern, yes), "{pattern} {yes}");
            assert!(!fits(pattern, no) || no.is_empty(), "{pattern} {no}");
        }
    }

    #[test]
    fn signs_that_mean_something_elsewhere_are_refused() {
        for text in [
            "", "/a", "a//b", "../a", "[ab]", "{a,b}", "!a", "a\\*", "a**", "./a",
        ] {
            assert!(Glob::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "*a".repeat(60) + "b";
        assert!(!fits(&pattern, &"a".repeat(4000)));
    }

    /// The definition, as it reads.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|from| slow(rest, &text[from..])),
            Some((sign, rest)) => text
                .split_first()
                .is_some_and(|(letter, text)| (*sign == '?' || sign == letter) && slow(rest, text)),
        }
    }

    proptest! {
        #[test]
        fn it_fits_what_the_definition_fits(pattern in "[ab?*]{1,6}", text in "[ab]{0,8}") {
            prop_assume!(!pattern.contains("**"));
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(fits(&pattern, &text), slow(&letters(&pattern), &letters(&text)));
        }

        #[test]
        fn folders_fit_as_letters_do(pattern in "[ab*]{2,6}", text in "[ab]{2,8}") {
            // The same shapes, one part a letter: ** for *.
            prop_assume!(!pattern.contains("**"));
            let parts = |text: &str| {
                let parts: Vec<String> = text.chars().map(String::from).collect();
                parts.join("/")
            };
            let by_parts = fits(&parts(&pattern).replace('*', "**"), &parts(&text));
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(by_parts, slow(&letters(&pattern), &letters(&text)));
        }
    }
}
