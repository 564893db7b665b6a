//! The conditions of a filter on a job's row, in SQL.

use std::time::Duration;

use crate::Result;
use crate::clock::millis;
use crate::model::filter::{Filter, KindFilter};
use crate::store::sqlite::types::Value;
use crate::store::sqlite::{Connection, functions, names};

/// The number of the first parameter that is free for a condition's value.
pub(crate) const FIRST_FREE: usize = 7;

/// The queues and kinds that a filter names, by id; none: it names none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Named {
    pub(crate) queues: Option<Vec<i64>>,
    pub(crate) kinds: Option<Vec<i64>>,
}

impl Named {
    pub(crate) fn of(conn: &Connection, filter: &Filter) -> Result<Named> {
        let mut queues = Vec::new();
        for name in &filter.queues {
            queues.extend(names::find_queue(conn, name)?);
        }
        queues.sort_unstable();
        queues.dedup();
        let kinds = match filter.kinds.is_empty() {
            true => Vec::new(),
            false => names::kinds_of(conn, &KindFilter::Only(filter.kinds.clone()))?,
        };
        Ok(Named {
            queues: (!filter.queues.is_empty()).then_some(queues),
            kinds: (!filter.kinds.is_empty()).then_some(kinds),
        })
    }

    /// Whether it names only what does not exist.
    pub(crate) fn is_nothing(&self) -> bool {
        let none = |ids: &Option<Vec<i64>>| ids.as_ref().is_some_and(Vec::is_empty);
        none(&self.queues) || none(&self.kinds)
    }
}

/// Terms on a job's row `j`, with their values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    terms: Vec<String>,
    values: Vec<Value>,
    /// What jobs are to be sorted by.
    pub(crate) key: Option<&'static str>,
}

impl Conditions {
    /// All conditions of a filter, with its queues and kinds by id. Its range of ids is none: it bounds the walk.
    pub(crate) fn of(
        conn: &Connection,
        filter: &Filter,
        (named, now_ms): (&Named, i64),
    ) -> Result<Conditions> {
        let mut all = Conditions::default();
        let states: Vec<i64> = filter.states.iter().map(|state| state.code()).collect();
        if !states.is_empty() {
            all.any_of("j.state", &states);
        }
        let queues = named.queues.iter().filter(|_| !filter.queues.is_empty());
        let kinds = named.kinds.iter().filter(|_| !filter.kinds.is_empty());
        queues.for_each(|ids| all.any_of("j.queue_id", ids));
        kinds.for_each(|ids| all.any_of("j.kind_id", ids));
        if let Some(parent) = filter.parent {
            all.terms.push(format!("j.parent_id = {}", parent.0));
        }
        for (column, name) in [
            ("j.tenant", &filter.tenant),
            ("j.schedule", &filter.schedule),
        ] {
            if let Some(name) = name {
                let name = all.text(name);
                all.terms.push(format!("{column} = {name}"));
            }
        }
        for (name, value) in &filter.tags {
            let (name, value) = (all.text(name), all.text(value));
            all.terms.push(format!(
                "EXISTS (SELECT 1 FROM jobq_tag h WHERE h.name = {name} AND h.value = {value} AND h.job_id = j.id)"
            ));
        }
        all.of_times(filter, now_ms);
        if let Some(attempts) = filter.more_attempts_than {
            all.terms.push(format!("j.attempt > {attempts}"));
        }
        if let Some(text) = &filter.error {
            let pattern = all.text(&like(text));
            all.has_error(&format!("o.error LIKE {pattern} ESCAPE '\\'"));
        }
        if let Some(group) = &filter.error_group {
            functions::add_error_group(conn)?;
            let group = all.text(group);
            all.has_error(&format!("jobq_error_group(o.error) = {group}"));
        }
        if let Some(text) = &filter.text {
            all.contains(conn, text)?;
        }
        Ok(all)
    }

    fn of_times(&mut self, filter: &Filter, now_ms: i64) {
        if let Some(since) = filter.since {
            let since = since.as_millisecond();
            self.terms.push(format!("j.created_at >= {since}"));
        }
        if let Some(until) = filter.until {
            let until = until.as_millisecond();
            self.terms.push(format!("j.created_at < {until}"));
        }
        if let Some(event) = filter.as_of {
            // A job without the event came with a file of an older schema, before all that have one.
            self.terms
                .push(format!("ifnull(j.enqueued_event, 0) <= {}", event.0));
        }
        if let Some(longer_than) = filter.took_longer_than {
            let us = micros(longer_than);
            self.terms.push(format!(
                "CASE WHEN j.state = 3 THEN ({now_ms} - j.started_at) * 1000 WHEN j.ended_event IS NOT NULL
                    THEN ifnull(j.took_us, (j.finished_at - j.started_at) * 1000)
                ELSE (SELECT ifnull(a.took_us, (a.ended_at - a.started_at) * 1000) FROM jobq_attempt a
                    WHERE a.job_id = j.id AND a.attempt = j.attempt) END > {us}"
            ));
        }
        if let Some(longer_than) = filter.waited_longer_than {
            let ms = millis(longer_than);
            // The first attempt that has a row; the only one is on the job's own row.
            self.terms.push(format!(
                "coalesce((SELECT a.started_at FROM jobq_attempt a WHERE a.job_id = j.id AND a.started_at IS NOT NULL
                    ORDER BY a.attempt LIMIT 1), j.started_at, j.finished_at, {now_ms}) - j.created_at > {ms}"
            ));
        }
    }

    /// Most jobs have no error.
    fn has_error(&mut self, such: &str) {
        self.terms.push(format!(
            "EXISTS (SELECT 1 FROM jobq_outcome o WHERE o.job_id = j.id AND o.error IS NOT NULL AND {such})"
        ));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    pub(crate) fn values(&self) -> &[Value] {
        &self.values
    }

    /// One expression.
    pub(crate) fn sql(&self) -> String {
        match self.terms.is_empty() {
            true => "1".to_owned(),
            false => self.terms.join(" AND "),
        }
    }

    fn text(&mut self, text: &str) -> String {
        self.values.push(Value::Text(text.to_owned()));
        format!("?{}", FIRST_FREE + self.values.len() - 1)
    }

    fn any_of(&mut self, column: &str, ids: &[i64]) {
        let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
        self.terms.push(format!("{column} IN ({})", ids.join(", ")));
    }

    /// The longest part last: most jobs have no error, and kinds are looked up here.
    fn contains(&mut self, conn: &Connection, text: &str) -> Result<()> {
        let pattern = like(text);
        let kinds = names::kinds_like(conn, &pattern)?;
        let kinds: Vec<String> = kinds.iter().map(i64::to_string).collect();
        let pattern = self.text(&pattern);
        self.terms.push(format!(
            "(j.kind_id IN ({}) OR EXISTS (SELECT 1 FROM jobq_outcome o WHERE o.job_id = j.id
                AND (o.error LIKE {pattern} ESCAPE '\\' OR o.result LIKE {pattern} ESCAPE '\\'))
            OR EXISTS (SELECT 1 FROM jobq_payload p WHERE p.job_id = j.id AND p.payload LIKE {pattern} ESCAPE '\\'))",
            kinds.join(", ")
        ));
        Ok(())
    }
}

/// The pattern for texts that hold this one.
fn like(text: &str) -> String {
    let escaped = text
        .replace('\\', r"\\")
        .replace('%', r"\%")
        .replace('_', r"\_");
    format!("%{escaped}%")
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
