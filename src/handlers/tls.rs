//! Which certificates are trusted, for all kinds that connect to servers in TLS.

use std::fmt;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, RootCertStore};
use rustls_native_certs::ErrorKind;

use crate::Error;
use crate::error::is_lasting;
use crate::handlers::built_in::failure_of;
use crate::runner::handler::Failure;

/// The certificates of trusted authorities: those of the system, and those of `ca_file`. They are read from disk, which
/// takes milliseconds: whoever needs them for every job keeps them.
///
/// # Errors
/// `ca_file` cannot be read, or has no certificates; or those of the system cannot be read at the moment.
pub(crate) fn trusted_roots(
    ca_file: Option<&Path>,
) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        let told = format!("certificates of the system: {error}");
        if let ErrorKind::Io { inner, .. } = &error.kind
            && !is_lasting(inner)
        {
            return Err(Failure::retry(told));
        }
        // The others may be enough.
        log::warn!("{told}");
    }
    let mut roots = system.certs;
    if let Some(path) = ca_file {
        roots.extend(from_file(path)?);
    }
    Ok(roots)
}

fn from_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let what = format!("ca_file {}", path.display());
    let told = |why: &dyn fmt::Display| format!("{what}: {why}");
    let pem = std::fs::read(path).map_err(|error| failure_of(Error::io(&what, error)))?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| Failure::permanent(told(&error)))?;
    if found.is_empty() {
        return Err(Failure::permanent(told(&"there is no certificate in it")));
    }
    let mut checked = RootCertStore::empty();
    for root in &found {
        checked
            .add(root.clone())
            .map_err(|error| Failure::permanent(told(&error)))?;
    }
    Ok(found)
}

/// Whether a certificate that was refused may be good another time: clocks are set, and certificates are renewed.
pub(crate) fn may_become_valid(refused: &CertificateError) -> bool {
    matches!(
        refused,
        CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_authorities_that_has_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let refusal = || {
            let failure = trusted_roots(Some(&path)).unwrap_err();
            assert!(failure.is_permanent(), "{failure}");
            assert!(failure.to_string().contains("ca.pem: "), "{failure}");
            failure.to_string()
        };
        assert!(refusal().contains("No such file"), "{}", refusal());
        for (text, why) in [
            ("", "no certificate in it"),
            ("-----BEGIN CERTIFICATE-----\nYQ==\n", "end"),
            (
                "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n",
                "BadEncoding",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(refusal().contains(why), "{}", refusal());
        }
    }
}
