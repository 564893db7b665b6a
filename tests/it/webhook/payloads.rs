//! What a payload must be.

use jobq::handlers::built_in::BuiltInKind;
use jobq::handlers::webhook::Webhook;
use serde_json::{Value, json};

use super::with;

const URL: &str = "http://a.example/";

fn check(payload: &Value) -> Result<(), String> {
    let kind = BuiltInKind::named("http").unwrap();
    let checked = kind.check(&payload.to_string());
    checked.map_err(|error| error.to_string())
}

/// Each of these fields is refused with these words.
fn all_refused(table: &[(Value, &str)]) {
    check(&with(URL, json!({}))).unwrap();
    for (fields, why) in table {
        let payload = with(URL, fields.clone());
        let error = check(&payload).unwrap_err();
        assert!(error.starts_with("a payload of webhook: "), "{error}");
        assert!(error.contains(why), "{payload}: {error}");
    }
}

#[test]
fn what_cannot_be_sent_is_not_enqueued() {
    all_refused(&[
        (json!({ "url": "ftp://a.example/" }), "http://"),
        (
            json!({ "url": "http://me:pass@a.example/" }),
            "names a user",
        ),
        (json!({ "method": "TRACE" }), "there is no 'TRACE'"),
        (json!({ "headers": { "a b": "c" } }), "'a b' is no name"),
        (
            json!({ "headers": { "a": "b\r\nc: d" } }),
            "has a character",
        ),
        (json!({ "headers": { "a": "b\u{0}" } }), "has a character"),
        (
            json!({ "headers": { "Host": "b" } }),
            "set by the request itself",
        ),
        (
            json!({ "headers": { "Content-Length": "1" } }),
            "set by the request itself",
        ),
        (json!({ "headers": { "a": "1", "A": "2" } }), "given twice"),
        (
            json!({ "headers": { "Authorization": "x" }, "auth": { "bearer": "y" } }),
            "set by 'auth'",
        ),
        (
            json!({ "headers": { "webhook-id": "x" }, "sign": { "secrets": ["a"] } }),
            "set by 'sign'",
        ),
        (
            json!({ "body": "a", "json": 1 }),
            "'body' and 'json' exclude",
        ),
        (json!({ "method": "HEAD", "body": "a" }), "HEAD"),
        (json!({ "body_base64": "?" }), "Base64"),
        (json!({ "body_file": "relative" }), "absolute path"),
        (json!({ "save_to": "/a/../b" }), "absolute path"),
        (
            json!({ "auth": { "basic": { "username": "a:b", "password": "x" } } }),
            "has a colon",
        ),
        (json!({ "sign": { "secrets": [] } }), "no secrets"),
        (
            json!({ "sign": { "secrets": ["whsec_abc"] } }),
            "name of a secret",
        ),
    ]);
}

#[test]
fn what_nothing_can_be_read_by_is_not_enqueued() {
    all_refused(&[
        (json!({ "redirects": 1, "body": "a" }), "GET and HEAD"),
        (json!({ "redirects": 99 }), "at most 20"),
        (json!({ "timeout_ms": 0 }), "'timeout_ms'"),
        (json!({ "expect": { "status": ["20x"] } }), "no status"),
        (json!({ "expect": { "status": [20] } }), "no status"),
        (
            json!({ "expect": { "json": { "a": 1 } } }),
            "not a JSON pointer",
        ),
        (json!({ "extract": { "a": "b" } }), "not a JSON pointer"),
        (
            json!({ "max_response_bytes": 1u64 << 40 }),
            "'max_response_bytes'",
        ),
        (json!({ "idempotency_key": "" }), "idempotency_key"),
        (json!({ "auth": { "digest": "x" } }), "digest"),
        (json!({ "auth": { "bearer": { "secrte": "x" } } }), "secrte"),
        (json!({ "tls_no_verify": true }), "tls_no_verify"),
    ]);
}

#[test]
fn a_key_that_is_turned_off_leaves_its_header_to_the_payload() {
    let fields =
        |key: Value| json!({ "headers": { "idempotency-key": "x" }, "idempotency_key": key });
    check(&with(URL, fields(json!(false)))).unwrap();
    let error = check(&with(URL, fields(json!(true)))).unwrap_err();
    assert!(error.contains("set by 'idempotency_key'"), "{error}");
}

#[test]
fn what_is_written_is_read_again() {
    let all = with(
        URL,
        json!({
            "method": "PUT", "json": [1.50], "auth": { "basic": { "username": "a", "password": { "secret": "b" } } },
            "expect": { "status": ["2xx", 404], "json": { "/a": null } }, "retry_on": [404, "5xx"],
            "idempotency_key": "k", "sign": { "secrets": ["a"] }, "extract": { "a": "/b" }, "on_mismatch": "fail",
        }),
    );
    let webhook: Webhook = serde_json::from_str(&all.to_string()).unwrap();
    let written: Value = serde_json::to_value(&webhook).unwrap();
    for (field, value) in all.as_object().unwrap() {
        assert_eq!(&written[field], value);
    }
    check(&written).unwrap();
}
