//! How a request finds what answers it: the kinds of routes, and their addresses.

use std::sync::Arc;

use crate::web::access::{ReadAccess, WriteAccess};
use crate::web::auth::Grant;
use crate::web::connection::Work;
use crate::web::head::Head;
use crate::web::problem::Problem;
use crate::web::query::{Plus, Query, decode};
use crate::web::response::Response;
use crate::web::state::ServerState;
use crate::web::table::ROUTES;

/// An address with a method, and what answers it.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    /// Its parts in braces are parameters.
    pub(crate) path: &'static str,
    pub(crate) does: Does,
    pub(crate) scope: Scope,
    pub(crate) freshness: Freshness,
    /// The names of the parameters of its query.
    pub(crate) query: &'static [&'static str],
    /// A sentence for the document of the API.
    pub(crate) summary: &'static str,
    /// The schema of the body that it takes, and of its answer.
    pub(crate) takes: Option<&'static str>,
    pub(crate) gives: (u16, &'static str),
}

/// What a route does with the file. A change needs the capability, which a server that only reads has not.
#[derive(Clone, Copy)]
pub(crate) enum Does {
    /// It needs no token, and shows nothing of the file.
    Open(fn(&Request<'_>) -> Response),
    Read(fn(&Request<'_>) -> Answered),
    Change(fn(&Request<'_>, &WriteAccess) -> Answered),
    /// It takes the connection over, and asks for the token itself.
    Connect(fn(&Arc<ServerState>, Work)),
}

/// Whose data a route is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Jobs, each of which may belong to a tenant.
    Jobs,
    /// The whole file: not for a tenant.
    File,
}

/// What an answer depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// The content of the file: while that is the same, so is the answer.
    File,
    /// Also on the time, or on which processes are alive.
    Now,
}

/// What a route answers.
pub(crate) type Answered = Result<Response, Problem>;

/// A request on its way to its route.
pub(crate) struct Request<'a> {
    pub(crate) state: &'a Arc<ServerState>,
    pub(crate) head: &'a Head,
    pub(crate) grant: &'a Grant,
    pub(crate) reader: ReadAccess,
    pub(crate) params: Params,
    pub(crate) query: Query,
    pub(crate) body: &'a [u8],
}

/// The parameters of an address, decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Params(Vec<(&'static str, String)>);

impl Params {
    /// The parameter of this name; each is in the addresses whose routes ask for it.
    pub(crate) fn get(&self, name: &str) -> &str {
        let mut found = self.0.iter().filter(|(known, _)| *known == name);
        found.next().map_or("", |(_, value)| value)
    }

    /// A number that names something; what is no number names nothing.
    pub(crate) fn number(&self, name: &str, what: &str) -> Result<i64, Problem> {
        let text = self.get(name);
        let number = text.parse().ok().filter(|number| *number > 0);
        number.ok_or_else(|| Problem::new("not-found", format!("no {what} '{text}'")))
    }
}

/// What a path leads to.
pub(crate) enum Found {
    Route(&'static Route, Params),
    /// Other methods than that of the request.
    OtherMethods(Vec<&'static str>),
    Nothing,
}

/// The route of a request. HEAD is answered as GET is.
pub(crate) fn find(method: &str, path: &str) -> Found {
    let method = if method == "HEAD" { "GET" } else { method };
    let mut others = Vec::new();
    for route in ROUTES {
        let Some(params) = matches(route.path, path) else {
            continue;
        };
        if route.method == method {
            return Found::Route(route, params);
        }
        others.push(route.method);
    }
    match others.is_empty() {
        true => Found::Nothing,
        false => Found::OtherMethods(others),
    }
}

/// The parameters of a path that fits the pattern.
fn matches(pattern: &'static str, path: &str) -> Option<Params> {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let mut params = Params::default();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(params),
            (Some(wanted), Some(given)) => {
                let name = wanted
                    .strip_prefix('{')
                    .and_then(|name| name.strip_suffix('}'));
                match name {
                    Some(name) => {
                        let value = decode(given, Plus::IsPlus)?;
                        params.0.push((name, value));
                    }
                    None if wanted == given => {}
                    None => return None,
                }
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_matched_part_by_part_and_decoded() {
        let params = matches(
            "/api/v1/queues/{name}/pause",
            "/api/v1/queues/a%2Fb+c/pause",
        )
        .unwrap();
        assert_eq!(params.get("name"), "a/b+c");
        for path in [
            "/api/v1/queues/a",
            "/api/v1/queues/a/pause/",
            "/api/v1/queues/%zz/pause",
            "/",
        ] {
            assert_eq!(matches("/api/v1/queues/{name}/pause", path), None, "{path}");
        }
    }

    #[test]
    fn a_method_that_does_not_fit_is_told_which_do() {
        let Found::OtherMethods(methods) = find("PUT", "/api/v1/jobs/7") else {
            panic!("PUT was found");
        };
        assert_eq!(methods, ["GET", "PATCH", "DELETE"]);
        assert!(matches!(find("HEAD", "/api/v1/jobs/7"), Found::Route(..)));
        assert!(matches!(find("GET", "/api/v1/nothing"), Found::Nothing));
    }

    /// The first that fits is taken, so no other may fit as well.
    #[test]
    fn every_route_is_found_by_its_own_address() {
        for route in ROUTES {
            let path = route.path.replace("{id}", "7").replace("{name}", "some");
            let Found::Route(found, _) = find(route.method, &path) else {
                panic!("{} {path}", route.method);
            };
            assert_eq!((found.method, found.path), (route.method, route.path));
        }
    }
}
