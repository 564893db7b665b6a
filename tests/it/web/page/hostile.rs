//! Whatever a job says is shown as text.

use serde_json::json;

use super::Lab;

/// Markup, escape sequences, and characters that reorder or hide others.
const EVIL: &str =
    "\"><img src=x onerror=\"window.hit=1\">\u{1b}[31m\u{1b}]0;t\u{7}\u{202e}dear\u{2066}\u{200b}";

/// What of it may be in the document, however it got there.
const UNSAFE: &str = r"/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/";

#[test]
fn hostile_text_is_shown_as_text() {
    let Some(mut lab) = Lab::new(|jobq| {
        jobq.write("evil", EVIL);
        jobq.script("talk", "cat evil; echo; cat evil >&2; jobq log \"$(cat evil)\"; jobq progress 5 \"$(cat evil)\"; jobq result \"{\\\"a\\\":\\\"<img src=x onerror=alert(1)>\\\"}\"");
        // Names may have no control characters; markup and marks of direction they may.
        let name = "\"><img src=x onerror=\"window.hit=1\">\u{202e}dear";
        let line = |extra: serde_json::Value| {
            let mut line = json!({
                "queue": name, "tenant": name, "tags": {name: name}, "key": name, "unique": name, "retries": 0,
            });
            for (key, value) in extra.as_object().unwrap() {
                line[key] = value.clone();
            }
            format!("{line}\n")
        };
        let lines = [
            line(json!({"command": ["./talk", EVIL], "unique": "1", "key": "1"})),
            line(
                json!({"shell": "jobq log x; echo \"$(cat evil)\" >&2; exit 1 # <img src=x onerror=alert(1)>", "unique": "2", "key": "2"}),
            ),
            line(json!({"kind": name, "payload": {"a": EVIL}})),
        ];
        jobq.enqueue_batch(&lines.concat());
        jobq.drain(&[]).exits(4);
    }) else {
        return;
    };
    let views = [
        "#/overview",
        "#/jobs",
        "#/jobs/1",
        "#/jobs/1/log",
        "#/jobs/1/history",
        "#/jobs/1/graph",
        "#/jobs/2",
        "#/jobs/2/log",
        "#/jobs/3",
        "#/queues",
        "#/runners",
        "#/schedules",
        "#/errors",
        "#/charts?by=queue",
    ];
    for view in views {
        lab.chrome.view(view);
        lab.chrome
            .until("document.querySelector('main .view') && !document.querySelector('.loading')");
        if ["#/jobs", "#/jobs/1", "#/jobs/3", "#/queues"].contains(&view) {
            lab.chrome.until_said("<img src=x");
        }
        if view.starts_with("#/charts") {
            lab.chrome.until("document.querySelector('.u-legend')");
        }
        assert_eq!(lab.chrome.eval("document.images.length"), 0, "{view}");
        let texts = "[document.documentElement.textContent, document.title, ...[...document.querySelectorAll('*')].flatMap((one) => \
                     ['title', 'aria-label', 'placeholder'].map((name) => one.getAttribute(name) ?? ''))]";
        let unsafe_texts = lab
            .chrome
            .eval(&format!("{texts}.filter((text) => {UNSAFE}.test(text))"));
        assert_eq!(unsafe_texts, json!([]), "{view}");
    }
    lab.chrome.view("#/jobs/1/log");
    lab.chrome.until_said("<img src=x");
    let coloured = "[...document.querySelectorAll('.line .fg1')].some((one) => one.textContent.includes('dear'))";
    lab.chrome.until(coloured);
    assert_eq!(lab.chrome.eval("typeof window.hit"), "undefined");
    lab.ends_well();
}
