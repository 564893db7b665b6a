//! A report made from a template: jobq's own page, or a file of the settings' folder.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use minijinja::value::Value;
use minijinja::{ErrorKind, context, escape_formatter};

use crate::handlers::input_file::QueueFiles;
use crate::handlers::report::table::{ReportTable, ReportTables};
use crate::handlers::template::{environment, render, template_error};
use crate::runner::context::Context;
use crate::{Error, Result};

/// How much a template may do without any rows, and for each byte of them.
const FUEL: u64 = 100_000;
const FUEL_OF_A_BYTE: u64 = 10;

/// A template and what it shows.
pub(super) struct ReportPage<'a> {
    pub(super) name: &'a str,
    /// When it was made: the day, and the time of the day.
    pub(super) made: (&'a str, &'a str),
    pub(super) tables: &'a ReportTables,
}

impl ReportPage<'_> {
    /// Fills jobq's own template.
    pub(super) fn write(&self, to: impl Write) -> Result<()> {
        self.render(None, "report.html", Some(include_str!("report.html")), to)
    }

    /// Fills a template of the settings' folder.
    pub(super) fn write_from(
        &self,
        folder: (&Path, &QueueFiles),
        file: &str,
        to: impl Write,
    ) -> Result<()> {
        self.render(Some(folder), file, None, to)
    }

    fn render(
        &self,
        folder: Option<(&Path, &QueueFiles)>,
        file: &str,
        source: Option<&str>,
        to: impl Write,
    ) -> Result<()> {
        let fuel = FUEL + FUEL_OF_A_BYTE * self.tables.bytes as u64;
        let mut env = environment(folder, fuel);
        // What is NULL shows as nothing.
        env.set_formatter(|out, state, value| match value.is_none() {
            true => Ok(()),
            false => escape_formatter(out, state, value),
        });
        let template = match source {
            Some(source) => env.template_from_named_str(file, source),
            None => env.get_template(file),
        };
        let template = template.map_err(|error| match (error.kind(), folder) {
            (ErrorKind::TemplateNotFound, Some((folder, _))) => Error::invalid(format!(
                "there is no template {file} in {}",
                folder.display()
            )),
            _ => template_error(&error),
        })?;
        let (date, time) = self.made;
        let queries: Vec<Value> = self.tables.tables.iter().map(of_table).collect();
        render(
            &template,
            context!(name => self.name, date, time, queries),
            to,
        )
    }
}

fn of_table(table: &ReportTable) -> Value {
    let column = |(at, name): (usize, &String)| context!(name, number => table.is_number(at));
    let columns: Vec<Value> = table.columns.iter().enumerate().map(column).collect();
    let rows = table.rows.iter().map(Arc::clone);
    let rows: Vec<Value> = rows.map(Value::from_dyn_object).collect();
    context!(title => table.title.as_str(), count => table.count(), columns, rows)
}

/// Ends what is written to it when the attempt is to stop, and keeps the error of what it writes to.
pub(super) struct PageWriter<'a, W> {
    pub(super) to: W,
    pub(super) ctx: &'a Context,
    pub(super) failed: Option<io::Error>,
}

impl<W: Write> Write for PageWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.ctx.is_cancelled() {
            return Err(io::Error::other("it was told to stop"));
        }
        let written = self.to.write(bytes);
        written.map_err(|error| {
            let told = io::Error::new(error.kind(), error.to_string());
            self.failed = Some(error);
            told
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
