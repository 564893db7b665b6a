//! The kind `email`, as `jobq run` runs it.

use std::collections::HashSet;
use std::fs;

use rustix::process::Signal;
use serde_json::json;

use super::secrets::leaks;
use super::support::{Jobq, set_mode, text};
use crate::email::server::{Act, ScriptedServer, say};
use crate::support::{PATIENCE, wait_until};

/// With a password, a folder of templates, and files beside the config file.
fn with_server(port: u16) -> Jobq {
    let jobq = Jobq::new();
    fs::create_dir_all(jobq.path("etc/templates")).unwrap();
    jobq.write("etc/templates/hi.txt", "Dear {{ name }}");
    jobq.write("etc/report.csv", "a,b");
    set_mode(&jobq.write("etc/key", "open/sesame=+42\n"), 0o600);
    jobq.write(
        "etc/jobq.toml",
        format!(
            "[secrets]\nsmtp = {{ file = \"key\", hosts = [\"127.0.0.1\"], kinds = [\"email\"] }}\n\
             [kinds.email.settings.servers.default]\nhost = \"127.0.0.1\"\nport = {port}\nusername = \"me\"\n\
             password = {{ secret = \"smtp\" }}\nfrom = \"jobs@x.org\"\ntemplates = \"templates\"\n"
        ),
    );
    jobq
}

const CONFIG: [&str; 2] = ["--config", "etc/jobq.toml"];

fn enqueue(jobq: &Jobq, options: &[&str]) -> i64 {
    let payload = json!({
        "to": "ann@x.org", "subject": "Hi", "template": "hi", "variables": { "name": "Ann" },
        "attachments": [{ "path": "report.csv" }],
    });
    let payload = payload.to_string();
    let words = ["--kind", "email", "--payload", &payload];
    jobq.enqueue(&[&CONFIG, &words[..], options].concat())
}

#[test]
fn relative_paths_of_mail_begin_at_the_config_file() {
    let server = ScriptedServer::good();
    let jobq = with_server(server.port);
    let id = enqueue(&jobq, &[]);
    let job = jobq.job(id);
    assert_eq!(
        (&job["max_retries"], &job["timeout_ms"]),
        (&json!(3), &json!(600_000))
    );
    jobq.drain(&CONFIG).exits(0);
    let message = &server.messages()[0];
    assert!(
        message.contains("Dear Ann") && message.contains("report.csv"),
        "{message}"
    );
    assert!(message.contains("YSxi"), "{message}");
}

#[test]
fn the_password_of_a_server_is_in_no_file_and_no_output() {
    // The server tells it back in each form that it knows: as it is in AUTH PLAIN and LOGIN, in a URL, in clear.
    let told =
        "AG1lAG9wZW4vc2VzYW1lPSs0Mg== b3Blbi9zZXNhbWU9KzQy open%2Fsesame%3D%2B42 open/sesame=+42";
    for (point, code) in [
        ("AUTH", "535"),
        ("AUTH", "454"),
        ("RCPT", "550"),
        (".", "250"),
        (".", "554"),
    ] {
        let server = ScriptedServer::that(point, say(&format!("{code} {told}")));
        let jobq = with_server(server.port);
        let id = enqueue(&jobq, &["--retries", "0"]);
        let drained = jobq.drain(&[&CONFIG[..], &["-v"]].concat());
        let job = jobq.job(id);
        assert!(job.to_string().contains("***"), "{job}");
        jobq.run(&["backup", "copy.db"]).exits(0);
        let shown = ["status", "logs", "why"].map(|verb| jobq.run(&[verb, &id.to_string()]).stdout);
        let events = jobq.stdout(&["events", "--json"]);
        let printed = [vec![drained.stdout, drained.stderr, events], shown.to_vec()].concat();
        assert_eq!(
            leaks(jobq.folder(), &printed),
            Vec::<String>::new(),
            "{point} {code}"
        );
        let plain = server.said()[0]
            .commands
            .iter()
            .any(|line| line == "AUTH PLAIN AG1lAG9wZW4vc2VzYW1lPSs0Mg==");
        assert!(plain, "the server has it");
    }
}

#[test]
fn a_password_goes_only_to_the_hosts_of_its_rule() {
    let server = ScriptedServer::good();
    let jobq = with_server(server.port);
    let config = jobq.read("etc/jobq.toml");
    jobq.write(
        "etc/jobq.toml",
        config.replace("[\"127.0.0.1\"]", "[\"smtp.x.org\"]"),
    );
    let id = enqueue(&jobq, &[]);
    jobq.drain(&CONFIG).exits(4);
    let error = text(&jobq.job(id)["error"]);
    assert!(error.contains("'smtp' is not for 127.0.0.1"), "{error}");
    assert!(server.said().is_empty());
}

#[test]
fn doctor_tries_the_servers_without_sending_anything() {
    let server = ScriptedServer::that("AUTH", say("535 open/sesame=+42 is wrong"));
    let jobq = with_server(server.port);
    jobq.make_database();
    let config = jobq.read("etc/jobq.toml");
    let doctor = || jobq.run(&[&CONFIG[..], &["doctor", "--mail"]].concat());
    let refused = doctor().exits(1).stdout;
    assert!(
        refused.contains("mail\terror\tserver default: AUTH: 535"),
        "{refused}"
    );
    let good = ScriptedServer::good();
    let port = |server: &ScriptedServer| format!("port = {}", server.port);
    jobq.write(
        "etc/jobq.toml",
        config.replace(&port(&server), &port(&good)),
    );
    let found = doctor().exits(0).stdout;
    assert!(
        found.contains("mail\tok\tserver default: 127.0.0.1 can be used"),
        "{found}"
    );
    wait_until("QUIT is sent", PATIENCE, || good.count("QUIT") == 1);
    assert_eq!(good.said()[0].commands.len(), 3, "EHLO, AUTH, QUIT");
}

