//! Reports by name, their files and templates, and what the settings keep payloads from.

use std::fs;
use std::os::unix::fs::symlink;

use jobq::handlers::built_in::BuiltInKind;
use jobq::handlers::report::ReportSettings;
use serde_json::{Value, json};

use super::{Office, query};

fn with_weekly() -> Office {
    Office::new().set(
        "reports",
        json!({ "weekly": {
            "queries": [{ "title": "Orders", "sql": "SELECT * FROM orders" }],
            "format": "json", "output": "weekly/{name}.{ext}",
        }, "daily": { "queries": [{ "sql": "SELECT 1 AS one" }] } }),
    )
}

#[test]
fn a_payload_names_a_report_of_the_settings() {
    let office = with_weekly();
    let result = office.done(&json!({ "type": "weekly" }));
    assert_eq!(result.path, Some(office.path("weekly/weekly.json")));
    assert_eq!(result.rows["Orders"], 3);
    let result = office.done(&json!({ "name": "weekly", "format": "csv", "output": "w.{ext}" }));
    assert_eq!(result.path, Some(office.path("w.csv")));
    let csv = fs::read_to_string(office.path("w.csv")).unwrap();
    assert!(
        csv.starts_with("id,who,price,note\n1,ann,1.5,\n2,bob,2.0,00ff\n"),
        "{csv}"
    );
    let result = office.done(&json!({ "name": "daily" }));
    let name = result
        .path
        .unwrap()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let date = name
        .strip_prefix("daily-")
        .unwrap()
        .strip_suffix(".csv")
        .unwrap();
    assert_eq!(date.len(), "2026-11-28".len());
    for (name, why) in [
        ("weekyl", "has no 'weekyl'; did you mean 'weekly'?"),
        (
            "yearly-sales",
            "has no 'yearly-sales'; it has daily, weekly",
        ),
    ] {
        let error = office.error(&json!({ "name": name }));
        assert!(error.contains(why), "{error}");
    }
    let own = json!({ "name": "weekly", "queries": [{ "sql": "SELECT 1" }] });
    let error = office.error(&own);
    assert!(error.contains("has queries of its own"), "{error}");
}

#[test]
fn settings_may_keep_payloads_to_named_reports() {
    let office = with_weekly().set("only_named", true);
    office.done(&json!({ "type": "weekly", "format": "html", "max_rows": 5 }));
    for (field, value) in [
        ("queries", json!([{ "sql": "SELECT 1" }])),
        ("database", json!("/etc/app.db")),
        ("output", json!("/etc/x")),
        ("template", json!("x")),
    ] {
        let error = office.error(&json!({ "name": "other", field: value }));
        let why = format!("may not have '{field}': [kinds.report.settings] says only_named");
        assert!(error.contains(&why), "{error}");
    }
}

