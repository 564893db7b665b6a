//! One attempt at a report: the queries, the file, and the mail.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use jiff::Zoned;
use serde_json::Value as Json;

use crate::clock::{Clock, timestamp};
use crate::handlers::built_in::failed;
use crate::handlers::input_file::QueueFiles;
use crate::handlers::output_file::{OutputFile, OutputFiles};
use crate::handlers::paths::check_roots;
use crate::handlers::report::names::ReportNames;
use crate::handlers::report::page::{PageWriter, ReportPage};
use crate::handlers::report::table::ReportTables;
use crate::handlers::report::{
    EmptyReport, MAX_ROWS, ReportFormat, ReportJob, ReportQuery, ReportResult, ReportSettings,
};
use crate::handlers::row_writer::{RowWriter, TextFormat};
use crate::handlers::zone::zone_of;
use crate::model::job::Progress;
use crate::plural;
use crate::queue::{Database, RowSink, SqlValue};
use crate::runner::context::Context;
use crate::runner::handler::Failure;
use crate::{Error, Job, Result};

/// The name of a file where nothing else is said.
const OUTPUT: &str = "{name}-{date}.{ext}";
/// The progress is reported each time so many more rows are there.
const PROGRESS_ROWS: u64 = 1000;

pub(super) struct ReportWork<'a> {
    pub(super) job: &'a ReportJob,
    pub(super) settings: &'a ReportSettings,
    pub(super) ctx: &'a Context,
    pub(super) time: Zoned,
    /// The file.
    pub(super) place: PathBuf,
    database: Database,
    files: OutputFiles,
}

/// What is in the file.
pub(super) struct WrittenReport {
    /// The titles, and how many rows each query has.
    pub(super) rows: Vec<(String, u64)>,
    /// The rows, if people read the file.
    pub(super) tables: Option<ReportTables>,
}

