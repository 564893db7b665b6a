//! URLs that may be requested.

use std::fmt;
use std::net::IpAddr;

use ureq::http::Uri;

use crate::{Error, Result};

/// An absolute URL of http or https, without a user. Shown without its query, which may hold a secret.
#[derive(Clone, Debug)]
pub(crate) struct HttpUrl(Uri);

/// What two URLs have in common that lead to the same server.
#[derive(PartialEq, Eq)]
pub(crate) struct HttpOrigin {
    is_https: bool,
    host: String,
    port: u16,
}

impl HttpUrl {
    pub(crate) fn parse(text: &str) -> Result<HttpUrl> {
        // Before an @ there may be a password, wherever it ends.
        let refused = |why: &str| {
            let end = text.find(['?', '#']).unwrap_or(text.len());
            Err(Error::invalid(match text.contains('@') {
                true => format!("the URL {why}"),
                false => format!("'{}' {why}", &text[..end]),
            }))
        };
        let behind_scheme = text.split_once("//").map_or(text, |(_, rest)| rest);
        let authority = behind_scheme.split(['/', '?', '#']).next();
        if authority.is_some_and(|authority| authority.contains('@')) {
            return refused("names a user; 'auth' is for that, with a secret");
        }
        let Ok(uri) = text.parse::<Uri>() else {
            return refused(
                "is no URL; other characters than those of ASCII are written with percent signs",
            );
        };
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let Some(authority) = uri.authority().filter(|_| is_http) else {
            return refused("is no URL that begins with http:// or https://");
        };
        if authority.host().is_empty() {
            return refused("names no host");
        }
        let has_port = authority.as_str().len() > authority.host().len();
        if has_port && authority.port_u16().is_none_or(|port| port == 0) {
            return refused("names a port that does not exist");
        }
        Ok(HttpUrl(uri))
    }

    /// Where a reference of a response to this URL leads (RFC 3986, section 5.2). Servers resolve `..` themselves.
    pub(crate) fn join(&self, reference: &str) -> Result<HttpUrl> {
        let reference = reference.split('#').next().unwrap_or_default();
        let scheme = self.0.scheme_str().unwrap_or_default();
        let authority = self
            .0
            .authority()
            .map_or("", |authority| authority.as_str());
        let path = self.0.path();
        let has_scheme = reference.split_once(':').is_some_and(|(scheme, _)| {
            !scheme.is_empty()
                && scheme
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        });
        HttpUrl::parse(&if has_scheme {
            reference.to_owned()
        } else if reference.starts_with("//") {
            format!("{scheme}:{reference}")
        } else if reference.starts_with('/') {
            format!("{scheme}://{authority}{reference}")
        } else if reference.starts_with('?') || reference.is_empty() {
            format!("{scheme}://{authority}{path}{reference}")
        } else {
            let folder = path.rfind('/').map_or("/", |end| &path[..=end]);
            format!("{scheme}://{authority}{folder}{reference}")
        })
    }

    /// With more parameters behind those that it has; they are encoded already.
    pub(crate) fn with_query(&self, parameters: &str) -> Result<HttpUrl> {
        if parameters.is_empty() {
            return Ok(self.clone());
        }
        let text = self.0.to_string();
        let sign = if self.0.query().is_some() { '&' } else { '?' };
        HttpUrl::parse(&format!("{text}{sign}{parameters}"))
    }

    /// The host, an address of IPv6 without its brackets.
    pub(crate) fn host(&self) -> &str {
        host(&self.0)
    }

    pub(crate) fn port(&self) -> u16 {
        port(&self.0)
    }

    /// The address that it has in place of a name.
    pub(super) fn address(&self) -> Option<IpAddr> {
        literal(&self.0)
    }

    /// Whether a lookup takes the host for an address that is written in an old way: `127.1`, `0x7f000001`.
    pub(super) fn has_old_address(&self) -> bool {
        let last = self.host().trim_end_matches('.').rsplit('.').next();
        let last = last.unwrap_or_default().to_ascii_lowercase();
        let is_number = match last.strip_prefix("0x") {
            Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
            None => !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()),
        };
        is_number && self.address().is_none()
    }

    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    pub(crate) fn origin(&self) -> HttpOrigin {
        HttpOrigin {
            is_https: self.is_https(),
            host: self.host().to_ascii_lowercase(),
            port: self.port(),
        }
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.0
    }
}

fn host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_matches(['[', ']'])
}

pub(super) fn port(uri: &Uri) -> u16 {
    let usual = match uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    uri.port_u16().unwrap_or(usual)
}