#[test]
fn a_report_that_makes_no_sense_is_refused() {
    let kind = BuiltInKind::named("report").unwrap();
    let one = json!([{ "sql": "SELECT 1" }]);
    let two = json!([{ "title": "a", "sql": "SELECT 1" }, { "title": "b", "sql": "SELECT 1" }]);
    let many: Vec<String> = (0..101).map(|number| format!("a{number}@x.org")).collect();
    for (payload, why) in [
        (json!({}), "'queries' is missing, and so is 'name'"),
        (json!({ "name": "a/b" }), "no slash"),
        (json!({ "name": ".a" }), "no dot"),
        (json!({ "name": "a\nb" }), "no control character"),
        (json!({ "name": "a", "template": "../b" }), "no slash"),
        (
            json!({ "queries": one, "output": "{day}.csv" }),
            "no other braces",
        ),
        (
            json!({ "queries": one, "output": "{name" }),
            "no other braces",
        ),
        (json!({ "queries": one, "output": "" }), "'output' is ''"),
        (json!({ "queries": one, "subject": "{x}" }), "'subject'"),
        (json!({ "queries": one, "max_rows": 0 }), "at least 1"),
        (json!({ "queries": one, "format": "xlsx" }), "xlsx"),
        (
            json!({ "queries": one, "template": "a" }),
            "'template' goes with",
        ),
        (json!({ "queries": one, "recipients": "a" }), "no '@'"),
        (
            json!({ "queries": one, "recipients": many }),
            "more than 100",
        ),
        (
            json!({ "queries": one, "recipients": "a@x.org", "subject": "a\nb" }),
            "line break",
        ),
        (json!({ "queries": two }), "the rows of one query"),
        (
            json!({ "queries": two, "output": "a.jsonl" }),
            "the rows of one query",
        ),
        (
            json!({ "queries": [one[0], one[0]], "format": "json" }),
            "needs a 'title'",
        ),
        (
            json!({ "queries": [two[0], two[0]], "format": "json" }),
            "two queries have the title 'a'",
        ),
    ] {
        let error = kind.check(&payload.to_string()).unwrap_err().to_string();
        assert!(error.contains(why), "{payload}: {error}");
        // The same of a report of the settings.
        if payload["queries"].is_array() {
            let settings = json!({ "reports": { "x": payload } });
            let error = serde_json::from_value::<ReportSettings>(settings)
                .unwrap_err()
                .to_string();
            assert!(error.contains(why), "{payload}: {error}");
        }
    }
    kind.check(r#"{"type":"weekly","recipients":["a@x"],"maxRows":5,"csvSafe":false}"#)
        .unwrap();
}

#[test]
fn a_report_of_the_settings_has_queries_and_no_other_name() {
    let one = json!([{ "sql": "SELECT 1" }]);
    for (report, why) in [
        (
            json!({ "name": "y", "queries": one }),
            "its table has its name",
        ),
        (json!({}), "'queries' is missing"),
    ] {
        let settings = json!({ "reports": { "x": report } });
        let error = serde_json::from_value::<ReportSettings>(settings)
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("reports.x: {why}")), "{error}");
    }
}

#[test]
fn a_report_takes_the_place_of_nothing_but_a_report() {
    let office = Office::new();
    fs::create_dir(office.path("folder")).unwrap();
    let own = office.scene.database();
    let log = office.scene.log_of_writes();
    symlink(office.path("app.db"), office.path("link.csv")).unwrap();
    let before = fs::read(office.path("app.db")).unwrap();
    for (output, why) in [
        (own.to_str().unwrap(), "the queue's own file"),
        (log.to_str().unwrap(), "the queue's own file"),
        ("app.db", "the database that is queried"),
        ("folder/../app.db", "the database that is queried"),
        ("link.csv", "the database that is queried"),
        ("folder", "it is a folder"),
        ("none/none/a.csv", "No such file"),
        ("app.db/a.csv", "Not a directory"),
    ] {
        let queue = office.scene.open();
        let payload =
            json!({ "queries": [{ "sql": "SELECT 1" }], "output": output, "format": "csv" });
        let id = office.enqueue(&queue, &payload);
        office.runner(&queue).run_due().unwrap();
        let error = queue.get(id).unwrap().unwrap().error.unwrap();
        assert!(error.contains(why), "{output}: {error}");
    }
    assert!(fs::read(office.path("app.db")).unwrap() == before);
    office.done(&query("SELECT 1", "made/a.csv"));
    assert_eq!(office.files("made"), ["a.csv"]);
}

