//! `jobq doctor`.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::Path;

use clap::Args;
#[cfg(feature = "email")]
use jobq::Job;
use jobq::api::json::{json_fields, write_line};
use jobq::api::runner::gone_runner_text;
use jobq::api::text::{bytes, count};
#[cfg(feature = "email")]
use jobq::handlers::built_in::BuiltIn;
#[cfg(feature = "email")]
use jobq::handlers::email::Email;
use jobq::handlers::secrets::Secrets;
use jobq::mask::MIN_MASKED_BYTES;
use jobq::{Counts, Filter, Finding, Queue, RunnerFilter, RunnerRecord, Severity, Sort, State};

use crate::cli::exit::{CliError, CliResult, Exit};
#[cfg(feature = "email")]
use crate::cli::input::config::Config;
use crate::cli::input::declared;
use crate::cli::render::style::Look;
use crate::cli::render::text::for_tabs;
use crate::cli::render::{Format, Output};
use crate::cli::session::Session;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Repair derived data: recount the jobs, rebuild the rows of their rules
    #[arg(long)]
    pub(crate) fix: bool,
    /// Connect to the servers of the kind email and log in, without sending anything
    #[cfg(feature = "email")]
    #[arg(long)]
    pub(crate) mail: bool,
}

/// Jobs that no runner can run stay behind, so only this number of the oldest is looked at.
const OLDEST: usize = 1000;

/// Less free space than this is worth a warning.
const LITTLE_SPACE_BYTES: u64 = 256 << 20;

/// A log this long says that some reader does not let go of an old state of the file.
const LONG_LOG_BYTES: u64 = 256 << 20;

json_fields! {
    pub(crate) FindingJson(finding: &'a Finding) {
        check: finding.check,
        severity: finding.severity,
        message: finding.message,
    }
}

pub(crate) fn run(args: &DoctorArgs, session: &Session) -> CliResult {
    let queue = session.queue().map_err(with_remedy)?;
    if args.fix {
        let repaired = queue.repair().map_err(with_remedy)?;
        session.screen.say("repaired what can be repaired");
        if repaired.stray_files > 0 {
            session.screen.say(format_args!(
                "{} removed",
                count(repaired.stray_files as u64, "stray file")
            ));
        }
    }
    let mut findings = queue.check().map_err(with_remedy)?;
    for finding in findings
        .iter_mut()
        .filter(|finding| finding.is_repairable())
    {
        finding.message.push_str("; `jobq doctor --fix` repairs it");
    }
    findings.extend(on_disk(&queue.path()));
    findings.extend(on_runners(&queue)?);
    let schedules = queue.schedules()?;
    let lost = schedules.iter().filter_map(declared::lost);
    findings.extend(lost.map(|lost| warning("schedules", lost)));
    findings.extend(on_secrets(&session.config.secrets));
    #[cfg(feature = "email")]
    if args.mail {
        findings.extend(on_mail(&session.config)?);
    }
    write(&session.output, &findings)?;
    let broken = findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    Ok(if broken { Exit::Failed } else { Exit::Done })
}

/// What to do about a file that cannot even be examined.
fn with_remedy(error: jobq::Error) -> CliError {
    let (foreign, corrupt) = (error.is_not_a_database(), error.is_corrupt());
    let error = CliError::from(error);
    if corrupt {
        error.with_hint("jobq restore BACKUP, or save what can be read: sqlite3 FILE .recover")
    } else if foreign {
        error.with_hint(
            "it is some other file: name the right one with --db, or `jobq restore BACKUP`",
        )
    } else {
        error
    }
}

fn write(output: &Output, findings: &[Finding]) -> CliResult<()> {
    let mut out = output.stdout();
    for finding in findings {
        let Finding {
            severity,
            check,
            message,
        } = finding;
        let look = Look::of_severity(*severity);
        match output.format {
            Format::Json => write_line(&mut out, &FindingJson(finding))?,
            Format::Tabs => {
                let message = for_tabs(message);
                writeln!(out, "{check}\t{}\t{message}", word(*severity))?;
            }
            Format::Table => {
                let mark = output.paint(look, mark(*severity));
                let check = output.paint(Look::Dim, format!("{check:<10}"));
                writeln!(out, "{mark} {check}  {message}")?;
            }
        }
    }
    Ok(out.flush()?)
}

/// Whether the secrets can be read from where the command is given: a runner may have another environment.
fn on_secrets(secrets: &Secrets) -> Vec<Finding> {
    let (mut good, mut findings) = (0, Vec::new());
    for name in secrets.names() {
        match secrets.read(name) {
            Ok(secret) => {
                good += 1;
                if secret.reveal().len() < MIN_MASKED_BYTES {
                    findings.push(warning(
                        "secrets",
                        format!("the secret '{name}' is shorter than {MIN_MASKED_BYTES} bytes: it is not masked"),
                    ));
                }
            }
            Err(failure) => findings.push(warning("secrets", format!("{failure} (from here)"))),
        }
    }
    if good > 0 {
        let secrets = count(good, "secret");
        findings.insert(
            0,
            fine("secrets", format!("{secrets} can be read from here")),
        );
    }
    findings
}

