//! `jobq top` on a real terminal: how it begins and ends, and what it leaves behind. What it shows is tested as a state
//! in `src/cli/top/tests.rs`.

use std::fs;
use std::io::Write;
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{Action, LocalModes, tcflow, tcgetattr};

use super::support::Jobq;
use super::terminal::Terminal;
use crate::support::{PATIENCE, wait_until};

const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";

/// A view of a file with some jobs, as it is after its first screen.
struct View {
    jobq: Jobq,
    terminal: Terminal,
    child: Child,
}

impl View {
    fn new() -> View {
        View::with(&[])
    }

    fn with(env: &[(&str, &str)]) -> View {
        let jobq = Jobq::new();
        jobq.enqueue(&["--kind", "resize"]);
        jobq.enqueue(&["--queue", "mail", "--kind", "send"]);
        let mut terminal = Terminal::new(80);
        let mut call = jobq
            .call(&["top"])
            .env("LANG", "C.UTF-8")
            .env("TERM", "xterm");
        for (name, value) in env {
            call = call.env(name, value);
        }
        let child = terminal.start_call(call);
        terminal.wait_until_shown("2 pending");
        View {
            jobq,
            terminal,
            child,
        }
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.terminal.slave).unwrap().local_modes;
        !modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    fn type_keys(&mut self, keys: &str) {
        self.terminal.master.write_all(keys.as_bytes()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How it ends, once it does; the terminal is then as it was.
    fn ends(&mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        while self.terminal.read(0) {}
        assert!(!self.is_raw());
        let shown = &self.terminal.shown;
        assert!(shown.rfind(LEAVE) > shown.rfind(ENTER), "{shown:?}");
        status
    }

    fn wait_until_stopped(&self) {
        let stat = format!("/proc/{}/stat", self.child.id());
        wait_until("the view is stopped", PATIENCE, || {
            let stat = fs::read_to_string(&stat).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with('T')
        });
    }
}

/// A test that fails leaves none behind.
impl Drop for View {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn q_ends_the_view_and_gives_the_terminal_back() {
    let mut view = View::new();
    assert!(view.is_raw());
    view.type_keys("q");
    assert!(view.ends().success());
}

#[test]
fn each_signal_that_ends_the_view_gives_the_terminal_back() {
    for (signal, code) in [
        (Signal::TERM, 143),
        (Signal::HUP, 129),
        (Signal::INT, 130),
        (Signal::QUIT, 131),
    ] {
        let mut view = View::new();
        view.signal(signal);
        assert_eq!(view.ends().code(), Some(code), "{signal:?}");
    }
}

#[test]
fn a_terminal_that_takes_nothing_keeps_no_view_alive() {
    let mut view = View::new();
    tcflow(&view.terminal.slave, Action::OOff).unwrap();
    view.type_keys("?");
    view.signal(Signal::TERM);
    assert_eq!(view.child.wait().unwrap().code(), Some(143));
    assert!(!view.is_raw());
}

#[test]
fn a_stopped_view_gives_the_terminal_back_until_it_goes_on() {
    let mut view = View::new();
    view.type_keys("\u{1a}");
    view.wait_until_stopped();
    view.terminal.wait_until_shown(LEAVE);
    assert!(!view.is_raw());
    view.terminal.shown.clear();
    view.signal(Signal::CONT);
    view.terminal.wait_until_shown(ENTER);
    view.terminal.wait_until_shown("2 pending");
    assert!(view.is_raw());
    view.signal(Signal::TSTP);
    view.wait_until_stopped();
    assert!(!view.is_raw());
    view.signal(Signal::CONT);
    view.type_keys("q");
    assert!(view.ends().success());
}

#[test]
fn a_change_by_another_process_and_a_new_size_are_drawn() {
    let mut view = View::new();
    view.jobq.enqueue(&["--queue", "reports", "--kind", "send"]);
    view.terminal.wait_until_shown("reports");
    view.terminal.shown.clear();
    view.terminal.resize(40);
    // It is no child of a shell of this terminal: nobody else tells it.
    view.signal(Signal::WINCH);
    view.terminal.wait_until_shown("2  3  4  5  6  7");
    view.terminal.wait_until_shown("3 pending");
    view.type_keys("q");
    assert!(view.ends().success());
}

#[test]
fn keys_change_the_file_and_say_what_was_done() {
    let mut view = View::new();
    view.type_keys("2");
    view.terminal.wait_until_shown("WHAT");
    view.type_keys("C");
    view.terminal.wait_until_shown("cancel job 2?");
    view.type_keys("y");
    view.terminal.wait_until_shown("job 2 was cancelled");
    assert_eq!(view.jobq.state(2), "cancelled");
    // The command goes to the clipboard of the terminal, too.
    view.type_keys("y");
    view.terminal.wait_until_shown("\u{1b}]52;c;");
    view.type_keys("q");
    assert!(view.ends().success());
}

#[test]
fn a_file_put_in_its_place_is_shown_after_a_restore() {
    let mut view = View::new();
    view.jobq.run(&["backup", "copy.db"]).exits(0);
    view.jobq.run(&["restore", "copy.db", "--force"]).exits(0);
    view.jobq.enqueue(&["--queue", "reports", "--kind", "send"]);
    view.terminal.wait_until_shown("reports");
    view.type_keys("q");
    assert!(view.ends().success());
}

#[cfg(feature = "fault-injection")]
#[test]
fn a_panic_gives_the_terminal_back_before_it_is_told() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--kind", "resize"]);
    let mut terminal = Terminal::new(80);
    let call = jobq.call(&["top"]).env("JOBQ_FAULT", "top-panics");
    let mut child = terminal.start_call(call);
    assert!(!child.wait().unwrap().success());
    while terminal.read(0) {}
    let modes = tcgetattr(&terminal.slave).unwrap().local_modes;
    assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO));
    let at = |text: &str| terminal.shown.find(text).unwrap();
    assert!(
        at(ENTER) < at(LEAVE) && at(LEAVE) < at("panicked"),
        "{:?}",
        terminal.shown
    );
}

#[test]
fn the_first_screen_is_plain_text_where_there_is_no_terminal() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--kind", "resize"]);
    for args in [
        &["top"][..],
        &["top", "--once"],
        &["--color", "always", "top"],
    ] {
        let shown = jobq.stdout(args);
        assert!(shown.contains("jobq.db  1 pending"), "{shown}");
        assert!(shown.contains("no runner is active"), "{shown}");
        assert!(shown.is_ascii(), "the locale has no more: {shown}");
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }
    let shown = Terminal::new(40).show(&jobq, &["top", "--once"]);
    assert!(!shown.contains(ENTER), "{shown:?}");
    assert!(
        shown.lines().all(|line| line.chars().count() <= 40),
        "{shown}"
    );
}

#[test]
fn without_a_file_the_usual_error_comes_before_the_screen() {
    let jobq = Jobq::new();
    let shown = Terminal::new(80).show(&jobq, &["top"]);
    assert!(
        shown.contains("error") && shown.contains("jobq enqueue"),
        "{shown}"
    );
    assert!(!shown.contains(ENTER), "{shown:?}");
    jobq.run(&["top"]).exits(1);
    jobq.make_database();
    jobq.run(&["top", "--json"]).exits(2);
}
