//! Where the database and the config file are, and whose they are.

use std::fs;

use super::support::{Jobq, mode};

#[test]
fn first_use_makes_the_folder_and_file_for_their_owner_only() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    let folder = jobq.folder().join("state/jobq");
    assert_eq!(mode(&folder), 0o700);
    let runner = jobq.runner(&[]);
    let files = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut names = Vec::new();
    for path in files {
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path), expected, "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(
        names,
        ["jobq.db", "jobq.db-runners", "jobq.db-shm", "jobq.db-wal"]
    );
    runner.stop().exits(0);
}

#[test]
fn default_database_is_below_home_and_refused_without_home() {
    let jobq = Jobq::new();
    let call = || {
        jobq.call(&["enqueue", "--", "true"])
            .without_env("XDG_STATE_HOME")
    };
    call().run().exits(0);
    let db = jobq.folder().join("home/.local/state/jobq/jobq.db");
    assert_eq!(mode(&db), 0o600);
    let homeless = call()
        .without_env("HOME")
        .run()
        .fails(2, &["HOME is not set"]);
    assert!(homeless.hint().contains("--db"), "{homeless:?}");
}

#[test]
fn db_option_beats_environment_which_beats_config_file() {
    let jobq = Jobq::new();
    jobq.write("jobq.toml", "db = 'config.db'");
    let made = || {
        let names = ["option.db", "environment.db", "config.db"];
        names.map(|name| jobq.path(name).exists())
    };
    let enqueue = ["enqueue", "--", "true"];
    let option = ["enqueue", "--db", "option.db", "--", "true"];
    jobq.call(&option)
        .env("JOBQ_DB", "environment.db")
        .run()
        .exits(0);
    assert_eq!(made(), [true, false, false]);
    jobq.call(&enqueue)
        .env("JOBQ_DB", "environment.db")
        .run()
        .exits(0);
    assert_eq!(made(), [true, true, false]);
    jobq.call(&enqueue).env("JOBQ_DB", "").run().exits(0);
    assert_eq!(made(), [true, true, true]);
    assert!(!jobq.db().exists());
}

#[test]
fn config_file_is_the_named_one_else_the_local_else_the_users() {
    let jobq = Jobq::new();
    let folder = jobq.folder().join("config/jobq");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("jobq.toml"), "db = 'users.db'").unwrap();
    jobq.enqueue(&["--", "true"]);
    assert!(folder.join("users.db").exists());
    jobq.write("jobq.toml", "db = 'here.db'");
    jobq.enqueue(&["--", "true"]);
    assert!(jobq.path("here.db").exists());
    fs::create_dir(jobq.path("sub")).unwrap();
    jobq.write("sub/named.toml", "db = 'named.db'");
    jobq.enqueue(&["--config", "sub/named.toml", "--", "true"]);
    assert!(jobq.path("sub/named.db").exists());
    jobq.run(&["list", "--config", "none.toml"])
        .fails(2, &["there is no config file none.toml"]);
}

#[test]
fn a_folder_of_somebody_elses_making_keeps_its_mode() {
    let jobq = Jobq::new();
    let folder = jobq.path("data");
    fs::create_dir(&folder).unwrap();
    super::support::set_mode(&folder, 0o755);
    jobq.enqueue(&["--db", "data/new/jobs.db", "--", "true"]);
    assert_eq!(mode(&folder), 0o755);
    assert_eq!(mode(&folder.join("new")), 0o700);
}

#[test]
fn a_database_in_a_path_of_odd_characters_is_found_again() {
    let jobq = Jobq::new();
    let db = "a b?mode=memory#x%20ü/jobs.db";
    jobq.run(&["--db", db, "enqueue", "--", "true"]).exits(0);
    assert!(jobq.path(db).exists());
    jobq.run(&["--db", db, "run", "--drain"]).exits(0);
    let listed = jobq.run(&["--db", db, "list"]).exits(0);
    assert_eq!(listed.rows()[0][1], "completed");
}
