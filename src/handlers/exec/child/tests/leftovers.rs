//! What a command has started beside itself, and what ends that.

use super::*;

/// Ways to leave the command's process group; the number of what has left it goes to the file `pid`.
const ESCAPES: [&str; 5] = [
    // A session of its own.
    "setsid sleep 600 & echo $! >pid",
    // A double fork, as daemons do: its parent is gone, and its session as well.
    "setsid sh -c '(setsid sleep 600 & echo $! >pid) &'",
    // A group of its own.
    "sh -mc 'sleep 600 & echo $! >pid'",
    // It does not hear SIGTERM.
    "setsid sh -c 'trap \"\" TERM; echo $$ >pid; while :; do sleep 600; done' &",
    // Without the variables that name the attempt: it is known by its parent alone.
    "env -i setsid sleep 600 & echo $! >pid",
];

/// Names an attempt, as the handler does.
fn of_attempt(text: &str, job: u32) -> Bench {
    let mut bench = Bench::shell(text);
    bench.grace = Duration::from_millis(300);
    for (name, value) in [("JOBQ_DB", "/"), ("JOBQ_ATTEMPT", "1")] {
        bench.spec.env.set(name, value);
    }
    bench.spec.env.set("JOBQ_JOB_ID", format!("7{job}"));
    bench
}

/// Escapes, says `ready` and the number of what has escaped, and goes on.
fn escaping(escape: &str, then: &str, job: u32) -> (tempfile::TempDir, Bench) {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "cd {}; {escape}\n until test -s pid; do :; done; echo ready $(cat pid); {then}",
        folder.path().display()
    );
    (folder, of_attempt(&text, job))
}

fn escaped(seen: &Spy) -> i32 {
    let said = seen.text(Stream::Stdout);
    let pid = said.split_whitespace().nth(1);
    pid.unwrap_or_else(|| panic!("{said}")).parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn cancelling_a_command_ends_processes_that_left_its_group() {
    for (job, escape) in (0..).zip(ESCAPES) {
        let (_folder, bench) = escaping(escape, "sleep 600", job);
        let (seen, ended, _) = bench.cancelled_when_ready();
        assert_eq!(ended.end, End::Signaled(15));
        assert!(!is_running(escaped(&seen)), "{escape}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn leftovers_of_a_failed_command_end_before_its_retry() {
    // Of the last one nothing is left to know it by.
    for (job, escape) in (10..).zip(&ESCAPES[..4]) {
        let (_folder, bench) = escaping(escape, "exit 3", job);
        let mut seen = Spy::default();
        let ended = bench.run(&mut seen);
        assert_eq!((ended.end, ended.stop_reason), (End::Exited(3), None));
        assert!(!is_running(escaped(&seen)), "{escape}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn neither_a_cancel_nor_a_failure_ends_what_is_anothers() {
    let mut others = [
        ("JOBQ_JOB_ID", "79999"),
        ("JOBQ_ATTEMPT", "2"),
        ("JOBQ_DB", "/tmp"),
    ]
    .map(|(name, value)| {
        let mut command = std::process::Command::new("sleep");
        for (name, value) in [
            ("JOBQ_JOB_ID", "720"),
            ("JOBQ_ATTEMPT", "1"),
            ("JOBQ_DB", "/"),
        ] {
            command.env(name, value);
        }
        command.arg("600").env(name, value).spawn().unwrap()
    });
    let bench = of_attempt("exit 3", 20);
    assert_eq!(bench.end(), End::Exited(3));
    let bench = of_attempt("echo ready; sleep 600", 20);
    bench.cancelled_when_ready();
    for other in &mut others {
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}

#[test]
fn a_command_has_a_session_of_its_own_and_no_terminal() {
    let mut seen = Spy::default();
    let text = "cut -d' ' -f1,5,6,7 /proc/$$/stat; : </dev/tty";
    let ended = Bench::shell(text).run(&mut seen);
    let shown = seen.text(Stream::Stdout);
    let numbers: Vec<&str> = shown.split_whitespace().collect();
    assert!(numbers[0] == numbers[1] && numbers[1] == numbers[2] && numbers[3] == "0");
    assert!(matches!(ended.end, End::Exited(1..)), "{ended:?}");
    let words = ended.last_words.unwrap();
    assert!(words.contains("/dev/tty"), "{words}");
}

#[test]
fn an_exit_after_the_signal_is_told_apart_from_one_before() {
    let text = "trap 'exit 0' TERM; echo ready; while :; do :; done";
    let (_, ended, _) = Bench::shell(text).cancelled_when_ready();
    let stop_reason = Some(CancelReason::Requested);
    assert_eq!(
        (ended.end, ended.stop_reason),
        (End::Exited(0), stop_reason)
    );
    let bench = Bench::shell("exit 0");
    let ended = bench.run(&mut Spy::default());
    assert_eq!((ended.end, ended.stop_reason), (End::Exited(0), None));
}

#[cfg(target_os = "linux")]
#[test]
fn neither_descriptors_nor_zombies_are_left_over() {
    // The other tests of this process open and start their own: so this looks at what it knows.
    let bench = Bench::shell("exit 0");
    let highest = || {
        let probe = std::fs::File::open("/dev/null").unwrap();
        std::os::fd::AsRawFd::as_raw_fd(&probe)
    };
    let mut pids = Vec::new();
    let before = highest();
    for _ in 0..200 {
        let mut seen = Spy::default();
        assert_eq!(bench.run(&mut seen).end, End::Exited(0));
        pids.extend(seen.pids);
    }
    assert!(highest() < before + 150, "descriptors pile up");
    assert_eq!(pids.len(), 200);
    let is_our_zombie = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains(&format!(") Z {} ", std::process::id()))
    };
    assert!(!pids.iter().any(is_our_zombie), "a zombie is left");
}
