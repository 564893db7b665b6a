//! The document of the API (OpenAPI 3.1), made of the table of routes and of the schemas.

use serde_json::{Map, Value, json};

use crate::web::api::schemas::SCHEMAS;
use crate::web::problem::PROBLEMS;
use crate::web::response::Response;
use crate::web::routes::{Answered, Does, Freshness, Request, Route};
use crate::web::table::ROUTES;

/// `GET /openapi.json`.
pub(crate) fn document(_: &Request<'_>) -> Answered {
    Ok(Response::json(&openapi()))
}

/// The whole document.
fn openapi() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_lowercase()] = operation(route);
    }
    let schemas: Map<String, Value> = SCHEMAS
        .iter()
        .map(|schema| (schema.name.to_owned(), schema.value()))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "jobq",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The HTTP API of a jobq file. Times are RFC 3339 in UTC, durations milliseconds.",
        },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "parameters": parameters(route),
        "responses": answers(route),
    });
    // The live socket has its token as its first message.
    if let Does::Open(_) | Does::Connect(_) = route.does {
        operation["security"] = json!([]);
    }
    if let Some(takes) = route.takes {
        operation["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": reference(takes) } },
        });
    } else if matches!(route.does, Does::Change(_)) && route.method != "DELETE" {
        operation["requestBody"] = json!({
            "required": true,
            "description": "Not read, and it may have no bytes: only its Content-Type is needed",
            "content": { "application/json": { "schema": {} } },
        });
    }
    operation
}

fn answers(route: &Route) -> Value {
    let (status, gives) = route.gives;
    let mut answers = json!({ "default": problem() });
    answers[status.to_string()] = answer(status, gives);
    // A job that the unique key had already, a dry run, a schedule that was there.
    if let Some("NewJobs" | "BulkBody" | "NewSchedule") = route.takes {
        answers["200"] = answer(200, gives);
    }
    if route.freshness == Freshness::File {
        answers["304"] = json!({ "description": "It is as the ETag in If-None-Match says" });
    }
    answers
}

/// `get_jobs_id_attempts`.
fn operation_id(route: &Route) -> String {
    let path = route.path.trim_start_matches("/api/v1");
    let words = path
        .split(['/', '{', '}', '.'])
        .filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    format!("{}_{}", route.method.to_lowercase(), words.join("_"))
}

fn parameters(route: &Route) -> Vec<Value> {
    let named = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = named.map(|name| {
        let schema = match name {
            "id" | "event" => json!({ "type": "integer", "minimum": 1 }),
            _ => json!({ "type": "string", "minLength": 1 }),
        };
        json!({ "name": name, "in": "path", "required": true, "schema": schema })
    });
    let in_query = route.query.iter().map(|name| {
        json!({
            "name": name,
            "in": "query",
            "required": (route.path, *name) == ("/api/v1/suggest", "field"),
            "allowEmptyValue": true,
            "schema": query_schema(name),
        })
    });
    in_path.chain(in_query).collect()
}

/// The type of a parameter of the query. An empty one counts as none.
fn query_schema(name: &str) -> Value {
    match name {
        "after" | "before" | "parent" | "job" | "attempt" => {
            json!({ "type": "integer", "minimum": 0, "maximum": i64::MAX })
        }
        // A larger one than the maximum is taken for that.
        "limit" => json!({ "type": "integer", "minimum": 1 }),
        "all" | "follow" => json!({ "type": "string", "enum": ["1", "0", "true", "false", ""] }),
        "stream" => json!({ "type": "string", "enum": ["stdout", "stderr", "log", ""] }),
        "field" => {
            json!({ "type": "string", "enum": ["kind", "queue", "tenant", "tag", "schedule", "word"] })
        }
        _ => json!({ "type": "string" }),
    }
}

fn answer(status: u16, gives: &str) -> Value {
    let content = match (status, gives) {
        (204, _) => return json!({ "description": "It is done" }),
        (101, _) => return json!({ "description": "The connection is a WebSocket" }),
        (_, "Text") => json!({ "text/plain": text("A text") }),
        (_, "Logs") => json!({
            "application/json": { "schema": reference(gives) },
            "text/plain": text("With format=text: the output as it was printed"),
        }),
        (_, "Event") => json!({
            "application/jsonl": lines("An event each line", gives),
            "text/event-stream": lines("With Accept: text/event-stream: an event as the data of each", gives),
        }),
        (_, "JobRecord") => json!({
            "application/jsonl": lines("A job each line", gives),
            "text/csv": text("With format=csv: a job each line, after the names"),
        }),
        _ => json!({ "application/json": { "schema": reference(gives) } }),
    };
    json!({ "description": "It is done", "content": content })
}

fn text(description: &str) -> Value {
    json!({ "schema": { "type": "string", "description": description } })
}

/// OpenAPI 3.1 has no word for the items of a stream.
fn lines(description: &str, item: &str) -> Value {
    let mut lines = text(description);
    lines["x-item-schema"] = reference(item);
    lines
}

fn problem() -> Value {
    let names: Vec<String> = PROBLEMS
        .iter()
        .map(|(name, ..)| format!("/problems/{name}"))
        .collect();
    json!({
        "description": format!("What went wrong; its type is one of {}", names.join(", ")),
        "content": { "application/problem+json": { "schema": reference("Problem") } },
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each name that a reference leads to.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(to)) = fields.get("$ref") {
                    found.push(to.rsplit('/').next().unwrap_or_default().to_owned());
                }
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_to_a_schema_and_every_schema_is_used() {
        let document = openapi();
        let mut found = Vec::new();
        references(&document, &mut found);
        for name in &found {
            assert!(
                document["components"]["schemas"].get(name).is_some(),
                "{name}"
            );
        }
        for schema in SCHEMAS {
            assert!(
                found.iter().any(|name| name == schema.name),
                "{} is not used",
                schema.name
            );
        }
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let names: std::collections::BTreeSet<_> = ROUTES.iter().map(operation_id).collect();
        assert_eq!(names.len(), ROUTES.len());
    }
}
