//! `jobq help config`: every key of `jobq.toml`, as one can be written.

use std::fmt::Write;

/// A table of the file, with the line that begins it.
struct Table {
    header: &'static str,
    says: &'static str,
    keys: &'static [Key],
}

struct Key {
    /// `workers = 5`.
    example: &'static str,
    /// What may stand there.
    takes: &'static str,
    /// What goes where it is left out.
    default: &'static str,
    says: &'static str,
}

const fn key(
    example: &'static str,
    takes: &'static str,
    default: &'static str,
    says: &'static str,
) -> Key {
    Key {
        example,
        takes,
        default,
        says,
    }
}

const BEGINNING: &str = "\
jobq.toml

The config file is --config PATH, else ./jobq.toml, else $XDG_CONFIG_HOME/jobq/jobq.toml (that is
~/.config/jobq/jobq.toml). Everything in it may be left out; options on the command line win. An
unknown key is an error. Durations look like \"90s\", \"1h30m\" or \"2 days\", sizes like \"512MiB\".

A `jobq run` that runs notices when its file changes, and goes by the new one: schedules, limits of
queues, kinds, timeouts, retention. It says so, and what needs a restart. A file with a mistake in it
is named with its line and not used.
";

const TABLES: [Table; 6] = [
    Table {
        header: "",
        says: "At the top of the file",
        keys: &[
            key(
                "db = \"jobs.db\"",
                "path",
                "$XDG_STATE_HOME/jobq/jobq.db",
                "The database; a relative path begins at the config file's folder. --db and JOBQ_DB win.",
            ),
            key(
                "workers = 5",
                "1 to 1024",
                "5",
                "How many jobs a runner runs at a time.",
            ),
            key(
                "stop_timeout = \"60s\"",
                "duration",
                "\"60s\"",
                "How long a runner may take to stop, the wait before SIGKILL included.",
            ),
            key(
                "durability = \"full\"",
                "\"full\", \"normal\"",
                "\"full\"",
                "What survives a power cut: all that was acknowledged, or all but the last moments.",
            ),
            key(
                "allow_network_fs = false",
                "true, false",
                "false",
                "Accept a network file system: only if no other machine uses the file.",
            ),
            key(
                "unknown_kinds = \"keep\"",
                "\"keep\", \"fail\"",
                "\"keep\"",
                "What happens to jobs of a kind that the runner has no handler for.",
            ),
            key(
                "max_file_size = \"2GiB\"",
                "size, at least \"256KiB\"",
                "no limit",
                "Enqueueing beyond it is refused with exit code 75.",
            ),
        ],
    },
    Table {
        header: "[retention]",
        says: "How long jobs are kept after their end",
        keys: &[
            key(
                "completed = \"24h\"",
                "duration",
                "\"24h\"",
                "Completed jobs.",
            ),
            key(
                "failed = \"7 days\"",
                "duration",
                "\"7 days\"",
                "Failed and cancelled jobs.",
            ),
            key(
                "every = \"1h\"",
                "duration, at least \"1ms\"",
                "\"1h\"",
                "How often old jobs are looked for.",
            ),
        ],
    },
    Table {
        header: "[defaults]",
        says: "For jobs that do not say it themselves",
        keys: &[
            key("retries = 3", "number", "3", "Maximum retries."),
            key(
                "backoff = \"exponential\"",
                "\"none\", \"fixed\", \"linear\", \"quadratic\", \"exponential\"",
                "\"exponential\"",
                "How the wait between retries grows.",
            ),
            key(
                "retry_delay = \"5s\"",
                "duration",
                "\"5s\"; \"1s\" with \"quadratic\"",
                "The first wait between retries.",
            ),
            key(
                "timeout = \"1h\"",
                "duration",
                "none",
                "Time limit of each attempt.",
            ),
            key(
                "max_queue_size = 1000",
                "number, at least 1",
                "no limit",
                "How many unfinished jobs a queue without a max_size of its own may hold.",
            ),
            key(
                "env = [\"AWS_*\", \"MODE=fast\"]",
                "list of NAME, NAME=VALUE, PATTERN*",
                "none",
                "Variables for commands, beside those that every command gets.",
            ),
            key(
                "output_limit = \"4MiB\"",
                "size, at most \"64MiB\"",
                "\"1MiB\"",
                "How much of a command's output is kept, of each attempt.",
            ),
        ],
    },
    Table {
        header: "[queues.images]",
        says: "Limits of a queue, over all runners",
        keys: &[
            key(
                "concurrency = 2",
                "number, at least 1",
                "no limit",
                "How many of its jobs may run at once.",
            ),
            key(
                "rate = \"10/1m\"",
                "NUMBER/DURATION",
                "no limit",
                "How many of its jobs may start in any span of that length.",
            ),
            key(
                "max_size = 500",
                "number, at least 1",
                "no limit",
                "How many unfinished jobs it may hold.",
            ),
            key(
                "weight = 3",
                "number, at least 1",
                "1",
                "Its share of a runner among the queues with work.",
            ),
        ],
    },
    Table {
        header: "[kinds.thumbnail]",
        says: "A kind of job, and the command that handles it",
        keys: &[
            key(
                "command = [\"./thumbnail.py\"]",
                "list of texts",
                "none",
                "The handler, with the payload on its stdin. It runs in the config file's folder.",
            ),
            key(
                "timeout = \"2m\"",
                "duration",
                "that of [defaults]",
                "Time limit of each attempt.",
            ),
            key(
                "retries = 2",
                "number",
                "that of [defaults]",
                "Maximum retries.",
            ),
            key(
                "backoff = \"fixed\"",
                "as in [defaults]",
                "that of [defaults]",
                "How the wait between retries grows.",
            ),
            key(
                "retry_delay = \"10s\"",
                "duration",
                "that of [defaults]",
                "The first wait between retries.",
            ),
            key(
                "concurrency = 2",
                "number, at least 1",
                "as many as workers",
                "How many of its jobs run at once in a runner.",
            ),
            key(
                "retention = { completed = \"10m\", failed = \"30 days\" }",
                "table with completed, failed",
                "[retention]",
                "How long its jobs are kept after their end.",
            ),
            key(
                "env = [\"AWS_*\", \"MODE=fast\"]",
                "list of NAME, NAME=VALUE, PATTERN*",
                "none",
                "Variables for the command, from the runner's environment.",
            ),
            key(
                "output_limit = \"4MiB\"",
                "size, at most \"64MiB\"",
                "that of [defaults]",
                "How much of a command's output is kept, of each attempt.",
            ),
        ],
    },
    Table {
        header: "[schedules.nightly]",
        says: "A recurring job. It belongs to this file: a runner that starts with the file removes what\nthe file no longer has, and nothing that another file declares",
        keys: &[
            key(
                "cron = \"0 2 * * *\"",
                "rule, see `jobq help schedule add`",
                "needed",
                "When its jobs are enqueued.",
            ),
            key(
                "timezone = \"Europe/Berlin\"",
                "name of a time zone",
                "the system's",
                "The zone in which the rule is meant.",
            ),
            key(
                "missed = \"once\"",
                "\"skip\", \"once\", \"all\"",
                "\"once\"",
                "What happens to slots that passed while no runner was active.",
            ),
            key(
                "overlap = \"allow\"",
                "\"allow\", \"skip\"",
                "\"allow\"",
                "What happens at a slot while the last job has not ended.",
            ),
            key(
                "command = [\"./backup.sh\", \"-v\"]",
                "list of texts",
                "one of command, shell, kind is needed",
                "The command. It runs in the config file's folder.",
            ),
            key(
                "shell = \"./backup.sh | gzip > b.gz\"",
                "text",
                "",
                "A command line, run by /bin/sh, in place of command.",
            ),
            key(
                "input = \"yes\"",
                "text",
                "none",
                "What the command reads on its stdin.",
            ),
            key(
                "kind = \"cleanup\"",
                "name",
                "",
                "A job of this kind, in place of command.",
            ),
            key(
                "payload = { days = 7 }",
                "anything",
                "null",
                "The payload of the job of a kind.",
            ),
            key("queue = \"slow\"", "name", "\"default\"", "Its queue."),
            key(
                "priority = \"low\"",
                "\"low\", \"normal\", \"high\", \"urgent\"",
                "\"normal\"",
                "Which jobs of the queue go first.",
            ),
            key(
                "retries = 1",
                "number",
                "that of the kind",
                "Maximum retries.",
            ),
            key(
                "backoff = \"fixed\"",
                "as in [defaults]",
                "that of the kind",
                "How the wait between retries grows.",
            ),
            key(
                "retry_delay = \"1m\"",
                "duration",
                "that of the kind",
                "The first wait between retries.",
            ),
            key(
                "timeout = \"1h\"",
                "duration",
                "that of the kind",
                "Time limit of each attempt.",
            ),
            key(
                "deadline = \"2h\"",
                "duration",
                "none",
                "Cancel a job that has not begun this long after its slot.",
            ),
            key(
                "unique = \"backup\"",
                "text",
                "none",
                "At most one live job has this key.",
            ),
            key(
                "unique_for = \"1h\"",
                "duration",
                "not at all",
                "How long the key stays taken after the job has ended; with unique.",
            ),
            key(
                "on_duplicate = \"keep\"",
                "\"keep\", \"replace\", \"rerun\", \"reject\"",
                "\"keep\"",
                "What happens when the key is taken; with unique.",
            ),
            key(
                "key = \"disk-1\"",
                "text",
                "none",
                "Concurrency key: one job with this key runs at a time.",
            ),
            key(
                "places = 2",
                "1 to 1000",
                "1",
                "How many jobs of the key run at a time; with key.",
            ),
            key(
                "tenant = \"acme\"",
                "name",
                "none",
                "Tenant that owns the job.",
            ),
            key(
                "tags = { team = \"ops\" }",
                "table of texts",
                "none",
                "Tags to find its jobs by.",
            ),
            key(
                "env = [\"AWS_*\", \"MODE=fast\"]",
                "list of NAME, NAME=VALUE, PATTERN*",
                "none",
                "Variables for the command, from the environment of the runner that reads this.",
            ),
            key(
                "output_limit = \"4MiB\"",
                "size, at most \"64MiB\"",
                "that of [defaults]",
                "How much of a command's output is kept, of each attempt.",
            ),
        ],
    },
];

