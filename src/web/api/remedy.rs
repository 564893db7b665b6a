//! What would change what keeps a job from running, as a request of this API: the page shows it as a button.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{JobId, State, Why};

/// A request that would help.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ActionJson {
    method: &'static str,
    path: String,
    body: Option<Value>,
    label: String,
}

fn post(path: String, label: impl Into<String>) -> ActionJson {
    ActionJson {
        method: "POST",
        path,
        body: None,
        label: label.into(),
    }
}

fn patch(path: String, body: Value, label: impl Into<String>) -> ActionJson {
    ActionJson {
        method: "PATCH",
        path,
        body: Some(body),
        label: label.into(),
    }
}

/// What helps all jobs under a rule.
pub(crate) fn of_queue(why: &Why) -> Option<ActionJson> {
    match why {
        Why::AllPaused => Some(post("/api/v1/resume".to_owned(), "Resume all queues")),
        Why::QueuePaused(queue) => {
            let path = format!("/api/v1/queues/{}/resume", encoded(queue));
            Some(post(path, format!("Resume {queue}")))
        }
        Why::QueueAtLimit { queue, limit, .. } => {
            let more = limit.saturating_add(1);
            let path = format!("/api/v1/queues/{}", encoded(queue));
            Some(patch(
                path,
                json!({ "concurrency": more }),
                format!("Raise the limit to {more}"),
            ))
        }
        Why::QueueRate { queue, .. } => {
            let path = format!("/api/v1/queues/{}", encoded(queue));
            Some(patch(
                path,
                json!({ "rate": null }),
                "Remove the rate limit",
            ))
        }
        _ => None,
    }
}

/// What helps one job.
pub(crate) fn of_job(id: JobId, why: &Why) -> Option<ActionJson> {
    let path = format!("/api/v1/jobs/{id}");
    match why {
        Why::Final {
            state: State::Failed | State::Cancelled,
            ..
        } => Some(post(format!("{path}/retry"), "Retry")),
        Why::NotDue { .. } => Some(patch(path, json!({ "in": "0s" }), "Run now")),
        Why::KeyTaken { limit, .. } => {
            let more = limit.saturating_add(1);
            Some(patch(
                path,
                json!({ "key_limit": more }),
                format!("Raise the key's limit to {more}"),
            ))
        }
        Why::InLine { .. } => Some(patch(
            path,
            json!({ "priority": "urgent" }),
            "Move to the front",
        )),
        why => of_queue(why),
    }
}

/// A name as a part of a path.
pub(crate) fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(byte))
            }
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_part_of_a_path() {
        let action = of_queue(&Why::QueuePaused("a/b ü?".into())).unwrap();
        assert_eq!(action.path, "/api/v1/queues/a%2Fb%20%C3%BC%3F/resume");
    }
}
