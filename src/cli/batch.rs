//! Many jobs from one file: checked whole, then added, with flat memory.

mod input;
mod line;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::ProgressBar;
use jobq::{Batch, BatchSource, Enqueued, JobId, NewJob, Queue, Remember, State, When};

use self::input::{Input, Lines, Place};
use super::clock;
use super::exit::{CliError, CliResult};
use super::origin::Origin;
use super::screen::Screen;
use jobq::digest::Digest;

/// A batch that has been checked: every line is a job that can be added.
pub(crate) struct CheckedBatch {
    file: BatchFile,
    jobs: u64,
    digest: String,
    bar: ProgressBar,
}

/// A file of jobs, one a line.
struct BatchFile {
    input: Input,
    name: String,
    origin: Arc<Origin>,
}

/// What one transaction has added.
#[derive(Clone, Debug, Default)]
pub(crate) struct Added {
    /// None where no line was left.
    pub(crate) batch: Option<Batch>,
    states: Runs,
    end: Place,
}

/// The states of jobs in a row: so many in this one, then so many in that one. Flat where the jobs
/// are alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Runs(Vec<(State, u64)>);

/// The bar moves once in so many lines.
const LINES_A_STEP: u64 = 256;

const BAR: &str = "{msg} {wide_bar} {percent:>3}%";

impl CheckedBatch {
    /// Reads the whole batch and checks every line; `-` is stdin. Adds nothing.
    pub(crate) fn read(
        path: &Path,
        origin: Origin,
        queue: &Queue,
        screen: &Screen,
    ) -> CliResult<CheckedBatch> {
        let name = match path.to_str() {
            Some("-") => "stdin".to_owned(),
            _ => path.display().to_string(),
        };
        let input = Input::open(path).map_err(|error| CliError::io(&name, &error))?;
        let bar = screen.bar(2 * input.length(), BAR).with_message("checking");
        let file = BatchFile {
            input,
            name,
            origin: Arc::new(origin),
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
    pub(crate) fn add(&self, queue: &Queue, remember: Remember) -> CliResult<Added> {
        self.bar.set_message("adding");
        let added = self.add_from(Place::default(), u64::MAX, queue, remember);
        self.bar.finish_and_clear();
        added
    }

    /// Adds it in transactions of so many jobs and tells of each that has been committed.
    pub(crate) fn add_in_chunks(
        &self,
        queue: &Queue,
        jobs: u64,
        mut tell: impl FnMut(&Added) -> CliResult<()>,
    ) -> CliResult<()> {
        self.bar.set_message("adding");
        let mut from = Place::default();
        loop {
            let added =
                self.add_from(from, jobs, queue, Remember::No)
                    .map_err(|error| match from.lines {
                        0 => error,
                        lines => error.context(format_args!(
                            "lines 1 to {lines} have been added, the rest has not"
                        )),
                    })?;
            if added.batch.is_none() {
                self.bar.finish_and_clear();
                return Ok(());
            }
            self.bar.suspend(|| tell(&added))?;
            from = added.end;
        }
    }

    fn add_from(
        &self,
        from: Place,
        at_most: u64,
        queue: &Queue,
        remember: Remember,
    ) -> CliResult<Added> {
        let added = Arc::new(Mutex::new(Added::default()));
        let source = Source {
            file: self.file.share()?,
            from,
            at_most,
            added: Arc::clone(&added),
            bar: self.bar.clone(),
        };
        let batch = queue.enqueue_batch(source, remember)?;
        let mut added = lock(&added).clone();
        added.batch = batch;
        Ok(added)
    }
}

impl Drop for CheckedBatch {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Added {
    /// What became of each job, in the order of their numbers, which is that of the lines.
    pub(crate) fn each(&self) -> impl Iterator<Item = Enqueued> + '_ {
        let first = self.batch.map_or(0, |batch| batch.first.0);
        let states = self.states.0.iter();
        states
            .flat_map(|(state, jobs)| (0..*jobs).map(|_| *state))
            .zip(first..)
            .map(|(state, id)| Enqueued {
                id: JobId(id),
                state,
                duplicate: false,
            })
    }
}

impl Runs {
    fn push(&mut self, state: State) {
        match self.0.last_mut() {
            Some((last, jobs)) if *last == state => *jobs += 1,
            _ => self.0.push((state, 1)),
        }
    }
}

/// The state in which such a job begins.
fn first_state(when: When) -> State {
    let is_due = match when {
        When::Now => true,
        When::In(delay) => delay.is_zero(),
        When::At(at) => at <= clock::now(),
    };
    if is_due {
        State::Pending
    } else {
        State::Scheduled
    }
}

impl BatchFile {
    fn share(&self) -> CliResult<BatchFile> {
        Ok(BatchFile {
            input: self
                .input
                .share()
                .map_err(|error| CliError::io(&self.name, &error))?,
            name: self.name.clone(),
            origin: Arc::clone(&self.origin),
        })
    }

    fn check(&self, queue: &Queue, bar: &ProgressBar) -> CliResult<(u64, String)> {
        let failed = |error| CliError::io(&self.name, &error);
        let mut lines = self.input.lines(Place::default()).map_err(failed)?;
        let mut digest = Digest::new();
        let mut jobs = 0;
        while let Some(line) = self.next_line(&mut lines)? {
            digest.update(line);
            let number = lines.place().lines;
            if let Some((job, _)) = self.job(lines.line(), number)? {
                queue
                    .check(job)
                    .map_err(|error| self.at_line(number, error.into()))?;
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

    fn next_line<'a>(&self, lines: &'a mut Lines<'_>) -> CliResult<Option<&'a [u8]>> {
        let number = lines.place().lines + 1;
        let name = &self.name;
        lines
            .next()
            .map_err(|error| CliError::io(format_args!("{name} line {number}"), &error))
    }

    /// The job of a line and when it may run; none where the line is blank.
    fn job(&self, line: &[u8], number: u64) -> CliResult<Option<(NewJob, When)>> {
        let wanted = line::parse_line(line).map_err(|error| self.at_line(number, error))?;
        let Some(wanted) = wanted else {
            return Ok(None);
        };
        let when = wanted.options.when;
        let job = self
            .origin
            .job(wanted)
            .map_err(|error| self.at_line(number, error))?;
        Ok(Some((job, when)))
    }

    fn at_line(&self, number: u64, error: CliError) -> CliError {
        error.context(format_args!("{} line {number}", self.name))
    }
}

/// A part of a batch for one transaction.
struct Source {
    file: BatchFile,
    from: Place,
    at_most: u64,
    /// What has been read so far; begun anew when the transaction is.
    added: Arc<Mutex<Added>>,
    bar: ProgressBar,
}

impl BatchSource for Source {
    fn jobs(&mut self) -> jobq::Result<Box<dyn Iterator<Item = jobq::Result<NewJob>> + '_>> {
        let lines = self
            .file
            .input
            .lines(self.from)
            .map_err(|error| jobq::Error::io(&self.file.name, error))?;
        *lock(&self.added) = Added {
            end: self.from,
            ..Added::default()
        };
        Ok(Box::new(Jobs {
            source: self,
            lines,
            left: self.at_most,
        }))
    }
}

struct Jobs<'a> {
    source: &'a Source,
    lines: Lines<'a>,
    left: u64,
}

impl Jobs<'_> {
    fn next_job(&mut self) -> CliResult<Option<NewJob>> {
        let Source { file, bar, .. } = self.source;
        while self.left > 0 && file.next_line(&mut self.lines)?.is_some() {
            let place = self.lines.place();
            if place.lines.is_multiple_of(LINES_A_STEP) {
                bar.set_position(file.input.length() + place.offset);
            }
            if let Some((job, when)) = file.job(self.lines.line(), place.lines)? {
                let mut added = lock(&self.source.added);
                added.states.push(first_state(when));
                added.end = place;
                self.left -= 1;
                return Ok(Some(job));
            }
        }
        Ok(None)
    }
}

impl Iterator for Jobs<'_> {
    type Item = jobq::Result<NewJob>;

    fn next(&mut self) -> Option<jobq::Result<NewJob>> {
        // The lines have been checked: only a file that was changed since can fail here.
        self.next_job()
            .map_err(|error| jobq::Error::invalid(error.message()))
            .transpose()
    }
}

fn lock(added: &Mutex<Added>) -> MutexGuard<'_, Added> {
    added.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::cli::exit::Exit;

