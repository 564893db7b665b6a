//! Reading the jobs around a job: from one job to the next along their relations, the nearest first and for a limited time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::model::family::PrerequisiteRule;
use crate::model::flags::JobFlags;
use crate::model::graph::GraphEdgeKind;
use crate::model::graph::assemble::{GraphJob, ReadGraph, RestOfList};
use crate::model::id::JobId;
use crate::model::queue::Counts;
use crate::model::state::State;
use crate::store::jobs::families;
use crate::store::sqlite::names::KIND_NAME;
use crate::store::sqlite::statement::{Statements, statements, text};
use crate::store::sqlite::{Connection, Row, RowResult, params};
use crate::{Error, Result, clock};

statements! {
    hot GRAPH_JOB = "SELECT id, kind_id, state, links, parent_id FROM jobq_job WHERE id = ?1";
    /// This list and the next ones are read row by row, each from after an id on.
    hot GRAPH_CHILDREN = "SELECT id, kind_id, state, links, parent_id FROM jobq_job
        WHERE parent_id = ?1 AND id > ?2 ORDER BY id";
    hot GRAPH_NEEDED_COMPLETED_BY = "SELECT j.id, j.kind_id, j.state, j.links, j.parent_id
        FROM jobq_prerequisite p CROSS JOIN jobq_job j ON j.id = p.job_id
        WHERE p.needs_id = ?1 AND p.rule = 0 AND p.job_id > ?2 ORDER BY p.job_id";
    hot GRAPH_NEEDED_FINAL_BY = "SELECT j.id, j.kind_id, j.state, j.links, j.parent_id
        FROM jobq_prerequisite p CROSS JOIN jobq_job j ON j.id = p.job_id
        WHERE p.needs_id = ?1 AND p.rule = 1 AND p.job_id > ?2 ORDER BY p.job_id";
    hot GRAPH_NEEDS = "SELECT j.id, j.kind_id, j.state, j.links, j.parent_id, p.rule
        FROM jobq_prerequisite p CROSS JOIN jobq_job j ON j.id = p.needs_id
        WHERE p.job_id = ?1 AND p.needs_id > ?2 ORDER BY p.needs_id";
    hot GRAPH_HOOK_JOBS = "SELECT j.id, j.kind_id, j.state, j.links, j.parent_id
        FROM jobq_hook_job h CROSS JOIN jobq_job j ON j.id = h.job_id
        WHERE h.of_id = ?1 AND h.job_id > ?2 ORDER BY h.job_id";
    hot GRAPH_HOOK_OF = "SELECT j.id, j.kind_id, j.state, j.links, j.parent_id
        FROM jobq_hook_job h CROSS JOIN jobq_job j ON j.id = h.of_id
        WHERE h.job_id = ?1 AND h.of_id > ?2 ORDER BY h.of_id";
}

/// Maximum number of jobs whose relations are read.
const MOST_JOBS: usize = 1000;
/// Maximum number of jobs of a list that are read one by one; the others are counted.
const MOST_OF_LIST: usize = 250;
/// Relations are read for no longer.
const READ_TIME: Duration = Duration::from_millis(20);
/// Lists are counted until this time after the beginning.
const COUNT_TIME: Duration = Duration::from_millis(40);
/// The clock is looked at after this number of counted rows.
const ROWS: u64 = 256;

/// A list of jobs that stand in a relation to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RelatedList {
    Children,
    NeededCompletedBy,
    NeededFinalBy,
    Needs,
    HookJobs,
    HookOf,
}

impl RelatedList {
    /// Those that lead back come first: there are few of them.
    const ALL: [RelatedList; 6] = [
        RelatedList::HookOf,
        RelatedList::Needs,
        RelatedList::Children,
        RelatedList::NeededCompletedBy,
        RelatedList::NeededFinalBy,
        RelatedList::HookJobs,
    ];

    fn sql(self) -> &'static str {
        match self {
            RelatedList::Children => GRAPH_CHILDREN,
            RelatedList::NeededCompletedBy => GRAPH_NEEDED_COMPLETED_BY,
            RelatedList::NeededFinalBy => GRAPH_NEEDED_FINAL_BY,
            RelatedList::Needs => GRAPH_NEEDS,
            RelatedList::HookJobs => GRAPH_HOOK_JOBS,
            RelatedList::HookOf => GRAPH_HOOK_OF,
        }
    }

    fn is_before(self) -> bool {
        matches!(self, RelatedList::Needs | RelatedList::HookOf)
    }

    /// Whether a job with these flags may have such a list. The hooks of a configuration leave no flag.
    fn may_be(self, flags: JobFlags) -> bool {
        match self {
            RelatedList::Children => flags.has(JobFlags::FAMILY),
            RelatedList::NeededCompletedBy | RelatedList::NeededFinalBy => {
                flags.has(JobFlags::NEEDED)
            }
            RelatedList::Needs => flags.has(JobFlags::WAITS),
            RelatedList::HookJobs => !flags.has(JobFlags::HOOK_JOB),
            RelatedList::HookOf => flags.has(JobFlags::HOOK_JOB),
        }
    }
}

