//! The browser's processes: when they start and end, and what is left of them.

use std::time::Duration;

use jobq::State;
use jobq::handlers::browser::BrowserSettings;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{Lab, profile_of};
use crate::support::place::job;
use crate::support::{PATIENCE, number_from_environment, wait_until};

impl Lab {
    /// A signal to the processes of the browser with this in their command lines.
    fn signal(&self, part: &str, signal: Signal) {
        let mut found = self.processes();
        found.retain(|(_, line)| line.contains(part));
        assert!(!found.is_empty(), "{:?}", self.processes());
        for (pid, _) in found {
            // It may have ended with another.
            let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
        }
    }

    /// A job that waits on a page.
    fn waiting(&self, retries: u32) -> jobq::JobId {
        let actions = json!([
            { "type": "evaluate", "script": "globalThis.since = Date.now()" },
            { "type": "wait", "script": "Date.now() - since > 3000" },
            { "type": "html" },
        ]);
        let id = self.enqueue(&self.visit("/", actions), retries);
        wait_until("the page is there", PATIENCE, || {
            job(&self.queue, id)
                .progress
                .is_some_and(|progress| progress.processed == Some(1))
        });
        id
    }

    fn one_page(&self) -> Value {
        self.visit("/", json!([]))
    }
}

#[test]
fn a_page_that_crashes_is_tried_again_in_another_browser() {
    let Some(lab) = Lab::new() else { return };
    let id = lab.waiting(1);
    lab.signal("--type=renderer", Signal::KILL);
    let job = lab.wait(id);
    assert_eq!((job.state, job.attempt), (State::Completed, 2));
    let first = lab.queue.attempts(id).unwrap().remove(0);
    assert_eq!(
        first.end.error.as_deref(),
        Some("browser: action 2 (wait): the page has crashed")
    );
    let latest = std::fs::read_link(lab.scene.file("artifacts/1/latest"));
    assert_eq!(latest.unwrap(), std::path::Path::new("2"));
    assert_eq!(lab.starts(), 2);
}

#[test]
fn a_browser_that_is_killed_is_started_again() {
    let Some(lab) = Lab::new() else { return };
    let id = lab.waiting(1);
    lab.signal("--jobq-test", Signal::KILL);
    let job = lab.wait(id);
    assert_eq!((job.state, job.attempt), (State::Completed, 2));
    let first = lab.queue.attempts(id).unwrap().remove(0).end.error.unwrap();
    assert!(
        first.starts_with("browser: action 2 (wait): the browser has ended"),
        "{first}"
    );
    assert_eq!(lab.starts(), 2);
}

#[test]
fn a_browser_that_hangs_is_ended_and_replaced() {
    let Some(lab) = Lab::new() else { return };
    let id = lab.waiting(1);
    lab.signal("", Signal::STOP);
    let job = lab.wait(id);
    assert_eq!((job.state, job.attempt), (State::Completed, 2));
    let first = lab.queue.attempts(id).unwrap().remove(0).end.error.unwrap();
    assert!(
        first.starts_with("browser: action 2 (wait): the browser: it does not"),
        "{first}"
    );
    lab.signal("", Signal::STOP);
    lab.run(&lab.one_page());
    assert_eq!(lab.starts(), 3);
    let profiles: Vec<_> = lab.processes();
    let mains = profiles
        .iter()
        .filter(|(_, line)| line.contains("--jobq-test"));
    let mut profiles: Vec<_> = mains
        .map(|main| profile_of(std::slice::from_ref(main)))
        .collect();
    profiles.dedup();
    assert_eq!(profiles.len(), 1, "those that hung have gone");
}

