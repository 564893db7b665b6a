//! A job as a JSON object: a line of a batch, or the body of a request.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::handlers::exec::{ExecPayload, Program};
use crate::{JobOptions, When};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::api::environ::EnvItem;
use crate::api::job_request::{CommandRequest, EnvRequest, JobRequest, Work};
use crate::api::options::{self, JobRefField, JobRefs, with_job_options};
use crate::api::sizes;
use crate::api::unknown_key::UnknownKey;
use crate::{Error, Result};

with_job_options! {
    /// A line as it is written.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fields<'a> {
        kind: Option<String>,
        #[serde(borrow)]
        payload: Option<&'a RawValue>,
        command: Option<Vec<String>>,
        shell: Option<String>,
        #[serde(default, rename = "in", deserialize_with = "options::duration")]
        delay: Option<Duration>,
        #[serde(default, deserialize_with = "options::time")]
        at: Option<jiff::Timestamp>,
        #[serde(default)]
        after: JobRefs,
        #[serde(default)]
        after_any: JobRefs,
        parent: Option<JobRefField>,
        label: Option<String>,
        traceparent: Option<crate::Traceparent>,
        fail_on: Option<String>,
        #[serde(default)]
        env: Option<EnvFields>,
        env_all: Option<bool>,
        output_limit: Option<SizeField>,
        input: Option<String>,
        input_base64: Option<String>,
        cwd: Option<String>,
    }
}

/// Reads a line; none where it is blank. The error does not name the line.
pub fn parse_line(line: &[u8]) -> Result<Option<JobRequest>> {
    let text = str::from_utf8(line).map_err(|error| {
        Error::invalid(format!(
            "it is not UTF-8 from byte {}",
            error.valid_up_to() + 1
        ))
    })?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Ok(None);
    }
    if text.contains('\0') {
        return Err(Error::invalid("it has a NUL character in it"));
    }
    if !text.starts_with('{') {
        return Err(Error::invalid("it is not a JSON object").with_hint(EXAMPLES));
    }
    // The line comes without what ends it, and without a byte order mark.
    crate::json::check(text).map_err(|error| {
        Error::invalid(format!(
            "it is not JSON: {} (column {})",
            error.why(),
            error.column()
        ))
    })?;
    let fields: Fields = serde_json::from_str(text).map_err(|error| explain(text, &error))?;
    fields.wanted().map(Some)
}

const EXAMPLES: &str = r#"a line looks like {"command":["ls","-l"]}, {"shell":"ls | wc"} or {"kind":"resize","payload":{}}"#;

impl Fields<'_> {
    fn wanted(mut self) -> Result<JobRequest> {
        let options = self.job_options()?;
        let for_commands = [
            ("fail_on", self.fail_on.is_some()),
            ("env", self.env.is_some()),
            ("env_all", self.env_all.is_some()),
            ("output_limit", self.output_limit.is_some()),
            ("input", self.input.is_some()),
            ("input_base64", self.input_base64.is_some()),
            ("cwd", self.cwd.is_some()),
        ];
        let program = match (self.kind, self.command, self.shell) {
            (Some(kind), None, None) => {
                if let Some((key, _)) = for_commands.iter().find(|(_, given)| *given) {
                    return Err(Error::invalid(format!(
                        "'{key}' goes with 'command' or 'shell', not with 'kind'"
                    )));
                }
                let payload = self.payload.map_or("null", RawValue::get).to_owned();
                return Ok(JobRequest {
                    work: Work::Kind { kind, payload },
                    options,
                });
            }
            (None, Some(argv), None) => Program::Argv(argv),
            (None, None, Some(text)) => Program::Shell(text),
            _ => {
                return Err(
                    Error::invalid("one of 'command', 'shell' and 'kind' is wanted")
                        .with_hint(EXAMPLES),
                );
            }
        };
        if self.payload.is_some() {
            return Err(Error::invalid("'payload' goes with 'kind'"));
        }
        Ok(JobRequest {
            work: Work::Exec(CommandRequest {
                program,
                cwd: self.cwd,
                env: env(self.env, self.env_all)?,
                output_limit: self.output_limit.map(|SizeField(bytes)| bytes),
                input: input(self.input, self.input_base64.as_deref())?,
                fail_on: self.fail_on,
            }),
            options,
        })
    }

    fn job_options(&mut self) -> Result<JobOptions> {
        let when = match (self.delay, self.at) {
            (None, None) => None,
            (Some(delay), None) => Some(When::In(delay)),
            (None, Some(at)) => Some(When::At(at)),
            (Some(_), Some(_)) => {
                return Err(Error::invalid("it has both 'in' and 'at'; one is wanted"));
            }
        };
        Ok(JobOptions {
            when,
            after: std::mem::take(&mut self.after.0),
            after_any: std::mem::take(&mut self.after_any.0),
            parent: self.parent.take().map(|JobRefField(parent)| parent),
            label: self.label.take(),
            traceparent: self.traceparent,
            ..self.options()?
        })
    }
}

