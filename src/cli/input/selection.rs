//! Which jobs a verb is for: ids as people write them, and the options that filter.

use std::collections::HashSet;

use clap::{ArgGroup, Args};
use jobq::{Filter, JobId, Sort, State};

use crate::cli::exit::{CliError, CliResult};
use crate::cli::input::values;
use crate::cli::session::Session;

// What jobs have in common.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct JobFilter {
    /// Only jobs of this queue; may be given more than once
    #[arg(long = "queue", value_name = "NAME")]
    pub(crate) queues: Vec<String>,
    /// Only jobs of this kind; may be given more than once
    #[arg(long = "kind", value_name = "KIND")]
    pub(crate) kinds: Vec<String>,
    /// Only jobs of this tenant
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// Only jobs with this tag; of several, with all
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = values::tag)]
    pub(crate) tags: Vec<(String, String)>,
    /// Only children of this job
    #[arg(long, value_name = "ID")]
    pub(crate) parent: Option<String>,
    /// Only jobs that this schedule has enqueued
    #[arg(long, value_name = "NAME")]
    pub(crate) schedule: Option<String>,
    /// Only jobs with an error of this group, as `jobq errors` shows it
    #[arg(long = "error", value_name = "GROUP")]
    pub(crate) error_group: Option<String>,
    /// Only jobs that match this search: 'state:failed took>30s "disk full"'; see `jobq help search`
    #[arg(long, value_name = "TEXT", value_parser = values::search)]
    pub(crate) search: Option<Filter>,
}

// In which state they are.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct StateFilter {
    /// Only jobs in this state; may be given more than once, or as a list: pending,running
    #[arg(long = "state", value_name = "STATE", value_parser = values::state(), value_delimiter = ',')]
    pub(crate) states: Vec<State>,
}

/// The arguments of [`JobFilter`], for verbs that take it in place of numbers.
pub(crate) const FILTERS: [&str; 8] = [
    "queues",
    "kinds",
    "tenant",
    "tags",
    "parent",
    "schedule",
    "error_group",
    "search",
];

/// Those of [`JobFilter`] and [`StateFilter`].
pub(crate) const FILTERS_AND_STATE: [&str; 9] = [
    "queues",
    "kinds",
    "tenant",
    "tags",
    "parent",
    "schedule",
    "error_group",
    "search",
    "states",
];

// Jobs by their numbers, or all that the options describe.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(true).arg("ids").args(FILTERS_AND_STATE)))]
pub(crate) struct JobSelection {
    /// The jobs: 42, 3,5, 8-12, @last
    #[arg(value_name = "ID", conflicts_with_all = FILTERS_AND_STATE)]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: JobFilter,
    #[command(flatten)]
    pub(crate) state: StateFilter,
}

/// What the options and the search ask for excludes each other.
pub(crate) fn contradiction(error: jobq::Error) -> CliError {
    CliError::usage(error.to_string())
        .with_hint("an option and the search ask for different things")
}

// The same for verbs that change them.
#[derive(Debug, Args)]
pub(crate) struct ChangeSelection {
    #[command(flatten)]
    pub(crate) jobs: JobSelection,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

// Whether anything is changed.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct DryRun {
    /// Only count the jobs that the options describe, and show the first of them
    #[arg(long, conflicts_with = "ids")]
    pub(crate) dry_run: bool,
}

impl Session {
    /// The jobs that these words name: `42`, `3,5`, `8-12`, `@last`. Each once, in the order given.
    pub(crate) fn resolve_ids(&self, words: &[String]) -> CliResult<Vec<JobId>> {
        let mut seen = HashSet::new();
        let mut ids = Vec::new();
        for word in words {
            for part in read_ids(word)? {
                let (first, last) = match part {
                    Ids::Range(first, last) => (first, last),
                    Ids::Last => {
                        let last = self.last_id()?.0;
                        (last, last)
                    }
                };
                ids.extend((first..=last).map(JobId).filter(|id| seen.insert(*id)));
            }
        }
        Ok(ids)
    }

