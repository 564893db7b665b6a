use proptest::prelude::*;

use super::*;

#[test]
fn what_varies_in_an_error_is_blanked() {
    for (error, message) in [
        ("", ""),
        (" \n\n  boom\nat line 3", "boom"),
        ("it  is\tlate", "it is late"),
        ("timed out after 30s", "timed out after Ns"),
        ("exit status 17", "exit status N"),
        ("HTTP 503: try again in 1.5 s", "HTTP N: try again in N s"),
        ("1,234,567 rows, -5 left", "N rows, N left"),
        ("job_42 and job-7 (#9)", "job_N and job-N (#N)"),
        ("at 2026-03-01T18:30:00Z", "at NTNZ"),
        ("at 0xdeadbeef in 0x1f", "at N in N"),
        ("commit a1b2c3d4e5", "commit N"),
        (
            "object 01ARZ3NDEKTSV4RRFFQ69G5FAV is gone",
            "object N is gone",
        ),
        (
            "user 7d444840-9dc0-11d1-b245-5ffdce74fad2: denied",
            "user N: denied",
        ),
        ("cannot open '/var/lib/x 1.db': no", "cannot open '…': no"),
        (
            "No such file: /srv/a/b.csv (os error 2)",
            "No such file: … (os error N)",
        ),
        ("src/main.rs:12:7: oops", "…: oops"),
        ("C:\\data\\x.txt is locked", "… is locked"),
        ("column \"name\" of `users`", "column \"…\" of `…`"),
        ("it's Bob's and can't be", "it's Bob's and can't be"),
        (
            "GET https://api.example.com:8443/v1/users/7?x=1 failed",
            "GET https://api.example.com:N/… failed",
        ),
        ("connect to 10.0.0.17:5432 refused", "connect to N refused"),
        ("connect to [fe80::1]:80 refused", "connect to [N refused"),
        ("ann@example.com bounced", "… bounced"),
        ("id=77, path=/tmp/x", "id=N, path=…"),
        (
            "wrong application/json or I/O",
            "wrong application/json or I/O",
        ),
        ("facade, decade and accede", "facade, decade and accede"),
    ] {
        assert_eq!(normalize(error), message, "{error}");
    }
}

#[test]
fn the_id_of_a_group_never_changes() {
    assert_eq!(id_of(""), id_of_message(""));
    assert_eq!(id_of("timed out after 30s"), id_of("timed out after 7s"));
    assert_eq!(id_of_message("timed out after Ns"), "fd14ebff");
}

#[test]
fn a_message_has_at_most_200_characters() {
    assert_eq!(normalize(&"é ".repeat(4000)).chars().count(), 200);
}

#[test]
fn groups_of_two_calls_are_added_up() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let found = |jobs: &[(i64, &str, &str)]| {
        let mut counted = GroupsCounted::default();
        for (id, kind, error) in jobs {
            counted.add_job(FailedJob {
                id: JobId(*id),
                kind,
                failed_at: at(*id),
                error,
            });
        }
        counted.finish(Some(JobId(jobs[0].0)))
    };
    let mut all = found(&[(9, "b", "boom 1"), (8, "a", "other")]);
    all.add(found(&[(7, "a", "boom 2"), (6, "b", "boom 3")]));
    assert_eq!(all.searched_to, Some(JobId(7)));
    let [boom, other] = &all.groups[..] else {
        panic!("{all:?}");
    };
    assert_eq!((boom.jobs, other.jobs), (3, 1));
    assert_eq!((boom.example, boom.error.as_str()), (JobId(9), "boom 1"));
    assert_eq!((boom.first_at, boom.last_at), (at(6), at(9)));
    assert_eq!(boom.kinds, ["a", "b"]);
}

/// What differs between two errors of a group.
fn variable() -> impl Strategy<Value = (String, String)> {
    let numbers = "-?[0-9]{1,12}(\\.[0-9]{1,4})?";
    let uuids = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
    let hex = "[0-9a-f]{8,40}";
    let paths = "(/[a-zA-Z0-9_.-]{0,10}[a-zA-Z0-9]){1,5}";
    let quotes = "'[^'\\\\\\pC]{0,20}'";
    let two = |pattern: &'static str| (pattern, pattern);
    prop_oneof![two(numbers), two(uuids), two(hex), two(paths), two(quotes)]
}

proptest! {
    #[test]
    fn errors_that_differ_in_what_varies_are_of_one_group(
        before in "[a-zA-Z,:() ]{0,30}",
        (one, other) in variable(),
        after in "[a-zA-Z,:() ]{0,30}",
    ) {
        let error = |part: &str| format!("{before} {part} {after}");
        prop_assert_eq!(normalize(&error(&one)), normalize(&error(&other)));
    }

    #[test]
    fn any_text_has_a_message_of_one_line(error in "\\PC*|[\\x00-\\x7f]*|(['\"=/:. 0-9a-f]|\\PC)*") {
        let message = normalize(&error);
        prop_assert!(message.chars().count() <= 200);
        prop_assert!(!message.contains('\n'));
        prop_assert_eq!(id_of(&error).len(), 8);
    }
}
