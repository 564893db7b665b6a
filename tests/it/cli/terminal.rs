//! What a person sees on a real terminal: its width, its size that changes, and text that would steer it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::Child;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::support::{Call, Jobq};
use crate::support::PATIENCE;

/// A pseudo terminal: what is written to `slave` is read from `master`.
pub(super) struct Terminal {
    pub(super) master: File,
    pub(super) slave: File,
    pub(super) shown: String,
}

impl Terminal {
    pub(super) fn new(columns: u16) -> Terminal {
        let master: OwnedFd =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path.to_str().unwrap());
        let terminal = Terminal {
            master: master.into(),
            slave: slave.unwrap(),
            shown: String::new(),
        };
        terminal.resize(columns);
        terminal
    }

    pub(super) fn resize(&self, columns: u16) {
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.slave, size).unwrap();
    }

    pub(super) fn start(&self, jobq: &Jobq, args: &[&str]) -> Child {
        self.start_call(jobq.call(args))
    }

    pub(super) fn start_call(&self, call: Call<'_>) -> Child {
        let end = || self.slave.try_clone().unwrap();
        let mut command = call.into_command();
        command.stdin(end()).stdout(end()).stderr(end());
        command.spawn().unwrap()
    }

    /// Runs a call to its end; what it has shown.
    pub(super) fn show(mut self, jobq: &Jobq, args: &[&str]) -> String {
        let mut child = self.start(jobq, args);
        child.wait().unwrap();
        // What has been written is there at once.
        while self.read(0) {}
        self.shown.replace('\r', "")
    }

    /// Whether there was something to read, within so many milliseconds.
    pub(super) fn read(&mut self, ms: u32) -> bool {
        let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(ms) * 1_000_000,
        };
        if poll(&mut fds, Some(&wait)).unwrap() == 0 {
            return false;
        }
        let mut bytes = [0; 4096];
        let Ok(read) = self.master.read(&mut bytes) else {
            return false;
        };
        self.shown
            .push_str(&String::from_utf8_lossy(&bytes[..read]));
        read > 0
    }

    pub(super) fn wait_until_shown(&mut self, text: &str) {
        let began = Instant::now();
        while !self.shown.contains(text) {
            assert!(
                began.elapsed() < PATIENCE,
                "{text:?} is not in {:?}",
                self.shown
            );
            self.read(50);
        }
    }
}

/// Without its colours.
fn plain(shown: &str) -> String {
    let mut parts = shown.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| {
        let end = part.find(|char: char| char.is_ascii_alphabetic());
        plain + &part[end.map_or(0, |end| end + 1)..]
    })
}

fn list(jobq: &Jobq, columns: u16) -> String {
    plain(&Terminal::new(columns).show(jobq, &["list"]))
}

#[test]
fn a_terminal_of_width_0_is_taken_for_one_of_80() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    assert_eq!(list(&jobq, 0), list(&jobq, 80));
    assert!(list(&jobq, 0).contains("PRIORITY"));
}

#[test]
fn at_40_columns_a_list_says_what_the_jobs_are() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "convert", "cat.jpg"]);
    let shown = list(&jobq, 40);
    assert!(shown.contains("convert cat"), "{shown}");
    assert!(
        shown.lines().all(|line| line.chars().count() <= 40),
        "{shown}"
    );
}

#[test]
fn items_are_typed_at_a_terminal_that_is_told_how_to_end_them() {
    let jobq = Jobq::new();
    let mut terminal = Terminal::new(80);
    let mut call = terminal.start(&jobq, &["enqueue", "--each", "--", "ls"]);
    terminal.wait_until_shown("reading items from the terminal; Ctrl-D ends them");
    terminal.master.write_all(b"a b\nc\n\x04").unwrap();
    assert!(call.wait().unwrap().success());
    terminal.wait_until_shown("2 jobs enqueued (1\u{2013}2)");
    assert_eq!(jobq.job(1)["payload"]["command"][1], "a b");
}

