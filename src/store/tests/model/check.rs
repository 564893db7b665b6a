//! What must hold after every transaction: first what the file says of itself, recounted by SQL, then
//! that it is what the model says, row by row.

use crate::store::jobs::finish_attempt::ClaimToken;
use crate::store::tests::model::plain::Edge;
use std::collections::BTreeMap;

use rusqlite::{Connection, Row};

use crate::model::family::Stage;
use crate::model::state::State;
use crate::store::tests::model::action::Action;
use crate::store::tests::model::hooks::{hooks_in_file, hooks_in_model};
use crate::store::tests::model::ops::Kind;
use crate::store::tests::model::plain::{Job, Model};
use crate::store::tests::model::world::{kind_name, queue_name};

/// Each finds the jobs that break a rule.
const RULES: [(&str, &str); 19] = [
    (
        "a running job is held by a runner that lives",
        "SELECT id FROM jobq_job WHERE state = 3
            AND runner_id NOT IN (SELECT id FROM jobq_runner WHERE state <= 2)",
    ),
    (
        "what is pending or runs holds a slot of its key",
        "SELECT id FROM jobq_job j WHERE key IS NOT NULL AND state IN (2, 3)
            AND NOT EXISTS (SELECT 1 FROM jobq_concurrency_slot p WHERE p.job_id = j.id AND p.key = j.key AND p.held = 1)",
    ),
    (
        "nobody else holds a slot",
        "SELECT job_id FROM jobq_concurrency_slot p WHERE held = 1
            AND NOT EXISTS (SELECT 1 FROM jobq_job j WHERE j.id = p.job_id AND j.key = p.key AND j.state IN (2, 3))",
    ),
    (
        "who stands in line is blocked by nothing else",
        "SELECT p.job_id FROM jobq_concurrency_slot p JOIN jobq_job j ON j.id = p.job_id WHERE held = 0
            AND NOT (j.state = 1 AND j.unmet = 0)
            AND NOT (j.state = 4 AND j.id IN (SELECT job_id FROM jobq_family WHERE stage = 2))",
    ),
    (
        "no job waits while its key has a free slot",
        "SELECT p.job_id FROM jobq_concurrency_slot p WHERE p.held = 0
            AND (SELECT count(*) FROM jobq_concurrency_slot h WHERE h.key = p.key AND h.held = 1)
                < coalesce((SELECT slots FROM jobq_key k WHERE k.name = p.key), 1)",
    ),
    (
        "the line goes by priority",
        "SELECT job_id FROM jobq_concurrency_slot p JOIN jobq_job j ON j.id = p.job_id WHERE p.urgency <> 3 - j.priority",
    ),
    (
        "a unique key has one live job",
        "SELECT max(id) FROM jobq_job WHERE state < 5 AND unique_key IS NOT NULL
            AND id NOT IN (SELECT rerun_id FROM jobq_unique WHERE rerun_id IS NOT NULL)
            GROUP BY unique_key HAVING count(*) > 1",
    ),
    (
        "a live job holds its unique key",
        "SELECT id FROM jobq_job j WHERE state < 5 AND unique_key IS NOT NULL AND NOT EXISTS
            (SELECT 1 FROM jobq_unique u WHERE u.key = j.unique_key AND j.id IN (u.job_id, u.rerun_id) AND u.until IS NULL)",
    ),
    (
        "who waits for a unique key is blocked by the job that has it",
        "SELECT u.rerun_id FROM jobq_unique u LEFT JOIN jobq_job j ON j.id = u.rerun_id WHERE u.rerun_id IS NOT NULL
            AND (j.state IS NOT 1 OR j.unique_key IS NOT u.key OR u.until IS NOT NULL OR NOT EXISTS
            (SELECT 1 FROM jobq_prerequisite p WHERE p.needs_id = u.job_id AND p.job_id = j.id AND p.met = 0))",
    ),
    (
        "a unique key is held by a live job, or for a while",
        "SELECT u.job_id FROM jobq_unique u LEFT JOIN jobq_job j ON j.id = u.job_id
            WHERE (u.until IS NULL) <> (coalesce(j.state, 7) < 5)",
    ),
    (
        "what a blocked job has unmet is counted",
        "SELECT id FROM jobq_job j WHERE state = 1
            AND unmet <> (SELECT count(*) FROM jobq_prerequisite p WHERE p.job_id = j.id AND p.met = 0)",
    ),
    (
        "a blocked job waits for something",
        "SELECT id FROM jobq_job j WHERE state = 1 AND unmet = 0
            AND NOT EXISTS (SELECT 1 FROM jobq_concurrency_slot p WHERE p.job_id = j.id)",
    ),
    (
        "nobody waits for what has ended",
        "SELECT j.id FROM jobq_job j JOIN jobq_prerequisite p ON p.job_id = j.id AND p.met = 0
            WHERE j.state = 1 AND NOT EXISTS
                (SELECT 1 FROM jobq_job n WHERE n.id = p.needs_id AND n.state < 5 AND n.links & 4)",
    ),
    (
        "nobody waits for a run phase that is done, or for an attempt that is over",
        "SELECT j.id FROM jobq_job j JOIN jobq_prerequisite p ON p.job_id = j.id AND p.met = 0
            JOIN jobq_job n ON n.id = p.needs_id
            WHERE j.state = 1 AND (p.rule = 3 AND n.id IN (SELECT job_id FROM jobq_family WHERE stage > 0)
                OR p.rule = 2 AND NOT (n.state = 3 AND n.attempt = p.attempt))",
    ),
    (
        "who may run has nothing unmet",
        "SELECT j.id FROM jobq_job j JOIN jobq_prerequisite p ON p.job_id = j.id AND p.met = 0
            WHERE j.state IN (0, 2, 3, 4)",
    ),
    (
        "a parent whose children are final does not wait",
        "SELECT j.id FROM jobq_job j JOIN jobq_family f ON f.job_id = j.id JOIN jobq_kind k ON k.id = j.kind_id
            WHERE j.state = 4 AND f.stage = 1 AND NOT (k.name = 'group' AND f.total = 0)
                AND NOT EXISTS (SELECT 1 FROM jobq_job c WHERE c.parent_id = j.id AND c.state < 5)",
    ),
    (
        "a family counts its children",
        "SELECT j.id FROM jobq_job j LEFT JOIN jobq_family f ON f.job_id = j.id
            WHERE coalesce(f.total - f.done - f.failed, 0)
                <> (SELECT count(*) FROM jobq_job c WHERE c.parent_id = j.id AND c.state < 5)",
    ),
    (
        "a deadline that can be missed is watched, and no other",
        "SELECT id FROM jobq_job j LEFT JOIN jobq_deadline d ON d.job_id = j.id
            WHERE CASE WHEN state IN (0, 1, 2) THEN (links & 32 <> 0) <> (d.at IS NOT NULL AND d.at = j.deadline)
                AND (d.at IS NOT NULL OR j.deadline > ?1) WHEN state >= 5 THEN d.at IS NOT NULL END",
    ),
    (
        "the counters equal a recount",
        "SELECT queue_id FROM (SELECT id AS queue_id, what, value FROM jobq_number WHERE what >= 0 AND value <> 0
            EXCEPT SELECT queue_id, state, count(*) FROM jobq_job GROUP BY queue_id, state)
         UNION ALL SELECT queue_id FROM (SELECT queue_id, state, count(*) FROM jobq_job GROUP BY queue_id, state
            EXCEPT SELECT id, what, value FROM jobq_number)",
    ),
];

