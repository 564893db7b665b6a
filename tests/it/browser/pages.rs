//! What a job does on pages.

use std::fs;
use std::process::Command;

use jobq::handlers::browser::{BrowserResult, BrowserSettings};
use jobq::{Filter, JobId};
use serde_json::{Value, json};

use super::{Lab, SECRET};
use crate::support::place::{events, job};

/// Each action, on the form of the site.
const ACTIONS: &str = include_str!("actions.json");

#[test]
fn every_action_does_what_it_says() {
    let Some(lab) = Lab::new() else { return };
    fs::write(lab.scene.file("upload"), "content").unwrap();
    let actions = ACTIONS.replace("UPLOAD", lab.scene.file("upload").to_str().unwrap());
    let actions = actions.replace("SITE", &lab.site.url(""));
    let actions: Value = serde_json::from_str(&actions).unwrap();
    let total = actions.as_array().unwrap().len() as u64;
    let result = lab.run(&lab.visit("/form", actions));
    check_artifacts(&lab, &result);
    assert_eq!((&*result.title, result.status), ("Page", Some(200)));
    assert_eq!(result.url, lab.site.url("/other"));
    let values = Value::from(result.values);
    let out = values["out"].as_str().unwrap();
    let begin = "name=Zoë \"x\";key=End;key=!;name=Zoë \"x\"!;key=Control+b;size=l;gift=true;";
    assert!(out.starts_with(begin), "{out}");
    assert!(
        out.contains("file=content") && out.contains("hover"),
        "{out}"
    );
    for (name, value) in [
        ("items", json!(["one", "two"])),
        ("links", json!(["/a", "/b"])),
        ("none", Value::Null),
        ("is_low", json!(true)),
        ("top", json!(0)),
        ("written", json!(["a\nb", "rich"])),
        ("awaited", json!({ "a": [1] })),
        ("after", json!("Page")),
    ] {
        assert_eq!(values[name], value, "{name}");
    }
    let progress = job(&lab.queue, JobId(1)).progress.unwrap();
    assert_eq!(progress.processed, Some(total));
}

/// The files are what the result says, and complete.
fn check_artifacts(lab: &Lab, result: &BrowserResult) {
    let begins: [(&str, &[u8]); 6] = [
        ("whole.png", b"\x89PNG"),
        ("screenshot-29.jpeg", b"\xff\xd8"),
        ("a.webp", b"RIFF"),
        ("page.html", b"<!DOCTYPE html>\n<html>"),
        ("h1.html", b"<h1>Order</h1>"),
        ("page.pdf", b"%PDF"),
    ];
    assert_eq!(result.artifacts.len(), begins.len());
    let latest = lab.scene.file("artifacts/1/latest");
    for (artifact, (name, begin)) in result.artifacts.iter().zip(begins) {
        let bytes = fs::read(&artifact.path).unwrap();
        let path = lab.scene.file(&format!("artifacts/1/1/{name}"));
        assert_eq!((&*artifact.name, &artifact.path), (name, &path));
        assert_eq!(artifact.bytes, bytes.len() as u64);
        assert!(bytes.starts_with(begin), "{name}");
        assert_eq!(fs::read(latest.join(name)).unwrap(), bytes);
        let sum = Command::new("sha256sum").arg(&artifact.path).output();
        let sum = String::from_utf8(sum.unwrap().stdout).unwrap();
        assert!(sum.starts_with(&artifact.sha256), "{name}");
    }
    // The height, in the header of the picture.
    let whole = fs::read(latest.join("whole.png")).unwrap();
    assert_eq!(whole[20..24], 3000_u32.to_be_bytes());
}

