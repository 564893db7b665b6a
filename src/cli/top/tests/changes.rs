//! Keys that change the file, and what they ask first.

use std::time::Duration;

use jobq::{BulkAction, Context, Handler, JobId, NewJob, Outcome, QueueSelector, Schedule, State};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::cli::exit::Exit;
use crate::cli::render::style::Look;
use crate::cli::top::action::FileChange;
use crate::cli::top::app::{AppSettings, Effect, Msg};
use crate::cli::top::data::ReadRequest;
use crate::cli::top::overlay::Overlay;
use crate::cli::top::tests::{SIZE, Viewer, add, settings};

#[test]
fn cancelling_asks_first_and_a_wrong_key_changes_nothing() {
    let mut viewer = Viewer::new(|queue| add(queue, 3));
    viewer.press_all("2C");
    let screen = viewer.screen();
    assert!(screen.contains("cancel job 3?"), "{screen}");
    assert!(screen.contains("jobq --db jobs.db cancel 3"), "{screen}");
    viewer.press_all("xn");
    assert_eq!(viewer.effects, []);
    assert!(viewer.app.overlay.is_none());
    viewer.press_all("Cy");
    let cancel = FileChange::Jobs(BulkAction::Cancel, vec![JobId(3)]);
    assert_eq!(viewer.effects, [Effect::Change(cancel)]);
}

#[test]
fn selected_jobs_are_changed_together() {
    let mut viewer = Viewer::new(|queue| {
        add(queue, 5);
        let all: Vec<JobId> = (1..=5).map(JobId).collect();
        queue.cancel_many(&all);
    });
    viewer.press_all("2xxjx");
    assert!(viewer.screen().contains("●"), "{}", viewer.screen());
    viewer.press_all("r");
    assert!(
        viewer.screen().contains("retry 3 jobs?"),
        "{}",
        viewer.screen()
    );
    viewer.press_all("y");
    let retry = FileChange::Jobs(BulkAction::Retry, [2, 4, 5].map(JobId).to_vec());
    assert_eq!(viewer.effects, [Effect::Change(retry)]);
    viewer.press(KeyCode::Esc);
    assert!(viewer.app.jobs.marked.is_empty());
}

#[test]
fn all_that_match_are_changed_after_a_count() {
    let mut viewer = Viewer::new(|queue| {
        add(queue, 1500);
        queue.enqueue(NewJob::new("send")).unwrap();
    });
    viewer.press_all("2/kind:resize");
    viewer.press(KeyCode::Enter);
    viewer.press_all("AC");
    let screen = viewer.screen();
    assert!(screen.contains("cancel 1,500 jobs?"), "{screen}");
    assert!(screen.contains("cancel --search kind:resize"), "{screen}");
    add(&viewer.queue, 7);
    viewer.press_all("y");
    let Some(Effect::Change(change)) = viewer.effects.pop() else {
        panic!("{:?}", viewer.effects);
    };
    let report = change.perform(&viewer.queue, &|_| {});
    assert_eq!(
        report.text, "1500 jobs cancelled",
        "none that came after the count"
    );
    viewer.press_all("D");
    assert!(
        viewer.screen().contains("remove 1,500 jobs?"),
        "{}",
        viewer.screen()
    );
    viewer.press_all("nr");
    assert!(viewer.app.overlay.is_none(), "no job has failed");
    viewer.press(KeyCode::Esc);
    assert!(!viewer.app.has_marks());
}

#[test]
fn a_count_goes_on_while_the_question_is_there() {
    let mut viewer = Viewer::new(|queue| add(queue, 3));
    viewer.press_all("2AC");
    let Some(Overlay::Confirm(question)) = &viewer.app.overlay else {
        panic!("{}", viewer.screen());
    };
    assert_eq!(question.text, "cancel 3 jobs?");
    // Another count of a part, as one that had a time limit would go on.
    let FileChange::Matching(action, filter, _) = question.change.clone() else {
        panic!("{question:?}");
    };
    let mut rest = filter;
    rest.after = Some(JobId(1));
    viewer.app.want(ReadRequest::Preview(action, rest));
    viewer.learn(Msg::Time(viewer.queue.now()));
    assert!(
        viewer.screen().contains("cancel 5 jobs?"),
        "{}",
        viewer.screen()
    );
}

#[test]
fn errors_are_grouped_and_a_group_is_listed_and_retried() {
    let mut viewer = Viewer::new(|queue| add(queue, 4));
    viewer
        .queue
        .run_due(|runner| runner.kind("resize", Failing));
    viewer.press_all("6");
    let screen = viewer.screen();
    assert!(screen.contains("cannot read '…' at byte N"), "{screen}");
    viewer.press_all("r");
    assert!(
        viewer.screen().contains("retry 4 jobs?"),
        "{}",
        viewer.screen()
    );
    viewer.press_all("n");
    viewer.press(KeyCode::Enter);
    assert_eq!(viewer.app.jobs.jobs.len(), 4, "{}", viewer.screen());
    assert!(
        viewer.app.jobs.search.contains("group:"),
        "{}",
        viewer.app.jobs.search
    );
}

struct Failing;

impl Handler for Failing {
    fn run(&self, ctx: &Context) -> Outcome {
        let error = format!("cannot read '/tmp/{}' at byte 7", ctx.job_id());
        Outcome::Fail { error }
    }
}

