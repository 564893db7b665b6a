//! Jobs as a list shows them: without their payloads, results and errors, of which only the size and the beginning
//! are read.

use crate::Result;
use crate::clock::timestamp;
use crate::model::id::{JobId, RunnerId, WorkerId};
use crate::model::job::{JobSummary, TextPreview};
use crate::model::state::{State, WaitReason};
use crate::store::read::jobs;
use crate::store::sqlite::statement::{statements, text};
use crate::store::sqlite::{Blob, CachedStatement, Connection, MAIN_DB, Row};

statements! {
    /// `octet_length` reads the size of a text, and not the text.
    hot JOB_SUMMARY = "SELECT j.id, k.name, q.name, j.state, j.wait_reason, j.priority, j.tenant, j.attempt, j.retries,
            j.max_retries, j.run_at, j.cancel, j.created_at, j.updated_at, j.started_at, j.finished_at, j.runner_id,
            j.worker, j.parent_id, f.total, f.done, f.failed, g.percent, g.processed, g.total, g.message, j.schedule,
            octet_length(p.payload), octet_length(o.result), octet_length(o.error),
            CASE WHEN j.links & 64 THEN (SELECT json_group_object(t.name, t.value) FROM jobq_tag t
                WHERE t.job_id = j.id) END
        FROM jobq_job j
        JOIN jobq_kind k ON k.id = j.kind_id
        JOIN jobq_queue q ON q.id = j.queue_id
        LEFT JOIN jobq_payload p ON p.job_id = j.id
        LEFT JOIN jobq_outcome o ON o.job_id = j.id
        LEFT JOIN jobq_progress g ON g.job_id = j.id AND g.attempt = j.attempt
        LEFT JOIN jobq_family f ON f.job_id = j.id
        WHERE j.id = ?1";
}

/// Number of characters of a preview.
const PREVIEW_CHARS: usize = 200;

/// Reads summaries.
pub(crate) struct Summaries<'c> {
    conn: &'c Connection,
    statement: CachedStatement<'c>,
    payloads: Texts<'c>,
    results: Texts<'c>,
    errors: Texts<'c>,
}

impl<'c> Summaries<'c> {
    pub(crate) fn new(conn: &'c Connection) -> Result<Summaries<'c>> {
        let of = |table, column| Texts {
            conn,
            table,
            column,
            open: None,
        };
        Ok(Summaries {
            conn,
            statement: conn.prepare_cached(JOB_SUMMARY)?,
            payloads: of("jobq_payload", "payload"),
            results: of("jobq_outcome", "result"),
            errors: of("jobq_outcome", "error"),
        })
    }

    /// None if there is no such job.
    pub(crate) fn get(&mut self, id: JobId) -> Result<Option<JobSummary>> {
        let mut rows = self.statement.query([id.0])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let mut job = decode(row)?;
        let sizes: (Option<u64>, Option<u64>, Option<u64>) =
            (row.get(27)?, row.get(28)?, row.get(29)?);
        job.payload = self.payloads.preview(id, sizes.0)?.unwrap_or_default();
        job.result = self.results.preview(id, sizes.1)?;
        job.error = self.errors.preview(id, sizes.2)?;
        if let Some(progress) =
            jobs::progress_of_children(self.conn, id, (job.state, job.children))?
        {
            job.progress = Some(progress);
        }
        Ok(Some(job))
    }
}

/// A column of texts.
struct Texts<'c> {
    conn: &'c Connection,
    table: &'static str,
    column: &'static str,
    /// It is moved from row to row.
    open: Option<Blob<'c>>,
}

impl Texts<'_> {
    /// Reads no more than the first page of a text.
    fn preview(&mut self, id: JobId, bytes: Option<u64>) -> Result<Option<TextPreview>> {
        let Some(bytes) = bytes else {
            return Ok(None);
        };
        let text = match self.open.take() {
            Some(mut text) => text.reopen(id.0).map(|()| text),
            None => self
                .conn
                .blob_open(MAIN_DB, self.table, self.column, id.0, true),
        };
        let text = self.open.insert(text?);
        let mut start = [0; 4 * PREVIEW_CHARS];
        let read = text.len().min(start.len());
        text.read_at_exact(&mut start[..read], 0)?;
        let start = String::from_utf8_lossy(&start[..read]);
        Ok(Some(TextPreview {
            bytes,
            start: start.chars().take(PREVIEW_CHARS).collect(),
        }))
    }
}

fn decode(row: &Row<'_>) -> Result<JobSummary> {
    let id = JobId(row.get(0)?);
    let time = |at| -> Result<_> { Ok(row.get::<_, Option<i64>>(at)?.map(timestamp)) };
    let state = jobs::state(row.get(3)?, id)?;
    let scheduled = state == State::Scheduled;
    Ok(JobSummary {
        id,
        kind: text(row.get_ref(1)?).unwrap_or_default(),
        queue: text(row.get_ref(2)?).unwrap_or_default(),
        state,
        wait_reason: row
            .get::<_, Option<i64>>(4)?
            .filter(|_| scheduled)
            .and_then(WaitReason::from_code),
        priority: jobs::priority(row.get(5)?, id)?,
        tenant: text(row.get_ref(6)?),
        attempt: row.get(7)?,
        retries: row.get(8)?,
        max_retries: row.get(9)?,
        run_at: time(10)?.filter(|_| scheduled),
        cancel_requested: row.get::<_, Option<i64>>(11)?.is_some() && state == State::Running,
        created_at: timestamp(row.get(12)?),
        updated_at: timestamp(row.get(13)?),
        started_at: time(14)?,
        finished_at: time(15)?,
        runner: row.get::<_, Option<i64>>(16)?.map(RunnerId),
        worker: row.get::<_, Option<_>>(17)?.map(WorkerId),
        parent: row.get::<_, Option<i64>>(18)?.map(JobId),
        children: jobs::children(row, 19)?,
        progress: jobs::progress(row, 22)?,
        schedule: text(row.get_ref(26)?),
        tags: jobs::tags(row, 30)?,
        payload: TextPreview::default(),
        result: None,
        error: None,
    })
}