impl<'a> ReportWork<'a> {
    /// Looks at everything that is named before any query runs.
    pub(super) fn begin(
        job: &'a ReportJob,
        settings: &'a ReportSettings,
        ctx: &'a Context,
    ) -> std::result::Result<ReportWork<'a>, Failure> {
        let roots = settings.roots.as_deref();
        let named = job.database.as_ref().map(|path| settings.folder.join(path));
        if let Some(path) = &named {
            check_roots(ReportJob::KIND, roots, path).map_err(|error| failed(ctx, error))?;
        }
        let source = named.or_else(|| settings.database.clone());
        let source = source.unwrap_or_else(|| ctx.queue().path());
        let time = timestamp(Clock::default().now_ms()).to_zoned(zone_of(ctx));
        let names = ReportNames {
            name: job.name(),
            time: &time,
            extension: job.format().extension(),
        };
        let place = match &job.output {
            Some(output) => settings.folder.join(names.fill(output)),
            None => {
                let beside = || ctx.queue().path().with_file_name("reports");
                settings
                    .to
                    .clone()
                    .unwrap_or_else(beside)
                    .join(names.fill(OUTPUT))
            }
        };
        let place = std::path::absolute(&place).map_err(|error| io_failed(ctx, &place, error))?;
        let folder = place.parent().unwrap_or(&place);
        if job.output.is_some() {
            check_roots(ReportJob::KIND, roots, &place).map_err(|error| failed(ctx, error))?;
        }
        refuse_other(&place, &source)?;
        let database = open(ctx, &source)?;
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io_failed(ctx, folder, error));
            }
            _ => {}
        }
        Ok(ReportWork {
            files: OutputFiles::of(ctx)?,
            job,
            settings,
            ctx,
            time,
            place,
            database,
        })
    }

    pub(super) fn run(self) -> std::result::Result<ReportResult, Failure> {
        let in_place = |error| io_failed(self.ctx, &self.place, error);
        let folder = self.place.parent().unwrap_or(&self.place);
        self.files.remove_parts(folder).map_err(in_place)?;
        let mut file = self.files.create(&self.place).map_err(in_place)?;
        let written = self
            .write(&mut file)
            .map_err(|error| failed(self.ctx, error))?;
        let mut result = ReportResult {
            rows: written.rows.iter().cloned().collect::<BTreeMap<_, _>>(),
            ..ReportResult::default()
        };
        let is_empty = written.rows.iter().all(|(_, rows)| *rows == 0);
        if is_empty && self.job.empty == Some(EmptyReport::Skip) {
            return Ok(result);
        }
        result.bytes = file.file().metadata().map_err(in_place)?.len();
        if !self.job.recipients.is_empty() {
            self.mail(&mut file, &written, result.bytes)?;
            result.mailed_to.clone_from(&self.job.recipients);
        }
        if self.ctx.is_cancelled() {
            return Err(Failure::cancelled());
        }
        file.finish().map_err(in_place)?;
        result.path = Some(self.place);
        Ok(result)
    }

    pub(super) fn names(&self) -> ReportNames<'_> {
        ReportNames {
            name: self.job.name(),
            time: &self.time,
            extension: self.job.format().extension(),
        }
    }

    /// Runs the queries and writes their rows.
    fn write(&self, file: &mut OutputFile) -> Result<WrittenReport> {
        let is_safe = self.job.csv_safe.unwrap_or(!self.job.recipients.is_empty());
        let format = match self.job.format() {
            ReportFormat::Csv if is_safe => TextFormat::SafeCsv,
            ReportFormat::Csv => TextFormat::Csv,
            ReportFormat::Jsonl => TextFormat::Jsonl,
            ReportFormat::Json => TextFormat::Json,
            ReportFormat::Html | ReportFormat::Text => return self.write_tables(file),
        };
        let not_written = |error| Error::io(self.place.display(), error);
        let mut to = BufWriter::new(file.file());
        let mut rows = Vec::new();
        let by_title = self.job.queries.len() > 1;
        for (at, query) in self.job.queries.iter().enumerate() {
            if by_title {
                let title = Json::from(self.job.title(query));
                let before = if at == 0 { "{" } else { "," };
                write!(to, "{before}\n{title}: ").map_err(not_written)?;
            }
            let mut writer = RowWriter::new(format, to);
            rows.push(self.query(query, &mut writer)?);
            to = writer.finish()?;
        }
        if by_title {
            writeln!(to, "}}")
                .and_then(|()| to.flush())
                .map_err(not_written)?;
        }
        Ok(WrittenReport { rows, tables: None })
    }

    /// The same, laid out for people.
    fn write_tables(&self, file: &mut OutputFile) -> Result<WrittenReport> {
        let mut tables = ReportTables::default();
        let mut rows = Vec::new();
        for query in &self.job.queries {
            tables.begin_table(self.job.title(query));
            rows.push(self.query(query, &mut tables)?);
        }
        let mut to = PageWriter {
            to: BufWriter::new(file.file()),
            ctx: self.ctx,
            failed: None,
        };
        let written = self.lay_out(&tables, &mut to);
        if let Some(error) = to.failed {
            return Err(Error::io(self.place.display(), error));
        }
        written?;
        Ok(WrittenReport {
            rows,
            tables: Some(tables),
        })
    }

    fn lay_out(&self, tables: &ReportTables, to: &mut impl Write) -> Result<()> {
        let (date, time) = (self.names().date(), self.time.strftime("%H:%M").to_string());
        let page = ReportPage {
            name: self.job.name(),
            made: (&date, &time),
            tables,
        };
        if let Some(template) = &self.job.template {
            let folder = self.settings.templates.as_deref();
            let folder = folder.ok_or_else(|| {
                Error::invalid("'template' needs the folder 'templates' in [kinds.report.settings]")
            })?;
            let file = format!("{template}.{}", self.job.format().extension());
            let queue = QueueFiles::of(self.ctx);
            page.write_from((folder, &queue), &file, &mut *to)?;
        } else if self.job.format() == ReportFormat::Html {
            page.write(&mut *to)?;
        } else {
            let written = tables.write_text(&self.heading(), &mut *to);
            written.map_err(|error| Error::io(self.place.display(), error))?;
        }
        to.flush()
            .map_err(|error| Error::io(self.place.display(), error))
    }

    /// The first line of a text.
    pub(super) fn heading(&self) -> String {
        format!(
            "{}, {}",
            self.job.name(),
            self.time.strftime("%Y-%m-%d %H:%M")
        )
    }

    /// Runs a query. Returns its title and how many rows it has.
    fn query(&self, query: &ReportQuery, to: &mut dyn RowSink) -> Result<(String, u64)> {
        let title = self.job.title(query);
        let mut counted = CountedRows {
            to,
            title,
            rows: 0,
            max_rows: self.job.max_rows.unwrap_or(MAX_ROWS),
            ctx: self.ctx,
        };
        let params = query.params.iter();
        let params: Vec<_> = params
            .map(|(name, json)| (name.clone(), of_json(json)))
            .collect();
        let queried = self.database.query(&query.sql, &params, &mut counted);
        queried.map_err(|error| error.context(format_args!("query '{title}'")))?;
        Ok((title.to_owned(), counted.rows))
    }
}

