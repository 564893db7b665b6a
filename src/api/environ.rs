//! The environment of this process, and what jobs take of it.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::str::FromStr;

use crate::handlers::exec::is_remembered;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::{Error, Result};

/// Variables for commands, as `--env` and `env = […]` name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvItem {
    /// `NAME=VALUE`.
    Set(String, String),
    /// `NAME`, with the value that it has here.
    Name(String),
    /// `AWS_*`: all names that fit, with the values that they have here.
    Pattern(String),
}

impl EnvItem {
    /// The whole environment.
    pub fn all() -> EnvItem {
        EnvItem::Pattern("*".to_owned())
    }
}

impl FromStr for EnvItem {
    type Err = String;

    fn from_str(text: &str) -> Result<EnvItem, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let is_pattern = name.contains(['*', '?']);
        if name.is_empty() || text.contains('\0') || (is_pattern && value.is_some()) {
            return Err(format!("{name:?} cannot be the name of a variable"));
        }
        Ok(match value {
            Some(value) => EnvItem::Set(name.to_owned(), value.to_owned()),
            None if is_pattern => EnvItem::Pattern(name.to_owned()),
            None => EnvItem::Name(name.to_owned()),
        })
    }
}

impl<'de> Deserialize<'de> for EnvItem {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<EnvItem, D::Error> {
        let text = String::deserialize(value)?;
        text.parse()
            .map_err(|why| D::Error::custom(format_args!("env: {why}")))
    }
}

/// What becomes of a name that is not set here, or a pattern that no name fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// The name is refused: it was given as an option.
    Refuse,
    /// It is left out: a config file is used in many environments.
    LeaveOut,
}

/// Variables by their names: text only, as JSON holds nothing else.
pub type Variables = BTreeMap<String, String>;

/// An environment.
#[derive(Clone, Debug, Default)]
pub struct Environ(BTreeMap<OsString, OsString>);

/// What tells of this process or of the job around it, and is wrong for any other: patterns leave it
/// out; named, it is taken.
const OF_THIS_PROCESS: [&str; 19] = [
    "_",
    "SHLVL",
    "PWD",
    "OLDPWD",
    "JOBQ_DB",
    "JOBQ_JOB_ID",
    "JOBQ_ATTEMPT",
    "JOBQ_PHASE",
    "JOBQ_SCHEDULE",
    "JOBQ_SLOT",
    "JOBQ_IDEMPOTENCY_KEY",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "MAINPID",
    "JOURNAL_STREAM",
];

impl Environ {
    /// Of this process.
    pub fn here() -> Environ {
        Environ(env::vars_os().collect())
    }

    /// What every command remembers. A value that is no text is not worth refusing the job: the
    /// runner has one of its own.
    pub fn remembered(&self) -> Variables {
        let remembered = self.0.iter().filter(|(name, _)| is_remembered(name));
        remembered
            .filter_map(|(name, value)| text(name).zip(text(value)))
            .collect()
    }

    /// The variables that `items` name. What is named beats what only fits a pattern, and what comes
    /// later what came before.
    pub fn pick(&self, items: &[EnvItem], unset: Unset) -> Result<Variables> {
        let mut picked = Variables::new();
        for item in items {
            if let EnvItem::Pattern(pattern) = item {
                let fitting = self.fitting(pattern);
                picked.extend(fitting.filter_map(|(name, value)| Some((name, text(value)?))));
            }
        }
        for item in items {
            match item {
                EnvItem::Pattern(_) => {}
                EnvItem::Set(name, value) => {
                    picked.insert(name.clone(), value.clone());
                }
                EnvItem::Name(name) => {
                    if let Some(value) = self.value(name, unset)? {
                        picked.insert(name.clone(), value);
                    }
                }
            }
        }
        Ok(picked)
    }

    /// What may be unexpected of these items.
    pub fn notes(&self, items: &[EnvItem]) -> Vec<String> {
        let mut notes = Vec::new();
        for item in items {
            let EnvItem::Pattern(pattern) = item else {
                continue;
            };
            let mut is_any = false;
            for (name, value) in self.fitting(pattern) {
                is_any = true;
                if text(value).is_none() {
                    notes.push(format!(
                        "env: the value of {name} here is not UTF-8, so it is left out"
                    ));
                }
            }
            if !is_any {
                notes.push(format!("env: no variable here fits '{pattern}'"));
            }
        }
        notes
    }

    fn fitting<'a>(&'a self, pattern: &'a str) -> impl Iterator<Item = (String, &'a OsStr)> {
        let all = self.0.iter();
        let named = all.filter_map(|(name, value)| Some((text(name)?, &**value)));
        let is_of_this_process =
            |name: &str| OF_THIS_PROCESS.contains(&name) || name.starts_with("JOBQ_HOOK");
        named.filter(move |(name, _)| fits(pattern, name) && !is_of_this_process(name))
    }

    fn value(&self, name: &str, unset: Unset) -> Result<Option<String>> {
        match self.0.get(OsStr::new(name)) {
            Some(value) => match text(value) {
                Some(value) => Ok(Some(value)),
                None => Err(Error::invalid(format!(
                    "env: the value of {name} here is not UTF-8"
                ))),
            },
            None if unset == Unset::LeaveOut => Ok(None),
            None => Err(Error::invalid(format!("env: {name} is not set here"))
                .with_hint(format!("give it a value: {name}=VALUE"))),
        }
    }
}

