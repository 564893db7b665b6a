//! The servers that mail is sent through: `[kinds.email.settings]`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::ClientConfig;
use serde::Deserialize;

use crate::handlers::built_in::written_duration;
use crate::handlers::email::address::{AddressPattern, Mailbox};
use crate::handlers::secrets::{Secret, SecretText};
use crate::runner::handler::Failure;

/// What `[kinds.email.settings]` may say.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EmailSettings {
    /// The servers by the names that payloads use.
    #[serde(default)]
    pub servers: BTreeMap<String, EmailServer>,
    /// The folders that attachments may be read from, with those below them; any, if this is left out.
    pub roots: Option<Vec<PathBuf>>,
    /// Where the relative paths of attachments begin.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// A server that takes mail.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EmailServer {
    /// Its name or address.
    pub host: String,
    /// Its port; unless set, the one that goes with `tls`.
    pub port: Option<u16>,
    /// How the connection is protected; unless set, as the port and the host suggest.
    pub tls: Option<TlsMode>,
    /// Who logs in; unless set, nobody does.
    pub username: Option<String>,
    /// The password, best as the name of a secret.
    pub password: Option<SecretText>,
    /// The sender where the payload names none.
    pub from: Option<Mailbox>,
    /// The folder with the templates.
    pub templates: Option<PathBuf>,
    /// The only addresses that mail goes to; any, if this is left out.
    pub only_to: Option<Vec<AddressPattern>>,
    /// Certificates of authorities to trust besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long the server may take for each command.
    #[serde(default = "command_timeout", with = "written_duration")]
    pub command_timeout: Duration,
    /// How long the server may take to accept a message that it has got.
    #[serde(default = "accept_timeout", with = "written_duration")]
    pub accept_timeout: Duration,
    /// How TLS is spoken, and whose certificates are trusted; made for the first mail.
    #[serde(skip)]
    pub(super) tls_config: OnceLock<Arc<ClientConfig>>,
}

fn command_timeout() -> Duration {
    Duration::from_secs(30)
}

fn accept_timeout() -> Duration {
    Duration::from_secs(300)
}

/// How the connection to a server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// By TLS from the beginning.
    Tls,
    /// By TLS after STARTTLS. A server that does not offer it gets no mail.
    StartTls,
    /// Not at all.
    None,
}

impl EmailSettings {
    pub(super) fn relative_to(mut self, folder: &Path) -> EmailSettings {
        for server in self.servers.values_mut() {
            let paths = [&mut server.templates, &mut server.ca_file];
            for path in paths.into_iter().flatten() {
                *path = folder.join(&path);
            }
        }
        for root in self.roots.iter_mut().flatten() {
            *root = folder.join(&root);
        }
        self.folder = folder.to_owned();
        self
    }
}

impl EmailServer {
    /// A server with the defaults of the config file for everything else.
    pub fn new(host: impl Into<String>) -> EmailServer {
        EmailServer {
            host: host.into(),
            port: None,
            tls: None,
            username: None,
            password: None,
            from: None,
            templates: None,
            only_to: None,
            ca_file: None,
            command_timeout: command_timeout(),
            accept_timeout: accept_timeout(),
            tls_config: OnceLock::new(),
        }
    }

    /// The port: 587, or what goes with `tls`.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            Some(TlsMode::Tls) => 465,
            Some(TlsMode::None) => 25,
            Some(TlsMode::StartTls) | None => 587,
        })
    }

    /// How the connection is protected: without protection only where that is set, or on this machine.
    pub fn tls(&self) -> TlsMode {
        self.tls.unwrap_or(match self.port {
            Some(465) => TlsMode::Tls,
            Some(port) if port != 587 && self.is_on_this_machine() => TlsMode::None,
            _ => TlsMode::StartTls,
        })
    }

    /// Who logs in, with the password as it is read.
    pub(super) fn login(
        &self,
        read: impl FnOnce(&SecretText) -> Result<Secret, Failure>,
    ) -> Result<Option<(&str, Secret)>, Failure> {
        match (&self.username, &self.password) {
            (None, None) => Ok(None),
            (Some(username), Some(password)) => Ok(Some((username, read(password)?))),
            (Some(_), None) | (None, Some(_)) => {
                let why = format!("{}: a login needs 'username' and 'password'", self.host);
                Err(Failure::permanent(why))
            }
        }
    }

    fn is_on_this_machine(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(json: &str) -> EmailServer {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn port_and_protection_follow_from_each_other() {
        for (json, port, tls) in [
            (r#"{"host":"a"}"#, 587, TlsMode::StartTls),
            (r#"{"host":"a","port":465}"#, 465, TlsMode::Tls),
            (r#"{"host":"a","port":25}"#, 25, TlsMode::StartTls),
            (r#"{"host":"a","tls":"tls"}"#, 465, TlsMode::Tls),
            (r#"{"host":"a","tls":"none"}"#, 25, TlsMode::None),
            (
                r#"{"host":"a","port":465,"tls":"starttls"}"#,
                465,
                TlsMode::StartTls,
            ),
            (r#"{"host":"localhost"}"#, 587, TlsMode::StartTls),
            (r#"{"host":"localhost","port":1025}"#, 1025, TlsMode::None),
            (r#"{"host":"::1","port":1025}"#, 1025, TlsMode::None),
            (
                r#"{"host":"127.0.0.1.evil.example","port":1025}"#,
                1025,
                TlsMode::StartTls,
            ),
        ] {
            let server = server(json);
            assert_eq!((server.port(), server.tls()), (port, tls), "{json}");
        }
    }

    #[test]
    fn relative_paths_begin_at_the_folder() {
        let json = r#"{"roots":["out","/srv"],"servers":{"default":{"host":"a","templates":"t","ca_file":"/ca.pem"}}}"#;
        let settings: EmailSettings = serde_json::from_str(json).unwrap();
        let settings = settings.relative_to(Path::new("/etc/app"));
        let paths = |paths: &[PathBuf]| {
            paths
                .iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            paths(settings.roots.as_deref().unwrap()),
            ["/etc/app/out", "/srv"]
        );
        let server = &settings.servers["default"];
        let both = [server.templates.clone(), server.ca_file.clone()].map(Option::unwrap);
        assert_eq!(paths(&both), ["/etc/app/t", "/ca.pem"]);
        assert_eq!(server.accept_timeout, Duration::from_secs(300));
    }
}
