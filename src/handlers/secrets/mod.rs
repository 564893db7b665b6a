//! Secrets: a payload names them, and the runner reads them when an attempt needs them.

mod source;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use zeroize::Zeroize;

pub use crate::handlers::secrets::source::{SecretCommand, SecretSource};
pub use crate::handlers::secrets::text::{NamedSecret, SecretText};
use crate::model::mask::MASKED;
use crate::runner::context::Context;
use crate::runner::handler::Failure;

/// The value of a secret. It is shown as `***`, and overwritten when it is dropped.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// The value itself: it goes where it is needed and nowhere else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Secret {
        Secret(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASKED)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A secret as a runner knows it: where it is read, and what it may be used for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SecretRule {
    /// Where it is read.
    pub source: SecretSource,
    /// The hosts that it may be sent to, as `api.example.org` or `*.example.org`; any, if this is left out.
    pub hosts: Option<Vec<String>>,
    /// The kinds whose handlers may read it; any, if this is left out.
    pub kinds: Option<Vec<String>>,
}

impl SecretRule {
    /// A secret that may be used for everything.
    pub fn new(source: SecretSource) -> SecretRule {
        SecretRule {
            source,
            hosts: None,
            kinds: None,
        }
    }

    fn check_use(&self, kind: &str, host: Option<&str>) -> Result<(), String> {
        if let Some(kinds) = &self.kinds
            && !kinds
                .iter()
                .any(|known| main_name(known) == main_name(kind))
        {
            return Err(format!(
                "is not for the kind {kind}: 'kinds' does not name it"
            ));
        }
        match (&self.hosts, host) {
            (None, _) => Ok(()),
            (Some(hosts), Some(host)) if hosts.iter().any(|pattern| fits(pattern, host)) => Ok(()),
            (Some(_), Some(host)) => Err(format!("is not for {host}: 'hosts' does not name it")),
            (Some(_), None) => Err("is only sent to the 'hosts' that its rule names".to_owned()),
        }
    }
}

/// Kinds that are second names of others, which have the same handler.
pub(super) const SECOND_NAMES: [(&str, &str); 1] = [("http", "webhook")];

fn main_name(kind: &str) -> &str {
    let second = SECOND_NAMES.iter().find(|(second, _)| *second == kind);
    second.map_or(kind, |(_, main)| main)
}

/// Whether a host is the pattern, or a subdomain of it where the pattern begins with `*.`.
fn fits(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.to_ascii_lowercase(), host.to_ascii_lowercase());
    match pattern.strip_prefix('*') {
        Some(domain) => {
            domain.starts_with('.') && host.len() > domain.len() && host.ends_with(domain)
        }
        None => pattern == host,
    }
}

/// The secrets of a runner by their names: the section `[secrets]` of the config file.
///
/// ```
/// use jobq::handlers::secrets::{SecretRule, SecretSource, Secrets};
///
/// let secrets: Secrets = jobq::serde_json::from_str(
///     r#"{"crm": {"env": "CRM_TOKEN", "hosts": ["*.crm.example"]}}"#,
/// )?;
/// let mut more = Secrets::default();
/// more.add("smtp", SecretRule::new(SecretSource::File("/run/secrets/smtp".into())));
/// # let _ = (secrets, more);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Secrets(BTreeMap<String, SecretRule>);

impl Secrets {
    /// Adds a secret, in place of one with the same name.
    pub fn add(&mut self, name: impl Into<String>, rule: SecretRule) {
        self.0.insert(name.into(), rule);
    }

    /// The names of all.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Takes relative paths of files from this folder, and runs commands in it.
    #[must_use]
    pub fn relative_to(mut self, folder: &Path) -> Secrets {
        for rule in self.0.values_mut() {
            rule.source.set_folder(folder);
        }
        self
    }

    /// Reads a secret whatever it is for: a check that it can be read.
    ///
    /// # Errors
    /// There is none of this name, or it cannot be read.
    pub fn read(&self, name: &str) -> Result<Secret, Failure> {
        read(name, self.rule(name)?, None)
    }

