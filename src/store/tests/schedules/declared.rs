//! Schedules that a configuration file declares.

use super::*;
use crate::model::schedule::SchedulesSynced;

#[test]
fn a_configuration_takes_along_only_what_it_brought() {
    let mut sandbox = Sandbox::new();
    let of_file = |schedules: Vec<Schedule>| -> Vec<ValidatedSchedule> {
        let checked = schedules.into_iter().map(|schedule| {
            ValidatedSchedule::new(schedule, Some("/a.toml"), &EnqueueLimits::default()).unwrap()
        });
        checked.collect()
    };
    add(&mut sandbox, hourly("by hand"));
    let first = of_file(vec![hourly("a"), hourly("b")]);
    let synced = sandbox.write(|tx| schedules::sync(tx, "/a.toml", &first));
    assert_eq!(synced.added, ["a", "b"]);
    let second = of_file(vec![hourly("b").missed(Missed::Skip), hourly("c")]);
    let synced = sandbox.write(|tx| schedules::sync(tx, "/a.toml", &second));
    assert_eq!(
        (synced.added, synced.changed, synced.removed),
        (vec!["c".into()], vec!["b".into()], vec!["a".into()])
    );
    let synced = sandbox.write(|tx| schedules::sync(tx, "/a.toml", &second));
    assert_eq!(synced, SchedulesSynced::default());
    let synced = sandbox.write(|tx| schedules::sync(tx, "/a.toml", &[]));
    assert_eq!(synced.removed, ["b", "c"]);
    let left: Vec<String> = schedules::list(&sandbox.conn)
        .unwrap()
        .into_iter()
        .map(|record| record.name)
        .collect();
    assert_eq!(left, ["by hand"]);
}

#[test]
fn a_configuration_leaves_alone_what_another_one_declares() {
    let mut sandbox = Sandbox::new();
    let of = |file: &str, names: &[&str]| -> Vec<ValidatedSchedule> {
        let checked = names.iter().map(|name| {
            ValidatedSchedule::new(hourly(name), Some(file), &EnqueueLimits::default()).unwrap()
        });
        checked.collect()
    };
    let (ours, theirs) = (of("/ours", &["a", "both"]), of("/theirs", &["b", "both"]));
    sandbox.write(|tx| schedules::sync(tx, "/ours", &ours));
    let synced = sandbox.write(|tx| schedules::sync(tx, "/theirs", &theirs));
    assert_eq!(
        (synced.added, synced.removed, synced.taken_over),
        (
            vec!["b".to_owned()],
            vec![],
            vec![("both".to_owned(), "/ours".to_owned())]
        )
    );
    let synced = sandbox.write(|tx| schedules::sync(tx, "/none", &[]));
    assert_eq!(synced, SchedulesSynced::default());
    let synced = sandbox.write(|tx| schedules::sync(tx, "/ours", &[]));
    assert_eq!(synced.removed, ["a"]);
    let left = schedules::list(&sandbox.conn).unwrap();
    let left: Vec<_> = left
        .iter()
        .map(|record| (&*record.name, record.declared_by.as_deref()))
        .collect();
    assert_eq!(left, [("b", Some("/theirs")), ("both", Some("/theirs"))]);
}

/// Before schema 3 the file was not noted.
#[test]
fn a_schedule_of_an_unknown_file_belongs_to_the_first_naming_it() {
    let mut sandbox = Sandbox::new();
    let of_file = vec![
        ValidatedSchedule::new(hourly("a"), Some("/ours"), &EnqueueLimits::default()).unwrap(),
    ];
    sandbox.write(|tx| schedules::sync(tx, "/ours", &of_file));
    sandbox.sql("UPDATE jobq_schedule SET declared_by = NULL");
    sandbox.write(|tx| schedules::sync(tx, "/other", &[]));
    assert_eq!(get(&sandbox, "a").declared_by, None);
    let synced = sandbox.write(|tx| schedules::sync(tx, "/ours", &of_file));
    assert_eq!(synced, SchedulesSynced::default());
    assert_eq!(get(&sandbox, "a").declared_by.as_deref(), Some("/ours"));
    let synced = sandbox.write(|tx| schedules::sync(tx, "/ours", &[]));
    assert_eq!(synced.removed, ["a"]);
}
