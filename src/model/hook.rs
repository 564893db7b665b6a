//! Hooks: jobs that are enqueued when another job ends, in the transaction of its end.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::family::Children;
use crate::model::id::JobId;
use crate::model::state::State;

/// The end that a hook is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
#[non_exhaustive]
pub enum HookTrigger {
    /// The job has completed.
    Completed = 0,
    /// The job has failed for good. A job that was cancelled has not.
    Failed = 1,
    /// The job is final, however it ended.
    Ended = 2,
    /// The job is final, however it ended, and has children.
    BatchDone = 3,
}

words!(HookTrigger, "hook", "hooks" {
    Completed = "completed",
    Failed = "failed",
    Ended = "ended",
    BatchDone = "batch_done",
});
codes!(HookTrigger);

impl HookTrigger {
    /// Whether a job that has come to this state fires it.
    pub(crate) fn is_fired_by(self, state: State, is_parent: bool) -> bool {
        match self {
            HookTrigger::Completed => state == State::Completed,
            HookTrigger::Failed => state == State::Failed,
            HookTrigger::Ended => true,
            HookTrigger::BatchDone => is_parent,
        }
    }
}

/// How a job has ended: what its hook's job is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HookEvent {
    /// The hook.
    pub hook: HookTrigger,
    /// The job that has ended.
    pub job: JobId,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// The state that it has come to.
    pub state: State,
    /// Its error, at most 1000 characters.
    pub error: Option<String>,
    /// The number of its latest attempt; 0 if there was none.
    pub attempts: u32,
    /// Its children, if it has or had any.
    pub children: Option<Children>,
}

impl HookEvent {
    /// An error as it is told.
    pub(crate) fn brief(error: &str) -> String {
        const LONGEST: usize = 1000;
        // No variable can hold a NUL.
        error.chars().filter(|c| *c != '\0').take(LONGEST).collect()
    }

    /// Fills in the strings of a payload: `{hook}` alone becomes the event, and in a text `{hook.job}` the id of the job;
    /// so for each field.
    pub(crate) fn fill_in(&self, payload: String) -> String {
        if !payload.contains(PLACEHOLDER) {
            return payload;
        }
        let Ok(event) = serde_json::to_value(self) else {
            return payload;
        };
        match serde_json::from_str(&payload) {
            Ok(value) => filled(value, &event).to_string(),
            Err(_) => payload,
        }
    }
}

/// The kind of jobs that are commands.
pub(crate) const EXEC_KIND: &str = "exec";

const PLACEHOLDER: &str = "{hook";

fn filled(value: Value, event: &Value) -> Value {
    match value {
        Value::String(text) if text == "{hook}" => event.clone(),
        Value::String(text) => filled_text(&text, event).into(),
        Value::Array(values) => values
            .into_iter()
            .map(|value| filled(value, event))
            .collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            fields
                .map(|(name, value)| (name, filled(value, event)))
                .collect()
        }
        other => other,
    }
}

/// What is filled in is not read again: an error may hold anything.
fn filled_text(text: &str, event: &Value) -> String {
    let mut pieces = text.split("{hook.");
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let field = piece
            .split_once('}')
            .and_then(|(name, after)| Some((event.get(name)?, after)));
        let Some((value, after)) = field else {
            filled += "{hook.";
            filled += piece;
            continue;
        };
        match value {
            Value::String(text) => filled += text,
            Value::Null => {}
            value => filled += &value.to_string(),
        }
        filled += after;
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> HookEvent {
        HookEvent {
            hook: HookTrigger::Failed,
            job: JobId(7),
            kind: "send".to_owned(),
            queue: "mail".to_owned(),
            state: State::Failed,
            error: Some("no {hook.job} \"here\"".to_owned()),
            attempts: 3,
            children: None,
        }
    }

    #[test]
    fn what_is_filled_into_a_payload_is_not_read_again() {
        let filled = |payload: &str| event().fill_in(payload.to_owned());
        let whole = filled(r#"{"url":"u","body":"{hook}"}"#);
        let whole: Value = serde_json::from_str(&whole).unwrap();
        assert_eq!(whole["body"]["error"], event().error.unwrap());
        assert_eq!(whole["body"]["hook"], "failed");
        for (payload, expected) in [
            (
                r#"["{hook.kind} {hook.job}: {hook.error}!", 1]"#,
                r#"["send 7: no {hook.job} \"here\"!",1]"#,
            ),
            (
                r#""{hook.state} {hook.none} {hook.job""#,
                r#""failed {hook.none} {hook.job""#,
            ),
            (r#""children: {hook.children}.""#, r#""children: .""#),
            (
                r#"{"digits": 1.0000000000000000001}"#,
                r#"{"digits": 1.0000000000000000001}"#,
            ),
        ] {
            assert_eq!(filled(payload), expected);
        }
    }

    #[test]
    fn an_error_is_told_in_1000_characters_without_nul() {
        let told = HookEvent::brief(&"ä\0".repeat(2000));
        assert_eq!(told, "ä".repeat(1000));
    }

    #[test]
    fn an_event_comes_back_from_the_file_as_it_was() {
        let json = serde_json::to_string(&event()).unwrap();
        assert_eq!(serde_json::from_str::<HookEvent>(&json).unwrap(), event());
    }

    #[test]
    fn each_end_fires_its_hooks_and_no_others() {
        let fired = |state, is_parent| -> Vec<HookTrigger> {
            let all = HookTrigger::ALL.into_iter();
            all.filter(|hook| hook.is_fired_by(state, is_parent))
                .collect()
        };
        use HookTrigger::{BatchDone, Completed, Ended, Failed};
        assert_eq!(fired(State::Completed, false), [Completed, Ended]);
        assert_eq!(fired(State::Failed, false), [Failed, Ended]);
        assert_eq!(fired(State::Cancelled, true), [Ended, BatchDone]);
    }
}
