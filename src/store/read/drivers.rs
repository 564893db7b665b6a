//! Which index a walk reads: the one with the fewest jobs, counted as far as that matters.

use crate::Result;
use crate::model::filter::Filter;
use crate::model::state::State;
use crate::store::jobs::queues;
use crate::store::read::conditions::{Conditions, Named};
use crate::store::read::walk::Direction;
use crate::store::sqlite::blocks::BlockOf;
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::{Connection, Row, RowResult};

statements! {
    /// How many jobs each index has for a walk, up to a limit.
    hot CHILDREN_UP_TO = "SELECT count(*) FROM (SELECT 1 FROM jobq_job WHERE parent_id = ?1 LIMIT ?2)";
    hot TENANT_UP_TO = "SELECT count(*) FROM (SELECT 1 FROM jobq_job WHERE tenant = ?1 LIMIT ?2)";
    hot SCHEDULE_UP_TO = "SELECT count(*) FROM (SELECT 1 FROM jobq_job WHERE schedule = ?1 LIMIT ?2)";
    hot TAG_UP_TO = "SELECT count(*) FROM (SELECT 1 FROM jobq_tag WHERE name = ?1 AND value = ?2 LIMIT ?3)";
    hot BLOCKS_UP_TO = "SELECT count(*) FROM (SELECT 1 FROM jobq_block WHERE what = ?1 AND id = ?2 LIMIT ?3)";
    /// The groups of the pending jobs, one step in their index for each.
    hot PENDING_NEXT_PRIORITY = "SELECT queue_id, kind_id, priority FROM jobq_job WHERE state = 2
        AND queue_id = ?1 AND kind_id = ?2 AND priority < ?3 ORDER BY priority DESC LIMIT 1";
    hot PENDING_NEXT_KIND = "SELECT queue_id, kind_id, priority FROM jobq_job WHERE state = 2
        AND queue_id = ?1 AND kind_id > ?2 ORDER BY kind_id, priority DESC LIMIT 1";
    hot PENDING_NEXT_QUEUE = "SELECT queue_id, kind_id, priority FROM jobq_job WHERE state = 2
        AND queue_id > ?1 ORDER BY queue_id, kind_id, priority DESC LIMIT 1";
}

/// The jobs of an index are counted no further: it is not worth the time.
const COUNTED: u64 = 50_000;

/// What a walk reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    /// Nothing can match.
    Nothing,
    All,
    /// All jobs with these ids; they bound the walk, whichever driver it has.
    Ids(i64, i64),
    Children(i64),
    Tenant(String),
    Schedule(String),
    Tag(String, String),
    /// The jobs in these states, none of which is `completed`; pending ones only in these queues and of these kinds.
    States(Vec<State>, Option<Vec<i64>>, Option<Vec<i64>>),
    Blocks(Vec<BlockOf>),
}

/// The jobs of a statement that differs only in some values.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// FROM and WHERE, up to the bounds of ids.
    from: String,
    id: &'static str,
    pub(crate) texts: Vec<String>,
    /// A source for each.
    pub(crate) keys: Vec<Vec<i64>>,
    /// Whether it passes over other jobs in between, so that a limit on its rows does not limit a reading: the bounds
    /// of ids do. SQLite checks the conditions, then.
    pub(crate) is_by_ids: bool,
    /// What it is sorted by before the id.
    block: &'static str,
}

impl Shape {
    fn new(from: impl Into<String>) -> Shape {
        Shape {
            from: from.into(),
            id: "j.id",
            texts: Vec::new(),
            keys: vec![Vec::new()],
            is_by_ids: false,
            block: "",
        }
    }

    fn by_ids(from: impl Into<String>) -> Shape {
        Shape {
            is_by_ids: true,
            ..Shape::new(from)
        }
    }

    /// The statement: parameters 1 to 3 are the bounds of ids and the limit, the next the keys.
    pub(crate) fn sql(&self, conditions: &Conditions, direction: Direction) -> String {
        let (from, id) = (&self.from, self.id);
        let (fits, key) = (conditions.sql(), conditions.key.unwrap_or("NULL"));
        let down = match direction {
            Direction::Down => " DESC",
            Direction::Up => "",
        };
        let block = match self.block {
            "" => String::new(),
            block => format!("{block}{down}, "),
        };
        let (shown, asked) = match self.is_by_ids {
            true => ("1", format!(" AND {fits}")),
            false => (fits.as_str(), String::new()),
        };
        format!(
            "SELECT {id}, ({shown}), {key} FROM {from} {id} BETWEEN ?1 AND ?2{asked}
            ORDER BY {block}{id}{down} LIMIT ?3"
        )
    }
}

