//! An event as a tenant is shown it.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::{Event, EventData, EventKind};

/// What a change keeps so that it can be undone: the text of a job that may have been another's then.
const KEPT_TEXTS: [&str; 3] = ["before", "was_result", "was_error"];

/// Takes away what need not be the tenant's own: what a change has kept of the job as it was, and which other tenant made
/// the change. What the job is now goes to the tenant with the job.
pub(crate) fn hide_of_others(event: &mut Event, tenant: &str) {
    if !matches!(
        event.kind,
        EventKind::Edited | EventKind::Cancelled | EventKind::CancelRequested | EventKind::Requeued
    ) {
        return;
    }
    let Some(EventData::Text(json)) = &event.data else {
        return;
    };
    let Ok(mut fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(json) else {
        return event.data = None;
    };
    let by_other = event.by().is_some_and(|by| is_other(&by, tenant));
    fields.retain(|name, _| {
        let is_hidden = KEPT_TEXTS.contains(&&**name) || (by_other && name == "by");
        !is_hidden
    });
    event.data = match fields.is_empty() {
        true => None,
        false => serde_json::to_string(&fields).ok().map(EventData::Text),
    };
}

/// Whether a name is that of the clients of another tenant.
fn is_other(by: &str, tenant: &str) -> bool {
    by.strip_prefix("web:").is_some_and(|other| other != tenant)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{EventId, JobId};

    fn shown(kind: EventKind, data: &str) -> Option<String> {
        let mut event = Event {
            id: EventId(1),
            at: Timestamp::UNIX_EPOCH,
            kind,
            job: Some(JobId(1)),
            attempt: None,
            runner: None,
            worker: None,
            took: None,
            data: Some(EventData::Text(data.to_owned())),
        };
        hide_of_others(&mut event, "acme");
        match event.data? {
            EventData::Text(text) => Some(text),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_change_keeps_is_hidden_and_the_rest_stays() {
        let edit = r#"{"before":{"payload":"1"},"by":"web:acme"}"#;
        let own = Some(r#"{"by":"web:acme"}"#.to_owned());
        assert_eq!(shown(EventKind::Edited, edit), own);
        let cancel =
            r#"{"was":"waiting","was_result":"[1.0]","was_error":"e","of":7,"by":"web:b"}"#;
        let rest = Some(r#"{"of":7,"was":"waiting"}"#.to_owned());
        assert_eq!(shown(EventKind::Cancelled, cancel), rest);
        assert_eq!(shown(EventKind::Edited, r#"{"before":{}}"#), None);
        let by_hand = r#"{"by":"cli:ann"}"#.to_owned();
        assert_eq!(shown(EventKind::Requeued, &by_hand), Some(by_hand));
    }

    #[test]
    fn what_a_job_prints_is_left_alone() {
        let printed = r#"{"before":1,"by":"web:b"}"#;
        for kind in [EventKind::Stdout, EventKind::Log, EventKind::Failed] {
            assert_eq!(shown(kind, printed).as_deref(), Some(printed));
        }
    }
}
