//! Queries by others: one statement, which reads this database and nothing else.

use rusqlite::Statement;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::Value;

use crate::store::sqlite::database::Database;
use crate::{Error, Result};

/// Takes the rows of a query one by one.
pub(crate) trait RowSink {
    fn begin(&mut self, columns: &[String]) -> Result<()>;
    fn row(&mut self, values: &[Value]) -> Result<()>;
}

const LIMITS: [(Limit, i32); 4] = [
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
    (Limit::SQLITE_LIMIT_LENGTH, 64 << 20),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 256 << 10),
];

impl Database {
    /// Runs a query, with its parameters by name.
    pub(crate) fn query(
        &self,
        sql: &str,
        params: &[(String, Value)],
        sink: &mut dyn RowSink,
    ) -> Result<()> {
        for (limit, value) in LIMITS {
            self.conn.set_limit(limit, value)?;
        }
        self.conn.authorizer(Some(only_reading))?;
        let mut statement = self.conn.prepare(sql)?;
        if statement.column_count() == 0 || !statement.readonly() {
            return Err(Error::invalid("the query is not a SELECT"));
        }
        bind(&mut statement, params)?;
        let columns: Vec<String> = statement
            .column_names()
            .into_iter()
            .map(str::to_owned)
            .collect();
        sink.begin(&columns)?;
        let mut values = Vec::with_capacity(columns.len());
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            values.clear();
            for index in 0..columns.len() {
                values.push(row.get(index)?);
            }
            sink.row(&values)?;
        }
        Ok(())
    }
}

/// Gives each parameter its value: none is left over, and none is NULL because it was forgotten.
fn bind(statement: &mut Statement<'_>, params: &[(String, Value)]) -> Result<()> {
    let refused = |why: String| Err(Error::invalid(why));
    for index in 1..=statement.parameter_count() {
        let name = statement.parameter_name(index).unwrap_or("?").to_owned();
        let Some(name) = name.strip_prefix(':') else {
            return refused(format!(
                "the query has a parameter '{name}'; name each as :name"
            ));
        };
        let Some((_, value)) = params.iter().find(|(known, _)| known == name) else {
            return refused(format!("the query's parameter :{name} has no value"));
        };
        statement.raw_bind_parameter(index, value)?;
    }
    for (name, _) in params {
        if statement.parameter_index(&format!(":{name}"))?.is_none() {
            return refused(format!("the query has no parameter :{name}"));
        }
    }
    Ok(())
}

/// What a query that reads tables may do; all else is refused.
fn only_reading(asked: AuthContext<'_>) -> Authorization {
    match asked.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => {
            Authorization::Allow
        }
        AuthAction::Function { function_name } if function_name != "load_extension" => {
            Authorization::Allow
        }
        _ => Authorization::Deny,
    }
}