impl Driver {
    /// The driver with the fewest jobs to look at.
    pub(crate) fn of(conn: &Connection, filter: &Filter, named: &Named) -> Result<Driver> {
        if named.is_nothing() {
            return Ok(Driver::Nothing);
        }
        let mut drivers = drivers(filter, named);
        if drivers.len() < 2 {
            return Ok(drivers.pop().unwrap_or(Driver::All));
        }
        // The number of jobs in a state is known; it limits how far the others are worth counting.
        drivers.sort_by_key(|driver| !matches!(driver, Driver::States(..)));
        let mut best = None;
        for driver in drivers {
            let fewest = best.as_ref().map_or(u64::MAX, |(jobs, _)| *jobs);
            let jobs = driver.count(conn, fewest.min(COUNTED))?;
            if jobs < fewest {
                best = Some((jobs, driver));
            }
        }
        Ok(best.map_or(Driver::All, |(_, driver)| driver))
    }

    /// What a filter asks of the driver's jobs besides: the conditions that not all of them meet.
    pub(crate) fn rest_of(&self, filter: &Filter) -> Filter {
        let mut rest = filter.clone();
        match self {
            Driver::Nothing | Driver::All | Driver::Ids(..) => {}
            Driver::Children(_) => rest.parent = None,
            Driver::Tenant(_) => rest.tenant = None,
            Driver::Schedule(_) => rest.schedule = None,
            Driver::Tag(name, value) => rest.tags.retain(|tag| (&tag.0, &tag.1) != (name, value)),
            Driver::States(states, ..) => {
                rest.states.clear();
                if states == &[State::Pending] {
                    (rest.queues, rest.kinds) = (Vec::new(), Vec::new());
                }
            }
            Driver::Blocks(blocks) => match blocks.first() {
                Some(BlockOf::Kind(_)) => rest.kinds.clear(),
                _ => rest.queues.clear(),
            },
        }
        rest
    }

    /// The number of jobs to look at, counted up to `most`.
    fn count(&self, conn: &Connection, most: u64) -> Result<u64> {
        let number = |row: &Row<'_>| row.get::<_, u64>(0);
        let limit = most as i64;
        match self {
            Driver::Children(parent) => conn.one(CHILDREN_UP_TO, [*parent, limit], number),
            Driver::Tenant(name) => conn.one(TENANT_UP_TO, (name, limit), number),
            Driver::Schedule(name) => conn.one(SCHEDULE_UP_TO, (name, limit), number),
            Driver::Tag(name, value) => conn.one(TAG_UP_TO, (name, value, limit), number),
            Driver::States(states, ..) => {
                let counts = queues::by_state(conn)?;
                Ok(states.iter().map(|state| counts.get(*state)).sum())
            }
            Driver::Blocks(blocks) => {
                let mut jobs = 0;
                for of in blocks {
                    let (what, id) = of.key();
                    jobs += 256 * conn.one(BLOCKS_UP_TO, [what, id, limit / 256 + 1], number)?;
                }
                Ok(jobs)
            }
            Driver::Ids(first, last) => Ok(last.abs_diff(*first).saturating_add(1)),
            Driver::Nothing | Driver::All => Ok(u64::MAX),
        }
    }

    /// Its statements.
    pub(crate) fn shapes(&self, conn: &Connection) -> Result<Vec<Shape>> {
        let with = |from: &str, texts: &[&String]| Shape {
            texts: texts.iter().map(|text| (*text).clone()).collect(),
            ..Shape::new(from)
        };
        Ok(match self {
            Driver::Nothing => Vec::new(),
            Driver::All | Driver::Ids(..) => vec![Shape::by_ids("jobq_job j WHERE")],
            Driver::Children(parent) => vec![Shape {
                keys: vec![vec![*parent]],
                ..Shape::new("jobq_job j WHERE j.parent_id = ?4 AND")
            }],
            Driver::Tenant(name) => vec![with("jobq_job j WHERE j.tenant = ?4 AND", &[name])],
            Driver::Schedule(name) => vec![with("jobq_job j WHERE j.schedule = ?4 AND", &[name])],
            Driver::Tag(name, value) => vec![Shape {
                id: "l.job_id",
                ..with(
                    "jobq_tag l CROSS JOIN jobq_job j ON j.id = l.job_id WHERE l.name = ?4 AND l.value = ?5 AND",
                    &[name, value],
                )
            }],
            Driver::States(states, queues, kinds) => {
                let mut shapes = Vec::with_capacity(states.len());
                for state in states {
                    shapes.push(of_state(
                        conn,
                        *state,
                        (queues.as_deref(), kinds.as_deref()),
                    )?);
                }
                shapes
            }
            Driver::Blocks(blocks) => blocks.iter().map(|of| of_block(*of)).collect(),
        })
    }
}

