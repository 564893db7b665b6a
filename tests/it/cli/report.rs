//! The kind `report`, as `jobq run` runs it.

use std::collections::HashSet;
use std::fs;

use serde_json::{Value, json};

use super::support::{Jobq, text};
use crate::email::server::ScriptedServer;
use crate::support::{PATIENCE, wait_until};

const CONFIG: [&str; 2] = ["--config", "etc/jobq.toml"];
const ROWS: usize = 20_000;

/// With a named report on the queue, and two of many rows, which are mailed: one of them takes a second.
fn with_reports(port: u16) -> Jobq {
    let jobq = Jobq::new();
    fs::create_dir(jobq.path("etc")).unwrap();
    let numbers = |name, last| {
        format!("{name}(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM {name} WHERE i < {last})")
    };
    let rows = format!("WITH RECURSIVE {}", numbers("n", ROWS));
    let slow = format!("{rows}, {}", numbers("s", 3_000_000));
    jobq.write(
        "etc/jobq.toml",
        format!(
            "[kinds.report]\nretries = 2\n\
             [kinds.report.settings]\nto = 'reports'\n\
             [kinds.report.settings.reports.failed]\nformat = 'json'\n\
             queries = [{{ sql = \"SELECT id, error FROM jobq_jobs WHERE state = 'failed'\" }}]\n\
             [kinds.report.settings.reports.rows]\nrecipients = ['ann@x.org']\n\
             queries = [{{ sql = \"{rows} SELECT i FROM n\" }}]\n\
             [kinds.report.settings.reports.slow]\nrecipients = ['ann@x.org']\n\
             queries = [{{ sql = \"{slow} SELECT i FROM n WHERE i < (SELECT max(i) FROM s)\" }}]\n\
             [kinds.email.settings.servers.default]\nhost = '127.0.0.1'\nport = {port}\ntls = 'none'\n\
             from = 'jobs@x.org'\n"
        ),
    );
    jobq
}

fn enqueue(jobq: &Jobq, payload: &Value) -> i64 {
    let payload = payload.to_string();
    jobq.enqueue(&[&CONFIG[..], &["--kind", "report", "--payload", &payload]].concat())
}

#[test]
fn a_report_of_the_config_file_is_written_beside_it() {
    let jobq = with_reports(1);
    let failed = jobq.enqueue(&["--retries", "0", "--", "false"]);
    jobq.drain(&CONFIG).exits(4);
    let id = enqueue(&jobq, &json!({ "type": "failed" }));
    let job = jobq.job(id);
    assert_eq!(
        (&job["max_retries"], &job["timeout_ms"]),
        (&json!(2), &json!(600_000))
    );
    jobq.drain(&CONFIG).exits(0);
    let result = jobq.job(id)["result"].clone();
    let path = text(&result["path"]);
    let expected = jobq.path("etc/reports/failed-");
    assert!(path.starts_with(expected.to_str().unwrap()), "{path}");
    let rows: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(rows, json!([{ "id": failed, "error": "exit code 1" }]));
    let id = enqueue(&jobq, &json!({ "type": "faild" }));
    jobq.drain(&CONFIG).exits(4);
    let error = text(&jobq.job(id)["error"]);
    assert!(error.contains("did you mean 'failed'?"), "{error}");
}

#[test]
fn a_misspelt_report_is_refused_before_it_is_enqueued() {
    let jobq = Jobq::new();
    let payload = r#"{"name":"x","recipient":"a@x.org"}"#;
    let call = ["enqueue", "--kind", "report", "--payload", payload];
    jobq.run(&call).fails(
        2,
        &["unknown field 'recipient'", "did you mean 'recipients'?"],
    );
    jobq.write(
        "jobq.toml",
        "[kinds.report.settings.reports.weekly]\nqueries = [{ sql = 'SELECT 1' }]\noutput = '{day}.csv'",
    );
    jobq.run(&["run", "--drain"])
        .fails(2, &["kind report", "reports.weekly", "'{day}.csv'"]);
}

#[test]
fn a_killed_runner_leaves_whole_files_and_one_mail_of_each() {
    const REPORTS: usize = 4;
    let server = ScriptedServer::good();
    let jobq = with_reports(server.port);
    let folder = jobq.path("etc/reports");
    let files = || {
        let entries = fs::read_dir(&folder).into_iter().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let mut ids = Vec::new();
    let mut expected = Vec::new();
    for round in 0..REPORTS {
        for number in 0..REPORTS {
            let name = format!("{round}-{number}.csv");
            let report = if number == 0 { "slow" } else { "rows" };
            let payload = json!({ "name": report, "output": format!("reports/{name}") });
            ids.push(enqueue(&jobq, &payload));
            expected.push(name);
        }
        let before = files().len();
        let runner = jobq.runner(&CONFIG);
        // Between its name and the end of the attempt a file is whole, and the mail is not there yet.
        wait_until("some files", PATIENCE, || files().len() >= before + round);
        runner.kill();
        for name in files() {
            let lines = fs::read_to_string(folder.join(&name)).unwrap();
            assert_eq!(lines.lines().count(), ROWS + 1, "{name}");
        }
        jobq.drain(&CONFIG).exits(0);
    }
    assert_eq!(files(), expected, "and nothing else");
    let (mut mails, mut killed) = (HashSet::new(), 0);
    for id in &ids {
        let job = jobq.job(*id);
        assert_eq!(job["state"], "completed", "{job}");
        killed += usize::from(job["attempt"] != 1);
        let size = fs::metadata(text(&job["result"]["path"])).unwrap().len();
        assert_eq!(job["result"]["bytes"], size);
        let children = jobq.json_lines(&["list", "--parent", &id.to_string()]);
        assert_eq!(children.len(), 1, "{children:?}");
        mails.insert(text(
            &jobq.job(children[0]["id"].as_i64().unwrap())["result"]["message_id"],
        ));
    }
    assert_eq!(mails.len(), REPORTS * REPORTS);
    assert!(killed >= REPORTS, "only {killed} reports were killed");
    let sent: HashSet<String> = server
        .messages()
        .iter()
        .map(|message| {
            let (_, rest) = message.split_once("Message-ID: ").unwrap();
            rest.split_once("\r\n").unwrap().0.to_owned()
        })
        .collect();
    assert_eq!(sent, mails);
}
