//! Dependencies: edges from a prerequisite to the job that needs it.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use crate::error::{Kind, Of};
use crate::model::family::{PrerequisiteRule, Release, Stage};
use crate::model::flags::JobFlags;
use crate::model::id::JobId;
use crate::model::part::Part;
use crate::model::remedy::Remedy;
use crate::model::state::State;
use crate::store::jobs::families::ValidatedParent;
use crate::store::jobs::job_row::{JobRow, OUTCOME_SET_ERROR};
use crate::store::jobs::validate::Rules;
use crate::store::jobs::{cancel, families, job_row, release, unique};
use crate::store::sqlite::statement::{statements, text};
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::{Connection, params};
use crate::{Error, Result};

statements! {
    /// A job without unmet prerequisites and without children waits for no job.
    hot PREREQUISITE = "SELECT state, parent_id, unmet > 0 OR links & 2 FROM jobq_job WHERE id = ?1";
    hot EDGE_INSERT = "INSERT INTO jobq_prerequisite (needs_id, job_id, rule, attempt, met) VALUES (?1, ?2, ?3, ?4, ?5)";
    /// A range of the primary key: the jobs that wait for one by some of the rules.
    hot EDGES_FROM = "SELECT job_id, rule FROM jobq_prerequisite
        WHERE needs_id = ?1 AND rule BETWEEN ?2 AND ?3 AND met = 0";
    hot EDGE_MEET_IF_UNMET = "UPDATE jobq_prerequisite SET met = 1
        WHERE needs_id = ?1 AND rule = ?2 AND job_id = ?3 AND met = 0";
    hot JOB_MEET_IF_BLOCKED = "UPDATE jobq_job SET unmet = unmet - 1 WHERE id = ?1 AND state = 1 AND unmet > 0
        RETURNING unmet";
    /// What waits for a job or did, by rules about its end.
    hot EDGES_FOR_END = "SELECT job_id, rule, met FROM jobq_prerequisite WHERE needs_id = ?1 AND rule BETWEEN ?2 AND ?3";
    hot EDGES_OF = "SELECT needs_id, rule, attempt, met FROM jobq_prerequisite WHERE job_id = ?1";
    hot EDGE_UNMEET_IF_MET = "UPDATE jobq_prerequisite SET met = 0
        WHERE needs_id = ?1 AND rule = ?2 AND job_id = ?3 AND met = 1";
    hot JOB_SET_UNMET = "UPDATE jobq_job SET unmet = ?2 WHERE id = ?1";
    /// A range of the primary key: those that need a job to complete, were not released by it, and
    /// are cancelled. Each with its reason: it may have been cancelled by hand.
    hot CANCELLED_THAT_NEED = "SELECT p.job_id, o.error FROM jobq_prerequisite p
        CROSS JOIN jobq_job j ON j.id = p.job_id
        CROSS JOIN jobq_outcome o ON o.job_id = p.job_id
        WHERE p.needs_id = ?1 AND p.rule = 0 AND p.met = 0 AND j.state = 7 AND o.error IS NOT NULL";
}

/// The first and the last rule of a range, in the order of their codes.
type RuleRange = (PrerequisiteRule, PrerequisiteRule);

const ANY_RULE: RuleRange = (PrerequisiteRule::Completed, PrerequisiteRule::RunPhase);
const FOR_THE_END: RuleRange = (PrerequisiteRule::Completed, PrerequisiteRule::Final);
const FOR_AN_ATTEMPT: RuleRange = (PrerequisiteRule::Spawned, PrerequisiteRule::Spawned);
const FOR_THE_OWN_PART: RuleRange = (PrerequisiteRule::Spawned, PrerequisiteRule::RunPhase);

/// An edge of a new job.
pub(crate) struct Edge {
    needs: JobId,
    rule: PrerequisiteRule,
    attempt: Option<u32>,
    pub(crate) met: bool,
    /// Why the job can never run: its prerequisite has already ended otherwise.
    pub(crate) unsatisfiable: Option<String>,
}