#[test]
fn doctor_keeps_a_password_to_its_rule_as_a_runner_does() {
    let server = ScriptedServer::good();
    let jobq = with_server(server.port);
    jobq.make_database();
    let config = jobq.read("etc/jobq.toml");
    for (bound, elsewhere, why) in [
        (
            "[\"127.0.0.1\"]",
            "[\"smtp.x.org\"]",
            "'smtp' is not for 127.0.0.1",
        ),
        (
            "[\"email\"]",
            "[\"webhook\"]",
            "'smtp' is not for the kind email",
        ),
    ] {
        jobq.write("etc/jobq.toml", config.replace(bound, elsewhere));
        let doctor = jobq.run(&[&CONFIG[..], &["doctor", "--mail"]].concat());
        let found = doctor.exits(1).stdout;
        assert!(
            found.contains("mail\terror\t") && found.contains(why),
            "{found}"
        );
        assert!(found.contains("secrets\tok\t"), "it can be read: {found}");
    }
    assert!(server.said().is_empty(), "nobody was connected to");
    jobq.write("etc/jobq.toml", config.replace("port =", "prot ="));
    let doctor = jobq.run(&[&CONFIG[..], &["doctor", "--mail"]].concat());
    doctor.fails(2, &["kind email", "prot"]);
}

fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.starts_with('T')
}

#[test]
fn a_signal_within_a_dialogue_costs_no_attempt() {
    const STOPS: usize = 5;
    let (go_on, may_go_on) = crossbeam_channel::bounded::<()>(0);
    let server = ScriptedServer::start(move |line| {
        let is_point = line.starts_with("RCPT") || line == ".";
        if is_point {
            may_go_on.recv().unwrap();
        }
        None
    });
    let jobq = with_server(server.port);
    let id = enqueue(&jobq, &["--retries", "0"]);
    let runner = jobq.runner(&CONFIG);
    let points: [(&str, &dyn Fn() -> bool); 2] = [
        ("RCPT", &|| server.count("RCPT") == 1),
        ("the message", &|| server.messages().len() == 1),
    ];
    for (point, is_there) in points {
        wait_until(point, PATIENCE, is_there);
        // A stopped process that goes on finds its read interrupted: it has a timeout.
        for _ in 0..STOPS {
            runner.signal(Signal::STOP);
            wait_until("it is stopped", PATIENCE, || is_stopped(runner.pid()));
            runner.signal(Signal::CONT);
            wait_until("it goes on", PATIENCE, || !is_stopped(runner.pid()));
        }
        go_on.send(()).unwrap();
    }
    wait_until("the mail is sent", PATIENCE, || {
        jobq.count("completed") == 1
    });
    assert_eq!(jobq.job(id)["attempt"], json!(1));
    runner.kill();
}

#[test]
fn a_misspelt_field_of_an_email_is_not_enqueued() {
    let jobq = Jobq::new();
    let payload = r#"{"to":"a@x.org","subjekt":"s","text":"t"}"#;
    jobq.call(&["enqueue", "--kind", "email", "--payload", payload])
        .run()
        .fails(
            2,
            &[
                "unknown field 'subjekt' in a payload of email",
                "did you mean 'subject'?",
            ],
        );
    assert!(jobq.stdout(&["help", "email"]).contains("on_unknown"));
    jobq.write(
        "jobq.toml",
        "[kinds.email.settings.servers.a]\nhost = \"a\"\nprot = 25",
    );
    jobq.run(&["run", "--drain"])
        .fails(2, &["kind email", "prot"]);
}

#[test]
fn mail_of_a_killed_runner_is_sent_at_least_once() {
    const MAILS: usize = 40;
    let server = ScriptedServer::start(|line| {
        // Some of the kills fall between the message and its reply.
        if line == "." {
            std::thread::sleep(std::time::Duration::from_millis(15));
        }
        None::<Act>
    });
    let jobq = with_server(server.port);
    let ids: Vec<i64> = (0..MAILS).map(|_| enqueue(&jobq, &[])).collect();
    // A third could fail a job that was there each time.
    let mut kills = 0;
    while jobq.count("completed") < MAILS as u64 && kills < 2 {
        let sent = server.messages().len();
        let runner = jobq.runner(&CONFIG);
        wait_until("some more mail is sent", PATIENCE, || {
            server.messages().len() > sent + 3 || jobq.count("completed") == MAILS as u64
        });
        runner.kill();
        kills += 1;
    }
    assert_eq!(kills, 2, "it was too fast to be killed");
    jobq.drain(&CONFIG).exits(0);
    assert_eq!(jobq.count("completed"), MAILS as u64);
    let message_id = |message: &String| {
        let (_, rest) = message.split_once("Message-ID: ").unwrap();
        rest.split_once("\r\n").unwrap().0.to_owned()
    };
    let messages = server.messages();
    let sent: HashSet<String> = messages.iter().map(message_id).collect();
    assert_eq!(
        sent.len(),
        MAILS,
        "a mail that came twice came with the same id"
    );
    let reported: HashSet<String> = ids
        .iter()
        .map(|id| text(&jobq.job(*id)["result"]["message_id"]))
        .collect();
    assert_eq!(sent, reported);
}
