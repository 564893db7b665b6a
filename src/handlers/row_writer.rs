//! Rows of a query as text: CSV, JSON or a JSON object a line.

use std::io::Write;

use serde_json::{Map, Number, Value as Json};

use crate::model::hex::hex;
use crate::queue::{RowSink, SqlValue};
use crate::{Error, Result};

/// The formats of rows as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextFormat {
    Csv,
    Jsonl,
    Json,
}

/// Writes rows.
pub(crate) struct RowWriter<W: Write> {
    to: RowsTo<W>,
    columns: Vec<String>,
    pub(crate) rows: u64,
}

enum RowsTo<W: Write> {
    Csv(Box<csv::Writer<W>>),
    Lines(W),
    List(W),
}

impl<W: Write> RowWriter<W> {
    pub(crate) fn new(format: TextFormat, to: W) -> RowWriter<W> {
        RowWriter {
            to: match format {
                TextFormat::Csv => RowsTo::Csv(Box::new(csv::Writer::from_writer(to))),
                TextFormat::Jsonl => RowsTo::Lines(to),
                TextFormat::Json => RowsTo::List(to),
            },
            columns: Vec::new(),
            rows: 0,
        }
    }

    /// Writes the end.
    pub(crate) fn finish(self) -> Result<W> {
        let done = match self.to {
            RowsTo::Csv(csv) => csv.into_inner().map_err(|error| error.into_error()),
            RowsTo::Lines(to) => Ok(to),
            RowsTo::List(mut to) => {
                let end = if self.rows == 0 { "[]\n" } else { "\n]\n" };
                to.write_all(end.as_bytes()).map(|()| to)
            }
        };
        done.and_then(|mut to| to.flush().map(|()| to))
            .map_err(not_written)
    }
}

impl<W: Write> RowSink for RowWriter<W> {
    fn begin(&mut self, columns: &[String]) -> Result<()> {
        self.columns = columns.to_vec();
        match &mut self.to {
            RowsTo::Csv(csv) => csv.write_record(columns).map_err(of_csv),
            RowsTo::Lines(_) | RowsTo::List(_) => match twice(columns) {
                Some(name) => Err(Error::invalid(format!(
                    "two columns of the query are named '{name}'; give one another name with AS"
                ))),
                None => Ok(()),
            },
        }
    }

    fn row(&mut self, values: &[SqlValue]) -> Result<()> {
        let is_first = self.rows == 0;
        self.rows += 1;
        let object = || {
            let values = self.columns.iter().cloned().zip(values.iter().map(to_json));
            Json::Object(values.collect::<Map<_, _>>())
        };
        match &mut self.to {
            RowsTo::Csv(csv) => {
                let cells = values.iter().map(to_text);
                csv.write_record(cells).map_err(of_csv)
            }
            RowsTo::Lines(to) => writeln!(to, "{}", object()).map_err(not_written),
            RowsTo::List(to) => {
                let between = if is_first { "[\n" } else { ",\n" };
                write!(to, "{between}{}", object()).map_err(not_written)
            }
        }
    }
}

fn not_written(error: std::io::Error) -> Error {
    Error::io("the rows cannot be written", error)
}

fn of_csv(error: csv::Error) -> Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => not_written(error),
        other => Error::invalid(format!("the rows cannot be written: {other:?}")),
    }
}

/// The first name that occurs twice.
pub(crate) fn twice(names: &[String]) -> Option<&str> {
    let mut at = names.iter().enumerate();
    at.find(|(at, name)| names[..*at].contains(name))
        .map(|(_, name)| &**name)
}

fn to_json(value: &SqlValue) -> Json {
    match value {
        SqlValue::Null => Json::Null,
        SqlValue::Integer(number) => Json::from(*number),
        // JSON has no infinite numbers.
        SqlValue::Real(number) => Number::from_f64(*number).map_or(Json::Null, Json::Number),
        SqlValue::Text(text) => Json::from(&**text),
        SqlValue::Blob(bytes) => Json::from(hex(bytes)),
    }
}

fn to_text(value: &SqlValue) -> String {
    match value {
        SqlValue::Null => String::new(),
        SqlValue::Integer(number) => number.to_string(),
        SqlValue::Real(number) => format!("{number:?}"),
        SqlValue::Text(text) => text.clone(),
        SqlValue::Blob(bytes) => hex(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: TextFormat, rows: &[[SqlValue; 2]]) -> String {
        let mut writer = RowWriter::new(format, Vec::new());
        writer.begin(&["a".to_owned(), "b".to_owned()]).unwrap();
        for row in rows {
            writer.row(row).unwrap();
        }
        String::from_utf8(writer.finish().unwrap()).unwrap()
    }

    #[test]
    fn values_of_every_type_are_written_in_every_format() {
        let rows = [
            [
                SqlValue::Integer(-1),
                SqlValue::Text("x, \"y\"\n".to_owned()),
            ],
            [SqlValue::Real(1.0), SqlValue::Null],
            [SqlValue::Blob(vec![0, 255]), SqlValue::Real(f64::INFINITY)],
        ];
        let csv = "a,b\n-1,\"x, \"\"y\"\"\n\"\n1.0,\n00ff,inf\n";
        assert_eq!(written(TextFormat::Csv, &rows), csv);
        let lines = [
            r#"{"a":-1,"b":"x, \"y\"\n"}"#,
            r#"{"a":1.0,"b":null}"#,
            r#"{"a":"00ff","b":null}"#,
        ];
        let jsonl: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(written(TextFormat::Jsonl, &rows), jsonl);
        let json = format!("[\n{}\n]\n", lines.join(",\n"));
        assert_eq!(written(TextFormat::Json, &rows), json);
        assert_eq!(written(TextFormat::Json, &[]), "[]\n");
        assert_eq!(written(TextFormat::Csv, &[]), "a,b\n");
    }

    #[test]
    fn an_object_has_no_name_twice() {
        let columns = ["a".to_owned(), "a".to_owned()];
        for (format, is_fine) in [(TextFormat::Json, false), (TextFormat::Csv, true)] {
            let mut writer = RowWriter::new(format, Vec::new());
            assert_eq!(writer.begin(&columns).is_ok(), is_fine);
        }
    }
}
