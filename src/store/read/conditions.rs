//! The conditions of a filter on a job's row, in SQL.

use crate::Result;
use crate::model::filter::{Filter, KindFilter};
use crate::store::sqlite::types::Value;
use crate::store::sqlite::{Connection, names};

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
    /// All conditions of a filter, with its queues and kinds by id.
    pub(crate) fn of(conn: &Connection, filter: &Filter, named: &Named) -> Result<Conditions> {
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
        if let Some(since) = filter.since {
            let since = since.as_millisecond();
            all.terms.push(format!("j.created_at >= {since}"));
        }
        if let Some(text) = &filter.text {
            all.contains(conn, text)?;
        }
        Ok(all)
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
        let escaped = text
            .replace('\\', r"\\")
            .replace('%', r"\%")
            .replace('_', r"\_");
        let pattern = format!("%{escaped}%");
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
