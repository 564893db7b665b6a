//! jobq's figures, each beside its goal and beside what it is to be compared with: most often the same
//! work in raw SQLite, measured in turns with it.
//!
//! `cargo bench --bench jobq -- [NAME…] [--quick] [--dir FOLDER] [--jobs N]`. Nothing fails because of timing.

mod bulk;
mod bulk_change;
mod child;
mod claim;
mod commands;
mod family;
#[cfg(feature = "image-process")]
mod images;
mod latency;
mod list;
mod plan;
mod process;
mod prune;
mod report;
mod serve;
mod threads;
#[cfg(feature = "webhook")]
mod webhook;

use std::error::Error;
use std::path::PathBuf;

use jobq::bench::{Scratch, sqlite_version};

use plan::{Plan, Size};

type Done = Result<(), Box<dyn Error>>;

struct Scenario {
    name: &'static str,
    about: &'static str,
    run: fn(&Plan) -> Done,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "drain",
        about: "no-op jobs, 200 bytes each, five workers",
        run: bulk::drain,
    },
    Scenario {
        name: "enqueue-bulk",
        about: "many jobs in a transaction",
        run: bulk::enqueue,
    },
    Scenario {
        name: "enqueue-one",
        about: "one by one from one thread",
        run: bulk::enqueue_one,
    },
    Scenario {
        name: "bytes",
        about: "written to files in a job's whole life, in bulk",
        run: bulk::bytes,
    },
    Scenario {
        name: "enqueue-threads",
        about: "one by one from 16 threads, durability full",
        run: threads::enqueue,
    },
    Scenario {
        name: "latency",
        about: "from before enqueue to the handler's first line, within one process",
        run: latency::within,
    },
    Scenario {
        name: "latency-across",
        about: "the same, enqueued by another process",
        run: latency::across,
    },
    Scenario {
        name: "idle",
        about: "a runner without jobs",
        run: process::idle,
    },
    Scenario {
        name: "memory",
        about: "peak memory of a process, durability full",
        run: process::memory,
    },
    Scenario {
        name: "claim",
        about: "a claim of five jobs, whatever else is in the file",
        run: claim::claim,
    },
    Scenario {
        name: "list",
        about: "pages of 50 in a file of a million jobs, or of --jobs N",
        run: list::list,
    },
    Scenario {
        name: "bulk-change",
        about: "all jobs that match a filter, 100,000 of them or --jobs N, while another connection enqueues",
        run: bulk_change::change,
    },
    Scenario {
        name: "serve",
        about: "answers and frames of `jobq serve` in a file of a million jobs, or of --jobs N",
        run: serve::serve,
    },
    Scenario {
        name: "family",
        about: "no-op jobs with and without a parent, five workers, durability full",
        run: family::family,
    },
    Scenario {
        name: "payload-size",
        about: "claim, finish and requeue, payload unread, durability normal",
        run: claim::payload_size,
    },
    Scenario {
        name: "prune",
        about: "all of many old jobs of five kinds with logs, while another connection enqueues",
        run: prune::prune,
    },
    Scenario {
        name: "enqueue-command",
        about: "the whole process `jobq enqueue -- true`, durability normal",
        run: commands::enqueue,
    },
    Scenario {
        name: "drain-commands",
        about: "`jobq run --drain -f FILE` of `true` commands, five workers, durability full",
        run: commands::drain,
    },
    Scenario {
        name: "persistent",
        about: "a Python handler that stays, beside one process a job of the same script, five workers, durability full",
        run: commands::persistent,
    },
    #[cfg(feature = "image-process")]
    Scenario {
        name: "thumbnails",
        about: "small pictures of photos, as many workers as processors, durability full",
        run: images::thumbnails,
    },
    #[cfg(feature = "webhook")]
    Scenario {
        name: "webhook",
        about: "10,000 small requests to a server in this process, five workers, durability normal",
        run: webhook::webhook,
    },
];

fn main() -> Done {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == child::FLAG) {
        return child::run(words.split_off(1));
    }
    let asked = Asked::read(words)?;
    let scratch = Scratch::new_in(&asked.folder)?;
    println!(
        "jobq {}, SQLite {}, {} processors, in {}{}",
        env!("CARGO_PKG_VERSION"),
        sqlite_version(),
        std::thread::available_parallelism()?,
        asked.folder.display(),
        match asked.size {
            Size::Full => "",
            Size::Quick => ": a smoke run, the figures mean nothing",
        }
    );
    let plan = Plan::new(scratch.path(), asked.size, asked.jobs);
    let is_asked = |scenario: &&Scenario| {
        asked.names.is_empty() || asked.names.iter().any(|name| name == scenario.name)
    };
    for scenario in SCENARIOS.iter().filter(is_asked) {
        println!("\n# {}: {}", scenario.name, scenario.about);
        (scenario.run)(&plan).map_err(|error| format!("{}: {error}", scenario.name))?;
    }
    Ok(())
}

/// What the command line says.
struct Asked {
    names: Vec<String>,
    size: Size,
    folder: PathBuf,
    /// For scenarios whose number of jobs may be chosen.
    jobs: Option<usize>,
}

impl Asked {
    fn read(words: Vec<String>) -> Result<Asked, String> {
        // `cargo bench` says it; `cargo test` does not, and only wants to see that it runs.
        let benches = words.iter().any(|word| word == "--bench");
        let mut asked = Asked {
            names: Vec::new(),
            size: if benches { Size::Full } else { Size::Quick },
            folder: PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
            jobs: None,
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--bench" => {}
                "--quick" => asked.size = Size::Quick,
                "--dir" => asked.folder = words.next().ok_or("--dir needs a folder")?.into(),
                "--jobs" => {
                    let jobs = words.next().and_then(|jobs| jobs.parse().ok());
                    asked.jobs = Some(
                        jobs.filter(|jobs| *jobs > 0)
                            .ok_or("--jobs needs a number")?,
                    );
                }
                name if SCENARIOS.iter().any(|scenario| scenario.name == name) => {
                    asked.names.push(word);
                }
                _ => {
                    let names = SCENARIOS
                        .iter()
                        .map(|scenario| scenario.name)
                        .collect::<Vec<_>>()
                        .join(" ");
                    return Err(format!("'{word}' is not known; there are: {names}"));
                }
            }
        }
        Ok(asked)
    }
}