/// The address that a URL has in place of a name.
pub(super) fn literal(uri: &Uri) -> Option<IpAddr> {
    host(uri).parse().ok()
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or_default();
        let authority = self
            .0
            .authority()
            .map_or("", |authority| authority.as_str());
        write!(f, "{scheme}://{authority}{}", self.0.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_query() {
        for (text, shown) in [
            ("http://a.example", "http://a.example/"),
            (
                "https://a.example:8443/b/c?key=secret#d",
                "https://a.example:8443/b/c",
            ),
            ("HTTP://A.example/?k", "http://A.example/"),
            ("http://[::1]:80/", "http://[::1]:80/"),
        ] {
            assert_eq!(HttpUrl::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused() {
        for (text, why) in [
            ("", "is no URL"),
            ("/path", "begins with http://"),
            ("a.example/path", "is no URL"),
            ("a.example", "begins with http://"),
            ("ftp://a.example/", "begins with http://"),
            ("file:///etc/passwd", "is no URL"),
            ("javascript:alert(1)", "is no URL"),
            ("http:///path", "is no URL"),
            ("http://", "is no URL"),
            ("http://a b/", "is no URL"),
            ("http://a.example/ b", "is no URL"),
            ("http://a.example/\r\nX: y", "is no URL"),
            ("http://ä.example/", "is no URL"),
            ("http://a.example:0/", "port"),
            ("http://a.example:/", "port"),
            ("http://a.example:99999/", "port"),
        ] {
            let refused = HttpUrl::parse(text).unwrap_err().to_string();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }

    #[test]
    fn a_refusal_does_not_tell_a_password() {
        let from = HttpUrl::parse("http://a.example/").unwrap();
        for text in [
            "http://me:open-sesame@a.example/",
            "ftp://me:open-sesame@a.example/",
            "http://me:open sesame@a.example/",
            "//me:open-sesame@a.example/",
            "me:open-sesame@a.example/",
        ] {
            for refused in [HttpUrl::parse(text).err(), from.join(text).err()] {
                let refused = refused.unwrap().to_string();
                assert!(refused.contains("names a user"), "{refused}");
                assert!(!refused.contains("open"), "{refused}");
            }
        }
        for text in [
            "http://me:open/sesame@a.example/",
            "http://me:open?sesame@a.example/",
            "http://me:open#sesame@a.example/",
            "ftp://a/?key=sesame",
        ] {
            let refused = HttpUrl::parse(text).unwrap_err().to_string();
            assert!(!refused.contains("open"), "{refused}");
            assert!(!refused.contains("sesame"), "{refused}");
        }
        assert!(HttpUrl::parse("http://a.example/@me").is_ok());
    }

    #[test]
    fn a_host_may_be_an_address() {
        for (text, host, is_address, is_old) in [
            ("http://a.example/", "a.example", false, false),
            ("http://1.2.3.4:5/", "1.2.3.4", true, false),
            ("http://[::1]:5/", "::1", true, false),
            ("http://127.1/", "127.1", false, true),
            ("http://0X7f000001/", "0X7f000001", false, true),
            ("http://2130706433./", "2130706433.", false, true),
            ("http://1.2.3.example/", "1.2.3.example", false, false),
            ("http://0xample/", "0xample", false, false),
        ] {
            let url = HttpUrl::parse(text).unwrap();
            assert_eq!(url.host(), host);
            assert_eq!(url.address().is_some(), is_address, "{text}");
            assert_eq!(url.has_old_address(), is_old, "{text}");
        }
    }

    #[test]
    fn a_reference_leads_on_from_its_url() {
        let from = HttpUrl::parse("https://a.example:8443/b/c?d=e").unwrap();
        for (reference, joined) in [
            ("http://b.example/x?y#z", "http://b.example/x?y"),
            ("//b.example/x", "https://b.example/x"),
            ("/x?y=:", "https://a.example:8443/x?y=:"),
            ("x", "https://a.example:8443/b/x"),
            ("x/y:z", "https://a.example:8443/b/x/y:z"),
            ("?y", "https://a.example:8443/b/c?y"),
            ("#z", "https://a.example:8443/b/c"),
        ] {
            assert_eq!(from.join(reference).unwrap().uri().to_string(), joined);
        }
        for reference in [
            "ftp://b.example/",
            "http://u:p@b.example/",
            "file:/etc/passwd",
            "//",
        ] {
            assert!(from.join(reference).is_err(), "{reference}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let origin = |text: &str| HttpUrl::parse(text).unwrap().origin();
        assert!(origin("http://a.example/x") == origin("http://A.example:80/y"));
        for other in [
            "https://a.example/",
            "http://a.example:81/",
            "http://b.example/",
        ] {
            assert!(origin("http://a.example/") != origin(other), "{other}");
        }
    }

    #[test]
    fn parameters_go_behind_those_of_the_url() {
        let with = |text: &str| {
            let url = HttpUrl::parse(text).unwrap().with_query("b=2").unwrap();
            url.uri().to_string()
        };
        assert_eq!(with("http://a.example/x"), "http://a.example/x?b=2");
        assert_eq!(with("http://a.example/x?a=1"), "http://a.example/x?a=1&b=2");
    }
}
