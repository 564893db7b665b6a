//! `jobq serve`: the browser page and the HTTP API.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use clap::Args;
use jobq::web::{ListenAddress, Server, ServerHandle};
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::exit::{CliResult, Exit};
use crate::cli::input::origin::Origin;
use crate::cli::session::Session;
use crate::cli::signals::is_ignored;
use crate::cli::verbs::run::service;

#[derive(Debug, Args)]
#[command(after_help = "\
Whoever has the address that is printed can do what the page does: it holds the token. There is no TLS; from another
machine use `ssh -L 8787:127.0.0.1:8787 HOST`, or put a proxy with TLS in front.

Examples:
  jobq serve --open
  jobq serve --listen 127.0.0.1:0 --json     a free port, for a program
  jobq serve --listen unix:/run/jobq.sock --read-only")]
pub(crate) struct ServeArgs {
    /// Where to listen: ADDR:PORT, port 0 for a free one, or unix:PATH
    #[arg(long, value_name = "ADDR:PORT|unix:PATH", default_value = "127.0.0.1:8787", value_parser = address)]
    pub(crate) listen: ListenAddress,
    /// Show everything and change nothing
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Open the page in the browser
    #[arg(long)]
    pub(crate) open: bool,
    #[command(flatten)]
    pub(crate) access: ServerAccessArgs,
}

// Who may use a server, and what for.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ServerAccessArgs {
    /// Take commands to run (kind exec) over HTTP: whoever has the token can run any program
    #[arg(long)]
    pub(crate) allow_exec: bool,
    /// Listen on an address that other machines reach; needs --token-file
    #[arg(long)]
    pub(crate) allow_remote: bool,
    /// Answer to this host name as well; may be given more than once
    #[arg(long = "allow-host", value_name = "NAME")]
    pub(crate) allow_hosts: Vec<String>,
    /// The tokens: a line each, TOKEN or TOKEN tenant=NAME read-only
    #[arg(long, value_name = "FILE", conflicts_with = "no_token")]
    pub(crate) token_file: Option<PathBuf>,
    /// Ask for no token: every user of this machine can do what the page does
    #[arg(long)]
    pub(crate) no_token: bool,
}

pub(crate) fn address(text: &str) -> Result<ListenAddress, String> {
    text.parse()
        .map_err(|error: jobq::Error| match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        })
}

#[derive(Serialize)]
struct ServingJson<'a> {
    url: &'a str,
    token: Option<&'a str>,
}

pub(crate) fn run(args: &ServeArgs, session: &Session) -> CliResult {
    session.sync_limits()?;
    // Caught before anybody can know that it listens.
    let ends = [SIGINT, SIGTERM, SIGHUP]
        .into_iter()
        .filter(|signal| !is_ignored(*signal));
    let mut signals = Signals::new(ends)?;
    let mut server = server(&args.access, session)?.listen(args.listen.clone());
    if args.read_only {
        server = server.read_only();
    }
    let server = server.start()?;
    let answer = ServingJson {
        url: server.url(),
        token: server.token(),
    };
    session.output.line(&answer, server.url())?;
    service::ready();
    let page = match args.open {
        true => open(&server, session)?,
        false => None,
    };
    let _ended_by = signals.forever().next();
    service::stopping();
    server.stop();
    drop(page);
    Ok(Exit::Done)
}

/// A server for the queue of the session. Its jobs get the defaults of the config file.
pub(crate) fn server(args: &ServerAccessArgs, session: &Session) -> CliResult<Server> {
    let origin = Origin::here(Arc::clone(&session.config))?;
    let mut server = Server::new(session.queue()?)
        .make_jobs_with(move |request| origin.job(request).map_err(|error| error.into_invalid()));
    if args.allow_exec {
        server = server.allow_exec();
    }
    if args.allow_remote {
        server = server.allow_remote();
    }
    for name in &args.allow_hosts {
        server = server.allow_host(name);
    }
    if let Some(path) = &args.token_file {
        server = server.token_file(path);
    }
    if args.no_token {
        session
            .screen
            .hint("no token is asked for: every user of this machine can do what the page does");
        server = server.no_token();
    }
    Ok(server)
}

/// A page that leads to the server; removed when it is dropped.
struct LeadingPage(PathBuf);

impl Drop for LeadingPage {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Opens the browser. The token is in a file for this user, and not in the arguments of a process, which everybody
/// can read.
fn open(server: &ServerHandle, session: &Session) -> CliResult<Option<LeadingPage>> {
    if !server.url().starts_with("http://") {
        session.screen.hint(
            "a browser cannot open a socket of the file system: --open needs an address and a port",
        );
        return Ok(None);
    }
    let path = std::env::temp_dir().join(format!("jobq-{}.html", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    let page = LeadingPage(path);
    writeln!(
        file,
        "<!doctype html><meta http-equiv=\"refresh\" content=\"0; url={}\">",
        server.url()
    )?;
    let opener = Command::new("xdg-open")
        .arg(&page.0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Err(error) = opener {
        session.screen.hint(format_args!(
            "the browser cannot be opened (xdg-open: {error}): open the address yourself"
        ));
    }
    Ok(Some(page))
}
