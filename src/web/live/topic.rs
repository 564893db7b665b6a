//! What a client sends: its first message, and what it subscribes to.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{EventId, EventKind, JobId};

/// The first message of a client.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(crate) struct ClientHello {
    pub(crate) token: Option<String>,
    /// Where its subscriptions to events continue that do not say so themselves.
    pub(crate) since: Option<EventId>,
}

/// A later message of a client.
#[derive(Debug, PartialEq)]
pub(crate) enum ClientFrame {
    Subscribe { number: u64, topic: LiveTopic },
    Unsubscribe { number: u64 },
}

/// What can be subscribed to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LiveTopic {
    /// The answer to a GET, read again when it may have changed.
    View(ViewTopic),
    /// What is appended to the history.
    Stream(StreamTopic),
}

/// An answer that is watched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ViewTopic {
    /// `GET /overview`.
    Overview,
    /// `GET /jobs` with this query, in the order of its names.
    Jobs(Vec<(String, String)>),
    /// `GET /jobs/{id}`.
    Job(JobId),
    /// `GET /bulk/{id}`.
    Bulk(u64),
}

/// Which events are sent, and as what.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StreamTopic {
    pub(crate) form: StreamForm,
    pub(crate) job: Option<JobId>,
    /// Empty: all but output.
    pub(crate) kinds: Vec<EventKind>,
    /// None: from now on.
    pub(crate) since: Option<EventId>,
}

/// The form of what a stream sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamForm {
    Events,
    /// Output, of one attempt or of all.
    Lines {
        attempt: Option<u32>,
    },
}

/// A message that is not understood: the subscription that it is for, if it says so, and what is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadFrame {
    pub(crate) number: Option<u64>,
    pub(crate) detail: String,
}

impl ClientFrame {
    /// `since` is where the connection continues.
    pub(crate) fn parse(text: &str, since: Option<EventId>) -> Result<ClientFrame, BadFrame> {
        let bad = |number, detail: &str| BadFrame {
            number,
            detail: detail.to_owned(),
        };
        let Ok(Value::Object(mut fields)) = serde_json::from_str(text) else {
            return Err(bad(None, "a message must be a JSON object"));
        };
        let number = |value: Value| value.as_u64();
        if let Some(unsub) = fields.remove("unsub") {
            let number = number(unsub).ok_or_else(|| bad(None, "`unsub` must be a number"))?;
            return Ok(ClientFrame::Unsubscribe { number });
        }
        let number = (fields.remove("sub").and_then(number))
            .ok_or_else(|| bad(None, "`sub` or `unsub` must be there, and be a number"))?;
        let topic = LiveTopic::of(fields, since);
        let topic = topic.map_err(|detail| bad(Some(number), &detail))?;
        Ok(ClientFrame::Subscribe { number, topic })
    }
}

impl LiveTopic {
    fn of(fields: Map<String, Value>, since: Option<EventId>) -> Result<LiveTopic, String> {
        let mut params = TopicParams(fields);
        let name = params.text("topic")?.unwrap_or_default();
        let topic = match name.as_str() {
            "overview" => LiveTopic::View(ViewTopic::Overview),
            "jobs" => LiveTopic::View(ViewTopic::Jobs(params.query()?)),
            "job" => LiveTopic::View(ViewTopic::Job(JobId(params.id()?))),
            "bulk" => LiveTopic::View(ViewTopic::Bulk(params.id()?.unsigned_abs())),
            "logs" => LiveTopic::Stream(params.lines()?),
            "events" => LiveTopic::Stream(params.events(since)?),
            _ => {
                return Err(format!(
                    "unknown topic '{name}'; the topics are overview, jobs, job, logs, events, bulk"
                ));
            }
        };
        match params.0.keys().next() {
            Some(unknown) => Err(format!("the topic '{name}' has no parameter '{unknown}'")),
            None => Ok(topic),
        }
    }
}

/// The parameters of a topic that have not been read yet.
struct TopicParams(Map<String, Value>);

