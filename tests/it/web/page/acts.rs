//! What a person does on the page.

use serde_json::json;

use super::{Lab, five_ended};
use crate::cli::support::Jobq;

/// The jobs of the list, in order.
const ROWS: &str =
    "[...document.querySelectorAll('[data-job]')].map((row) => Number(row.dataset.job))";

const IS_CONNECTED: &str = "document.querySelector('.c-live, .c-polling')";

fn one_pending(jobq: &Jobq) {
    jobq.enqueue(&["--", "true"]);
}

fn one_of_a_queue(jobq: &Jobq) {
    jobq.enqueue(&["--queue", "images", "--", "true"]);
}

#[test]
fn the_printed_address_opens_the_page_and_leaves_the_bar() {
    let Some(mut lab) = Lab::new(five_ended) else {
        return;
    };
    lab.chrome.until("document.querySelector('.tiles')");
    assert_eq!(lab.chrome.eval("location.hash"), "#/");
    let kept = lab.chrome.eval("sessionStorage.getItem('jobq_token')");
    assert_eq!(kept, lab.token());
    let tiles = "[...document.querySelectorAll('.tiles a')].map((one) => one.innerText.split(/\\s+/).join(' '))";
    let tiles = lab.chrome.eval(tiles);
    for tile in ["2 completed", "3 failed", "0 running"] {
        assert!(tiles.as_array().unwrap().contains(&json!(tile)), "{tiles}");
    }
    let own = lab.origin().split_once("://").unwrap().1.to_owned();
    for request in lab.chrome.requests() {
        let host = request.split_once("://").unwrap().1;
        assert!(host.starts_with(&own), "{request}");
    }
    lab.ends_well();
}

#[test]
fn without_a_token_the_page_asks_for_the_address() {
    let Some(mut lab) = Lab::new(|_| ()) else {
        return;
    };
    lab.chrome.eval("sessionStorage.clear()");
    let origin = lab.origin().to_owned();
    lab.chrome.go(&format!("{origin}/?again"));
    lab.chrome.until_said("Open the address that");
    lab.chrome.eval("document.querySelector('input').focus()");
    let url = lab.url.clone();
    lab.chrome.type_text(&url);
    lab.chrome.press("Enter");
    lab.chrome.until("document.querySelector('.tiles')");
    lab.ends_well();
}

#[test]
fn all_that_match_are_retried_after_a_dry_run() {
    let Some(mut lab) = Lab::new(five_ended) else {
        return;
    };
    lab.chrome.press("/");
    lab.chrome.until("document.activeElement.id === 'search'");
    lab.chrome.type_text("state:failed");
    lab.chrome.press("Enter");
    lab.chrome.until(&format!("String({ROWS}) === '5,4,3'"));
    lab.chrome.press("Escape");
    lab.chrome.press("A");
    lab.chrome.until_said("3 jobs can be retried now");
    assert!(lab.chrome.text().contains("jobq retry --search"));
    assert_eq!(lab.jobq.count("failed"), 3, "a dry run changes nothing");
    lab.chrome.click("Retry 3 jobs");
    lab.chrome.until_said("3 jobs retried.");
    assert_eq!(lab.jobq.count("pending"), 3);
    assert_eq!(lab.jobq.count("completed"), 2);
    lab.ends_well();
}

#[test]
fn a_cancel_is_undone_by_its_button_or_by_a_key() {
    let Some(mut lab) = Lab::new(one_pending) else {
        return;
    };
    lab.chrome.view("#/jobs/1");
    lab.chrome.click("Cancel");
    lab.chrome.until_said("Job 1 cancelled");
    assert_eq!(lab.jobq.state(1), "cancelled");
    lab.chrome.click("Undo");
    lab.chrome.until_said("Undone: job 1 is pending again");
    assert_eq!(lab.jobq.state(1), "pending");
    lab.chrome.click("Cancel");
    lab.chrome.until_said("Job 1 cancelled");
    lab.chrome.press("u");
    lab.chrome
        .until("document.body.innerText.split('Undone: job 1 is pending again').length > 2");
    assert_eq!(lab.jobq.state(1), "pending");
    lab.ends_well();
}

#[test]
fn a_log_is_followed_to_its_end() {
    let Some(mut lab) = Lab::new(|jobq| {
        jobq.script(
            "talk",
            "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo \"line $i\"; done\n\
             while [ ! -e go ]; do sleep 0.01; done\n\
             printf '\\033[31mthe end\\033[0m\\n'",
        );
        jobq.enqueue(&["--", "./talk"]);
    }) else {
        return;
    };
    let runner = lab.jobq.runner(&[]);
    lab.chrome.view("#/jobs/1/log");
    lab.chrome.until_said("line 3000");
    let lines = lab.chrome.eval("document.querySelectorAll('.line').length");
    assert!(lines.as_u64().unwrap() < 300, "{lines} lines are drawn");
    lab.jobq.write("go", "");
    lab.chrome.until_said("the end");
    lab.chrome.until_said("completed");
    let colour = "[...document.querySelectorAll('.line .fg1')].map((one) => one.textContent)";
    assert_eq!(lab.chrome.eval(colour), json!(["the end"]));
    runner.stop().exits(0);
    lab.ends_well();
}

