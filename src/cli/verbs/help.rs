//! `jobq help`.

use std::io::Write;

use clap::{Args, Command};
use jobq::api::built_in::how_to_build;
use jobq::handlers::BUILT_IN;
use jobq::handlers::built_in::BuiltInKind;
use jobq::nearest::nearest;

use crate::cli::exit::{CliError, CliResult, Exit};

#[derive(Debug, Args)]
pub(crate) struct HelpArgs {
    /// A command, one of config, environment, exit-codes, files, hooks, persistent, search, or a built-in kind, as kind sleep
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: Vec<String>,
}

/// The text of `jobq help config`: each key with its purpose, its values, and its default.
pub(crate) const CONFIG: &str = include_str!("../input/config/reference.txt");

/// The text of `jobq help exit-codes`.
pub(crate) const EXIT_CODES: &str = "\
How jobq exits:

  0   done
  1   failed
  2   wrong usage: an option, a name or a value that jobq does not take
  3   no such job, queue or schedule
  4   a job that was waited for or drained failed or was cancelled
 75   try again: the database is busy or full, and nothing was changed
124   timed out waiting
130   interrupted
141   the reader of the output has gone away, so the end of the job is unknown (wait, --follow)

With `jobq wait --exit-code` the exit code is that of the command that was waited for.
";

/// The text of `jobq help environment`.
pub(crate) const ENVIRONMENT: &str = "\
Environment variables:

  JOBQ_DB           the database, where --db does not say; an empty one counts as not set
  JOBQ_DURABILITY   full or normal, where --durability does not say
  XDG_STATE_HOME    its folder jobq/ holds the database that is used where nothing else is said;
                    ~/.local/state where it is not set
  XDG_CONFIG_HOME   its folder jobq/ holds the jobq.toml that is read where there is none in the
                    working directory; ~/.config where it is not set
  NO_COLOR          no colours, as with --color never
  RUST_LOG          what is logged on stderr, as env_logger reads it; wins over -v and -q

A command that runs as a job finds:

  JOBQ_DB, JOBQ_JOB_ID, JOBQ_ATTEMPT        its database, its job and which attempt it is
  JOBQ_IDEMPOTENCY_KEY                      the same in every attempt of its job
  JOBQ_PHASE=finalize                       all children of this parent have ended
  JOBQ_SCHEDULE, JOBQ_SLOT                  the schedule that enqueued it, and the slot it is for
  TRACEPARENT                               the trace it belongs to, if any: `jobq enqueue --traceparent`
  JOBQ_PERSISTENT=1, JOBQ_HANDLER           it is to stay for further jobs: see `jobq help persistent`
  JOBQ_HOOK, JOBQ_HOOK_JOB and so on        the end that its hook is for: `jobq help hooks`
";

/// The text of `jobq help hooks`.
pub(crate) const HOOKS: &str = "\
A hook enqueues a job when another one ends, in the same transaction: one job for each end, whatever
crashes. A job that is retried by hand ends once more. The hook's job has its own retries and log;
`jobq status ID` shows it with the job that it is for. A full queue takes it in. It fires no hooks, and
neither do its children, or a hook could go on for ever; what else it enqueues does.

A job's own hooks are fired whoever ends it:

  --on-success CMD   when it has completed
  --on-failure CMD   when it has failed for good
  --on-end CMD       when it has ended, however it did: completed, failed or cancelled

CMD is run by /bin/sh where the job was enqueued. In a batch and in jobq.toml: on_success, on_failure,
on_end, each with such a text, or with a command as a list of texts.

Hooks in jobq.toml are for all jobs that end in a runner with that file: also for a running job that is
cancelled, and for jobs that a runner cancels by their deadline, their parent or what they wait for. A job
that does not run and is cancelled by a command has not ended in a runner. `jobq help config` has their keys:

  [hooks.completed]  [hooks.failed]  [hooks.ended]
  [hooks.batch_done]   when a job with children has ended, however it did

The command of a hook finds:

  JOBQ_HOOK            completed, failed, ended or batch_done
  JOBQ_HOOK_JOB        the id of the job that has ended
  JOBQ_HOOK_KIND       its kind
  JOBQ_HOOK_QUEUE      its queue
  JOBQ_HOOK_STATE      completed, failed or cancelled
  JOBQ_HOOK_ERROR      its error, at most 1000 characters, if it has one
  JOBQ_HOOK_ATTEMPTS   the number of its latest attempt
  JOBQ_HOOK_TOTAL, JOBQ_HOOK_DONE, JOBQ_HOOK_FAILED
                       how many children it has, how many of them have completed, and how many have
                       failed or were cancelled