/// The edges of a new job; unknown prerequisites and cycles are errors.
pub(crate) fn edges(
    tx: &mut Tx<'_>,
    rules: &Rules,
    new_parent: Option<&ValidatedParent>,
) -> Result<Vec<Edge>> {
    let mut edges = Vec::with_capacity(rules.prerequisites.len());
    let mut outside = HashSet::new();
    for (needs, rule) in &rules.prerequisites {
        let needed = Needed::find(tx, *needs)?;
        let edge = needed.edge(*needs, *rule);
        if !edge.met && new_parent.is_some_and(|new_parent| needed.may_wait_for(*needs, new_parent))
        {
            outside.insert(*needs);
        }
        edges.push(edge);
    }
    let Some(new_parent) = new_parent else {
        // No job waits for one that does not exist yet: without a parent it closes no circle.
        return Ok(edges);
    };
    if !outside.is_empty()
        && let Some(job) = held_up_by(tx, (new_parent.parent, HeldUp::End), &outside)?
    {
        return Err(cycle(job, new_parent.parent));
    }
    if let Some(held) = &new_parent.held_by {
        edges.push(Edge {
            needs: held.job,
            rule: held.rule,
            attempt: held.attempt,
            met: false,
            unsatisfiable: None,
        });
    }
    if let Some(spawner) = &new_parent.spawned_by {
        if edges.iter().any(|edge| edge.needs == spawner.job) {
            return Err(Error::invalid(format!(
                "an attempt of job {} spawns the job, which waits for that attempt already",
                spawner.job
            ))
            .with_hint("leave out the prerequisite"));
        }
        edges.push(Edge {
            needs: spawner.job,
            rule: PrerequisiteRule::Spawned,
            attempt: Some(spawner.attempt),
            met: false,
            unsatisfiable: None,
        });
    }
    Ok(edges)
}

/// A prerequisite of a new job.
struct Needed {
    state: State,
    parent: Option<JobId>,
    /// For its own prerequisites, or for its children.
    waits: bool,
}

impl Needed {
    fn find(tx: &Tx<'_>, id: JobId) -> Result<Needed> {
        let found: Option<(i64, Option<i64>, bool)> = tx.optional(PREREQUISITE, [id.0], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        let needed = found.and_then(|(state, parent, waits)| {
            Some(Needed {
                state: State::from_code(state)?,
                parent: parent.map(JobId),
                waits,
            })
        });
        needed.ok_or_else(|| {
            Error::not_found(format!("there is no job {id} to wait for"))
                .with_hint("it may have been removed")
                .with_remedy(Remedy::ListJobs)
        })
    }

    fn edge(&self, needs: JobId, rule: PrerequisiteRule) -> Edge {
        let state = self.state;
        let release = state.is_final().then(|| rule.on_end(state));
        Edge {
            needs,
            rule,
            attempt: None,
            met: release == Some(Release::Met),
            unsatisfiable: (release == Some(Release::Cancel)).then(|| unsatisfiable(needs, state)),
        }
    }

    /// Whether it may wait for the new job's parent. A sibling does not: it was checked when it was added.
    fn may_wait_for(&self, id: JobId, new_parent: &ValidatedParent) -> bool {
        id == new_parent.parent || (self.waits && self.parent != Some(new_parent.parent))
    }
}

fn unsatisfiable(needs: JobId, state: State) -> String {
    let verb = if state == State::Failed {
        "failed"
    } else {
        "was cancelled"
    };
    format!("{} {verb}", reason(needs))
}

/// The beginning of the reason with which a dependent job is cancelled.
pub(crate) fn reason(needs: JobId) -> String {
    format!("job {needs}, which it waits for,")
}

/// The part of a job that cannot come before the new one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum HeldUp {
    /// Its end. Its run phase may be done, and jobs that wait only for that part run.
    End,
    /// Its beginning, and with it everything that waits for any part of it.
    Beginning,
}

