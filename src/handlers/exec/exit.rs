//! What a command's end means for its job, and the exit codes after which no retry helps.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::str::{Chars, FromStr};

use rustix::process::Signal;

use crate::Error;
use crate::model::outcome::{CancelReason, Outcome};

/// The result of a command that ended well and left no other.
const DONE: &str = r#"{"exit_code":0}"#;

/// "Try again later" in sysexits.h: no `fail_on` makes it final.
const TEMPORARY_FAILURE: i32 = 75;

/// What a shell answers where there is such a command, but it cannot be run.
const CANNOT_RUN: i32 = 126;

/// What a shell answers where there is no such command.
const NOT_FOUND: i32 = 127;

/// The longest piece of a command's stderr in an error, in characters.
const EXCERPT_MAX_CHARS: usize = 200;

/// How a command ended, and what it cost.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CommandEnd {
    /// How it came to its end.
    pub(crate) end: End,
    /// What it used; none where it never ran.
    pub(crate) usage: Option<ResourceUsage>,
    /// The last line it wrote to stderr, ready to be shown.
    pub(crate) last_words: Option<String>,
    /// Why it was stopped, if it was before it had ended.
    pub(crate) stop_reason: Option<CancelReason>,
}

/// How a command came to its end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// It ended, but other code has taken its exit status.
    Lost(String),
    /// There is no such command. Says so and names it.
    NotFound(String),
    /// There is such a command, but it cannot be run. Says why and names it.
    CannotRun(String),
    /// What it needs is not there just now: its working directory, or the disk that it lies on. Says what.
    NotNow(String),
    /// The machine had no room for it just then. Says what was short.
    NoRoom(String),
    /// It was stopped before it had begun.
    NotBegun,
}

/// What a command used, and the children that it has waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResourceUsage {
    /// Time on the processor, in its own code and in the kernel.
    pub(crate) cpu_ms: u64,
    /// The most memory that one of its processes held at once.
    ///
    /// On Linux never less than what the runner itself had held when it started the command: the
    /// kernel counts the moment between fork and exec.
    pub(crate) max_rss_bytes: u64,
}

impl CommandEnd {
    /// A command that did not come to run.
    pub(crate) fn not_run(end: End) -> CommandEnd {
        CommandEnd {
            end,
            usage: None,
            last_words: None,
            stop_reason: None,
        }
    }

    /// What a shell would show as `$?`: the exit code, 127 and 126 where it could not be run,
    /// 128 and the signal's number where a signal ended it.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        match self.end {
            End::Exited(code) => Some(code),
            End::Signaled(signal) => Some(128 + signal),
            End::NotFound(_) => Some(NOT_FOUND),
            End::CannotRun(_) => Some(CANNOT_RUN),
            End::Lost(_) | End::NotNow(_) | End::NoRoom(_) | End::NotBegun => None,
        }
    }

    /// What it means for the job. A command that was stopped counts as interrupted, whatever its exit
    /// code: many programs end with 0 on SIGTERM, with half of their work done.
    pub(crate) fn outcome(&self, fail_on: &FailOn) -> Outcome {
        match (&self.end, self.stop_reason) {
            (End::NotBegun, _) | (_, Some(_)) => Outcome::Cancelled,
            (End::Exited(0), None) => Outcome::Done(Some(DONE.to_owned())),
            (End::Exited(code), None) => {
                let error = self.described();
                match *code {
                    TEMPORARY_FAILURE => Outcome::Retry { error, after: None },
                    CANNOT_RUN | NOT_FOUND => Outcome::Fail { error },
                    code if fail_on.contains(code) => Outcome::Fail { error },
                    _ => Outcome::Retry { error, after: None },
                }
            }
            (End::NotFound(_) | End::CannotRun(_), None) => Outcome::Fail {
                error: self.described(),
            },
            (End::NoRoom(_), None) => Outcome::OutOfResources {
                error: self.described(),
            },
            (End::Signaled(_) | End::Lost(_) | End::NotNow(_), None) => Outcome::Retry {
                error: self.described(),
                after: None,
            },
        }
    }

    /// How it ended, and what it said last.
    pub(crate) fn described(&self) -> String {
        match &self.end {
            End::Exited(code) => self.with_last_words(format!("exit code {code}")),
            End::Signaled(signal) => {
                self.with_last_words(format!("killed by {}", signal_name(*signal)))
            }
            End::NotFound(error)
            | End::CannotRun(error)
            | End::NoRoom(error)
            | End::Lost(error)
            | End::NotNow(error) => error.clone(),
            End::NotBegun => "it was stopped before it had begun".to_owned(),
        }
    }

    pub(crate) fn with_last_words(&self, error: String) -> String {
        match &self.last_words {
            Some(words) => format!("{error}: {words}"),
            None => error,
        }
    }
}

impl From<ExitStatus> for End {
    fn from(status: ExitStatus) -> End {
        match (status.code(), status.signal()) {
            (Some(code), _) => End::Exited(code),
            (None, Some(signal)) => End::Signaled(signal),
            (None, None) => End::Lost(format!("it ended with {status}")),
        }
    }
}

