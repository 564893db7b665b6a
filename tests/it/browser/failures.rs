//! Each class of failure, and what is left of it.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use jobq::State;
use serde_json::{Value, json};

use super::Lab;
use crate::support::place::{events, job};
use crate::support::{PATIENCE, wait_until};

/// Pages, and what their errors begin with.
const FAILING_PAGES: [(&str, &str); 8] = [
    ("/hang", "timeout: http://"),
    ("/reset", "network: http://"),
    ("/503", "network: HTTP status 503"),
    ("/to-file", "invalid_url: http://"),
    ("/401", "authentication: HTTP status 401"),
    ("/403", "authentication: HTTP status 403"),
    ("/404", "page: HTTP status 404"),
    ("/download", "page: http://"),
];

/// Actions on the form, and theirs.
const FAILING_ACTIONS: [(&str, &str); 13] = [
    (
        r##"{"type":"click","selector":"#no"}"##,
        "timeout: action 1 (click): '#no': is not there",
    ),
    (
        r##"{"type":"click","selector":"#ghost"}"##,
        "timeout: action 1 (click): '#ghost': is not visible",
    ),
    (
        r##"{"type":"click","selector":"#send"}"##,
        "timeout: action 1 (click): '#send': is disabled",
    ),
    (
        r##"{"type":"fill","selector":"h1","value":""}"##,
        "timeout: action 1 (fill): 'h1': is a <h1>",
    ),
    (
        r##"{"type":"select","selector":"#size","value":"xl"}"##,
        "timeout: action 1 (select): '#size': has no option 'xl'",
    ),
    (
        r##"{"type":"wait","selector":"h1","state":"hidden","timeout_ms":2000}"##,
        "timeout: action 1 (wait): 'h1': is not hidden",
    ),
    (
        r##"{"type":"wait","url":"**/never"}"##,
        "timeout: action 1 (wait): the URL is",
    ),
    (
        r##"{"type":"wait","script":"0"}"##,
        "timeout: action 1 (wait): the script came to 0",
    ),
    (
        r##"{"type":"goto","url":"http://a:1:2/"}"##,
        "invalid_url: action 1 (goto): http://a:1:2/",
    ),
    (
        r##"{"type":"evaluate","script":"nix()"}"##,
        "page: action 1 (evaluate): the script failed: ReferenceError: nix is not defined",
    ),
    (
        r##"{"type":"evaluate","script":"throw 7"}"##,
        "page: action 1 (evaluate): the script failed: 7",
    ),
    (
        r##"{"type":"text","selector":"h1[","name":"t"}"##,
        "page: action 1 (text): 'h1[': the script failed: SyntaxError",
    ),
    (
        r##"{"type":"upload","selector":"#file","path":"/nowhere"}"##,
        "page: action 1 (upload): '/nowhere' is not a file",
    ),
];

#[test]
fn each_way_to_fail_has_its_class() {
    let Some(lab) = Lab::new() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let at = |path: &str| json!({ "url": lab.site.url(path), "action_timeout_ms": 3000 });
    let pages = FAILING_PAGES.map(|(path, error)| (at(path), error));
    let actions = FAILING_ACTIONS.map(|(action, error)| {
        let action: Value = serde_json::from_str(action).unwrap();
        let mut payload = lab.visit("/form", json!([action]));
        payload["action_timeout_ms"] = json!(3000);
        (payload, error)
    });
    let mut unexpected = at("/form");
    unexpected["expect_status"] = json!([404]);
    let others = [
        (
            json!({ "url": format!("http://{closed}/") }),
            "network: http://",
        ),
        (json!({ "html": "", "timezone": "Moon/Base" }), "page: "),
        (unexpected, "page: HTTP status 200"),
    ];
    let cases = pages.into_iter().chain(actions).chain(others);
    let cases: Vec<_> = cases
        .map(|(payload, error)| (lab.enqueue(&payload, 0), payload, error))
        .collect();
    for (id, payload, expected) in cases {
        let job = lab.wait(id);
        assert_eq!(job.state, State::Failed, "{payload}: {job:?}");
        let error = job.error.unwrap();
        assert!(error.starts_with(expected), "{payload}: {error}");
    }
    let mut expected = at("/404");
    expected["expect_status"] = json!([404]);
    assert_eq!(lab.run(&expected).status, Some(404));
    assert_eq!(lab.starts(), 1, "no failure of a page costs the browser");
}

