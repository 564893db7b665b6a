//! Errors that differ only in what varies from job to job: numbers, ids, addresses, paths and quoted texts.

mod blank;

use std::cmp::Reverse;
use std::collections::HashMap;

use jiff::Timestamp;

use crate::model::digest::Digest;
use crate::model::id::JobId;

/// Maximum number of kinds that a group names.
const MAX_KINDS: usize = 20;

/// Jobs whose errors are the same but for numbers, ids, paths and quoted texts.
///
/// `cannot read '/tmp/7.csv' at byte 120` and `cannot read '/tmp/9.csv' at byte 4` are both
/// `cannot read '…' at byte N`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorGroup {
    /// Eight hex digits of a digest of the message: the same in every file and version.
    /// [`Filter::error_group`](crate::Filter::error_group) selects its jobs.
    pub id: String,
    /// The first line of the errors, at most 200 characters: `N` stands for numbers and ids, `…` for paths and quoted
    /// texts.
    pub message: String,
    /// The job that failed last.
    pub example: JobId,
    /// Its error, at most 2000 characters.
    pub error: String,
    /// The number of jobs.
    pub jobs: u64,
    /// When the first of them failed.
    pub first_at: Timestamp,
    /// When the last of them failed.
    pub last_at: Timestamp,
    /// Their kinds, at most 20, in the order of their names.
    pub kinds: Vec<String>,
}

impl ErrorGroup {
    fn add(&mut self, other: ErrorGroup) {
        self.jobs += other.jobs;
        self.first_at = self.first_at.min(other.first_at);
        if (other.last_at, other.example) > (self.last_at, self.example) {
            self.last_at = other.last_at;
            self.example = other.example;
            self.error = other.error;
        }
        for kind in other.kinds {
            if let Err(at) = self.kinds.binary_search(&kind)
                && self.kinds.len() < MAX_KINDS
            {
                self.kinds.insert(at, kind);
            }
        }
    }
}

/// Groups of errors, as [`Queue::error_groups`](crate::Queue::error_groups) has found them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorGroups {
    /// The group whose jobs failed last comes first.
    pub groups: Vec<ErrorGroup>,
    /// How far the file was searched, if the time was up; with it as [`Filter::after`](crate::Filter::after) the next
    /// call continues there. None: these are all groups.
    pub searched_to: Option<JobId>,
}

impl ErrorGroups {
    /// Whether these are all groups.
    pub fn is_complete(&self) -> bool {
        self.searched_to.is_none()
    }

    /// Adds what a call has found that continued this one.
    pub fn add(&mut self, more: ErrorGroups) {
        let mut counted = GroupsCounted::default();
        let all = self.groups.drain(..).chain(more.groups);
        all.for_each(|group| counted.add(group));
        *self = counted.finish(more.searched_to);
    }
}

/// An error of a job.
pub(crate) struct FailedJob<'a> {
    pub(crate) id: JobId,
    pub(crate) kind: &'a str,
    pub(crate) failed_at: Timestamp,
    pub(crate) error: &'a str,
}

/// Groups, by their messages.
#[derive(Default)]
pub(crate) struct GroupsCounted(HashMap<String, ErrorGroup>);

impl GroupsCounted {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a job that failed; jobs without an error are a group as well.
    pub(crate) fn add_job(&mut self, job: FailedJob<'_>) {
        let message = normalize(job.error);
        if let Some(group) = self.0.get_mut(&message)
            && group.last_at >= job.failed_at
            && group.kinds.iter().any(|kind| kind == job.kind)
        {
            // Most jobs: nothing is copied.
            group.jobs += 1;
            group.first_at = group.first_at.min(job.failed_at);
            return;
        }
        self.add(ErrorGroup {
            id: id_of_message(&message),
            message,
            example: job.id,
            error: job.error.chars().take(MAX_ERROR_CHARS).collect(),
            jobs: 1,
            first_at: job.failed_at,
            last_at: job.failed_at,
            kinds: vec![job.kind.to_owned()],
        });
    }

    fn add(&mut self, group: ErrorGroup) {
        match self.0.get_mut(&group.message) {
            Some(known) => known.add(group),
            None => drop(self.0.insert(group.message.clone(), group)),
        }
    }

    pub(crate) fn finish(self, searched_to: Option<JobId>) -> ErrorGroups {
        let mut groups: Vec<ErrorGroup> = self.0.into_values().collect();
        groups.sort_by_key(|group| Reverse((group.last_at, group.example)));
        ErrorGroups {
            groups,
            searched_to,
        }
    }
}

/// Maximum length of the error that a group shows, of the line that is looked at, and of a message. A line of quotes
/// that are not closed costs the square of its length.
const MAX_ERROR_CHARS: usize = 2000;
const MAX_LINE_CHARS: usize = 600;
const MAX_MESSAGE_CHARS: usize = 200;

/// The first line of an error that is not empty, with what varies from job to job blanked.
pub(crate) fn normalize(error: &str) -> String {
    let mut lines = error.lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
    let end = line.char_indices().nth(MAX_LINE_CHARS);
    let blanked = blank::blank(&line[..end.map_or(line.len(), |(at, _)| at)]);
    blanked.chars().take(MAX_MESSAGE_CHARS).collect()
}

/// The id of the group that an error belongs to.
pub(crate) fn id_of(error: &str) -> String {
    id_of_message(&normalize(error))
}

fn id_of_message(message: &str) -> String {
    let mut digest = Digest::new();
    digest.update(message.as_bytes());
    digest.short()
}

#[cfg(test)]
mod tests;
