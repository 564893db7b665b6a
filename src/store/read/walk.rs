//! Finding jobs in the order of their ids: by the index that has the fewest to look at, some at a time, until there
//! are enough or the time is up.

use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use crate::model::id::JobId;
use crate::store::read::conditions::{Conditions, FIRST_FREE};
use crate::store::read::drivers::{Driver, Shape};
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::{Connection, Row, RowResult, Statement};
use crate::{Result, clock};

statements! {
    hot IDS_BOUNDS = "SELECT (SELECT min(id) FROM jobq_job), (SELECT max(id) FROM jobq_job)";
}

/// The direction of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the newest job to the oldest.
    Down,
    Up,
}

/// The next reading is longer after one that took less than this, and shorter after one that took more.
const QUICK: Duration = Duration::from_millis(5);
const SLOW: Duration = Duration::from_millis(20);

/// Number of rows of a reading, of all sources together: at first where there are conditions, and at most.
const ROWS_AT_FIRST: usize = 64;
const MOST_ROWS: usize = 8192;

/// Number of ids that a reading covers at first, where it is limited by ids: their texts may be long.
const IDS_AT_FIRST: i64 = 64;

/// What is wanted of a walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) direction: Direction,
    /// The walk begins behind this job.
    pub(crate) after: Option<JobId>,
    /// The first id and the last that it looks at; none: all.
    pub(crate) ids: Option<(JobId, JobId)>,
    /// About how many jobs are wanted.
    pub(crate) jobs: usize,
    /// When it stops; none: when there are no more.
    pub(crate) until: Option<Instant>,
}

/// The next of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WalkStep {
    Job(FoundJob),
    /// The time is up; all jobs up to this one were looked at.
    TimeUp(JobId),
    End,
}

/// A job, and what it is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FoundJob {
    pub(crate) id: i64,
    pub(crate) key: Option<i64>,
}

/// Some sources of jobs, each in the order of ids, merged into one.
pub(crate) struct Walk<'c> {
    statements: Vec<Statement<'c>>,
    sources: Vec<JobSource>,
    direction: Direction,
    until: Option<Instant>,
    /// The next job of each source that has one, the next of all first.
    next: BinaryHeap<(i64, usize)>,
    /// Sources of which the next job is not known.
    unknown: Vec<usize>,
}

/// Jobs that one statement finds with these values.
struct JobSource {
    statement: usize,
    keys: Vec<i64>,
    /// The ids that are still to be looked at.
    left: (i64, i64),
    found: VecDeque<FoundJob>,
    /// Maximum number of rows and of ids of the next reading.
    rows: usize,
    ids: i64,
    most_rows: usize,
    was_read: bool,
}

impl JobSource {
    fn is_done(&self) -> bool {
        self.left.0 > self.left.1
    }
}

