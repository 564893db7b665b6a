//! The kind `email`, with servers that behave and others that do not.

mod ends;
pub(crate) mod peers;
pub(crate) mod server;

use jobq::handlers::built_in::BuiltIn;
use jobq::handlers::email::{Email, EmailResult, EmailSettings};
use jobq::{Job, JobId, JobRecord, NewJob, Queue, State};
use serde_json::{Value, json};

use self::server::{Act, ScriptedServer, say};
use crate::support::place::Scene;

/// A queue whose mail goes to one server.
struct Office {
    scene: Scene,
    settings: Value,
}

impl Office {
    fn new(port: u16) -> Office {
        Office {
            scene: Scene::new(),
            settings: json!({ "servers": { "default": {
                "host": "127.0.0.1", "port": port, "tls": "none", "from": "Jobs <jobs@x.org>",
            } } }),
        }
    }

    /// The settings of the server.
    fn set(mut self, key: &str, value: impl Into<Value>) -> Office {
        self.settings["servers"]["default"][key] = value.into();
        self
    }

    fn handler(&self) -> BuiltIn<Email> {
        let settings: EmailSettings = serde_json::from_value(self.settings.clone()).unwrap();
        BuiltIn::new(settings)
    }

    fn enqueue(&self, queue: &Queue, fields: &Value) -> JobId {
        let mut payload = json!({ "to": "ann@x.org", "subject": "Hello", "text": "Good morning." });
        for (name, value) in fields.as_object().unwrap() {
            payload[name] = value.clone();
        }
        let payload = payload.as_object_mut().unwrap();
        payload.retain(|_, value| !value.is_null());
        let job = NewJob::new(Email::KIND).payload(payload).max_retries(1);
        queue.enqueue(job).unwrap().id
    }

    /// The job after one attempt.
    fn send(&self, fields: Value) -> JobRecord {
        let queue = self.scene.open();
        let id = self.enqueue(&queue, &fields);
        let runner = queue.runner().kind(Email::KIND, self.handler());
        runner.run_due().unwrap();
        queue.get(id).unwrap().unwrap()
    }

    fn sent(&self, fields: Value) -> EmailResult {
        let job = self.send(fields);
        assert_eq!(job.state, State::Completed, "{:?}", job.error);
        serde_json::from_str(job.result.unwrap().get()).unwrap()
    }

    /// Whether the job is tried again, and its error.
    fn failed(&self, fields: Value) -> (bool, String) {
        let job = self.send(fields);
        let is_retried = match job.state {
            State::Scheduled => true,
            State::Failed => false,
            state => panic!("{state:?}"),
        };
        (is_retried, job.error.unwrap())
    }
}

#[test]
fn a_mail_is_sent_as_its_payload_says() {
    let server = ScriptedServer::good();
    let office = Office::new(server.port);
    let result = office.sent(json!({
        "to": ["Ann <ann@x.org>", "bob@x.org"], "cc": "cleo@x.org", "bcc": ["dan@x.org", "ann@x.org"],
        "replyTo": "desk@x.org", "text": "one\n.\n..two\nMAIL FROM:<evil@x.org>\n.",
    }));
    assert_eq!(result.reply, "250 taken as 42");
    assert_eq!(
        result.accepted,
        ["ann@x.org", "bob@x.org", "cleo@x.org", "dan@x.org"]
    );
    assert!(result.refused.is_empty());
    let said = &server.said()[0];
    let message = said.message.as_ref().unwrap();
    assert!(
        message.contains("\r\n\r\none\r\n.\r\n..two\r\nMAIL FROM:<evil@x.org>\r\n."),
        "{message}"
    );
    assert!(message.contains(&format!("Message-ID: {}\r\n", result.message_id)));
    assert!(!message.contains("dan@x.org"), "a blind copy is not seen");
    let size = format!(
        "MAIL FROM:<jobs@x.org> SIZE={}",
        message.trim_end_matches("\r\n").len()
    );
    assert!(
        said.commands[1].starts_with(&size[..size.len() - 3]),
        "{:?}",
        said.commands
    );
    let to = ["ann", "bob", "cleo", "dan"].map(|name| format!("RCPT TO:<{name}@x.org>"));
    assert_eq!(said.commands[2..6], to, "each once");
}

