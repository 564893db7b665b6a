//! All jobs of a filter, streamed: JSON Lines or CSV.

use std::io;

use serde_json::Value;

use crate::api::job::JobJson;
use crate::api::json::write_line;
use crate::web::access::ReadAccess;
use crate::web::api::jobs::filter;
use crate::web::api::logs::failed;
use crate::web::query::invalid;
use crate::web::response::{PartWriter, Response};
use crate::web::routes::{Answered, Request};
use crate::{Filter, JobId, JobRecord};

/// How many jobs are read at a time: a read of all would keep the log of the file from being cut.
const AT_ONCE: usize = 200;

/// The columns of the CSV: fields of a job's JSON.
const COLUMNS: [&str; 16] = [
    "id",
    "kind",
    "queue",
    "tenant",
    "state",
    "priority",
    "attempt",
    "error",
    "payload",
    "result",
    "run_at",
    "created_at",
    "started_at",
    "finished_at",
    "runner",
    "worker",
];

/// `GET /export`.
pub(crate) fn export(request: &Request<'_>) -> Answered {
    let filter = request.reader.within(filter(&request.query)?)?;
    if !matches!(filter.sort, crate::Sort::Newest | crate::Sort::Oldest) {
        return Err(invalid(
            "sort",
            filter.sort.as_str(),
            "an export is in the order newest or oldest",
        ));
    }
    let reader = request.reader.clone();
    match request.query.get("format") {
        None | Some("jsonl") => {
            let body = move |parts: &mut PartWriter<'_>| {
                each_page(&reader, filter, |jobs| {
                    let mut text = Vec::new();
                    for job in jobs {
                        write_line(&mut text, &JobJson(job))?;
                    }
                    parts.send(&text)
                })
            };
            let response = Response::streamed("application/jsonl", Box::new(body));
            Ok(response.header("Content-Disposition", "attachment; filename=\"jobs.jsonl\""))
        }
        Some("csv") => {
            let body = move |parts: &mut PartWriter<'_>| {
                parts.send(format!("{}\r\n", COLUMNS.join(",")).as_bytes())?;
                each_page(&reader, filter, |jobs| {
                    let rows: String = jobs.iter().map(row).collect();
                    parts.send(rows.as_bytes())
                })
            };
            let response = Response::streamed("text/csv; charset=utf-8", Box::new(body));
            Ok(response.header("Content-Disposition", "attachment; filename=\"jobs.csv\""))
        }
        Some(other) => Err(invalid("format", other, "jsonl or csv is wanted")),
    }
}

fn each_page(
    reader: &ReadAccess,
    mut filter: Filter,
    mut write: impl FnMut(&[JobRecord]) -> io::Result<()>,
) -> io::Result<()> {
    filter.limit = Some(AT_ONCE);
    loop {
        let page = reader.page(filter.clone()).map_err(failed)?;
        let ids: Vec<JobId> = page.jobs.iter().map(|job| job.id).collect();
        let mut jobs = Vec::with_capacity(ids.len());
        for id in ids {
            // One that was removed meanwhile is left out.
            jobs.extend(reader.job(id).ok());
        }
        write(&jobs)?;
        filter.after = page.next;
        if filter.after.is_none() {
            return Ok(());
        }
    }
}

fn row(job: &JobRecord) -> String {
    // A job's JSON is an object.
    let json = serde_json::to_value(JobJson(job)).unwrap_or_default();
    let fields = COLUMNS.iter().map(|name| match *name {
        // As they are written, and not through a number.
        "payload" => quoted(job.payload.get()),
        "result" => job
            .result
            .as_ref()
            .map_or_else(String::new, |result| quoted(result.get())),
        name => match &json[name] {
            Value::Null => String::new(),
            Value::String(text) => quoted(text),
            other => other.to_string(),
        },
    });
    fields.collect::<Vec<_>>().join(",") + "\r\n"
}

/// A text that a spreadsheet would run as a formula is shown as text.
fn quoted(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        "'"
    } else {
        ""
    };
    match guard.is_empty() && !text.contains([',', '"', '\n', '\r']) {
        true => text.to_owned(),
        false => format!("\"{guard}{}\"", text.replace('"', "\"\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_quoted_where_it_must_be() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"x\"\n"), "\"say \"\"x\"\"\n\"");
        assert_eq!(quoted("=1+1"), "\"'=1+1\"");
    }
}