/// Whether the servers for mail let the runners in.
#[cfg(feature = "email")]
fn on_mail(config: &Config) -> CliResult<Vec<Finding>> {
    let (settings, folder) = config.built_in_settings(Email::KIND);
    let handler = BuiltIn::<Email>::from_config(&settings, folder)
        .map_err(|error| config.refused(error.into()))?;
    let servers = &handler.settings().servers;
    if servers.is_empty() {
        let none = "jobq.toml has no [kinds.email.settings.servers.…]";
        return Ok(vec![warning("mail", none)]);
    }
    let tried = servers
        .iter()
        .map(|(name, server)| match server.try_login(&config.secrets) {
            Ok(()) => fine(
                "mail",
                format!("server {name}: {} can be used from here", server.host),
            ),
            Err(error) => Finding {
                severity: Severity::Error,
                ..fine("mail", format!("server {name}: {error} (from here)"))
            },
        });
    Ok(tried.collect())
}

fn mark(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "✓",
        Severity::Warning => "!",
        Severity::Error => "✗",
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "ok",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

fn fine(check: &'static str, message: impl Into<String>) -> Finding {
    Finding {
        severity: Severity::Ok,
        check,
        message: message.into(),
    }
}

fn warning(check: &'static str, message: impl Into<String>) -> Finding {
    Finding {
        severity: Severity::Warning,
        ..fine(check, message)
    }
}

/// The file as the operating system sees it.
fn on_disk(path: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let (file, log) = (size(path), size(Path::new(&log)));
    let sizes = format!("{}, and its log {}", bytes(file), bytes(log));
    findings.push(if log < LONG_LOG_BYTES {
        fine("size", format!("the file has {sizes}"))
    } else {
        warning(
            "size",
            format!("the file has {sizes}: some process has been reading for long; end it"),
        )
    });
    findings.extend(mode(path));
    if let Ok(disk) = rustix::fs::statvfs(path) {
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let message = format!("{} are free on its disk", bytes(free));
        findings.push(if free < LITTLE_SPACE_BYTES {
            warning(
                "space",
                format!("only {message}; `jobq prune` removes old jobs"),
            )
        } else {
            fine("space", message)
        });
    }
    findings
}

/// Payloads may hold secrets.
fn mode(path: &Path) -> Option<Finding> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    Some(if mode & 0o077 == 0 {
        fine("mode", "only its owner can read the file")
    } else {
        warning(
            "mode",
            format!(
                "others can read the file (its mode is {mode:04o}); `chmod 600 {}` ends that",
                path.display()
            ),
        )
    })
}

/// Whether there are runners for the jobs that are pending.
fn on_runners(queue: &Queue) -> CliResult<Vec<Finding>> {
    let runners = queue.runners(RunnerFilter::Now)?;
    let oldest = Filter {
        states: vec![State::Pending],
        sort: Sort::Oldest,
        limit: Some(OLDEST),
        ..Filter::default()
    };
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    queue.for_each(&oldest, |job| {
        *kinds.entry(job.kind).or_default() += 1;
        Ok(())
    })?;
    Ok(judge(&runners, &queue.counts()?, &kinds))
}

fn judge(
    runners: &[RunnerRecord],
    counts: &Counts,
    pending_kinds: &BTreeMap<String, u64>,
) -> Vec<Finding> {
    let (runners, gone): (Vec<_>, Vec<_>) = runners.iter().partition(|runner| runner.is_alive());
    let left = gone.iter().map(|runner| runner.jobs.len() as u64);
    let waiting = counts.get(State::Pending) + counts.get(State::Scheduled) + left.sum::<u64>();
    let told = gone
        .iter()
        .map(|runner| warning("runners", gone_runner_text(runner)));
    let mut findings: Vec<Finding> = told.collect();
    if runners.is_empty() {
        findings.push(match waiting {
            0 => fine("runners", "no runner is active, and no job waits for one"),
            jobs => warning(
                "runners",
                format!(
                    "no runner is active, but {} {} for one; start one with `jobq run`",
                    count(jobs, "job"),
                    if jobs == 1 { "waits" } else { "wait" }
                ),
            ),
        });
        return findings;
    }
    let are = if runners.len() == 1 { "is" } else { "are" };
    let alive = format!("{} {are} active", count(runners.len() as u64, "runner"));
    findings.push(fine("runners", alive));
    let short = runners.iter().filter_map(|runner| {
        let reason = runner.short_of.as_ref()?;
        let message = format!("runner {} takes fewer jobs at a time: {reason}", runner.id);
        Some(warning("runners", message))
    });
    findings.extend(short);
    let known: HashSet<&String> = runners.iter().flat_map(|runner| &runner.kinds).collect();
    let orphans: Vec<String> = pending_kinds
        .iter()
        .filter(|(kind, _)| !known.contains(kind))
        .map(|(kind, jobs)| format!("'{kind}' ({})", count(*jobs, "job")))
        .collect();
    findings.push(if orphans.is_empty() {
        fine(
            "handlers",
            "every kind that is pending has a handler in some runner",
        )
    } else {
        warning(
            "handlers",
            format!("no runner has a handler for {}", orphans.join(", ")),
        )
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_without_any_runner_are_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(folder.path().join("jobs.db")).unwrap();
        let found = || on_runners(&queue).unwrap().remove(0);
        assert_eq!(found().severity, Severity::Ok);
        queue.enqueue(jobq::NewJob::new("resize")).unwrap();
        assert_eq!(found().severity, Severity::Warning);
        assert!(
            found().message.contains("1 job waits"),
            "{}",
            found().message
        );
    }

    #[test]
    fn a_file_that_others_can_read_is_a_warning() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        std::fs::write(&path, "").unwrap();
        for (bits, severity) in [(0o600, Severity::Ok), (0o644, Severity::Warning)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(bits)).unwrap();
            assert_eq!(mode(&path).unwrap().severity, severity, "{bits:o}");
        }
    }
}
