//! The whole state: keys in, effects out, and what is then on the screen. Reads are answered from a queue on a manual
//! clock, as the loader answers them.

mod changes;

use std::time::Duration;

use jobq::testing::TestQueue;
use jobq::{JobId, NewJob, Queue, QueueSelector, Schedule};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::cli::top::app::{App, AppSettings, Effect, LoadedView, Msg, TABS, TabName};
use crate::cli::top::data::ReadRequest;
use crate::cli::top::loader::LiveFile;
use crate::cli::top::overlay::Overlay;
use crate::cli::top::screen_text;
use crate::cli::top::theme::Theme;

const SIZE: (u16, u16) = (80, 24);

/// The state over a queue: what it asks to read is read at once.
struct Viewer {
    queue: TestQueue,
    source: LiveFile,
    app: App,
    /// What was asked for, other than reads.
    effects: Vec<Effect>,
    reads: usize,
}

fn settings() -> AppSettings {
    AppSettings {
        theme: Theme {
            color: false,
            unicode: true,
        },
        title: "jobs.db".to_owned(),
        command: "jobq --db jobs.db".to_owned(),
        is_read_only: false,
    }
}

impl Viewer {
    fn new(set_up: impl FnOnce(&Queue)) -> Viewer {
        Viewer::with(settings(), SIZE, set_up)
    }

    fn with(settings: AppSettings, size: (u16, u16), set_up: impl FnOnce(&Queue)) -> Viewer {
        let queue = TestQueue::new();
        set_up(&queue);
        let source = LiveFile::new((*queue).clone(), Queue::options());
        let app = App::new(settings, queue.now(), size);
        let mut viewer = Viewer {
            queue,
            source,
            app,
            effects: Vec::new(),
            reads: 0,
        };
        viewer.learn(Msg::Time(viewer.queue.now()));
        viewer
    }

    fn learn(&mut self, msg: Msg) {
        let mut open = self.app.update(msg);
        while let Some(effect) = open.pop() {
            let Effect::Read(request) = effect else {
                self.effects.push(effect);
                continue;
            };
            self.reads += 1;
            let answer = self.source.read(&request).map_err(|error| error.message());
            let loaded = LoadedView {
                request,
                answer,
                took: Duration::ZERO,
            };
            open.extend(self.app.update(Msg::Loaded(Box::new(loaded))));
        }
    }

