//! The answers of the HTTP API that views show.

use std::sync::Arc;

use crate::web::access::{ReadAccess, ReadSide};
use crate::web::api::bulk::bulk_json;
use crate::web::api::{job, jobs, overview};
use crate::web::auth::{Grant, TokenRights};
use crate::web::bulk::BulkChanges;
use crate::web::live::topic::ViewTopic;
use crate::web::live::views::Answers;
use crate::web::problem::Problem;
use crate::web::query::Query;

/// From the file, and from the changes of many jobs that the server has begun.
pub(crate) fn from_file(reads: ReadSide, bulks: Arc<BulkChanges>) -> Answers {
    Box::new(move |topic, tenant| {
        let grant = Grant {
            tenant: tenant.map(str::to_owned),
            rights: TokenRights::Read,
        };
        answer(&reads.of(&grant), &bulks, topic)
    })
}

fn answer(reader: &ReadAccess, bulks: &BulkChanges, topic: &ViewTopic) -> Result<Vec<u8>, Problem> {
    match topic {
        ViewTopic::Overview if reader.tenant().is_some() => Err(Problem::new(
            "tenant",
            "this is about the whole file, and the token is for one tenant",
        )),
        ViewTopic::Overview => overview::overview_json(reader),
        ViewTopic::Jobs(query) => {
            let query = Query::of(query.clone());
            query.check(jobs::PAGE)?;
            jobs::page_json(reader, &query)
        }
        ViewTopic::Job(id) => job::job_json(reader, *id),
        ViewTopic::Bulk(id) => match bulks.get(*id, reader.tenant()) {
            Some(change) => Ok(bulk_json(&change)),
            None => Err(Problem::new("not-found", format!("no bulk change {id}"))),
        },
    }
}
