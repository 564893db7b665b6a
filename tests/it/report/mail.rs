//! The mail of a report: once for each report, whatever the server says.

use std::fs;

use jobq::handlers::email::Email;
use jobq::{Filter, Job, JobId, JobRecord, Queue, State};
use serde_json::{Value, json};

use super::Office;
use crate::email::peers::{Peer, has_aiosmtpd};
use crate::email::server::{ScriptedServer, say};

/// A report that goes to Ann.
fn to_ann(output: &str) -> Value {
    json!({
        "name": "sales", "output": output, "recipients": "Ann <ann@x.org>",
        "queries": [{ "title": "Orders", "sql": "SELECT id, who AS customer FROM orders" }],
    })
}

fn children(queue: &Queue, id: JobId) -> Vec<JobRecord> {
    let filter = Filter {
        parent: Some(id),
        ..Filter::default()
    };
    queue.list(&filter).unwrap()
}

fn with_server(port: u16) -> Office {
    let mut office = Office::new();
    office.port = port;
    office
}

#[test]
fn a_report_is_mailed_as_others_read_it() {
    if !has_aiosmtpd() {
        return;
    }
    let peer = Peer::start("plain", &[]);
    let office = with_server(peer.port);
    let content = |part: &Value| {
        let base64 = part["content"].as_str().unwrap();
        String::from_utf8(super::decoded(base64))
            .unwrap()
            .replace("\r\n", "\n")
    };
    let kinds = |mail: &Value| -> Vec<String> {
        let parts = mail["parts"].as_array().unwrap().iter();
        parts
            .map(|part| part["type"].as_str().unwrap().to_owned())
            .collect()
    };
    office.fill("INSERT INTO orders (who) VALUES ('=1+1'), ('<b>')");
    let result = office.done(&to_ann("sales.csv"));
    assert_eq!(result.mailed_to[0].address(), "ann@x.org");
    let mail = peer.newest();
    assert_eq!(kinds(&mail), ["multipart/mixed", "text/plain", "text/csv"]);
    assert_eq!(mail["to"], json!([["Ann", "ann@x.org"]]));
    let subject = mail["headers"]["subject"].as_str().unwrap();
    assert!(
        subject.starts_with("sales 20") && subject.len() == 16,
        "{subject}"
    );
    let text = content(&mail["parts"][1]);
    assert!(
        text.contains("Orders: 5 rows\n\nThe report is attached."),
        "{text}"
    );
    assert_eq!(mail["parts"][2]["name"], "sales.csv");
    let csv = content(&mail["parts"][2]);
    assert!(csv.contains("4,\"'=1+1\"\n"), "{csv}");
    assert_eq!(csv, fs::read_to_string(office.path("sales.csv")).unwrap());

    let mut payload = to_ann("sales.html");
    payload["subject"] = json!("{name} {ext}");
    office.done(&payload);
    let mail = peer.newest();
    assert_eq!(
        kinds(&mail),
        ["multipart/alternative", "text/plain", "text/html"]
    );
    assert_eq!(mail["headers"]["subject"], "sales html");
    let text = content(&mail["parts"][1]);
    assert!(
        text.contains("id  customer\n--  --------\n 1  ann\n"),
        "{text}"
    );
    let html = content(&mail["parts"][2]);
    assert!(html.contains("<td>&lt;b&gt;</td>"), "{html}");

    office.done(&to_ann("sales.txt"));
    assert_eq!(kinds(&peer.newest()), ["text/plain"]);

    office.fill("INSERT INTO orders (who) SELECT printf('%.*c', 70000, 'x')");
    office.done(&to_ann("large.html"));
    assert_eq!(
        kinds(&peer.newest()),
        ["multipart/mixed", "text/plain", "text/html"]
    );
    assert_eq!(peer.newest()["parts"][2]["name"], "large.html");
}

#[test]
fn a_server_that_refuses_the_mail_does_not_run_the_query_again() {
    let server = ScriptedServer::that("RCPT", say("451 later"));
    let office = with_server(server.port);
    let queue = office.scene.open();
    let id = office.enqueue(&queue, &to_ann("sales.csv"));
    let run = || office.runner(&queue).run_due().unwrap();
    run();
    let mail = children(&queue, id);
    assert_eq!(mail.len(), 1);
    assert_eq!(
        (&*mail[0].kind, mail[0].state),
        (Email::KIND, State::Scheduled)
    );
    assert_eq!(mail[0].retry.max_retries, 3);
    // No query can run any more.
    fs::remove_file(office.path("app.db")).unwrap();
    let record = || queue.get(id).unwrap().unwrap();
    assert_eq!((record().state, record().attempt), (State::Waiting, 1));
    queue.cancel(mail[0].id).unwrap();
    let error = record().error.unwrap();
    assert_eq!(record().state, State::Failed);
    assert!(
        error.contains(&format!("child {} was cancelled", mail[0].id)),
        "{error}"
    );
    // To try the report again is to try its mail.
    queue.retry(id).unwrap();
    run();
    assert_eq!(record().state, State::Waiting);
    queue.cancel(mail[0].id).unwrap();
    let good = ScriptedServer::good();
    let office = Office {
        port: good.port,
        ..office
    };
    queue.retry(id).unwrap();
    office.runner(&queue).run_due().unwrap();
    assert_eq!((record().state, record().attempt), (State::Completed, 1));
    assert_eq!((children(&queue, id).len(), good.messages().len()), (1, 1));
    assert_eq!(server.messages().len(), 0);
}

#[test]
fn a_mail_that_fails_for_good_fails_the_report() {
    let server = ScriptedServer::that("RCPT", say("550 nobody here"));
    let office = with_server(server.port);
    let error = office.error(&to_ann("sales.csv"));
    assert!(error.contains("550 nobody here"), "{error}");
    assert!(office.path("sales.csv").exists());
}

#[test]
fn a_mail_belongs_to_a_report_that_completes_and_is_not_skipped() {
    let server = ScriptedServer::good();
    let office = with_server(server.port);
    let queue = office.scene.open();
    let mut wrong = to_ann("sales.csv");
    wrong["queries"][0]["sql"] = json!("SELECT nothing FROM orders");
    let mut empty = to_ann("sales.csv");
    empty["queries"][0]["sql"] = json!("SELECT id FROM orders WHERE 0");
    empty["empty"] = json!("skip");
    let mut large = to_ann("sales.csv");
    large["queries"][0]["sql"] = json!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
         SELECT printf('%.*c', 1000000, 'x') AS x FROM n"
    );
    for (payload, state) in [
        (wrong, State::Failed),
        (empty, State::Completed),
        (large, State::Failed),
    ] {
        let id = office.enqueue(&queue, &payload);
        office.runner(&queue).run_due().unwrap();
        assert_eq!(queue.get(id).unwrap().unwrap().state, state, "{payload}");
        assert!(children(&queue, id).is_empty());
        assert_eq!(office.files(""), ["app.db"]);
    }
    assert!(server.said().is_empty());
}

#[test]
fn a_mail_runs_in_the_queue_of_its_report() {
    let server = ScriptedServer::good();
    let office = with_server(server.port);
    let queue = office.scene.open();
    let payload = to_ann("sales.txt");
    let job = jobq::NewJob::new("report")
        .payload(&payload)
        .queue("reports");
    let id = queue.enqueue(job).unwrap().id;
    office.runner(&queue).queues(["reports"]).run_due().unwrap();
    assert_eq!(queue.get(id).unwrap().unwrap().state, State::Completed);
    assert_eq!(children(&queue, id)[0].queue, "reports");
    assert_eq!(server.messages().len(), 1);
}
