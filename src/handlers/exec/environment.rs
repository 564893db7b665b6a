//! What a command finds in its environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::sync::OnceLock;

use crate::model::hook::HookEvent;

/// What every command gets without being asked; every `LC_…` too.
const REMEMBERED: [&str; 8] = [
    "PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL",
];

/// The value of a variable, if there is one.
type ValueOfHook = fn(&HookEvent) -> Option<String>;

/// How another job has ended, for a hook's command.
const OF_HOOKS: [(&str, ValueOfHook); 10] = [
    ("JOBQ_HOOK", |event| Some(event.hook.to_string())),
    ("JOBQ_HOOK_JOB", |event| Some(event.job.to_string())),
    ("JOBQ_HOOK_KIND", |event| Some(event.kind.clone())),
    ("JOBQ_HOOK_QUEUE", |event| Some(event.queue.clone())),
    ("JOBQ_HOOK_STATE", |event| Some(event.state.to_string())),
    ("JOBQ_HOOK_ERROR", |event| event.error.clone()),
    ("JOBQ_HOOK_ATTEMPTS", |event| {
        Some(event.attempts.to_string())
    }),
    ("JOBQ_HOOK_TOTAL", |event| {
        Some(event.children?.total.to_string())
    }),
    ("JOBQ_HOOK_DONE", |event| {
        Some(event.children?.done.to_string())
    }),
    ("JOBQ_HOOK_FAILED", |event| {
        Some(event.children?.failed.to_string())
    }),
];

/// Whether a command gets this variable without being asked: `PATH`, `HOME`, `LANG`, every `LC_…`,
/// `TZ`, `TMPDIR`, `USER`, `LOGNAME` and `SHELL`. They are what `jobq enqueue` remembers for a
/// command, and what a runner gives it of its own environment where the job remembers none.
pub fn is_remembered(name: &OsStr) -> bool {
    REMEMBERED.iter().any(|remembered| name == *remembered) || is_of_locale_categories(name)
}

fn is_of_locale_categories(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"LC_")
}

/// The whole environment of a command.
///
/// A runner may have been started anywhere, with any secrets in its environment, and with what a
/// service manager tells it alone. So a command gets of it only what programs need to work at all
/// ([`is_remembered`]). What the job remembers wins over these, and what is
/// [`set`](Environment::set) last wins over both.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

/// The names alone: values may be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

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

    /// Takes a variable away.
    pub(crate) fn remove(&mut self, name: &str) {
        self.0.remove(OsStr::new(name));
    }

    /// Sets what a job remembers. A locale is remembered as a whole: the runner's `LC_ALL` does not
    /// overrule the `LANG` of the job.
    pub(crate) fn remember<'a>(
        &mut self,
        variables: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    ) {
        let is_of_locale = |name: &OsStr| name == "LANG" || is_of_locale_categories(name);
        if variables
            .clone()
            .any(|(name, _)| is_of_locale(OsStr::new(name)))
        {
            self.0.retain(|name, _| !is_of_locale(name));
        }
        for (name, value) in variables {
            self.set(name, value);
        }
    }

    /// Sets what a hook's command is for. A command that is none may remember them from inside of another job.
    pub(crate) fn set_hook(&mut self, hook: Option<&HookEvent>) {
        for (name, value) in OF_HOOKS {
            match hook.and_then(value) {
                Some(value) => self.set(name, value),
                None => self.remove(name),
            }
        }
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
        Environment(own.filter(|(name, _)| is_remembered(name)).collect())
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
            ("NOTIFY_SOCKET", "/run/n"),
            ("WATCHDOG_USEC", "1"),
            ("LISTEN_FDS", "1"),
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
    fn a_locale_is_remembered_as_a_whole() {
        let own = [
            ("LC_ALL", "C"),
            ("LANG", "C"),
            ("HOME", "/h"),
            ("TZ", "UTC"),
        ];
        let own = own.map(|(name, value)| (name.into(), value.into()));
        let runner = Environment::picked_from(own.into_iter());
        let with = |remembered: &[(&'static str, &'static str)]| {
            let mut environment = runner.clone();
            environment.remember(remembered.iter().copied());
            let shown = environment
                .iter()
                .map(|(name, value)| format!("{}={}", name.display(), value.display()));
            shown.collect::<Vec<_>>()
        };
        assert_eq!(with(&[("LANG", "de")]), ["HOME=/h", "LANG=de", "TZ=UTC"]);
        assert_eq!(
            with(&[("LC_TIME", "de")]),
            ["HOME=/h", "LC_TIME=de", "TZ=UTC"]
        );
        assert_eq!(
            with(&[("A", "1")]),
            ["A=1", "HOME=/h", "LANG=C", "LC_ALL=C", "TZ=UTC"]
        );
    }

    #[test]
    fn what_is_set_last_wins() {
        let mut environment =
            Environment::picked_from([("PATH".into(), "/bin".into())].into_iter());
        environment.set("PATH", "/opt/bin");
        assert_eq!(environment.get("PATH"), Some(OsStr::new("/opt/bin")));
        assert_eq!(environment.get("HOME"), None);
    }

    #[test]
    fn no_value_is_shown_for_debugging() {
        let mut environment = Environment::picked_from([].into_iter());
        environment.set("TOKEN", "open sesame");
        assert_eq!(format!("{environment:?}"), r#"{"TOKEN"}"#);
    }
}
