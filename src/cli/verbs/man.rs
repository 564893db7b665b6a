//! `jobq man`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Arg, Args, Command};
use clap_mangen::Man;

use crate::cli::exit::{CliError, CliResult, Exit};
use crate::cli::verbs::help::{CONFIG, ENVIRONMENT, EXIT_CODES, FILES, SEARCH};

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this folder instead
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
}

pub(crate) fn run(args: &ManArgs, command: Command) -> CliResult {
    match &args.dir {
        Some(folder) => write_pages(folder, command)?,
        None => io::stdout().lock().write_all(&whole_page(command)?)?,
    }
    Ok(Exit::Done)
}

/// A page for each command: `jobq.1`, `jobq-enqueue.1`.
fn write_pages(folder: &Path, command: Command) -> CliResult<()> {
    let failed = |error: io::Error| CliError::io(folder.display(), &error);
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(command, folder).map_err(failed)
}

/// One page with all commands on it. The global options are said once, at its top.
fn whole_page(mut command: Command) -> CliResult<Vec<u8>> {
    command.build();
    let mut parts = Vec::new();
    for verb in command.get_subcommands() {
        add_part(&mut parts, "jobq", verb)?;
    }
    // What the short help leaves out belongs here.
    command = command.mut_args(|arg| arg.hide_short_help(false));
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    page.extend(parts);
    for (title, text) in [
        ("SEARCH", SEARCH),
        ("CONFIGURATION", CONFIG),
        ("ENVIRONMENT", ENVIRONMENT),
        ("FILES", FILES),
        ("EXIT STATUS", EXIT_CODES),
    ] {
        add_text(&mut page, title, text)?;
    }
    Ok(page)
}

/// A section whose lines stay as they are.
fn add_text(page: &mut Vec<u8>, title: &str, text: &str) -> CliResult<()> {
    writeln!(page, ".SH \"{title}\"\n.nf")?;
    for line in text.lines() {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        // A line that begins so would be an order to the formatter.
        let guard = if line.starts_with(['.', '\'']) {
            "\\&"
        } else {
            ""
        };
        writeln!(page, "{guard}{line}")?;
    }
    Ok(writeln!(page, ".fi")?)
}

/// A command as a section, with its own sections one step lower; after it those of its commands.
fn add_part(page: &mut Vec<u8>, above: &str, verb: &Command) -> CliResult<()> {
    if verb.is_hide_set() {
        return Ok(());
    }
    let name = format!("{above} {}", verb.get_name());
    let is_said_at_the_top = |arg: &Arg| arg.is_global_set() || arg.get_id() == "help";
    let own = verb.clone().bin_name(name.clone()).mut_args(|arg| {
        let hide = arg.is_hide_set() || is_said_at_the_top(&arg);
        arg.hide(hide)
    });
    let has_options = own.get_arguments().any(|arg| !arg.is_hide_set());
    let man = Man::new(own);
    let mut rendered = Vec::new();
    man.render_synopsis_section(&mut rendered)?;
    man.render_description_section(&mut rendered)?;
    if has_options {
        man.render_options_section(&mut rendered)?;
    }
    writeln!(page, ".SH \"{}\"", name.to_uppercase())?;
    for line in String::from_utf8_lossy(&rendered).lines() {
        // What sets the page up has been said at its top.
        if line.starts_with(".ie ") || line.starts_with(".el ") {
            continue;
        }
        match line.strip_prefix(".SH ") {
            Some(title) => writeln!(page, ".SS {title}")?,
            None => writeln!(page, "{line}")?,
        }
    }
    verb.get_subcommands()
        .try_for_each(|below| add_part(page, &name, below))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::verbs::Cli;

    #[test]
    fn the_page_has_every_command_and_the_exit_codes() {
        let page = String::from_utf8(whole_page(Cli::command()).unwrap()).unwrap();
        assert_eq!(page.matches(".TH ").count(), 1);
        for section in [
            "\"JOBQ WHY\"",
            "\"JOBQ QUEUE LIST\"",
            "\"CONFIGURATION\"",
            "\"ENVIRONMENT\"",
            "\"FILES\"",
            "\"EXIT STATUS\"",
        ] {
            assert!(page.contains(&format!(".SH {section}\n")), "{section}");
        }
        assert_eq!(page.matches("\\-\\-json\\fR\n").count(), 1);
    }
}