#[test]
fn a_mail_has_the_same_message_id_in_every_attempt() {
    let server = ScriptedServer::that(".", say("554 no"));
    let office = Office::new(server.port);
    let queue = office.scene.open();
    let ids = [1, 2].map(|_| office.enqueue(&queue, &json!({})));
    let run = || {
        queue
            .runner()
            .kind(Email::KIND, office.handler())
            .run_due()
            .unwrap()
    };
    run();
    for id in ids {
        queue.retry(id).unwrap();
    }
    run();
    let mut found: Vec<String> = server
        .messages()
        .iter()
        .map(|message| {
            let (_, rest) = message.split_once("Message-ID: ").unwrap();
            rest.split_once("\r\n").unwrap().0.to_owned()
        })
        .collect();
    assert_eq!(found.len(), 4);
    assert!(
        found[0].starts_with("<jobq.") && found[0].ends_with("@x.org>"),
        "{found:?}"
    );
    found.sort();
    assert!(
        found[0] == found[1] && found[2] == found[3] && found[1] != found[2],
        "{found:?}"
    );
}

#[test]
fn the_payload_of_the_cms_is_sent_as_it_is() {
    let server = ScriptedServer::good();
    let templates = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(templates.path().join(name), text).unwrap();
    write("welcome.txt", "Dear {{ userName }}!");
    write("welcome.html", "<b>{{ userName }}</b>");
    let office = Office::new(server.port).set("templates", templates.path().to_str().unwrap());
    let payload = json!({
        "to": "user@example.com", "subject": "Welcome {{ userName }}", "template": "welcome",
        "variables": { "userName": "J & J" }, "text": null,
    });
    office.sent(payload);
    let message = &server.messages()[0];
    for line in [
        "Subject: Welcome J & J\r\n",
        "Dear J & J!",
        "<b>J &amp; J</b>",
    ] {
        assert!(message.contains(line), "{line}: {message}");
    }
}

#[test]
fn some_refused_recipients_stop_the_mail_or_do_not() {
    let script = |line: &str| match line {
        "RCPT TO:<gone@x.org>" => Some(say("550 5.1.1 no such user")),
        "RCPT TO:<grey@x.org>" => Some(say("451 4.7.1 come back later")),
        "RCPT TO:<many@x.org>" => Some(say("552 Too many recipients")),
        _ => None,
    };
    let server = ScriptedServer::start(script);
    let office = Office::new(server.port);
    let (gone, grey) = ("gone@x.org", "grey@x.org");
    for (to, partial, expected) in [
        (vec![gone, "ann@x.org"], "none", false),
        (vec![grey, "ann@x.org"], "none", true),
        (vec!["many@x.org", "ann@x.org"], "none", true),
        (vec![grey, gone, "ann@x.org"], "none", false),
        (vec![gone], "ok", false),
        (vec![grey, gone], "ok", true),
    ] {
        let (is_retried, error) = office.failed(json!({ "to": to, "partial": partial }));
        assert_eq!(is_retried, expected, "{to:?} {partial}: {error}");
        assert!(error.starts_with("recipients refused: "), "{error}");
    }
    assert_eq!((server.messages().len(), server.count("DATA")), (0, 0));
    let result = office.sent(json!({ "to": [gone, grey, "ann@x.org"], "partial": "ok" }));
    assert_eq!(result.accepted, ["ann@x.org"]);
    let refused: Vec<_> = result
        .refused
        .iter()
        .map(|one| (&*one.to, one.code, &*one.text))
        .collect();
    assert_eq!(
        refused,
        [
            (gone, 550, "5.1.1 no such user"),
            (grey, 451, "4.7.1 come back later")
        ]
    );
    assert_eq!(server.messages().len(), 1);
}