/// What is wrong, with the key of it.
fn explain(text: &str, error: &serde_json::Error) -> Error {
    let probe = |text: &str| serde_json::from_str::<Fields>(text).map(drop);
    let message = crate::json::explain(text, error, probe);
    match UnknownKey::of(&message) {
        Some(unknown) => {
            Error::invalid(format!("unknown key '{}'", unknown.key)).with_hint(unknown.hint())
        }
        None => Error::invalid(message),
    }
}

/// Variables: `{"NAME":"value","HERE":null}`, or as `--env` names them: `["NAME=value","HERE","AWS_*"]`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "an object or a list of variables")]
enum EnvFields {
    Map(BTreeMap<String, Option<String>>),
    List(Vec<String>),
}

fn env(fields: Option<EnvFields>, all: Option<bool>) -> Result<EnvRequest> {
    let texts = match fields {
        None => Vec::new(),
        Some(EnvFields::List(texts)) => texts,
        Some(EnvFields::Map(map)) => {
            let variables = map.into_iter();
            let written = variables.map(|(name, value)| match value {
                _ if name.contains('=') => format!("={name}"),
                Some(value) => format!("{name}={value}"),
                None => name,
            });
            written.collect()
        }
    };
    let items = texts.iter().map(|text| text.parse());
    let items: Result<Vec<EnvItem>, String> = items.collect();
    let mut items = items.map_err(|why| Error::invalid(format!("env: {why}")))?;
    if all == Some(true) {
        items.push(EnvItem::all());
    }
    Ok(EnvRequest {
        items,
        ..EnvRequest::default()
    })
}

/// Bytes, as a number or like `64KiB`.
struct SizeField(u64);

impl<'de> Deserialize<'de> for SizeField {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<SizeField, D::Error> {
        sizes::bytes_written(value).map(SizeField)
    }
}