#[test]
fn a_page_gets_what_the_payload_says_of_it() {
    let Some(lab) = Lab::new() else { return };
    let mut payload = lab.visit("/picture", json!([
        { "type": "evaluate", "name": "v", "script":
            "[innerWidth, innerHeight, devicePixelRatio, navigator.userAgent, navigator.language, new Date(0).getHours(), document.cookie]" },
        { "type": "screenshot", "name": "a.png" },
    ]));
    let more = json!({
        "viewport": { "width": 300, "height": 200, "scale": 2 }, "userAgent": "Robot/1", "locale": "de-DE",
        "timezone": "Asia/Tokyo", "headers": { "x-extra": "yes" }, "block": ["*/ads/*", "font"],
        "cookies": [{ "name": "c", "value": "1" }, { "name": "s", "value": { "secret": "pw" }, "http_only": true }],
        "wait_until": "networkidle",
    });
    payload
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let result = lab.run(&payload);
    assert_eq!(
        result.values["v"],
        json!([300, 200, 2, "Robot/1", "de-DE", 9, "c=1"])
    );
    let picture = fs::read(&result.artifacts[0].path).unwrap();
    assert_eq!(picture[16..24], [0, 0, 2, 88, 0, 0, 1, 144]);
    let requests = lab.site.requests();
    assert!(requests[0].contains("x-extra: yes"), "{requests:?}");
    assert!(
        requests[0].contains("Accept-Language: de-DE"),
        "{requests:?}"
    );
    assert!(
        requests[0].contains(&format!("c=1; s={SECRET}")),
        "{requests:?}"
    );
    assert!(
        requests.iter().any(|request| request.contains("/a.png")),
        "{requests:?}"
    );
    assert!(
        !requests.iter().any(|request| request.contains("/ads/")),
        "{requests:?}"
    );
}

#[test]
fn jobs_share_no_cookies() {
    let Some(lab) = Lab::new() else { return };
    lab.run(&lab.visit("/cookie", json!([])));
    let script = json!([{ "type": "evaluate", "name": "c", "script": "document.cookie" }]);
    assert_eq!(lab.run(&lab.visit("/", script)).values["c"], "");
    assert_eq!(lab.starts(), 1);
}

#[test]
fn a_text_of_the_payload_is_a_page() {
    let Some(lab) = Lab::new() else { return };
    let html = "<title>ü</title><h1>Größe</h1>".repeat(20_000);
    let result = lab.run(
        &json!({ "html": html, "actions": [{ "type": "text", "selector": "h1", "name": "t" }] }),
    );
    assert_eq!(
        (&result.values["t"], &*result.title),
        (&json!("Größe"), "ü")
    );
    assert_eq!(result.url, "data:text/html;charset=utf-8");
}

#[test]
fn pages_that_move_on_and_slow_ones_are_waited_for() {
    let Some(lab) = Lab::new() else { return };
    let title = json!([{ "type": "text", "selector": "h1", "name": "t" }]);
    for (path, heading) in [
        ("/moves", "Order"),
        ("/to-form", "Order"),
        ("/slow", "slow"),
    ] {
        for point in ["load", "domcontentloaded", "networkidle"] {
            let mut payload = lab.visit(path, title.clone());
            payload["wait_until"] = json!(point);
            assert_eq!(lab.run(&payload).values["t"], heading, "{path} {point}");
        }
    }
}

#[test]
fn dialogs_are_dismissed_and_pop_ups_closed() {
    let Some(lab) = Lab::new() else { return };
    assert_eq!(
        lab.run(&lab.visit("/dialogs", json!([]))).title,
        "false-null"
    );
    let mut pop_ups = lab.visit(
        "/popup",
        json!([
            { "type": "wait", "script": "pop_ups.every((it) => it.closed)" },
            { "type": "click", "selector": "#no" },
        ]),
    );
    pop_ups["action_timeout_ms"] = json!(2000);
    let error = lab.error(&pop_ups);
    assert!(error.starts_with("timeout: action 2 (click)"), "{error}");
    let log = format!("{:?}", events(&lab.queue, None));
    assert_eq!(log.matches("a pop-up was closed").count(), 2, "{log}");
    let leave = json!([
        { "type": "evaluate", "script": "onbeforeunload = (e) => e.preventDefault()" },
        { "type": "click", "selector": "h1" },
        { "type": "goto", "url": lab.site.url("/form") },
    ]);
    assert_eq!(lab.run(&lab.visit("/", leave)).title, "Form");
}

#[test]
fn half_a_surrogate_pair_is_no_failure() {
    let Some(lab) = Lab::new() else { return };
    let actions = json!([
        { "type": "evaluate", "script": "document.title = console.log('\\ud83d') ?? 'a\\ud83d'; ['\\ud83d']", "name": "v" },
        { "type": "evaluate", "script": "document.body.textContent = 'b\\ude00'" },
        { "type": "text", "name": "t" },
        { "type": "html" },
    ]);
    let result = lab.run(&lab.visit("/", actions));
    assert_eq!(result.title, "a\u{fffd}");
    assert_eq!(result.values["v"], json!(["\u{fffd}"]));
    assert_eq!(result.values["t"], "b\u{fffd}");
}

