use std::path::Path;

use rustix::process::{Pid, Signal};

use super::*;
use crate::handlers::exec::environment::Environment;
use crate::handlers::exec::leader::DEFAULT_GRACE;
use crate::handlers::exec::payload::{ExecPayload, Program};
use crate::model::outcome::CancelReason;

#[cfg(target_os = "linux")]
use crate::runner::processes;
mod leftovers;

/// What is done with the command's number.
type Act = Box<dyn FnMut(i32)>;

/// Keeps what a command prints, and does something when it says a word.
#[derive(Default)]
struct Spy {
    chunks: Vec<(Stream, Vec<u8>)>,
    pids: Vec<i32>,
    on_word: Option<(&'static str, Act)>,
}

impl Spy {
    fn on(word: &'static str, act: impl FnMut(i32) + 'static) -> Spy {
        Spy {
            on_word: Some((word, Box::new(act))),
            ..Spy::default()
        }
    }

    fn text(&self, stream: Stream) -> String {
        let chunks = self.chunks.iter().filter(|(of, _)| *of == stream);
        let bytes: Vec<u8> = chunks.flat_map(|(_, bytes)| bytes.clone()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Watcher for Spy {
    fn spawned(&mut self, pid: i32) {
        let group = rustix::process::getpgid(Pid::from_raw(pid)).unwrap();
        assert_eq!(
            group.as_raw_nonzero().get(),
            pid,
            "it leads no group of its own"
        );
        self.pids.push(pid);
    }

    fn output(&mut self, stream: Stream, bytes: &[u8]) {
        self.chunks.push((stream, bytes.to_vec()));
        let said = self.text(stream);
        if let Some((word, act)) = &mut self.on_word
            && said.contains(*word)
        {
            act(self.pids[0]);
            self.on_word = None;
        }
    }
}

fn shell(text: &str) -> ExecPayload {
    ExecPayload::new(Program::Shell(text.to_owned())).unwrap()
}

/// Runs a payload with everything as it is unless told otherwise.
struct Bench {
    spec: CommandSpec,
    stdin: Option<Vec<u8>>,
    cancellation: Cancellation,
    grace: Duration,
    limit: usize,
    mask: Mask,
}

impl Bench {
    fn new(payload: &ExecPayload) -> Bench {
        Bench {
            spec: payload.spec(),
            stdin: None,
            cancellation: Cancellation::default(),
            grace: DEFAULT_GRACE,
            limit: 1024 * 1024,
            mask: Mask::default(),
        }
    }

    fn shell(text: &str) -> Bench {
        Bench::new(&shell(text))
    }

    fn request(&self) -> Run<'_> {
        Run {
            spec: &self.spec,
            stdin: self.stdin.as_deref(),
            cancellation: &self.cancellation,
            timeout: None,
            grace: self.grace,
            output_limit_bytes: self.limit,
            mask: &self.mask,
        }
    }

    fn run(&self, watcher: &mut dyn Watcher) -> CommandEnd {
        run(&self.request(), watcher)
    }

    fn end(&self) -> End {
        self.run(&mut Spy::default()).end
    }

    /// Cancels it as soon as it says `ready`.
    fn cancelled_when_ready(&self) -> (Spy, CommandEnd, Duration) {
        let cancellation = self.cancellation.clone();
        let mut seen = Spy::on("ready", move |_| {
            cancellation.cancel(CancelReason::Requested)
        });
        let started = clock::instant();
        let ended = self.run(&mut seen);
        (seen, ended, started.elapsed())
    }
}

fn is_alive(pid: i32) -> bool {
    rustix::process::test_kill_process(Pid::from_raw(pid).unwrap()).is_ok()
}

/// Whether it is there and no zombie, which an orphan is for a moment.
fn is_running(pid: i32) -> bool {
    #[cfg(target_os = "linux")]
    return processes::Process::read(pid).is_some_and(|process| process.is_alive());
    #[cfg(not(target_os = "linux"))]
    is_alive(pid)
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = clock::instant() + Duration::from_secs(20);
    while !is_so() {
        assert!(clock::instant() < deadline, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

fn kill(pid: i32) {
    rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn exit_codes_and_signals_are_told_apart() {
    assert_eq!(Bench::shell("exit 0").end(), End::Exited(0));
    assert_eq!(Bench::shell("exit 3").end(), End::Exited(3));
    assert_eq!(Bench::shell("kill -9 $$").end(), End::Signaled(9));
}

#[test]
fn the_end_of_stderr_is_kept_for_the_error() {
    let ended = Bench::shell("echo first >&2; echo out; echo No such file >&2; exit 3")
        .run(&mut Spy::default());
    assert_eq!(ended.last_words.as_deref(), Some("No such file"));
}

#[test]
fn the_watcher_sees_the_start_once() {
    let mut seen = Spy::default();
    Bench::shell("echo $$").run(&mut seen);
    assert_eq!(seen.pids.len(), 1);
    assert_eq!(seen.text(Stream::Stdout).trim(), seen.pids[0].to_string());
}

#[test]
fn a_command_that_cannot_be_started_is_never_announced() {
    let payload = ExecPayload::new(Program::Argv(vec!["/nowhere/tool".into()])).unwrap();
    let mut seen = Spy::default();
    let ended = Bench::new(&payload).run(&mut seen);
    assert_eq!(
        ended.end,
        End::NotFound("command not found: /nowhere/tool".into())
    );
    assert_eq!((seen.pids.len(), ended.usage), (0, None));
}

#[test]
fn a_command_gets_its_own_environment_directory_and_stdin() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    let payload = shell("pwd -P; cat; echo; env")
        .with_cwd(dir.to_str().unwrap())
        .and_then(|payload| payload.with_env("GREETING", "hello = world"))
        .unwrap();
    let mut bench = Bench::new(&payload);
    bench.stdin = Some(br#"{"a":1}"#.to_vec());
    bench.spec.env.set("JOBQ_JOB_ID", "42");
    let mut seen = Spy::default();
    assert_eq!(bench.run(&mut seen).end, End::Exited(0));
    let out = seen.text(Stream::Stdout);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..2], [dir.to_str().unwrap(), r#"{"a":1}"#]);
    for wanted in ["GREETING=hello = world", "JOBQ_JOB_ID=42"] {
        assert!(lines.contains(&wanted), "{out}");
    }
    let names = lines[2..]
        .iter()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name);
    for name in names {
        // These three are the shell's own.
        let is_known = ["GREETING", "JOBQ_JOB_ID", "PWD", "SHLVL", "_"].contains(&name);
        assert!(
            is_known || Environment::inherited().get(name).is_some(),
            "{name}"
        );
    }
}

#[test]
fn output_comes_in_the_order_in_which_it_was_written() {
    // What one stream has said is seen before the other stream speaks.
    let fifo = tempfile::tempdir().unwrap();
    let path = fifo.path().join("go");
    let text = format!(
        "echo one; until test -e {0}; do :; done; echo two >&2; until test -e {0}2; do :; done; echo three",
        path.display()
    );
    struct Steps<'a>(Vec<(Stream, String)>, &'a Path);
    impl Watcher for Steps<'_> {
        fn output(&mut self, stream: Stream, bytes: &[u8]) {
            self.0
                .push((stream, String::from_utf8(bytes.to_vec()).unwrap()));
            let mark = if self.0.len() == 1 { "go" } else { "go2" };
            std::fs::write(self.1.with_file_name(mark), "").unwrap();
        }
    }
    let mut steps = Steps(Vec::new(), &path);
    let ended = Bench::shell(&text).run(&mut steps);
    assert_eq!(ended.end, End::Exited(0));
    let order = [
        (Stream::Stdout, "one\n"),
        (Stream::Stderr, "two\n"),
        (Stream::Stdout, "three\n"),
    ];
    assert_eq!(
        steps.0,
        order.map(|(stream, text)| (stream, text.to_owned()))
    );
}

#[test]
fn a_line_without_end_shows_up_while_the_command_runs() {
    let mut seen = Spy::on("10%", kill);
    let ended = Bench::shell("printf 10%%; exec sleep 600").run(&mut seen);
    assert_eq!(ended.end, End::Signaled(9));
    assert_eq!(seen.text(Stream::Stdout), "10%");
}

#[test]
fn megabytes_of_output_pass_and_the_limit_keeps_both_ends() {
    let mut bench = Bench::shell("cat");
    bench.stdin = Some("0123456789abcde\n".repeat(5 * 65_536).into_bytes());
    let mut seen = Spy::default();
    assert_eq!(bench.run(&mut seen).end, End::Exited(0));
    let out = seen.text(Stream::Stdout);
    let whole = str::from_utf8(bench.stdin.as_deref().unwrap()).unwrap();
    let (head, rest) = out.split_once("[… ").unwrap();
    let (mark, tail) = rest.split_once("]\n").unwrap();
    assert!(whole.starts_with(head) && whole.ends_with(tail));
    let count = whole.len() - head.len() - tail.len();
    assert_eq!(mark.replace(',', ""), format!("{count} bytes cut …"));
    assert!((1_048_000..=1_048_576).contains(&(head.len() + tail.len())));

    bench.limit = usize::MAX;
    let mut seen = Spy::default();
    assert_eq!(bench.run(&mut seen).end, End::Exited(0));
    assert!(
        Some(seen.text(Stream::Stdout).as_bytes()) == bench.stdin.as_deref(),
        "not what was sent"
    );
}

#[test]
fn a_command_need_not_read_what_it_is_given() {
    for len in [100, 5_000_000] {
        let mut bench = Bench::shell("exec 0<&-; echo fine");
        bench.stdin = Some(vec![b'x'; len]);
        let mut seen = Spy::default();
        assert_eq!(bench.run(&mut seen).end, End::Exited(0));
        assert_eq!(seen.text(Stream::Stdout), "fine\n");
    }
}

#[test]
fn bytes_that_are_no_text_arrive_as_they_are() {
    let mut seen = Spy::default();
    Bench::shell(r"printf '\377\000\303'").run(&mut seen);
    assert_eq!(seen.chunks, [(Stream::Stdout, vec![0xff, 0, 0xc3])]);
}

#[test]
fn a_process_in_the_background_holds_nobody_up_and_lives_on() {
    for text in ["sleep 600 & echo $!", "setsid sleep 600 & echo $!"] {
        let started = clock::instant();
        let mut seen = Spy::default();
        let ended = Bench::shell(text).run(&mut seen);
        assert_eq!(ended.end, End::Exited(0));
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it was waited for"
        );
        let left: i32 = seen.text(Stream::Stdout).trim().parse().unwrap();
        assert!(is_alive(left));
        kill(left);
    }
}

#[test]
fn endless_output_of_a_background_process_blocks_nobody() {
    let mut bench = Bench::shell("yes & echo $! >&2");
    bench.limit = usize::MAX;
    let mut seen = Spy::default();
    assert_eq!(bench.run(&mut seen).end, End::Exited(0));
    // Its pipe is closed now: the next line ends it.
    let left: i32 = seen
        .text(Stream::Stderr)
        .lines()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    wait_until("SIGPIPE has ended it", || !is_running(left));
}

#[test]
fn a_command_that_closes_its_streams_is_still_waited_for() {
    let text = "exec >&- 2>&- <&-; i=0; while test $i -lt 20000; do i=$((i+1)); done; exit 4";
    assert_eq!(Bench::shell(text).end(), End::Exited(4));
}

#[test]
fn a_cancelled_command_gets_term_with_its_whole_group() {
    let bench = Bench::shell("sh -c 'sleep 600 & echo $! >&2; echo ready; wait'; echo not here");
    let (seen, ended, took) = bench.cancelled_when_ready();
    assert_eq!(ended.end, End::Signaled(15));
    assert!(took < DEFAULT_GRACE);
    let inner: i32 = seen.text(Stream::Stderr).trim().parse().unwrap();
    assert!(!is_running(inner));
    assert_eq!(seen.text(Stream::Stdout), "ready\n");
}

#[test]
fn a_command_may_use_the_grace_time_to_tidy_up() {
    let bench = Bench::shell("trap 'echo tidy; exit 5' TERM; echo ready; while :; do :; done");
    let (seen, ended, _) = bench.cancelled_when_ready();
    assert_eq!(ended.end, End::Exited(5));
    assert_eq!(seen.text(Stream::Stdout), "ready\ntidy\n");
}

#[test]
fn child_processes_get_their_grace_though_the_leader_ends() {
    let text = "sh -c 'trap \"printf tidy; exit\" TERM; echo ready; while :; do :; done' & wait";
    let (seen, ended, took) = Bench::shell(text).cancelled_when_ready();
    assert_eq!(ended.end, End::Signaled(15));
    assert!(took < DEFAULT_GRACE);
    assert_eq!(seen.text(Stream::Stdout), "ready\ntidy");
}

#[test]
fn what_ignores_term_is_killed_after_the_grace_time() {
    for text in [
        "trap '' TERM; echo ready; while :; do :; done",
        "trap '' TERM; sh -c 'sleep 600' & trap - TERM; echo ready; wait",
    ] {
        let mut bench = Bench::shell(text);
        bench.grace = Duration::from_millis(200);
        let (seen, ended, took) = bench.cancelled_when_ready();
        assert!(matches!(ended.end, End::Signaled(9 | 15)), "{ended:?}");
        assert!(took >= bench.grace);
        #[cfg(target_os = "linux")]
        assert!(
            processes::living()
                .iter()
                .all(|process| process.pgid != seen.pids[0])
        );
    }
}

#[test]
fn a_stopped_command_can_be_cancelled() {
    let bench = Bench::shell("trap 'exit 6' TERM; echo ready; kill -STOP $$; while :; do :; done");
    let (_, ended, took) = bench.cancelled_when_ready();
    assert_eq!(ended.end, End::Exited(6));
    assert!(took < DEFAULT_GRACE);
}

#[test]
fn a_cancellation_from_another_thread_wakes_the_wait() {
    let bench = Bench::shell("exec sleep 600");
    let cancellation = bench.cancellation.clone();
    let other = std::thread::spawn(move || cancellation.cancel(CancelReason::Timeout));
    let end = bench.end();
    other.join().unwrap();
    assert!(matches!(end, End::Signaled(15) | End::NotBegun), "{end:?}");
}

#[test]
fn a_command_that_was_cancelled_before_it_began_never_begins() {
    let bench = Bench::shell("echo ready");
    bench.cancellation.cancel(CancelReason::Shutdown);
    let mut seen = Spy::default();
    assert_eq!(bench.run(&mut seen).end, End::NotBegun);
    assert_eq!((seen.pids.len(), seen.chunks.len()), (0, 0));
}

#[test]
fn a_cancellation_after_the_end_rings_for_nobody() {
    let bench = Bench::shell("exit 0");
    assert_eq!(bench.end(), End::Exited(0));
    bench.cancellation.cancel(CancelReason::Requested);
    assert_eq!(Bench::shell("exit 1").end(), End::Exited(1));
}

#[test]
fn without_a_pidfd_the_end_is_found_by_asking() {
    let run_without = |bench: &Bench, seen: &mut Spy| {
        let request = bench.request();
        let Ok(started) = Child::start(&bench.spec, Stdin::Nothing) else {
            panic!("not started")
        };
        let mut supervision = Supervision::new(&request, started, Tools::take().unwrap());
        supervision.leader.pidfd = None;
        supervision.follow(seen);
        supervision.finish(seen).end
    };
    let mut seen = Spy::default();
    assert_eq!(
        run_without(&Bench::shell("echo out; exit 3"), &mut seen),
        End::Exited(3)
    );
    assert_eq!(seen.text(Stream::Stdout), "out\n");

    let bench = Bench::shell("exec sleep 600");
    bench.cancellation.cancel(CancelReason::Timeout);
    assert_eq!(run_without(&bench, &mut seen), End::Signaled(15));
}

#[test]
fn a_panic_of_the_watcher_leaves_no_process_behind() {
    struct Panics(i32);
    impl Watcher for Panics {
        fn spawned(&mut self, pid: i32) {
            self.0 = pid;
        }
        fn output(&mut self, _: Stream, _: &[u8]) {
            panic!("on purpose");
        }
    }
    let bench = Bench::shell("echo ready; exec sleep 600");
    let mut watcher = Panics(0);
    let attempt = std::panic::AssertUnwindSafe(|| bench.run(&mut watcher));
    assert!(std::panic::catch_unwind(attempt).is_err());
    assert!(watcher.0 > 1 && !is_alive(watcher.0));
}

#[test]
fn what_a_command_used_is_measured() {
    let text = "i=0; while test $i -lt 100000; do i=$((i+1)); done";
    let usage = Bench::shell(text).run(&mut Spy::default()).usage.unwrap();
    assert!(usage.cpu_ms > 0, "{usage:?}");
    assert!(usage.max_rss_bytes > 100_000, "{usage:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_command_inherits_no_descriptor_of_its_supervision() {
    let mut seen = Spy::default();
    Bench::shell("for fd in /proc/$$/fd/*; do readlink $fd; done").run(&mut seen);
    let out = seen.text(Stream::Stdout);
    assert!(out.contains("pipe:"), "{out}");
    assert!(!out.contains("anon_inode"), "{out}");
}

#[test]
fn a_secret_is_masked_wherever_the_output_cuts_it() {
    let mut bench = Bench::shell(
        "printf 'a=open '; sleep 0.2; printf 'sesame b\\n'; printf 'open ses' >&2; exec >&-; sleep 0.2; printf 'ame' >&2; exit 1",
    );
    bench.mask.add("open sesame");
    let mut seen = Spy::default();
    let end = bench.run(&mut seen);
    assert_eq!(seen.text(Stream::Stdout), "a=*** b\n");
    assert_eq!(seen.text(Stream::Stderr), "***");
    assert_eq!(end.last_words.as_deref(), Some("***"));
}