impl<'c> Walk<'c> {
    pub(crate) fn new(
        conn: &'c Connection,
        (driver, conditions): (&Driver, &Conditions),
        wanted: Wanted,
    ) -> Result<Walk<'c>> {
        let mut walk = Walk {
            statements: Vec::new(),
            sources: Vec::new(),
            direction: wanted.direction,
            until: wanted.until,
            next: BinaryHeap::new(),
            unknown: Vec::new(),
        };
        let bounds = |row: &Row<'_>| -> RowResult<(Option<i64>, Option<i64>)> {
            Ok((row.get(0)?, row.get(1)?))
        };
        let (Some(first), Some(last)) = conn.one(IDS_BOUNDS, [], bounds)? else {
            return Ok(walk);
        };
        let (first, last) = wanted.ids.map_or((first, last), |(low, high)| {
            (first.max(low.0), last.min(high.0))
        });
        let left = match (wanted.direction, wanted.after) {
            (_, None) => (first, last),
            (Direction::Down, Some(after)) => (first, last.min(after.0.saturating_sub(1))),
            (Direction::Up, Some(after)) => (first.max(after.0.saturating_add(1)), last),
        };
        for shape in driver.shapes(conn)? {
            walk.add(conn, (&shape, conditions), left)?;
        }
        let sources = walk.sources.len().max(1);
        let rows = match conditions.is_empty() {
            true => wanted.jobs,
            false => wanted.jobs.max(ROWS_AT_FIRST),
        };
        for source in &mut walk.sources {
            source.most_rows = MOST_ROWS.div_ceil(sources).max(ROWS_AT_FIRST);
            source.rows = rows.div_ceil(sources).clamp(1, source.most_rows);
        }
        walk.unknown = (0..walk.sources.len()).collect();
        Ok(walk)
    }

    fn add(
        &mut self,
        conn: &'c Connection,
        (shape, conditions): (&Shape, &Conditions),
        left: (i64, i64),
    ) -> Result<()> {
        let mut statement = conn.prepare(&shape.sql(conditions, self.direction))?;
        for (at, value) in conditions.values().iter().enumerate() {
            statement.raw_bind_parameter(FIRST_FREE + at, value)?;
        }
        for (at, text) in shape.texts.iter().enumerate() {
            statement.raw_bind_parameter(FIRST_KEY + at, text)?;
        }
        self.statements.push(statement);
        for keys in &shape.keys {
            self.sources.push(JobSource {
                statement: self.statements.len() - 1,
                keys: keys.clone(),
                left,
                found: VecDeque::new(),
                rows: 1,
                most_rows: 1,
                ids: match shape.is_by_ids {
                    true => IDS_AT_FIRST,
                    false => i64::MAX,
                },
                was_read: false,
            });
        }
        Ok(())
    }

    /// The next job, in the direction of the walk.
    pub(crate) fn next(&mut self) -> Result<WalkStep> {
        while let Some(at) = self.unknown.pop() {
            if self.sources[at].was_read && self.is_time_up() {
                self.unknown.push(at);
                break;
            }
            self.read(at)?;
            self.queue(at);
        }
        let reached = self.unknown.iter().map(|at| self.reached(*at)).max();
        match (self.next.peek().copied(), reached) {
            (Some((rank, at)), reached) if reached.is_none_or(|reached| rank > reached) => {
                self.next.pop();
                let found = self.sources[at].found.pop_front();
                self.queue(at);
                Ok(found.map_or(WalkStep::End, WalkStep::Job))
            }
            (_, Some(reached)) => Ok(WalkStep::TimeUp(JobId(self.id(reached.saturating_add(1))))),
            (_, None) => Ok(WalkStep::End),
        }
    }

    /// Puts a source in its place: by its next job, or among those that have to be read.
    fn queue(&mut self, at: usize) {
        match self.sources[at].found.front() {
            Some(found) => self.next.push((self.rank(found.id), at)),
            None if self.sources[at].is_done() => {}
            None => self.unknown.push(at),
        }
    }

    fn is_time_up(&self) -> bool {
        self.until.is_some_and(|until| clock::instant() >= until)
    }

    /// Ids that come first are higher.
    fn rank(&self, id: i64) -> i64 {
        match self.direction {
            Direction::Down => id,
            Direction::Up => id.saturating_neg(),
        }
    }

    fn id(&self, rank: i64) -> i64 {
        self.rank(rank)
    }

    /// The rank of the first id of a source that was not looked at.
    fn reached(&self, at: usize) -> i64 {
        let left = self.sources[at].left;
        match self.direction {
            Direction::Down => left.1,
            Direction::Up => self.rank(left.0),
        }
    }

    /// Reads some more of a source.
    fn read(&mut self, at: usize) -> Result<()> {
        let began = clock::instant();
        let direction = self.direction;
        let source = &mut self.sources[at];
        let (first, last) = source.left;
        let (low, high) = match direction {
            Direction::Down => (first.max(last.saturating_sub(source.ids - 1)), last),
            Direction::Up => (first, last.min(first.saturating_add(source.ids - 1))),
        };
        let statement = &mut self.statements[source.statement];
        for (at, key) in source.keys.iter().enumerate() {
            statement.raw_bind_parameter(FIRST_KEY + at, key)?;
        }
        statement.raw_bind_parameter(1, low)?;
        statement.raw_bind_parameter(2, high)?;
        statement.raw_bind_parameter(3, source.rows as i64)?;
        let mut rows = statement.raw_query();
        let (mut seen, mut reached) = (0, None);
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            (seen, reached) = (seen + 1, Some(id));
            if row.get::<_, Option<bool>>(1)? == Some(true) {
                source.found.push_back(FoundJob {
                    id,
                    key: row.get(2)?,
                });
            }
        }
        drop(rows);
        let full = reached.filter(|_| seen == source.rows);
        source.left = match direction {
            Direction::Down => (first, full.unwrap_or(low).saturating_sub(1)),
            Direction::Up => (full.unwrap_or(high).saturating_add(1), last),
        };
        source.was_read = true;
        source.pace(began.elapsed());
        Ok(())
    }
}

impl JobSource {
    /// The next reading is longer or shorter.
    fn pace(&mut self, took: Duration) {
        if took < QUICK {
            self.rows = (self.rows * 2).min(self.most_rows);
            self.ids = self.ids.saturating_mul(2);
        } else if took > SLOW {
            self.rows = (self.rows / 2).max(1);
            self.ids = (self.ids / 2).max(1);
        }
    }
}

/// The number of the first parameter for a shape's keys, behind the bounds and the limit.
pub(crate) const FIRST_KEY: usize = 4;