impl TopicParams {
    /// A text, or a number as text; none where it is missing or null.
    fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        let value = self.0.remove(name);
        value
            .filter(|value| !value.is_null())
            .map_or(Ok(None), |value| {
                let text = as_text(&value);
                text.map(Some)
                    .ok_or_else(|| format!("`{name}` must be a text or a number"))
            })
    }

    fn number(&mut self, name: &str) -> Result<Option<i64>, String> {
        let text = self.text(name)?;
        let number = text.map(|text| text.parse::<i64>().ok().filter(|number| *number >= 0));
        match number {
            Some(None) => Err(format!("`{name}` must be a number")),
            number => Ok(number.flatten()),
        }
    }

    fn id(&mut self) -> Result<i64, String> {
        let id = self.number("id")?;
        id.ok_or_else(|| "`id` is missing".to_owned())
    }

    /// Several words: a list, or one text with commas.
    fn words(&mut self, name: &str) -> Result<Vec<String>, String> {
        let wrong = || format!("`{name}` must be a text or a list of texts");
        let texts = match self.0.remove(name) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(as_text).collect::<Option<Vec<_>>>(),
            Some(value) => as_text(&value).map(|text| vec![text]),
        };
        let texts = texts.ok_or_else(wrong)?;
        let words = texts.iter().flat_map(|text| text.split(','));
        let words = words.map(str::trim).filter(|word| !word.is_empty());
        Ok(words.map(str::to_owned).collect())
    }

    /// All that is left, as a query: a list is a name several times.
    fn query(&mut self) -> Result<Vec<(String, String)>, String> {
        let mut query = Vec::new();
        for (name, value) in std::mem::take(&mut self.0) {
            let values = match value {
                Value::Null => continue,
                Value::Array(list) => list,
                value => vec![value],
            };
            for value in values {
                let text = as_text(&value);
                let text =
                    text.ok_or_else(|| format!("`{name}` must be a text, a number or a list"))?;
                query.push((name.clone(), text));
            }
        }
        query.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(query)
    }

    fn lines(&mut self) -> Result<StreamTopic, String> {
        let stream = self.text("stream")?;
        let kinds = match stream.as_deref() {
            None => vec![EventKind::Stdout, EventKind::Stderr, EventKind::Log],
            Some("stdout") => vec![EventKind::Stdout],
            Some("stderr") => vec![EventKind::Stderr],
            Some("log") => vec![EventKind::Log],
            Some(_) => return Err("`stream` must be stdout, stderr or log".to_owned()),
        };
        let attempt = self.number("attempt")?.map(u32::try_from).transpose();
        Ok(StreamTopic {
            form: StreamForm::Lines {
                attempt: attempt.map_err(|_| "`attempt` is too large".to_owned())?,
            },
            job: Some(JobId(self.id()?)),
            kinds,
            since: Some(EventId(self.number("after")?.unwrap_or_default())),
        })
    }

    fn events(&mut self, since: Option<EventId>) -> Result<StreamTopic, String> {
        let kinds = self.words("kinds")?;
        let kinds = kinds.iter().map(|kind| kind.parse::<EventKind>());
        Ok(StreamTopic {
            form: StreamForm::Events,
            job: self.number("job")?.map(JobId),
            kinds: (kinds.collect::<Result<_, _>>()).map_err(|error| error.to_string())?,
            since: self.number("since")?.map(EventId).or(since),
        })
    }
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(bool) => Some(bool.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic(text: &str) -> LiveTopic {
        match ClientFrame::parse(text, Some(EventId(9))) {
            Ok(ClientFrame::Subscribe { number: 1, topic }) => topic,
            other => panic!("{other:?}"),
        }
    }

    fn detail(text: &str) -> String {
        ClientFrame::parse(text, None).unwrap_err().detail
    }

    #[test]
    fn each_topic_is_read_with_its_parameters() {
        assert_eq!(
            topic(
                r#"{"sub":1,"topic":"jobs","state":["failed","running"],"search":"kind:a","limit":20,"tenant":null}"#
            ),
            LiveTopic::View(ViewTopic::Jobs(
                [
                    ("limit", "20"),
                    ("search", "kind:a"),
                    ("state", "failed"),
                    ("state", "running")
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec()
            ))
        );
        assert_eq!(
            topic(r#"{"sub":1,"topic":"job","id":"42"}"#),
            LiveTopic::View(ViewTopic::Job(JobId(42)))
        );
        assert_eq!(
            topic(r#"{"sub":1,"topic":"logs","id":7,"after":5,"stream":"stderr","attempt":2}"#),
            LiveTopic::Stream(StreamTopic {
                form: StreamForm::Lines { attempt: Some(2) },
                job: Some(JobId(7)),
                kinds: vec![EventKind::Stderr],
                since: Some(EventId(5)),
            })
        );
        assert_eq!(
            topic(r#"{"sub":1,"topic":"events","kinds":"job_failed,job_retry"}"#),
            LiveTopic::Stream(StreamTopic {
                form: StreamForm::Events,
                job: None,
                kinds: vec![EventKind::Failed, EventKind::Retry],
                since: Some(EventId(9)),
            })
        );
    }

    #[test]
    fn what_is_wrong_with_a_message_is_said() {
        assert_eq!(detail("[1]"), "a message must be a JSON object");
        assert_eq!(
            detail(r#"{"sub":1.5,"topic":"job"}"#),
            "`sub` or `unsub` must be there, and be a number"
        );
        assert_eq!(detail(r#"{"sub":1,"topic":"job"}"#), "`id` is missing");
        assert_eq!(
            detail(r#"{"sub":1,"topic":"job","id":-4}"#),
            "`id` must be a number"
        );
        assert_eq!(
            detail(r#"{"sub":1,"topic":"overview","limit":3}"#),
            "the topic 'overview' has no parameter 'limit'"
        );
        assert!(detail(r#"{"sub":1,"topic":"nope"}"#).starts_with("unknown topic 'nope'"));
        assert!(
            detail(r#"{"sub":1,"topic":"events","kinds":"x"}"#).contains("unknown event kind 'x'")
        );
        let bad = ClientFrame::parse(r#"{"sub":3,"topic":"logs"}"#, None).unwrap_err();
        assert_eq!(bad.number, Some(3));
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(text in "\\PC{0,60}", name in "[a-z]{0,6}", value in "[0-9.eE\\[\\]\"a-z,-]{0,9}") {
            let _ = ClientFrame::parse(&text, None);
            let _ = ClientFrame::parse(&format!(r#"{{"sub":1,"topic":"{name}","id":{value}}}"#), None);
        }
    }
}
