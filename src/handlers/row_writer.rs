//! Rows of a query as text: CSV, JSON or a JSON object a line.

use std::io::Write;

use serde_json::{Number, Value as Json};

use crate::model::hex::hex;
use crate::queue::{RowSink, SqlValue};
use crate::{Error, Result};

/// The formats of rows as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextFormat {
    Csv,
    /// CSV for spreadsheets of others: no text in it is a formula.
    #[cfg_attr(not(feature = "report"), allow(dead_code))]
    SafeCsv,
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
    Csv(Box<csv::Writer<W>>, fn(String) -> String),
    Lines(W),
    List(W),
}

impl<W: Write> RowWriter<W> {
    pub(crate) fn new(format: TextFormat, to: W) -> RowWriter<W> {
        RowWriter {
            to: match format {
                TextFormat::Csv => RowsTo::Csv(Box::new(csv::Writer::from_writer(to)), |text| text),
                TextFormat::SafeCsv => {
                    // Quoted, a cell stays one where spreadsheets expect semicolons.
                    let mut quoting = csv::WriterBuilder::new();
                    quoting.quote_style(csv::QuoteStyle::NonNumeric);
                    RowsTo::Csv(Box::new(quoting.from_writer(to)), not_a_formula)
                }
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
            RowsTo::Csv(csv, _) => csv.into_inner().map_err(|error| error.into_error()),
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
            RowsTo::Csv(csv, of_text) => {
                let names = columns.iter().map(|name| of_text(name.clone()));
                csv.write_record(names).map_err(of_csv)
            }
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
        // In the order of the columns.
        let object = || {
            let fields = self.columns.iter().zip(values);
            let fields =
                fields.map(|(name, value)| format!("{}:{}", Json::from(&**name), to_json(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        };
        match &mut self.to {
            RowsTo::Csv(csv, of_text) => {
                let cells = values.iter().map(|value| match value {
                    SqlValue::Text(text) => of_text(text.clone()),
                    value => to_text(value),
                });
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

/// A text that a spreadsheet would calculate gets a quotation mark in front, which it shows as text.
fn not_a_formula(text: String) -> String {
    let is_number = || text.parse::<f64>().is_ok();
    match text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
        true if !is_number() => format!("'{text}"),
        _ => text,
    }
}

pub(crate) fn to_text(value: &SqlValue) -> String {
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
        writer.begin(&["b", "a"].map(str::to_owned)).unwrap();
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
        let csv = "b,a\n-1,\"x, \"\"y\"\"\n\"\n1.0,\n00ff,inf\n";
        assert_eq!(written(TextFormat::Csv, &rows), csv);
        let lines = [
            r#"{"b":-1,"a":"x, \"y\"\n"}"#,
            r#"{"b":1.0,"a":null}"#,
            r#"{"b":"00ff","a":null}"#,
        ];
        let jsonl: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(written(TextFormat::Jsonl, &rows), jsonl);
        let json = format!("[\n{}\n]\n", lines.join(",\n"));
        assert_eq!(written(TextFormat::Json, &rows), json);
        assert_eq!(written(TextFormat::Json, &[]), "[]\n");
        assert_eq!(written(TextFormat::Csv, &[]), "b,a\n");
    }

    #[test]
    fn no_text_of_a_safe_csv_is_a_formula() {
        let text = |text: &str| SqlValue::Text(text.to_owned());
        for (cell, expected) in [
            (text("=1+1"), r#""'=1+1""#),
            (text("+A1"), r#""'+A1""#),
            (text("-2+3"), r#""'-2+3""#),
            (text("@SUM(A1)"), r#""'@SUM(A1)""#),
            (text("\t=1"), "\"'\t=1\""),
            (text("\r=1"), "\"'\r=1\""),
            (text("＝1"), r#""'＝1""#),
            (text("a;=1"), r#""a;=1""#),
            (text("a=1"), r#""a=1""#),
            (text("-5.5"), "-5.5"),
            (text(""), r#""""#),
            (SqlValue::Integer(-5), "-5"),
            (SqlValue::Real(-0.5), "-0.5"),
        ] {
            let csv = written(TextFormat::SafeCsv, &[[cell, SqlValue::Integer(1)]]);
            assert_eq!(csv, format!("\"b\",\"a\"\n{expected},1\n"));
        }
    }

    #[test]
    fn an_object_has_no_name_twice() {
        let columns = ["a", "a"].map(str::to_owned);
        for (format, is_fine) in [(TextFormat::Json, false), (TextFormat::Csv, true)] {
            let mut writer = RowWriter::new(format, Vec::new());
            assert_eq!(writer.begin(&columns).is_ok(), is_fine);
        }
    }
}