/// The jobs around a job.
///
/// # Errors
/// There is no such job, or the file cannot be read.
pub(crate) fn graph(conn: &Connection, id: JobId) -> Result<ReadGraph> {
    // One read transaction: no job is in two states.
    let read = conn.unchecked_transaction()?;
    let mut reader = GraphReader {
        conn: &read,
        read: ReadGraph::default(),
        rows: Vec::new(),
        places: HashMap::new(),
        long: Vec::new(),
    };
    let job = reader.job(id)?.ok_or_else(|| Error::no_such_job(id))?;
    reader.place(job);
    let begun = clock::instant();
    let until = clock::after(begun, READ_TIME);
    let mut at = 0;
    while at < reader.rows.len() {
        if at > 0 && clock::instant() >= until {
            reader.leave(at);
            break;
        }
        reader.relations(at)?;
        at += 1;
    }
    let until = clock::after(begun, COUNT_TIME);
    for long in std::mem::take(&mut reader.long) {
        reader.count(&long, until)?;
    }
    reader.name_kinds()?;
    Ok(reader.read)
}

/// A job as a list has it.
#[derive(Clone, Copy, Debug)]
struct RelatedJob {
    id: JobId,
    kind: i64,
    state: State,
    flags: JobFlags,
    parent: Option<JobId>,
}

impl RelatedJob {
    /// A state that is not known reads as one that ends nothing.
    fn decode(row: &Row<'_>) -> RowResult<RelatedJob> {
        Ok(RelatedJob {
            id: JobId(row.get(0)?),
            kind: row.get(1)?,
            state: State::from_code(row.get(2)?).unwrap_or(State::Blocked),
            flags: JobFlags(row.get(3)?),
            parent: row.get::<_, Option<i64>>(4)?.map(JobId),
        })
    }
}

/// A list that was read in part.
#[derive(Clone, Copy, Debug)]
struct LongList {
    of: usize,
    list: RelatedList,
    after: JobId,
}

struct GraphReader<'c> {
    conn: &'c Connection,
    read: ReadGraph,
    /// The jobs of `read`, in the same places.
    rows: Vec<RelatedJob>,
    places: HashMap<JobId, usize>,
    long: Vec<LongList>,
}