/// Text, or the bytes that a base64 text stands for.
fn input(text: Option<String>, base64: Option<&str>) -> Result<Option<Vec<u8>>> {
    match (text, base64) {
        (None, None) => Ok(None),
        (Some(text), None) => Ok(Some(text.into_bytes())),
        (None, Some(text)) => Ok(Some(ExecPayload::decode_input(text)?)),
        (Some(_), Some(_)) => Err(Error::invalid(
            "it has both 'input' and 'input_base64'; one is wanted",
        )),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Backoff, ChildPolicy, JobId, JobRef, OnDuplicate, Priority, UniqueKey};

    use super::*;

    #[test]
    fn a_line_says_what_the_flags_say() {
        let line = br#"{"command":["ls","-l"],"queue":"q","priority":"high","in":"1h30m","retries":0,"backoff":"fixed","retry_delay":"2s","timeout":"5m","fail_on":"2","env":{"A":"1","PATH":null},"cwd":"sub"}"#;
        let wanted = parse_line(line).unwrap().unwrap();
        let options = wanted.options;
        assert_eq!(options.queue.as_deref(), Some("q"));
        assert_eq!(options.priority, Some(Priority::High));
        assert_eq!(options.when, Some(When::In(Duration::from_secs(5400))));
        assert_eq!(options.max_retries, Some(0));
        assert_eq!(options.backoff, Some(Backoff::Fixed));
        assert_eq!(options.retry_delay, Some(Duration::from_secs(2)));
        assert_eq!(options.timeout, Some(Duration::from_secs(300)));
        let Work::Exec(command) = wanted.work else {
            panic!("{:?}", wanted.work);
        };
        assert_eq!(
            command.program,
            Program::Argv(vec!["ls".into(), "-l".into()])
        );
        assert_eq!(command.fail_on.as_deref(), Some("2"));
        let expected = ["A=1", "PATH"].map(|item| item.parse().unwrap());
        assert_eq!(command.env.items, expected);
        assert_eq!(command.cwd.as_deref(), Some("sub"));
    }

    #[test]
    fn a_line_says_how_its_job_is_tied_to_others() {
        let line = br#"{"kind":"k","after":[3,"a"],"after_any":["b"],"parent":7,"child_policy":"fail-fast","finalize":true,"unique_by_payload":true,"unique_for":"1h","on_duplicate":"reject","key":"disk","key_limit":2,"tenant":"acme","tags":{"env":"prod"},"deadline":"2100-01-01T00:00:00Z","label":"c"}"#;
        let options = parse_line(line).unwrap().unwrap().options;
        let label = |label: &str| JobRef::Label(label.to_owned());
        assert_eq!(options.after, [JobRef::Id(JobId(3)), label("a")]);
        assert_eq!(options.after_any, [label("b")]);
        assert_eq!(options.parent, Some(JobRef::Id(JobId(7))));
        assert_eq!(options.child_policy, Some(ChildPolicy::FailFast));
        assert_eq!(options.finalize, Some(true));
        assert_eq!(options.unique, Some(UniqueKey::KindAndPayload));
        assert_eq!(options.unique_for, Some(Duration::from_secs(3600)));
        assert_eq!(options.on_duplicate, Some(OnDuplicate::Reject));
        assert_eq!(
            (options.key.as_deref(), options.key_limit),
            (Some("disk"), Some(2))
        );
        assert_eq!(options.tenant.as_deref(), Some("acme"));
        assert_eq!(options.tags["env"], "prod");
        assert_eq!(
            options.deadline,
            Some(When::At("2100-01-01T00:00:00Z".parse().unwrap()))
        );
        assert_eq!(options.label.as_deref(), Some("c"));
    }

    #[test]
    fn one_job_to_wait_for_needs_no_list() {
        let after = |json: &str| {
            let line = format!(r#"{{"kind":"k","after":{json}}}"#);
            parse_line(line.as_bytes()).map(|wanted| wanted.unwrap().options.after)
        };
        assert_eq!(after("7").unwrap(), [JobRef::Id(JobId(7))]);
        let label = JobRef::Label("a".to_owned());
        assert_eq!(after("\"a\"").unwrap(), [label]);
        assert_eq!(after("null").unwrap(), []);
        for wrong in ["-7", "0", "[[1]]", "{}", "true"] {
            assert!(after(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_payload_is_kept_letter_for_letter() {
        let line = b"{\"kind\":\"k\",\"payload\":{ \"b\": 1.0,\t\"a\":[] }}\r\n";
        let Work::Kind { kind, payload } = parse_line(line).unwrap().unwrap().work else {
            panic!("no kind");
        };
        assert_eq!((&*kind, &*payload), ("k", "{ \"b\": 1.0,\t\"a\":[] }"));
    }

    #[test]
    fn blank_lines_are_no_jobs() {
        for line in [&b""[..], b"\n", b" \t\r\n", "\u{feff}\n".as_bytes()] {
            assert!(parse_line(line).unwrap().is_none());
        }
    }

    #[test]
    fn a_bad_line_is_told_why() {
        for (line, why) in [
            (&b"{\"kind\":\"\xff\"}"[..], "not UTF-8 from byte 10"),
            (b"{\"kind\":\"a\0\"}", "NUL"),
            (b"[\"k\"]", "not a JSON object"),
            (b"ls -l", "not a JSON object"),
            (b"{\"kind\":", "the end in place of a value (column 9)"),
            (b"{}", "one of 'command'"),
            (b"{\"kind\":\"k\",\"shell\":\"x\"}", "one of 'command'"),
            (b"{\"shell\":\"x\",\"payload\":1}", "'payload' goes with"),
            (b"{\"kind\":\"k\",\"cwd\":\"/\"}", "'cwd' goes with"),
            (
                b"{\"kind\":\"k\",\"in\":\"1s\",\"at\":\"10:00\"}",
                "both 'in' and 'at'",
            ),
            (
                b"{\"kind\":\"k\",\"in\":\"soon\"}",
                "invalid duration 'soon'",
            ),
            (b"{\"kind\":\"k\",\"at\":\"noon\"}", "invalid time 'noon'"),
            (
                b"{\"kind\":\"k\",\"priority\":\"top\"}",
                "'priority': there is no 'top'",
            ),
            (b"{\"kind\":\"k\",\"kind\":\"k\"}", "occurs twice"),
            (b"{\"kind\":\"k\"} {}", "after the end"),
            (b"{\"kind\":\"k\",\"after\":[0]}", "no job has this id"),
            (
                b"{\"kind\":\"k\",\"after\":[true]}",
                "label of an earlier line",
            ),
            (b"{\"kind\":\"k\",\"parent\":-1}", "negative"),
            (
                b"{\"kind\":\"k\",\"deadline\":\"soon\"}",
                "invalid deadline 'soon'",
            ),
            (
                b"{\"kind\":\"k\",\"on_duplicate\":\"drop\"}",
                "there is no 'drop'",
            ),
            (
                b"{\"kind\":\"k\",\"unique\":\"u\",\"unique_by_payload\":true}",
                "both 'unique'",
            ),
        ] {
            let error = parse_line(line).unwrap_err();
            assert!(error.to_string().contains(why), "{}", error.to_string());
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_known_one() {
        let error = parse_line(br#"{"kind":"k","retires":2}"#).unwrap_err();
        assert_eq!(error.to_string(), "unknown key 'retires'");
        assert!(format!("{error:?}").contains("'retries'"));
    }
}
