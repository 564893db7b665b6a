//! Each class of failure, and what is left of it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use jobq::handlers::browser::BrowserSettings;
use jobq::{JobId, NewJob, State};
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
const FAILING_ACTIONS: [(&str, &str); 17] = [
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
        r##"{"type":"evaluate","script":"let a = {}; for (let i = 0; i < 2000; i++) a = { a }; a"}"##,
        "page: action 1 (evaluate): Object reference chain is too long",
    ),
    (
        r##"{"type":"evaluate","name":"v","script":"'x'.repeat(1 << 21)"}"##,
        "page: action 1 (evaluate): the value is larger than 1048576 bytes",
    ),
    (
        r##"{"type":"evaluate","script":"'x'.repeat(140 << 20)"}"##,
        "page: action 1 (evaluate): what it comes to is too large",
    ),
    (
        r##"{"type":"screenshot","selector":"#wide"}"##,
        "page: action 1 (screenshot): it is wider or taller than 16384",
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

/// Notes in `reached` what of a file's ways into a page is open.
const REACHES_FILES: &str = r"
var reached = [];
var file = (name) => 'file://FOLDER/' + name;
var add = (name, url) => {
  const element = document.createElement(name);
  element.src = url;
  document.body.append(element);
  return element;
};
var note = (what, element) => {
  element.onload = () => reached.push(what + ' yes');
  element.onerror = () => reached.push(what + ' no');
};
fetch(file('text')).then(() => reached.push('fetch yes'), () => reached.push('fetch no'));
var xhr = new XMLHttpRequest();
note('xhr', xhr);
xhr.open('GET', file('text'));
xhr.send();
note('picture', add('img', file('a.svg')));
note('script', add('script', file('script.js')));
var frame = add('iframe', file('text'));
setTimeout(() => {
  let text;
  try { text = frame.contentDocument?.body.textContent } catch { text = 'elsewhere' }
  reached.push(`frame ${text === '' || text === 'elsewhere' ? 'no' : 'yes'}`);
}, 500);
'Page'";

#[test]
fn each_way_to_fail_has_its_class() {
    let Some(lab) = Lab::new() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let at = |path: &str| json!({ "url": lab.site.url(path), "action_timeout_ms": 3000 });
    let neighbour = lab.visit("/form", json!([{ "type": "wait", "ms": 12_000 }]));
    let neighbour = lab.enqueue(&neighbour, 0);
    let pages = FAILING_PAGES.map(|(path, error)| (at(path), error));
    let actions = FAILING_ACTIONS.map(|(action, error)| {
        let action: Value = serde_json::from_str(action).unwrap();
        let mut payload = lab.visit("/form", json!([action]));
        payload["action_timeout_ms"] = json!(6000);
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
    assert_eq!(lab.wait(neighbour).state, State::Completed);
    let mut expected = at("/404");
    expected["expect_status"] = json!([404]);
    assert_eq!(lab.run(&expected).status, Some(404));
    assert_eq!(lab.starts(), 1, "no failure of a page costs the browser");
}

#[test]
fn pages_cannot_reach_files_of_the_machine() {
    let Some(lab) = Lab::new() else { return };
    fs::write(lab.scene.file("text"), "hidden").unwrap();
    fs::write(lab.scene.file("script.js"), "document.title = 'hidden'").unwrap();
    let picture = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>";
    fs::write(lab.scene.file("a.svg"), picture).unwrap();
    let actions = json!([
        { "type": "evaluate", "script": REACHES_FILES.replace("FOLDER", lab.scene.folder().to_str().unwrap()) },
        { "type": "wait", "script": "reached.length === 5" },
        { "type": "evaluate", "script": "reached.sort()", "name": "reached" },
        { "type": "evaluate", "script": "const link = document.createElement('a'); link.id = 'file'; link.textContent = 'x'; link.href = file('text'); document.body.prepend(link); location = link.href; open(link.href); document.title" },
        { "type": "click", "selector": "#file" },
        { "type": "text", "name": "text" },
    ]);
    let html = json!({ "html": "<title>Page</title><h1>Page</h1>", "actions": actions });
    for payload in [lab.visit("/", actions.clone()), html] {
        let result = lab.run(&payload);
        let reached = json!(["fetch no", "frame no", "picture no", "script no", "xhr no"]);
        assert_eq!(result.values["reached"], reached);
        assert_eq!(result.title, "Page");
        assert!(!result.url.starts_with("file:"), "{}", result.url);
        assert!(!Value::from(result.values).to_string().contains("hidden"));
    }
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
    let mut asks = lab.visit("/form", json!([fill, { "type": "wait", "ms": 60_000 }]));
    // Nothing that happens on the page wakes the job.
    asks["wait_until"] = json!("networkidle");
    let pages = [
        (lab.visit("/hang", json!([])), None),
        (asks, Some(1)),
        (
            lab.visit("/", json!([{ "type": "wait", "ms": 60_000 }])),
            None,
        ),
        (
            lab.visit(
                "/busy",
                json!([{ "type": "wait", "ms": 300 }, { "type": "html" }]),
            ),
            Some(1),
        ),
    ];
    for (payload, actions_done) in pages {
        let requests = lab.site.requests().len();
        let id = lab.enqueue(&payload, 0);
        wait_until("the page is open", PATIENCE, || {
            let progress = job(&lab.queue, id).progress;
            let done = progress.and_then(|progress| progress.processed);
            lab.site.requests().len() > requests && done == actions_done
        });
        assert_cancelled_within_a_second(&lab, id);
    }
    lab.run(&lab.visit("/", json!([])));
}

fn assert_cancelled_within_a_second(lab: &Lab, id: JobId) {
    let cancelled_at = Instant::now();
    lab.queue.cancel(id).unwrap();
    assert_eq!(lab.wait(id).state, State::Cancelled);
    let took = cancelled_at.elapsed();
    assert!(took <= Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_cancel_ends_the_wait_for_a_browser_that_starts() {
    let folder = tempfile::tempdir().unwrap();
    let silent = folder.path().join("silent");
    fs::write(&silent, "#!/bin/sh\nexec sleep 600\n").unwrap();
    fs::set_permissions(&silent, PermissionsExt::from_mode(0o755)).unwrap();
    let set = |settings: &mut BrowserSettings| settings.headless_shell = Some(silent.clone());
    let Some(lab) = Lab::with(set) else { return };
    let jobs = [0, 1].map(|_| lab.enqueue(&lab.visit("/", json!([])), 0));
    for id in jobs {
        wait_until("it runs", PATIENCE, || {
            job(&lab.queue, id).state == State::Running
        });
    }
    for id in jobs {
        assert_cancelled_within_a_second(&lab, id);
    }
}

#[test]
fn the_timeout_of_an_attempt_ends_its_page() {
    let Some(lab) = Lab::new() else { return };
    lab.run(&lab.visit("/", json!([])));
    let payload = lab.visit("/", json!([{ "type": "wait", "ms": 60_000 }]));
    let job = NewJob::new("browser").payload(&payload).max_retries(0);
    let job = job.timeout(Duration::from_secs(1));
    let ended = lab.wait(lab.queue.enqueue(job).unwrap().id);
    assert_eq!(ended.state, State::Failed, "{ended:?}");
    assert_eq!(lab.run(&lab.visit("/", json!([]))).title, "Page");
    assert_eq!(lab.starts(), 1);
}