    /// As [`Session::resolve_ids`], but of a range only the jobs that there are. What is missing of ranges
    /// is one error for all.
    pub(crate) fn resolve_existing(&self, words: &[String]) -> CliResult<Existing> {
        let mut seen = HashSet::new();
        let mut found = Existing::default();
        for word in words {
            for part in read_ids(word)? {
                match part {
                    Ids::Last => found.ids.push(self.last_id()?),
                    Ids::Range(id, last) if id == last => found.ids.push(JobId(id)),
                    Ids::Range(first, last) => {
                        let there = self.queue()?.ids_between(JobId(first), JobId(last))?;
                        found.note_missing(first, last, &there);
                        found.ids.extend(there);
                    }
                }
            }
        }
        found.ids.retain(|id| seen.insert(*id));
        Ok(found)
    }

    /// The one job that this word names.
    pub(crate) fn resolve_id(&self, word: &str) -> CliResult<JobId> {
        match read_ids(word)?[..] {
            [Ids::Last] => self.last_id(),
            [Ids::Range(first, last)] if first == last => Ok(JobId(first)),
            _ => Err(CliError::usage(format!(
                "'{word}' names several jobs; one is wanted"
            ))),
        }
    }

    /// What the options of a verb ask for, together with the states of its own option.
    pub(crate) fn filter_with(&self, of: &JobFilter, states: &StateFilter) -> CliResult<Filter> {
        let states = Filter {
            states: states.states.clone(),
            ..Filter::default()
        };
        self.filter(of)?.and(states).map_err(contradiction)
    }

    /// The same for a verb that changes jobs: a search that only sorts does not mean all of them.
    pub(crate) fn filter_of_change(
        &self,
        of: &JobFilter,
        states: &StateFilter,
    ) -> CliResult<Filter> {
        let filter = Filter {
            sort: Sort::default(),
            ..self.filter_with(of, states)?
        };
        match filter == Filter::default() {
            true => Err(CliError::usage("the search leaves out no jobs")
                .with_hint("say which jobs are meant, by their state at least")),
            false => Ok(filter),
        }
    }

    /// What the options of a verb ask for.
    pub(crate) fn filter(&self, of: &JobFilter) -> CliResult<Filter> {
        let parent = of.parent.as_deref().map(|word| self.resolve_parent(word));
        let options = Filter {
            queues: of.queues.clone(),
            kinds: of.kinds.clone(),
            tenant: of.tenant.clone(),
            tags: of.tags.clone(),
            parent: parent.transpose()?,
            schedule: of.schedule.clone(),
            error_group: of.error_group.clone(),
            ..Filter::default()
        };
        let search = of.search.clone().unwrap_or_default();
        options.and(search).map_err(contradiction)
    }

    /// A job whose children are asked for. It may have been removed before them.
    fn resolve_parent(&self, word: &str) -> CliResult<JobId> {
        let id = self.resolve_id(word)?;
        let children = Filter {
            parent: Some(id),
            limit: Some(1),
            ..Filter::default()
        };
        let queue = self.queue()?;
        match queue.state(id)?.is_none() && queue.list(&children)?.is_empty() {
            true => Err(CliError::no_job(id)),
            false => Ok(id),
        }
    }

    fn last_id(&self) -> CliResult<JobId> {
        self.queue()?.last_id()?.ok_or_else(|| {
            CliError::not_found(format!(
                "@last: there is no job in {}",
                self.db_path().display()
            ))
            .with_hint("add one: jobq enqueue -- CMD ARG…")
        })
    }
}

/// The jobs that words name, and what is missing of the ranges among them.
#[derive(Default)]
pub(crate) struct Existing {
    pub(crate) ids: Vec<JobId>,
    /// From a number to another.
    missing: Vec<(i64, i64)>,
}

impl Existing {
    fn note_missing(&mut self, first: i64, last: i64, there: &[JobId]) {
        let mut next = first;
        for id in there {
            if id.0 > next {
                self.missing.push((next, id.0 - 1));
            }
            next = id.0 + 1;
        }
        if next <= last {
            self.missing.push((next, last));
        }
    }

