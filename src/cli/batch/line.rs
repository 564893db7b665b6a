//! One line of a batch.

use std::collections::BTreeMap;
use std::time::Duration;

use jobq::handlers::exec::Program;
use jobq::{Backoff, Priority, When};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::cli::exit::{CliError, CliResult};
use crate::cli::nearest::UnknownKey;
use crate::cli::origin::{Command, Options, Wanted, Work};
use crate::cli::parse;

/// A line as it is written. Options are named as on the command line, with underscores.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    kind: Option<String>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    command: Option<Vec<String>>,
    shell: Option<String>,
    queue: Option<String>,
    priority: Option<Priority>,
    #[serde(default, rename = "in", deserialize_with = "duration")]
    delay: Option<Duration>,
    #[serde(default, deserialize_with = "time")]
    at: Option<jiff::Timestamp>,
    retries: Option<u32>,
    backoff: Option<Backoff>,
    #[serde(default, deserialize_with = "duration")]
    retry_delay: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<Duration>,
    fail_on: Option<String>,
    env: Option<BTreeMap<String, Option<String>>>,
    cwd: Option<String>,
}

/// Reads a line; none where it is blank. The error does not name the line.
pub(super) fn parse_line(line: &[u8]) -> CliResult<Option<Wanted>> {
    let text = str::from_utf8(line).map_err(|error| {
        CliError::usage(format!(
            "it is not UTF-8 from byte {}",
            error.valid_up_to() + 1
        ))
    })?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Ok(None);
    }
    if text.contains('\0') {
        return Err(CliError::usage("it has a NUL character in it"));
    }
    if !text.starts_with('{') {
        return Err(CliError::usage("it is no JSON object").hint(EXAMPLES));
    }
    let fields: Fields = serde_json::from_str(text).map_err(|error| explain(&error))?;
    fields.wanted().map(Some)
}

const EXAMPLES: &str = r#"a line looks like {"command":["ls","-l"]}, {"shell":"ls | wc"} or {"kind":"resize","payload":{}}"#;

impl Fields<'_> {
    fn wanted(self) -> CliResult<Wanted> {
        let when = match (self.delay, self.at) {
            (None, None) => When::Now,
            (Some(delay), None) => When::In(delay),
            (None, Some(at)) => When::At(at),
            (Some(_), Some(_)) => {
                return Err(CliError::usage("it has both 'in' and 'at'; one is wanted"));
            }
        };
        let options = Options {
            queue: self.queue,
            priority: self.priority,
            when,
            retries: self.retries,
            backoff: self.backoff,
            retry_delay: self.retry_delay,
            timeout: self.timeout,
        };
        let for_commands = [
            ("fail_on", self.fail_on.is_some()),
            ("env", self.env.is_some()),
            ("cwd", self.cwd.is_some()),
        ];
        let program = match (self.kind, self.command, self.shell) {
            (Some(kind), None, None) => {
                if let Some((key, _)) = for_commands.iter().find(|(_, given)| *given) {
                    return Err(CliError::usage(format!(
                        "'{key}' goes with 'command' or 'shell', not with 'kind'"
                    )));
                }
                let payload = self.payload.map_or("null", RawValue::get).to_owned();
                return Ok(Wanted {
                    work: Work::Kind { kind, payload },
                    options,
                });
            }
            (None, Some(argv), None) => Program::Argv(argv),
            (None, None, Some(text)) => Program::Shell(text),
            _ => {
                return Err(
                    CliError::usage("one of 'command', 'shell' and 'kind' is wanted")
                        .hint(EXAMPLES),
                );
            }
        };
        if self.payload.is_some() {
            return Err(CliError::usage("'payload' goes with 'kind'"));
        }
        Ok(Wanted {
            work: Work::Exec(Command {
                program,
                cwd: self.cwd,
                env: self.env.unwrap_or_default(),
                fail_on: self.fail_on,
            }),
            options,
        })
    }
}

/// What is wrong, without serde's line number: it counts within the line.
fn explain(error: &serde_json::Error) -> CliError {
    let text = error.to_string();
    let message = text
        .rsplit_once(" at line ")
        .map_or(&*text, |(message, _)| message);
    match UnknownKey::of(message) {
        Some(unknown) => {
            CliError::usage(format!("unknown key '{}'", unknown.key)).hint(unknown.hint())
        }
        None => CliError::usage(format!("column {}: {message}", error.column())),
    }
}

fn duration<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Duration>, D::Error> {
    text(value, "duration", parse::duration)
}

fn time<'de, D: Deserializer<'de>>(value: D) -> Result<Option<jiff::Timestamp>, D::Error> {
    text(value, "time", parse::time)
}

fn text<'de, D: Deserializer<'de>, T>(
    value: D,
    what: &str,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Option<T>, D::Error> {
    let Some(text) = Option::<String>::deserialize(value)? else {
        return Ok(None);
    };
    parse(&text)
        .map(Some)
        .map_err(|why| serde::de::Error::custom(format_args!("invalid {what} '{text}': {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_the_flags_say() {
        let line = br#"{"command":["ls","-l"],"queue":"q","priority":"high","in":"1h30m","retries":0,"backoff":"fixed","retry_delay":"2s","timeout":"5m","fail_on":"2","env":{"A":"1","PATH":null},"cwd":"sub"}"#;
        let wanted = parse_line(line).unwrap().unwrap();
        let options = wanted.options;
        assert_eq!(options.queue.as_deref(), Some("q"));
        assert_eq!(options.priority, Some(Priority::High));
        assert_eq!(options.when, When::In(Duration::from_secs(5400)));
        assert_eq!(options.retries, Some(0));
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
        assert_eq!(command.env["A"].as_deref(), Some("1"));
        assert_eq!(command.env["PATH"], None);
        assert_eq!(command.cwd.as_deref(), Some("sub"));
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
            (b"[\"k\"]", "no JSON object"),
            (b"ls -l", "no JSON object"),
            (b"{\"kind\":", "EOF"),
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
            (b"{\"kind\":\"k\",\"priority\":\"top\"}", "unknown variant"),
            (b"{\"kind\":\"k\",\"kind\":\"k\"}", "duplicate field"),
            (b"{\"kind\":\"k\"} {}", "trailing"),
        ] {
            let error = parse_line(line).unwrap_err();
            assert!(error.message().contains(why), "{}", error.message());
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_known_one() {
        let error = parse_line(br#"{"kind":"k","retires":2}"#).unwrap_err();
        assert_eq!(error.message(), "unknown key 'retires'");
        assert!(format!("{error:?}").contains("'retries'"));
    }
}