#[test]
fn a_file_of_the_machine_is_out_of_reach_of_pages() {
    let Some(lab) = Lab::new() else { return };
    let script = "const frame = document.createElement('iframe'); frame.src = 'file:///etc/passwd';
        document.body.append(frame); location = 'file:///etc/passwd'; open('file:///etc/passwd')";
    let actions = json!([
        { "type": "evaluate", "script": script },
        { "type": "wait", "ms": 300 },
        { "type": "text", "name": "t" },
        { "type": "evaluate", "script": "fetch('file:///etc/passwd').then(() => 'read', () => 'refused')", "name": "f" },
    ]);
    let result = lab.run(&lab.visit("/", actions));
    assert_eq!(result.values["f"], "refused");
    assert!(result.url.starts_with("http://"), "{}", result.url);
    assert!(!Value::from(result.values).to_string().contains("root:"));
}

#[test]
fn a_failure_leaves_a_picture_and_the_console() {
    let Some(lab) = Lab::new() else { return };
    let click = json!([{ "type": "click", "selector": "#no" }]);
    let mut payload = lab.visit("/talks", click);
    payload["action_timeout_ms"] = json!(500);
    lab.error(&payload);
    let picture = fs::read(lab.scene.file("artifacts/1/1/failure.png")).unwrap();
    assert!(picture.starts_with(b"\x89PNG"));
    assert!(!lab.scene.file("artifacts/1/latest").exists());
    let log = events(&lab.queue, None)
        .into_iter()
        .filter_map(|event| event.data);
    let log: String = log
        .map(|data| String::from_utf8_lossy(data.as_bytes()).into_owned())
        .collect();
    for line in [
        "log: line 51",
        "log: line 98",
        "uncaught: Error: oh",
        "failure.png",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(!log.contains("line 49"), "{log}");
}

#[test]
fn a_busy_page_holds_up_its_own_job_only() {
    let Some(lab) = Lab::new() else { return };
    let wait =
        json!([{ "type": "wait", "ms": 300 }, { "type": "text", "selector": "h1", "name": "t" }]);
    let mut payload = lab.visit("/busy", wait.clone());
    payload["action_timeout_ms"] = json!(3000);
    let busy = lab.enqueue(&payload, 0);
    lab.run(&lab.visit("/", wait));
    assert_eq!(job(&lab.queue, busy).state, State::Running);
    let error = lab.wait(busy).error.unwrap();
    assert!(error.starts_with("timeout: action 2 (text)"), "{error}");
    assert_eq!(lab.starts(), 1);
}

#[test]
fn a_cancel_ends_a_page_within_a_second() {
    let Some(lab) = Lab::new() else { return };
    lab.run(&lab.visit("/", json!([])));
    let fill = json!({ "type": "fill", "selector": "#name", "value": { "secret": "printed" } });
    let pages = [
        lab.visit("/hang", json!([])),
        lab.visit("/form", json!([fill, { "type": "wait", "ms": 60_000 }])),
        lab.visit("/", json!([{ "type": "wait", "ms": 60_000 }])),
        lab.visit(
            "/busy",
            json!([{ "type": "wait", "ms": 300 }, { "type": "html" }]),
        ),
    ];
    for payload in pages {
        let id = lab.enqueue(&payload, 0);
        let path = payload["url"].as_str().unwrap();
        wait_until("the page is open", PATIENCE, || {
            let path = path.rsplit_once('/').unwrap().1;
            let requests = lab.site.requests();
            requests
                .last()
                .is_some_and(|last| last.starts_with(&format!("GET /{path} ")))
                && job(&lab.queue, id).state == State::Running
        });
        std::thread::sleep(Duration::from_millis(500));
        let told = Instant::now();
        lab.queue.cancel(id).unwrap();
        assert_eq!(lab.wait(id).state, State::Cancelled);
        // A second, on a machine that does nothing else.
        assert!(
            told.elapsed() < Duration::from_secs(3),
            "{:?}",
            told.elapsed()
        );
    }
    lab.run(&lab.visit("/", json!([])));
}
