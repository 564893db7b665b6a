//! Reading the rows of a file into a table.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read};

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

use crate::handlers::data_processing::{ColumnType, DataInput, RowFormat};
use crate::handlers::row_writer::twice;
use crate::queue::{Database, SqlValue};
use crate::{Error, Result};

/// A table under work.
pub(super) struct TableInput<'a> {
    pub(super) input: &'a DataInput,
    pub(super) table: &'a str,
    pub(super) database: &'a Database,
    columns: Vec<String>,
    pub(super) rows: u64,
}

impl<'a> TableInput<'a> {
    pub(super) fn new(
        input: &'a DataInput,
        table: &'a str,
        database: &'a Database,
    ) -> TableInput<'a> {
        TableInput {
            input,
            table,
            database,
            columns: Vec::new(),
            rows: 0,
        }
    }

    /// Reads all rows.
    ///
    /// # Errors
    /// Names the file and the line.
    pub(super) fn read(&mut self, format: RowFormat, content: impl Read) -> Result<()> {
        match format {
            RowFormat::Csv => self.csv(content),
            RowFormat::Jsonl => self.lines(content),
            RowFormat::Json => self.list(content),
            RowFormat::Sqlite => Err(self.at(None, "a SQLite file is no input")),
        }?;
        if self.columns.is_empty() && !self.input.types.is_empty() {
            self.begin(self.input.types.keys().cloned().collect())
                .map_err(|error| error.context(self.input.path.display()))?;
        }
        if self.columns.is_empty() {
            return Err(self.at(
                None,
                "it has no rows, and so no columns; 'types' could name them",
            ));
        }
        let mut typed = self.input.types.keys();
        match typed.find(|name| !self.columns.contains(name)) {
            Some(name) => {
                Err(self.at(None, format_args!("'types' names '{name}', which it lacks")))
            }
            None => Ok(()),
        }
    }

    /// A line of the file.
    fn line(&self, number: u64) -> String {
        format!("{}:{number}", self.input.path.display())
    }

    fn at(&self, line: Option<u64>, why: impl fmt::Display) -> Error {
        let path = || self.input.path.display().to_string();
        Error::invalid(why.to_string()).context(line.map_or_else(path, |line| self.line(line)))
    }

    fn begin(&mut self, columns: Vec<String>) -> Result<()> {
        self.database.create_table(self.table, &columns)?;
        self.columns = columns;
        Ok(())
    }

    fn csv(&mut self, content: impl Read) -> Result<()> {
        let mut reader = csv::Reader::from_reader(content);
        let headers = reader.headers().map_err(|error| self.of_csv(&error))?;
        let headers: Vec<String> = headers.iter().map(str::to_owned).collect();
        if headers.is_empty() {
            return Ok(());
        }
        // SQLite's names of columns are the same in capitals.
        let lower: Vec<String> = headers.iter().map(|name| name.to_lowercase()).collect();
        if let Some(name) = twice(&lower) {
            return Err(self.at(Some(1), format_args!("two columns are named '{name}'")));
        }
        self.begin(headers)
            .map_err(|error| error.context(self.line(1)))?;
        let mut record = csv::StringRecord::new();
        while reader
            .read_record(&mut record)
            .map_err(|error| self.of_csv(&error))?
        {
            let line = record.position().map_or(0, csv::Position::line);
            self.cells(&record)
                .map_err(|error| error.context(self.line(line)))?;
        }
        Ok(())
    }

    fn cells(&mut self, record: &csv::StringRecord) -> Result<()> {
        let cells = self.columns.iter().zip(record).map(|(name, cell)| {
            let wanted = self.input.types.get(name);
            of_text(cell, wanted).ok_or_else(|| Error::invalid(mismatch(name, cell, wanted)))
        });
        let values = cells.collect::<Result<Vec<_>>>()?;
        self.database.insert(self.table, &self.columns, &values)?;
        self.rows += 1;
        Ok(())
    }

    fn of_csv(&self, error: &csv::Error) -> Error {
        let line = error.position().map(csv::Position::line);
        match error.kind() {
            csv::ErrorKind::Io(error) => self.of_io(error),
            csv::ErrorKind::UnequalLengths {
                expected_len, len, ..
            } => self.at(line, format_args!("it has {len} cells, not {expected_len}")),
            csv::ErrorKind::Utf8 { .. } => self.at(line, "it is not UTF-8"),
            other => self.at(line, format_args!("{other:?}")),
        }
    }

    fn of_io(&self, error: &std::io::Error) -> Error {
        let error = std::io::Error::new(error.kind(), error.to_string());
        Error::io(self.input.path.display(), error)
    }

    fn lines(&mut self, content: impl Read) -> Result<()> {
        let mut content = BufReader::new(content);
        let (mut line, mut number) = (Vec::new(), 0);
        loop {
            line.clear();
            let read = content.read_until(b'\n', &mut line);
            if read.map_err(|error| self.of_io(&error))? == 0 {
                return Ok(());
            }
            number += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let object = serde_json::from_slice(&line);
            let object = object.map_err(|error| self.at(Some(number), error))?;
            self.object(object)
                .map_err(|error| error.context(self.line(number)))?;
        }
    }

    fn list(&mut self, content: impl Read) -> Result<()> {
        /// Adds the objects of a list one by one; keeps the first error that is not JSON's.
        struct Objects<'t, 'a>(&'t mut TableInput<'a>, &'t mut Option<Error>);

        impl<'de> Visitor<'de> for Objects<'_, '_> {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of objects")
            }

            fn visit_seq<S: SeqAccess<'de>>(
                self,
                mut list: S,
            ) -> std::result::Result<(), S::Error> {
                let mut number = 0;
                while let Some(object) = list.next_element()? {
                    number += 1;
                    if let Err(error) = self.0.object(object) {
                        let row = format_args!("{}: row {number}", self.0.input.path.display());
                        *self.1 = Some(error.context(row));
                        return Err(serde::de::Error::custom("a row was refused"));
                    }
                }
                Ok(())
            }
        }

        let mut refused = None;
        let mut json = serde_json::Deserializer::from_reader(BufReader::new(content));
        let read = json.deserialize_seq(Objects(self, &mut refused));
        let read = read.and_then(|()| json.end());
        match refused {
            Some(error) => Err(error),
            None => read.map_err(|error| match error.is_io() {
                true => self.of_io(&error.into()),
                false => self.at(Some(error.line() as u64), error),
            }),
        }
    }

    /// Adds a row.
    fn object(&mut self, object: Map<String, Json>) -> Result<()> {
        if object.is_empty() {
            return Err(Error::invalid("it has no fields"));
        }
        let mut row = BTreeMap::new();
        for (name, value) in object {
            let wanted = self.input.types.get(&name);
            let cell = of_json(&value, wanted)
                .ok_or_else(|| Error::invalid(mismatch(&name, &value.to_string(), wanted)))?;
            if self.columns.is_empty() {
                self.begin(vec![name.clone()])?;
            } else if !self.columns.contains(&name) {
                self.database.add_column(self.table, &name)?;
                self.columns.push(name.clone());
            }
            row.insert(name, cell);
        }
        let values = self.columns.iter().map(|name| row.remove(name));
        let values: Vec<SqlValue> = values.map(|cell| cell.unwrap_or(SqlValue::Null)).collect();
        self.database.insert(self.table, &self.columns, &values)?;
        self.rows += 1;
        Ok(())
    }
}