In the payload of a hook with a kind, {hook.job}, {hook.kind}, {hook.queue}, {hook.state}, {hook.error}
and {hook.attempts} in a text stand for these, and the text {hook} alone for all of them as JSON.
";

/// The text of `jobq help files`.
pub(crate) const FILES: &str = "\
Files:

  jobs.db                   the database, by whatever name [default: ~/.local/state/jobq/jobq.db]
  jobs.db-wal, jobs.db-shm  the newest part of it while it is in use; they belong to the database and
                            must not be removed or copied without it: use `jobq backup`
  jobs.db-runners/          a lock file for each runner that is alive
  jobs.db.before-restore    the database as it was before the last `jobq restore`
  ./jobq.toml               the config file of a project
  ~/.config/jobq/jobq.toml  the config file of a user
";

/// The text of `jobq help persistent`.
const PERSISTENT: &str = include_str!("../../handlers/exec/persistent/help.txt");

/// The text of `jobq help search`.
pub(crate) const SEARCH: &str = include_str!("../input/search.txt");

type Topic = (&'static str, &'static str);

/// The texts that do not depend on what is compiled in.
const TOPICS: [Topic; 7] = [
    ("exit-codes", EXIT_CODES),
    ("config", CONFIG),
    ("environment", ENVIRONMENT),
    ("files", FILES),
    ("hooks", HOOKS),
    ("persistent", PERSISTENT),
    ("search", SEARCH),
];

/// What there is help on besides commands: [`TOPICS`], and the kinds that are built in.
fn topics() -> impl Iterator<Item = Topic> {
    let kinds = BUILT_IN.iter().map(|kind| (kind.name, kind.help));
    TOPICS.into_iter().chain(kinds)
}

pub(crate) fn run(args: &HelpArgs, mut found: Command) -> CliResult {
    let mut out = anstream::stdout().lock();
    // A kind may have the name of a command.
    let topic = match &args.topic[..] {
        [kind, name] if kind == "kind" => {
            let kind = BuiltInKind::named(name).ok_or_else(|| no_help(&found, name))?;
            Some(kind.help)
        }
        [name] if found.find_subcommand(name).is_none() => {
            let mut topics = topics();
            topics.find(|topic| topic.0 == name).map(|topic| topic.1)
        }
        _ => None,
    };
    if let Some(text) = topic {
        out.write_all(text.as_bytes())?;
        return Ok(Exit::Done);
    }
    found.build();
    for word in &args.topic {
        let verb = found.find_subcommand(word).cloned();
        found = verb.ok_or_else(|| no_help(&found, word))?;
    }
    write!(out, "{}", found.render_long_help().ansi())?;
    Ok(Exit::Done)
}

