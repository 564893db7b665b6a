//! The names of backups and which of them stay, compared with what restic says.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::handlers::backup::BackupRetention;
use crate::handlers::backup::name::NamePattern;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_name_gives_its_time_back_and_no_other_name_does() {
    let pattern = NamePattern::parse("app-{time}.db.zst").unwrap();
    let at = time("2026-11-28T18:10:45Z");
    let name = "app-20261128T181045Z.db.zst";
    assert_eq!(pattern.at(at), name);
    assert_eq!(pattern.time_of(name), Some(at));
    assert!(pattern.fits(name) && pattern.fits(&format!("{name}.sha256")));
    for other in [
        "app-{time}.db.zst",
        "app-20261128T181045Z.db",
        "app-20261128T181045.db.zst",
        "app-2026-11-28T18:10:45Z.db.zst",
        "app-20261328T181045Z.db.zst",
        "app-20261128T18104Z.db.zst",
        "app-x-20261128T181045Z.db.zst",
        "xapp-20261128T181045Z.db.zst",
        "app-.db.zst",
        "app-20261128T181045Z.db.zst.sha256",
    ] {
        assert_eq!(pattern.time_of(other), None, "{other}");
    }
    let fixed = NamePattern::parse("app.db").unwrap();
    assert_eq!(fixed.at(at), "app.db");
    assert!(fixed.time_of("app.db").is_none() && fixed.fits("app.db"));
    for refused in ["", ".app", "a/{time}", "{time}{time}", "{date}", "{time"] {
        assert!(NamePattern::parse(refused).is_err(), "{refused}");
    }
}

fn retention(json: &str) -> BackupRetention {
    serde_json::from_str(json).unwrap()
}

#[test]
fn retention_is_a_duration_or_rules() {
    let days = |days: u64| Some(Duration::from_secs(days * 86_400));
    assert_eq!(retention("\"30 days\"").keep_within, days(30));
    let rules = retention(r#"{"keepLast":3,"keep_weekly":4,"keep_within":"7d"}"#);
    let expected = BackupRetention {
        keep_last: 3,
        keep_weekly: 4,
        keep_within: days(7),
        ..BackupRetention::default()
    };
    assert_eq!(rules, expected);
    assert_eq!(retention(&serde_json::to_string(&rules).unwrap()), rules);
    for refused in ["\"30\"", "30", r#"{"keep":3}"#, r#"{"keep_last":-1}"#, "[]"] {
        let read = serde_json::from_str::<BackupRetention>(refused);
        assert!(read.is_err(), "{refused}");
    }
}

#[test]
fn any_rule_keeps_and_none_takes_away() {
    let times: Vec<Timestamp> = [
        "2026-11-28T18:00:00Z",
        "2026-11-28T17:30:00Z",
        "2026-11-28T17:00:00Z",
        "2026-11-27T23:30:00Z",
        "2026-10-01T00:00:00Z",
    ]
    .map(time)
    .to_vec();
    let reasons = |rules: &str, zone: TimeZone| retention(rules).reasons(&times, times[0], &zone);
    let rules = r#"{"keep_hourly":2,"keep_daily":3,"keep_within":"45m"}"#;
    assert_eq!(
        reasons(rules, TimeZone::UTC),
        [
            vec!["keep_within", "keep_hourly", "keep_daily"],
            vec!["keep_within", "keep_hourly"],
            vec![],
            vec!["keep_daily"],
            vec!["keep_daily"],
        ]
    );
    // In Berlin 23:30 is the next day.
    let berlin = TimeZone::fixed(jiff::tz::offset(1));
    let kept = reasons(r#"{"keep_daily":2}"#, berlin);
    assert_eq!(
        kept.iter().map(|why| !why.is_empty()).collect::<Vec<_>>(),
        [true, false, false, false, true]
    );
    let all = reasons("{}", TimeZone::UTC);
    assert!(all.iter().all(|why| why == &["no rules"]));
}

/// Runs restic on a repository of the test's own.
fn restic(folder: &Path, args: &[&str]) -> String {
    let ran = Command::new("restic")
        .args(["--no-cache", "--no-lock", "--quiet", "--repo", "repo"])
        .args(args)
        .current_dir(folder)
        .env("RESTIC_PASSWORD", "x")
        .env("TZ", "UTC")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "restic {args:?}: {stderr}");
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn the_backups_that_stay_are_those_that_restic_keeps() {
    if Command::new("restic").arg("version").output().is_err() {
        eprintln!("skipped: there is no restic");
        return;
    }
    const SNAPSHOTS: usize = 24;
    const POLICIES: usize = 30;
    fastrand::seed(11);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    restic(folder.path(), &["init"]);
    let mut at = time("2026-01-02T03:00:00Z");
    let mut times = Vec::new();
    for _ in 0..SNAPSHOTS {
        // Several in an hour, and gaps of weeks.
        let scale = *fastrand::choice(&[600, 7200, 86_400, 2_000_000]).unwrap();
        at += jiff::SignedDuration::from_secs(fastrand::i64(1..scale));
        let text = at.strftime("%Y-%m-%d %H:%M:%S").to_string();
        let tag = fastrand::choice(["a", "b"]).unwrap();
        restic(
            folder.path(),
            &["backup", "--time", &text, "--tag", tag, "file"],
        );
        times.push((at, tag));
    }
    times.reverse();
    for _ in 0..POLICIES {
        compare(folder.path(), &times);
    }
}

/// A policy of chance, on the snapshots with a tag, or on all.
fn compare(folder: &Path, times: &[(Timestamp, &str)]) {
    let mut args = vec!["forget", "--dry-run", "--json", "--group-by", "host"]
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    let tag = *fastrand::choice(&[None, Some("a"), Some("b")]).unwrap();
    args.extend(tag.map(|tag| format!("--tag={tag}")));
    let mut rules = serde_json::Map::new();
    for rule in ["last", "hourly", "daily", "weekly", "monthly", "yearly"] {
        if fastrand::u8(0..3) == 0 {
            let count = fastrand::u32(1..6);
            args.push(format!("--keep-{rule}={count}"));
            rules.insert(format!("keep_{rule}"), count.into());
        }
    }
    if rules.is_empty() || fastrand::bool() {
        let days = fastrand::u32(1..40);
        args.push(format!("--keep-within={days}d"));
        rules.insert("keep_within".to_owned(), format!("{days}d").into());
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let told: Value = serde_json::from_str(&restic(folder, &args)).unwrap();
    let keep = told[0]["keep"].as_array().unwrap();
    let expected: BTreeSet<Timestamp> = keep
        .iter()
        .map(|snapshot| time(snapshot["time"].as_str().unwrap()))
        .collect();
    let times: Vec<Timestamp> = times
        .iter()
        .filter(|(_, of)| tag.is_none_or(|tag| tag == *of))
        .map(|(at, _)| *at)
        .collect();
    let rules: BackupRetention = serde_json::from_value(rules.into()).unwrap();
    let reasons = rules.reasons(&times, times[0], &TimeZone::UTC);
    let kept = times.iter().zip(reasons).filter(|(_, why)| !why.is_empty());
    let mut kept: BTreeSet<Timestamp> = kept.map(|(at, _)| *at).collect();
    // Older versions of restic do not keep the oldest for a rule with a number left.
    if let Some(oldest) = times.last().filter(|oldest| !expected.contains(oldest)) {
        kept.remove(oldest);
    }
    assert_eq!(kept, expected, "{args:?} of {times:?}");
}
