//! The rows of a report that is read by people: held until all are there, then laid out.

use std::io::{self, Write};
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};

use crate::handlers::row_writer::to_text;
use crate::queue::{RowSink, SqlValue};
use crate::{Error, Result};

/// How much memory the rows of one report may take.
const MAX_BYTES: usize = 64 << 20;
/// What a value takes beside its text.
const VALUE_BYTES: usize = 48;
/// Columns of a text are aligned up to this width.
const MAX_WIDTH: usize = 60;

/// The tables of a report; rows are added to the last.
#[derive(Default)]
pub(super) struct ReportTables {
    pub(super) tables: Vec<ReportTable>,
    pub(super) bytes: usize,
}

/// The rows of one query.
#[derive(Default)]
pub(super) struct ReportTable {
    pub(super) title: String,
    pub(super) columns: Arc<[String]>,
    pub(super) rows: Vec<Arc<TableRow>>,
}

/// A row, for a template: a list of values, which also have the names of their columns.
#[derive(Debug)]
pub(super) struct TableRow {
    columns: Arc<[String]>,
    values: Vec<SqlValue>,
}

impl ReportTables {
    pub(super) fn begin_table(&mut self, title: &str) {
        self.tables.push(ReportTable {
            title: title.to_owned(),
            ..ReportTable::default()
        });
    }

    /// Writes them as a text: the values of a column below each other, numbers to the right.
    pub(super) fn write_text(&self, heading: &str, mut to: impl Write) -> io::Result<()> {
        writeln!(to, "{heading}")?;
        for table in &self.tables {
            writeln!(to, "\n{} ({})\n", table.title, table.count())?;
            table.write_text(&mut to)?;
        }
        to.flush()
    }
}

impl RowSink for ReportTables {
    fn begin(&mut self, columns: &[String]) -> Result<()> {
        if let Some(table) = self.tables.last_mut() {
            table.columns = columns.into();
        }
        Ok(())
    }

    fn row(&mut self, values: &[SqlValue]) -> Result<()> {
        let size = |value: &SqlValue| match value {
            SqlValue::Text(text) => VALUE_BYTES + text.len(),
            SqlValue::Blob(bytes) => VALUE_BYTES + bytes.len(),
            _ => VALUE_BYTES,
        };
        self.bytes += values.iter().map(size).sum::<usize>();
        if self.bytes > MAX_BYTES {
            return Err(Error::invalid(
                "its rows take more than 64 MiB, which is too much for html and text; csv, json and jsonl have no \
                 such bound",
            ));
        }
        if let Some(table) = self.tables.last_mut() {
            table.rows.push(Arc::new(TableRow {
                columns: Arc::clone(&table.columns),
                values: values.to_vec(),
            }));
        }
        Ok(())
    }
}

impl ReportTable {
    pub(super) fn count(&self) -> String {
        crate::plural::count(self.rows.len() as u64, "row")
    }

    /// Whether all values of a column are numbers.
    pub(super) fn is_number(&self, column: usize) -> bool {
        let mut values = self.rows.iter().filter_map(|row| row.values.get(column));
        let is_fit = |value: &SqlValue| !matches!(value, SqlValue::Text(_) | SqlValue::Blob(_));
        values.clone().any(|value| *value != SqlValue::Null) && values.all(is_fit)
    }

    fn write_text(&self, to: &mut impl Write) -> io::Result<()> {
        let columns = self.columns.len();
        let is_number: Vec<bool> = (0..columns).map(|at| self.is_number(at)).collect();
        let names: Vec<String> = self.columns.iter().map(|name| in_a_line(name)).collect();
        let mut widths: Vec<usize> = names.iter().map(|name| width(name)).collect();
        for row in &self.rows {
            for (widest, value) in widths.iter_mut().zip(&row.values) {
                *widest = (*widest).max(width(&in_a_line(&to_text(value))));
            }
        }
        let mut line = |cells: &[String]| {
            let mut line = String::new();
            for (at, cell) in cells.iter().enumerate() {
                let pad = " ".repeat(widths[at].min(MAX_WIDTH).saturating_sub(width(cell)));
                let gap = if at == 0 { "" } else { "  " };
                line += &match is_number[at] {
                    true => format!("{gap}{pad}{cell}"),
                    false => format!("{gap}{cell}{pad}"),
                };
            }
            writeln!(to, "{}", line.trim_end())
        };
        line(&names)?;
        let rules = widths
            .iter()
            .map(|width| "-".repeat((*width).min(MAX_WIDTH)));
        line(&rules.collect::<Vec<_>>())?;
        for row in &self.rows {
            let cells = row.values.iter().map(|value| in_a_line(&to_text(value)));
            line(&cells.collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// A line break of a value would end its row.
fn in_a_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

impl TableRow {
    fn value(&self, at: usize) -> Option<Value> {
        Some(match self.values.get(at)? {
            SqlValue::Null => Value::from(()),
            SqlValue::Integer(number) => Value::from(*number),
            SqlValue::Real(number) => Value::from(*number),
            // HTML and mail have no NUL.
            SqlValue::Text(text) => Value::from(text.replace('\0', "\u{fffd}")),
            bytes @ SqlValue::Blob(_) => Value::from(to_text(bytes)),
        })
    }
}

impl Object for TableRow {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let by_name = |name: &str| self.columns.iter().position(|column| column == name);
        let at = match key.as_str() {
            Some(name) => by_name(name),
            None => key.as_usize(),
        };
        self.value(at?)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.values.len())
    }
}
