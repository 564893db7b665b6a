//! What others make of jobq's mail: a server in Python, Python's mail parser, and a mail server of the system.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::Office;
use super::server::ScriptedServer;
use crate::support::process::HelperProgram;
use crate::support::{PATIENCE, wait_for, wait_until};

/// Debian's, which has its packages.
const PYTHON: &str = "/usr/bin/python3";

fn runs(program: &str, args: &[&str]) -> bool {
    let run = Command::new(program).args(args).output();
    run.is_ok_and(|run| run.status.success())
}

/// Whether the program is there; a test is skipped where it is not.
fn has(what: &str, program: &str, args: &[&str]) -> bool {
    let is_there = runs(program, args);
    if !is_there {
        eprintln!("skipped: {what} is not installed");
    }
    is_there
}

pub(crate) fn has_aiosmtpd() -> bool {
    has("python3-aiosmtpd", PYTHON, &["-c", "import aiosmtpd"])
}

/// A server of aiosmtpd, until it is dropped.
pub(crate) struct Peer {
    _python: HelperProgram,
    pub(crate) port: u16,
    folder: tempfile::TempDir,
}

impl Peer {
    pub(crate) fn start(mode: &str, certificate: &[PathBuf]) -> Peer {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("peer.py");
        fs::write(&script, include_str!("peer.py")).unwrap();
        let python = Command::new(PYTHON)
            .arg(script)
            .args([folder.path(), Path::new(mode)])
            .args(certificate)
            .stdout(Stdio::piped())
            .spawn();
        let mut python = HelperProgram(python.unwrap());
        let mut port = String::new();
        let stdout = python.0.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut port).unwrap();
        let port = port.trim().parse().unwrap();
        Peer {
            _python: python,
            port,
            folder,
        }
    }

    /// The newest mail, as Python reads it.
    pub(crate) fn newest(&self) -> Value {
        let mails = fs::read_dir(self.folder.path()).unwrap();
        let count = mails
            .filter(|file| {
                file.as_ref()
                    .unwrap()
                    .path()
                    .extension()
                    .is_some_and(|end| end == "eml")
            })
            .count();
        read(&self.folder.path().join(format!("{count}.eml")))
    }
}

/// A message as Python reads it.
fn read(path: &Path) -> Value {
    let run = Command::new(PYTHON)
        .args(["-c", include_str!("read.py")])
        .arg(path)
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    serde_json::from_slice(&run.stdout).unwrap()
}

fn read_text(message: &str) -> Value {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(message.as_bytes()).unwrap();
    read(file.path())
}

