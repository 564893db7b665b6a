//! The command line: one file for each verb, `args` for what can be typed, `output` for how it shows.

mod args;
mod backup;
mod batch;
mod bench;
mod cancel;
mod clock;
mod completions;
mod config;
mod doctor;
mod each;
mod edit;
mod enqueue;
mod enqueued;
mod environ;
mod events;
mod exit;
mod gone;
mod help;
mod in_full;
mod interrupt;
mod limits;
mod lines;
mod list;
mod logs;
mod man;
mod mode;
mod nearest;
mod options;
mod origin;
mod output;
mod overview;
mod parse;
mod pause;
mod prune;
mod queue;
mod reader_gone;
mod remove;
mod report;
mod restore;
mod retry;
mod run;
mod schedule;
mod screen;
mod session;
mod signal;
mod status;
mod wait;
mod what;
mod why;
mod wording;

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};

use args::{Cli, Verb};
use exit::{CliError, CliResult};
use output::Output;
use screen::Screen;
use session::Session;

/// Does what was typed.
pub(crate) fn run(words: impl IntoIterator<Item = OsString>) -> CliResult {
    signal::outlive_file_limit()?;
    let words: Vec<OsString> = words.into_iter().collect();
    let cli = parse_words(words.clone()).map_err(|error| usage_error(error, &words))?;
    let output = session::decide_output(&cli.global);
    let mut screen = Screen::new(cli.global.quiet);
    if matches!(cli.verb, Verb::Run(_)) {
        screen = screen.in_background();
    }
    let has_log = matches!(cli.verb, Verb::Run(_)) || std::env::var_os("RUST_LOG").is_some();
    if has_log || cli.global.verbose > 0 {
        screen.take_logs(cli.global.verbose);
    }
    let ended = run_verb(&cli, output, &screen);
    screen.flush();
    ended
}

fn run_verb(cli: &Cli, output: Output, screen: &Screen) -> CliResult {
    let session = || Session::new(cli, output, screen.clone());
    match &cli.verb {
        Verb::Enqueue(args) => {
            let session = session()?.keeping_short_log();
            let ended = enqueue::run(args, &session);
            session.leave_to_the_system();
            ended
        }
        Verb::Run(args) => run::run(args, &session()?),
        Verb::Status(args) => status::run(args, &session()?),
        Verb::List(args) => list::run(args, &session()?),
        Verb::Logs(args) => logs::run(args, &session()?),
        Verb::Wait(args) => wait::run(args, &session()?),
        Verb::Why(args) => why::run(args, &session()?),
        Verb::Events(args) => events::run(args, &session()?),
        Verb::Cancel(args) => cancel::run(args, &session()?),
        Verb::Retry(args) => retry::run(args, &session()?),
        Verb::Edit(args) => edit::run(args, &session()?),
        Verb::Remove(args) => remove::run(args, &session()?),
        Verb::Pause(args) => pause::pause(args, &session()?),
        Verb::Resume(args) => pause::resume(args, &session()?),
        Verb::Queue(args) => queue::run(args, &session()?),
        Verb::Schedule(args) => schedule::run(args, &session()?),
        Verb::Prune(args) => prune::run(args, &session()?),
        Verb::Backup(args) => backup::run(args, &session()?),
        Verb::Restore(args) => restore::run(args, &session()?),
        Verb::Doctor(args) => doctor::run(args, &session()?),
        Verb::Bench(args) => bench::run(args, &session()?),
        Verb::Progress(args) => report::progress(args, &session()?),
        Verb::Log(args) => report::log(args, &session()?),
        Verb::Result(args) => report::result(args, &session()?),
        Verb::Completions(args) => completions::run(args),
        Verb::Man(args) => man::run(args),
        Verb::Help(args) => help::run(args),
    }
}

/// clap takes what the environment says for typed, and would show it in the usage after an error.
fn parse_words(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    Cli::try_parse_from(&words).map_err(|error| {
        if let DisplayHelp | DisplayHelpOnMissingArgumentOrSubcommand | DisplayVersion =
            error.kind()
        {
            return error;
        }
        let bare = Cli::command().mut_args(|arg| arg.env(None::<&str>));
        bare.try_get_matches_from(words).err().unwrap_or(error)
    })
}

/// A command that stands where options do is not one of them: it follows two dashes.
fn usage_error(error: clap::Error, words: &[OsString]) -> CliError {
    let takes_command = |word: &OsString| word == "enqueue" || word == "add" || word == "edit";
    let bare = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) if error.kind() == ErrorKind::UnknownArgument => word,
        _ => return error.into(),
    };
    let verb = words.iter().position(takes_command);
    let at = verb.and_then(|verb| {
        let after = words.iter().enumerate().skip(verb + 1);
        let mut found = after.filter(|(_, word)| word.to_str() == Some(bare));
        found.next().map(|(at, _)| at)
    });
    let Some(at) = at.filter(|_| !bare.starts_with('-')) else {
        return error.into();
    };
    let typed = words.iter().map(|word| why::word(&word.to_string_lossy()));
    let mut typed: Vec<String> = typed.collect();
    typed[0] = "jobq".to_owned();
    typed.insert(at, "--".to_owned());
    CliError::usage(format!("unexpected argument '{bare}'"))
        .with_hint(format!("a command follows two dashes: {}", typed.join(" ")))
}
