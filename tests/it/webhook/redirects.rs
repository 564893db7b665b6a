//! Redirects are followed by hand.

use serde_json::json;

use super::{Hooks, with};
use crate::support::http_server::Server;

fn leading_to(location: &str) -> Server {
    Server::responding("302 Found", &format!("location: {location}\r\n"), "moved")
}

#[test]
fn a_redirect_is_followed_only_where_that_is_asked_for() {
    let hooks = Hooks::new();
    let end = Server::responding("200 OK", "", "the end");
    let start = leading_to(&end.url("/end?key=1"));
    assert!(
        hooks
            .fails(&with(&start.url("/"), json!({})))
            .ends_with(": moved")
    );
    let result = hooks.result(&with(&start.url("/"), json!({ "redirects": 1 })));
    assert_eq!(
        (&result["body"], &result["url"]),
        (&json!("the end"), &json!(end.url("/end")))
    );
    assert_eq!(end.asked()[0].line(), "GET /end?key=1 HTTP/1.1");
    let head = json!({ "redirects": 1, "method": "HEAD" });
    hooks.result(&with(&start.url("/"), head));
    assert_eq!(end.asked()[1].line(), "HEAD /end?key=1 HTTP/1.1");
}

#[test]
fn redirects_without_end_are_left_after_so_many() {
    let round = leading_to("?again");
    let error = Hooks::new().fails(&with(&round.url("/"), json!({ "redirects": 3 })));
    assert!(error.contains("302 Found"), "{error}");
    assert_eq!(round.asked().len(), 4);
}

#[test]
fn another_server_gets_none_of_the_headers() {
    let mut hooks = Hooks::new();
    hooks.secret("key", "open sesame", None);
    hooks.secret("sign", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None);
    let other = Server::responding("200 OK", "", "");
    let elsewhere = leading_to(&other.url("/end"));
    let payload = |url: &str| {
        with(
            url,
            json!({
                "redirects": 2, "headers": { "x-api-key": { "secret": "key" }, "cookie": "a=b" },
                "auth": { "bearer": { "secret": "key" } }, "idempotency_key": true, "sign": { "secrets": ["sign"] },
            }),
        )
    };
    hooks.result(&payload(&elsewhere.url("/")));
    let own = [
        "x-api-key",
        "cookie",
        "authorization",
        "idempotency-key",
        "webhook-id",
        "webhook-signature",
    ];
    for name in own {
        assert!(elsewhere.asked()[0].header(name).is_some(), "{name}");
        assert!(other.asked()[0].header(name).is_none(), "{name}");
    }
    // The same server gets them again.
    let here = Server::start(|mut exchange| {
        exchange.read_body();
        exchange.send(match exchange.asked.line().contains("/end") {
            true => "HTTP/1.1 204 No Content\r\n\r\n",
            false => "HTTP/1.1 301 Moved\r\nlocation: /end\r\ncontent-length: 0\r\n\r\n",
        });
        Some(exchange.asked)
    });
    hooks.result(&payload(&here.url("/")));
    for name in own {
        assert!(here.asked()[1].header(name).is_some(), "{name}");
    }
}

#[test]
fn a_redirect_to_what_is_refused_is_refused() {
    let hooks = Hooks::with(json!({ "addresses": "public", "allow_addresses": ["127.0.0.1"] }));
    for (location, why) in [
        ("http://127.0.0.2/", "127.0.0.2 is this machine"),
        (
            "http://169.254.169.254/latest/meta-data/",
            "169.254.169.254 is link-local",
        ),
        ("http://[::1]/", "::1 is this machine"),
        ("file:///etc/passwd", "its redirect is not followed"),
        ("ftp://a.example/", "its redirect is not followed"),
        ("http://u:p@a.example/", "names a user"),
        ("ftp://u:open-sesame@a.example/", "names a user"),
        ("//u:open sesame@a.example/", "names a user"),
    ] {
        let start = leading_to(location);
        let error = hooks.fails(&with(&start.url("/"), json!({ "redirects": 5 })));
        assert!(error.contains(why), "{error}");
        assert!(!error.contains("sesame"), "{error}");
        assert_eq!(start.asked().len(), 1);
    }
}

#[test]
fn each_status_of_a_redirect_is_followed() {
    let end = Server::responding("200 OK", "", "the end");
    for status in ["301 A", "302 B", "303 C", "307 D", "308 E"] {
        let start = Server::responding(status, &format!("location: {}\r\n", end.url("/")), "");
        let result = Hooks::new().result(&with(&start.url("/"), json!({ "redirects": 1 })));
        assert_eq!(result["body"], "the end", "{status}");
    }
    for answer in ["300 A", "304 B"] {
        let start = Server::responding(answer, &format!("location: {}\r\n", end.url("/")), "");
        Hooks::new().fails(&with(&start.url("/"), json!({ "redirects": 1 })));
    }
    assert_eq!(end.asked().len(), 5);
}
