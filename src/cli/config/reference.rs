//! `jobq help config`: every key of `jobq.toml`, as one can be written.

mod tables;

use std::fmt::Write;

use tables::TABLES;

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

A `jobq run` that runs notices when its file changes or a new one comes, and goes by it: schedules, limits of
queues, kinds, timeouts, retention. It says so, and what needs a restart. A file with a mistake in it
is named with its line and not used.
";

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
