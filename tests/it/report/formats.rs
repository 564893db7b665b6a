//! What is written, read by programs that are not jobq's.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::{Office, query, read_by_python};

/// Rows that would end cells, rows or pages where a value is written as it is.
const NASTY: [&str; 12] = [
    "<script>alert(1)</script>",
    "</td></tr></table></body>",
    "a\"b' onload=x &amp; &lt;",
    "{{ 7 * 7 }}{% raw %}",
    "a,b;c\td",
    "line\nline\r\nline",
    "\"",
    "",
    " lead and trail ",
    "Grüße 李 🎉",
    "<!-- -->]]>",
    "\\n\\\"",
];

fn nasty() -> Office {
    let office = Office::new();
    office.fill("CREATE TABLE nasty (id INTEGER PRIMARY KEY, text TEXT, number)");
    let conn = office.connect();
    for (id, text) in NASTY.iter().enumerate() {
        let sql = "INSERT INTO nasty VALUES (?1, ?2, ?3)";
        conn.execute(sql, (id, text, -1.5 * id as f64)).unwrap();
    }
    office
}

#[test]
fn every_value_comes_back_as_it_is_in_the_database() {
    let office = nasty();
    for end in ["csv", "json", "html"] {
        let sql = "SELECT id, text, number FROM nasty ORDER BY id";
        let result = office.done(&query(sql, &format!("out/{{name}}.{end}")));
        assert_eq!(result.rows["report"], NASTY.len() as u64);
        let Some(found) = read_by_python(&office.path(&format!("out/report.{end}"))) else {
            return;
        };
        let rows = found["tables"][0].as_array().unwrap();
        assert_eq!(rows.len(), NASTY.len() + 1, "{end}");
        assert_eq!(rows[0], json!(["id", "text", "number"]), "{end}");
        for (id, (row, text)) in rows[1..].iter().zip(NASTY).enumerate() {
            assert_eq!(row[1], text, "{end}");
            let number = match &row[2] {
                Value::String(text) => text.parse().unwrap(),
                number => number.as_f64().unwrap(),
            };
            assert_eq!(number, -1.5 * id as f64, "{end}");
        }
        if end == "html" {
            let tags = found["tags"].as_array().unwrap();
            assert!(!tags.contains(&json!("script")), "{tags:?}");
        }
    }
}

#[test]
fn the_sqlite_shell_finds_the_same_rows() {
    let office = nasty();
    let sql = "SELECT id, text FROM nasty ORDER BY id";
    office.done(&query(sql, "mine.csv"));
    let shell = Command::new("sqlite3")
        .args(["-readonly", "-json"])
        .arg(office.path("app.db"))
        .arg(sql)
        .output();
    let Ok(shell) = shell else {
        eprintln!("skipped: there is no sqlite3");
        return;
    };
    let rows: Vec<Value> = serde_json::from_slice(&shell.stdout).unwrap();
    office.done(&query(sql, "mine.jsonl"));
    let lines = fs::read_to_string(office.path("mine.jsonl")).unwrap();
    let mine: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(mine, rows);
}

#[test]
fn several_queries_are_shown_under_their_titles() {
    let office = Office::new();
    let payload = |format: &str| {
        json!({ "name": "sales", "format": format, "output": "{name}.{ext}", "queries": [
            { "title": "By <customer>", "sql": "SELECT who, sum(price) AS total FROM orders GROUP BY who" },
            { "title": "Large", "sql": "SELECT id FROM orders WHERE price > :least", "params": { "least": 5 } },
            { "title": "None", "sql": "SELECT id FROM orders WHERE 0" },
        ] })
    };
    let result = office.done(&payload("json"));
    let rows = [("By <customer>", 2), ("Large", 1), ("None", 0)];
    assert!(
        rows.iter()
            .all(|(title, rows)| result.rows[*title] == *rows)
    );
    let json: Value = serde_json::from_str(&office.text(&payload("json"))).unwrap();
    let expected = json!({
        "By <customer>": [{ "who": "ann", "total": 11.5 }, { "who": "bob", "total": 2.0 }],
        "Large": [{ "id": 3 }],
        "None": [],
    });
    assert_eq!(json, expected);
    let text = office.text(&payload("text"));
    let (heading, body) = text.split_once('\n').unwrap();
    assert!(heading.starts_with("sales, 20"), "{heading}");
    let expected = "\nBy <customer> (2 rows)\n\nwho  total\n---  -----\nann   11.5\nbob    2.0\n\
                    \nLarge (1 row)\n\nid\n--\n 3\n\nNone (0 rows)\n\nid\n--\n";
    assert_eq!(body, expected);
    let html = office.text(&payload("html"));
    assert!(html.contains("<h2>By &lt;customer&gt;</h2>"), "{html}");
    let number = "<td class=\"number\" style=\"text-align: right\">11.5</td>";
    assert!(html.contains(number), "{html}");
    assert!(html.contains("<td>ann</td>"), "{html}");
    assert_eq!(html.matches("<table>").count(), 2, "the last has no rows");
    for format in ["csv", "jsonl"] {
        let error = office.error(&payload(format));
        assert!(error.contains("has the rows of one query"), "{error}");
    }
}

#[test]
fn a_text_is_a_line_for_each_row() {
    let office = nasty();
    let text = office.text(&query("SELECT text, id FROM nasty", "a.txt"));
    assert_eq!(text.lines().count(), NASTY.len() + 6, "{text}");
    let long = office.text(&query(
        "SELECT printf('%.*c', 5000, 'x') AS a, 1 AS b UNION ALL SELECT 'y', 2",
        "b.txt",
    ));
    let last = long.lines().last().unwrap();
    assert_eq!(
        last,
        format!("y{}  2", " ".repeat(59)),
        "padding has an end"
    );
}

#[test]
fn csv_that_is_mailed_has_no_formulas_and_other_csv_is_exact() {
    let office = Office::new();
    office.fill(
        "CREATE TABLE cells (id INTEGER PRIMARY KEY, cell);
         INSERT INTO cells (cell) VALUES ('=cmd|'' /C calc''!A0'), ('+1+1'), ('-1+1'), ('@SUM(A1)'),
            (char(9) || '=1'), (char(13) || '=1'), (char(10) || '=1'), ('-12.5'), (-12.5), (-3), ('plain'),
            ('a;=1'), ('\"=1\"'), ('＝1');",
    );
    let sql = "SELECT cell AS \"=name\" FROM cells ORDER BY id";
    let cells = |payload: &Value| {
        let result = office.done(payload);
        let found = read_by_python(&result.path.unwrap())?;
        let rows = found["tables"][0].as_array().unwrap().clone();
        Some(
            rows.into_iter()
                .map(|row| row[0].as_str().unwrap().to_owned())
                .collect::<Vec<_>>(),
        )
    };
    let safe = json!({ "queries": [{ "sql": sql }], "csv_safe": true, "output": "safe.csv" });
    let (Some(exact), Some(safe)) = (cells(&query(sql, "exact.csv")), cells(&safe)) else {
        return;
    };
    assert_eq!(exact.len(), 15);
    for (exact, safe) in exact.iter().zip(&safe) {
        let is_number = exact.parse::<f64>().is_ok();
        let is_formula =
            |text: &str| text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝']);
        assert!(is_number || !is_formula(safe), "{safe:?}");
        match is_formula(exact) && !is_number {
            true => assert_eq!(*safe, format!("'{exact}")),
            false => assert_eq!(safe, exact),
        }
    }
}
