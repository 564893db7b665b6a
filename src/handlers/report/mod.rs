//! The kind `report`: queries a database, writes the rows to a file, and mails it.

mod mail;
mod names;
mod page;
mod settings;
mod table;
mod work;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::handlers::built_in::BuiltInJob;
use crate::handlers::built_in::one_or_more;
use crate::handlers::email::{Email, Mailbox};
use crate::handlers::report::names::{check_name, check_pattern};
pub use crate::handlers::report::settings::ReportSettings;
use crate::handlers::report::work::ReportWork;
use crate::model::job::{Job, JobOptions, NewJob};
use crate::runner::context::Context;
use crate::runner::handler::Failure;
use crate::{Error, Result};

/// The payload of kind `report`, and what the settings say of a report by its name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportJob {
    /// Its name. Without queries it is that of a report of the settings, which says all that the payload does not.
    #[serde(default, alias = "type", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The SQLite file that it is about; the settings', or the queue's own, if this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<PathBuf>,
    /// What it shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<ReportQuery>,
    /// The format of the file; as the end of `output` says, or CSV, if this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<ReportFormat>,
    /// The file, with `{name}`, `{date}`, `{time}` and `{ext}` for what they stand for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The template that HTML or text is made from; jobq's own, if this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Who gets it by mail.
    #[serde(
        default,
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub recipients: Vec<Mailbox>,
    /// The subject of the mail, with the same placeholders as `output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What happens if no query has rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty: Option<EmptyReport>,
    /// A query with more rows fails the job; 100000, if this is left out.
    #[serde(default, alias = "maxRows", skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<u64>,
    /// Whether texts that a spreadsheet would calculate are marked as texts in CSV; if it is mailed, if this is left out.
    #[serde(default, alias = "csvSafe", skip_serializing_if = "Option::is_none")]
    pub csv_safe: Option<bool>,
}

/// A query of a report.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportQuery {
    /// What stands above its rows; the name of the report, if this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// One SELECT.
    pub sql: String,
    /// The values of its parameters, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Value>,
}

/// The format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReportFormat {
    /// Comma-separated values, the names of the columns in the first line; of one query.
    Csv,
    /// A JSON object a line; of one query.
    Jsonl,
    /// A JSON list of objects; of several queries, an object with a list for each title.
    Json,
    /// A page with a table for each query.
    Html,
    /// A text with a table for each query.
    Text,
}

/// What becomes of a report without rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EmptyReport {
    /// It is written and mailed as any other.
    #[default]
    Send,
    /// There is no file and no mail.
    Skip,
}

/// The result of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReportResult {
    /// The file; none if the report was skipped.
    pub path: Option<PathBuf>,
    /// Its size.
    pub bytes: u64,
    /// How many rows each query has, by title.
    pub rows: BTreeMap<String, u64>,
    /// Whom it is mailed to, by a child of the job.
    pub mailed_to: Vec<Mailbox>,
}

impl Job for ReportJob {
    const KIND: &'static str = "report";
    type Output = ReportResult;

    fn options(&self, job: NewJob) -> NewJob {
        job.with_options(ReportJob::defaults())
    }
}

const MAX_ROWS: u64 = 100_000;

impl BuiltInJob for ReportJob {
    type Settings = ReportSettings;
    const HELP: &'static str = include_str!("help.txt");

    fn defaults() -> JobOptions {
        JobOptions {
            timeout: Some(Duration::from_secs(600)),
            max_retries: Some(1),
            retry_delay: Some(Duration::from_secs(60)),
            ..JobOptions::default()
        }
    }

    fn relative_to(settings: ReportSettings, folder: &Path) -> ReportSettings {
        settings.relative_to(folder)
    }

    fn check(&self) -> Result<()> {
        match (&self.name, self.queries.is_empty()) {
            (None, true) => Err(Error::invalid(
                "'queries' is missing, and so is 'name', which may name a report of the settings",
            )),
            // The settings say the rest.
            (Some(_), true) => self.check_fields(),
            (_, false) => self.check_whole(),
        }
    }