#[test]
fn a_long_title_is_cut() {
    let Some(lab) = Lab::new() else { return };
    let script =
        json!([{ "type": "evaluate", "script": "document.title = 'ü'.repeat(1 << 21); 1" }]);
    assert_eq!(lab.run(&lab.visit("/", script)).title, "ü".repeat(1000));
}

#[test]
fn a_wait_may_be_the_last_action() {
    let Some(lab) = Lab::new() else { return };
    // It used up the time that the look at the title had, too.
    for ms in [1, 300] {
        let result = lab.run(&lab.visit("/", json!([{ "type": "wait", "ms": ms }])));
        assert_eq!(result.title, "Page");
    }
}

#[test]
fn a_secret_goes_only_to_its_host_and_is_masked() {
    let Some(lab) = Lab::new() else { return };
    let actions = json!([
        { "type": "fill", "selector": "#name", "value": { "secret": "pw" } },
        { "type": "evaluate", "script": "byId('name').value", "name": "shown" },
        { "type": "evaluate", "script": "document.title = byId('name').value; document.body.append(document.title)" },
        { "type": "html" },
        { "type": "click", "selector": "#send" },
        { "type": "wait", "url": "**/done?*" },
    ]);
    let result = lab.run(&lab.visit("/form", actions.clone()));
    assert_eq!(result.values["shown"], "***");
    let html = fs::read_to_string(&result.artifacts[0].path).unwrap();
    assert!(html.contains("***") && !html.contains(SECRET));
    let sent = lab
        .site
        .requests()
        .iter()
        .any(|request| request.contains("/done?open%20sesame"));
    assert!(sent, "{:?}", lab.site.requests());
    let mut elsewhere = lab.visit("/form", actions);
    let there = lab.site.url("/form").replace("127.0.0.1", "localhost");
    elsewhere["url"] = json!(there);
    let error = lab.error(&elsewhere);
    assert!(error.contains("is not for localhost"), "{error}");
    let mut text = format!("{:?}", events(&lab.queue, None));
    text += &format!("{:?}", lab.queue.list(&Filter::default()).unwrap());
    assert!(!text.contains(SECRET));
}

#[test]
fn jobs_with_other_proxies_share_a_browser() {
    let Some(lab) = Lab::new() else { return };
    let mut payload = lab.visit("/", json!([]));
    payload["url"] = json!("http://far.example/form");
    payload["proxy"] = json!(lab.site.url(""));
    assert_eq!(lab.run(&payload).title, "Form");
    assert_eq!(lab.run(&lab.visit("/", json!([]))).title, "Page");
    // Addresses of this machine do not go past the proxy.
    payload["url"] = json!(lab.site.url("/form"));
    lab.run(&payload);
    let last = lab.site.requests().pop().unwrap();
    assert!(last.starts_with("GET http://127.0.0.1:"), "{last}");
    assert_eq!(lab.starts(), 1);
}

#[test]
fn settings_limit_scripts_and_folders() {
    let set = |settings: &mut BrowserSettings| {
        settings.scripts = false;
        settings.roots = Some(vec!["/nowhere/files".into()]);
    };
    let Some(lab) = Lab::with(set) else { return };
    let script = json!([{ "type": "evaluate", "script": "1" }]);
    let mut payload = lab.visit("/", script);
    assert!(lab.error(&payload).contains("scripts = false"));
    payload["actions"] = json!([]);
    assert!(lab.error(&payload).contains("'roots'"));
    payload["artifacts"] = json!("/nowhere/files/a");
    lab.run(&payload);
    let script = "<title>quiet</title><script>document.title = 'script'</script>";
    let html = json!({ "html": script, "artifacts": "/nowhere/files/a" });
    assert_eq!(lab.run(&html).title, "quiet");
    let mut html = html;
    html["actions"] = json!([{ "type": "goto", "url": lab.site.url("/dialogs") }]);
    assert_eq!(
        lab.run(&html).title,
        "false-null",
        "pages of the web run theirs"
    );
    payload["actions"] = json!([{ "type": "upload", "selector": "#file", "path": "/etc/passwd" }]);
    assert!(
        lab.error(&payload)
            .contains("'/etc/passwd' is not below the 'roots'")
    );
}
