//! One attempt: the inputs, the query, the output.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read};
use std::os::unix::fs::MetadataExt;

use crate::Error;
use crate::handlers::built_in::failed;
use crate::handlers::data_processing::input::TableInput;
use crate::handlers::data_processing::{DataInput, DataProcessing, DataResult, RowFormat};
use crate::handlers::input_file::open_input;
use crate::handlers::output_file::{OutputFile, OutputFiles, folder_of};
use crate::handlers::row_writer::{RowWriter, TextFormat};
use crate::model::job::Progress;
use crate::queue::{Database, RowSink, SqlValue};
use crate::runner::context::Context;
use crate::runner::handler::Failure;

/// The table of an output that is a database.
const TABLE: &str = "rows";

pub(super) struct DataWork<'a> {
    job: &'a DataProcessing,
    ctx: &'a Context,
    files: Vec<File>,
    /// The size of all inputs.
    total: u64,
    processed: Cell<u64>,
    /// So many tenths were reported.
    reported: Cell<u64>,
}

impl<'a> DataWork<'a> {
    /// Opens the inputs.
    pub(super) fn new(job: &'a DataProcessing, ctx: &'a Context) -> Result<DataWork<'a>, Failure> {
        let mut work = DataWork {
            job,
            ctx,
            files: Vec::new(),
            total: 0,
            processed: Cell::new(0),
            reported: Cell::new(0),
        };
        for input in &job.inputs {
            let opened = open_input(ctx, &input.path).and_then(|file| Ok((file.metadata()?, file)));
            let (found, file) =
                opened.map_err(|error| failed(ctx, Error::io(input.path.display(), error)))?;
            // Another attempt would find the rows of the query in it.
            if fs::metadata(&job.output.path)
                .is_ok_and(|output| (output.dev(), output.ino()) == (found.dev(), found.ino()))
            {
                let why = format!("{}: the output is an input, too", input.path.display());
                return Err(Failure::permanent(why));
            }
            work.total += found.len();
            work.files.push(file);
        }
        Ok(work)
    }

    pub(super) fn run(self) -> Result<DataResult, Failure> {
        let mut result = DataResult {
            path: self.job.output.path.clone(),
            ..DataResult::default()
        };
        let database = Database::temporary(self.goes_on()).map_err(|error| self.failed(error))?;
        for (input, file) in self.job.inputs.iter().zip(&self.files) {
            let (table, rows) = self
                .read(input, file, &database)
                .map_err(|error| self.failed(error))?;
            result.read.insert(table, rows);
        }
        self.ctx.progress(self.progress().message("writing"));
        let (rows, bytes) = self.write(&database)?;
        self.ctx
            .progress(self.progress().message(format!("{rows} rows were written")));
        (result.rows, result.bytes) = (rows, bytes);
        Ok(result)
    }

    fn goes_on(&self) -> Box<dyn FnMut() -> bool + Send> {
        let cancellation = self.ctx.cancellation().clone();
        Box::new(move || !cancellation.is_cancelled())
    }

    fn failed(&self, error: Error) -> Failure {
        failed(self.ctx, error)
    }

    fn read(
        &self,
        input: &DataInput,
        file: &File,
        database: &Database,
    ) -> crate::Result<(String, u64)> {
        let table = input.table()?;
        let mut rows = TableInput::new(input, table, database);
        let content = BufReader::with_capacity(1 << 16, WatchedInput { work: self, file });
        rows.read(input.format()?, content)?;
        Ok((table.to_owned(), rows.rows))
    }

    fn progress(&self) -> Progress {
        Progress::of(self.processed.get().min(self.total), self.total)
    }

    /// Runs the query and writes its rows. Returns how many, and the size of the file.
    fn write(&self, database: &Database) -> Result<(u64, u64), Failure> {
        let output = &self.job.output;
        let files = OutputFiles::of(self.ctx)?;
        let io_failed = |error| self.failed(Error::io(output.path.display(), error));
        let parts = files.remove_parts(folder_of(&output.path));
        parts.map_err(io_failed)?;
        let format = output.format().map_err(Failure::permanent)?;
        let text = match format {
            RowFormat::Csv => TextFormat::Csv,
            RowFormat::Jsonl => TextFormat::Jsonl,
            RowFormat::Json => TextFormat::Json,
            RowFormat::Sqlite => return self.write_database(database, &files),
        };
        let mut file = files.create(&output.path).map_err(io_failed)?;
        let mut writer = RowWriter::new(text, BufWriter::new(file.file()));
        database
            .query(&self.job.sql, &[], &mut writer)
            .map_err(|error| self.failed(error))?;
        let rows = writer.rows;
        writer.finish().map_err(|error| self.failed(error))?;
        self.finish(file, rows)
    }

    fn write_database(&self, from: &Database, files: &OutputFiles) -> Result<(u64, u64), Failure> {
        let place = &self.job.output.path;
        let file = files
            .create_named(place)
            .map_err(|error| self.failed(Error::io(place.display(), error)))?;
        let written = Database::create(file.part(), self.goes_on()).and_then(|database| {
            let mut sink = DatabaseSink {
                database,
                columns: Vec::new(),
                rows: 0,
            };
            from.query(&self.job.sql, &[], &mut sink)?;
            sink.database.commit()?;
            Ok(sink.rows)
        });
        let rows = written.map_err(|error| self.failed(error))?;
        self.finish(file, rows)
    }

    fn finish(&self, mut file: OutputFile, rows: u64) -> Result<(u64, u64), Failure> {
        if self.ctx.is_cancelled() {
            return Err(Failure::cancelled());
        }
        let place = &self.job.output.path;
        let bytes = file.file().metadata().map(|found| found.len());
        let finished = bytes.and_then(|bytes| file.finish().map(|()| bytes));
        let bytes = finished.map_err(|error| self.failed(Error::io(place.display(), error)))?;
        Ok((rows, bytes))
    }
}

/// An input that reports the progress, and ends when the attempt is to stop.
struct WatchedInput<'a> {
    work: &'a DataWork<'a>,
    file: &'a File,
}

impl Read for WatchedInput<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.work.ctx.is_cancelled() {
            return Err(io::Error::other("it was told to stop"));
        }
        let read = self.file.read(bytes)?;
        let processed = self.work.processed.get() + read as u64;
        self.work.processed.set(processed);
        let tenths = processed * 10 / self.work.total.max(1);
        if tenths > self.work.reported.replace(tenths) {
            self.work.ctx.progress(self.work.progress());
        }
        Ok(read)
    }
}

/// Writes rows to a table.
struct DatabaseSink {
    database: Database,
    columns: Vec<String>,
    rows: u64,
}

impl RowSink for DatabaseSink {
    fn begin(&mut self, columns: &[String]) -> crate::Result<()> {
        self.columns = columns.to_vec();
        self.database.create_table(TABLE, columns)
    }

    fn row(&mut self, values: &[SqlValue]) -> crate::Result<()> {
        self.rows += 1;
        self.database.insert(TABLE, &self.columns, values)
    }
}