#[test]
fn keys_that_do_not_apply_do_nothing() {
    let mut viewer = Viewer::new(|queue| add(queue, 1));
    // A pending job can neither be retried nor removed.
    viewer.press_all("2rD");
    assert_eq!(viewer.effects, []);
    assert!(viewer.app.overlay.is_none());
}

#[test]
fn a_read_only_file_is_shown_and_not_changed() {
    let read_only = AppSettings {
        is_read_only: true,
        ..settings()
    };
    let mut viewer = Viewer::with(read_only, SIZE, |queue| {
        add(queue, 1);
        let nightly = Schedule::new("nightly", "@daily", NewJob::new("k")).timezone("UTC");
        queue.add_schedule(nightly).unwrap();
    });
    for tab in ["1", "2", "3", "5"] {
        viewer.press_all(tab);
        viewer.press_all("CDrpPnu");
    }
    assert_eq!(viewer.effects, []);
    assert!(viewer.app.overlay.is_none());
    let screen = viewer.screen();
    assert!(
        screen.contains("read-only") && screen.contains("nightly"),
        "{screen}"
    );
}

#[test]
fn queues_and_schedules_are_paused_and_resumed_by_one_key() {
    let mut viewer = Viewer::new(|queue| {
        add(queue, 1);
        let nightly = Schedule::new("nightly", "@daily", NewJob::new("k")).timezone("UTC");
        queue.add_schedule(nightly).unwrap();
    });
    viewer.press_all("3p");
    let default = QueueSelector::Named("default".into());
    viewer.queue.pause(default.clone()).unwrap();
    viewer.after_change(Duration::from_secs(1));
    viewer.press_all("p5pn");
    let expected = [
        FileChange::Pause(default.clone()),
        FileChange::Resume(default),
        FileChange::PauseSchedule("nightly".into()),
        FileChange::RunSchedule("nightly".into()),
    ];
    assert_eq!(viewer.effects, expected.map(Effect::Change));
}

#[test]
fn the_latest_change_is_undone_after_a_question() {
    let mut viewer = Viewer::new(|queue| add(queue, 2));
    viewer.press_all("u");
    let said = viewer.app.said().unwrap();
    assert_eq!(said.text, "there is no change that can be undone");
    let queue = &viewer.queue;
    queue.pause(QueueSelector::All).unwrap();
    queue.acting_as("web:acme").cancel(JobId(2)).unwrap();
    let event = queue.undoable(1).unwrap()[0].id;
    viewer.after_change(Duration::from_secs(90));
    viewer.press_all("u");
    let screen = viewer.screen();
    for text in [
        "undo the latest change?",
        "job 2 cancelled by web:acme",
        "1m 30s ago",
    ] {
        assert!(screen.contains(text), "{text}: {screen}");
    }
    viewer.press_all("x");
    assert!(viewer.app.overlay.is_some(), "a question is answered");
    viewer.press_all("c");
    let copied = Effect::Copy(format!("jobq --db jobs.db undo {}", event.0));
    assert_eq!(viewer.effects.pop(), Some(copied));
    viewer.press_all("y");
    let change = FileChange::Undo(event);
    assert_eq!(viewer.effects, [Effect::Change(change.clone())]);
    let report = change.perform(&viewer.queue, &|_| {});
    assert_eq!(report.text, "job 2 is pending again");
    assert_eq!(viewer.queue.state(JobId(2)).unwrap(), Some(State::Pending));
    let refused = FileChange::Undo(event).perform(&viewer.queue, &|_| {});
    assert_eq!(refused.look, Look::Bad, "{refused:?}");
    // The next one is that before it.
    viewer.after_change(Duration::from_secs(90));
    viewer.press_all("u");
    let screen = viewer.screen();
    assert!(screen.contains("all queues paused"), "{screen}");
}

#[test]
fn the_palette_runs_a_key_and_opens_a_job() {
    let mut viewer = Viewer::new(|queue| add(queue, 2));
    viewer.press_all(":pause all");
    viewer.press(KeyCode::Enter);
    let all = FileChange::Pause(QueueSelector::All);
    assert_eq!(viewer.effects, [Effect::Change(all)]);
    viewer.press_all(":1");
    viewer.press(KeyCode::Enter);
    assert!(
        viewer.screen().contains("job 1  pending"),
        "{}",
        viewer.screen()
    );
}

#[test]
fn the_command_that_shows_the_same_is_copied() {
    let mut viewer = Viewer::new(|queue| add(queue, 2));
    viewer.press_all("2y");
    viewer.press(KeyCode::Enter);
    viewer.press_all("yLytyvy");
    let commands = ["list", "status 2", "logs -f 2", "events --job 2", "graph 2"];
    let expected = commands.map(|words| Effect::Copy(format!("jobq --db jobs.db {words}")));
    assert_eq!(viewer.effects, expected);
}

#[test]
fn keys_end_and_stop_the_view() {
    let mut viewer = Viewer::new(|_| {});
    let control = |code| KeyEvent::new(KeyCode::Char(code), KeyModifiers::CONTROL);
    viewer.press_all("q");
    viewer.learn(Msg::Key(control('z')));
    viewer.learn(Msg::Key(control('c')));
    let expected = [
        Effect::Quit(Exit::Done),
        Effect::Suspend,
        Effect::Quit(Exit::Interrupted),
    ];
    assert_eq!(viewer.effects, expected);
}
