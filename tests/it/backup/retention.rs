//! Which old backups go and which stay.

use std::fs;

use serde_json::json;

use super::Site;

#[test]
fn old_backups_go_when_no_rule_keeps_them() {
    let site = Site::new();
    let source = site.file("data/a", "one");
    let old = |stamp: &str| site.file(&format!("copies/all-{stamp}.tar"), "old");
    for stamp in ["20200101T000000Z", "20200101T120000Z", "20210505T000000Z"] {
        old(stamp);
        site.file(&format!("copies/all-{stamp}.tar.sha256"), "sum");
    }
    // A clock that was wrong.
    let future = old("29990101T000000Z");
    let strangers = [
        "all-2020.tar",
        "all-20200101T000000Z.db",
        "other-20200101T000000Z.tar",
    ];
    for name in strangers {
        site.file(&format!("copies/{name}"), "not ours");
    }
    fs::create_dir(site.path("copies/all-20200102T000000Z.tar")).unwrap();
    let fields = |dry_run| {
        json!({
            "what": "files", "source": source, "name": "all-{time}.tar", "dry_run": dry_run,
            "retention": { "keep_yearly": 3, "keep_last": 1 },
        })
    };
    let before = site.copies();
    let foretold = site.copy(fields(true));
    assert_eq!(site.copies(), before);
    let done = site.copy(fields(false));
    let removed = ["all-20200101T120000Z.tar", "all-20200101T000000Z.tar"];
    assert_eq!(done.removed, removed);
    assert_eq!(foretold.removed, removed);
    let why: Vec<&[String]> = done.kept.iter().map(|kept| &*kept.why).collect();
    assert_eq!(why[0], ["keep_last", "keep_yearly"]);
    assert_eq!(why[1], ["keep_yearly", "it is the new one"]);
    assert_eq!(why[2], ["keep_yearly"]);
    assert_eq!(done.kept.len(), 3);
    let left = site.copies();
    assert!(
        future.exists()
            && strangers
                .iter()
                .all(|name| left.contains(&(*name).to_owned()))
    );
    assert!(
        !left
            .iter()
            .any(|name| removed.iter().any(|gone| name.starts_with(gone)))
    );
}

#[test]
fn old_backups_stay_while_the_new_one_is_incomplete() {
    let site = Site::new();
    site.file("data/a", "one");
    let old = site.file("copies/all-20200101T000000Z.tar", "old");
    // Deeper than folders are read.
    let deep = site.path("data/d");
    fs::create_dir_all(deep.join("d/".repeat(300))).unwrap();
    let fields = json!({
        "what": "files", "source": site.path("data"), "name": "all-{time}.tar",
        "retention": { "keep_last": 1 },
    });
    let lacking = site.copy(fields.clone());
    assert!(old.exists() && lacking.removed.is_empty(), "{lacking:?}");
    assert!(lacking.warnings.iter().any(|it| it.why.contains("stay")));
    fs::remove_dir_all(deep).unwrap();
    fs::remove_file(lacking.path).unwrap();
    assert_eq!(site.copy(fields).removed.len(), 1);
    assert!(!old.exists());
}
