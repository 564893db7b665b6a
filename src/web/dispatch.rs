//! From a head to an answer: who asks and from where, before anything of the file is read; then the body, and the
//! route.

use std::sync::Arc;

use crate::web::assets;
use crate::web::auth::Grant;
use crate::web::head::Head;
use crate::web::incoming::IncomingRequest;
use crate::web::origin;
use crate::web::problem::Problem;
use crate::web::query::Query;
use crate::web::response::Response;
use crate::web::router::{RouteMatch, find};
use crate::web::routes::{
    Does, Freshness, MAX_BATCH_BYTES, MAX_BODY_BYTES, PathParams, Request, Route, Scope,
};
use crate::web::state::ServerState;

/// A request whose head has been accepted.
pub(crate) enum Accepted {
    /// It is answered without its body.
    Answered(Response),
    /// Its route takes the connection over.
    Connect(fn(&Arc<ServerState>, IncomingRequest)),
    /// Its route waits for the body.
    Route(Box<Admitted>),
}

/// A request that its route will answer.
pub(crate) struct Admitted {
    route: &'static Route,
    params: PathParams,
    query: Query,
    grant: Grant,
}

/// Checks a head: the host, the address, the token, the site, the type and the size of the body.
pub(crate) fn admit(state: &ServerState, head: &Head) -> Result<Accepted, Problem> {
    state.hosts.check(head)?;
    if let Some(asset) = assets::find(&head.path) {
        return match &*head.method {
            "GET" | "HEAD" => Ok(Accepted::Answered(asset.response(head))),
            _ => Err(wrong_method(head, &["GET"])),
        };
    }
    let (route, params) = match find(&head.method, &head.path) {
        RouteMatch::Route(route, params) => (route, params),
        RouteMatch::OtherMethods(methods) => return Err(wrong_method(head, &methods)),
        RouteMatch::Nothing => {
            return Err(
                Problem::new("not-found", format!("there is nothing at {}", head.path))
                    .with_hint("GET /api/v1/openapi.json lists what there is"),
            );
        }
    };
    let grant = match route.does {
        Does::Open(_) => Grant::nothing(),
        Does::Read(_) | Does::Change(_) => state.tokens.grant_of(head)?,
        Does::Connect(connect) => {
            origin::check_upgrade(head)?;
            return Ok(Accepted::Connect(connect));
        }
    };
    if let Does::Change(_) = route.does {
        origin::check_change(head)?;
        // Whether it may change anything is said before the body is read.
        state.writer(&grant)?;
        check_media_type(head)?;
    }
    if route.scope == Scope::File && grant.tenant.is_some() {
        return Err(Problem::new(
            "tenant",
            "this is about the whole file, and the token is for one tenant",
        ));
    }
    let query = Query::parse(&head.query)?;
    query.check(route.query)?;
    let most = match (&route.does, route.takes) {
        (Does::Change(_), Some("NewJobs")) => MAX_BATCH_BYTES,
        (Does::Change(_), _) => MAX_BODY_BYTES,
        _ => 0,
    };
    if head.body_bytes > most {
        let why = format!(
            "the body has {} bytes, at most {most} are taken",
            head.body_bytes
        );
        return Err(Problem::new("too-large", why));
    }
    Ok(Accepted::Route(Box::new(Admitted {
        route,
        params,
        query,
        grant,
    })))
}

fn wrong_method(head: &Head, methods: &[&str]) -> Problem {
    let methods = methods.join(", ");
    let why = format!(
        "{} does not go with {}, only {methods}",
        head.method, head.path
    );
    Problem::new("method", why).with_header("Allow", methods)
}

/// A form of another site can send other types, and never this one.
fn check_media_type(head: &Head) -> Result<(), Problem> {
    if head.method == "DELETE" && head.body_bytes == 0 {
        return Ok(());
    }
    let given = head.header("content-type").unwrap_or_default();
    let media_type = given.split(';').next().unwrap_or_default().trim();
    match media_type.eq_ignore_ascii_case("application/json") {
        true => Ok(()),
        false => Err(Problem::new(
            "media-type",
            "a change needs the header `Content-Type: application/json`",
        )),
    }
}

impl Admitted {
    /// Lets the route answer.
    pub(crate) fn answer(self, state: &Arc<ServerState>, head: &Head, body: &[u8]) -> Response {
        self.try_answer(state, head, body)
            .unwrap_or_else(|problem| {
                if problem.is_internal() {
                    log::error!("{} {}: {problem}", head.method, head.path);
                }
                Response::from(problem)
            })
    }

    fn try_answer(
        self,
        state: &Arc<ServerState>,
        head: &Head,
        body: &[u8],
    ) -> Result<Response, Problem> {
        let request = Request {
            state,
            head,
            reader: state.reader(&self.grant),
            grant: &self.grant,
            params: self.params,
            query: self.query,
            body,
        };
        match self.route.does {
            Does::Open(answer) => Ok(answer(&request)),
            Does::Connect(_) => Err(Problem::new("internal", "a connection was not taken over")),
            Does::Change(answer) => answer(&request, &state.writer(&self.grant)?),
            Does::Read(answer) => {
                // Read before the content: it may be newer than its mark, and never older.
                let tag = request.reader.content_tag()?;
                if self.route.freshness == Freshness::File
                    && head.header("if-none-match") == Some(&tag)
                {
                    return Ok(Response::empty(304).header("ETag", tag));
                }
                Ok(answer(&request)?.header("ETag", tag))
            }
        }
    }
}