fn mismatch(name: &str, cell: &str, wanted: Option<&ColumnType>) -> String {
    let wanted = match wanted {
        Some(ColumnType::Int) => "an int",
        Some(ColumnType::Float) => "a float",
        Some(ColumnType::Bool) => "a bool",
        Some(ColumnType::Text) | None => "text",
    };
    format!("column '{name}': '{cell}' is not {wanted}")
}

fn of_text(cell: &str, wanted: Option<&ColumnType>) -> Option<SqlValue> {
    let wanted = wanted.unwrap_or(&ColumnType::Text);
    match wanted {
        ColumnType::Text => Some(SqlValue::Text(cell.to_owned())),
        _ if cell.is_empty() => Some(SqlValue::Null),
        ColumnType::Int => cell.trim().parse().ok().map(SqlValue::Integer),
        ColumnType::Float => cell.trim().parse().ok().map(SqlValue::Real),
        ColumnType::Bool => match cell.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Some(SqlValue::Integer(1)),
            "false" | "no" | "0" => Some(SqlValue::Integer(0)),
            _ => None,
        },
    }
}

fn of_json(value: &Json, wanted: Option<&ColumnType>) -> Option<SqlValue> {
    match (value, wanted) {
        (Json::Null, _) => Some(SqlValue::Null),
        (Json::String(text), wanted) => of_text(text, wanted),
        (Json::Bool(yes), None | Some(ColumnType::Bool)) => Some(SqlValue::Integer((*yes).into())),
        (Json::Number(number), Some(ColumnType::Int)) => number.as_i64().map(SqlValue::Integer),
        (Json::Number(number), Some(ColumnType::Float)) => number.as_f64().map(SqlValue::Real),
        (Json::Number(number), None) => match number.as_i64() {
            Some(whole) => Some(SqlValue::Integer(whole)),
            None => number.as_f64().map(SqlValue::Real),
        },
        (other, None | Some(ColumnType::Text)) => Some(SqlValue::Text(other.to_string())),
        _ => None,
    }
}