#[test]
fn a_queue_is_paused_and_resumed() {
    let Some(mut lab) = Lab::new(one_of_a_queue) else {
        return;
    };
    let is_paused = |lab: &Lab| lab.jobq.json(&["queue", "list"])["paused"].clone();
    lab.chrome.view("#/queues");
    lab.chrome.click("Pause");
    lab.chrome.until_said("Queue images paused");
    assert_eq!(is_paused(&lab), true);
    lab.chrome.click("Resume");
    lab.chrome.until_said("Queue images resumed");
    assert_eq!(is_paused(&lab), false);
    lab.ends_well();
}

#[test]
fn a_waiting_row_says_why() {
    let Some(mut lab) = Lab::new(one_pending) else {
        return;
    };
    lab.chrome.view("#/jobs");
    lab.chrome.until_said("no runner is active");
    lab.chrome.view("#/jobs/1");
    lab.chrome
        .until_said("job 1 is pending: no runner is active");
    lab.chrome.until_said("jobq run");
    lab.ends_well();
}

#[test]
fn rows_stay_while_one_is_selected() {
    let Some(mut lab) = Lab::new(five_ended) else {
        return;
    };
    lab.chrome.view("#/jobs");
    lab.chrome.until(&format!("String({ROWS}) === '5,4,3,2,1'"));
    lab.chrome.press("j");
    lab.chrome.press("x");
    lab.chrome.until_said("1 job selected");
    lab.jobq.enqueue(&["--", "true"]);
    lab.chrome.until_said("1 new");
    assert_eq!(lab.chrome.eval(ROWS), json!([5, 4, 3, 2, 1]));
    lab.chrome.press("Escape");
    lab.chrome
        .until(&format!("String({ROWS}) === '6,5,4,3,2,1'"));
    lab.ends_well();
}

