//! The output of jobs: as it was written, or as JSON.

use std::borrow::Cow;
use std::io::Write;

use jobq::api::json::{Time, write_line};
use jobq::{JobId, Level};
use serde::Serialize;

use crate::cli::exit::CliResult;
use crate::cli::history::{LineAssembler, LineSource, Piece};
use crate::cli::render::style::Look;
use crate::cli::render::text::{block, for_tabs};
use crate::cli::render::{Format, Output, Stdout};

/// A line of a job's output, or an entry of its log.
#[derive(Serialize)]
pub(crate) struct LogJson<'a> {
    pub(crate) at: Time,
    pub(crate) job: Option<JobId>,
    pub(crate) attempt: Option<u32>,
    pub(crate) stream: &'a str,
    pub(crate) level: Option<Level>,
    pub(crate) message: Cow<'a, str>,
    pub(crate) fields: Option<&'a serde_json::Value>,
}

/// The lines of a log entry that follow its first begin further in than any entry.
pub(crate) const LOG_INDENT: usize = 6;

/// Writes output as it was written, or as JSON.
pub(crate) struct LogPrinter<'a> {
    output: &'a Output,
    pub(crate) out: Stdout,
    /// What is put together to lines, for JSON.
    lines: LineAssembler,
    /// The last line has not ended.
    open: bool,
    attempt: Option<u32>,
}

impl<'a> LogPrinter<'a> {
    pub(crate) fn new(output: &'a Output) -> LogPrinter<'a> {
        LogPrinter {
            output,
            out: output.stdout(),
            lines: LineAssembler::default(),
            open: false,
            attempt: None,
        }
    }

    /// A piece as it was written.
    pub(crate) fn piece(&mut self, piece: Piece) -> CliResult<()> {
        if self.output.is_json() {
            for line in self.lines.add(piece) {
                self.json(&line)?;
            }
            return Ok(());
        }
        self.separate(piece.attempt)?;
        self.human(&piece)
    }

    /// A line without its end.
    pub(crate) fn line(&mut self, line: Piece) -> CliResult<()> {
        if !self.output.is_json() {
            self.separate(line.attempt)?;
        }
        self.whole_line(line)
    }

    /// A line without its end, with its job in front: one of many.
    pub(crate) fn line_of_many(&mut self, line: Piece) -> CliResult<()> {
        if let Some(job) = line.job.filter(|_| !self.output.is_json()) {
            let job = self.output.paint(Look::Dim, format!("[{job}]"));
            write!(self.out, "{job} ")?;
        }
        self.whole_line(line)
    }

    fn whole_line(&mut self, mut line: Piece) -> CliResult<()> {
        if self.output.is_json() {
            return self.json(&line);
        }
        if line.source.level().is_none() {
            line.text.push(b'\n');
        }
        self.human(&line)
    }

    fn json(&mut self, line: &Piece) -> CliResult<()> {
        let json = LogJson {
            at: Time(line.at),
            job: line.job,
            attempt: line.attempt,
            stream: line.source.name(),
            level: line.source.level(),
            message: String::from_utf8_lossy(&line.text),
            fields: line.fields.as_ref(),
        };
        Ok(write_line(&mut self.out, &json)?)
    }

    fn human(&mut self, piece: &Piece) -> CliResult<()> {
        match piece.source {
            LineSource::Stdout => self.out.write_all(&piece.text)?,
            LineSource::Stderr => self.stderr(&piece.text)?,
            LineSource::Log(level) => {
                self.end_line()?;
                self.log(level, piece)?;
            }
        }
        self.open = piece.source.level().is_none() && !piece.text.ends_with(b"\n");
        Ok(())
    }

    /// In its colour where there is any; the line end stays outside of it.
    fn stderr(&mut self, text: &[u8]) -> CliResult<()> {
        if !self.output.color {
            self.out.write_all(text)?;
            return Ok(());
        }
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let (words, end) = match line.strip_suffix(b"\n") {
                Some(words) => (words, "\n"),
                None => (line, ""),
            };
            let (on, off) = Look::Warn.codes();
            write!(self.out, "{on}")?;
            self.out.write_all(words)?;
            write!(self.out, "{off}{end}")?;
        }
        Ok(())
    }

    fn log(&mut self, level: Level, piece: &Piece) -> CliResult<()> {
        let name = self
            .output
            .paint(Look::of_level(level), level.as_str().to_uppercase());
        write!(self.out, "{name} ")?;
        let text = String::from_utf8_lossy(&piece.text);
        // An entry that has several lines cannot pass for several entries.
        match self.output.format {
            Format::Table => write!(self.out, "{}", block(&text, LOG_INDENT))?,
            _ => write!(self.out, "{}", for_tabs(&text))?,
        }
        if let Some(fields) = &piece.fields {
            write!(self.out, " {}", self.output.paint(Look::Dim, fields))?;
        }
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// On a terminal a line stands between the attempts.
    fn separate(&mut self, attempt: Option<u32>) -> CliResult<()> {
        let last = std::mem::replace(&mut self.attempt, attempt);
        let Some(number) = attempt.filter(|_| last.is_some() && last != attempt) else {
            return Ok(());
        };
        self.end_line()?;
        if self.output.format == Format::Table {
            let line = self.output.paint(Look::Dim, format!("── attempt {number}"));
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    fn end_line(&mut self) -> CliResult<()> {
        if std::mem::take(&mut self.open) {
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// An attempt has ended: nothing goes on with its lines.
    pub(crate) fn attempt_ended(&mut self) -> CliResult<()> {
        for line in self.lines.rest() {
            self.json(&line)?;
        }
        if self.output.format == Format::Table {
            self.end_line()?;
        }
        Ok(self.out.flush()?)
    }
}