#[test]
fn roots_limit_the_database_and_the_output() {
    let office = Office::new().set("roots", json!(["in"]));
    fs::create_dir(office.path("in")).unwrap();
    fs::copy(office.path("app.db"), office.path("in/app.db")).unwrap();
    symlink(office.path("app.db"), office.path("in/link.db")).unwrap();
    let payload = |database: &str, output: &str| json!({ "queries": [{ "sql": "SELECT 1" }], "database": database, "output": output });
    for (database, output) in [
        ("app.db", "in/a.csv"),
        ("in/link.db", "in/a.csv"),
        ("in/../app.db", "in/a.csv"),
        ("in/app.db", "a.csv"),
        ("in/app.db", "in/../a.csv"),
        ("in/app.db", "made/a.csv"),
    ] {
        let error = office.error(&payload(database, output));
        let why = "is not below the 'roots' of [kinds.report.settings]";
        assert!(error.contains(why), "{database} {output}: {error}");
    }
    office.done(&payload("in/app.db", "in/made/a.csv"));
    assert_eq!(office.files("in/made"), ["a.csv"]);
    assert_eq!(office.files(""), ["app.db", "in"]);
    for (database, why) in [
        ("in/none.db", "No such file"),
        ("in", "it is not a file"),
        ("in/made/a.csv", "not a SQLite database"),
    ] {
        let error = office.error(&payload(database, "in/b.csv"));
        assert!(error.contains(why), "{database}: {error}");
    }
}

#[test]
fn an_own_template_gets_the_rows() {
    let office = Office::new().set("templates", "templates");
    fs::create_dir(office.path("templates")).unwrap();
    let payload = |template: &str, end: &str| -> Value {
        json!({ "name": "a<b", "template": template, "output": format!("x.{end}"), "queries": [
            { "title": "t", "sql": "SELECT id, who || '<' AS who, note FROM orders ORDER BY id" },
        ] })
    };
    for (file, text) in [
        (
            "a.html",
            "{{ name }}|{% for q in queries %}{{ q.title }} {{ q.count }}:{% for r in q.rows %}{{ r.who }},{{ r[0] + 1 }},{{ r.note }};{% endfor %}{% endfor %}{% include 'foot.html' %}",
        ),
        (
            "foot.html",
            "{{ queries[0].columns | map(attribute='name') | join(' ') }}{{ queries[0].columns[0].number }}{{ date | length }}{{ time | length }}",
        ),
        (
            "a.txt",
            "{{ name }}{% for r in queries[0].rows %} {{ r | join('/') }}{% endfor %}",
        ),
        ("missing.html", "{{ queries[0].rows[0].whom }}"),
        (
            "endless.html",
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        ),
        ("broken.html", "{% for %}"),
    ] {
        fs::write(office.path("templates").join(file), text).unwrap();
    }
    let html = office.text(&payload("a", "html"));
    let expected = "a&lt;b|t 3 rows:ann&lt;,2,;bob&lt;,3,00ff;ann&lt;,4,7;id who noteTrue105";
    assert_eq!(html, expected);
    assert_eq!(
        office.text(&payload("a", "txt")),
        "a<b 1/ann</None 2/bob</00ff 3/ann</7"
    );
    fs::remove_file(office.path("x.html")).unwrap();
    for (template, why) in [
        ("missing", "undefined"),
        ("endless", "fuel"),
        ("broken", "broken.html:1"),
        ("other", "there is no template other.html in"),
    ] {
        let error = office.error(&payload(template, "html"));
        assert!(error.contains(why), "{template}: {error}");
        assert!(!office.path("x.html").exists());
    }
    let office = Office::new();
    let error = office.error(&payload("a", "html"));
    assert!(
        error.contains("'templates' in [kinds.report.settings]"),
        "{error}"
    );
}

#[test]
fn an_empty_report_is_written_or_skipped() {
    let office = Office::new();
    let payload = |empty: &str| json!({ "queries": [{ "sql": "SELECT id FROM orders WHERE 0" }], "empty": empty, "output": "a.csv" });
    let skipped = office.done(&payload("skip"));
    assert_eq!((skipped.path, skipped.rows["report"]), (None, 0));
    assert_eq!(office.files(""), ["app.db"]);
    assert_eq!(office.text(&payload("send")), "id\n");
    let some =
        json!({ "queries": [{ "sql": "SELECT 1 AS x" }], "empty": "skip", "output": "b.csv" });
    assert_eq!(office.text(&some), "x\n1\n");
}
