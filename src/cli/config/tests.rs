//! What `jobq.toml` may say, and what it is told where it says something else.

use super::*;
use crate::cli::exit::Exit;

fn read(text: &str) -> CliResult<Config> {
    Config::parse(text, Path::new("jobq.toml"))
}

#[test]
fn a_full_file_is_read() {
    let config = read(
        r#"
        db = "jobs.db"
        workers = 8
        stop_timeout = "25s"
        durability = "normal"
        allow_network_fs = true
        unknown_kinds = "fail"
        [retention]
        completed = "1h"
        failed = "14 days"
        every = "10m"
        [defaults]
        retries = 5
        backoff = "quadratic"
        timeout = "90s"
        [kinds.thumbnail]
        command = ["./thumbnail.py", "-v"]
        timeout = "2m"
        retries = 2
        backoff = "fixed"
        retry_delay = "10s"
        [kinds.plain]
        retries = 0
        "#,
    )
    .unwrap();
    assert_eq!(config.workers, Some(8));
    assert_eq!(config.stop_timeout, Some(Duration::from_secs(25)));
    assert_eq!(config.durability(), Some(Durability::Normal));
    assert_eq!(config.unknown_kinds, Some(Unknown::Fail));
    assert_eq!(
        config.retention.failed,
        Some(Duration::from_secs(14 * 86_400))
    );
    let retry = config.defaults.retry();
    assert_eq!(
        (retry.max_retries, retry.delay),
        (5, Duration::from_secs(1))
    );
    let thumbnail = config.usual_of("thumbnail");
    assert_eq!(thumbnail.timeout, Some(Duration::from_secs(120)));
    assert_eq!(thumbnail.backoff, Some(Backoff::Fixed));
    assert_eq!(thumbnail.retry_delay, Some(Duration::from_secs(10)));
    assert_eq!(config.usual_of("plain").retries, Some(0));
    let exec = config.usual_of("exec");
    assert_eq!(exec.timeout, Some(Duration::from_secs(90)));
    assert_eq!((exec.retries, exec.backoff), (None, None));
}

#[test]
fn limits_and_retention_are_read() {
    let config = read(
        r#"
        max_file_size = "1GiB"
        [retention]
        completed = "1h"
        [defaults]
        max_queue_size = 1000
        [kinds.thumbnail]
        concurrency = 3
        retention = { completed = "10m" }
        [queues.images]
        concurrency = 2
        rate = "10/1m"
        max_size = 100
        weight = 3
        "#,
    )
    .unwrap();
    assert_eq!(config.max_file_size, Some(1 << 30));
    assert_eq!(config.defaults.max_queue_size, Some(1000));
    assert_eq!(config.kinds["thumbnail"].concurrency, Some(3));
    let of_kind = config.retention_of(Some("thumbnail"));
    assert_eq!(of_kind.completed, Some(Duration::from_secs(600)));
    assert_eq!(of_kind.failed, config.retention.failed);
    let usual = config.retention_of(Some("plain"));
    assert_eq!(usual.completed, Some(Duration::from_secs(3600)));
    let minute = Duration::from_secs(60);
    assert_eq!(
        config.queues["images"].change(),
        jobq::QueueLimitsUpdate {
            concurrency: jobq::Update::Set(2),
            rate: jobq::Update::Set(jobq::Rate {
                jobs: 10,
                per: minute
            }),
            max_size: jobq::Update::Set(100),
            weight: jobq::Update::Set(3),
        }
    );
}

#[test]
fn an_empty_file_leaves_the_librarys_defaults() {
    let config = read("").unwrap();
    assert_eq!(config.defaults.retry(), RetryPolicy::default());
    assert!(config.workers.is_none() && config.durability().is_none());
}

#[test]
fn a_mistake_is_named_with_its_line() {
    for (text, message, hint) in [
        ("wokers = 5", "line 1: unknown key 'wokers'", "'workers'"),
        (
            "\n[defaults]\nretires = 1",
            "line 3: unknown key 'retires'",
            "'retries'",
        ),
        (
            "[retention]\n\nkeep = 1",
            "line 3: unknown key 'keep'",
            "completed, failed, every",
        ),
        (
            "[kinds.a]\ncomand = []",
            "line 2: unknown key 'comand'",
            "'command'",
        ),
        ("[kidns.a]", "line 1: unknown key 'kidns'", "'kinds'"),
        (
            "[queues.a]\nconcurency = 1",
            "line 2: unknown key 'concurency'",
            "'concurrency'",
        ),
        (
            "[kinds.a.retention]\nevery = \"1h\"",
            "line 2: unknown key 'every'",
            "completed, failed",
        ),
    ] {
        let error = read(text).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.message().contains(message), "{}", error.message());
        assert!(format!("{error:?}").contains(hint), "{error:?}");
    }
}

#[test]
fn a_value_that_cannot_be_is_named_with_its_place() {
    for (text, message) in [
        ("workers = 0", "workers"),
        ("workers = \"five\"", "line 1: "),
        ("\ndb = ", "line 2: "),
        ("durability = \"some\"", "full or normal"),
        (
            "[defaults]\ntimeout = \"5\"",
            "line 2: invalid duration '5'",
        ),
        ("[defaults]\ntimeout = 5", "line 2: "),
        ("[queues.a]\nrate = \"ten\"", "line 2: invalid rate 'ten'"),
        ("max_file_size = \"big\"", "line 1: invalid size 'big'"),
        ("max_file_size = 0", "line 1: invalid size 0"),
        (
            "max_file_size = \"1KiB\"",
            "line 1: invalid size '1KiB': it must be at least 256KiB",
        ),
        ("max_file_size = 4096", "line 1: invalid size 4096: it"),
        (
            "[retention]\nevery = \"0s\"",
            "[retention] every must be at least 1ms",
        ),
        (
            "[retention]\nevery = \"999us\"",
            "[retention] every must be at least 1ms",
        ),
        (
            "[defaults]\nmax_queue_size = 0",
            "max_queue_size must be at least 1",
        ),
        (
            "[queues.a]\nconcurrency = 0",
            "jobq.toml: [queues.a]: concurrency must be at least 1",
        ),
        (
            "[queues.a]\nrate = \"0/1m\"",
            "[queues.a]: a rate's number of jobs must be 1 to",
        ),
        (
            "[queues.a]\nmax_size = 0",
            "[queues.a]: a queue's size must be at least 1",
        ),
        (
            "[queues.'a b']\nweight = 0",
            "[queues.\"a b\"]: a queue's weight must be 1 to",
        ),
        (
            "[queues.\"\"]\nweight = 2",
            "[queues.\"\"]: the queue's name is empty",
        ),
        (
            "[kinds.a]\nconcurrency = 0",
            "[kinds.a]: concurrency must be at least 1",
        ),
        ("[kinds.exec]\ncommand = [\"x\"]", "[kinds.exec]"),
        ("[kinds.sleep]\ncommand = [\"x\"]", "[kinds.sleep]"),
        ("[kinds.group]\ncommand = [\"x\"]", "[kinds.group]"),
        ("[kinds.a]\ncommand = []", "[kinds.a]: the command is empty"),
        (
            "[kinds.a]\ncommand = [\"\"]",
            "[kinds.a]: the command is empty",
        ),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.message().contains(message), "{}", error.message());
    }
}

#[test]
fn a_database_is_relative_to_the_config_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobq.toml");
    assert!(Config::load(Some(&path)).is_err());
    std::fs::write(&path, "db = \"data/jobs.db\"").unwrap();
    let config = Config::load(Some(&path)).unwrap();
    assert_eq!(config.db, Some(folder.path().join("data/jobs.db")));
}