#[test]
fn a_job_is_added_by_a_form() {
    let Some(mut lab) = Lab::new(|_| ()) else {
        return;
    };
    lab.chrome.press("c");
    lab.chrome
        .until("document.activeElement.closest('dialog label')");
    lab.chrome.type_text("resize");
    lab.chrome
        .eval("document.querySelector('dialog textarea').focus()");
    lab.chrome
        .eval("document.querySelector('dialog textarea').select()");
    lab.chrome.type_text(r#"{"width":12345678901234567890.50}"#);
    lab.chrome.click("Enqueue");
    lab.chrome.until_said("Job 1 is pending");
    lab.chrome.until_said("\"width\": 12345678901234567890.50");
    let payload = lab.jobq.stdout(&["list", "--json"]);
    assert!(
        payload.contains(r#""payload":{"width":12345678901234567890.50}"#),
        "{payload}"
    );
    lab.ends_well();
}

#[test]
fn keys_alone_lead_everywhere() {
    let Some(mut lab) = Lab::new(|jobq| {
        five_ended(jobq);
        jobq.enqueue(&["--", "true"]);
    }) else {
        return;
    };
    lab.chrome.press("2");
    lab.chrome.until(&format!("{ROWS}.length === 6"));
    lab.chrome.press("j");
    lab.chrome.press("Enter");
    lab.chrome.until("location.hash === '#/jobs/6'");
    lab.chrome.until_said("job 6 is pending");
    lab.chrome.press("C");
    lab.chrome.until_said("Job 6 cancelled");
    assert_eq!(lab.jobq.state(6), "cancelled");
    lab.chrome.press("L");
    lab.chrome.until_said("It has not started yet");
    lab.chrome.press("?");
    lab.chrome.until_said("search in the log");
    lab.chrome.press("Escape");
    lab.chrome.until("!document.querySelector('dialog[open]')");
    lab.chrome.press("Ctrl+k");
    lab.chrome
        .until("document.activeElement.matches('.palette input')");
    lab.chrome.type_text("pause all");
    lab.chrome.press("Enter");
    lab.chrome.until_said("All queues paused");
    for (key, view) in [
        "overview",
        "jobs",
        "queues",
        "runners",
        "schedules",
        "errors",
        "charts",
    ]
    .iter()
    .enumerate()
    {
        lab.chrome.press(&(key + 1).to_string());
        lab.chrome.until(&format!("location.hash === '#/{view}'"));
        lab.chrome.until("document.activeElement.id === 'main'");
        lab.chrome.until("!document.querySelector('.loading')");
    }
    lab.ends_well();
}

#[test]
fn the_back_button_returns_to_the_search() {
    let Some(mut lab) = Lab::new(five_ended) else {
        return;
    };
    lab.chrome.view("#/jobs?search=state:failed");
    lab.chrome.until(&format!("String({ROWS}) === '5,4,3'"));
    lab.chrome.click("4");
    lab.chrome.until("location.hash === '#/jobs/4'");
    lab.chrome.eval("history.back()");
    lab.chrome.until(&format!("String({ROWS}) === '5,4,3'"));
    assert_eq!(
        lab.chrome.eval("document.getElementById('search').value"),
        "state:failed"
    );
    lab.ends_well();
}

#[test]
fn a_search_that_is_wrong_says_what_was_meant() {
    let Some(mut lab) = Lab::new(five_ended) else {
        return;
    };
    lab.chrome.view("#/jobs?search=stat:failed");
    lab.chrome.until("document.querySelector('.trouble')");
    let said = lab.chrome.text();
    assert!(
        said.contains("'stat:'") && said.contains("did you mean 'state:'"),
        "{said}"
    );
    lab.ends_well();
}

#[test]
fn a_page_goes_on_after_its_server_was_started_again() {
    let Some(mut lab) = Lab::new(one_pending) else {
        return;
    };
    lab.chrome.view("#/jobs");
    lab.chrome.until(IS_CONNECTED);
    lab.chrome.until(&format!("{ROWS}.length === 1"));
    let address = lab.origin().split_once("//").unwrap().1.to_owned();
    let tokens = lab.jobq.write("tokens", format!("{}\n", lab.token()));
    lab.server.signal(rustix::process::Signal::TERM);
    lab.chrome.until(&format!("!{IS_CONNECTED}"));
    lab.jobq.enqueue(&["--", "true"]);
    let options = [
        "serve",
        "--listen",
        &address,
        "--token-file",
        tokens.to_str().unwrap(),
    ];
    lab.server = lab.jobq.spawn(&options);
    lab.chrome.until(IS_CONNECTED);
    lab.chrome.until(&format!("String({ROWS}) === '2,1'"));
    // The browser itself notes that it could not connect for a while.
    lab.chrome.complaints();
    lab.ends_well();
}

#[test]
fn a_runners_timeline_shows_its_attempts() {
    let Some(mut lab) = Lab::new(|_| ()) else {
        return;
    };
    let runner = lab.jobq.runner(&[]);
    for command in ["true", "false"] {
        lab.jobq.enqueue(&["--retries", "0", "--", command]);
    }
    lab.chrome.view("#/runners/1");
    let drawn = "[...document.querySelectorAll('.gantt rect:not(.idle)')].map((one) => one.getAttribute('class')).sort().join()";
    lab.chrome
        .until(&format!("{drawn} === 'g-completed,g-failed'"));
    runner.stop().exits(0);
    lab.ends_well();
}

#[test]
fn a_tenants_page_shows_its_jobs_alone() {
    let Some(mut lab) = Lab::new(|jobq| {
        jobq.enqueue(&["--tenant", "acme", "--", "true"]);
        jobq.enqueue(&["--tenant", "other", "--", "true"]);
    }) else {
        return;
    };
    lab.server.signal(rustix::process::Signal::TERM);
    let tokens = lab.jobq.write(
        "tokens",
        format!("{} tenant=acme read-only\n", "k".repeat(43)),
    );
    let tokens = tokens.to_str().unwrap();
    lab.server = lab.jobq.spawn(&[
        "serve",
        "--json",
        "--listen",
        "127.0.0.1:0",
        "--token-file",
        tokens,
    ]);
    lab.server.wait_until_printed("http://");
    let text = lab.server.stdout();
    let url = serde_json::from_str::<serde_json::Value>(text.trim()).unwrap()["url"].clone();
    let origin = url
        .as_str()
        .unwrap()
        .split('#')
        .next()
        .unwrap()
        .trim_end_matches('/')
        .to_owned();
    lab.chrome
        .go(&format!("{origin}/?tenant#token={}", "k".repeat(43)));
    lab.chrome.until(&format!("String({ROWS}) === '1'"));
    let views = lab
        .chrome
        .eval("[...document.querySelectorAll('.top nav a')].map((one) => one.innerText.trim())");
    assert_eq!(views, json!(["Jobs", "Errors"]));
    let text = lab.chrome.text();
    assert!(
        text.contains("read only") && text.contains("acme"),
        "{text}"
    );
    lab.chrome.view("#/jobs/1");
    lab.chrome.until_said("Copy command");
    assert!(!lab.chrome.text().contains("Cancel"));
    lab.chrome.complaints();
    lab.ends_well();
}