/// A child that waits for its parent, or for a job that waits for that parent, would wait forever.
fn cycle(job: JobId, parent: JobId) -> Error {
    let why = match job == parent {
        true => ", which is its parent: a cycle, neither would ever run",
        false => ", which waits for its parent: a cycle, neither would ever run",
    };
    Error::because_of(Kind::Invalid, ("the job would wait for ", job, why))
        .with_hint("leave out the prerequisite or the parent")
}

/// The first of `among` that cannot come before a part of a job, itself included. Searches upwards: jobs
/// that wait for its end or for any part of it. A parent's other children wait only for its run phase.
fn held_up_by(tx: &Tx<'_>, from: (JobId, HeldUp), among: &HashSet<JobId>) -> Result<Option<JobId>> {
    let mut seen = HashMap::from([from]);
    let mut waiting = VecDeque::from([from]);
    while let Some((job, held)) = waiting.pop_front() {
        if among.contains(&job) {
            return Ok(Some(job));
        }
        let rules = match held {
            HeldUp::End => FOR_THE_END,
            HeldUp::Beginning => ANY_RULE,
        };
        let waiting_for = unmet_from(tx, job, rules)?.into_iter();
        let mut found: Vec<(JobId, HeldUp)> = waiting_for
            .map(|(waits, _)| (waits, HeldUp::Beginning))
            .collect();
        found.extend(parent_of(tx, job)?.map(|parent| (parent, HeldUp::End)));
        for (job, held) in found {
            if seen.get(&job).is_none_or(|seen| *seen < held) {
                seen.insert(job, held);
                waiting.push_back((job, held));
            }
        }
    }
    Ok(None)
}

fn parent_of(tx: &Tx<'_>, job: JobId) -> Result<Option<JobId>> {
    Ok(job_row::find(tx.conn, job)?.and_then(|row| row.parent))
}

/// Writes a new job's edges.
pub(crate) fn add(tx: &Tx<'_>, job: JobId, edges: &[Edge]) -> Result<()> {
    for edge in edges {
        tx.run(
            EDGE_INSERT,
            params![
                edge.needs.0,
                job.0,
                edge.rule.code(),
                edge.attempt,
                edge.met
            ],
        )?;
        if !edge.met {
            job_row::set_flags(tx.conn, edge.needs, JobFlags::NEEDED)?;
        }
    }
    Ok(())
}

/// A job that others need became final.
pub(crate) fn ended(tx: &mut Tx<'_>, needs: JobId, state: State) -> Result<()> {
    for (job, rule) in unmet_from(tx, needs, ANY_RULE)? {
        let part = Part::Job(job);
        if tx.is_aside(part) {
            continue;
        }
        let followed = match rule.on_end(state) {
            Release::Met => meet(tx, (needs, rule), job),
            Release::Cancel => cancel::cancel_by_rule(tx, job, &unsatisfiable(needs, state)),
            Release::Discard => discard(tx, job, needs),
        };
        followed.of(part)?;
    }
    Ok(())
}

/// A parent's run phase is done, by an attempt that has completed.
pub(crate) fn run_phase_done(tx: &mut Tx<'_>, parent: JobId) -> Result<()> {
    for (job, rule) in unmet_from(tx, parent, FOR_THE_OWN_PART)? {
        if !tx.is_aside(Part::Job(job)) {
            meet(tx, (parent, rule), job).of(Part::Job(job))?;
        }
    }
    Ok(())
}

/// An attempt has ended without completing: the jobs it spawned are discarded.
pub(crate) fn attempt_undone(tx: &mut Tx<'_>, spawner: JobId) -> Result<()> {
    for (job, _) in unmet_from(tx, spawner, FOR_AN_ATTEMPT)? {
        if !tx.is_aside(Part::Job(job)) {
            discard(tx, job, spawner).of(Part::Job(job))?;
        }
    }
    Ok(())
}

