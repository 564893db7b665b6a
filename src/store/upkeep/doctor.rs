//! The doctor: checks the file, and repairs derived data.

pub(crate) mod audit;
pub(crate) mod damage;

use std::path::Path;

use crate::Result;
use crate::model::plural::count;
use crate::model::remedy::{Finding, Severity};
use crate::model::state::State;
use crate::store::jobs::queues;
use crate::store::jobs::queues::{COUNTS_ALL, COUNTS_CLEAR, COUNTS_RECOUNT};
use crate::store::sqlite::connection::Access;
use crate::store::sqlite::error::ids_used_up;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::{Connection, RowResult, params, process_locks, tx};
use crate::store::upkeep::{fire, runners};

statements! {
    /// The references that the tables do not declare.
    cold ROWS_OF_NO_JOB = "SELECT 'jobq_payload' FROM jobq_payload WHERE job_id NOT IN (SELECT id FROM jobq_job)
        UNION ALL SELECT 'jobq_outcome' FROM jobq_outcome WHERE job_id NOT IN (SELECT id FROM jobq_job)
        UNION ALL SELECT 'jobq_progress' FROM jobq_progress WHERE job_id NOT IN (SELECT id FROM jobq_job)
        UNION ALL SELECT 'jobq_attempt' FROM jobq_attempt WHERE job_id NOT IN (SELECT id FROM jobq_job)
        UNION ALL SELECT 'jobq_log' FROM jobq_log WHERE job_id <> 0 AND job_id NOT IN (SELECT id FROM jobq_job)";
}

/// Checks the file's structure, its references and its counters. Changes nothing.
pub(crate) fn examine(conn: &Connection, access: Access) -> Result<Vec<Finding>> {
    type Examination = fn(&Connection) -> Result<Finding>;
    let mut looks: Vec<(&'static str, Examination)> = vec![
        ("integrity", integrity),
        ("rows", damaged_rows),
        ("references", references),
        ("counters", counters),
        ("rules", rules),
        ("limits", limits),
        ("schedules", schedules),
    ];
    // A file that is opened as immutable is read without its journal, whatever that is.
    if access != Access::Immutable {
        looks.push(("journal", journal));
    }
    let mut findings = Vec::with_capacity(looks.len());
    for (check, look) in looks {
        findings.push(match look(conn) {
            // One damaged row must not hide what the other checks would find.
            Err(error) if error.blames_data() => Finding {
                severity: Severity::Error,
                check,
                message: format!("it cannot be looked at: {error}"),
            },
            looked => looked?,
        });
    }
    Ok(findings)
}

/// A runner sets aside the jobs and queues that these belong to.
fn damaged_rows(conn: &Connection) -> Result<Finding> {
    let mut found = damage::find(conn)?;
    found.extend(ids_used_up(conn)?);
    let problem = (!found.is_empty()).then(|| (Severity::Error, found.join("; ")));
    Ok(finding(
        "rows",
        problem,
        "every column holds what it may hold",
    ))
}

fn finding(check: &'static str, problem: Option<(Severity, String)>, fine: &str) -> Finding {
    let (severity, message) = problem.unwrap_or((Severity::Ok, fine.to_owned()));
    Finding {
        severity,
        check,
        message,
    }
}

fn schedules(conn: &Connection) -> Result<Finding> {
    let unreadable = fire::unreadable_here(conn)?;
    let problem = unreadable.first().map(|(name, zone)| {
        let message = format!(
            "{} not fired on this machine, which does not know the time zone '{zone}' of '{name}'",
            match unreadable.len() {
                1 => "1 schedule is".to_owned(),
                schedules => format!("{schedules} schedules are"),
            }
        );
        (Severity::Warning, message)
    });
    Ok(finding(
        "schedules",
        problem,
        "the rule of every schedule can be read",
    ))
}

fn integrity(conn: &Connection) -> Result<Finding> {
    let mut statement = conn.prepare("PRAGMA integrity_check(20)")?;
    let lines: Vec<String> = statement
        .query_map([], |row| row.get(0))?
        .collect::<RowResult<_>>()?;
    let problem = (lines != ["ok"]).then(|| (Severity::Error, lines.join("; ")));
    Ok(finding(
        "integrity",
        problem,
        "the file's pages and indexes are sound",
    ))
}