#[test]
fn a_server_is_logged_in_by_plain_or_login() {
    for (offer, expected) in [
        ("AUTH PLAIN LOGIN", vec!["AUTH PLAIN AG1lAG9wZW4gc2VzYW1l"]),
        (
            "AUTH LOGIN XOAUTH2",
            vec!["AUTH LOGIN", "bWU=", "b3BlbiBzZXNhbWU="],
        ),
    ] {
        let server = ScriptedServer::start(move |line| match line {
            "AUTH LOGIN" | "bWU=" => Some(say("334 VXNlcm5hbWU6")),
            "b3BlbiBzZXNhbWU=" => Some(say("235 welcome")),
            line if line.starts_with("EHLO") => Some(say(&format!("250-test\r\n250 {offer}"))),
            _ => None,
        });
        let office = Office::new(server.port);
        office
            .set("username", "me")
            .set("password", "open sesame")
            .sent(json!({}));
        assert_eq!(server.said()[0].commands[1..=expected.len()], expected);
    }
}

#[test]
fn a_login_that_cannot_be_fails_the_job() {
    let server = ScriptedServer::that("AUTH", say("535 no such user, b3BlbiBzZXNhbWU="));
    let office = Office::new(server.port).set("username", "me");
    let (is_retried, error) = office.failed(json!({}));
    assert!(!is_retried && error.contains("'password'"), "{error}");
    let office = office.set("password", "open sesame");
    let (is_retried, error) = office.failed(json!({}));
    assert_eq!(
        (is_retried, &*error),
        (false, "AUTH: 535 no such user, ***U=")
    );
    let none = ScriptedServer::that("EHLO", say("250-test\r\n250 AUTH XOAUTH2"));
    let office = Office::new(none.port)
        .set("username", "me")
        .set("password", "x");
    let (is_retried, error) = office.failed(json!({}));
    assert!(
        !is_retried && error.contains("offers AUTH XOAUTH2; jobq knows PLAIN"),
        "{error}"
    );
    assert_eq!(none.count("AUTH"), 0);
}

#[test]
fn what_a_server_cannot_take_is_not_sent() {
    let server = ScriptedServer::that("EHLO", say("250-test\r\n250 SIZE 2000"));
    let office = Office::new(server.port);
    for (fields, why) in [
        (json!({ "text": "a".repeat(3000) }), "takes at most 2000"),
        (json!({ "to": "jürgen@x.org" }), "SMTPUTF8"),
        (json!({ "cc": "a@bücher.example" }), "SMTPUTF8"),
    ] {
        let (is_retried, error) = office.failed(fields);
        assert!(!is_retried && error.contains(why), "{error}");
    }
    let strict = Office::new(server.port).set("tls", "starttls");
    let (is_retried, error) = strict.failed(json!({}));
    assert!(
        !is_retried && error.contains("offers no STARTTLS"),
        "{error}"
    );
    assert_eq!((server.count("MAIL"), server.messages().len()), (0, 0));
    let able = ScriptedServer::good();
    Office::new(able.port).sent(json!({ "to": "jürgen@x.org" }));
    let sender = &able.said()[0].commands[1];
    assert!(sender.ends_with(" BODY=8BITMIME SMTPUTF8"), "{sender}");
}

#[test]
fn mail_goes_only_where_the_server_may_send() {
    let server = ScriptedServer::good();
    let office = Office::new(server.port).set("only_to", json!(["*@x.org"]));
    office.sent(json!({}));
    for field in ["to", "cc", "bcc"] {
        let (is_retried, error) = office.failed(json!({ field: ["ann@x.org", "eve@y.org"] }));
        assert!(
            !is_retried && error.contains("eve@y.org gets no mail"),
            "{error}"
        );
    }
    let (is_retried, error) = office.failed(json!({ "server": "other" }));
    assert!(
        !is_retried && error.contains("no 'other'; it has default"),
        "{error}"
    );
    assert_eq!(server.said().len(), 1);
}