/// The whole reference, as `jobq help config` prints it.
pub(crate) fn text() -> String {
    let mut text = BEGINNING.to_owned();
    for table in &TABLES {
        let says = table.says.replace('\n', "\n# ");
        let _ = write!(text, "\n# {says}.\n");
        if !table.header.is_empty() {
            let _ = writeln!(text, "{}", table.header);
        }
        for key in table.keys {
            let default = match key.default {
                "" => String::new(),
                default => format!(" [default: {default}]"),
            };
            let _ = write!(
                text,
                "{}\n    # {}\n    # {}{default}\n",
                key.example, key.says, key.takes
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use crate::cli::nearest::UnknownKey;

    fn named(key: &Key) -> &'static str {
        key.example.split(' ').next().unwrap()
    }

    /// What the table accepts, by what it says of a key that it does not know.
    fn accepted(header: &str) -> Vec<String> {
        let text = format!("{header}\nno_such_key = 1\n");
        let error = toml::from_str::<Config>(&text).unwrap_err();
        let message = error.message().to_owned();
        UnknownKey::of(&message)
            .unwrap()
            .known()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn every_key_that_is_accepted_is_in_the_reference_and_no_other() {
        let tables = ["retention", "defaults", "kinds", "schedules", "queues"];
        for table in &TABLES {
            let mut told: Vec<&str> = table.keys.iter().map(named).collect();
            let mut accepted = accepted(table.header);
            if table.header.is_empty() {
                accepted.retain(|key| !tables.contains(&&**key));
            }
            told.sort_unstable();
            accepted.sort_unstable();
            assert_eq!(told, accepted, "{}", table.header);
        }
        for table in tables {
            let header = |known: &&Table| known.header.trim_start_matches('[').starts_with(table);
            assert!(TABLES.iter().any(|known| header(&known)), "{table}");
        }
        assert_eq!(accepted("[kinds.k.retention]"), ["completed", "failed"]);
    }

    #[test]
    fn every_example_can_be_written() {
        for table in &TABLES {
            for key in table.keys {
                // One way to say what the job is, of three.
                let around = match (table.header, named(key)) {
                    ("[schedules.nightly]", "cron") => "kind = 'k'",
                    ("[schedules.nightly]", _) => "cron = '@daily'",
                    ("[kinds.thumbnail]", "command") => "",
                    ("[kinds.thumbnail]", _) => "command = ['x']",
                    _ => "",
                };
                let text = format!("{}\n{around}\n{}\n", table.header, key.example);
                let read = Config::parse(&text, std::path::Path::new("jobq.toml"));
                assert!(read.is_ok(), "{text}: {:?}", read.err());
            }
        }
    }

    #[test]
    fn each_key_is_told_with_what_it_takes_and_its_default() {
        let text = text();
        assert!(text.contains(
            "workers = 5\n    # How many jobs a runner runs at a time.\n    # 1 to 1024 [default: 5]\n"
        ));
        assert!(text.lines().all(|line| line.chars().count() <= 120));
    }
}
