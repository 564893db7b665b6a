//! Signatures, checked by others.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use super::{Hooks, with};
use crate::support::http_server::{Asked, Server};

const KEYS: [&str; 2] = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDhUQkGCUuVlI=",
];

/// Requests with signatures by both keys, of each form of a body.
fn signed() -> Vec<Asked> {
    let server = Server::responding("200 OK", "", "");
    let mut hooks = Hooks::new();
    hooks.secret("new", KEYS[0], Some("127.0.0.1"));
    hooks.secret("old", KEYS[1], None);
    let file = hooks.scene.file("body");
    std::fs::write(&file, "x".repeat(200_000)).unwrap();
    for body in [
        json!({ "json": { "event": "paid", "amount": 1.50 } }),
        json!({ "body": "ü\n" }),
        json!({ "body_base64": "AP8=" }),
        json!({ "body_file": file }),
        json!({ "form": { "a": "b c" } }),
        json!({}),
    ] {
        let mut payload = with(&server.url("/"), body);
        payload["sign"] = json!({ "secrets": ["new", "old"] });
        hooks.result(&payload);
    }
    server.asked()
}

/// Runs Python with the key in its arguments and a request in its input. None, where it lacks a module.
fn python(script: &str, key: &str, asked: &Asked) -> Option<String> {
    let header = |name: &str| asked.header(name).unwrap().to_owned();
    let mut python = Command::new("python3")
        .args(["-c", script, key])
        .args([
            header("webhook-id"),
            header("webhook-timestamp"),
            header("webhook-signature"),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    // A Python without the module does not read it.
    let _ = python.stdin.take().unwrap().write_all(&asked.body);
    let output = python.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if error.contains("ModuleNotFoundError") {
        return None;
    }
    assert!(output.status.success(), "{error}");
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

#[test]
fn a_signature_is_what_the_specification_says() {
    const BY_HAND: &str = "
import sys, hmac, hashlib, base64
key, id, time, signatures = sys.argv[1:]
text = id.encode() + b'.' + time.encode() + b'.' + sys.stdin.buffer.read()
own = 'v1,' + base64.b64encode(hmac.new(base64.b64decode(key[6:]), text, hashlib.sha256).digest()).decode()
print(signatures.split(' ').index(own))";
    let signed = signed();
    assert_eq!(signed.len(), 6);
    for asked in &signed {
        let id = asked.header("webhook-id").unwrap();
        assert!(!id.contains('.'), "{id}");
        for (index, key) in KEYS.iter().enumerate() {
            let Some(found) = python(BY_HAND, key, asked) else {
                eprintln!("skipped: there is no python3");
                return;
            };
            assert_eq!(found, index.to_string());
        }
    }
}

#[test]
fn the_library_of_standard_webhooks_takes_a_signature() {
    const BY_LIBRARY: &str = "
import sys
from standardwebhooks import Webhook
key, id, time, signatures = sys.argv[1:]
headers = {'webhook-id': id, 'webhook-timestamp': time, 'webhook-signature': signatures}
body = sys.stdin.buffer.read()
try:
    Webhook(key).verify(body, headers)
except ValueError:
    pass # it has verified the body, which is no JSON
Webhook('whsec_' + 'A' * 32)
try:
    Webhook('whsec_' + 'A' * 32).verify(body, headers)
    print('taken with another key')
except Exception as error:
    print(type(error).__name__)";
    for asked in signed()
        .iter()
        .filter(|asked| std::str::from_utf8(&asked.body).is_ok())
    {
        for key in KEYS {
            let Some(verdict) = python(BY_LIBRARY, key, asked) else {
                eprintln!("skipped: python3 has no module standardwebhooks");
                return;
            };
            assert_eq!(verdict, "WebhookVerificationError");
        }
    }
}

#[test]
fn the_id_stays_over_the_attempts_and_the_time_does_not() {
    let server = Server::responding("500 Broken", "", "");
    let mut hooks = Hooks::new();
    hooks.secret("key", KEYS[0], None);
    let payload = with(&server.url("/"), json!({ "sign": { "secrets": ["key"] } }));
    let queue = hooks.scene.open();
    let delay = std::time::Duration::from_millis(1100);
    let job = jobq::NewJob::new("webhook")
        .payload(&payload)
        .max_retries(1)
        .retry_delay(delay);
    let id = queue.enqueue(job).unwrap().id;
    let runner = hooks.runner().start().unwrap();
    queue.wait(&[id], Some(crate::support::PATIENCE)).unwrap();
    runner.stop().unwrap();
    let asked = server.asked();
    let headers = |name: &str| [0, 1].map(|at| asked[at].header(name).unwrap().to_owned());
    let [first, second] = headers("webhook-id");
    assert_eq!(first, second);
    for name in ["webhook-timestamp", "webhook-signature"] {
        let [first, second] = headers(name);
        assert_ne!(first, second);
    }
}

#[test]
fn a_secret_that_is_no_key_is_named_and_not_told() {
    let server = Server::responding("200 OK", "", "");
    let mut hooks = Hooks::new();
    hooks.secret("key", "open sesame", None);
    let payload = with(&server.url("/"), json!({ "sign": { "secrets": ["key"] } }));
    let error = hooks.fails(&payload);
    assert!(
        error.contains("'key' is no key") && !error.contains("sesame"),
        "{error}"
    );
    assert!(server.asked().is_empty());
}

#[test]
fn the_time_of_the_attempt_includes_signing() {
    let server = Server::responding("200 OK", "", "");
    let mut hooks = Hooks::new();
    hooks.secret("key", KEYS[0], None);
    let file = hooks.scene.file("long");
    std::fs::File::create(&file)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let fields = json!({ "body_file": file, "sign": { "secrets": ["key"] }, "timeout_ms": 100 });
    let error = hooks.retries(&with(&server.url("/"), fields));
    assert!(error.contains("body_file cannot be signed"), "{error}");
    assert!(server.asked().is_empty());
}
