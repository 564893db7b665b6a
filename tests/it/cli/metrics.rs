//! `jobq metrics`: its table, its JSON, and the text for Prometheus with the dashboard and the alerts that read it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::cli::support::Jobq;

/// A file in which jobs of two queues have completed, failed and been retried, and some wait.
fn with_real_jobs() -> Jobq {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    jobq.enqueue(&["--queue", "quote\"d", "--retries", "0", "--", "false"]);
    jobq.enqueue(&["--retries", "1", "--retry-delay", "1ms", "--", "false"]);
    jobq.run(&["queue", "set", "default", "--concurrency", "3"])
        .exits(0);
    jobq.run(&["schedule", "add", "nightly", "@daily", "--", "true"])
        .exits(0);
    jobq.drain(&[]).exits(4);
    jobq.enqueue(&["--queue", "held", "--", "true"]);
    jobq
}

fn has_promtool() -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| folder.join("promtool").exists())
}

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    fs::read_to_string(path.join(name)).unwrap()
}

#[test]
fn metrics_as_json_add_up_attempts_by_kind() {
    let jobq = with_real_jobs();
    let metrics = jobq.json(&["metrics"]);
    assert_eq!(metrics["since"], serde_json::Value::Null);
    assert_eq!(metrics["counts"]["failed"], 2);
    let kinds = metrics["kinds"].as_array().unwrap();
    assert_eq!(kinds.len(), 1);
    let exec = &kinds[0];
    for (field, expected) in [
        ("attempts", 4),
        ("completed", 1),
        ("failed", 2),
        ("retried", 1),
        ("cancelled", 0),
        ("recovered", 0),
    ] {
        assert_eq!(exec[field], expected, "{field}");
    }
    assert_eq!(exec["per_second"], serde_json::Value::Null);
    for times in ["run_ms", "wait_ms"] {
        let of = |name: &str| exec[times][name].as_f64().unwrap();
        assert!(of("p50") <= of("p95") && of("p95") <= of("p99"), "{exec}");
        assert!(of("average") > 0.0, "{exec}");
    }
}

#[test]
fn metrics_since_a_time_have_a_rate() {
    let jobq = with_real_jobs();
    let metrics = jobq.json(&["metrics", "--since", "1h"]);
    assert!(metrics["since"].is_string());
    assert_eq!(metrics["kinds"][0]["attempts"], 4);
    assert_eq!(metrics["kinds"][0]["per_second"], 0.001);
    jobq.run(&["metrics", "--since", "1h", "--prometheus"])
        .exits(2);
    jobq.run(&["metrics", "--json", "--prometheus"]).exits(2);
}

#[test]
fn metrics_in_a_pipe_are_a_line_each() {
    let jobq = with_real_jobs();
    let text = jobq.stdout(&["metrics"]);
    assert!(text.contains("jobs\tcompleted\t1\n"), "{text}");
    let exec = text.lines().last().unwrap();
    assert!(exec.starts_with("kind\texec\t4\t1\t2\t"), "{exec}");
    assert_eq!(exec.split('\t').count(), 14, "{exec}");
}

#[test]
fn prometheus_accepts_the_metrics_of_real_jobs() {
    if !has_promtool() {
        return eprintln!("skipped: there is no promtool");
    }
    let jobq = with_real_jobs();
    let text = jobq.stdout(&["metrics", "--prometheus"]);
    assert!(text.contains("queue=\"quote\\\"d\""), "{text}");
    let checked = jobq.program("promtool", &["check", "metrics"]).stdin(text);
    let said = checked.run().exits(0);
    assert_eq!((said.stdout, said.stderr), (String::new(), String::new()));
}

#[test]
fn prometheus_accepts_the_alert_rules() {
    if !has_promtool() {
        return eprintln!("skipped: there is no promtool");
    }
    let jobq = Jobq::new();
    jobq.write("alerts.yml", example("alerts.yml"));
    let checked = jobq.program("promtool", &["check", "rules", "alerts.yml"]);
    let said = checked.run().exits(0).stdout;
    assert!(said.contains("rules found"), "{said}");
}

/// A queue that is stuck and one that is paused, no runner, and twenty failures.
const TROUBLE: &str = r#"
rule_files: [alerts.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'jobq_queue_oldest_pending_seconds{instance="a",queue="mail"}', values: '1000+60x20'}
      - {series: 'jobq_queue_oldest_pending_seconds{instance="a",queue="held"}', values: '1000+60x20'}
      - {series: 'jobq_queue_paused{instance="a",queue="mail"}', values: '0x20'}
      - {series: 'jobq_queue_paused{instance="a",queue="held"}', values: '1x20'}
      - {series: 'jobq_runners{instance="a",state="idle"}', values: '0x20'}
      - {series: 'jobq_jobs{instance="a",queue="mail",state="pending"}', values: '3x20'}
      - {series: 'jobq_attempts_total{instance="a",queue="mail",kind="send",outcome="failed"}', values: '0x10 20x10'}
    promql_expr_test:
      - expr: count by (alertname, queue) (ALERTS{alertstate="firing"})
        eval_time: 18m
        exp_samples:
          - {labels: '{alertname="JobqQueueStuck",queue="mail"}', value: 1}
          - {labels: '{alertname="JobqNoRunner"}', value: 1}
          - {labels: '{alertname="JobqJobsFail",queue="mail"}', value: 1}
"#;

#[test]
fn alerts_fire_when_a_queue_is_stuck_or_jobs_fail() {
    if !has_promtool() {
        return eprintln!("skipped: there is no promtool");
    }
    let jobq = Jobq::new();
    jobq.write("alerts.yml", example("alerts.yml"));
    jobq.write("trouble.yml", TROUBLE);
    jobq.program("promtool", &["test", "rules", "trouble.yml"])
        .run()
        .exits(0);
}

/// The names of metrics in a text, without the endings of a histogram's series.
fn metrics_named_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.starts_with("jobq_"))
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned())
        .collect()
}

#[test]
fn the_dashboard_and_the_alerts_name_metrics_that_exist() {
    let text = with_real_jobs().stdout(&["metrics", "--prometheus"]);
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let exposed: BTreeSet<String> = types
        .map(|of| of.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(exposed.len(), 15, "{exposed:?}");
    for name in ["grafana.json", "alerts.yml"] {
        let named = metrics_named_in(&example(name));
        assert!(named.len() >= 4, "{name} names {named:?}");
        let missing: Vec<_> = named.difference(&exposed).collect();
        assert!(missing.is_empty(), "{name} names {missing:?}");
    }
    let dashboard: serde_json::Value = serde_json::from_str(&example("grafana.json")).unwrap();
    let shown = metrics_named_in(&dashboard["panels"].to_string());
    assert!(shown.contains("jobq_file_bytes"), "{shown:?}");
}
