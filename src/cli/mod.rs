//! The command line: `verbs` has a file for each command, `input` reads what is typed or written in
//! files, `render` shows records as tables or tab-separated fields.

mod args;
mod bulk;
mod clock;
mod exit;
mod history;
mod input;
mod render;
mod session;
mod signals;
mod top;
mod verbs;

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use exit::{CliError, CliResult};
use jobq::api::text::shell_word;
use render::screen::Screen;
use verbs::{Cli, Verb};

/// Runs the command line.
pub(crate) fn run(words: impl IntoIterator<Item = OsString>) -> CliResult {
    signals::outlive_file_limit()?;
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
    let ended = verbs::run(&cli, output, &screen);
    screen.flush();
    ended
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
    let has_each = words.iter().any(|word| word == "--each");
    let takes_command = |word: &OsString| {
        word == "enqueue" || word == "add" || word == "edit" || (word == "run" && has_each)
    };
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
    let unexpected = CliError::usage(format!("unexpected argument '{bare}'"));
    if words.iter().skip(at).any(|word| word == "--") {
        let rule = "put a cron rule in quotes: jobq schedule add NAME '0 2 * * *' -- CMD ARG…";
        return match verb.is_some_and(|verb| words[verb] == "add") {
            true => unexpected.with_hint(rule),
            false => error.into(),
        };
    }
    let typed = words.iter().map(|word| shell_word(&word.to_string_lossy()));
    let mut typed: Vec<String> = typed.collect();
    typed[0] = "jobq".to_owned();
    // The first word of the command was taken for the file of --each.
    let is_after_each =
        matches!(&words[..at], [.., each, file] if each == "--each" && !Path::new(file).exists());
    typed.insert(at - usize::from(is_after_each), "--".to_owned());
    unexpected.with_hint(format!("a command follows two dashes: {}", typed.join(" ")))
}
