//! What all built-in kinds have in common: payloads are checked early, and help describes them.

use serde_json::json;

use super::support::Jobq;

const MISSPELT: &str = r#"{"dealy_ms":1}"#;

#[test]
fn an_unknown_field_is_refused_with_the_nearest_known_one() {
    let jobq = Jobq::new();
    let id = jobq.enqueue(&["--kind", "sleep", "--payload", r#"{"delay_ms":1}"#]);
    jobq.write(
        "batch",
        format!(r#"{{"kind":"sleep","payload":{MISSPELT}}}"#),
    );
    jobq.write(
        "jobq.toml",
        "[schedules.s]\ncron = '@daily'\nkind = 'sleep'\npayload = { dealy_ms = 1 }",
    );
    let (kind, payload) = (["--kind", "sleep"], ["--payload", MISSPELT]);
    let id = id.to_string();
    for arguments in [
        [&["enqueue"][..], &kind, &payload].concat(),
        vec!["enqueue", "--batch", "batch"],
        [&["schedule", "add", "s", "@daily"][..], &kind, &payload].concat(),
        [&["edit", id.as_str()][..], &payload].concat(),
        vec!["run", "--config", "jobq.toml"],
    ] {
        jobq.call(&arguments).run().fails(
            2,
            &[
                "unknown field 'dealy_ms' in a payload of sleep",
                "did you mean 'delay_ms'?",
            ],
        );
    }
    assert_eq!(jobq.job(1)["payload"], json!({ "delay_ms": 1 }));
}

#[test]
fn a_payload_that_does_not_fit_is_refused_with_the_page_to_read() {
    let jobq = Jobq::new();
    for payload in ["null", "{}", r#"{"delay_ms":-1}"#, r#"{"delay_ms":"1s"}"#] {
        let call = ["enqueue", "--kind", "sleep", "--payload", payload];
        jobq.call(&call)
            .run()
            .fails(2, &["a payload of sleep: ", "`jobq help kind sleep`"]);
    }
    let help = jobq.stdout(&["help", "kind", "sleep"]);
    assert!(help.contains("delay_ms"));
    assert_eq!(jobq.stdout(&["help", "sleep"]), help);
}

#[test]
fn the_config_file_sets_options_of_built_in_kinds_not_commands() {
    let jobq = Jobq::new();
    let payload = r#"{"delay_ms":60000}"#;
    let sleep = ["--kind", "sleep", "--payload", payload];
    jobq.write("jobq.toml", "[kinds.sleep]\ntimeout = '100ms'\nretries = 0");
    let id = jobq.enqueue(&sleep);
    jobq.drain(&[]).exits(4);
    assert_eq!(jobq.job(id)["error"], "timed out after 100ms");
    for (table, why) in [
        ("[kinds.sleep]\ncommand = ['x']", "is built in"),
        ("[kinds.other]\nsettings = {}", "is not built in"),
        (
            "[kinds.other]\ncommand = ['x']\nsettings = {}",
            "not for a command",
        ),
        ("[kinds.sleep]\nsettings = { a = 1 }", "unknown field `a`"),
    ] {
        jobq.write("jobq.toml", table);
        jobq.drain(&[]).fails(2, &[why]);
    }
}

#[cfg(all(
    feature = "backup",
    feature = "cleanup",
    feature = "image-process",
    feature = "webhook"
))]
#[test]
fn paths_of_settings_begin_at_the_config_file() {
    let jobq = Jobq::new();
    std::fs::create_dir_all(jobq.path("in/old")).unwrap();
    crate::image_process::photo(20, 20)
        .save(jobq.path("in/a.png"))
        .unwrap();
    let config = jobq.write(
        "jobq.toml",
        "kinds.backup.settings = { roots = ['in'], to = 'safe' }
         kinds.cleanup.settings.roots = ['in']
         kinds.image_process.settings.root = 'in'
         kinds.webhook.settings.roots = ['in']",
    );
    let inside = |name: &str| jobq.path(&format!("in/{name}"));
    let enqueue = |kind: &str, payload: serde_json::Value| {
        let payload = payload.to_string();
        jobq.enqueue(&["--kind", kind, "--payload", &payload, "--retries", "0"])
    };
    let jobs = [
        enqueue(
            "backup",
            json!({ "what": "files", "source": inside("a.png") }),
        ),
        enqueue(
            "cleanup",
            json!({ "paths": [inside("old")], "match": ["*"], "older_than": "1m" }),
        ),
        enqueue(
            "image_process",
            json!({ "source": "a.png", "output": "b.png" }),
        ),
    ];
    let refused = "http://127.0.0.1:9/";
    let webhook = json!({ "url": refused, "body_file": inside("a.png") });
    let webhook = enqueue("webhook", webhook);
    let run = ["run", "--drain", "--config", config.to_str().unwrap()];
    jobq.call(&run).cwd("/").run().exits(4);
    for id in jobs {
        assert_eq!(jobq.state(id), "completed", "{}", jobq.job(id)["error"]);
    }
    let error = jobq.job(webhook)["error"].to_string();
    assert!(error.contains("refused"), "{error}");
    assert!(jobq.path("safe").is_dir());
}

#[cfg(not(feature = "webhook"))]
#[test]
fn a_kind_that_this_build_lacks_is_named_with_its_feature() {
    let jobq = Jobq::new();
    let how =
        "comes with jobq, but not with this build of it: build it with the cargo feature webhook";
    for words in [&["help", "http"][..], &["help", "kind", "http"]] {
        jobq.run(words)
            .fails(2, &["there is no help on 'http'", how]);
    }
    let enqueue = ["enqueue", "--kind", "http", "--payload", "{}"];
    let said = jobq.run(&enqueue).exits(0).stderr;
    assert!(said.contains(how), "{said}");
    let runner = jobq.runner(&[]);
    let why = jobq.run(&["why", "1"]).exits(0);
    assert!((why.stdout + &why.stderr).contains(how));
    runner.stop();
    jobq.write("jobq.toml", "[kinds.webhook.settings]");
    jobq.run(&["run", "--drain"])
        .fails(2, &["the kind webhook is not built in", how]);
    // It is somebody's own kind then.
    jobq.write("jobq.toml", "[kinds.http]\ncommand = ['true']");
    let said = jobq.run(&enqueue).exits(0).stderr;
    assert!(!said.contains("this build"), "{said}");
}
