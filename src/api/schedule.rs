//! A schedule as JSON.

use crate::ScheduleRecord;
use crate::api::json::{Time, json_fields};

json_fields! {
    /// A schedule. The names of these fields are a contract.
    pub ScheduleJson(schedule: &'a ScheduleRecord) {
        name: schedule.name,
        cron: schedule.rule,
        timezone: schedule.timezone,
        missed: schedule.missed,
        overlap: schedule.overlap,
        origin: schedule.origin,
        declared_by: schedule.declared_by.as_deref(),
        job: schedule.job,
        next_at: schedule.next_at.map(Time),
        last_at: schedule.last_at.map(Time),
        last_job_id: schedule.last_job,
        paused_at: schedule.paused_at.map(Time),
        created_at: Time(schedule.created_at),
        updated_at: Time(schedule.updated_at),
    }
}