/// The drivers that a filter allows. Those by a name come first: of two with many jobs they have fewer, most likely.
fn drivers(filter: &Filter, named: &Named) -> Vec<Driver> {
    let mut drivers = Vec::new();
    drivers.extend(filter.parent.map(|parent| Driver::Children(parent.0)));
    drivers.extend(filter.tenant.clone().map(Driver::Tenant));
    drivers.extend(filter.schedule.clone().map(Driver::Schedule));
    let tags = filter.tags.iter().cloned();
    drivers.extend(tags.map(|(name, value)| Driver::Tag(name, value)));
    drivers.extend(filter.ids.map(|(first, last)| Driver::Ids(first.0, last.0)));
    let is_of_errors = filter.error.is_some() || filter.error_group.is_some();
    let mut states = filter.states.clone();
    if is_of_errors {
        // A completed job has no error.
        if states.is_empty() {
            states.extend(State::ALL);
        }
        states.retain(|state| *state != State::Completed);
    }
    if !states.is_empty() && !states.contains(&State::Completed) {
        states.sort_unstable_by_key(|state| state.code());
        states.dedup();
        drivers.push(Driver::States(
            states,
            named.queues.clone(),
            named.kinds.clone(),
        ));
    }
    let of_kinds = named.kinds.iter().flatten().map(|id| BlockOf::Kind(*id));
    let of_queues = named.queues.iter().flatten().map(|id| BlockOf::Queue(*id));
    for blocks in [of_kinds.collect::<Vec<_>>(), of_queues.collect()] {
        if !blocks.is_empty() {
            drivers.push(Driver::Blocks(blocks));
        }
    }
    drivers
}

type SomeIds<'a> = Option<&'a [i64]>;

/// The codes are written out, so that SQLite sees that the partial indexes have all jobs in the state.
fn of_state(
    conn: &Connection,
    state: State,
    (queues, kinds): (SomeIds<'_>, SomeIds<'_>),
) -> Result<Shape> {
    Ok(match state {
        State::Pending => {
            let mut groups = pending_groups(conn)?;
            let is_of = |ids: SomeIds<'_>, id: i64| ids.is_none_or(|ids| ids.contains(&id));
            groups.retain(|group| is_of(queues, group[0]) && is_of(kinds, group[1]));
            Shape {
                keys: groups.into_iter().map(|group| group.to_vec()).collect(),
                ..Shape::new(
                    "jobq_job j WHERE j.state = 2 AND j.queue_id = ?4 AND j.kind_id = ?5 AND j.priority = ?6 AND",
                )
            }
        }
        // Few, and sorted: they are as many as there are workers, and some ahead.
        State::Running => {
            Shape::new("jobq_job j INDEXED BY jobq_job_running WHERE j.state = 3 AND")
        }
        state => Shape::new(format!(
            "jobq_job j INDEXED BY jobq_job_state WHERE j.state = {} AND",
            state.code()
        )),
    })
}

/// A row of another kind or queue in the block is passed over. The sign keeps SQLite from reading from the bounds on.
fn of_block(of: BlockOf) -> Shape {
    let (what, id) = of.key();
    let column = match of {
        BlockOf::Kind(_) => "kind_id",
        BlockOf::Queue(_) => "queue_id",
    };
    Shape {
        keys: vec![vec![id]],
        block: "b.block",
        ..Shape::by_ids(format!(
            "jobq_block b CROSS JOIN jobq_job j ON j.id BETWEEN b.block << 8 AND (b.block << 8) + 255
            WHERE b.what = {what} AND b.id = ?4 AND b.block BETWEEN ?1 >> 8 AND ?2 >> 8 AND j.{column} = b.id AND +"
        ))
    }
}

/// Each queue, kind and priority that has pending jobs.
pub(crate) fn pending_groups(conn: &Connection) -> Result<Vec<[i64; 3]>> {
    let group =
        |row: &Row<'_>| -> RowResult<[i64; 3]> { Ok([row.get(0)?, row.get(1)?, row.get(2)?]) };
    let mut groups = Vec::new();
    let mut next = conn.optional(PENDING_NEXT_QUEUE, [i64::MIN], group)?;
    while let Some(found) = next {
        groups.push(found);
        let [queue, kind, priority] = found;
        next = conn.optional(PENDING_NEXT_PRIORITY, [queue, kind, priority], group)?;
        if next.is_none() {
            next = conn.optional(PENDING_NEXT_KIND, [queue, kind], group)?;
        }
        if next.is_none() {
            next = conn.optional(PENDING_NEXT_QUEUE, [queue], group)?;
        }
    }
    Ok(groups)
}
