//! Many jobs from one file: checked whole, then added, with flat memory.

mod added;
mod input;
mod labels;
mod source;
mod template;

use std::cell::RefCell;
use std::collections::HashMap;

use indicatif::ProgressBar;
use jobq::api::job_request::JobRequest;
use jobq::digest::Digest;
use jobq::{BatchDedup, JobId, NewJob, Queue};

use self::input::{BatchInput, BatchLines, LinePlace};
use self::labels::LineLabels;
use self::source::BatchFormat;
use crate::cli::exit::{CliError, CliResult};
use crate::cli::input::origin::Origin;
use crate::cli::render::screen::Screen;

pub(crate) use self::added::Added;
pub(crate) use self::source::BatchSource;
pub(crate) use self::template::CommandTemplate;

/// A batch that has been checked: every line is a job that can be added.
pub(crate) struct CheckedBatch {
    file: BatchFile,
    jobs: u64,
    digest: String,
    bar: ProgressBar,
}

/// A file of jobs, one a line.
struct BatchFile {
    input: BatchInput,
    name: String,
    format: BatchFormat,
    origin: Origin,
}

/// Labels of lines that have been added.
type KnownLabels = HashMap<String, JobId>;

/// Number of lines after which the bar moves.
const LINES_A_STEP: u64 = 256;

const BAR: &str = "{msg} {wide_bar} {percent:>3}%";

impl CheckedBatch {
    /// Reads the whole batch and checks every line. Adds nothing.
    pub(crate) fn read(
        source: BatchSource,
        origin: Origin,
        queue: &Queue,
        screen: &Screen,
    ) -> CliResult<CheckedBatch> {
        let (name, format) = (source.name(), &source.format);
        if source.is_terminal() {
            let unit = format.unit();
            screen.hint(format_args!(
                "reading {unit}s from the terminal; Ctrl-D ends them"
            ));
        }
        let input = BatchInput::open(&source.path, format.separator())
            .map_err(|error| CliError::io(&name, &error))?;
        let bar = screen.bar(2 * input.length(), BAR).with_message("checking");
        let file = BatchFile {
            input,
            name,
            format: source.format,
            origin,
        };
        let (jobs, digest) = file.check(queue, &bar)?;
        Ok(CheckedBatch {
            file,
            jobs,
            digest,
            bar,
        })
    }

    /// How many jobs it has.
    pub(crate) fn jobs(&self) -> u64 {
        self.jobs
    }

    /// What the file remembers it by: its content, and where its commands would run.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// What it is called in messages.
    pub(crate) fn name(&self) -> &str {
        &self.file.name
    }

    /// Adds all of it in one transaction.
    pub(crate) fn add(&self, queue: &Queue, remember: BatchDedup) -> CliResult<Added> {
        self.bar.set_message("adding");
        let whole = BatchPart {
            from: LinePlace::default(),
            at_most: u64::MAX,
            known: &KnownLabels::new(),
        };
        let added = self.add_part(&whole, queue, remember);
        self.bar.finish_and_clear();
        added
    }

    /// Adds it in transactions of this number of jobs, and calls `tell` after each commit.
    pub(crate) fn add_in_chunks(
        &self,
        queue: &Queue,
        jobs: u64,
        mut tell: impl FnMut(&Added) -> CliResult<()>,
    ) -> CliResult<()> {
        self.bar.set_message("adding");
        let mut from = LinePlace::default();
        let mut known = KnownLabels::new();
        loop {
            let part = BatchPart {
                from,
                at_most: jobs,
                known: &known,
            };
            let added = self
                .add_part(&part, queue, BatchDedup::No)
                .map_err(|error| match from.lines {
                    0 => error,
                    lines => error.context(format_args!(
                        "{}s 1 to {lines} have been added, the rest has not",
                        self.file.format.unit()
                    )),
                })?;
            if added.is_empty() {
                self.bar.finish_and_clear();
                return Ok(());
            }
            self.bar.suspend(|| tell(&added))?;
            known.extend(added.labels);
            from = added.end;
        }
    }

    fn add_part(
        &self,
        part: &BatchPart<'_>,
        queue: &Queue,
        remember: BatchDedup,
    ) -> CliResult<Added> {
        let file = &self.file;
        let mut lines =
            (file.input.lines(part.from)).map_err(|error| CliError::io(&file.name, &error))?;
        let mut left = part.at_most;
        let added = RefCell::new(Added::from(part.from));
        let jobs = std::iter::from_fn(|| {
            if left == 0 {
                return None;
            }
            left -= 1;
            // The lines have been checked: only a file that was changed since can fail here.
            self.next_job(&mut lines, part.known, &added)
                .map_err(|error| jobq::Error::invalid(error.message()))
                .transpose()
        });
        let start = queue
            .enqueue_batch(jobs, remember, |job| added.borrow_mut().record(job))
            .map_err(|error| self.refused(error, &added.borrow()))?;
        let mut added = added.into_inner();
        added.start = start;
        Ok(added)
    }

