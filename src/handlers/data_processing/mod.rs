//! The kind `data_processing`: rows of files in, one query, rows of a file out.

mod input;
mod work;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::handlers::built_in::{BuiltInJob, NoSettings};
use crate::handlers::data_processing::work::DataWork;
use crate::model::job::{Job, JobOptions, NewJob};
use crate::runner::context::Context;
use crate::runner::handler::Failure;
use crate::{Error, Result};

/// The payload of kind `data_processing`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataProcessing {
    /// The files, which become tables.
    pub inputs: Vec<DataInput>,
    /// The query.
    pub sql: String,
    /// Where its rows are written.
    pub output: DataOutput,
}

/// A file that becomes a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataInput {
    /// The file.
    pub path: PathBuf,
    /// Its format; as the end of its name says, if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<RowFormat>,
    /// The name of the table; the name of the file without its end, if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The types of columns.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, ColumnType>,
}

/// Where the rows of a query are written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataOutput {
    /// The file.
    pub path: PathBuf,
    /// Its format; as the end of its name says, if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<RowFormat>,
}

/// A format of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RowFormat {
    /// Comma-separated values, the names of the columns in the first line.
    Csv,
    /// A JSON object a line.
    Jsonl,
    /// A JSON list of objects.
    Json,
    /// A SQLite file with the table `rows`; for output only.
    Sqlite,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ColumnType {
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// 1 or 0.
    Bool,
    /// Text.
    Text,
}

/// The result of a [`DataProcessing`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DataResult {
    /// How many rows were read, by table.
    pub read: BTreeMap<String, u64>,
    /// The file that was written.
    pub path: PathBuf,
    /// How many rows it has.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
}

impl Job for DataProcessing {
    const KIND: &'static str = "data_processing";
    type Output = DataResult;

    fn options(&self, job: NewJob) -> NewJob {
        job.with_options(DataProcessing::defaults())
    }
}

impl BuiltInJob for DataProcessing {
    type Settings = NoSettings;
    const HELP: &'static str = include_str!("help.txt");

    fn defaults() -> JobOptions {
        JobOptions {
            timeout: Some(Duration::from_secs(600)),
            max_retries: Some(2),
            retry_delay: Some(Duration::from_secs(10)),
            ..JobOptions::default()
        }
    }

    fn relative_to(settings: NoSettings, _: &Path) -> NoSettings {
        settings
    }

    fn check(&self) -> Result<()> {
        let refused = |why: String| Err(Error::invalid(why));
        if self.inputs.is_empty() {
            return refused("'inputs' is empty".to_owned());
        }
        let mut tables: Vec<String> = Vec::new();
        for input in &self.inputs {
            if input.format()? == RowFormat::Sqlite {
                return refused("an input is csv, jsonl or json".to_owned());
            }
            // SQLite's names of tables are the same in capitals.
            let table = input.table()?.to_lowercase();
            if table.is_empty() || table.starts_with("sqlite_") {
                return refused(format!("a table cannot be named '{table}'"));
            }
            if tables.contains(&table) {
                return refused(format!(
                    "two tables are named '{table}'; give one a 'table'"
                ));
            }
            tables.push(table);
        }
        self.output.format().map(drop)
    }

    fn run(self, _: &NoSettings, ctx: &Context) -> std::result::Result<DataResult, Failure> {
        DataWork::new(&self, ctx)?.run()
    }
}

impl DataInput {
    fn format(&self) -> Result<RowFormat> {
        format_of(self.format, &self.path)
    }

    fn table(&self) -> Result<&str> {
        let by_name = || self.path.file_stem().and_then(|stem| stem.to_str());
        let table = self.table.as_deref().or_else(by_name);
        table.ok_or_else(|| Error::invalid(format!("'{}' names no file", self.path.display())))
    }
}

impl DataOutput {
    fn format(&self) -> Result<RowFormat> {
        format_of(self.format, &self.path)
    }
}

fn format_of(format: Option<RowFormat>, path: &Path) -> Result<RowFormat> {
    let end = path.extension().and_then(|end| end.to_str());
    let by_name = match end.unwrap_or_default() {
        "csv" => Some(RowFormat::Csv),
        "jsonl" | "ndjson" => Some(RowFormat::Jsonl),
        "json" => Some(RowFormat::Json),
        "db" | "sqlite" | "sqlite3" => Some(RowFormat::Sqlite),
        _ => None,
    };
    format.or(by_name).ok_or_else(|| {
        Error::invalid(format!(
            "'{}' does not tell its format; say it in 'format'",
            path.display()
        ))
    })
}
