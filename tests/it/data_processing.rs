//! The kind `data_processing`, on real files.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jobq::handlers::built_in::{BuiltIn, BuiltInKind, NoSettings};
use jobq::handlers::data_processing::{DataProcessing, DataResult};
use jobq::rusqlite::Connection;
use jobq::{Job, JobRecord, NewJob, State, Until};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use crate::support::names;
use crate::support::place::Scene;

struct Desk {
    scene: Scene,
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Desk {
        Desk {
            scene: Scene::new(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn run(&self, payload: &Value) -> JobRecord {
        let queue = self.scene.open();
        let job = NewJob::new(DataProcessing::KIND)
            .payload(payload)
            .max_retries(0);
        let id = queue.enqueue(job).unwrap().id;
        let handler = BuiltIn::<DataProcessing>::new(NoSettings {});
        let runner = queue.runner().kind(DataProcessing::KIND, handler);
        runner.run_due().unwrap();
        queue.get(id).unwrap().unwrap()
    }

    fn done(&self, payload: &Value) -> DataResult {
        let job = self.run(payload);
        assert_eq!(job.state, State::Completed, "{job:?}");
        serde_json::from_str(job.result.unwrap().get()).unwrap()
    }

    fn error(&self, payload: &Value) -> String {
        let job = self.run(payload);
        assert_eq!(job.state, State::Failed, "{job:?}");
        job.error.unwrap()
    }

    /// What a query makes of one input.
    fn query(&self, input: Value, sql: &str) -> Value {
        json!({ "inputs": [input], "sql": sql, "output": { "path": self.path("out.json") } })
    }

    fn answer(&self, input: Value, sql: &str) -> Value {
        self.done(&self.query(input, sql));
        serde_json::from_str(&fs::read_to_string(self.path("out.json")).unwrap()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        names(self.folder.path())
    }
}

#[test]
fn tables_of_several_formats_are_joined_into_every_format() {
    let desk = Desk::new();
    let orders = desk.file(
        "orders.csv",
        "who,price\nann,1.5\nbob,2\nann,\n\"x, \"\"y\"\"\",3\n",
    );
    let people = desk.file(
        "people.jsonl",
        "{\"name\":\"ann\",\"age\":41}\n\n{\"name\":\"bob\"}\n",
    );
    let cities = desk.file("c.json", "[{\"name\":\"ann\",\"city\":\"Ulm\"}]");
    let payload = |to: &str| {
        json!({
            "inputs": [
                { "path": orders, "types": { "price": "float" } },
                { "path": people },
                { "path": cities, "table": "cities" },
            ],
            "sql": "SELECT who, age, city, total(price) AS sum FROM orders
                    LEFT JOIN people ON people.name = who LEFT JOIN cities USING (name)
                    GROUP BY who ORDER BY who",
            "output": { "path": desk.path(to) },
        })
    };
    let result = desk.done(&payload("out.csv"));
    assert_eq!(result.read["orders"], 4);
    assert_eq!(
        (result.read["people"], result.read["cities"], result.rows),
        (2, 1, 3)
    );
    let written = fs::read_to_string(&result.path).unwrap();
    let expected = "who,age,city,sum\nann,41,Ulm,1.5\nbob,,,2.0\n\"x, \"\"y\"\"\",,,3.0\n";
    assert_eq!(written, expected);
    assert_eq!(result.bytes, written.len() as u64);
    desk.done(&payload("out.jsonl"));
    let lines = fs::read_to_string(desk.path("out.jsonl")).unwrap();
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(
        first,
        json!({ "who": "ann", "age": 41, "city": "Ulm", "sum": 1.5 })
    );
    assert_eq!(lines.lines().count(), 3);
    for _ in 0..2 {
        desk.done(&payload("out.db"));
        let conn = Connection::open(desk.path("out.db")).unwrap();
        let sum: f64 = conn
            .query_row("SELECT sum(sum) FROM rows", [], |row| row.get(0))
            .unwrap();
        assert!((sum - 6.5).abs() < 1e-9);
    }
    let names = [
        "c.json",
        "orders.csv",
        "out.csv",
        "out.db",
        "out.jsonl",
        "people.jsonl",
    ];
    assert_eq!(desk.names(), names);
}

#[test]
fn values_keep_their_types() {
    let desk = Desk::new();
    let csv = desk.file("a.csv", "id,n,f,b\n007,1,1,yes\n08,,,\n");
    let types = json!({ "n": "int", "f": "float", "b": "bool" });
    let rows = desk.answer(json!({ "path": csv, "types": types }), "SELECT * FROM a");
    let expected = json!([
        { "id": "007", "n": 1, "f": 1.0, "b": 1 },
        { "id": "08", "n": null, "f": null, "b": null },
    ]);
    assert_eq!(rows, expected);
    let json = desk.file(
        "b.json",
        r#"[{"a":1},{"a":9223372036854775807,"b":true},{"c":[1,{"d":null}],"a":1e300,"b":"x"}]"#,
    );
    let rows = desk.answer(json!({ "path": json }), "SELECT a, b, c FROM b");
    let expected = json!([
        { "a": 1, "b": null, "c": null },
        { "a": 9_223_372_036_854_775_807_i64, "b": 1, "c": null },
        { "a": 1e300, "b": "x", "c": "[1,{\"d\":null}]" },
    ]);
    assert_eq!(rows, expected);
}

#[test]
fn an_input_that_does_not_fit_is_named_with_its_line() {
    let desk = Desk::new();
    let refuses = |name: &str, text: &str, types: Value, why: &str| {
        let path = desk.file(name, text);
        let input = json!({ "path": path, "types": types, "table": "a" });
        let error = desk.error(&desk.query(input, "SELECT * FROM a"));
        assert!(error.contains(&format!("{name}{why}")), "{text:?}: {error}");
    };
    let int = || json!({ "n": "int" });
    let none = || json!({});
    let not_int = ":3: column 'n': 'x' is not an int";
    refuses("a.csv", "n\n1\nx\n", int(), not_int);
    refuses(
        "a.csv",
        "n,m\n1,2\n3\n",
        none(),
        ":3: it has 1 cells, not 2",
    );
    refuses("a.csv", "n,N\n", none(), ":1: two columns are named 'n'");
    let lacks = json!({ "m": "int" });
    refuses("a.csv", "n\n1\n", lacks, ": 'types' names 'm'");
    refuses("a.csv", "", none(), ": it has no rows");
    refuses("a.jsonl", "{\"n\":1}\n{\"n\":\n", none(), ":2: EOF");
    refuses("a.jsonl", "{\"n\":1}\n[1]\n", none(), ":2: invalid type");
    let fraction = ":1: column 'n': '1.5'";
    refuses("a.jsonl", "{\"n\":1.5}\n", int(), fraction);
    refuses("a.jsonl", "{}\n", none(), ":1: it has no fields");
    let twice = "{\"n\":1}\n{\"n\":2,\"N\":3}\n";
    refuses("a.jsonl", twice, none(), ":2: duplicate column name");
    let cut = "[{\"n\":1},\n{\"n\":]";
    refuses("a.json", cut, none(), ":2: expected value");
    refuses("a.json", "{\"n\":1}", none(), ":1: invalid type: map");
    let bool = json!({ "n": "bool" });
    refuses("a.json", "[{\"n\":[]}]", bool, ": row 1: column 'n': '[]'");
}

#[test]
fn an_input_that_is_missing_fails_the_job() {
    let desk = Desk::new();
    let missing = json!({ "path": desk.path("none.csv") });
    let error = desk.error(&desk.query(missing, "SELECT 1"));
    assert!(error.contains("none.csv: No such file"), "{error}");
    assert!(!desk.path("out.json").exists());
}

#[test]
fn an_input_without_rows_has_the_columns_of_its_types() {
    let desk = Desk::new();
    let types = json!({ "n": "int", "m": "text" });
    for (name, text) in [("a.json", "[]"), ("a.jsonl", "\n")] {
        let input = json!({ "path": desk.file(name, text), "types": types });
        let rows = desk.answer(input, "SELECT count(n) AS n, count(m) AS m FROM a");
        assert_eq!(rows, json!([{ "n": 0, "m": 0 }]));
    }
}

#[test]
fn what_is_no_file_of_the_jobs_own_is_refused() {
    let desk = Desk::new();
    let queue = desk.scene.open();
    let input = desk.file("a.csv", "n\n1\n");
    let pipe = desk.path("pipe.csv");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let database = desk.scene.database();
    for (path, format, why) in [
        (&pipe, "csv", "it is not a file"),
        (&database, "csv", "it is the queue's own file"),
    ] {
        let input = json!({ "path": path, "format": format, "table": "a" });
        let error = desk.error(&desk.query(input, "SELECT * FROM a"));
        assert!(error.contains(why), "{error}");
    }
    for (output, why) in [
        (&input, "the output is an input, too"),
        (&database, "it is the queue's own file"),
    ] {
        let error = desk.error(&json!({
            "inputs": [{ "path": input }], "sql": "SELECT * FROM a",
            "output": { "path": output, "format": "csv" },
        }));
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(fs::read_to_string(&input).unwrap(), "n\n1\n");
    drop(queue);
}

#[test]
fn a_query_reaches_nothing_but_the_tables() {
    let desk = Desk::new();
    let other = desk.path("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE secret (x)")
        .unwrap();
    let input = desk.file("a.csv", "n\n1\n");
    let attach = format!("ATTACH '{}' AS o", other.display());
    let vacuum = format!("VACUUM INTO '{}'", desk.path("stolen.db").display());
    let written = desk.path("out.json");
    for sql in [
        &*attach,
        &vacuum,
        "PRAGMA database_list",
        "SELECT * FROM pragma_database_list",
        "SELECT load_extension('x')",
        "DELETE FROM a",
        "DELETE FROM a RETURNING n",
        "CREATE TABLE b (n)",
        "INSERT INTO a VALUES (2)",
        "SELECT 1; DELETE FROM a",
        "BEGIN",
        "",
        "SELECT nothing FROM a",
    ] {
        let error = desk.error(&desk.query(json!({ "path": input }), sql));
        assert!(!error.is_empty() && !written.exists(), "{sql}: {error}");
    }
    assert_eq!(desk.names(), ["a.csv", "other.db"]);
    let recursive = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3)
                     SELECT group_concat(i) AS all_of_them FROM n";
    let rows = desk.answer(json!({ "path": input }), recursive);
    assert_eq!(rows, json!([{ "all_of_them": "1,2,3" }]));
}

#[test]
fn a_payload_for_data_that_makes_no_sense_is_refused() {
    let kind = BuiltInKind::named("data_processing").unwrap();
    let output = json!({ "path": "out.csv" });
    for (inputs, output, why) in [
        (json!([]), &output, "'inputs' is empty"),
        (
            json!([{ "path": "a" }]),
            &output,
            "'a' does not tell its format",
        ),
        (json!([{ "path": "a.db" }]), &output, "an input is"),
        (
            json!([{ "path": "a.csv" }, { "path": "b/A.csv" }]),
            &output,
            "two tables",
        ),
        (
            json!([{ "path": "sqlite_a.csv" }]),
            &output,
            "cannot be named",
        ),
        (
            json!([{ "path": "a.csv", "types": { "n": "date" } }]),
            &output,
            "'date'",
        ),
        (
            json!([{ "path": "a.csv" }]),
            &json!({ "path": "out" }),
            "'out' does not tell",
        ),
    ] {
        let payload = json!({ "inputs": inputs, "sql": "SELECT 1", "output": output });
        let error = kind.check(&payload.to_string()).unwrap_err().to_string();
        assert!(error.contains(why), "{payload}: {error}");
    }
}

#[test]
fn reading_and_a_query_stop_when_they_are_told_to() {
    let desk = Desk::new();
    let small = desk.file("small.csv", "n\n1\n");
    let large = desk.path("large.csv");
    let mut file = std::io::BufWriter::new(fs::File::create(&large).unwrap());
    writeln!(file, "n,m").unwrap();
    for number in 0..3_000_000 {
        writeln!(file, "{number},{number}").unwrap();
    }
    drop(file);
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    for (input, sql) in [(&large, "SELECT 1"), (&small, endless)] {
        let queue = desk.scene.open();
        let timeout = Duration::from_millis(200);
        let job = NewJob::new(DataProcessing::KIND)
            .payload(&desk.query(json!({ "path": input }), sql))
            .max_retries(0)
            .timeout(timeout);
        let id = queue.enqueue(job).unwrap().id;
        let handler = BuiltIn::<DataProcessing>::new(NoSettings {});
        let runner = queue.runner().kind(DataProcessing::KIND, handler);
        let begun = Instant::now();
        let runner = runner.until(Until::Drained).start().unwrap();
        runner.wait().unwrap();
        let took = begun.elapsed();
        let error = queue.get(id).unwrap().unwrap().error.unwrap_or_default();
        assert!(error.starts_with("timed out after"), "{sql}: {error}");
        assert!(took < timeout + Duration::from_secs(1), "{sql}: {took:?}");
        assert_eq!(desk.names(), ["large.csv", "small.csv"]);
    }
}
