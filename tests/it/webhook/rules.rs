//! Which addresses and ports are called.

use serde_json::{Value, json};

use super::{Hooks, with};
use crate::support::http_server::Server;

#[test]
fn private_addresses_are_refused_by_the_rule_that_is_named() {
    let server = Server::responding("200 OK", "", "");
    let port = server.address.port();
    let public = Hooks::with(json!({ "addresses": "public" }));
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "0.0.0.0",
        "10.0.0.1",
        // As old programs read addresses.
        "127.1",
        "2130706433",
        "0x7f.1",
        "017700000001",
    ] {
        let error = public.fails(&with(&format!("http://{host}:{port}/"), json!({})));
        assert!(error.contains("addresses = \"public\""), "{host}: {error}");
        assert!(error.contains("'allow_addresses'"), "{error}");
    }
    assert!(server.asked().is_empty());
    let allowed = json!({ "addresses": "public", "allow_addresses": ["127.0.0.0/8", "::1"] });
    Hooks::with(allowed).result(&with(&server.url("/"), json!({})));
    let any = Hooks::new();
    any.result(&with(&format!("http://localhost:{port}/"), json!({})));
    for host in ["169.254.169.254", "[fe80::1]", "[::ffff:a9fe:a9fe]"] {
        let error = any.fails(&with(&format!("http://{host}/"), json!({})));
        assert!(error.contains("never called"), "{error}");
    }
}

#[test]
fn only_the_ports_of_the_settings_are_called() {
    let server = Server::responding("200 OK", "", "");
    let port = server.address.port();
    Hooks::with(json!({ "ports": [port] })).result(&with(&server.url("/"), json!({})));
    let error = Hooks::with(json!({ "ports": [443] })).fails(&with(&server.url("/"), json!({})));
    assert!(
        error.contains(&format!("port {port} is not among the 'ports'")),
        "{error}"
    );
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_proxy_is_that_of_the_settings() {
    let proxy = Server::start(|mut exchange| {
        exchange.send("HTTP/1.1 200 OK\r\n\r\n");
        // What follows is for the server that was asked for.
        let inner = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nby a tunnel";
        std::thread::sleep(std::time::Duration::from_millis(50));
        exchange.send(inner);
        exchange.hang();
        None
    });
    let settings = json!({ "proxy": format!("http://{}", proxy.address), "addresses": "public" });
    let result = Hooks::with(settings).result(&with("http://a.example/", json!({})));
    assert_eq!(result["body"], "by a tunnel");
    assert_eq!(proxy.asked()[0].line(), "CONNECT a.example:80 HTTP/1.1");
    let error =
        Hooks::with(json!({ "proxy": "nonsense://" })).fails(&with("http://a.example/", json!({})));
    assert!(error.contains("the setting proxy"), "{error}");
}

#[test]
fn a_setting_that_is_not_known_is_refused() {
    use jobq::handlers::webhook::WebhookSettings;

    let read = |settings: Value| serde_json::from_str::<WebhookSettings>(&settings.to_string());
    for (settings, why) in [
        (json!({ "adresses": "public" }), "adresses"),
        (json!({ "addresses": "private" }), "private"),
        (json!({ "allow_addresses": ["a.example"] }), "a.example"),
        (json!({ "ports": [70_000] }), "70000"),
        (json!({ "tls_no_verify": true }), "tls_no_verify"),
    ] {
        let refused = read(settings).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    read(json!({ "addresses": "any", "ports": [80], "roots": ["/srv"], "ca_file": "/a" })).unwrap();
}
