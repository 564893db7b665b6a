//! Where a request comes from: the host it names, and the site whose page sent it. A page of another site can
//! reach this server through its visitor's browser, and by DNS rebinding under a name of its own.

use std::net::IpAddr;

use crate::web::head::Head;
use crate::web::problem::Problem;

/// The names that the server answers to.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostNames {
    /// In lower case.
    more: Vec<String>,
}

impl HostNames {
    pub(crate) fn allow(&mut self, name: &str) {
        self.more.push(name.to_ascii_lowercase());
    }

    /// A name that an attacker cannot point here: an address, `localhost`, or one that was allowed. The port may be
    /// any, since `ssh -L` forwards others.
    fn has(&self, host: &str) -> bool {
        let Some(name) = name_of(host) else {
            return false;
        };
        let name = name.to_ascii_lowercase();
        let address = name
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        address.unwrap_or(&name).parse::<IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.more.contains(&name)
    }

    /// Checks the `Host` header, which must be there once.
    pub(crate) fn check(&self, head: &Head) -> Result<(), Problem> {
        if head.all("host").count() != 1 {
            return Err(Problem::new(
                "bad-request",
                "a request has exactly one Host header",
            ));
        }
        match head.header("host").filter(|host| self.has(host)) {
            Some(_) => Ok(()),
            None => Err(Problem::new("host", "this host name is not one of this server")
                .with_hint("use 127.0.0.1 or localhost; `jobq serve --allow-host NAME` allows another name")),
        }
    }
}

/// A host without its port.
fn name_of(host: &str) -> Option<&str> {
    let end = match host.starts_with('[') {
        true => host.find(']')? + 1,
        false => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    let digits = port.strip_prefix(':').unwrap_or("0");
    let is_port = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_port && !name.is_empty()).then_some(name)
}

/// Refuses a change that a page of another site has sent. A browser says where a request comes from, and no page can
/// make it say otherwise; a program says nothing.
pub(crate) fn check_change(head: &Head) -> Result<(), Problem> {
    let is_own = match head.header("sec-fetch-site") {
        Some(site) => matches!(site, "same-origin" | "none"),
        None => !head.has("sec-fetch-site") && is_own_origin(head),
    };
    match is_own {
        true => Ok(()),
        false => Err(from_elsewhere()),
    }
}

/// Refuses a socket that a page of another site opens: browsers open them across sites, and send the origin.
pub(crate) fn check_upgrade(head: &Head) -> Result<(), Problem> {
    match is_own_origin(head) {
        true => Ok(()),
        false => Err(from_elsewhere()),
    }
}

fn from_elsewhere() -> Problem {
    Problem::new("origin", "the request comes from a page of another site")
        .with_hint("pages of other sites may show this server's data through a server of their own")
}

/// Whether the origin is that of the host that is asked, or there is none.
fn is_own_origin(head: &Head) -> bool {
    if !head.has("origin") {
        return true;
    }
    let (Some(origin), Some(host)) = (head.header("origin"), head.header("host")) else {
        return false;
    };
    let of_scheme = |scheme| origin.strip_prefix(scheme);
    let authority = of_scheme("http://").or_else(|| of_scheme("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::head::{Parsed, parse};

    fn head(headers: &str) -> Head {
        let text = format!("POST / HTTP/1.1\r\n{headers}\r\n");
        match parse(text.as_bytes()) {
            Parsed::Whole(head, _) => *head,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_names_that_cannot_be_pointed_here_are_hosts() {
        let mut names = HostNames::default();
        names.allow("Jobs.example.com");
        for host in [
            "127.0.0.1:8787",
            "127.0.0.1",
            "localhost",
            "LOCALHOST:1",
            "a.localhost:80",
            "[::1]:8787",
            "[::1]",
            "10.0.0.7:8787",
            "jobs.example.com",
            "JOBS.example.com:443",
        ] {
            assert!(
                names.check(&head(&format!("Host: {host}\r\n"))).is_ok(),
                "{host}"
            );
        }
        for host in [
            "evil.example.com",
            "localhost.evil.com",
            "127.0.0.1.evil.com",
            "127.0.0.1:",
            "127.0.0.1:80x",
            "[::1",
            "",
            ":80",
            "localhost:80:80",
            "jobs.example.com.",
            "x@localhost",
            "localhost/",
        ] {
            assert!(
                names.check(&head(&format!("Host: {host}\r\n"))).is_err(),
                "{host}"
            );
        }
        assert_eq!(names.check(&head("")).unwrap_err().status(), 400);
        let twice = head("Host: localhost\r\nHost: localhost\r\n");
        assert_eq!(names.check(&twice).unwrap_err().status(), 400);
    }

    #[test]
    fn a_change_from_a_page_of_another_site_is_refused() {
        let allowed = |headers: &str| {
            check_change(&head(&format!("Host: localhost:8787\r\n{headers}"))).is_ok()
        };
        assert!(allowed(""));
        assert!(allowed("Origin: http://localhost:8787\r\n"));
        assert!(allowed("Sec-Fetch-Site: same-origin\r\n"));
        assert!(allowed("Sec-Fetch-Site: none\r\n"));
        // A proxy may have changed the host; the browser's own word decides.
        assert!(allowed(
            "Sec-Fetch-Site: same-origin\r\nOrigin: https://jobs.example.com\r\n"
        ));
        for headers in [
            "Origin: http://evil.example.com\r\n",
            "Origin: http://localhost:8788\r\n",
            "Origin: null\r\n",
            "Origin: http://localhost:8787.evil.com\r\n",
            "Sec-Fetch-Site: cross-site\r\n",
            "Sec-Fetch-Site: same-site\r\nOrigin: http://localhost:8787\r\n",
            "Sec-Fetch-Site: none\r\nSec-Fetch-Site: none\r\n",
            "Origin: http://localhost:8787\r\nOrigin: http://localhost:8787\r\n",
        ] {
            assert!(!allowed(headers), "{headers}");
        }
    }

    #[test]
    fn a_socket_needs_the_own_origin_or_none() {
        let allowed =
            |headers: &str| check_upgrade(&head(&format!("Host: localhost\r\n{headers}"))).is_ok();
        assert!(allowed(""));
        assert!(allowed("Origin: http://localhost\r\n"));
        assert!(!allowed(
            "Origin: http://evil.example.com\r\nSec-Fetch-Site: same-origin\r\n"
        ));
    }
}
