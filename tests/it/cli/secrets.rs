//! Secrets: a command gets them, and nothing else does.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::support::{Jobq, set_mode, text};

pub(super) const SECRET: &str = "open/sesame=+42";

/// The secret, as Base64 and with percent signs.
const FORMS: [&str; 3] = [SECRET, "b3Blbi9zZXNhbWU9KzQy", "open%2Fsesame%3D%2B42"];

/// Files and output with a form of the secret in them.
pub(crate) fn leaks(folder: &Path, printed: &[String]) -> Vec<String> {
    let has_form = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        FORMS.iter().any(|form| text.contains(form))
    };
    let mut leaks: Vec<String> = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.ends_with("key") => {}
                false if has_form(&fs::read(&path).unwrap()) => {
                    leaks.push(path.display().to_string());
                }
                false => {}
            }
        }
    }
    leaks.extend(
        printed
            .iter()
            .filter(|text| has_form(text.as_bytes()))
            .cloned(),
    );
    leaks
}

fn with_secret(script: &str) -> Jobq {
    let jobq = Jobq::new();
    set_mode(&jobq.write("key", format!("{SECRET}\n")), 0o600);
    jobq.script("handler.sh", script);
    jobq.write(
        "jobq.toml",
        "[secrets]\nkey = { file = \"key\" }\n[kinds.talk]\ncommand = [\"./handler.sh\"]\nretries = 0\n\
         secrets = { TOKEN = \"key\" }\n",
    );
    jobq
}

#[test]
fn a_secret_reaches_the_command_and_no_file() {
    let jobq = with_secret(
        r#"echo "to stdout: $TOKEN"
printf '%s' "$TOKEN" | base64
echo "?a=open%2Fsesame%3D%2B$((40 + 2))"
printf 'open/ses' >&2; sleep 0.2; echo 'ame=+42' >&2
printf '%s' "$TOKEN" | cksum > sum
jobq log "logged $TOKEN"
jobq progress 50 "at $TOKEN"
printf '{"token":"%s"}' "$TOKEN" | jobq result -
"#,
    );
    let id = jobq.enqueue(&["--kind", "talk"]);
    let drained = jobq.drain(&["--output"]).exits(0);
    let key = jobq
        .program("sh", &["-c", "tr -d '\\n' < key | cksum"])
        .run();
    assert_eq!(jobq.read("sum"), key.stdout, "the command has it");
    assert_eq!(jobq.job(id)["result"], json!({ "token": "***" }));
    let logs = jobq.stdout(&["logs", &id.to_string()]);
    for line in ["to stdout: ***", "?a=***", "logged ***"] {
        assert!(logs.contains(line), "{logs}");
    }
    jobq.run(&["backup", "copy.db"]).exits(0);
    let events = jobq.stdout(&["events", "--json"]);
    let printed = [drained.stdout, drained.stderr, logs, events];
    assert_eq!(leaks(jobq.folder(), &printed), Vec::<String>::new());
    // The search finds what is there.
    jobq.write("copy.txt", SECRET);
    assert_eq!(leaks(jobq.folder(), &[]).len(), 1);
}

#[test]
fn the_error_of_a_command_has_no_secret() {
    let jobq = with_secret("echo \"401 for $TOKEN\" >&2; exit 1");
    let id = jobq.enqueue(&["--kind", "talk"]);
    let drained = jobq.drain(&[]).exits(4);
    assert_eq!(text(&jobq.job(id)["error"]), "exit code 1: 401 for ***");
    let printed = [drained.stdout, drained.stderr];
    assert_eq!(leaks(jobq.folder(), &printed), Vec::<String>::new());
}

#[test]
fn a_secret_that_cannot_be_read_fails_the_job_by_its_name() {
    let jobq = with_secret("true");
    set_mode(&jobq.path("key"), 0o644);
    let id = jobq.enqueue(&["--kind", "talk"]);
    jobq.drain(&[]).exits(4);
    let error = text(&jobq.job(id)["error"]);
    assert!(error.contains("the secret 'key' cannot be read"), "{error}");
    assert!(error.contains("chmod 600"), "{error}");
    let doctor = jobq.stdout(&["doctor"]);
    assert!(
        doctor.contains("secrets\twarning\tthe secret 'key'"),
        "{doctor}"
    );
    set_mode(&jobq.path("key"), 0o400);
    assert!(
        jobq.stdout(&["doctor"])
            .contains("1 secret can be read from here")
    );
    jobq.run(&["retry", &id.to_string()]).exits(0);
    jobq.drain(&[]).exits(0);
}

#[test]
fn a_secret_is_for_the_kinds_that_its_rule_names() {
    let jobq = with_secret("true");
    let config = jobq.read("jobq.toml");
    jobq.write(
        "jobq.toml",
        config.replace("\"key\" }\n[kinds", "\"key\", kinds = [\"mail\"] }\n[kinds"),
    );
    let id = jobq.enqueue(&["--kind", "talk"]);
    jobq.drain(&[]).exits(4);
    let error = text(&jobq.job(id)["error"]);
    assert!(error.contains("'key' is not for the kind talk"), "{error}");
}

#[test]
fn a_job_with_a_secret_of_its_command_is_refused() {
    let jobq = with_secret(
        r#"exec 2>> refused
jobq enqueue --kind talk --payload "{\"token\":\"$TOKEN\"}" && echo stored >> added
jobq enqueue --parent "$JOBQ_JOB_ID" -- curl -H "token: $TOKEN" && echo stored >> added
jobq enqueue --env TOKEN -- true && echo stored >> added
jobq schedule add nightly '@daily' -- echo "$TOKEN" && echo stored >> added
jobq enqueue -- true
"#,
    );
    jobq.enqueue(&["--kind", "talk"]);
    let drained = jobq.drain(&[]).exits(0);
    let refused = jobq.read("refused");
    assert_eq!(
        refused.matches("holds a secret of this command").count(),
        4,
        "{refused}"
    );
    assert!(!jobq.path("added").exists());
    assert_eq!(jobq.count("completed"), 2);
    let printed = [drained.stdout, drained.stderr];
    assert_eq!(leaks(jobq.folder(), &printed), Vec::<String>::new());
}

#[test]
fn a_secret_that_is_too_short_to_be_masked_is_named() {
    let jobq = with_secret("true");
    set_mode(&jobq.write("key", "12345\n"), 0o600);
    jobq.enqueue(&["--kind", "talk"]);
    let doctor = jobq.stdout(&["doctor"]);
    let told = "secrets\twarning\tthe secret 'key' is shorter than 6 bytes: it is not masked";
    assert!(doctor.contains(told), "{doctor}");
    set_mode(&jobq.write("key", "123456\n"), 0o600);
    assert!(!jobq.stdout(&["doctor"]).contains("is not masked"));
}

#[test]
fn a_variable_with_a_space_takes_no_secret() {
    let jobq = with_secret("true");
    let config = jobq.read("jobq.toml");
    jobq.write("jobq.toml", config.replace("{ TOKEN =", "{ 'MY TOKEN' ="));
    let refused = jobq.run(&["run", "--drain"]);
    assert!(
        refused
            .stderr
            .contains("\"MY TOKEN\" cannot be the name of a variable"),
        "{}",
        refused.stderr
    );
}
