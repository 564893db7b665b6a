//! A `jobq.toml` with a mistake in it: named with its line, before anything is done.

use super::support::Jobq;

#[test]
fn an_unknown_key_is_named_with_its_line_and_a_suggestion() {
    let jobq = Jobq::new();
    for (text, line, key, hint) in [
        ("wokers = 5", 1, "wokers", "did you mean 'workers'?"),
        (
            "db = 'x.db'\n\n[defaults]\nretires = 1",
            4,
            "retires",
            "did you mean 'retries'?",
        ),
        (
            "[retention]\nkeep = 1",
            2,
            "keep",
            "known keys are completed, failed, every",
        ),
        (
            "[kinds.a]\ncomand = ['x']",
            2,
            "comand",
            "did you mean 'command'?",
        ),
    ] {
        jobq.write("jobq.toml", text);
        let told = format!("jobq.toml line {line}: unknown key '{key}'");
        let refused = jobq.run(&["enqueue", "--", "true"]).fails(2, &[&told]);
        assert_eq!(refused.hint(), hint);
    }
    assert!(!jobq.db().exists() && !jobq.path("x.db").exists());
}

#[test]
fn a_value_of_the_wrong_type_or_range_is_named_with_its_line() {
    let jobq = Jobq::new();
    for (text, words) in [
        ("\nworkers = 'five'", ["line 2", "five"]),
        ("workers = 0", ["workers", "1 to 1024"]),
        ("workers = -1", ["line 1", "-1"]),
        ("durability = 'some'", ["line 1", "full or normal"]),
        ("[defaults]\ntimeout = '5'", ["line 2", "5s"]),
        (
            "[defaults]\ntimeout = 5",
            ["line 2: 'timeout'", "text in quotes"],
        ),
        ("[defaults]\nbackoff = 'random'", ["line 2", "random"]),
        (
            "[kinds.a]\ncommand = 'ls -l'",
            ["line 2: 'command'", "list"],
        ),
        ("[kinds.a]\ncommand = []", ["kinds.a", "empty"]),
        ("[kinds.exec]\ncommand = ['x']", ["kinds.exec", "built in"]),
        ("db = ", ["line 1", "jobq.toml"]),
        (
            "[defaults]\nretries = 1\nretries = 2",
            ["line 3", "duplicate"],
        ),
        ("unknown_kinds = 'drop'", ["line 1", "drop"]),
        (
            "[kinds.k]\nunique_for = '1h'",
            ["[kinds.k] unique_for", "it goes with 'unique'"],
        ),
        (
            "[defaults]\nkey_limit = 2",
            ["[defaults] key_limit", "it goes with 'key'"],
        ),
        (
            "[defaults]\nunique = 'u'\nunique_by_payload = true",
            ["[defaults]", "both 'unique'"],
        ),
        (
            "[defaults]\nunique = 'u'",
            ["[defaults] unique", "one unfinished job"],
        ),
        (
            "[defaults]\ndeadline = '2100-01-01T00:00:00Z'",
            ["[defaults] deadline", "one moment"],
        ),
        ("[defaults]\ntenant = ''", ["[defaults]", "tenant is empty"]),
        (
            "[kinds.k]\ntimeout = '0s'",
            ["[kinds.k]", "timeout of zero"],
        ),
        (
            "[kinds.k]\nkey = 'k'\nkey_limit = 5000",
            ["[kinds.k]", "at most 1000"],
        ),
    ] {
        jobq.write("jobq.toml", text);
        for verb in [&["run", "--drain"][..], &["list"]] {
            jobq.run(verb).fails(2, &words);
        }
    }
    assert!(!jobq.db().exists());
}

#[test]
fn an_unreadable_config_file_is_an_error_and_not_missing() {
    let jobq = Jobq::new();
    std::fs::create_dir(jobq.path("jobq.toml")).unwrap();
    jobq.run(&["list"]).fails(1, &["jobq.toml", "irectory"]);
    std::fs::remove_dir(jobq.path("jobq.toml")).unwrap();
    jobq.write("jobq.toml", b"db = 'caf\xe9'");
    jobq.run(&["list"]).fails(1, &["jobq.toml", "UTF-8"]);
    let path = jobq.write("jobq.toml", "workers = 1");
    super::support::set_mode(&path, 0o000);
    let call = jobq.call_as_nobody(&["list", "--db", "/nowhere/jobs.db"]);
    call.run().fails(1, &["jobq.toml", "Permission denied"]);
}

#[test]
fn the_mistake_in_a_file_of_the_user_is_named_with_its_path() {
    let jobq = Jobq::new();
    let folder = jobq.folder().join("config/jobq");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("jobq.toml");
    std::fs::write(&path, "wokers = 5").unwrap();
    let told = format!("{} line 1", path.display());
    jobq.run(&["status"]).fails(2, &[&told]);
}