impl GraphReader<'_> {
    fn job(&self, id: JobId) -> Result<Option<RelatedJob>> {
        self.conn.optional(GRAPH_JOB, [id.0], RelatedJob::decode)
    }

    /// The place of a job; none: there is no room for it.
    fn place(&mut self, job: RelatedJob) -> Option<usize> {
        if let Some(at) = self.places.get(&job.id) {
            return Some(*at);
        }
        let at = self.rows.len();
        if at >= MOST_JOBS {
            return None;
        }
        self.places.insert(job.id, at);
        self.rows.push(job);
        self.read.jobs.push(GraphJob {
            id: job.id,
            kind: job.kind,
            state: job.state,
            more: false,
        });
        Some(at)
    }

    /// Reads what a job is related to.
    fn relations(&mut self, at: usize) -> Result<()> {
        let job = self.rows[at];
        if let Some(parent) = job.parent
            && let Some(parent) = self.job(parent)?
        {
            self.relate(at, parent, (GraphEdgeKind::Child, true));
        }
        for list in RelatedList::ALL {
            if list.may_be(job.flags) {
                self.list(at, list)?;
            }
        }
        Ok(())
    }

    fn list(&mut self, of: usize, list: RelatedList) -> Result<()> {
        let job = self.rows[of];
        let mut statement = self.conn.prepare_cached(list.sql())?;
        let mut rows = statement.query(params![job.id.0, i64::MIN])?;
        let mut after = JobId(i64::MIN);
        let mut count = 0;
        while let Some(row) = rows.next()? {
            if count == MOST_OF_LIST {
                self.long.push(LongList { of, list, after });
                break;
            }
            let other = RelatedJob::decode(row)?;
            if let Some(relation) = relation(list, row, &job)? {
                self.relate(of, other, (relation, list.is_before()));
            }
            after = other.id;
            count += 1;
        }
        Ok(())
    }

    fn relate(&mut self, of: usize, other: RelatedJob, relation: (GraphEdgeKind, bool)) {
        let (kind, is_before) = relation;
        let Some(other) = self.place(other) else {
            self.read.jobs[of].more = true;
            return;
        };
        self.read.edges.push(match is_before {
            true => (other, of, kind),
            false => (of, other, kind),
        });
    }

    /// The relations of the jobs from this place on are not read.
    fn leave(&mut self, from: usize) {
        for (job, row) in self.read.jobs.iter_mut().zip(&self.rows).skip(from) {
            job.more = may_have_more(row);
        }
    }

    /// Counts the jobs of a list that was read in part.
    fn count(&mut self, long: &LongList, until: Instant) -> Result<()> {
        let job = self.rows[long.of];
        let mut statement = self.conn.prepare_cached(long.list.sql())?;
        let mut rows = statement.query(params![job.id.0, long.after.0])?;
        let mut rests: BTreeMap<(i64, GraphEdgeKind), RestOfList> = BTreeMap::new();
        let mut count = 0_u64;
        let mut is_time_up = false;
        while let Some(row) = rows.next()? {
            count += 1;
            if count.is_multiple_of(ROWS) && clock::instant() >= until {
                is_time_up = true;
                break;
            }
            let other = RelatedJob::decode(row)?;
            let Some(kind) = relation(long.list, row, &job)? else {
                continue;
            };
            if self.places.contains_key(&other.id) {
                continue;
            }
            let rest = rests
                .entry((other.kind, kind))
                .or_insert_with(|| long.rest(kind, Some(other.kind)));
            rest.jobs += 1;
            rest.counts.add(other.state, 1);
            rest.first = rest.first.or(Some(other.id));
            if other.state == State::Failed {
                rest.first_failed = rest.first_failed.or(Some(other.id));
            }
            rest.more |= may_have_more(&other);
        }
        self.read.rests.extend(rests.into_values());
        if is_time_up {
            self.not_counted(long)?;
        }
        Ok(())
    }

    /// The children that were not counted are known from their parent; of other lists only that there are more.
    fn not_counted(&mut self, long: &LongList) -> Result<()> {
        self.read.jobs[long.of].more = true;
        if long.list != RelatedList::Children {
            return Ok(());
        }
        let Some(family) = families::get(self.conn, self.rows[long.of].id)? else {
            return Ok(());
        };
        let children = family.children;
        let mut seen = Counts::default();
        let edges = self.read.edges.iter();
        let read =
            edges.filter(|(from, _, kind)| (*from, *kind) == (long.of, GraphEdgeKind::Child));
        let read: BTreeSet<usize> = read.map(|(_, child, _)| *child).collect();
        for child in read {
            seen.add(self.rows[child].state, 1);
        }
        let of_list =
            |rest: &&RestOfList| rest.of == long.of && rest.relation == GraphEdgeKind::Child;
        for (state, jobs) in self
            .read
            .rests
            .iter()
            .filter(of_list)
            .flat_map(|rest| rest.counts.iter())
        {
            seen.add(state, i64::try_from(jobs).unwrap_or(i64::MAX));
        }
        let mut rest = long.rest(GraphEdgeKind::Child, None);
        let failed = seen.get(State::Failed) + seen.get(State::Cancelled);
        for (state, all, seen) in [
            (State::Completed, children.done, seen.get(State::Completed)),
            (State::Failed, children.failed, failed),
        ] {
            let jobs = i64::try_from(all.saturating_sub(seen)).unwrap_or(i64::MAX);
            rest.counts.add(state, jobs);
        }
        rest.jobs = children.total.saturating_sub(seen.total());
        rest.more = true;
        self.read.rests.push(rest);
        Ok(())
    }

    fn name_kinds(&mut self) -> Result<()> {
        let kinds = self.rows.iter().map(|job| job.kind);
        let kinds = kinds.chain(self.read.rests.iter().filter_map(|rest| rest.kind));
        let kinds: BTreeSet<i64> = kinds.collect();
        for kind in kinds {
            let name = self.conn.optional(KIND_NAME, [kind], |row| {
                Ok(text(row.get_ref(0)?).unwrap_or_default())
            })?;
            self.read.kinds.insert(kind, name.unwrap_or_default());
        }
        Ok(())
    }
}

impl LongList {
    fn rest(&self, relation: GraphEdgeKind, kind: Option<i64>) -> RestOfList {
        RestOfList {
            of: self.of,
            relation,
            is_before: self.list.is_before(),
            kind,
            counts: Counts::default(),
            jobs: 0,
            first: None,
            first_failed: None,
            more: false,
        }
    }
}

/// The relation of a row of a list; none: another relation of the two says it all.
fn relation(list: RelatedList, row: &Row<'_>, of: &RelatedJob) -> RowResult<Option<GraphEdgeKind>> {
    Ok(match list {
        RelatedList::Children => Some(GraphEdgeKind::Child),
        RelatedList::NeededCompletedBy => Some(GraphEdgeKind::NeedsCompleted),
        RelatedList::NeededFinalBy => Some(GraphEdgeKind::NeedsFinal),
        RelatedList::HookJobs | RelatedList::HookOf => Some(GraphEdgeKind::Hook),
        RelatedList::Needs => {
            let is_parent = of.parent == Some(JobId(row.get(0)?));
            match PrerequisiteRule::from_code(row.get(5)?) {
                Some(PrerequisiteRule::Completed) => Some(GraphEdgeKind::NeedsCompleted),
                Some(PrerequisiteRule::Final) => Some(GraphEdgeKind::NeedsFinal),
                Some(PrerequisiteRule::Spawned) if !is_parent => Some(GraphEdgeKind::Spawned),
                _ => None,
            }
        }
    })
}

/// Whether a job may have relations besides the one by which it was found.
fn may_have_more(job: &RelatedJob) -> bool {
    let flags = [
        JobFlags::FAMILY,
        JobFlags::NEEDED,
        JobFlags::WAITS,
        JobFlags::HOOKS,
        JobFlags::HOOK_JOB,
    ];
    flags.into_iter().any(|flag| job.flags.has(flag))
}
