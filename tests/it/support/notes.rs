//! What an enqueuer was told of each of its jobs, kept in a file that survives it.

use std::collections::HashMap;

use jobq::{Enqueued, JobId, Queue};

use super::lines::{self, Lines};
use super::place::{Place, all_jobs};
use super::task::Task;

/// The file to which enqueuers append each answer when they have it.
pub(crate) struct Notes(Lines);

impl Notes {
    pub(crate) fn open(place: &Place) -> Notes {
        Notes(Lines::open(&place.file("notes")))
    }

    pub(crate) fn write(&mut self, label: &str, answer: jobq::Result<Enqueued>) {
        self.0.append(&match answer {
            Ok(added) => format!("acknowledged {label} {}", added.id),
            Err(error) if error.is_unknown_outcome() => format!("unknown {label} {error}"),
            Err(error) => format!("refused {label} {error}"),
        });
    }
}

/// What an enqueuer was told of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Acknowledged(JobId),
    Refused(String),
    Unknown(String),
}

/// All notes, with the labels of their jobs.
pub(crate) fn read(place: &Place) -> Vec<(String, Told)> {
    let lines = lines::read(&place.file("notes"));
    lines.iter().map(|line| parse(line)).collect()
}

fn parse(line: &str) -> (String, Told) {
    let mut words = line.splitn(3, ' ');
    let (Some(what), Some(label), Some(rest)) = (words.next(), words.next(), words.next()) else {
        panic!("no line of notes: {line:?}")
    };
    let told = match what {
        "acknowledged" => Told::Acknowledged(JobId(rest.parse().unwrap())),
        "refused" => Told::Refused(rest.to_owned()),
        _ => Told::Unknown(rest.to_owned()),
    };
    (label.to_owned(), told)
}

pub(crate) fn acknowledged(place: &Place) -> Vec<JobId> {
    let notes = read(place).into_iter();
    notes
        .filter_map(|(_, told)| match told {
            Told::Acknowledged(id) => Some(id),
            Told::Refused(_) | Told::Unknown(_) => None,
        })
        .collect()
}

/// What enqueuers were told instead of an acknowledgement.
pub(crate) fn complaints(place: &Place) -> Vec<(String, Told)> {
    let mut notes = read(place);
    notes.retain(|(_, told)| !matches!(told, Told::Acknowledged(_)));
    notes
}

/// What is wrong between what enqueuers were told and what is in the file: an acknowledged job is
/// there under its number, a refused one is not, and none is there twice.
pub(crate) fn lies(place: &Place, queue: &Queue) -> Vec<String> {
    let mut there: HashMap<String, Vec<JobId>> = HashMap::new();
    for job in all_jobs(queue) {
        let task: Task = serde_json::from_str(job.payload.get()).unwrap();
        there.entry(task.label).or_default().push(job.id);
    }
    let mut lies = Vec::new();
    for (label, told) in read(place) {
        let found = there.remove(&label).unwrap_or_default();
        let is_true = match &told {
            Told::Acknowledged(id) => found == [*id],
            Told::Refused(_) => found.is_empty(),
            Told::Unknown(_) => found.len() <= 1,
        };
        if !is_true {
            lies.push(format!(
                "of {label} it was said {told:?}, and there is {found:?}"
            ));
        }
    }
    lies
}
