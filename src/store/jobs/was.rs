//! What a job was when it was cancelled: kept in the event, so that the cancel can be undone.

use serde::Deserialize;

use crate::Result;
use crate::model::event::EventId;
use crate::model::flags::JobFlags;
use crate::model::id::JobId;
use crate::model::state::State;
use crate::store::jobs::families;
use crate::store::jobs::job_row::JobRow;
use crate::store::sqlite::params;
use crate::store::sqlite::statement::{statements, text};
use crate::store::sqlite::tx::{EventFields, Tx};

statements! {
    hot OUTCOME_GET = "SELECT result, error FROM jobq_outcome WHERE job_id = ?1";
    hot OUTCOME_RESTORE = "INSERT INTO jobq_outcome (job_id, result, error) VALUES (?1, ?2, ?3)
        ON CONFLICT (job_id) DO UPDATE SET result = excluded.result, error = excluded.error";
}

/// Maximum length of the result and the error that an event keeps.
const MAX_KEPT_BYTES: usize = 64 * 1024;

/// What the job's row does not say any more.
#[derive(Debug, Deserialize)]
pub(crate) struct Was {
    #[serde(rename = "was")]
    pub(crate) state: State,
    /// The cancel by hand that this one followed from; none: it is one itself.
    pub(crate) of: Option<EventId>,
    /// The result of its run phase.
    #[serde(rename = "was_result")]
    result: Option<String>,
    /// The error of its last attempt.
    #[serde(rename = "was_error")]
    error: Option<String>,
    /// Its result or its error was too long to be kept.
    #[serde(default)]
    pub(crate) is_lost: bool,
    /// A child that ran, and was asked to stop.
    pub(crate) stopped: Option<JobId>,
}

impl Was {
    /// A job that is about to be cancelled. A job without an attempt has no outcome.
    pub(super) fn of(tx: &Tx<'_>, (id, row): (JobId, &JobRow)) -> Result<Was> {
        let outcome = match row.attempt {
            0 => None,
            _ => tx.optional(OUTCOME_GET, [id.0], |row| {
                Ok((text(row.get_ref(0)?), text(row.get_ref(1)?)))
            })?,
        };
        let (result, error) = outcome.unwrap_or_default();
        let bytes = [&result, &error].map(|text| text.as_ref().map_or(0, String::len));
        let is_lost = bytes.iter().sum::<usize>() > MAX_KEPT_BYTES;
        let stopped = match row.flags.has(JobFlags::FAMILY) {
            true => families::running_child(tx.conn, id)?,
            false => None,
        };
        Ok(Was {
            state: row.state,
            of: None,
            result: result.filter(|_| !is_lost),
            error: error.filter(|_| !is_lost),
            is_lost,
            stopped,
        })
    }

    /// As an event keeps it, with the reason of the cancel, and the cancel by hand that it followed from.
    pub(super) fn fields(self, (reason, of): (Option<&str>, Option<EventId>)) -> EventFields {
        let fields: [(&str, Option<serde_json::Value>); 7] = [
            ("was", Some(self.state.as_str().into())),
            ("was_result", self.result.map(Into::into)),
            ("was_error", self.error.map(Into::into)),
            ("is_lost", self.is_lost.then(|| true.into())),
            ("stopped", self.stopped.map(|child| child.0.into())),
            ("error", reason.map(Into::into)),
            ("of", of.map(|of| of.0.into())),
        ];
        let known = fields.into_iter();
        known
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }

    /// As an event has it; none if the event keeps nothing.
    pub(crate) fn parse(data: Option<&str>) -> Option<Was> {
        let was: Was = serde_json::from_str(data?).ok()?;
        // Another program may have written any state there.
        let may_be = !was.state.is_final() && was.state != State::Running;
        may_be.then_some(was)
    }

    /// Gives the job its outcome back.
    pub(super) fn restore_outcome(&self, tx: &Tx<'_>, id: JobId) -> Result<()> {
        tx.run(OUTCOME_RESTORE, params![id.0, self.result, self.error])?;
        Ok(())
    }
}