pub(super) fn check(conn: &Connection, model: &Model) -> Result<(), String> {
    for (rule, sql) in RULES {
        let mut statement = conn.prepare_cached(sql).unwrap();
        let now = [model.now];
        let arguments = &now[..statement.parameter_count()];
        let found = statement.query_map(rusqlite::params_from_iter(arguments), |row| row.get(0));
        let broken: Vec<i64> = found.unwrap().map(rusqlite::Result::unwrap).collect();
        if !broken.is_empty() {
            return Err(format!("'{rule}' does not hold for {broken:?}"));
        }
    }
    one_claim_each(model)?;
    equal("job", jobs_in_file(conn), jobs_in_model(model))?;
    equal("edge", edges_in_file(conn), edges_in_model(model))?;
    equal("place", places_in_file(conn), places_in_model(model))?;
    equal("hook", hooks_in_file(conn), hooks_in_model(model))?;
    equal("rest", rest_in_file(conn), rest_in_model(model))
}

/// Of the claims there ever were, exactly one holds each running job.
fn one_claim_each(model: &Model) -> Result<(), String> {
    for (id, job) in model
        .jobs
        .iter()
        .filter(|(_, job)| job.state == State::Running)
    {
        let holds = |held: &&ClaimToken| held.job.0 == *id && model.is_held(*id, held.attempt);
        let holders = model.claims.iter().filter(holds).count();
        if holders != 1 {
            return Err(format!("{holders} claims hold job {id}: {job:?}"));
        }
    }
    Ok(())
}