/// The last line in `tail` that says something, without colours and control characters, and cut.
pub(super) fn last_words(tail: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(tail);
    let line = text
        .rsplit(['\n', '\r'])
        .map(plain)
        .find(|line| !line.is_empty())?;
    Some(match line.char_indices().nth(EXCERPT_MAX_CHARS) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    })
}

/// A line without its escape sequences and control characters.
fn plain(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' => match chars.next() {
                Some('[') => skip_control_sequence(&mut chars),
                Some(']' | 'P' | 'X' | '^' | '_') => skip_string(&mut chars),
                // One that sets a character set has one more.
                Some(' '..='/') => drop(chars.next()),
                _ => {}
            },
            '\u{9b}' => skip_control_sequence(&mut chars),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut chars),
            '\t' => plain.push(' '),
            char if char.is_control() => {}
            char => plain.push(char),
        }
    }
    plain.trim().to_owned()
}

/// As far as its last letter: `31m`.
fn skip_control_sequence(chars: &mut Chars<'_>) {
    let _end = chars.find(|char| ('@'..='~').contains(char));
}

/// A title or another string for the terminal, as far as what ends it: BEL, `ESC \`, or ST.
fn skip_string(chars: &mut Chars<'_>) {
    while let Some(char) = chars.next() {
        match char {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                let _backslash = chars.next();
                return;
            }
            _ => {}
        }
    }
}

fn signal_name(number: i32) -> String {
    let name = match Signal::from_named_raw(number) {
        Some(Signal::HUP) => "SIGHUP",
        Some(Signal::INT) => "SIGINT",
        Some(Signal::QUIT) => "SIGQUIT",
        Some(Signal::ILL) => "SIGILL",
        Some(Signal::TRAP) => "SIGTRAP",
        Some(Signal::ABORT) => "SIGABRT",
        Some(Signal::BUS) => "SIGBUS",
        Some(Signal::FPE) => "SIGFPE",
        Some(Signal::KILL) => "SIGKILL",
        Some(Signal::USR1) => "SIGUSR1",
        Some(Signal::SEGV) => "SIGSEGV",
        Some(Signal::USR2) => "SIGUSR2",
        Some(Signal::PIPE) => "SIGPIPE",
        Some(Signal::ALARM) => "SIGALRM",
        Some(Signal::TERM) => "SIGTERM",
        Some(Signal::XCPU) => "SIGXCPU",
        Some(Signal::XFSZ) => "SIGXFSZ",
        Some(Signal::VTALARM) => "SIGVTALRM",
        Some(Signal::PROF) => "SIGPROF",
        Some(Signal::SYS) => "SIGSYS",
        _ => return format!("signal {number}"),
    };
    format!("signal {number} ({name})")
}

/// A set of exit codes, written like `2,64-78`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailOn {
    /// First and last code of each part, both included.
    ranges: Vec<(u8, u8)>,
}

impl FailOn {
    /// Whether `code` is in the set.
    pub fn contains(&self, code: i32) -> bool {
        self.ranges
            .iter()
            .any(|&(first, last)| (first.into()..=last.into()).contains(&code))
    }

    /// Whether no code is in the set.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl FromStr for FailOn {
    type Err = Error;

    fn from_str(text: &str) -> Result<FailOn, Error> {
        let ranges = text.split(',').map(|part| range(part.trim()));
        Ok(FailOn {
            ranges: ranges.collect::<Result<_, _>>()?,
        })
    }
}

impl fmt::Display for FailOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

fn range(part: &str) -> Result<(u8, u8), Error> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let (Ok(first), Ok(last)) = (first.trim().parse(), last.trim().parse()) else {
        return Err(bad(part, "an exit code is a number from 0 to 255"));
    };
    if first > last {
        return Err(bad(part, "the range runs backwards"));
    }
    Ok((first, last))
}