    fn press(&mut self, code: KeyCode) {
        self.learn(Msg::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    }

    fn press_all(&mut self, keys: &str) {
        for key in keys.chars() {
            self.press(KeyCode::Char(key));
        }
    }

    /// So much time passes, and the file has changed.
    fn after_change(&mut self, time: Duration) {
        self.learn(Msg::FileChanged);
        self.queue.advance(time);
        self.learn(Msg::Time(self.queue.now()));
    }

    fn screen(&self) -> String {
        screen_text(&self.app).unwrap()
    }

    fn cursor_job(&self) -> JobId {
        match self.app.chosen_jobs()[..] {
            [id] => id,
            ref many => panic!("{many:?}"),
        }
    }
}

fn add(queue: &Queue, jobs: usize) {
    let jobs = (0..jobs).map(|number| NewJob::new("resize").payload(&number));
    queue.enqueue_many(jobs).unwrap();
}

#[test]
fn the_first_screen_has_counts_queues_and_verdicts() {
    let viewer = Viewer::new(|queue| {
        add(queue, 3);
        queue.pause(QueueSelector::Named("default".into())).unwrap();
    });
    let screen = viewer.screen();
    for text in [
        "jobs.db  3 pending · no runner",
        "1 overview  2 jobs",
        "3 pending: queue 'default' is paused",
        "`jobq resume default` resumes it",
        "no runner is active",
    ] {
        assert!(screen.contains(text), "{text}: {screen}");
    }
}

#[test]
fn each_tab_says_what_is_missing_from_an_empty_file() {
    let mut viewer = Viewer::new(|_| {});
    for (at, text) in [
        ('2', "no jobs"),
        ('3', "no queues"),
        ('4', "no runner is active"),
        ('5', "no schedules"),
    ] {
        viewer.press(KeyCode::Char(at));
        assert!(
            viewer.screen().contains(text),
            "{text}: {}",
            viewer.screen()
        );
    }
}

#[test]
fn a_list_of_many_jobs_is_gone_through_in_pages() {
    let mut viewer = Viewer::new(|queue| add(queue, 2500));
    viewer.press(KeyCode::Char('2'));
    assert_eq!(viewer.cursor_job(), JobId(2500));
    for expected in (1..2500).rev() {
        viewer.press(KeyCode::Char('j'));
        assert_eq!(viewer.cursor_job(), JobId(expected));
    }
    assert!(viewer.app.jobs.jobs.len() <= 1000, "not all are in memory");
    viewer.press(KeyCode::Char('j'));
    assert_eq!(viewer.cursor_job(), JobId(1));
    for expected in 2..=2500 {
        viewer.press(KeyCode::Char('k'));
        assert_eq!(viewer.cursor_job(), JobId(expected));
    }
    viewer.press(KeyCode::Char('G'));
    assert_eq!(viewer.cursor_job(), JobId(1));
    viewer.press(KeyCode::PageUp);
    viewer.press(KeyCode::Char('g'));
    assert_eq!(viewer.cursor_job(), JobId(2500));
}

#[test]
fn new_jobs_appear_at_the_start_and_move_no_row_elsewhere() {
    let mut viewer = Viewer::new(|queue| add(queue, 100));
    viewer.press(KeyCode::Char('2'));
    add(&viewer.queue, 5);
    viewer.after_change(Duration::from_secs(1));
    assert_eq!(
        viewer.cursor_job(),
        JobId(105),
        "who is at the start sees it"
    );
    viewer.press_all("jjj");
    let before = viewer.screen();
    add(&viewer.queue, 5);
    viewer.after_change(Duration::from_millis(300));
    assert_eq!(viewer.cursor_job(), JobId(102));
    let rows = |screen: &str| {
        let rows = screen.lines().skip(3).map(|line| line[..20].to_owned());
        rows.collect::<Vec<_>>()
    };
    assert_eq!(rows(&viewer.screen()), rows(&before));
    viewer.press(KeyCode::Char('g'));
    assert_eq!(viewer.cursor_job(), JobId(110));
}

#[test]
fn a_job_that_is_removed_leaves_the_list_and_its_page_says_so() {
    let mut viewer = Viewer::new(|queue| {
        add(queue, 3);
        queue.cancel(JobId(2)).unwrap();
    });
    viewer.press_all("2j");
    viewer.press(KeyCode::Enter);
    assert!(viewer.screen().contains("job 2  cancelled  resize"));
    viewer.queue.remove(JobId(2)).unwrap();
    viewer.after_change(Duration::from_secs(1));
    assert!(
        viewer.screen().contains("it was removed"),
        "{}",
        viewer.screen()
    );
    viewer.press(KeyCode::Esc);
    assert!(
        !viewer.screen().contains("cancelled  resize"),
        "{}",
        viewer.screen()
    );
}

#[test]
fn nothing_is_read_while_nothing_changes() {
    let mut viewer = Viewer::new(|queue| add(queue, 3));
    assert_eq!(viewer.reads, 1);
    viewer.queue.advance(Duration::from_secs(9));
    viewer.learn(Msg::Time(viewer.queue.now()));
    assert_eq!(viewer.reads, 1);
    viewer.learn(Msg::FileChanged);
    assert_eq!(viewer.reads, 2);
    // The next change so soon waits.
    viewer.learn(Msg::FileChanged);
    assert_eq!(viewer.reads, 2);
    assert_eq!(viewer.app.idle_time(), Duration::from_millis(250));
    viewer.queue.advance(Duration::from_millis(250));
    viewer.learn(Msg::Time(viewer.queue.now()));
    assert_eq!(viewer.reads, 3);
}

#[test]
fn a_message_ends_and_wakes_nobody_afterwards() {
    let mut viewer = Viewer::new(|queue| add(queue, 1));
    viewer.press_all("y");
    assert_eq!(viewer.app.idle_time(), Duration::from_secs(8));
    viewer.queue.advance(Duration::from_secs(8));
    viewer.learn(Msg::Time(viewer.queue.now()));
    assert!(viewer.app.said().is_none());
    assert_eq!(viewer.app.idle_time(), Duration::from_secs(2));
}

#[test]
fn reads_that_are_slow_are_rare() {
    let mut viewer = Viewer::new(|_| {});
    let loaded = |took| LoadedView {
        request: ReadRequest::Overview,
        answer: Err("busy".to_owned()),
        took,
    };
    viewer.app.update(Msg::FileChanged);
    viewer
        .app
        .update(Msg::Loaded(Box::new(loaded(Duration::from_millis(150)))));
    viewer.app.update(Msg::FileChanged);
    assert_eq!(viewer.app.idle_time(), Duration::from_millis(5850));
}

#[test]
fn an_error_is_shown_until_a_read_succeeds() {
    let mut viewer = Viewer::new(|queue| add(queue, 1));
    let failed = LoadedView {
        request: ReadRequest::Overview,
        answer: Err("the database is \u{1b}busy".to_owned()),
        took: Duration::ZERO,
    };
    viewer.app.update(Msg::Loaded(Box::new(failed)));
    let bottom = |viewer: &Viewer| viewer.app.trouble.clone();
    assert_eq!(
        bottom(&viewer).as_deref(),
        Some("the database is \u{1b}busy")
    );
    viewer.after_change(Duration::from_secs(1));
    assert_eq!(bottom(&viewer), None);
}

#[test]
fn what_is_wrong_with_a_search_is_said_where_it_is_typed() {
    let mut viewer = Viewer::new(|queue| add(queue, 1));
    viewer.press_all("/stat:failed");
    viewer.press(KeyCode::Enter);
    assert!(viewer.screen().contains("state"), "{}", viewer.screen());
    assert!(matches!(
        viewer.app.overlay,
        Some(Overlay::Search(_, Some(_)))
    ));
    viewer.press(KeyCode::Esc);
    assert_eq!(viewer.app.tab, TabName::Overview);
}

#[test]
fn enter_on_a_queue_lists_its_jobs_and_esc_all_again() {
    let mut viewer = Viewer::new(|queue| {
        add(queue, 2);
        queue
            .enqueue(NewJob::new("send").queue("mail \"x\""))
            .unwrap();
    });
    viewer.press_all("3j");
    viewer.press(KeyCode::Enter);
    assert_eq!(viewer.app.tab, TabName::Jobs);
    assert_eq!(viewer.app.jobs.jobs.len(), 1, "{}", viewer.screen());
    viewer.press(KeyCode::Esc);
    assert_eq!(viewer.app.jobs.jobs.len(), 3);
}

#[test]
fn the_jobs_around_a_job_are_shown_as_a_graph() {
    let mut viewer = Viewer::new(|queue| {
        let first = queue.enqueue(NewJob::new("fetch")).unwrap().id;
        queue.enqueue(NewJob::new("unpack").after([first])).unwrap();
    });
    viewer.press_all("2v");
    let screen = viewer.screen();
    assert!(
        screen.contains("fetch") && screen.contains("unpack"),
        "{screen}"
    );
    assert!(screen.contains("job 2  blocked  unpack  graph"), "{screen}");
    viewer.press_all("v");
    assert!(
        viewer.screen().contains("waits for 1"),
        "{}",
        viewer.screen()
    );
}

#[test]
fn why_is_said_in_a_box() {
    let mut viewer = Viewer::new(|queue| add(queue, 1));
    viewer.press_all("2w");
    let screen = viewer.screen();
    assert!(screen.contains("why job 1 is not running"), "{screen}");
    assert!(screen.contains("no runner is active"), "{screen}");
    viewer.press(KeyCode::Esc);
    assert!(viewer.app.overlay.is_none());
}

#[test]
fn the_history_is_gone_through_to_its_start() {
    let mut viewer = Viewer::new(|queue| add(queue, 1500));
    viewer.press(KeyCode::Char(tab_key(TabName::Events)));
    let newest = viewer.app.events.events[0].id;
    for _ in 0..200 {
        viewer.press(KeyCode::PageDown);
    }
    let oldest = viewer.app.events.events.last().unwrap();
    assert_eq!((oldest.job, viewer.app.events.next), (Some(JobId(1)), None));
    let events = &viewer.app.events.events;
    assert!(events.windows(2).all(|pair| pair[0].id > pair[1].id));
    assert_eq!(events.len(), 1500);
    assert_eq!(events[0].id, newest);
}

fn tab_key(tab: TabName) -> char {
    let at = TABS.iter().position(|(name, _)| *name == tab).unwrap();
    char::from_digit(at as u32 + 1, 10).unwrap()
}

/// A file in which everything that a job or a queue can say is hostile.
fn hostile(queue: &Queue) {
    let evil = "\u{1b}]0;x\u{7}\u{1b}[2J\u{202e}\u{9b}漢字\u{200d}é";
    let name = "\u{202e}漢字 \u{2066}x";
    let job = NewJob::new(name).queue(name).tenant(name).tag(name, name);
    let job = queue.enqueue(job.payload(&evil)).unwrap();
    queue.cancel(job.id).unwrap();
    queue.enqueue(NewJob::new(name).queue(name)).unwrap();
    let schedule = Schedule::new(name, "@daily", NewJob::new(name)).timezone("UTC");
    queue.add_schedule(schedule).unwrap();
}

fn steers(char: char) -> bool {
    char.is_control() && char != '\n'
        || ('\u{202a}'..='\u{2069}').contains(&char) && char != '\u{2026}'
}

#[test]
fn no_text_of_a_job_steers_the_terminal_at_any_size() {
    for size in [(80, 24), (40, 10), (200, 60), (20, 5), (7, 3), (1, 1)] {
        let mut viewer = Viewer::with(settings(), size, hostile);
        for keys in [
            "1", "2", "w", "\n", "t", "v", "L", "3", "4", "5", "6", "?", ":", "/x",
        ] {
            viewer.press_all(keys);
            viewer.press(KeyCode::Enter);
            let screen = viewer.screen();
            assert!(!screen.contains(steers), "{size:?} {keys}: {screen:?}");
            viewer.press(KeyCode::Esc);
            viewer.press(KeyCode::Esc);
        }
    }
}

#[test]
fn a_small_screen_shows_what_matters() {
    let mut viewer = Viewer::with(settings(), (40, 10), |queue| add(queue, 30));
    viewer.press(KeyCode::Char('2'));
    let screen = viewer.screen();
    assert!(screen.contains("2 jobs"), "{screen}");
    assert!(screen.contains("30  pending"), "{screen}");
    assert!(
        screen.lines().all(|line| line.chars().count() <= 40),
        "{screen}"
    );
}

/// Not an exact figure on a machine that does other things, too: the bar of 8 ms is for a release build.
#[test]
#[ignore = "a measurement"]
fn a_frame_of_200_by_60_is_drawn_quickly() {
    let mut viewer = Viewer::with(settings(), (200, 60), |queue| add(queue, 1000));
    for key in ['1', '2', tab_key(TabName::Events)] {
        viewer.press(KeyCode::Char(key));
        let backend = ratatui::backend::TestBackend::new(200, 60);
        let mut terminal = ratatui::Terminal::new(backend).unwrap();
        let began = crate::cli::clock::instant();
        for _ in 0..100 {
            terminal.draw(|frame| viewer.app.draw(frame)).unwrap();
        }
        println!("{key}: {:?} a frame", began.elapsed() / 100);
    }
}