    /// Reads a secret as the handler of a kind does, outside of an attempt; with the host that it is to be sent to, if
    /// it is sent.
    ///
    /// # Errors
    /// As of [`Context::secret`].
    pub fn read_for(&self, name: &str, kind: &str, host: Option<&str>) -> Result<Secret, Failure> {
        self.read_bound(name, (kind, host), None)
    }

    /// Every use of a secret goes through here: its rule is checked first.
    fn read_bound(
        &self,
        name: &str,
        (kind, host): (&str, Option<&str>),
        ctx: Option<&Context>,
    ) -> Result<Secret, Failure> {
        let rule = self.rule(name)?;
        rule.check_use(kind, host)
            .map_err(|why| Failure::permanent(format_args!("the secret '{name}' {why}")))?;
        read(name, rule, ctx)
    }

    fn rule(&self, name: &str) -> Result<&SecretRule, Failure> {
        self.0.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.names().collect();
            let known = match known.is_empty() {
                true => "its config file has no [secrets]".to_owned(),
                false => format!("its [secrets] are {}", known.join(", ")),
            };
            Failure::permanent(format_args!("the runner has no secret '{name}': {known}"))
        })
    }
}

fn read(name: &str, rule: &SecretRule, ctx: Option<&Context>) -> Result<Secret, Failure> {
    let context = format_args!("the secret '{name}' cannot be read");
    rule.source
        .read(ctx)
        .map_err(|failure| failure.context(context))
}