fn text(raw: &OsStr) -> Option<String> {
    raw.to_str().map(str::to_owned)
}

/// Whether a pattern with `*` (anything) and `?` (one character) fits the whole name.
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut in_name) = (0, 0);
    // Where the last star stands, and up to where it has taken the name.
    let mut star = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, in_name));
                at += 1;
            }
            Some(char) if *char == '?' || *char == name[in_name] => {
                at += 1;
                in_name += 1;
            }
            _ => {
                let Some((star_at, taken)) = star else {
                    return false;
                };
                star = Some((star_at, taken + 1));
                (at, in_name) = (star_at + 1, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|char| *char == '*')
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn environ(variables: &[(&str, &str)]) -> Environ {
        let variables = variables.iter();
        Environ(
            variables
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }

    fn items(texts: &[&str]) -> Vec<EnvItem> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn picked(environ: &Environ, texts: &[&str]) -> Vec<String> {
        let picked = environ.pick(&items(texts), Unset::Refuse).unwrap();
        let shown = picked.iter();
        shown
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    #[test]
    fn a_pattern_fits_whole_names() {
        for (pattern, name, expected) in [
            ("AWS_*", "AWS_KEY", true),
            ("AWS_*", "AWS_", true),
            ("AWS_*", "MY_AWS_KEY", false),
            ("*_PROXY", "HTTP_PROXY", true),
            ("*_PROXY", "HTTP_PROXY_X", false),
            ("*AB*AB", "AABAB", true),
            ("*", "", true),
            ("A?C", "ABC", true),
            ("A?C", "AC", false),
            ("A?C", "A\u{e9}C", true),
            ("**", "x", true),
            ("a*", "A", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
        // Many stars cost no more than a few.
        assert!(!fits(&"*a".repeat(500), &"a".repeat(499)));
    }

    #[test]
    fn an_item_is_a_name_a_setting_or_a_pattern() {
        let both = |name: &str, value: &str| EnvItem::Set(name.to_owned(), value.to_owned());
        assert_eq!(items(&["A=1=2", "B="]), [both("A", "1=2"), both("B", "")]);
        assert_eq!(items(&["A=*"]), [both("A", "*")]);
        assert_eq!(items(&["C"]), [EnvItem::Name("C".to_owned())]);
        assert_eq!(items(&["C*", "?"]).len(), 2);
        for wrong in ["", "=1", "A*=1", "A\0", "A=\0"] {
            assert!(wrong.parse::<EnvItem>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_named_beats_what_fits_a_pattern() {
        let environ = environ(&[("AWS_ID", "1"), ("AWS_KEY", "2"), ("OTHER", "3")]);
        let all = ["AWS_ID=1", "AWS_KEY=2"];
        assert_eq!(picked(&environ, &["AWS_*"]), all);
        for order in [["AWS_KEY=x", "AWS_*"], ["AWS_*", "AWS_KEY=x"]] {
            assert_eq!(picked(&environ, &order), ["AWS_ID=1", "AWS_KEY=x"]);
        }
        assert_eq!(
            picked(&environ, &["A=1", "OTHER", "A=2"]),
            ["A=2", "OTHER=3"]
        );
        assert!(picked(&environ, &["NONE_*"]).is_empty());
    }

    #[test]
    fn patterns_leave_out_what_tells_of_this_process() {
        let environ = environ(&[
            ("A", "1"),
            ("JOBQ_ATTEMPT", "7"),
            ("NOTIFY_SOCKET", "/n"),
            ("PWD", "/"),
        ]);
        assert_eq!(picked(&environ, &["*"]), ["A=1"]);
        assert_eq!(picked(&environ, &["*", "PWD"]), ["A=1", "PWD=/"]);
    }

    #[test]
    fn a_name_that_is_not_set_here_is_refused_to_a_person_only() {
        let missing = items(&["MISSING"]);
        let error = environ(&[]).pick(&missing, Unset::Refuse).unwrap_err();
        assert!(error.is_invalid_input());
        assert!(error.to_string().contains("MISSING is not set here"));
        let picked = environ(&[]).pick(&missing, Unset::LeaveOut).unwrap();
        assert!(picked.is_empty());
    }

    #[test]
    fn a_value_that_is_not_text_is_refused_by_name_only() {
        let raw = OsStr::from_bytes(b"\xff").to_owned();
        let environ = Environ([("HOME".into(), raw), ("PATH".into(), "/bin".into())].into());
        let named = environ.pick(&items(&["HOME"]), Unset::Refuse).unwrap_err();
        assert!(named.to_string().contains("not UTF-8"));
        assert_eq!(picked(&environ, &["*"]), ["PATH=/bin"]);
        assert_eq!(environ.remembered().len(), 1);
    }

    #[test]
    fn what_programs_need_to_work_is_remembered() {
        let given = [
            "PATH", "HOME", "LANG", "LC_ALL", "LC_TIME", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL",
        ];
        let others = ["AWS_KEY", "TERM", "LC", "JOBQ_DB"];
        let all = given.iter().chain(&others).map(|name| (*name, "x"));
        let remembered = environ(&all.collect::<Vec<_>>()).remembered();
        assert_eq!(remembered.len(), given.len(), "{remembered:?}");
        assert!(given.iter().all(|name| remembered.contains_key(*name)));
    }
}
