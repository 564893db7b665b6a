//! Names that begin with a text, from indexes: one step in an index for each name, however many jobs have it.

use crate::Result;
use crate::model::suggestion::NameField;
use crate::store::sqlite::Connection;
use crate::store::sqlite::params;
use crate::store::sqlite::statement::{Statements, statements};

statements! {
    /// Few, and unique in their tables.
    hot KINDS_FROM = "SELECT name FROM jobq_kind WHERE name >= ?1 ORDER BY name LIMIT ?2";
    hot QUEUES_FROM = "SELECT name FROM jobq_queue WHERE name >= ?1 ORDER BY name LIMIT ?2";
    hot SCHEDULES_FROM = "SELECT name FROM jobq_schedule WHERE name >= ?1 ORDER BY name LIMIT ?2";
    /// The first name in an index that follows another. Each name has many jobs; they are passed over at once.
    hot TENANT_AT = "SELECT min(tenant) FROM jobq_job WHERE tenant >= ?1";
    hot TENANT_NEXT = "SELECT min(tenant) FROM jobq_job WHERE tenant > ?1";
    hot SCHEDULE_AT = "SELECT min(schedule) FROM jobq_job WHERE schedule >= ?1";
    hot SCHEDULE_AFTER = "SELECT min(schedule) FROM jobq_job WHERE schedule > ?1";
    hot TAG_NAME_AT = "SELECT min(name) FROM jobq_tag WHERE name >= ?1";
    hot TAG_NAME_NEXT = "SELECT min(name) FROM jobq_tag WHERE name > ?1";
    hot TAG_VALUE_AT = "SELECT min(value) FROM jobq_tag WHERE name = ?2 AND value >= ?1";
    hot TAG_VALUE_NEXT = "SELECT min(value) FROM jobq_tag WHERE name = ?2 AND value > ?1";
}

/// At most `limit` names that begin with `prefix`, in their order.
pub(crate) fn names(
    conn: &Connection,
    (field, prefix): (&NameField, &str),
    limit: usize,
) -> Result<Vec<String>> {
    let of_table = |sql| -> Result<Vec<String>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut names = conn.all(sql, params![prefix, limit], |row| row.get(0))?;
        names.retain(|name: &String| name.starts_with(prefix));
        Ok(names)
    };
    let skipping = |(first, next): (&str, &str), of: Option<&str>| -> Result<Vec<String>> {
        let find = |sql, text: &str| -> Result<Option<String>> {
            match of {
                None => conn.one(sql, [text], |row| row.get(0)),
                Some(name) => conn.one(sql, [text, name], |row| row.get(0)),
            }
        };
        let mut names = Vec::new();
        let mut found = find(first, prefix)?;
        while let Some(name) = found.filter(|name| name.starts_with(prefix)) {
            if names.len() == limit {
                break;
            }
            found = find(next, &name)?;
            names.push(name);
        }
        Ok(names)
    };
    match field {
        NameField::Kind => of_table(KINDS_FROM),
        NameField::Queue => of_table(QUEUES_FROM),
        NameField::Tenant => skipping((TENANT_AT, TENANT_NEXT), None),
        NameField::TagName => skipping((TAG_NAME_AT, TAG_NAME_NEXT), None),
        NameField::TagValue(name) => skipping((TAG_VALUE_AT, TAG_VALUE_NEXT), Some(name)),
        NameField::Schedule => {
            // A schedule may have no jobs, and jobs a schedule that was removed.
            let mut names = of_table(SCHEDULES_FROM)?;
            names.extend(skipping((SCHEDULE_AT, SCHEDULE_AFTER), None)?);
            names.sort_unstable();
            names.dedup();
            names.truncate(limit);
            Ok(names)
        }
    }
}