impl Context {
    /// A secret of the runner by its name; with the host that it is to be sent to, if it is sent. From then on it
    /// is masked in what this attempt logs, reports and returns. The application registers its [`Secrets`] with
    /// [`RunnerBuilder::data`](crate::RunnerBuilder::data).
    ///
    /// # Errors
    /// It is not known, or not for this kind or host, or cannot be read; the job fails for good then, as only the
    /// config file can change that. A command that fails is tried again.
    pub fn secret(&self, name: &str, host: Option<&str>) -> Result<Secret, Failure> {
        let secrets = self.data::<Secrets>().unwrap_or_default();
        let secret = secrets.read_bound(name, (self.kind(), host), Some(self))?;
        self.mask(secret.reveal());
        Ok(secret)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rule(json: &str) -> std::result::Result<SecretRule, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_secret_is_bound_to_hosts_and_kinds() {
        let rule = rule(r#"{"env":"A","hosts":["a.org","*.B.org"],"kinds":["webhook"]}"#).unwrap();
        for host in ["a.org", "A.org", "x.b.org", "y.x.b.org"] {
            assert_eq!(rule.check_use("webhook", Some(host)), Ok(()), "{host}");
        }
        for host in ["b.org", "xb.org", "a.org.evil", "x.a.org", ".b.org", ""] {
            let refused = rule.check_use("webhook", Some(host)).unwrap_err();
            assert!(refused.contains("'hosts'"), "{refused}");
        }
        assert_eq!(rule.check_use("http", Some("a.org")), Ok(()));
        assert!(rule.check_use("webhook", None).is_err());
        let refused = rule.check_use("exec", Some("a.org")).unwrap_err();
        assert!(refused.contains("kind exec"), "{refused}");
        let mut secrets = Secrets::default();
        secrets.add("a", rule);
        let refused = |kind, host| {
            let failure = secrets.read_for("a", kind, Some(host)).unwrap_err();
            assert!(failure.is_permanent());
            failure.to_string()
        };
        let host = refused("webhook", "c.org");
        assert!(host.contains("'a' is not for c.org"), "{host}");
        let kind = refused("email", "a.org");
        assert!(kind.contains("'a' is not for the kind email"), "{kind}");
    }

    #[test]
    fn what_a_rule_cannot_be_is_named() {
        for (json, why) in [
            ("{}", "one of env, file, credential and command"),
            (r#"{"env":"A","file":"b"}"#, "one of env, file"),
            (r#"{"command":[]}"#, "the command of a secret is empty"),
            (r#"{"env":"A","cache":"1m"}"#, "cache goes with command"),
            (r#"{"command":["a"],"cache":"x"}"#, "invalid duration 'x'"),
            (r#"{"credential":"../a"}"#, "not a path"),
            (r#"{"evn":"A"}"#, "unknown field `evn`"),
        ] {
            let refused = rule(json).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let mut secrets = Secrets::default();
        secrets.add("key", SecretRule::new(SecretSource::File("key".into())));
        let secrets = secrets.relative_to(folder.path());
        let refusal = || secrets.read("key").unwrap_err().to_string();
        assert!(refusal().contains("No such file"), "{}", refusal());
        std::fs::write(&path, "open sesame\r\n").unwrap();
        let set_mode = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode));
        for mode in [0o644, 0o604, 0o620] {
            set_mode(mode).unwrap();
            assert!(refusal().contains("chmod 600"), "{}", refusal());
        }
        for mode in [0o600, 0o640, 0o400] {
            set_mode(mode).unwrap();
            let secret = secrets.read("key").unwrap();
            assert_eq!(secret.reveal(), "open sesame");
            assert_eq!(format!("{secret:?}"), "***");
        }
        set_mode(0o600).unwrap();
        std::fs::write(&path, "\n").unwrap();
        assert!(refusal().contains("it is empty"), "{}", refusal());
        std::fs::write(&path, b"\xff").unwrap();
        assert!(refusal().contains("not UTF-8"), "{}", refusal());
    }

    #[test]
    fn a_command_prints_a_secret_and_its_messages_are_dropped() {
        let secrets: Secrets = serde_json::from_str(
            r#"{"a":{"command":["sh","-c","echo open sesame; echo why >&2"]},
                "b":{"command":["sh","-c","echo open sesame >&2; exit 3"]},
                "c":{"command":["no-such-command"]}}"#,
        )
        .unwrap();
        assert_eq!(secrets.read("a").unwrap().reveal(), "open sesame");
        let failed = secrets.read("b").unwrap_err();
        assert!(!failed.is_permanent());
        assert_eq!(
            failed.to_string(),
            "the secret 'b' cannot be read: exit code 3"
        );
        assert!(secrets.read("c").unwrap_err().is_permanent());
        let unknown = secrets.read("d").unwrap_err().to_string();
        assert!(unknown.ends_with("its [secrets] are a, b, c"), "{unknown}");
    }

    #[test]
    fn the_answer_of_a_command_holds_for_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let print = "echo x >> calls; wc -l < calls";
        let json = serde_json::json!({
            "once": {"command": ["sh", "-c", print], "cache": "1h"},
            "each": {"command": ["sh", "-c", print]},
        });
        let secrets: Secrets = serde_json::from_value(json).unwrap();
        let secrets = secrets.relative_to(folder.path());
        let read = |name| secrets.read(name).unwrap().reveal().trim().to_owned();
        assert_eq!([read("once"), read("once")], ["1", "1"]);
        assert_eq!([read("each"), read("each")], ["2", "3"]);
    }

    #[test]
    fn a_command_that_hangs_holds_no_other_reader_up() {
        let folder = tempfile::tempdir().unwrap();
        let once = "if mkdir first 2> none; then while [ ! -e gate ]; do sleep 0.01; done; fi; echo open sesame";
        let json = serde_json::json!({ "key": { "command": ["sh", "-c", once], "cache": "1h" } });
        let secrets: Secrets = serde_json::from_value(json).unwrap();
        let secrets = secrets.relative_to(folder.path());
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| secrets.read("key").unwrap());
            while !folder.path().join("first").exists() {
                std::thread::yield_now();
            }
            scope.spawn(|| done.send(secrets.read("key").unwrap()));
            let read = is_done.recv_timeout(Duration::from_secs(30));
            std::fs::write(folder.path().join("gate"), "").unwrap();
            assert_eq!(read.unwrap().reveal(), "open sesame");
        });
    }
}
