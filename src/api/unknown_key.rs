//! What stands for an unknown key.

use crate::nearest::nearest;

/// What serde says of an unknown key: the key and those it knows.
pub struct UnknownKey<'a> {
    pub key: &'a str,
    known: Vec<&'a str>,
}

impl<'a> UnknownKey<'a> {
    /// Reads `unknown field `wokers`, expected one of `db`, `workers``. None where it says
    /// something else.
    pub fn of(message: &'a str) -> Option<UnknownKey<'a>> {
        let (key, rest) = message.strip_prefix("unknown field `")?.split_once("`, ")?;
        let known = rest.split('`').skip(1).step_by(2).collect();
        Some(UnknownKey { key, known })
    }

    /// All that is known.
    pub fn known(&self) -> impl Iterator<Item = &'a str> {
        self.known.iter().copied()
    }

    /// `did you mean 'workers'?`, or all that is known.
    pub fn hint(&self) -> String {
        let nearest = || nearest(self.key, self.known.iter().copied());
        match self.called_elsewhere().or_else(nearest) {
            Some(name) => format!("did you mean '{name}'?"),
            None => format!("known keys are {}", self.known.join(", ")),
        }
    }
}

impl<'a> UnknownKey<'a> {
    /// The known key for what others call by this name.
    fn called_elsewhere(&self) -> Option<&'a str> {
        let key = self.key.to_lowercase().replace('-', "_");
        let mut names = ELSEWHERE
            .iter()
            .filter(|(_, names)| names.split(' ').any(|name| name == key));
        names.find_map(|(name, _)| self.known.iter().find(|known| *known == name).copied())
    }
}

/// What jobq's keys are called elsewhere: by other queues, shells and unit files.
const ELSEWHERE: [(&str, &str); 21] = [
    (
        "command",
        "cmd argv args exec run program cmdline execstart",
    ),
    ("shell", "sh bash script cmd_line"),
    ("kind", "type name task job class handler"),
    ("payload", "data body params arguments kwargs input message"),
    (
        "cwd",
        "dir directory folder workdir working_dir working_directory chdir",
    ),
    ("env", "environment envs vars variables environ"),
    ("in", "delay wait after_delay countdown"),
    ("at", "run_at when eta start_at scheduled_at not_before"),
    ("retries", "max_retries attempts max_attempts tries retry"),
    (
        "retry_delay",
        "backoff_delay retry_after retry_interval delay_ms",
    ),
    (
        "retry_delays",
        "delays backoff_delays retry_intervals retry_schedule backoff_schedule",
    ),
    ("timeout", "time_limit timeout_ms ttr max_runtime"),
    ("deadline", "expires expires_at ttl expire"),
    ("unique", "unique_key dedup dedupe idempotency_key id uniq"),
    ("after", "depends_on needs requires dependencies depends"),
    ("parent", "parent_id"),
    ("key", "concurrency_key lock mutex group"),
    ("tags", "tag labels metadata meta"),
    ("tenant", "owner user account customer"),
    ("cron", "schedule rule every crontab"),
    ("timezone", "tz zone time_zone"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_call_a_key_finds_it_before_what_is_spelt_alike() {
        let hint = |message: &str| UnknownKey::of(message).unwrap().hint();
        for (key, name) in [
            ("cmd", "command"),
            ("max-retries", "retries"),
            ("Directory", "cwd"),
        ] {
            let message =
                format!("unknown field `{key}`, expected one of `cwd`, `command`, `retries`");
            assert_eq!(hint(&message), format!("did you mean '{name}'?"));
        }
        let message = "unknown field `cmd`, expected one of `cwd`, `env`";
        assert_eq!(hint(message), "did you mean 'cwd'?");
    }

    #[test]
    fn serdes_words_are_understood() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct TwoKeys {
            #[serde(rename = "retries")]
            _retries: Option<u32>,
            #[serde(rename = "queue")]
            _queue: Option<u32>,
        }
        let error = serde_json::from_str::<TwoKeys>(r#"{"retires":1}"#).unwrap_err();
        let message = error.to_string();
        let unknown = UnknownKey::of(&message).unwrap();
        assert_eq!(unknown.key, "retires");
        assert_eq!(unknown.hint(), "did you mean 'retries'?");
        let error = serde_json::from_str::<TwoKeys>(r#"{"x`y":1}"#).unwrap_err();
        assert_eq!(UnknownKey::of(&error.to_string()).unwrap().key, "x`y");
        assert!(UnknownKey::of("EOF while parsing").is_none());
    }
}
