//! What the server itself is and can do.

use serde::Serialize;

use crate::web::response::Response;
use crate::web::routes::{Answered, Request};
use crate::web::state::Commands;

#[derive(Serialize)]
struct FeaturesJson<'a> {
    version: &'static str,
    schema: i64,
    read_only: bool,
    exec: bool,
    tenant: Option<&'a str>,
    kinds: Vec<&'static str>,
    undo: bool,
    live: bool,
    db: String,
}

/// `GET /features`.
pub(crate) fn features(request: &Request<'_>) -> Answered {
    let path = request.state.reads.path();
    let name = path.file_name().unwrap_or_default();
    Ok(Response::json(&FeaturesJson {
        version: env!("CARGO_PKG_VERSION"),
        schema: crate::Queue::schema_version(),
        read_only: request.state.is_read_only(request.grant),
        exec: request.state.commands == Commands::Allowed,
        tenant: request.reader.tenant(),
        kinds: crate::handlers::BUILT_IN
            .iter()
            .map(|kind| kind.name)
            .collect(),
        undo: true,
        live: true,
        db: name.to_string_lossy().into_owned(),
    }))
}

/// `GET /healthz`: whether it answers at all.
pub(crate) fn healthz(_: &Request<'_>) -> Response {
    Response::of(200, "application/json", b"{\"ok\":true}".to_vec())
}

#[derive(Serialize)]
struct DoctorJson<'a> {
    findings: Vec<FindingAnswer<'a>>,
}

#[derive(Serialize)]
struct FindingAnswer<'a> {
    severity: &'static str,
    check: &'static str,
    what: &'a str,
    remedy: Option<&'static str>,
}

/// `GET /doctor`.
pub(crate) fn doctor(request: &Request<'_>) -> Answered {
    let findings = request.reader.findings()?;
    let findings = findings.iter().map(|finding| FindingAnswer {
        severity: match finding.severity {
            crate::Severity::Ok => "ok",
            crate::Severity::Warning => "warning",
            crate::Severity::Error => "error",
        },
        check: finding.check,
        what: &finding.message,
        remedy: finding
            .is_repairable()
            .then_some("`jobq doctor --fix` repairs it"),
    });
    Ok(Response::json(&DoctorJson {
        findings: findings.collect(),
    }))
}