/// Discards the jobs spawned by an attempt that did not complete: they were never children, even if
/// something else has cancelled them before.
fn discard(tx: &mut Tx<'_>, job: JobId, spawner: JobId) -> Result<()> {
    let Some(row) = job_row::find(tx.conn, job)? else {
        return Ok(());
    };
    if let Some(parent) = row.parent {
        families::remove_child(tx, (parent, job), row.state)?;
    }
    if row.flags.has(JobFlags::UNIQUE) {
        unique::forget(tx, job)?;
    }
    if row.state.is_final() {
        return Ok(());
    }
    let reason = format!("the attempt of job {spawner} that spawned it did not complete");
    tx.run(OUTCOME_SET_ERROR, params![job.0, reason])?;
    let orphan = JobRow {
        parent: None,
        ..row
    };
    tx.discarded += 1;
    cancel::cancel_now(tx, (job, &orphan), (Some(&reason), None))
}

/// The jobs that wait for a job by these rules, oldest first.
fn unmet_from(
    tx: &Tx<'_>,
    needs: JobId,
    (first, last): RuleRange,
) -> Result<Vec<(JobId, PrerequisiteRule)>> {
    let mut statement = tx.conn.prepare_cached(EDGES_FROM)?;
    let mut rows = statement.query([needs.0, first.code(), last.code()])?;
    let mut edges = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(rule) = PrerequisiteRule::from_code(row.get(1)?) {
            edges.push((JobId(row.get(0)?), rule));
        }
    }
    edges.sort_unstable_by_key(|(job, _)| *job);
    Ok(edges)
}

fn meet(tx: &mut Tx<'_>, (needs, rule): (JobId, PrerequisiteRule), job: JobId) -> Result<()> {
    tx.run(EDGE_MEET_IF_UNMET, [needs.0, rule.code(), job.0])?;
    let left: Option<i64> = tx.optional(JOB_MEET_IF_BLOCKED, [job.0], |row| row.get(0))?;
    if left == Some(0) {
        release::release(tx, job)?;
    }
    Ok(())
}

