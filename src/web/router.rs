//! How a request finds its route.

use crate::web::query::{Plus, decode};
use crate::web::routes::{PathParams, Route};
use crate::web::table::ROUTES;

/// What a path leads to.
pub(crate) enum RouteMatch {
    Route(&'static Route, PathParams),
    /// Other methods than that of the request.
    OtherMethods(Vec<&'static str>),
    Nothing,
}

/// The route of a request. HEAD is answered as GET is.
pub(crate) fn find(method: &str, path: &str) -> RouteMatch {
    let method = if method == "HEAD" { "GET" } else { method };
    let mut others = Vec::new();
    for route in ROUTES {
        let Some(params) = matches(route.path, path) else {
            continue;
        };
        if route.method == method {
            return RouteMatch::Route(route, params);
        }
        others.push(route.method);
    }
    match others.is_empty() {
        true => RouteMatch::Nothing,
        false => RouteMatch::OtherMethods(others),
    }
}

/// The parameters of a path that fits the pattern.
fn matches(pattern: &'static str, path: &str) -> Option<PathParams> {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let mut params = PathParams::default();
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
                        // A word is another address: /jobs/bulk is no job.
                        if name == "id" && !value.bytes().all(|byte| byte.is_ascii_digit()) {
                            return None;
                        }
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
        let RouteMatch::OtherMethods(methods) = find("PUT", "/api/v1/jobs/7") else {
            panic!("PUT was found");
        };
        assert_eq!(methods, ["GET", "PATCH", "DELETE"]);
        assert!(matches!(
            find("HEAD", "/api/v1/jobs/7"),
            RouteMatch::Route(..)
        ));
        for path in ["/api/v1/nothing", "/api/v1/jobs/+7", "/api/v1/jobs/x"] {
            assert!(matches!(find("GET", path), RouteMatch::Nothing), "{path}");
        }
        let RouteMatch::OtherMethods(methods) = find("PATCH", "/api/v1/jobs/bulk") else {
            panic!("PATCH was found");
        };
        assert_eq!(methods, ["POST"]);
    }

    /// The first that fits is taken, so no other may fit as well.
    #[test]
    fn every_route_is_found_by_its_own_address() {
        for route in ROUTES {
            let path = route.path.replace("{id}", "7").replace("{name}", "some");
            let RouteMatch::Route(found, _) = find(route.method, &path) else {
                panic!("{} {path}", route.method);
            };
            assert_eq!((found.method, found.path), (route.method, route.path));
        }
    }
}
