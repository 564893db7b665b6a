//! Certificates, made and served by openssl.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::{Hooks, with};
use crate::support::http_server::Server;

/// A CA, and certificates of it for this machine: good, expired, not valid yet, and for another name.
const MAKE: &str = r#"
cat > ca.cnf <<END
[ca]
default_ca = own
[own]
database = index
new_certs_dir = .
serial = serial
default_md = sha256
policy = any
[any]
commonName = supplied
END
new_key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
openssl req -x509 $new_key -keyout ca.key -out ca.pem -days 30 -subj "/CN=Own CA"
openssl req $new_key -keyout leaf.key -out leaf.csr -subj "/CN=leaf"
: > index
echo 01 > serial
sign() {
    echo "subjectAltName=$2" > $1.ext
    openssl ca -config ca.cnf -batch -notext -cert ca.pem -keyfile ca.key -in leaf.csr -out $1.pem \
        -extfile $1.ext -startdate $3 -enddate $4
    : > index
}
sign good DNS:localhost,IP:127.0.0.1 20200101000000Z 20490101000000Z
sign expired DNS:localhost,IP:127.0.0.1 20200101000000Z 20210101000000Z
sign early DNS:localhost,IP:127.0.0.1 20480101000000Z 20490101000000Z
sign other DNS:other.example 20200101000000Z 20490101000000Z
"#;

/// The folder with the certificates. None without openssl.
fn certificates() -> Option<tempfile::TempDir> {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: there is no openssl");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("sh")
        .args(["-ec", MAKE])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    Some(folder)
}

/// `openssl s_server`, which answers each GET with a page about the connection.
struct TlsServer {
    process: Child,
    port: String,
}

impl TlsServer {
    fn start(folder: &Path, certificate: &str) -> TlsServer {
        TlsServer::serving("-www", folder, certificate)
    }

    /// With another option for what it answers.
    fn serving(what: &str, folder: &Path, certificate: &str) -> TlsServer {
        let mut process = Command::new("openssl")
            .args([
                "s_server",
                "-accept",
                "127.0.0.1:0",
                what,
                "-key",
                "leaf.key",
                "-cert",
            ])
            .arg(format!("{certificate}.pem"))
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut ports = lines
            .filter_map(|line| Some(line.unwrap().strip_prefix("ACCEPT 127.0.0.1:")?.to_owned()));
        let port = ports.next().unwrap();
        // What it prints besides is to have a reader.
        std::thread::spawn(move || ports.count());
        TlsServer { process, port }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn only_a_certificate_that_is_trusted_is_talked_to() {
    let Some(folder) = certificates() else { return };
    let own = Hooks::with(json!({ "ca_file": folder.path().join("ca.pem") }));
    let good = TlsServer::start(folder.path(), "good");
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("https://{host}:{}/", good.port);
        assert_eq!(own.result(&with(&url, json!({})))["status"], 200);
    }
    let url = |server: &TlsServer| format!("https://localhost:{}/", server.port);
    let error = Hooks::new().fails(&with(&url(&good), json!({})));
    assert!(error.contains("UnknownIssuer"), "{error}");
    let other = TlsServer::start(folder.path(), "other");
    let error = own.fails(&with(&url(&other), json!({})));
    assert!(error.contains("not valid for name"), "{error}");
    for (certificate, why) in [("expired", "expired"), ("early", "not valid yet")] {
        let server = TlsServer::start(folder.path(), certificate);
        let error = own.retries(&with(&url(&server), json!({})));
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_redirect_out_of_tls_is_not_followed() {
    let Some(folder) = certificates() else { return };
    let own = Hooks::with(json!({ "ca_file": folder.path().join("ca.pem") }));
    let plain = Server::responding("200 OK", "", "");
    let answer = format!("HTTP/1.0 302 Found\r\nlocation: {}\r\n\r\n", plain.url("/"));
    std::fs::write(folder.path().join("moved"), answer).unwrap();
    let server = TlsServer::serving("-HTTP", folder.path(), "good");
    let url = format!("https://localhost:{}/moved", server.port);
    let error = own.fails(&with(&url, json!({ "redirects": 1 })));
    assert!(error.contains("is not https"), "{error}");
    assert!(plain.asked().is_empty());
}

#[test]
fn a_file_without_certificates_is_named() {
    let hooks = Hooks::new();
    let path = hooks.scene.file("ca.pem");
    for (text, why) in [(None, "No such file"), (Some(""), "no certificate in it")] {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let hooks = Hooks::with(json!({ "ca_file": path }));
        let error = hooks.fails(&with("https://127.0.0.1:1/", json!({})));
        assert!(error.contains("ca_file") && error.contains(why), "{error}");
    }
}

#[test]
fn what_speaks_no_tls_is_tried_again() {
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = plain.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in plain.incoming() {
            std::io::Write::write_all(&mut stream.unwrap(), b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .unwrap();
        }
    });
    let error = Hooks::new().retries(&with(&format!("https://{address}/"), json!({})));
    assert!(
        error.starts_with(&format!("GET https://{address}/: ")),
        "{error}"
    );
}
