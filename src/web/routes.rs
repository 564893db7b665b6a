//! What a route is: an address with a method, what it does, and what it is given.

use std::sync::Arc;

use crate::web::access::{ReadAccess, WriteAccess};
use crate::web::auth::Grant;
use crate::web::head::Head;
use crate::web::incoming::IncomingRequest;
use crate::web::problem::Problem;
use crate::web::query::Query;
use crate::web::response::Response;
use crate::web::state::ServerState;

/// Maximum size of a body.
pub(crate) const MAX_BODY_BYTES: u64 = 1024 * 1024;

/// Maximum size of the body of a route that takes many jobs.
pub(crate) const MAX_BATCH_BYTES: u64 = 16 * 1024 * 1024;

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
    Connect(fn(&Arc<ServerState>, IncomingRequest)),
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
    pub(crate) params: PathParams,
    pub(crate) query: Query,
    pub(crate) body: &'a [u8],
}

/// The parameters of an address, decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PathParams(pub(crate) Vec<(&'static str, String)>);

impl PathParams {
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