#[test]
fn a_browser_that_hangs_while_a_job_pauses_is_ended() {
    let Some(lab) = Lab::new() else { return };
    let actions = json!([{ "type": "hover", "selector": "h1" }, { "type": "wait", "ms": 60_000 }]);
    let id = lab.enqueue(&lab.visit("/", actions), 0);
    wait_until("it pauses", PATIENCE, || {
        job(&lab.queue, id)
            .progress
            .is_some_and(|progress| progress.processed == Some(1))
    });
    lab.signal("", Signal::STOP);
    let error = lab.wait(id).error.unwrap();
    let expected = "browser: action 2 (wait): the browser: it does not answer";
    assert_eq!(error, expected);
}

#[test]
fn a_program_that_ends_at_once_is_no_browser() {
    let program =
        |settings: &mut BrowserSettings| settings.headless_shell = Some("/bin/false".into());
    let Some(lab) = Lab::with(program) else {
        return;
    };
    let jobs: Vec<_> = (0..20).map(|_| lab.enqueue(&lab.one_page(), 0)).collect();
    for id in jobs {
        let error = lab.wait(id).error.unwrap();
        let expected = "browser: /bin/false cannot be started: the browser has ended";
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_stopped_runner_leaves_no_process_and_no_folder() {
    let Some(mut lab) = Lab::new() else { return };
    lab.run(&lab.one_page());
    let profile = profile_of(&lab.processes());
    assert!(profile.exists());
    lab.stop();
    assert_eq!(lab.processes(), []);
    assert!(!profile.exists());
}

#[test]
fn a_hundred_pages_have_one_browser_and_the_next_has_another() {
    let Some(lab) = Lab::new() else { return };
    let jobs: Vec<_> = (0..100).map(|_| lab.enqueue(&lab.one_page(), 0)).collect();
    for id in jobs {
        assert_eq!(lab.wait(id).state, State::Completed);
    }
    assert_eq!(lab.starts(), 1);
    lab.run(&lab.one_page());
    assert_eq!(lab.starts(), 2);
    wait_until("the first has ended", PATIENCE, || {
        let processes = lab.processes();
        let mains = processes
            .iter()
            .filter(|(_, line)| line.contains("--jobq-test"));
        let mut profiles: Vec<_> = mains
            .map(|main| profile_of(std::slice::from_ref(main)))
            .collect();
        profiles.dedup();
        profiles.len() == 1
    });
}

/// Memory of all processes of the browser, in MiB.
fn memory(lab: &Lab) -> u64 {
    let rollups = lab.processes().into_iter().filter_map(|(pid, _)| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    });
    rollups.sum::<u64>() / 1024
}

#[test]
#[ignore = "JOBQ_ROUNDS times 10 pages, 100 by default"]
fn memory_does_not_grow_with_the_pages() {
    let Some(lab) = Lab::new() else { return };
    let mut payload = lab.visit(
        "/form",
        json!([{ "type": "screenshot" }, { "type": "pdf" }]),
    );
    payload["artifacts"] = json!(lab.scene.file("artifacts"));
    let mut measured = Vec::new();
    for _ in 0..number_from_environment("JOBQ_ROUNDS").unwrap_or(100) {
        let jobs: Vec<_> = (0..10).map(|_| lab.enqueue(&payload, 0)).collect();
        for id in jobs {
            assert_eq!(lab.wait(id).state, State::Completed);
        }
        measured.push(memory(&lab));
    }
    eprintln!(
        "MiB after each 10 pages: {measured:?}, {} starts",
        lab.starts()
    );
    let most = measured.iter().max().unwrap();
    assert!(*most < 1024, "{measured:?}");
}

#[test]
#[ignore = "it waits for a minute"]
fn a_browser_ends_a_minute_after_its_last_job() {
    let Some(lab) = Lab::new() else { return };
    lab.run(&lab.one_page());
    std::thread::sleep(Duration::from_secs(50));
    assert!(!lab.processes().is_empty());
    wait_until("it ends", Duration::from_secs(20), || {
        lab.processes().is_empty()
    });
    lab.run(&lab.one_page());
    assert_eq!(lab.starts(), 2);
}
