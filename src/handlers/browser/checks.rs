//! The parts of a payload that are checked alike: URLs, paths, names and lengths.

use std::path::{Component, Path};

use crate::{Error, Result};

pub(super) fn refused<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::invalid(why.into()))
}

/// The artifact of a failure.
pub(super) const FAILURE_PICTURE: &str = "failure.png";

/// A picture is not any taller or wider than this, in pixels.
pub(super) const MAX_PICTURE_SIDE: f64 = 16_384.0;

pub(super) fn check_file_name(name: &str) -> Result<()> {
    let is_good = (1..=200).contains(&name.len())
        && !name.starts_with('.')
        && !name.contains(|c: char| c == '/' || c.is_control())
        && name != FAILURE_PICTURE;
    match is_good {
        true => Ok(()),
        false => refused(format!("{name:?} cannot be the name of an artifact")),
    }
}

pub(super) fn check_path(path: &Path) -> Result<()> {
    let is_plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    match path.is_absolute() && is_plain {
        true => Ok(()),
        false => refused(format!(
            "'{}' is not an absolute path without '..'",
            path.display()
        )),
    }
}

/// Only pages of the web: no files of this machine, no pages of the browser.
pub(super) fn check_url(url: &str) -> Result<()> {
    let bad = |why: &str| refused(format!("invalid_url: '{url}': {why}"));
    let Some(host) = authority(url) else {
        return bad("only http and https");
    };
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return bad("it has blanks");
    }
    if host.contains('@') {
        return bad("it has a name or a password in it");
    }
    match host_of(url) {
        Some(_) => Ok(()),
        None => bad("it has no host"),
    }
}

fn authority(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let is_web = ["http", "https"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    is_web.then(|| &rest[..end])
}

/// The host of a URL, without its port.
pub(super) fn host_of(url: &str) -> Option<&str> {
    let authority = authority(url)?;
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => authority.split(':').next()?,
    };
    Some(host).filter(|host| !host.is_empty())
}

pub(super) fn check_proxy(proxy: &str) -> Result<()> {
    let is_known = proxy.split_once("://").is_some_and(|(scheme, rest)| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        ["http", "https", "socks4", "socks5"].contains(&scheme)
            && !rest.is_empty()
            && rest.chars().all(is_plain)
    });
    match is_known {
        true => Ok(()),
        false => refused(format!(
            "'{proxy}' is not a proxy as http://HOST:PORT (or https, socks4, socks5), without a password"
        )),
    }
}

/// A length in inches.
pub(super) fn inches(length: &str) -> Result<f64> {
    let units = [("in", 1.0), ("cm", 2.54), ("mm", 25.4), ("px", 96.0)];
    let found = units.iter().find_map(|(unit, per_inch)| {
        let number: f64 = length.strip_suffix(unit)?.trim().parse().ok()?;
        (0.0..=20.0 * per_inch)
            .contains(&number)
            .then(|| number / per_inch)
    });
    match found {
        Some(inches) => Ok(inches),
        None => refused(format!(
            "'{length}' is not a length as 1cm, 10mm, 0.5in or 20px"
        )),
    }
}
