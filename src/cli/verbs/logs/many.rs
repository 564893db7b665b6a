//! The output of several jobs, in the order in which it came: whole lines, each with its job.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use jobq::{Batch, Event, EventFilter, EventId, EventKind, Filter, JobId, Queue, Sort};

use crate::cli::exit::{CliError, CliResult, Exit};
use crate::cli::history::{
    LastOf, LineAssembler, LineFilter, Piece, PostponedOutput, WAIT, ends, read_events,
};
use crate::cli::input::batch::{BatchSource, CheckedBatch};
use crate::cli::input::origin::Origin;
use crate::cli::render::log::LogPrinter;
use crate::cli::session::Session;
use crate::cli::signals::end_when_reader_is_gone;
use crate::cli::verbs::logs::LogsArgs;

pub(super) fn run(args: &LogsArgs, wanted: LineFilter, session: &Session) -> CliResult {
    let queue = session.queue()?;
    let selection = Selection::new(args, &queue, session)?;
    if args.follow {
        end_when_reader_is_gone(Exit::Done);
    }
    let mut changes = args.follow.then(|| queue.changes()).transpose()?;
    let mut feed = MergedLog::new(queue, selection, wanted)?;
    let mut printer = LogPrinter::new(&session.output);
    if let Some(most) = args.lines {
        let mut last = LastOf::new(most);
        feed.read(&mut |line| {
            last.push(line);
            Ok(())
        })?;
        if changes.is_none() {
            feed.rest().into_iter().for_each(|line| last.push(line));
        }
        for line in last {
            printer.line_of_many(line)?;
        }
    }
    loop {
        // Whether it is over first: what was written before the end is then sure to be read.
        let is_over = match &changes {
            Some(_) => feed.are_final()?,
            None => true,
        };
        feed.read(&mut |line| printer.line_of_many(line))?;
        if is_over {
            for line in feed.rest() {
                printer.line_of_many(line)?;
            }
        }
        printer.out.flush()?;
        match &mut changes {
            Some(changes) if !is_over => changes.wait(WAIT)?,
            _ => return Ok(Exit::Done),
        };
    }
}

/// Which jobs.
enum Selection {
    /// These, of which some may not be final yet.
    Named(BTreeMap<JobId, bool>),
    /// Those of a batch.
    Batch(Batch),
    /// All that pass, now and later; what has been found out of each is remembered.
    Matching(Box<Filter>, HashMap<JobId, bool>),
}

/// Maximum number of answers kept in memory.
const REMEMBERED: usize = 100_000;

impl Selection {
    fn new(args: &LogsArgs, queue: &Queue, session: &Session) -> CliResult<Selection> {
        if let Some(batch) = &args.batch {
            return Ok(Selection::Batch(batch_of(batch, queue, session)?));
        }
        if args.ids.is_empty() {
            let filter = session.filter(&args.filter)?;
            return Ok(Selection::Matching(Box::new(filter), HashMap::new()));
        }
        let mut named = BTreeMap::new();
        for id in session.resolve_ids(&args.ids)? {
            if queue.state(id)?.is_none() {
                return Err(CliError::no_job(id));
            }
            named.insert(id, false);
        }
        Ok(Selection::Named(named))
    }

    fn has(&mut self, job: JobId, queue: &Queue) -> CliResult<bool> {
        match self {
            Selection::Named(named) => Ok(named.contains_key(&job)),
            Selection::Batch(batch) => Ok((batch.first..=batch.last).contains(&job)),
            Selection::Matching(filter, known) => {
                if let Some(passes) = known.get(&job) {
                    return Ok(*passes);
                }
                let (first, last) = filter.ids.unwrap_or((job, job));
                let only = Filter {
                    ids: Some((first.max(job), last.min(job))),
                    sort: Sort::Oldest,
                    ..Filter::clone(filter)
                };
                let passes = !queue.list(&only)?.is_empty();
                if known.len() >= REMEMBERED {
                    known.clear();
                }
                known.insert(job, passes);
                Ok(passes)
            }
        }
    }

    fn first(&self) -> Option<JobId> {
        match self {
            Selection::Named(named) => named.keys().next().copied(),
            Selection::Batch(batch) => Some(batch.first),
            Selection::Matching(..) => None,
        }
    }
}