fn bad(part: &str, why: &str) -> Error {
    Error::invalid(format!("fail_on: `{part}`: {why}"))
        .with_hint("give codes and ranges with commas between them: 2,64-78")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(end: End, last_words: Option<&str>, stop_reason: Option<CancelReason>) -> Outcome {
        let ended = CommandEnd {
            end,
            usage: None,
            last_words: last_words.map(str::to_owned),
            stop_reason,
        };
        ended.outcome(&"2,64-78".parse().unwrap())
    }

    fn retry(error: &str) -> Outcome {
        Outcome::Retry {
            error: error.into(),
            after: None,
        }
    }

    fn fail(error: &str) -> Outcome {
        Outcome::Fail {
            error: error.into(),
        }
    }

    #[test]
    fn a_string_for_the_terminal_leaves_nothing_behind() {
        for text in [
            "\x1b]0;title\x07gone wrong",
            "\x1b]8;;http://x\x1b\\gone\x1b]8;;\x1b\\ wrong",
            "\x1bP1$r0m\x1b\\gone wrong",
            "\u{9d}0;title\u{9c}gone wrong",
            "\u{9b}31mgone wrong\x1b(B",
            "gone wrong\x1b]0;never ended",
            "\x1b7gone\x1b[0K wrong\x1b",
        ] {
            let words = last_words(text.as_bytes());
            assert_eq!(words.as_deref(), Some("gone wrong"), "{text:?}");
        }
    }

    #[test]
    fn zero_is_done_unless_it_was_told_to_stop() {
        let done = Outcome::Done(Some(r#"{"exit_code":0}"#.into()));
        assert_eq!(outcome(End::Exited(0), Some("noise"), None), done);
    }

    #[test]
    fn some_codes_fail_for_good_and_75_never_does() {
        for code in [2, 64, 78, 126, 127] {
            let failed = fail(&format!("exit code {code}"));
            assert_eq!(outcome(End::Exited(code), None, None), failed);
        }
        for code in [1, 3, 75, 79, 125, 128, 255] {
            let retried = retry(&format!("exit code {code}"));
            assert_eq!(outcome(End::Exited(code), None, None), retried);
        }
    }

    #[test]
    fn an_error_ends_with_the_commands_last_words() {
        let said = outcome(End::Exited(3), Some("No such file"), None);
        assert_eq!(said, retry("exit code 3: No such file"));
        let killed = outcome(End::Signaled(9), None, None);
        assert_eq!(killed, retry("killed by signal 9 (SIGKILL)"));
        let odd = outcome(End::Signaled(40), Some("x"), None);
        assert_eq!(odd, retry("killed by signal 40: x"));
    }

    #[test]
    fn what_cannot_run_fails_and_what_found_no_room_is_given_back() {
        assert_eq!(outcome(End::NotFound("a".into()), None, None), fail("a"));
        assert_eq!(outcome(End::CannotRun("b".into()), None, None), fail("b"));
        let short = Outcome::OutOfResources { error: "c".into() };
        assert_eq!(outcome(End::NoRoom("c".into()), None, None), short);
        assert_eq!(outcome(End::NotNow("d".into()), None, None), retry("d"));
        assert_eq!(outcome(End::Lost("d".into()), None, None), retry("d"));
    }

    #[test]
    fn what_was_told_to_stop_is_cancelled_whatever_it_ends_with() {
        use CancelReason::{ClaimLost, Requested, Shutdown, Timeout};
        for end in [
            End::Exited(0),
            End::Exited(1),
            End::Exited(75),
            End::Exited(127),
            End::Signaled(15),
            End::Lost("c".into()),
            End::NotBegun,
        ] {
            for stop_reason in [ClaimLost, Requested, Shutdown, Timeout] {
                let outcome = outcome(end.clone(), None, Some(stop_reason));
                assert_eq!(outcome, Outcome::Cancelled);
            }
        }
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        for (end, code) in [
            (End::Exited(3), Some(3)),
            (End::Signaled(9), Some(137)),
            (End::NotFound("a".into()), Some(127)),
            (End::CannotRun("a".into()), Some(126)),
            (End::NoRoom("a".into()), None),
            (End::NotBegun, None),
        ] {
            assert_eq!(CommandEnd::not_run(end).exit_code(), code);
        }
    }

    #[test]
    fn last_words_are_the_last_line_that_says_something() {
        assert_eq!(last_words(b""), None);
        assert_eq!(last_words(b" \n\r\n"), None);
        assert_eq!(last_words(b"one\ntwo \n\n").as_deref(), Some("two"));
        assert_eq!(last_words(b"10%\r20%\r").as_deref(), Some("20%"));
        assert_eq!(
            last_words(b"\x1b[1;31mred\x1b[0m\ttea\x07").as_deref(),
            Some("red tea")
        );
        assert_eq!(last_words(b"\xff x").as_deref(), Some("\u{fffd} x"));
        let long = last_words("é".repeat(300).as_bytes()).unwrap();
        assert_eq!(long, format!("{}…", "é".repeat(200)));
    }

    #[test]
    fn codes_and_ranges_are_read_and_written_back() {
        let set: FailOn = "2, 64-78,255".parse().unwrap();
        for code in [2, 64, 70, 78, 255] {
            assert!(set.contains(code), "{code}");
        }
        for code in [-1, 0, 1, 3, 63, 79, 256] {
            assert!(!set.contains(code), "{code}");
        }
        assert_eq!(set.to_string(), "2,64-78,255");
        assert!(!set.is_empty());
        assert!(FailOn::default().is_empty());
    }

    #[test]
    fn a_bad_part_is_named() {
        for (text, part) in [
            ("2,x", "`x`"),
            ("1,256", "`256`"),
            ("78-64", "`78-64`"),
            ("", "``"),
            ("1,,2", "``"),
            ("-1", "`-1`"),
            ("1-2-3", "`1-2-3`"),
        ] {
            let error = text.parse::<FailOn>().unwrap_err();
            assert!(error.is_invalid_input());
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
}
