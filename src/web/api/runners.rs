//! Runners.

use serde::Serialize;

use crate::RunnerFilter;
use crate::api::runner::RunnerJson;
use crate::web::response::Response;
use crate::web::routes::{Answered, Request};

#[derive(Serialize)]
struct RunnersAnswer<'a> {
    runners: Vec<RunnerJson<'a>>,
}

/// `GET /runners`.
pub(crate) fn list(request: &Request<'_>) -> Answered {
    let which = match request.query.flag("all")? {
        true => RunnerFilter::AllTimes,
        false => RunnerFilter::Now,
    };
    let runners = request.reader.runners(which)?;
    let runners = runners.iter().map(RunnerJson::new).collect();
    Ok(Response::json(&RunnersAnswer { runners }))
}