fn references(conn: &Connection) -> Result<Finding> {
    let mut statement = conn.prepare("PRAGMA foreign_key_check")?;
    let mut tables: Vec<String> = statement
        .query_map([], |row| row.get(0))?
        .collect::<RowResult<_>>()?;
    let mut of_no_job = conn.prepare(ROWS_OF_NO_JOB)?;
    for table in of_no_job.query_map([], |row| row.get(0))? {
        tables.push(table?);
    }
    let problem = tables.first().map(|table| {
        (
            Severity::Error,
            format!(
                "{} without the row that it refers to, the first in {table}",
                count(tables.len() as u64, "row")
            ),
        )
    });
    Ok(finding(
        "references",
        problem,
        "every reference leads to a row",
    ))
}

fn counters(conn: &Connection) -> Result<Finding> {
    // One read transaction, or a job that moves between the two would count as a fault.
    let read = conn.unchecked_transaction()?;
    let kept = queues::table(&read, COUNTS_ALL)?;
    let counted = queues::table(&read, COUNTS_RECOUNT)?;
    let problem = (kept != counted).then(|| {
        (
            Severity::Error,
            format!("the state counters say {kept:?}, a recount says {counted:?}"),
        )
    });
    Ok(finding(
        "counters",
        problem,
        "the state counters equal a recount",
    ))
}

fn rules(conn: &Connection) -> Result<Finding> {
    let read = conn.unchecked_transaction()?;
    let faults = audit::faults(&read)?;
    let worst = faults.iter().map(|(severity, _)| *severity).max();
    let problem = worst.map(|worst| {
        let messages: Vec<String> = faults.into_iter().map(|(_, message)| message).collect();
        (worst, messages.join("; "))
    });
    Ok(finding(
        "rules",
        problem,
        "families, prerequisites and keys agree with the jobs",
    ))
}

/// More jobs may run than a queue's limit while those go on that were running when it was lowered.
fn limits(conn: &Connection) -> Result<Finding> {
    let mut over = Vec::new();
    for queue in queues::list(conn)? {
        let running = queue.counts.get(State::Running);
        let limit = queue.limits.concurrency.map(u64::from);
        if let Some(limit) = limit.filter(|limit| running > *limit) {
            over.push(format!(
                "queue '{}' runs {}, its limit is {limit}",
                queue.name,
                count(running, "job")
            ));
        }
    }
    let problem = (!over.is_empty()).then(|| {
        let message = format!(
            "{}: the limit was lowered, or was not kept",
            over.join("; ")
        );
        (Severity::Warning, message)
    });
    Ok(finding(
        "limits",
        problem,
        "no queue runs more jobs than its limit allows",
    ))
}

/// A runner that is alive has a lock file. A copy of the database has none, and its jobs stay with the runners
/// of the original until they are taken over.
pub(crate) fn locks(conn: &Connection, folder: &Path) -> Result<Finding> {
    let mut without = Vec::new();
    for runner in runners::alive(conn)? {
        if process_locks::has_lock_file(folder, &runner.name) {
            continue;
        }
        // Only now: one that ends lets go of its jobs before it removes its file.
        let jobs = runners::claims_of(conn, runner.id)?.len();
        if jobs > 0 {
            without.push(format!(
                "runner {} has no lock file and {}",
                runner.id,
                count(jobs as u64, "running job")
            ));
        }
    }
    let problem = (!without.is_empty()).then(|| {
        let message = format!(
            "{}; if its process is gone, the next runner takes over within a minute",
            without.join("; ")
        );
        (Severity::Warning, message)
    });
    Ok(finding(
        "locks",
        problem,
        "every runner that holds jobs has its lock file",
    ))
}

fn journal(conn: &Connection) -> Result<Finding> {
    let mode: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    let problem = (mode != "wal").then(|| {
        (
            Severity::Error,
            format!("the journal mode is '{mode}', not WAL"),
        )
    });
    Ok(finding(
        "journal",
        problem,
        "the journal is a write-ahead log",
    ))
}

/// Recounts the derived data.
pub(crate) fn recount(tx: &mut Tx<'_>) -> Result<()> {
    // The rows already include the pending counter changes of this transaction.
    tx.flush_counts()?;
    let counted = queues::table(tx.conn, COUNTS_RECOUNT)?;
    tx.conn.execute(COUNTS_CLEAR, [])?;
    for ((queue, state), jobs) in counted {
        tx.run(tx::COUNT_ADD, params![queue, state, jobs])?;
    }
    audit::repair(tx)
}