/// How many prerequisites a job that is retried by hand must wait for: those that are not final. Ended
/// prerequisites, run phases and attempts do not count, nor do jobs that now wait for this one.
pub(crate) fn count_anew(tx: &Tx<'_>, job: JobId) -> Result<i64> {
    let edges: Vec<(i64, i64, Option<u32>, bool)> = {
        tx.all(EDGES_OF, [job.0], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
    };
    let mut unmet = 0;
    for (id, rule, attempt, was_met) in edges {
        let needs = JobId(id);
        let known = PrerequisiteRule::from_code(rule);
        let keeps =
            can_be_met(tx, needs, (known, attempt))? && !waits_for(tx, needs, (job, known))?;
        if keeps {
            unmet += 1;
            job_row::set_flags(tx.conn, needs, JobFlags::NEEDED)?;
        }
        if keeps == was_met {
            let turn = if was_met {
                EDGE_UNMEET_IF_MET
            } else {
                EDGE_MEET_IF_UNMET
            };
            tx.run(turn, [id, rule, job.0])?;
        }
    }
    tx.run(JOB_SET_UNMET, [job.0, unmet])?;
    Ok(unmet)
}

/// A job that waits for another or did, and whether the other has met its rule.
pub(crate) struct Dependent {
    pub(crate) job: JobId,
    pub(crate) rule: PrerequisiteRule,
    pub(crate) met: bool,
}

/// The jobs that wait for any part of this one, or did.
pub(crate) fn dependents(tx: &Tx<'_>, needs: JobId) -> Result<Vec<Dependent>> {
    let (first, last) = ANY_RULE;
    let found = tx.all(EDGES_FOR_END, [needs.0, first.code(), last.code()], |row| {
        Ok((row.get(0).map(JobId)?, row.get::<_, i64>(1)?, row.get(2)?))
    })?;
    let found = found.into_iter().filter_map(|(job, rule, met)| {
        let rule = PrerequisiteRule::from_code(rule)?;
        Some(Dependent { job, rule, met })
    });
    Ok(found.collect())
}

/// How many prerequisites a job must wait for whose cancel is undone: those that it waited for then and that have not
/// come to their end since. One that has ended otherwise is an error.
pub(crate) fn wait_again(tx: &Tx<'_>, job: JobId) -> Result<(i64, Vec<JobId>)> {
    let edges: Vec<(i64, i64, Option<u32>, bool)> = tx.all(EDGES_OF, [job.0], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    let mut unmet = Vec::new();
    for (id, rule, attempt, is_met) in edges {
        let needs = JobId(id);
        if is_met {
            continue;
        }
        let known = PrerequisiteRule::from_code(rule);
        if can_be_met(tx, needs, (known, attempt))? {
            job_row::set_flags(tx.conn, needs, JobFlags::NEEDED)?;
            unmet.push(needs);
            continue;
        }
        let state = job_row::find(tx.conn, needs)?.map(|row| row.state);
        let release = state.zip(known).map(|(state, rule)| match rule {
            // Its run phase is done where it lives.
            PrerequisiteRule::RunPhase if !state.is_final() => Release::Met,
            rule => rule.on_end(state),
        });
        if release != Some(Release::Met) {
            let what = state.map_or("removed".to_owned(), |state| state.to_string());
            return Err(Error::wrong_state(format!(
                "the cancel of job {job} cannot be undone: job {needs}, which it waits for, is {what}"
            )));
        }
        tx.run(EDGE_MEET_IF_UNMET, [id, rule, job.0])?;
    }
    tx.run(JOB_SET_UNMET, [job.0, unmet.len() as i64])?;
    Ok((unmet.len() as i64, unmet))
}

/// Whether the end of one job waits for another, by edges added since that one has ended.
fn waits_for(
    tx: &Tx<'_>,
    needs: JobId,
    (job, rule): (JobId, Option<PrerequisiteRule>),
) -> Result<bool> {
    use PrerequisiteRule::{RunPhase, Spawned};
    if matches!(rule, Some(RunPhase | Spawned)) || !Needed::find(tx, needs)?.waits {
        return Ok(false);
    }
    let found = held_up_by(tx, (job, HeldUp::Beginning), &HashSet::from([needs]))?;
    Ok(found.is_some())
}

fn can_be_met(
    tx: &Tx<'_>,
    needs: JobId,
    (rule, attempt): (Option<PrerequisiteRule>, Option<u32>),
) -> Result<bool> {
    let Some(row) = job_row::find(tx.conn, needs)?.filter(|row| !row.state.is_final()) else {
        return Ok(false);
    };
    Ok(match rule {
        Some(PrerequisiteRule::Spawned) => {
            row.state == State::Running && Some(row.attempt) == attempt
        }
        Some(PrerequisiteRule::RunPhase) => {
            families::stage(tx.conn, needs, row.flags)? == Stage::Run
        }
        _ => true,
    })
}

/// The jobs that were cancelled because one of these did not end as needed, directly or through other
/// cancelled jobs: the first `most` found.
pub(crate) fn cancelled_because_of(
    conn: &Connection,
    jobs: &[JobId],
    most: usize,
) -> Result<Vec<JobId>> {
    let mut found = BTreeSet::new();
    let mut followed: VecDeque<JobId> = jobs.iter().copied().collect();
    while let Some(needs) = followed.pop_front() {
        for job in direct(conn, needs)? {
            if found.len() == most {
                return Ok(found.into_iter().collect());
            }
            if found.insert(job) {
                followed.push_back(job);
            }
        }
    }
    Ok(found.into_iter().collect())
}

fn direct(conn: &Connection, needs: JobId) -> Result<Vec<JobId>> {
    let reason = reason(needs);
    let mut statement = conn.prepare_cached(CANCELLED_THAT_NEED)?;
    let mut rows = statement.query([needs.0])?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        if text(row.get_ref(1)?).is_some_and(|error| error.starts_with(&reason)) {
            jobs.push(JobId(row.get(0)?));
        }
    }
    Ok(jobs)
}
