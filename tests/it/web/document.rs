//! The document of the API against what the server answers.

use jobq::{NewJob, Schedule};
use serde_json::Value;

use super::client::Site;

/// What of a value does not fit a schema.
fn misfits(value: &Value, schema: &Value, all: &Value, at: &str) -> Vec<String> {
    if let Some(to) = schema["$ref"].as_str() {
        let name = to.rsplit('/').next().unwrap();
        return misfits(value, &all["components"]["schemas"][name], all, at);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let fits = |choice: &Value| misfits(value, choice, all, at).is_empty();
        return if choices.iter().any(fits) {
            Vec::new()
        } else {
            vec![format!("{at}: no choice fits {value}")]
        };
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(some) => some.iter().map(|one| one.as_str().unwrap()).collect(),
        _ => return Vec::new(),
    };
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is_number = is == "integer" && types.contains(&"number");
    if !types.contains(&is) && !is_number {
        return vec![format!("{at}: {is} in place of {types:?}")];
    }
    let mut found = Vec::new();
    if let (Some(items), Some(each)) = (value.as_array(), schema.get("items")) {
        for (index, item) in items.iter().enumerate() {
            found.extend(misfits(item, each, all, &format!("{at}[{index}]")));
        }
    }
    if let Some(fields) = value.as_object() {
        let required = schema["required"].as_array().into_iter().flatten();
        for name in required
            .filter_map(Value::as_str)
            .filter(|name| !fields.contains_key(*name))
        {
            found.push(format!("{at}: {name} is missing"));
        }
        for (name, field) in fields {
            if let Some(schema) = schema["properties"].get(name) {
                found.extend(misfits(field, schema, all, &format!("{at}.{name}")));
            }
        }
    }
    found
}

const NONE: [String; 0] = [];

#[test]
fn a_value_that_does_not_fit_its_schema_is_found() {
    let schema = serde_json::json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}});
    let of = |value: Value| misfits(&value, &schema, &Value::Null, "v");
    assert_eq!(of(serde_json::json!({"id": 1})), NONE);
    assert_eq!(
        of(serde_json::json!({"id": "1"})),
        ["v.id: string in place of [\"integer\"]"]
    );
    assert_eq!(of(serde_json::json!({})), ["v: id is missing"]);
}

#[test]
fn every_example_fits_its_schema() {
    let site = Site::new();
    let document = site.get("/api/v1/openapi.json").is(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert!(schemas.len() > 30);
    for (name, schema) in schemas {
        let example = &schema["examples"][0];
        assert!(!example.is_null(), "{name} has no example");
        assert_eq!(misfits(example, schema, &document, name), NONE);
    }
}

#[test]
fn every_answer_fits_the_document() {
    let site = Site::new();
    let job = NewJob::new("k").tag("a", "b").payload(&1);
    site.queue.enqueue(job).unwrap();
    let failing = crate::support::by(|ctx: &jobq::Context| {
        ctx.log(jobq::Level::Info, "working");
        jobq::Outcome::Fail {
            error: "7 of 9 rows".into(),
        }
    });
    site.queue.runner().kind("k", failing).run_due().unwrap();
    site.queue.enqueue(NewJob::new("k").queue("mail")).unwrap();
    let schedule = Schedule::new("some", "0 2 * * *", NewJob::new("k"));
    site.queue.add_schedule(schedule).unwrap();
    site.queue.run_schedule("some").unwrap();
    let document = site.get("/api/v1/openapi.json").is(200).json();
    let mut checked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let Some(operation) = methods.get("get") else {
            continue;
        };
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        let path = path.replace("{id}", "1").replace("{name}", "mail");
        let answer = site.get(&path);
        if answer.header("content-type") != Some("application/json") || schema.is_null() {
            continue;
        }
        assert_eq!(
            misfits(&answer.json(), schema, &document, &path),
            NONE,
            "{}",
            answer.text()
        );
        checked += 1;
    }
    assert!(checked > 15, "{checked}");
    for (path, name) in [("/api/v1/nothing", "404"), ("/api/v1/jobs?x=1", "422")] {
        let answer = site.get(path);
        assert_eq!(answer.status.to_string(), name);
        let schema = &document["components"]["schemas"]["Problem"];
        assert_eq!(misfits(&answer.json(), schema, &document, path), NONE);
    }
}

#[test]
fn the_document_names_the_parameters_of_each_path() {
    let site = Site::new();
    let document = site.get("/api/v1/openapi.json").is(200).json();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().unwrap();
            let in_path = parameters
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .count();
            assert_eq!(in_path, path.matches('{').count(), "{method} {path}");
        }
    }
}
