//! What the config file may say of requests.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer};
use ureq::tls::{Certificate, RootCerts};
use ureq::{Proxy, ProxyProtocol};

use crate::handlers::http::addresses::{AddressRange, Addresses};
use crate::handlers::http::agent::IdleAgents;
use crate::handlers::http::url::HttpUrl;
use crate::handlers::tls::trusted_roots;
use crate::runner::handler::Failure;

/// What may be called, and how.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct HttpSettings {
    /// Which addresses may be called.
    pub addresses: Addresses,
    /// What else may be called where the addresses must be public.
    pub allow_addresses: Vec<AddressRange>,
    /// The ports that may be called; any, if this is left out.
    pub ports: Option<Vec<u16>>,
    /// The proxy that all requests take, as `http://proxy.example:3128`, by CONNECT. It looks names up itself, so the
    /// rules of addresses hold only for URLs with an address in them.
    #[serde(deserialize_with = "checked_proxy")]
    pub proxy: Option<String>,
    /// A file with certificates in PEM that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// The trusted certificates, once they have been read.
    #[serde(skip)]
    pub(super) roots: TrustedRoots,
    /// Connections that the next attempt may use.
    #[serde(skip)]
    pub(super) idle: IdleAgents,
}

/// Certificates that are read once. A clone of the settings may name another file.
#[derive(Debug, Default)]
pub(super) struct TrustedRoots(OnceLock<Arc<Vec<Certificate<'static>>>>);

impl Clone for TrustedRoots {
    fn clone(&self) -> TrustedRoots {
        TrustedRoots::default()
    }
}

impl HttpSettings {
    /// Why a URL is not requested, as far as it can be seen from the URL.
    pub(super) fn check(&self, url: &HttpUrl) -> Result<(), Failure> {
        if let Some(ports) = &self.ports
            && !ports.contains(&url.port())
        {
            return Err(Failure::permanent(format_args!(
                "{url} is not requested: port {} is not among the 'ports' of the settings",
                url.port()
            )));
        }
        let judge = |address| self.addresses.refusal(address, &self.allow_addresses);
        if let Some(why) = url.address().and_then(judge) {
            return Err(Failure::permanent(format_args!(
                "{url} is not requested: {why}"
            )));
        }
        if self.proxy.is_some() && url.has_old_address() {
            return Err(Failure::permanent(format_args!(
                "{url} is not requested: through a proxy an address is written in full, as 127.0.0.1"
            )));
        }
        Ok(())
    }

    /// The proxy of all requests.
    pub(super) fn proxy(&self) -> Result<Option<Proxy>, Failure> {
        let proxy = self.proxy.as_deref().map(read_proxy).transpose();
        proxy.map_err(Failure::permanent)
    }

    /// The certificates that servers are checked with.
    pub(super) fn root_certs(&self) -> Result<RootCerts, Failure> {
        if let Some(known) = self.roots.0.get() {
            return Ok(RootCerts::Specific(Arc::clone(known)));
        }
        let roots: Vec<_> = trusted_roots(self.ca_file.as_deref())?
            .iter()
            .map(|der| Certificate::from_der(der).to_owned())
            .collect();
        let roots = self.roots.0.get_or_init(|| Arc::new(roots));
        Ok(RootCerts::Specific(Arc::clone(roots)))
    }
}

/// The text may have a password in it.
fn read_proxy(text: &str) -> Result<Proxy, &'static str> {
    const REFUSED: &str = "the setting proxy must be a URL such as http://proxy.example:3128";
    let proxy = Proxy::new(text).map_err(|_| REFUSED)?;
    match proxy.protocol() {
        ProxyProtocol::Http | ProxyProtocol::Https => Ok(proxy),
        _ => Err(REFUSED),
    }
}

fn checked_proxy<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    let proxy = Option::<String>::deserialize(value)?;
    if let Some(text) = &proxy {
        read_proxy(text).map_err(serde::de::Error::custom)?;
    }
    Ok(proxy)
}
