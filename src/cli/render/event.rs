//! A line of the history: its fields for a pipe, and its colour.

use jobq::Event;
use jobq::api::time::{millis, rfc3339};

use crate::cli::render::style::Look;
use crate::cli::render::text::for_tabs;

/// Its fields for a pipe.
pub(crate) fn fields(event: &Event) -> String {
    let maybe = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let data = event
        .data
        .as_ref()
        .map(|data| String::from_utf8_lossy(data.as_bytes()));
    [
        event.id.0.to_string(),
        rfc3339(event.at),
        event.kind.to_string(),
        event.job.map(|job| job.to_string()).unwrap_or_default(),
        maybe(event.attempt.map(u64::from)),
        event
            .runner
            .map(|runner| runner.to_string())
            .unwrap_or_default(),
        maybe(event.worker.map(|worker| u64::from(worker.0))),
        maybe(event.took.map(millis)),
        data.map(|data| for_tabs(&data).into_owned())
            .unwrap_or_default(),
    ]
    .join("\t")
}

pub(crate) fn look(event: &Event) -> Look {
    use jobq::EventKind::*;
    match event.kind {
        Completed => Look::Good,
        Failed | RunnerLost => Look::Bad,
        Retry | Recovered | ReportDropped | QueuePaused => Look::Warn,
        Progress | Log | Stdout | Stderr => Look::Dim,
        _ => Look::Plain,
    }
}