    /// `no such jobs: 4-1000000 (999997 of them)`; none where nothing is missing.
    pub(crate) fn error(&self) -> Option<CliError> {
        /// Maximum number of ranges named.
        const NAMED: usize = 5;
        let jobs: i64 = self.missing.iter().map(|(a, b)| b - a + 1).sum();
        let ranges = self.missing.iter().take(NAMED);
        let mut named: Vec<String> = ranges
            .map(|(first, last)| match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            })
            .collect();
        if self.missing.len() > NAMED {
            named.push("…".to_owned());
        }
        let message = match jobs {
            0 => return None,
            1 => format!("no job {}", named.join(" ")),
            jobs => format!("no such jobs: {} ({jobs} of them)", named.join(" ")),
        };
        Some(CliError::not_found(message).with_hint("`jobq list` shows the jobs in the file"))
    }
}

/// A part of what a word for jobs names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ids {
    /// From the first to the last, both included.
    Range(i64, i64),
    /// The newest.
    Last,
}

/// Maximum number of jobs in one range.
const MAX_RANGE: i64 = 1_000_000;

/// `42`, `8-12`, `@last`, and several with commas between them.
pub(crate) fn read_ids(word: &str) -> CliResult<Vec<Ids>> {
    word.split(',').map(some_ids).collect()
}

fn some_ids(word: &str) -> CliResult<Ids> {
    if word == "@last" {
        return Ok(Ids::Last);
    }
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let number = |text: &str| text.parse::<i64>().ok().filter(|id| *id > 0);
    let (Some(first), Some(last)) = (number(first), number(last)) else {
        return Err(CliError::usage(format!("'{word}' is not a job id"))
            .with_hint("job ids look like 42, 3,5, 8-12 or @last"));
    };
    if first > last {
        return Err(CliError::usage(format!("'{word}' runs backwards"))
            .with_hint(format!("write {last}-{first}")));
    }
    if last - first >= MAX_RANGE {
        return Err(CliError::usage(format!(
            "'{word}' names more than {MAX_RANGE} jobs"
        )));
    }
    Ok(Ids::Range(first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_of_a_range_is_told_once() {
        let mut found = Existing::default();
        assert!(found.error().is_none());
        found.note_missing(3, 3, &[]);
        assert_eq!(found.error().unwrap().message(), "no job 3");
        found.note_missing(4, 1_000_000, &[JobId(5), JobId(9)]);
        assert_eq!(
            found.error().unwrap().message(),
            "no such jobs: 3 4 6-8 10-1000000 (999996 of them)"
        );
    }

    #[test]
    fn jobs_are_named_by_number_range_or_last() {
        assert_eq!(read_ids("42").unwrap(), [Ids::Range(42, 42)]);
        assert_eq!(read_ids("8-12").unwrap(), [Ids::Range(8, 12)]);
        assert_eq!(read_ids("7-7").unwrap(), [Ids::Range(7, 7)]);
        assert_eq!(read_ids("@last").unwrap(), [Ids::Last]);
        let several = [Ids::Range(3, 3), Ids::Range(8, 12), Ids::Last];
        assert_eq!(read_ids("3,8-12,@last").unwrap(), several);
        for (word, why) in [
            ("", "not a job id"),
            ("0", "not a job id"),
            ("-3", "not a job id"),
            ("3-", "not a job id"),
            ("x", "not a job id"),
            ("@first", "not a job id"),
            ("1-2-3", "not a job id"),
            ("99999999999999999999", "not a job id"),
            ("3,", "not a job id"),
            (",", "not a job id"),
            ("3,x", "'x' is not a job id"),
            ("12-8", "backwards"),
            ("1-9000000", "more than"),
        ] {
            let error = read_ids(word).unwrap_err();
            assert!(error.message().contains(why), "{word}: {}", error.message());
        }
    }
}