    struct Folder {
        queue: Queue,
        folder: tempfile::TempDir,
    }

    impl Folder {
        fn new() -> Folder {
            let folder = tempfile::tempdir().unwrap();
            let queue = Queue::open(folder.path().join("jobs.db")).unwrap();
            Folder { queue, folder }
        }

        fn file(&self, text: impl AsRef<[u8]>) -> PathBuf {
            let path = self.folder.path().join("jobs.jsonl");
            fs::write(&path, text).unwrap();
            path
        }

        fn read(&self, text: impl AsRef<[u8]>) -> CliResult<CheckedBatch> {
            let origin = Origin::here(Arc::default()).unwrap();
            let path = self.file(text);
            CheckedBatch::read(&path, origin, &self.queue, &Screen::new(true))
        }
    }

    const THREE: &str = concat!(
        "{\"shell\":\"true\"}\n\n",
        "{\"kind\":\"k\",\"in\":\"1h\"}\n",
        "{\"kind\":\"k\"}"
    );

    #[test]
    fn a_batch_is_added_whole() {
        let folder = Folder::new();
        let batch = folder.read(THREE).unwrap();
        assert_eq!(batch.jobs(), 3);
        let added = batch.add(&folder.queue, Remember::No).unwrap();
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
        let folder = Folder::new();
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
        let folder = Folder::new();
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
    fn a_batch_is_recognised_by_its_content() {
        let folder = Folder::new();
        let digest = |text: &str| folder.read(text).unwrap().digest().to_owned();
        assert_eq!(digest(THREE), digest(THREE));
        assert_ne!(digest(THREE), digest(&THREE.replace("true", "TRUE")));
        let batch = folder.read(THREE).unwrap();
        let added = batch
            .add(&folder.queue, Remember::Once(batch.digest().to_owned()))
            .unwrap();
        assert_eq!(folder.queue.batch(batch.digest()).unwrap(), added.batch);
    }

    #[test]
    fn a_file_that_changes_between_the_passes_adds_nothing() {
        let folder = Folder::new();
        let batch = folder.read(THREE).unwrap();
        folder.file(THREE.replace("\"kind\"", "\"kidn\""));
        let error = batch.add(&folder.queue, Remember::No).unwrap_err();
        assert!(error.message().contains("line 3"), "{}", error.message());
        assert_eq!(folder.queue.counts().unwrap().total(), 0);
    }

    #[test]
    fn an_empty_batch_adds_nothing() {
        let folder = Folder::new();
        let batch = folder.read("\n\n").unwrap();
        assert_eq!(batch.jobs(), 0);
        assert!(
            batch
                .add(&folder.queue, Remember::No)
                .unwrap()
                .batch
                .is_none()
        );
    }
}
