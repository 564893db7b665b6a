//! What programs read and write, word for word: the JSON of each verb, the lines of a batch, the templates of
//! schedules. A change of them shows in the difference of `tests/data/golden.txt`, which is written anew
//! with `JOBQ_GOLDEN=write`.

use std::fmt::Write;
use std::path::Path;

use jobq::rusqlite::Connection;
use serde_json::Value;

use super::support::Jobq;

/// Every key that a line may have, but for those that exclude each other.
const LINES: &str = r#"{"label":"first","command":["sh","-c","echo out; echo err >&2; jobq result '{\"n\":1}'"],"env":{"MODE":"fast"},"env_all":false,"output_limit":"1MiB","input":"in","fail_on":"3-5","cwd":"/","queue":"images","priority":"high","retries":2,"backoff":"fixed","retry_delay":"2s","jitter":false,"timeout":"90s","deadline":"2h","unique":"once","unique_for":"1h","on_duplicate":"keep","key":"disk","key_limit":2,"tenant":"acme","tags":{"b":"2","a":"1"}}
{"shell":"exit 3","fail_on":"3","priority":"urgent","retry_delays":["1s","5m"]}
{"kind":"resize","payload":{"z":1,"a":[true,null,1.50,"ü"]},"unique_by_payload":true,"child_policy":"fail-fast","finalize":true}
{"command":["true"],"input_base64":"/wA=","after":["first"],"at":"2100-01-01T00:00:00Z"}
{"command":["true"],"after_any":["first",2],"in":"10m","priority":"low"}
{"command":["true"],"parent":3}
"#;

const CONFIG: &str = r#"
[defaults]
retries = 4
backoff = "linear"

[queues.images]
concurrency = 2
rate = "10/1m"
max_size = 500
weight = 3
"#;

/// The calls whose answers are kept, in order.
const CALLS: [&[&str]; 34] = [
    &[
        "schedule",
        "add",
        "nightly",
        "0 3 * * *",
        "--tz",
        "Europe/Berlin",
        "--missed",
        "all",
        "--",
        "true",
    ],
    &[
        "schedule",
        "add",
        "often",
        "@every 90s",
        "--overlap",
        "skip",
        "--kind",
        "digest",
        "--payload",
        r#"{"b":1,"a":"x"}"#,
        "--queue",
        "reports",
        "--priority",
        "low",
        "--retries",
        "1",
        "--backoff",
        "quadratic",
        "--retry-delay",
        "3s",
        "--no-jitter",
        "--timeout",
        "1m",
        "--deadline",
        "1h",
        "--unique",
        "report",
        "--unique-for",
        "10m",
        "--on-duplicate",
        "replace",
        "--key",
        "reports",
        "--key-limit",
        "3",
        "--child-policy",
        "tolerate",
        "--finalize",
        "--tenant",
        "acme",
        "--tag",
        "b=2",
        "--tag",
        "a=1",
    ],
    &["list"],
    &["status", "1", "2", "3"],
    &["why", "1"],
    &["why", "2"],
    &["why", "3"],
    &["why", "4"],
    &["why", "5"],
    &["why", "6"],
    &["logs", "1"],
    &["graph", "1"],
    &["metrics"],
    &["events"],
    &["errors"],
    &["retry", "--failed", "--dry-run"],
    &["queue", "list"],
    &["schedule", "list"],
    &["edit", "5", "--priority", "normal", "--in", "0s"],
    &["pause", "images"],
    &["resume", "images"],
    &["pause"],
    &["resume"],
    &["cancel", "4"],
    &["retry", "2"],
    &["wait", "1"],
    &["enqueue", "--unique", "again", "--", "true"],
    &["enqueue", "--unique", "again", "--", "true"],
    &["remove", "1"],
    &["prune", "--older-than", "0s"],
    &["doctor"],
    &["status"],
    &[
        "enqueue", "--each", "list", "--key", "{//}", "--tag", "n={#}", "--", "echo", "{/.}", "{}",
    ],
    &["list", "--tag", "n=1"],
];

/// What is another each time stands as its kind.
fn settle(value: &mut Value, folder: &Path) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| settle(value, folder)),
        Value::Object(fields) => {
            // What a command gets of this process.
            fields.remove("env");
            fields.remove("umask");
            // The doctor's findings name sizes.
            if fields.contains_key("severity") {
                fields.remove("message");
            }
            for (name, value) in fields {
                let measures = [
                    "duration_ms",
                    "took_ms",
                    "elapsed_ms",
                    "cpu_ms",
                    "max_rss_bytes",
                    "pid",
                    "average",
                    "p50",
                    "p95",
                    "p99",
                ];
                match value {
                    Value::Number(_) if measures.contains(&&**name) => {
                        *value = Value::from("<number>");
                    }
                    Value::String(_) if name == "host" => *value = Value::from("<host>"),
                    _ => settle(value, folder),
                }
            }
        }
        Value::String(text) => {
            if text
                .parse::<jiff::Timestamp>()
                .is_ok_and(|at| at.as_second() < 4_000_000_000)
            {
                *text = "<time>".to_owned();
            }
            if let Some((before, _)) = text.split_once(" is due in ") {
                *text = format!("{before} is due in <time>");
            }
            *text = text.replace(&*folder.to_string_lossy(), "<folder>");
        }
        _ => {}
    }
}

#[test]
fn json_of_verbs_batch_lines_and_templates_is_unchanged() {
    let jobq = Jobq::new();
    jobq.write("settings.toml", CONFIG);
    jobq.write("batch.jsonl", LINES);
    jobq.write("list", "in/cat.jpg\nin/two dogs.jpg\n");
    let mut said = String::new();
    let mut keep = |call: &[&str]| {
        let all: Vec<&str> = [&["--json", "--config", "settings.toml"], call].concat();
        let output = jobq.run(&all);
        writeln!(said, "$ jobq {}    # {}", call.join(" "), output.code).unwrap();
        let is_error = |line: &&str| line.starts_with("error:") || line.starts_with("{\"error");
        let errors = output.stderr.lines().filter(is_error);
        for line in output.stdout.lines().chain(errors) {
            let value = serde_json::from_str(line);
            let mut value = value.unwrap_or_else(|_| Value::from(line));
            settle(&mut value, jobq.folder());
            writeln!(said, "{value}").unwrap();
        }
    };
    keep(&["enqueue", "--batch", "batch.jsonl"]);
    // One worker: everything has its order.
    keep(&["run", "--drain", "-j", "1"]);
    for call in CALLS {
        keep(call);
    }
    writeln!(said, "$ templates").unwrap();
    let conn = Connection::open(jobq.db()).unwrap();
    let mut templates = conn
        .prepare("SELECT job FROM jobq_schedule ORDER BY name")
        .unwrap();
    for template in templates
        .query_map([], |row| row.get::<_, String>(0))
        .unwrap()
    {
        let mut template: Value = serde_json::from_str(&template.unwrap()).unwrap();
        settle(&mut template, jobq.folder());
        writeln!(said, "{template}").unwrap();
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden.txt");
    if std::env::var_os("JOBQ_GOLDEN").is_some_and(|wish| wish == "write") {
        std::fs::write(&golden, &said).unwrap();
    }
    let kept = std::fs::read_to_string(&golden).unwrap_or_default();
    for (number, (now, then)) in said.lines().zip(kept.lines()).enumerate() {
        assert_eq!(now, then, "line {} of {}", number + 1, golden.display());
    }
    assert_eq!(said.lines().count(), kept.lines().count());
}