fn no_help(command: &Command, word: &str) -> CliError {
    let names = command.get_subcommands().map(Command::get_name);
    let error = CliError::usage(format!("there is no help on '{word}'"));
    if let Some(how) = how_to_build(word) {
        return error.with_hint(how);
    }
    match nearest(word, names.chain(topics().map(|(name, _)| name))) {
        Some(name) => error.with_hint(format!("did you mean '{name}'?")),
        None => error.with_hint("`jobq help` lists the commands"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::input::config::Config;
    use crate::cli::verbs::Cli;
    use clap::CommandFactory;
    use jobq::api::unknown_key::UnknownKey;
    use std::path::Path;

    #[test]
    fn every_exit_code_of_the_contract_is_explained() {
        use Exit::*;
        for exit in [
            Done,
            Failed,
            Usage,
            NotFound,
            JobFailed,
            TryAgain,
            TimedOut,
            Interrupted,
        ] {
            let code = format!("{:>3}   ", exit.code());
            assert!(
                EXIT_CODES.lines().any(|line| line.starts_with(&code)),
                "{exit:?}"
            );
        }
    }

    #[test]
    fn an_unknown_topic_is_an_error_that_names_the_nearest() {
        let topic = vec!["enqeue".to_owned()];
        let error = run(&HelpArgs { topic }, Cli::command()).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert!(format!("{error:?}").contains("'enqueue'"));
    }

    /// The tables: the line that begins each, and the examples of its keys.
    fn tables() -> Vec<(&'static str, Vec<&'static str>)> {
        let mut tables = vec![("", Vec::new())];
        for line in CONFIG.lines().skip_while(|line| !line.starts_with('#')) {
            match line.chars().next() {
                Some('[') => tables.push((line, Vec::new())),
                Some('a'..='z') => tables.last_mut().unwrap().1.push(line),
                _ => {}
            }
        }
        tables
    }

    /// They are told once, at the table that has them for all jobs.
    fn job_options() -> impl Iterator<Item = &'static str> {
        const OWN: [&str; 3] = ["max_queue_size", "env", "output_limit"];
        let mut tables = tables().into_iter();
        let (_, examples) = tables.find(|(header, _)| *header == "[defaults]").unwrap();
        let names = examples.into_iter().map(named);
        names.filter(|name| !OWN.contains(name))
    }

    fn named(example: &str) -> &str {
        example.split(' ').next().unwrap()
    }

    /// What the table accepts, by what it says of a key that it does not know.
    fn accepted(header: &str) -> Vec<String> {
        let text = format!("{header}\nno_such_key = 1\n");
        let error = toml::from_str::<Config>(&text).unwrap_err();
        let message = error.message().to_owned();
        let unknown = UnknownKey::of(&message).unwrap();
        unknown.known().map(str::to_owned).collect()
    }

    #[test]
    fn every_key_that_is_accepted_is_in_the_reference_and_no_other() {
        let names = [
            "retention",
            "defaults",
            "kinds",
            "schedules",
            "queues",
            "secrets",
            "hooks",
        ];
        let of_all = |header: &str| {
            ["[kinds", "[sched", "[hooks"]
                .iter()
                .any(|of| header.starts_with(of))
        };
        for (header, examples) in tables() {
            let mut told: Vec<&str> = examples.into_iter().map(named).collect();
            let mut accepted = accepted(header);
            if of_all(header) {
                told.extend(job_options());
            }
            if header.is_empty() {
                accepted.retain(|key| !names.contains(&&**key));
            }
            told.sort_unstable();
            accepted.sort_unstable();
            assert_eq!(told, accepted, "{header}");
        }
        for name in names {
            let is_told = |header: &str| header.trim_start_matches('[').starts_with(name);
            assert!(tables().iter().any(|(header, _)| is_told(header)), "{name}");
        }
        assert_eq!(accepted("[kinds.k.retention]"), ["completed", "failed"]);
    }

    #[test]
    fn every_example_can_be_written() {
        for (header, examples) in tables() {
            for example in examples {
                // One way to say what the job is, of three.
                let around = match (header, named(example)) {
                    ("[schedules.nightly]", "cron") => "kind = 'k'",
                    ("[schedules.nightly]", _) => "cron = '@daily'",
                    ("[kinds.thumbnail]", "command" | "settings") => "",
                    ("[secrets.crm]", "cache") => "command = ['x']",
                    ("[secrets.crm]", "hosts" | "kinds") => "env = 'A'",
                    ("[kinds.thumbnail]", _) => "command = ['x']",
                    ("[defaults]", "key_limit") => "key = 'k'",
                    ("[defaults]", "unique_for" | "on_duplicate") => "unique_by_payload = true",
                    ("[defaults]", "unique") => "[kinds.k]",
                    _ => "",
                };
                let behind = match (header, named(example)) {
                    ("[kinds.thumbnail]", "secrets") => "[secrets]\ncrm = { env = 'A' }",
                    _ => "",
                };
                let text = format!("{header}\n{around}\n{example}\n{behind}\n");
                let read = Config::parse(&text, Path::new("jobq.toml"));
                assert!(read.is_ok(), "{text}: {:?}", read.err());
            }
        }
    }

    #[test]
    fn each_key_is_told_with_what_it_is_for_and_what_it_takes() {
        let lines: Vec<&str> = CONFIG.lines().collect();
        for (_, examples) in tables() {
            for example in examples {
                let equal = lines.iter().enumerate();
                for (at, _) in equal.filter(|(_, line)| **line == example) {
                    let comment = &lines[at + 1..=at + 2];
                    assert!(comment[0].ends_with('.'), "{example}");
                    let is_comment = |line: &&str| line.starts_with("    # ");
                    assert!(comment.iter().all(is_comment), "{example}");
                }
            }
        }
        assert!(lines.iter().all(|line| line.chars().count() <= 120));
    }
}
