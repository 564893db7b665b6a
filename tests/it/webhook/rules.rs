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
}

#[test]
fn an_address_is_judged_before_a_proxy_is_asked() {
    let proxy = Server::responding("200 OK", "", "");
    let settings = json!({ "proxy": format!("http://{}", proxy.address) });
    let hooks = Hooks::with(settings.clone());
    for (host, why) in [
        ("169.254.169.254", "never called"),
        ("[::ffff:a9fe:a9fe]", "never called"),
        ("0xa9fea9fe", "written in full"),
        ("2852039166", "written in full"),
        ("169.254.43518", "written in full"),
    ] {
        let error = hooks.fails(&with(&format!("http://{host}/"), json!({})));
        assert!(error.contains(why), "{error}");
    }
    let mut settings = settings;
    settings["addresses"] = json!("public");
    let error = Hooks::with(settings).fails(&with("http://10.0.0.1/", json!({})));
    assert!(error.contains("10.0.0.1 is private"), "{error}");
    assert!(proxy.asked().is_empty());
}

#[test]
fn a_proxy_that_refuses_decides_by_its_status() {
    for (status, is_final) in [("407 A", true), ("403 B", true), ("503 C", false)] {
        let proxy = Server::responding(status, "", "");
        let hooks = Hooks::with(json!({ "proxy": format!("http://{}", proxy.address) }));
        let payload = with("http://a.example/", json!({}));
        let error = match is_final {
            true => hooks.fails(&payload),
            false => hooks.retries(&payload),
        };
        let why = format!(
            "the proxy refuses a connection to the server with status {}",
            &status[..3]
        );
        assert!(error.contains(&why), "{error}");
    }
}

#[test]
fn another_proxy_than_one_of_http_is_refused_with_the_settings() {
    use jobq::handlers::webhook::WebhookSettings;

    for proxy in [
        "nonsense://",
        "socks5://me:sesame@proxy.example:1080",
        "",
        "http://",
    ] {
        let settings = json!({ "proxy": proxy });
        let refused = serde_json::from_value::<WebhookSettings>(settings).unwrap_err();
        let refused = refused.to_string();
        assert!(refused.contains("the setting proxy must be"), "{refused}");
        assert!(!refused.contains("sesame"), "{refused}");
    }
    let mut hooks = Hooks::new();
    hooks.settings.http.proxy = Some("socks5://proxy.example:1080".to_owned());
    let error = hooks.fails(&with("http://a.example/", json!({})));
    assert!(error.contains("the setting proxy must be"), "{error}");
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
