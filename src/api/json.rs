//! The JSON that other programs rely on: the names and the order of these fields are a contract.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::api::time::rfc3339;

/// Writes one object on one line. Payloads and results are kept letter for letter; but the line ends
/// that JSON allows between its tokens would end the line, and become blanks.
pub fn write_line(out: &mut (impl Write + ?Sized), value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    for byte in &mut line {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    line.push(b'\n');
    out.write_all(&line)
}

/// RFC 3339, UTC, milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Time(pub Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(self.0))
    }
}

/// The JSON of a record: its fields by name, in the order of the contract.
#[doc(hidden)]
#[macro_export]
macro_rules! json_fields {
    ($(#[$doc:meta])* $vis:vis $name:ident($($part:ident: $type:ty),+) { $($field:ident: $value:expr,)+ }) => {
        $(#[$doc])*
        $vis struct $name<'a>($($vis $type),+);

        impl serde::Serialize for $name<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let $name($($part),+) = self;
                let mut map = serializer.serialize_map(None)?;
                $(map.serialize_entry(stringify!($field), &$value)?;)+
                map.end()
            }
        }
    };
}
pub use json_fields;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{EventData, EventFilter, EventKind, ManualClock, NewJob, Priority, Queue};

    use super::*;
    use crate::api::event::{EventJson, data_json};
    use crate::api::job::JobJson;
    use crate::api::job_in_full::JobInFullJson;
    use crate::api::why::WhyJson;

    /// A queue where it is always noon.
    fn queue() -> (tempfile::TempDir, Queue) {
        let folder = tempfile::tempdir().unwrap();
        let noon = "2026-03-01T12:00:00.007Z".parse().unwrap();
        let queue = Queue::options()
            .clock(ManualClock::new(noon))
            .open(folder.path().join("jobs.db"))
            .unwrap();
        (folder, queue)
    }

    fn line(value: &impl Serialize) -> String {
        let mut line = Vec::new();
        write_line(&mut line, value).unwrap();
        String::from_utf8(line).unwrap()
    }

    const JOB: &str = concat!(
        r#"{"id":1,"kind":"resize","queue":"images","tenant":null,"tags":null,"state":"scheduled","#,
        r#""priority":"high","payload":{"w":  1.0,"big":12345678901234567890123},"result":null,"#,
        r#""error":null,"progress":null,"attempt":0,"retries_left":3,"max_retries":3,"#,
        r#""backoff":"exponential","retry_delays_ms":null,"jitter":true,"timeout_ms":90000,"unique_key":null,"key":null,"#,
        r#""parent_id":null,"children":null,"depends_on":null,"schedule":null,"slot":null,"hooks":null,"hook_jobs":null,"hook_of":null,"traceparent":null,"#,
        r#""run_at":"2026-03-01T12:05:00.007Z","deadline":null,"created_at":"2026-03-01T12:00:00.007Z","#,
        r#""updated_at":"2026-03-01T12:00:00.007Z","started_at":null,"finished_at":null,"#,
        r#""runner":null,"worker":null"#
    );

    fn resize() -> NewJob {
        NewJob::new("resize")
            .payload_json("{\"w\":\n 1.0,\"big\":12345678901234567890123}")
            .queue("images")
            .priority(Priority::High)
            .delay(Duration::from_secs(300))
            .timeout(Duration::from_secs(90))
    }

    #[test]
    fn a_job_prints_on_one_line_with_all_fields_and_exact_payload() {
        let (_folder, queue) = queue();
        let id = queue.enqueue(resize()).unwrap().id;
        let job = queue.get(id).unwrap().unwrap();
        assert_eq!(line(&JobJson(&job)), format!("{JOB}}}\n"));
        let in_full = JobInFullJson {
            job: JobJson(&job),
            attempts: Vec::new(),
            why: WhyJson {
                why: "delayed",
                message: "later",
                hint: None,
            },
        };
        assert_eq!(
            line(&in_full),
            format!(
                "{JOB},{}\n",
                r#""attempts":[],"why":{"why":"delayed","message":"later","hint":null}}"#
            )
        );
    }

    #[test]
    fn an_event_has_the_fields_of_the_contract_and_its_data_as_json() {
        let (_folder, queue) = queue();
        queue
            .pause(crate::QueueSelector::Named("images".into()))
            .unwrap();
        let page = queue.events(&EventFilter::default()).unwrap();
        assert_eq!(
            line(&EventJson(&page.events[0])),
            concat!(
                r#"{"id":1,"at":"2026-03-01T12:00:00.007Z","kind":"queue_paused","job":null,"#,
                r#""attempt":null,"runner":null,"worker":null,"took_ms":null,"#,
                r#""data":{"queue":"images"}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn output_is_a_string_even_where_it_looks_like_json() {
        let data = EventData::Text("42\n".into());
        assert_eq!(line(&data_json(EventKind::Stdout, &data)), "\"42\\n\"\n");
        assert_eq!(line(&data_json(EventKind::Progress, &data)), "42\n");
        let bytes = EventData::Bytes(vec![b'a', 0xff]);
        assert_eq!(
            line(&data_json(EventKind::Stderr, &bytes)),
            "\"a\u{fffd}\"\n"
        );
    }
}