#[test]
fn a_watched_page_fits_the_terminals_present_width() {
    let jobq = Jobq::new();
    jobq.run(&["queue", "set", "images", "--concurrency", "2"])
        .exits(0);
    jobq.enqueue(&["--queue", "images", "--", "true"]);
    let mut terminal = Terminal::new(150);
    let mut watching = terminal.start(&jobq, &["status", "--watch"]);
    terminal.wait_until_shown("COMPLETED");
    terminal.shown.clear();
    terminal.resize(30);
    terminal.wait_until_shown("\u{1b}[H\u{1b}[2J");
    let at = terminal.shown.find("\u{1b}[2J").unwrap();
    terminal.shown.drain(..at);
    terminal.wait_until_shown("images");
    let shown = plain(&terminal.shown);
    assert!(!shown.contains("COMPLETED"), "{shown}");
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn no_text_of_a_job_turns_the_direction_of_writing() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "echo", "gpj.\u{202e}exe", "\u{2066}x\u{200f}"]);
    for verb in [&["list"][..], &["status", "1"]] {
        let shown = Terminal::new(120).show(&jobq, verb);
        assert!(shown.contains("\\u{202e}exe"), "{shown}");
        assert!(
            !shown.contains(['\u{202e}', '\u{2066}', '\u{200f}']),
            "{shown}"
        );
    }
    // A program gets what was given.
    assert!(jobq.stdout(&["list"]).contains("gpj.\u{202e}exe"));
}

#[test]
fn a_wrong_word_on_the_command_line_does_not_steer_the_terminal() {
    let jobq = Jobq::new();
    let refused = jobq
        .run(&["list", "--state", "\u{1b}]0;title\u{7}\u{202e}x"])
        .exits(2);
    assert!(
        !refused.stderr.contains(['\u{1b}', '\u{7}', '\u{202e}']),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("\\u{202e}x"), "{refused:?}");
}

#[test]
fn a_title_in_an_error_leaves_nothing_behind() {
    let jobq = Jobq::new();
    let fails = r"printf '\033]0;title\007\033[31mboom\033[0m\n' >&2; exit 3";
    jobq.enqueue(&["--retries", "0", "--shell", fails]);
    jobq.drain(&[]).exits(4);
    assert_eq!(jobq.job(1)["error"], "exit code 3: boom");
}

#[test]
fn a_log_entry_of_several_lines_is_one_entry() {
    let jobq = Jobq::new();
    let forged = "\"$JOBQ\" log 'all is well\nERROR the disk is full'";
    let binary = env!("CARGO_BIN_EXE_jobq");
    jobq.enqueue(&["--env", &format!("JOBQ={binary}"), "--shell", forged]);
    jobq.drain(&[]).exits(0);
    assert_eq!(
        jobq.stdout(&["logs", "1"]),
        "INFO all is well\\nERROR the disk is full\n"
    );
    let shown = plain(&Terminal::new(80).show(&jobq, &["logs", "1"]));
    assert_eq!(shown, "INFO all is well\n      ERROR the disk is full\n");
    assert_eq!(
        jobq.json(&["logs", "1"])["message"],
        "all is well\nERROR the disk is full"
    );
}

#[test]
fn a_verbose_run_reports_attempts_and_twice_verbose_ticks() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    let said = jobq.drain(&["-v"]).exits(0).stderr;
    assert!(
        said.contains("job 1 (exec): attempt 1 started on worker "),
        "{said}"
    );
    assert!(
        said.contains("job 1 (exec): attempt 1 completed after "),
        "{said}"
    );
    assert!(!said.contains("tick written"), "{said}");
    jobq.enqueue(&["--retries", "0", "--shell", "exit 3"]);
    let said = jobq.drain(&["-vv"]).exits(4).stderr;
    assert!(
        said.contains("attempt 1 failed: exit code 3 after "),
        "{said}"
    );
    assert!(said.contains("tick written: "), "{said}");
    jobq.enqueue(&["--", "true"]);
    let said = jobq.drain(&[]).exits(0).stderr;
    assert!(!said.contains("started on worker"), "{said}");
}