    fn run(
        self,
        settings: &ReportSettings,
        ctx: &Context,
    ) -> std::result::Result<ReportResult, Failure> {
        let job = settings.whole(self).map_err(Failure::permanent)?;
        ReportWork::begin(&job, settings, ctx)?.run()
    }
}

impl ReportJob {
    /// Checks each field.
    fn check_fields(&self) -> Result<()> {
        if let Some(name) = &self.name {
            check_name("name", name)?;
        }
        if let Some(template) = &self.template {
            check_name("template", template)?;
        }
        for (what, pattern) in [("output", &self.output), ("subject", &self.subject)] {
            if let Some(pattern) = pattern {
                check_pattern(what, pattern)?;
            }
        }
        if self.max_rows == Some(0) {
            return Err(Error::invalid("'max_rows' must be at least 1"));
        }
        if self.recipients.is_empty() {
            return Ok(());
        }
        let subject = self.subject.as_deref().unwrap_or_default();
        Email::new(self.recipients.clone(), subject, "").check()
    }

    /// Checks a report that says all that there is to say.
    fn check_whole(&self) -> Result<()> {
        let refused = |why: String| Err(Error::invalid(why));
        self.check_fields()?;
        for (at, query) in self.queries.iter().enumerate() {
            let several = self.queries.len() > 1;
            match &query.title {
                None if several => {
                    return refused("each of several queries needs a 'title'".to_owned());
                }
                title if self.queries[..at].iter().any(|other| other.title == *title) => {
                    return refused(format!(
                        "two queries have the title '{}'",
                        self.title(query)
                    ));
                }
                _ => {}
            }
        }
        match self.format() {
            ReportFormat::Csv | ReportFormat::Jsonl if self.queries.len() > 1 => refused(
                "a csv or jsonl file has the rows of one query; use html, text or json, or a report for each"
                    .to_owned(),
            ),
            ReportFormat::Html | ReportFormat::Text => Ok(()),
            _ if self.template.is_some() => refused("'template' goes with html and text".to_owned()),
            _ => Ok(()),
        }
    }

    /// What the settings say of the report where the payload does not.
    fn or(self, named: &ReportJob) -> ReportJob {
        let named = named.clone();
        let recipients = match self.recipients.is_empty() {
            true => named.recipients,
            false => self.recipients,
        };
        ReportJob {
            name: self.name,
            database: self.database.or(named.database),
            queries: named.queries,
            format: self.format.or(named.format),
            output: self.output.or(named.output),
            template: self.template.or(named.template),
            recipients,
            subject: self.subject.or(named.subject),
            empty: self.empty.or(named.empty),
            max_rows: self.max_rows.or(named.max_rows),
            csv_safe: self.csv_safe.or(named.csv_safe),
        }
    }

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("report")
    }

    fn title<'a>(&'a self, query: &'a ReportQuery) -> &'a str {
        query.title.as_deref().unwrap_or_else(|| self.name())
    }

    fn format(&self) -> ReportFormat {
        let by_name = || {
            let (_, end) = self.output.as_ref()?.rsplit_once('.')?;
            ReportFormat::ALL
                .into_iter()
                .find(|format| format.extension() == end)
        };
        self.format.or_else(by_name).unwrap_or(ReportFormat::Csv)
    }
}

impl ReportFormat {
    const ALL: [ReportFormat; 5] = [
        ReportFormat::Csv,
        ReportFormat::Jsonl,
        ReportFormat::Json,
        ReportFormat::Html,
        ReportFormat::Text,
    ];

    /// How the names of its files end.
    fn extension(self) -> &'static str {
        match self {
            ReportFormat::Csv => "csv",
            ReportFormat::Jsonl => "jsonl",
            ReportFormat::Json => "json",
            ReportFormat::Html => "html",
            ReportFormat::Text => "txt",
        }
    }
}