#[test]
fn a_payload_that_cannot_be_sent_says_why() {
    let server = ScriptedServer::good();
    let office = Office::new(server.port);
    for (fields, why) in [
        (json!({ "to": [] }), "nobody in 'to'"),
        (json!({ "to": vec!["a@x.org"; 101] }), "more than 100"),
        (
            json!({ "to": "a@x.org\r\nRCPT TO:<b@x.org>" }),
            "line break",
        ),
        (json!({ "to": "a@x.org, b@x.org" }), "as a list"),
        (
            json!({ "cc": ["Ann <a@x.org>, Bob <b@x.org>"] }),
            "\"Ann <a@x.org>, Bob <b@x.org>\" is more than one",
        ),
        (
            json!({ "subject": "a\r\nBcc: b@x.org" }),
            "the subject has a line break",
        ),
        (json!({ "subject": null }), "'subject' is missing"),
        (json!({ "text": null, "html": "<p>" }), "'text' is missing"),
        (json!({ "text": "a\0b" }), "NUL"),
        (
            json!({ "variables": { "a": 1 } }),
            "'variables' go with 'template'",
        ),
        (json!({ "template": "a" }), "in place of 'text'"),
        (json!({ "template": 1 }), "must be a name"),
        (json!({ "template": "a", "text": null }), "no 'templates'"),
        (
            json!({ "headers": { "bcc": "a@x.org" } }),
            "'bcc' cannot be set",
        ),
        (
            json!({ "headers": { "X-A: b\r\nBcc": "a@x.org" } }),
            "cannot be set",
        ),
        (
            json!({ "headers": { "X-A": "b\r\nBcc: c@x.org" } }),
            "the header 'X-A' has a line break",
        ),
        (
            json!({ "inline": [{ "path": "a.png", "cid": "a" }] }),
            "shown by 'html'",
        ),
        (
            json!({ "template": true, "inline": [{ "path": "a.png", "cid": "a" }] }),
            "shown by 'html'",
        ),
        (
            json!({ "html": "a", "inline": [{ "path": "a.png" }] }),
            "needs a 'cid'",
        ),
        (
            json!({ "attachments": [{ "path": "a.png", "cid": "a" }] }),
            "'cid' is for",
        ),
        (
            json!({ "attachments": [{ "path": "/none/a.csv" }] }),
            "No such file",
        ),
        (json!({ "tto": "a@x.org" }), "unknown field `tto`"),
        (json!({ "partial": "some" }), "there is no 'some'"),
    ] {
        let (is_retried, error) = office.failed(fields);
        assert!(!is_retried && error.contains(why), "{why}: {error}");
    }
    assert!(server.said().is_empty(), "nobody was connected to");
}

#[test]
fn the_queues_own_file_is_not_sent() {
    let server = ScriptedServer::good();
    let office = Office::new(server.port);
    let database = office.scene.open().path();
    let folder = database.parent().unwrap();
    std::os::unix::fs::symlink(&database, folder.join("hi.txt")).unwrap();
    let office = office.set("templates", folder.to_str().unwrap());
    for fields in [
        json!({ "attachments": [{ "path": database }] }),
        json!({ "template": "hi", "text": null }),
    ] {
        let (is_retried, error) = office.failed(fields);
        assert!(
            !is_retried && error.contains("the queue's own file"),
            "{error}"
        );
    }
    assert!(server.said().is_empty());
}

#[test]
fn more_than_a_reply_to_starttls_is_not_believed() {
    let hello = say("250-test\r\n250 STARTTLS");
    let server = ScriptedServer::start(move |line| match line {
        "STARTTLS" => Some(Act::Say(
            "220 go on\r\n250-evil\r\n250 AUTH PLAIN".to_owned(),
        )),
        line if line.starts_with("EHLO") => Some(hello.clone()),
        _ => None,
    });
    let office = Office::new(server.port).set("tls", "starttls");
    let (is_retried, error) = office.failed(json!({}));
    assert!(
        is_retried && error.contains("more than its reply to STARTTLS"),
        "{error}"
    );
}
