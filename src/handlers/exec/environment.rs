//! What a command finds in its environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::OnceLock;

/// What a command gets of the runner's own environment where nothing else is said; every `LC_…` too.
const INHERITED: [&str; 8] = [
    "PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL",
];

/// The whole environment of a command.
///
/// A runner may have been started anywhere, with any secrets in its environment. So a command gets
/// of it only what programs need to work at all: `PATH`, `HOME`, `LANG`, every `LC_…`, `TZ`,
/// `TMPDIR`, `USER`, `LOGNAME` and `SHELL`. What the job remembers wins over these, and what is
/// [`set`](Environment::set) last wins over both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// What every command gets of this process's environment, as it was when first asked for.
    pub(crate) fn inherited() -> Environment {
        static OWN: OnceLock<Environment> = OnceLock::new();
        OWN.get_or_init(|| Environment::picked_from(std::env::vars_os()))
            .clone()
    }

    /// Sets a variable, whatever it was before.
    pub(crate) fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.0.insert(name.into(), value.into());
    }

    /// The value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// All variables, in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    fn picked_from(own: impl Iterator<Item = (OsString, OsString)>) -> Environment {
        let is_picked = |name: &OsStr| {
            INHERITED.iter().any(|picked| name == *picked)
                || name.as_encoded_bytes().starts_with(b"LC_")
        };
        Environment(own.filter(|(name, _)| is_picked(name)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_programs_need_to_work_is_inherited() {
        let own = [
            ("PATH", "/bin"),
            ("HOME", "/h"),
            ("LC_TIME", "C"),
            ("AWS_SECRET", "x"),
            ("PWD", "/"),
            ("JOBQ_DB", "/d"),
        ];
        let picked = Environment::picked_from(own.into_iter().map(|(n, v)| (n.into(), v.into())));
        let names: Vec<_> = picked
            .iter()
            .map(|(name, _)| name.to_str().unwrap())
            .collect();
        assert_eq!(names, ["HOME", "LC_TIME", "PATH"]);
    }

    #[test]
    fn what_is_set_last_wins() {
        let mut environment =
            Environment::picked_from([("PATH".into(), "/bin".into())].into_iter());
        environment.set("PATH", "/opt/bin");
        assert_eq!(environment.get("PATH"), Some(OsStr::new("/opt/bin")));
        assert_eq!(environment.get("HOME"), None);
    }
}