    fn next_job(
        &self,
        lines: &mut BatchLines<'_>,
        known: &KnownLabels,
        added: &RefCell<Added>,
    ) -> CliResult<Option<NewJob>> {
        let file = &self.file;
        while file.next_line(lines)?.is_some() {
            let place = lines.place();
            if place.lines.is_multiple_of(LINES_A_STEP) {
                self.bar.set_position(file.input.length() + place.offset);
            }
            if let Some(wanted) = file.wanted(lines.line(), place.lines)? {
                let known = |label: &str| known.get(label).copied();
                let job = file.origin.job_of_line(wanted, known);
                let job = job.map_err(|error| file.at_line(place.lines, error))?;
                added.borrow_mut().read(job.options(), place);
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    /// What the file has against the line that was read last is told by its number; and so is a job
    /// that was added by a line before and is rolled back.
    fn refused(&self, error: jobq::Error, added: &Added) -> CliError {
        let is_the_lines = error.is_invalid_input()
            || error.is_wrong_state()
            || error.is_not_found()
            || error.is_duplicate()
            || error.is_queue_full();
        let line = error.job().and_then(|job| added.line_of(job));
        let error = CliError::from(match line {
            Some(line) => {
                let unit = self.file.format.unit();
                error.with_job_called(&format!("the job of {unit} {line}"))
            }
            None => error,
        });
        match is_the_lines && !error.message().starts_with(&self.file.name) {
            true => self.file.at_line(added.end.lines, error),
            false => error,
        }
    }
}

impl Drop for CheckedBatch {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl BatchFile {
    fn check(&self, queue: &Queue, bar: &ProgressBar) -> CliResult<(u64, String)> {
        let failed = |error| CliError::io(&self.name, &error);
        let mut lines = self.input.lines(LinePlace::default()).map_err(failed)?;
        let mut digest = Digest::new();
        self.format.add_to(&mut digest)?;
        let mut labels = LineLabels::default();
        let mut jobs = 0;
        while let Some(line) = self.next_line(&mut lines)? {
            digest.update(line);
            let number = lines.place().lines;
            if let Some(wanted) = self.wanted(lines.line(), number)? {
                labels
                    .check(&wanted.options, number)
                    .and_then(|()| Ok(queue.check_job(self.origin.job(wanted)?)?))
                    .map_err(|error| self.at_line(number, error))?;
                jobs += 1;
            }
            if number.is_multiple_of(LINES_A_STEP) {
                bar.set_position(lines.place().offset);
            }
        }
        // The same commands in another directory are another batch.
        digest.update(b"\0");
        digest.update(self.origin.cwd().as_bytes());
        Ok((jobs, digest.to_string()))
    }

    fn next_line<'a>(&self, lines: &'a mut BatchLines<'_>) -> CliResult<Option<&'a [u8]>> {
        let number = lines.place().lines + 1;
        lines
            .next()
            .map_err(|error| CliError::io(self.place(number), &error))
    }

    /// What a line asks for; none where it is blank.
    fn wanted(&self, line: &[u8], number: u64) -> CliResult<Option<JobRequest>> {
        let request = self.format.request(line, number);
        request.map_err(|error| self.at_line(number, error))
    }

    fn at_line(&self, number: u64, error: CliError) -> CliError {
        error.context(self.place(number))
    }

    /// What a line is called in messages.
    fn place(&self, number: u64) -> String {
        format!("{} {} {number}", self.name, self.format.unit())
    }
}

/// A part of a batch for one transaction.
struct BatchPart<'a> {
    from: LinePlace,
    at_most: u64,
    /// The labels of the parts before.
    known: &'a KnownLabels,
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::Arc;

    use jobq::State;

    use super::*;
    use crate::cli::exit::Exit;

    struct Fixture {
        queue: Queue,
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Fixture {
            let folder = tempfile::tempdir().unwrap();
            let queue = Queue::open(folder.path().join("jobs.db")).unwrap();
            Fixture { queue, folder }
        }

        fn file(&self, text: impl AsRef<[u8]>) -> PathBuf {
            let path = self.folder.path().join("jobs.jsonl");
            fs::write(&path, text).unwrap();
            path
        }

        fn read(&self, text: impl AsRef<[u8]>) -> CliResult<CheckedBatch> {
            let origin = Origin::here(Arc::default()).unwrap();
            let path = self.file(text);
            let source = BatchSource::jobs(&path);
            CheckedBatch::read(source, origin, &self.queue, &Screen::new(true))
        }
    }

    const THREE: &str = concat!(
        "{\"shell\":\"true\"}\n\n",
        "{\"kind\":\"k\",\"in\":\"1h\"}\n",
        "{\"kind\":\"k\"}"
    );

    #[test]
    fn a_batch_is_added_whole() {
        let folder = Fixture::new();
        let batch = folder.read(THREE).unwrap();
        assert_eq!(batch.jobs(), 3);
        let added = batch.add(&folder.queue, BatchDedup::No).unwrap();
        let each: Vec<_> = added.each().map(|job| (job.id.0, job.state)).collect();
        assert_eq!(
            each,
            [
                (1, State::Pending),
                (2, State::Scheduled),
                (3, State::Pending)
            ]
        );
        assert_eq!(folder.queue.counts().unwrap().total(), 3);
    }

    #[test]
    fn a_bad_line_is_named_and_nothing_is_added() {
        let folder = Fixture::new();
        let too_long = format!("{{\"kind\":\"{}\"}}", "k".repeat(300));
        for (bad, why) in [
            (
                "{\"kind\":\"k\",\"retires\":1}",
                "line 5: unknown key 'retires'",
            ),
            ("{\"kind\":\"\"}", "line 5: the kind is empty"),
            (&too_long, "line 5: the kind is 30"),
            ("{\"shell\":\"x\",\"fail_on\":\"999\"}", "line 5: fail_on"),
            (
                "{\"kind\":\"exec\",\"payload\":{}}",
                "line 5: the payload of kind exec",
            ),
        ] {
            let Err(error) = folder.read(format!("{THREE}\n{bad}\n{{\"kind\":\"k\"}}")) else {
                panic!("{bad} was accepted");
            };
            assert_eq!(error.exit(), Exit::Usage, "{bad}");
            assert!(error.message().contains(why), "{}", error.message());
        }
        assert_eq!(folder.queue.counts().unwrap().total(), 0);
    }

    #[test]
    fn chunks_are_committed_one_by_one() {
        let folder = Fixture::new();
        let text = "{\"kind\":\"k\"}\n\n".repeat(5);
        let batch = folder.read(text).unwrap();
        let mut chunks = Vec::new();
        let tell = |added: &Added| {
            let ids: Vec<_> = added.each().map(|job| job.id.0).collect();
            chunks.push((ids, folder.queue.counts()?.total()));
            Ok(())
        };
        batch.add_in_chunks(&folder.queue, 2, tell).unwrap();
        assert_eq!(chunks, [(vec![1, 2], 2), (vec![3, 4], 4), (vec![5], 5)]);
    }

    #[test]
    fn an_unknown_or_ambiguous_label_is_named_with_its_line() {
        let folder = Fixture::new();
        let labelled = "{\"kind\":\"k\",\"label\":\"a\"}\n\n";
        for (line, why) in [
            (
                "{\"kind\":\"k\",\"after\":[\"b\"]}",
                "no line before has the label 'b'",
            ),
            ("{\"kind\":\"k\",\"after_any\":[1,\"b\"]}", "'b'"),
            ("{\"kind\":\"k\",\"parent\":\"b\"}", "'b'"),
            ("{\"kind\":\"k\",\"label\":\"b\",\"after\":[\"b\"]}", "'b'"),
            (
                "{\"kind\":\"k\",\"label\":\"a\"}",
                "label 'a' is that of line 1 already",
            ),
        ] {
            let later = "{\"kind\":\"k\",\"label\":\"b\"}\n";
            let Err(error) = folder.read(format!("{labelled}{line}\n{later}")) else {
                panic!("{line} was accepted");
            };
            assert_eq!(error.exit(), Exit::Usage, "{line}");
            let message = error.message();
            assert!(
                message.contains("line 3: ") && message.contains(why),
                "{message}"
            );
        }
        assert_eq!(folder.queue.counts().unwrap().total(), 0);
    }

    #[test]
    fn a_label_is_known_in_later_chunks_too() {
        let folder = Fixture::new();
        let text = concat!(
            "{\"kind\":\"k\",\"label\":\"a\"}\n",
            "{\"kind\":\"k\",\"label\":\"b\",\"after\":[\"a\"]}\n",
            "{\"kind\":\"k\",\"after\":[\"a\",\"b\"]}\n",
        );
        let batch = folder.read(text).unwrap();
        batch.add_in_chunks(&folder.queue, 1, |_| Ok(())).unwrap();
        assert_eq!(folder.queue.counts().unwrap().total(), 3);
    }

    #[test]
    fn a_batch_is_recognised_by_its_content() {
        let folder = Fixture::new();
        let digest = |text: &str| folder.read(text).unwrap().digest().to_owned();
        assert_eq!(digest(THREE), digest(THREE));
        assert_ne!(digest(THREE), digest(&THREE.replace("true", "TRUE")));
        let batch = folder.read(THREE).unwrap();
        let added = batch
            .add(&folder.queue, BatchDedup::Once(batch.digest().to_owned()))
            .unwrap();
        assert_eq!(
            folder.queue.batch(batch.digest()).unwrap(),
            added.start.batch()
        );
    }

    #[test]
    fn a_file_that_changes_between_the_passes_adds_nothing() {
        let folder = Fixture::new();
        let batch = folder.read(THREE).unwrap();
        folder.file(THREE.replace("\"kind\"", "\"kidn\""));
        let error = batch.add(&folder.queue, BatchDedup::No).unwrap_err();
        assert!(error.message().contains("line 3"), "{}", error.message());
        assert_eq!(folder.queue.counts().unwrap().total(), 0);
    }

    #[test]
    fn an_empty_batch_adds_nothing() {
        let folder = Fixture::new();
        let batch = folder.read("\n\n").unwrap();
        assert_eq!(batch.jobs(), 0);
        assert!(
            batch
                .add(&folder.queue, BatchDedup::No)
                .unwrap()
                .start
                .batch()
                .is_none()
        );
    }
}