/// Base64 by a program that is none of jobq's.
fn base64(bytes: &[u8]) -> String {
    let mut child = Command::new("base64")
        .arg("-w0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn a_mail_arrives_as_it_was_written() {
    if !has_aiosmtpd() {
        return;
    }
    let peer = Peer::start("plain", &[]);
    let csv: Vec<u8> = b"a,b\n.\nMAIL FROM:<evil@x>\n\r\rz".repeat(300);
    let image: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let path = peer.folder.path().join("Übersicht 2026.csv");
    fs::write(&path, &csv).unwrap();
    let office = Office::new(peer.port);
    let result = office.sent(json!({
        "to": ["\"Jürgen \\\"J\\\" Müller, Dr.\" <j@x.org>", "gone@x.org"], "cc": "李 <li@x.org>",
        "from": "Jobs & Co <jobs@x.org>", "partial": "ok",
        "subject": "Grüße: ein sehr langer Betreff, der über viele Zeilen geht, weil er so lang ist — 中文",
        "text": "Größe\n.\n..\nEnde ", "html": "<img src=\"cid:logo\"> ü",
        "attachments": [{ "path": path }, { "base64": base64(&image), "name": "x.bin" }],
        "inline": [{ "cid": "logo", "base64": base64(&image), "name": "logo.png" }],
        "headers": { "List-Unsubscribe": format!("<https://x.org/{}>, <mailto:u@x.org>", "u".repeat(90)) },
    }));
    assert_eq!((result.accepted.len(), result.refused.len()), (2, 1));
    let mail = peer.newest();
    let headers = &mail["headers"];
    assert_eq!(mail["defects"], json!([]));
    assert_eq!(
        mail["to"][0],
        json!(["Jürgen \"J\" Müller, Dr.", "j@x.org"])
    );
    assert_eq!(mail["cc"], json!([["李", "li@x.org"]]));
    assert_eq!(mail["from"], json!([["Jobs & Co", "jobs@x.org"]]));
    assert_eq!(
        headers["subject"],
        "Grüße: ein sehr langer Betreff, der über viele Zeilen geht, weil er so lang ist — 中文"
    );
    assert_eq!(headers["message-id"], json!(result.message_id));
    assert!(
        headers["list-unsubscribe"]
            .as_str()
            .unwrap()
            .contains(&"u".repeat(90)),
        "{headers}"
    );
    let parts = mail["parts"].as_array().unwrap();
    let kinds: Vec<&str> = parts
        .iter()
        .map(|part| part["type"].as_str().unwrap())
        .collect();
    let expected = [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "text/csv",
        "application/octet-stream",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(
        parts[2]["content"],
        base64("Größe\r\n.\r\n..\r\nEnde ".as_bytes())
    );
    assert_eq!(
        (&parts[5]["cid"], &parts[5]["disposition"]),
        (&json!("<logo>"), &json!("inline"))
    );
    assert_eq!(parts[6]["name"], "Übersicht 2026.csv");
    let contents = [&parts[5], &parts[6], &parts[7]].map(|part| part["content"].as_str().unwrap());
    assert!(
        contents == [base64(&image), base64(&csv), base64(&image)],
        "byte for byte"
    );
}

#[test]
fn no_text_of_a_mail_becomes_a_header_for_a_reader() {
    if !has("python3", PYTHON, &["-c", "import email"]) {
        return;
    }
    let server = ScriptedServer::good();
    let office = Office::new(server.port);
    let text = "[ab:é,;<>@()\\[\\]\"\\\\=?_. ]{0,60}";
    let mut runner = TestRunner::new(Config {
        cases: 40,
        ..Config::default()
    });
    let sent = runner.run(&[text, text, text].prop_map(|texts| texts), |[subject, name, file]| {
        let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
        let to = format!("\"{escaped}\" <a@x.org>");
        let job = office.send(json!({
            "to": to, "subject": subject, "attachments": [{ "base64": "YQ==", "name": format!("a{file}") }],
        }));
        prop_assert_eq!(job.state, jobq::State::Completed, "{:?}", job.error);
        let mail = read_text(server.messages().last().unwrap());
        prop_assert_eq!(mail["to"].as_array().unwrap().len(), 1, "{}", mail);
        prop_assert_eq!(&mail["to"][0][1], "a@x.org");
        // Python puts blanks between the encoded words of a name.
        let dense = |name: &str| name.split_whitespace().collect::<String>();
        prop_assert_eq!(dense(mail["to"][0][0].as_str().unwrap()), dense(&name));
        prop_assert_eq!(mail["headers"]["subject"].as_str().unwrap().trim(), subject.trim());
        let mut names: Vec<_> = mail["headers"].as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let expected = ["auto-submitted", "content-type", "date", "from", "message-id", "mime-version", "subject", "to"];
        prop_assert_eq!(names, expected);
        Ok(())
    });
    sent.unwrap();
}

/// A certificate authority, and certificates of it.
struct Authority(tempfile::TempDir);

impl Authority {
    fn new() -> Authority {
        let authority = Authority(tempfile::tempdir().unwrap());
        authority.openssl(
            "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=jobq-test \
             -addext basicConstraints=critical,CA:TRUE",
        );
        authority
    }

    fn openssl(&self, script: &str) {
        let run = Command::new("sh")
            .args(["-ec", script])
            .current_dir(self.0.path())
            .output()
            .unwrap();
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A certificate and its key; `days` may be in the past.
    fn certificate(&self, name: &str, host: &str, days: i32) -> Vec<PathBuf> {
        self.openssl(&format!(
            "openssl req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}
             printf 'subjectAltName={host}\\nextendedKeyUsage=serverAuth\\n' > {name}.ext
             openssl x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} \
                 -out {name}.pem -extfile {name}.ext"
        ));
        [".pem", ".key"]
            .map(|end| self.path(&format!("{name}{end}")))
            .to_vec()
    }
}

fn safe(office: Office, tls: &str, authority: &Authority) -> Office {
    let ca_file = authority.path("ca.pem").to_str().unwrap().to_owned();
    office
        .set("tls", tls)
        .set("ca_file", ca_file)
        .set("username", "me")
        .set("password", "open sesame")
}

#[test]
fn a_mail_goes_through_tls_with_a_login() {
    if !has_aiosmtpd() || !has("openssl", "openssl", &["version"]) {
        return;
    }
    let authority = Authority::new();
    let good = authority.certificate("good", "IP:127.0.0.1", 2);
    for tls in ["tls", "starttls"] {
        let peer = Peer::start(tls, &good);
        let office = safe(Office::new(peer.port), tls, &authority);
        office.sent(json!({ "subject": tls }));
        assert_eq!(peer.newest()["headers"]["subject"], tls);
        let text = "a long line of a long mail\n".repeat(40_000);
        office.sent(json!({ "text": text }));
        let (is_retried, error) = office.set("password", "wrong password").failed(json!({}));
        assert!(!is_retried && error.starts_with("AUTH: 535"), "{error}");
        let unknown = Office::new(peer.port).set("tls", tls);
        let (is_retried, error) = unknown.failed(json!({}));
        assert!(
            !is_retried && error.contains("UnknownIssuer") && error.contains("ca_file"),
            "{error}"
        );
        let other_name = safe(Office::new(peer.port), tls, &authority).set("host", "localhost");
        let (is_retried, error) = other_name.failed(json!({}));
        assert!(
            !is_retried && error.contains("not valid for name"),
            "{error}"
        );
    }
}

#[test]
fn the_wrong_mode_of_tls_is_named() {
    if !has_aiosmtpd() || !has("openssl", "openssl", &["version"]) {
        return;
    }
    let authority = Authority::new();
    let good = authority.certificate("good", "IP:127.0.0.1", 2);
    let clear = Peer::start("starttls", &good);
    let (is_retried, error) = safe(Office::new(clear.port), "tls", &authority).failed(json!({}));
    assert!(
        is_retried && error.contains("tls = \"starttls\""),
        "{error}"
    );
    let peer = Peer::start("tls", &good);
    let office = safe(Office::new(peer.port), "starttls", &authority).set("command_timeout", "1s");
    let (is_retried, error) = office.failed(json!({}));
    assert!(is_retried && error.contains("tls = \"tls\""), "{error}");
    let expired = authority.certificate("expired", "IP:127.0.0.1", -1);
    let peer = Peer::start("tls", &expired);
    let (is_retried, error) = safe(Office::new(peer.port), "tls", &authority).failed(json!({}));
    assert!(is_retried && error.contains("Expired"), "{error}");
}

/// Exim with STARTTLS and a login, as root, who may say where all its files are. It delivers into a folder.
fn exim(authority: &Authority, port: u16) -> HelperProgram {
    authority.openssl("chmod 755 . && chmod 644 *.key && mkdir -m 777 mail spool");
    let config = include_str!("exim.conf")
        .replace("FOLDER", authority.0.path().to_str().unwrap())
        .replace("PORT", &port.to_string());
    fs::write(authority.path("exim.conf"), config).unwrap();
    let exim = Command::new(EXIM)
        .arg("-C")
        .arg(authority.path("exim.conf"))
        .arg("-bdf")
        .spawn();
    let mut exim = HelperProgram(exim.unwrap());
    wait_until("exim listens", PATIENCE, || {
        assert!(exim.0.try_wait().unwrap().is_none(), "exim does not start");
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    exim
}

const EXIM: &str = "/usr/sbin/exim4";

#[test]
fn a_mail_server_of_the_system_takes_the_mail() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: exim wants to be started by root");
    }
    if !has("exim4", EXIM, &["-bV"]) || !has("openssl", "openssl", &["version"]) {
        return;
    }
    let authority = Authority::new();
    authority.certificate("good", "IP:127.0.0.1", 2);
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let _exim = exim(&authority, port);
    let office = safe(Office::new(port), "starttls", &authority);
    let sent = office.send(json!({ "to": "ann@x.org", "text": "über\n.\nEnde" }));
    assert_eq!(sent.state, jobq::State::Completed, "{:?}", sent.error);
    let (is_retried, refused) = office.failed(json!({ "to": "ann@elsewhere.org" }));
    let (is_retried_large, large) = office.failed(json!({ "text": "x".repeat(300_000) }));
    assert!(
        !is_retried_large && large.contains("takes at most 204800"),
        "{large}"
    );
    let mails = || fs::read_dir(authority.path("mail/new")).ok()?.next();
    let mail = wait_for("the mail", PATIENCE, mails).unwrap().path();
    assert!(!is_retried && refused.contains("550"), "{refused}");
    // Mail in a folder has the line ends of the system.
    assert_eq!(
        read(&mail)["parts"][0]["content"],
        base64("über\n.\nEnde\n".as_bytes())
    );
}