pub(super) type Rows = BTreeMap<String, String>;

fn equal(what: &str, file: Rows, model: Rows) -> Result<(), String> {
    let none = "nothing".to_owned();
    for key in file.keys().chain(model.keys()) {
        let (file, model) = (file.get(key), model.get(key));
        if file != model {
            return Err(format!(
                "{what} {key}\n  in the file:  {}\n  in the model: {}",
                file.unwrap_or(&none),
                model.unwrap_or(&none)
            ));
        }
    }
    Ok(())
}

pub(super) fn rows(
    conn: &Connection,
    sql: &str,
    read: impl Fn(&Row<'_>) -> (String, String),
) -> Rows {
    let mut statement = conn.prepare_cached(sql).unwrap();
    let found = statement.query_map([], |row| Ok(read(row))).unwrap();
    found.map(rusqlite::Result::unwrap).collect()
}

fn number(row: &Row<'_>, column: usize) -> i64 {
    row.get(column).unwrap()
}

fn maybe(row: &Row<'_>, column: usize) -> Option<i64> {
    row.get(column).unwrap()
}

fn jobs_in_file(conn: &Connection) -> Rows {
    let sql = "SELECT j.id, k.name, q.name, j.state, j.priority, j.attempt, j.retries, j.crashes, j.no_ahead,
            CASE j.state WHEN 3 THEN j.runner_id END, CASE j.state WHEN 3 THEN j.claim END, j.cancel IS NOT NULL,
            CASE WHEN j.state = 0 OR j.state = 1 AND j.unmet > 0 THEN j.run_at END,
            CASE WHEN j.state = 0 OR j.state = 1 AND j.unmet > 0 AND j.run_at IS NOT NULL THEN j.wait_fixed END,
            CASE j.state WHEN 0 THEN j.wait_reason END,
            j.parent_id, j.key, j.unique_key, j.unique_for_ms, j.deadline, (j.links & 32 <> 0) + 2 * (j.links & 16384 <> 0),
            f.policy, f.final_step, f.stage, f.total, f.done, f.failed
        FROM jobq_job j JOIN jobq_kind k ON k.id = j.kind_id JOIN jobq_queue q ON q.id = j.queue_id
            LEFT JOIN jobq_family f ON f.job_id = j.id";
    rows(conn, sql, |row| {
        let text = |column| row.get::<_, Option<String>>(column).unwrap();
        let state = State::from_code(number(row, 3)).unwrap();
        let numbers: Vec<i64> = (4..=8).map(|column| number(row, column)).collect();
        let waits: Vec<Option<i64>> = (9..=15).map(|column| maybe(row, column)).collect();
        let ties = (
            text(16),
            text(17),
            maybe(row, 18),
            maybe(row, 19),
            number(row, 20),
        );
        let family: Vec<Option<i64>> = (21..=26).map(|column| maybe(row, column)).collect();
        let line = format!(
            "{} {} {state} {numbers:?} {waits:?} {ties:?} {family:?}",
            text(1).unwrap_or_default(),
            text(2).unwrap_or_default()
        );
        (number(row, 0).to_string(), line)
    })
}

fn jobs_in_model(model: &Model) -> Rows {
    let line = |(id, job): (&i64, &Job)| {
        let held = job.holder.filter(|_| job.state == State::Running);
        let unmet = job.edges.values().any(|edge| !edge.met);
        let waits = job.state == State::Scheduled || (job.state == State::Blocked && unmet);
        let wait = job.wait.filter(|_| waits);
        let numbers: Vec<i64> = vec![
            job.priority.into(),
            job.attempt.into(),
            job.retries.into(),
            job.crashes.into(),
            job.no_ahead.into(),
        ];
        let waits = vec![
            held.map(|(runner, _)| runner),
            held.map(|(_, ahead)| ahead.into()),
            Some(job.cancel.into()),
            wait.map(|wait| wait.at),
            wait.map(|wait| wait.fixed.into()),
            wait.filter(|_| job.state == State::Scheduled)
                .map(|wait| wait.reason.code()),
            job.parent,
        ];
        let ties = (
            job.key.map(|key| format!("k{key}")),
            job.unique.map(|key| format!("u{key}")),
            job.window_ms,
            job.deadline,
            // Nobody asks for it again once the job has ended.
            i64::from(job.can_be_late) + 2 * i64::from(job.is_under_hook),
        );
        let family = match job.family {
            None => vec![None; 6],
            Some(family) => {
                let (total, done, failed) = model.tally(*id);
                let step = family.stage.code();
                let first = [family.policy.code(), family.last_step.into(), step];
                let all = first.into_iter().chain([total, done, failed]);
                all.map(Some).collect()
            }
        };
        let (kind, queue) = (kind_name(job.kind), queue_name(job.queue));
        let state = job.state;
        let line = format!("{kind} {queue} {state} {numbers:?} {waits:?} {ties:?} {family:?}");
        (id.to_string(), line)
    };
    model.jobs.iter().map(line).collect()
}

fn edges_in_file(conn: &Connection) -> Rows {
    let sql = "SELECT job_id, needs_id, rule, attempt, met FROM jobq_prerequisite";
    rows(conn, sql, |row| {
        let edge = (number(row, 2), maybe(row, 3), number(row, 4));
        (
            format!("{} → {}", number(row, 0), number(row, 1)),
            format!("{edge:?}"),
        )
    })
}

fn edges_in_model(model: &Model) -> Rows {
    let of_job = |(id, job): (&i64, &Job)| {
        let id = *id;
        let line = move |(needs, edge): (i64, Edge)| {
            let line = (edge.rule.code(), edge.attempt, i64::from(edge.met));
            (format!("{id} → {needs}"), format!("{line:?}"))
        };
        job.edges.clone().into_iter().map(line)
    };
    model.jobs.iter().flat_map(of_job).collect()
}

fn places_in_file(conn: &Connection) -> Rows {
    let sql = "SELECT key, held, urgency, job_id FROM jobq_concurrency_slot";
    rows(conn, sql, |row| {
        let key: String = row.get(0).unwrap();
        let place = format!("{key} held={} {}", number(row, 1), number(row, 2));
        (number(row, 3).to_string(), place)
    })
}

fn places_in_model(model: &Model) -> Rows {
    let mut rows = Rows::new();
    for (key, line) in &model.lines {
        for (held, entries) in [(1, &line.held), (0, &line.waiting)] {
            for (urgency, id) in entries {
                rows.insert(id.to_string(), format!("k{key} held={held} {urgency}"));
            }
        }
    }
    rows
}

fn rest_in_file(conn: &Connection) -> Rows {
    let sql = "SELECT 'unique ' || key, job_id || ' ' || coalesce(until, 'lives')
            || coalesce(' then ' || rerun_id, '') FROM jobq_unique
        UNION ALL SELECT 'deadline of ' || job_id, at FROM jobq_deadline
        UNION ALL SELECT 'slots of ' || name, slots FROM jobq_key
        UNION ALL SELECT 'effects of ' || job, group_concat(attempt ORDER BY attempt) FROM effect GROUP BY job";
    rows(conn, sql, |row| {
        let value = row.get_ref(1).unwrap();
        let value = value
            .as_str()
            .map_or_else(|_| number(row, 1).to_string(), str::to_owned);
        (row.get(0).unwrap(), value)
    })
}

fn rest_in_model(model: &Model) -> Rows {
    let mut rows = Rows::new();
    for (key, (id, until)) in &model.uniques {
        let until = until.map_or("lives".to_owned(), |until| until.to_string());
        let then = model.reruns.get(key);
        let then = then.map_or_else(String::new, |then| format!(" then {then}"));
        rows.insert(format!("unique u{key}"), format!("{id} {until}{then}"));
    }
    for (id, job) in model.jobs.iter().filter(|(_, job)| job.watched) {
        let at = job.deadline.unwrap_or_default();
        rows.insert(format!("deadline of {id}"), at.to_string());
    }
    for (key, line) in model.lines.iter().filter(|(_, line)| line.is_set) {
        rows.insert(format!("slots of k{key}"), line.places.to_string());
    }
    for (job, attempt) in &model.effects {
        let line = rows.entry(format!("effects of {job}")).or_default();
        if !line.is_empty() {
            line.push(',');
        }
        line.push_str(&attempt.to_string());
    }
    rows
}

/// What one operation may do to the states: `before` and after it.
pub(super) fn check_steps(before: &Model, after: &Model, action: &Action) -> Result<(), String> {
    let retried = matches!(action, Action::Retry(_) | Action::UndoCancel(_));
    for (id, was) in &before.jobs {
        let Some(is) = after.jobs.get(id) else {
            if was.state.is_final() {
                continue;
            }
            return Err(format!("job {id} vanished while {}", was.state));
        };
        if was.state.is_final() && was.state != is.state && !retried {
            return Err(format!("job {id} went from {} to {}", was.state, is.state));
        }
        if was.state == State::Waiting && is.state == State::Completed {
            let (total, done, failed) = after.tally(*id);
            if total != done + failed {
                return Err(format!("parent {id} completed before its children"));
            }
        }
    }
    Ok(())
}

/// With every attempt made and every moment passed only a group that never got a child may be left,
/// and who waits for it.
pub(super) fn check_nothing_is_stuck(model: &Model) -> Result<(), String> {
    let live: Vec<i64> = model
        .jobs
        .keys()
        .copied()
        .filter(|id| model.is_live(*id))
        .collect();
    let mut excused: Vec<i64> = live
        .iter()
        .copied()
        .filter(|id| model.jobs[id].kind == Kind::Group && model.tally(*id).0 == 0)
        .filter(|id| {
            model.jobs[id]
                .family
                .is_some_and(|family| family.stage == Stage::Children)
        })
        .collect();
    let mut at = 0;
    while let Some(id) = excused.get(at).copied() {
        at += 1;
        let waiters = model.waiters(id).into_iter().map(|(waiter, _)| waiter);
        let parent = model.jobs[&id].parent;
        for next in waiters.chain(parent.filter(|parent| model.is_live(*parent))) {
            if !excused.contains(&next) {
                excused.push(next);
            }
        }
    }
    let stuck: Vec<i64> = live
        .into_iter()
        .filter(|id| !excused.contains(id))
        .collect();
    match stuck.first() {
        None => Ok(()),
        Some(id) => Err(format!(
            "stuck for ever: {stuck:?}, the first {:?}",
            model.jobs[id]
        )),
    }
}