/// Counts rows on their way, and ends at too many: a report that lacks some without saying so would be wrong.
struct CountedRows<'a> {
    to: &'a mut dyn RowSink,
    title: &'a str,
    rows: u64,
    max_rows: u64,
    ctx: &'a Context,
}

impl RowSink for CountedRows<'_> {
    fn begin(&mut self, columns: &[String]) -> Result<()> {
        self.to.begin(columns)
    }

    fn row(&mut self, values: &[SqlValue]) -> Result<()> {
        if self.rows == self.max_rows {
            return Err(Error::invalid(format!(
                "it has more than {}; give it a LIMIT, or the report a higher 'max_rows'",
                plural::count(self.max_rows, "row")
            )));
        }
        self.rows += 1;
        if self.rows.is_multiple_of(PROGRESS_ROWS) {
            let message = format!("{}: {} rows", self.title, self.rows);
            self.ctx.progress(Progress::default().message(message));
        }
        self.to.row(values)
    }
}

/// A value of a payload, as SQLite has it: lists and objects are their JSON.
fn of_json(value: &Json) -> SqlValue {
    match value {
        Json::Null => SqlValue::Null,
        Json::Bool(yes) => SqlValue::Integer((*yes).into()),
        Json::String(text) => SqlValue::Text(text.clone()),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => SqlValue::Integer(whole),
            (None, Some(number)) => SqlValue::Real(number),
            (None, None) => SqlValue::Text(number.to_string()),
        },
        other => SqlValue::Text(other.to_string()),
    }
}

/// Opens the database and begins to read, so that all queries see the same state.
fn open(ctx: &Context, path: &Path) -> std::result::Result<Database, Failure> {
    let found = fs::metadata(path).map_err(|error| io_failed(ctx, path, error))?;
    // Nobody could interrupt the opening of a pipe.
    if !found.is_file() {
        let why = format!("{}: it is not a file", path.display());
        return Err(Failure::permanent(why));
    }
    let goes_on = || {
        let cancellation = ctx.cancellation().clone();
        Box::new(move || !cancellation.is_cancelled())
    };
    let opened = Database::open(path, goes_on()).and_then(|database| {
        database.begin_reading(goes_on())?;
        Ok(database)
    });
    opened.map_err(|error| failed(ctx, error.context(path.display())))
}

/// Refuses to put the report in the place of something that is no report.
fn refuse_other(place: &Path, source: &Path) -> std::result::Result<(), Failure> {
    let refused = |why: &dyn std::fmt::Display| {
        let why = format!(
            "the report cannot be written to '{}': {why}",
            place.display()
        );
        Err(Failure::permanent(why))
    };
    let Ok(at) = place.canonicalize() else {
        return Ok(());
    };
    match source.canonicalize() {
        _ if at.is_dir() => refused(&"it is a folder"),
        Ok(source) if source == at => refused(&"it is the database that is queried"),
        _ => Ok(()),
    }
}

fn io_failed(ctx: &Context, path: &Path, error: io::Error) -> Failure {
    failed(ctx, Error::io(path.display(), error))
}
