//! What the page is like to those who do not see it, on a small screen, and in another page.

use serde_json::{Value, json};

use super::{Lab, five_ended};
use crate::cli::support::Jobq;

const VIEWS: [&str; 12] = [
    "#/overview",
    "#/jobs",
    "#/jobs?search=state:failed",
    "#/jobs?search=stat:x",
    "#/jobs/3",
    "#/jobs/3/log",
    "#/jobs/3/history",
    "#/jobs/7/graph",
    "#/queues",
    "#/schedules",
    "#/errors",
    "#/charts",
];

const AXE: &str = include_str!("../../../data/axe/axe.min.js");

fn some_of_everything(jobq: &Jobq) {
    five_ended(jobq);
    jobq.enqueue(&["--tag", "env=prod", "--tenant", "acme", "--", "true"]);
    jobq.enqueue(&[
        "--after",
        "6",
        "--queue",
        "images",
        "--",
        "echo",
        &"long ".repeat(60),
    ]);
    jobq.run(&["schedule", "add", "nightly", "0 2 * * *", "--", "true"])
        .exits(0);
    jobq.run(&["queue", "set", "images", "--concurrency", "2"])
        .exits(0);
}

fn settle(lab: &mut Lab, view: &str) {
    lab.chrome.view(view);
    lab.chrome.until(
        "document.querySelector('main .view') && !document.querySelector('.loading, .stale')",
    );
}

#[test]
fn axe_finds_nothing_in_both_themes() {
    let Some(mut lab) = Lab::new(some_of_everything) else {
        return;
    };
    for theme in ["light", "dark"] {
        let features = json!([{"name": "prefers-color-scheme", "value": theme}, {"name": "prefers-reduced-motion", "value": "reduce"}]);
        lab.chrome
            .call("Emulation.setEmulatedMedia", json!({"features": features}));
        for view in VIEWS {
            settle(&mut lab, view);
            assert_eq!(violations(&mut lab), json!([]), "{theme} {view}");
        }
        for key in ["?", "c", "Ctrl+k"] {
            lab.chrome.press(key);
            lab.chrome.until("document.querySelector('dialog[open]')");
            assert_eq!(violations(&mut lab), json!([]), "{theme} {key}");
            lab.chrome.press("Escape");
            lab.chrome.until("!document.querySelector('dialog[open]')");
        }
    }
    lab.ends_well();
}

/// In a world of its own, where the policy of the page does not hold.
fn violations(lab: &mut Lab) -> Value {
    let tree = lab.chrome.call("Page.getFrameTree", json!({}));
    let frame = tree["frameTree"]["frame"]["id"].clone();
    let world = json!({"frameId": frame, "worldName": "axe"});
    let world = lab.chrome.call("Page.createIsolatedWorld", world);
    let run = "axe.run(document, {resultTypes: ['violations']}).then(({violations}) => violations.map(({id, nodes}) => \
               [id, ...nodes.slice(0, 3).map((node) => node.target.join(' ') + ': ' + node.failureSummary)]))";
    let params = json!({
        "expression": format!("{AXE};{run}"), "contextId": world["executionContextId"], "awaitPromise": true,
        "returnByValue": true,
    });
    lab.chrome.call("Runtime.evaluate", params)["result"]["value"].clone()
}

#[test]
fn nothing_is_wider_than_the_screen() {
    let Some(mut lab) = Lab::new(some_of_everything) else {
        return;
    };
    for width in [320, 768, 1440, 2560] {
        let size = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
        lab.chrome.call("Emulation.setDeviceMetricsOverride", size);
        for view in VIEWS {
            settle(&mut lab, view);
            let over = lab
                .chrome
                .eval("document.documentElement.scrollWidth - innerWidth");
            assert!(
                over.as_i64().unwrap() <= 0,
                "{view} is {over} pixels too wide at {width}"
            );
        }
    }
    lab.ends_well();
}

#[test]
fn the_status_element_tells_the_end_and_is_quiet() {
    let Some(mut lab) = Lab::new(|jobq| {
        jobq.script("work", "jobq progress 40 'half way'; while [ ! -e go ]; do sleep 0.01; done; jobq result '{\"n\":1}'");
        jobq.enqueue(&["--", "./work"]);
    }) else {
        return;
    };
    let runner = lab.jobq.runner(&[]);
    let token = lab.token().to_owned();
    lab.chrome.eval(&format!(
        "import('/embed.js').then(() => {{
            window.heard = [];
            const status = document.createElement('jobq-status');
            for (const name of ['done', 'failed']) status.addEventListener(name, ({{detail}}) => heard.push([name, detail.result]));
            status.setAttribute('every', '250');
            status.setAttribute('token', {});
            status.setAttribute('job', '1');
            document.body.append(status);
        }})",
        json!(token)
    ));
    let said = "document.querySelector('jobq-status').shadowRoot.textContent";
    lab.chrome
        .until(&format!("{said}.includes('running 40 %')"));
    lab.chrome.until(&format!("{said}.includes('half way')"));
    lab.jobq.write("go", "");
    lab.chrome.until("heard.length");
    assert_eq!(lab.chrome.eval("heard"), json!([["done", {"n": 1}]]));
    assert_eq!(
        lab.chrome
            .eval("document.querySelector('jobq-status').getAttribute('state')"),
        "completed"
    );
    // It has no timer any more: what it looks at next, if at all, would be asked after a quarter of a second.
    let asked = "performance.getEntriesByType('resource').filter(({name}) => name.endsWith('/jobs/1')).length";
    let later = format!("new Promise((done) => setTimeout(() => done({asked}), 1000))");
    let before = lab.chrome.eval(asked);
    assert_eq!(lab.chrome.eval(&later), before);
    runner.stop().exits(0);
    lab.ends_well();
}