/// The batch that a file holds, or that has this digest.
fn batch_of(given: &Path, queue: &Queue, session: &Session) -> CliResult<Batch> {
    let as_digest = given.to_str().filter(|text| text.starts_with("fnv1a128:"));
    let batch = match as_digest {
        Some(digest) => queue.batch(digest)?,
        None => {
            let origin = Origin::here(Arc::clone(&session.config))?;
            let source = BatchSource::jobs(given);
            let file = CheckedBatch::read(source, origin, queue, &session.screen)?;
            queue.batch(file.digest())?
        }
    };
    batch.ok_or_else(|| {
        CliError::not_found(format!("no batch {} is in the file", given.display())).with_hint(
            "a batch is known by what is in it and by the folder in which `jobq run -f` added it",
        )
    })
}

/// A position in the history of all jobs.
struct MergedLog {
    queue: Queue,
    filter: EventFilter,
    selection: Selection,
    wanted: LineFilter,
    open: HashMap<JobId, OpenOutput>,
}

/// What of a job's output goes on.
#[derive(Default)]
struct OpenOutput {
    lines: LineAssembler,
    held_back: PostponedOutput,
}

impl OpenOutput {
    fn add(&mut self, piece: Piece) -> Vec<Piece> {
        self.held_back.saw(&piece);
        self.lines.add(piece)
    }

    /// An attempt has ended: nothing goes on with its lines.
    fn end(mut self, at: Timestamp) -> Vec<Piece> {
        let marks = self.held_back.lost(at).into_iter();
        let mut lines: Vec<Piece> = marks.flat_map(|mark| self.lines.add(mark)).collect();
        lines.extend(self.lines.rest());
        lines
    }
}

impl MergedLog {
    fn new(queue: Queue, selection: Selection, wanted: LineFilter) -> CliResult<MergedLog> {
        let mut filter = EventFilter {
            kinds: wanted.kinds(),
            since: start(&queue, selection.first())?,
            ..EventFilter::default()
        };
        filter.kinds.extend(ends());
        Ok(MergedLog {
            queue,
            filter,
            selection,
            wanted,
            open: HashMap::new(),
        })
    }

    /// Gives the lines that have been added since the last time.
    fn read(&mut self, each: &mut dyn FnMut(Piece) -> CliResult<()>) -> CliResult<()> {
        let (queue, mut filter) = (self.queue.clone(), self.filter.clone());
        read_events(&queue, &mut filter, |event| {
            self.lines_of(event)?.into_iter().try_for_each(&mut *each)
        })?;
        self.filter = filter;
        Ok(())
    }

    fn lines_of(&mut self, event: Event) -> CliResult<Vec<Piece>> {
        let Some(job) = event.job else {
            return Ok(Vec::new());
        };
        if !self.selection.has(job, &self.queue)? {
            return Ok(Vec::new());
        }
        Ok(match Piece::of(&event) {
            Some(piece) if self.wanted.has(&piece) => self.open.entry(job).or_default().add(piece),
            Some(_) => Vec::new(),
            None => self
                .open
                .remove(&job)
                .map_or_else(Vec::new, |open| open.end(event.at)),
        })
    }

    /// The lines that have no end of line yet.
    fn rest(&mut self) -> Vec<Piece> {
        let open = std::mem::take(&mut self.open).into_values();
        let mut rest: Vec<Piece> = open.flat_map(|mut open| open.lines.rest()).collect();
        rest.sort_by_key(|piece| (piece.at, piece.job));
        rest
    }

    /// Whether nothing more can come, as far as anybody knows.
    fn are_final(&mut self) -> CliResult<bool> {
        match &mut self.selection {
            Selection::Matching(..) => Ok(false),
            Selection::Batch(batch) => Ok(self.queue.batch_progress(*batch)?.unfinished == 0),
            Selection::Named(named) => {
                let mut are_final = true;
                for (id, is_final) in named.iter_mut() {
                    if !*is_final {
                        // One that has been removed meanwhile prints nothing more.
                        let state = self.queue.state(*id)?;
                        *is_final = state.is_none_or(jobq::State::is_final);
                    }
                    are_final &= *is_final;
                }
                Ok(are_final)
            }
        }
    }
}

/// Before the first event of the first of these jobs; before all where they may be any.
fn start(queue: &Queue, first: Option<JobId>) -> CliResult<EventId> {
    let Some(job) = first else {
        return Ok(EventId::default());
    };
    let filter = EventFilter {
        job: Some(job),
        kinds: EventKind::ALL.to_vec(),
        limit: Some(1),
        ..EventFilter::default()
    };
    let page = queue.events(&filter)?;
    let before = page.events.first().map(|event| EventId(event.id.0 - 1));
    Ok(before.unwrap_or_default())
}
