//! Who may do what, from where.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use jobq::Queue;
use jobq::web::Server;

use super::client::Site;

/// Method and path of each route, without those that need no token.
fn routes(site: &Site) -> Vec<(String, String)> {
    let document = site.get("/api/v1/openapi.json").is(200).json();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", "1").replace("{name}", "some");
        for (method, operation) in methods.as_object().unwrap() {
            if operation.get("security").is_none() {
                found.push((method.to_uppercase(), path.clone()));
            }
        }
    }
    assert!(found.len() > 30, "{found:?}");
    found
}

#[test]
fn nothing_of_the_file_is_shown_without_the_token() {
    let site = Site::new();
    site.add("secret-kind");
    let json = "Content-Type: application/json\r\n";
    for (method, path) in routes(&site) {
        for token in [
            "",
            "Authorization: Bearer 0123\r\n",
            "Authorization: Basic Og==\r\n",
        ] {
            let answer = site
                .ask(&method, &path, &format!("{json}{token}"), "")
                .is(401);
            assert_eq!(answer.problem(), "unauthorized", "{method} {path}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        // A token in the address would stand in logs and histories.
        let token = site.server.token().unwrap();
        let query = format!("{path}?token={token}");
        site.ask(&method, &query, json, "").is(401);
    }
    assert_eq!(
        site.ask("GET", "/healthz", "", "").is(200).text(),
        "{\"ok\":true}"
    );
    let page = site.ask("GET", "/", "", "").is(200);
    assert!(!page.text().contains("secret-kind"));
}

#[test]
fn only_known_hosts_are_served_and_only_one_at_a_time() {
    let site = Site::with(|server| server.allow_host("jobs.example.com"));
    let ask = |hosts: &str| {
        let mut client = site.connect();
        client.send(format!("GET /healthz HTTP/1.1\r\n{hosts}\r\n"));
        client.answer("GET")
    };
    for host in ["localhost", "127.0.0.1:1", "[::1]", "jobs.example.com"] {
        ask(&format!("Host: {host}\r\n")).is(200);
    }
    for host in [
        "evil.example.com",
        "localhost.evil.com",
        "127.0.0.1.evil.com:80",
    ] {
        assert_eq!(
            ask(&format!("Host: {host}\r\n")).is(403).problem(),
            "host",
            "{host}"
        );
    }
    ask("").is(400);
    ask("Host: localhost\r\nHost: localhost\r\n").is(400);
}

#[test]
fn a_page_of_another_site_changes_nothing() {
    let site = Site::new();
    let id = site.add("k");
    let path = format!("/api/v1/jobs/{id}/cancel");
    for origin in [
        "Origin: http://evil.example.com\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\nOrigin: http://localhost\r\n",
    ] {
        let answer = site.change_with("POST", &path, origin, "").is(403);
        assert_eq!(answer.problem(), "origin", "{origin}");
    }
    // What a form of another site can send.
    let token = format!("Authorization: Bearer {}\r\n", site.server.token().unwrap());
    for media_type in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
    ] {
        let answer = site
            .ask("POST", &path, &format!("{token}{media_type}"), "")
            .is(415);
        assert_eq!(answer.problem(), "media-type");
    }
    // No page of another site may even ask.
    let asked = site
        .ask("OPTIONS", &path, "Origin: http://evil.example.com\r\n", "")
        .is(405);
    assert!(
        !asked.head.to_lowercase().contains("access-control"),
        "{}",
        asked.head
    );
    assert_eq!(
        site.queue.state(jobq::JobId(id)).unwrap().unwrap(),
        jobq::State::Pending
    );
    site.change_with("POST", &path, "Sec-Fetch-Site: same-origin\r\n", "")
        .is(200);
}

#[test]
fn commands_are_refused_unless_they_are_allowed() {
    let bodies = [
        ("POST", "/api/v1/jobs", r#"{"command":["true"]}"#),
        ("POST", "/api/v1/jobs", r#"{"shell":"true"}"#),
        (
            "POST",
            "/api/v1/jobs",
            r#"{"kind":"exec","payload":{"shell":"true"}}"#,
        ),
        (
            "POST",
            "/api/v1/jobs",
            r#"{"kind":"k","on_success":"true"}"#,
        ),
        ("POST", "/api/v1/jobs", r#"[{"kind":"k"},{"shell":"true"}]"#),
        (
            "POST",
            "/api/v1/schedules",
            r#"{"name":"s","cron":"0 2 * * *","job":{"shell":"true"}}"#,
        ),
        (
            "PATCH",
            "/api/v1/jobs/1",
            r#"{"payload":{"shell":"rm -r /"}}"#,
        ),
        ("PATCH", "/api/v1/jobs/1", r#"{"on_end":"true"}"#),
    ];
    let start = |site: Site| {
        let job = jobq::NewJob::new("exec").payload_json(r#"{"shell":"true"}"#);
        site.queue.enqueue(job).unwrap();
        site
    };
    let site = start(Site::new());
    for (method, path, body) in bodies {
        assert_eq!(
            site.change(method, path, body).is(403).problem(),
            "exec",
            "{body}"
        );
    }
    assert_eq!(site.queue.counts().unwrap().total(), 1);
    assert!(site.queue.schedules().unwrap().is_empty());
    assert_eq!(site.get("/api/v1/features").json()["exec"], false);
    let site = start(Site::with(Server::allow_exec));
    for (method, path, body) in &bodies[..7] {
        let answer = site.change(method, path, body);
        assert!(
            matches!(answer.status, 200 | 201),
            "{body}: {}",
            answer.text()
        );
    }
}

#[test]
fn a_server_that_only_reads_refuses_every_change() {
    let site = Site::with(Server::read_only);
    site.add("k");
    let changes = routes(&site)
        .into_iter()
        .filter(|(method, _)| method != "GET");
    let mut asked = 0;
    for (method, path) in changes {
        let answer = site.change(&method, &path, "").is(403);
        assert_eq!(answer.problem(), "read-only", "{method} {path}");
        asked += 1;
    }
    assert!(asked > 10);
    assert_eq!(site.get("/api/v1/features").json()["read_only"], true);
    site.get("/api/v1/jobs/1").is(200);
}

#[test]
fn a_get_changes_nothing() {
    let site = Site::new();
    site.add("k");
    let before = site.queue.last_event().unwrap();
    for (_, path) in routes(&site)
        .into_iter()
        .filter(|(method, _)| method == "GET")
    {
        let answer = site.get(&path);
        assert!(answer.status < 500, "{path}: {}", answer.text());
    }
    assert_eq!(site.queue.last_event().unwrap(), before);
}

#[test]
fn every_answer_forbids_to_run_frame_and_guess() {
    let site = Site::new();
    let job = jobq::NewJob::new("k").payload_json(r#""<script>alert(1)</script>""#);
    let id = site.queue.enqueue(job).unwrap().id;
    let payload = format!("/api/v1/jobs/{id}/payload");
    for path in [
        "/",
        "/api/v1/counts",
        "/api/v1/nothing",
        "/healthz",
        &payload,
    ] {
        let answer = site.get(path);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'"), "{path}: {policy}");
        assert!(
            policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
        assert_eq!(
            answer.header("referrer-policy"),
            Some("no-referrer"),
            "{path}"
        );
        assert_eq!(
            answer.head.matches("Content-Security-Policy").count(),
            1,
            "{path}"
        );
    }
    let answer = site.get(&payload).is(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(
        answer
            .header("content-disposition")
            .unwrap()
            .starts_with("attachment")
    );
}

#[test]
fn other_machines_need_to_be_allowed_and_have_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let server = || {
        let queue = Queue::open(folder.path().join("jobs.db")).unwrap();
        Server::new(queue).listen("0.0.0.0:0".parse().unwrap())
    };
    let refused = |server: Server| {
        let error = server.start().unwrap_err();
        assert!(error.is_invalid_input(), "{error}");
        assert!(error.hint().is_some());
    };
    refused(server());
    refused(server().allow_remote());
    refused(server().allow_remote().no_token());
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "0123456789abcdef\n").unwrap();
    refused(server().token_file(&tokens));
    server().allow_remote().token_file(&tokens).start().unwrap();
}

#[test]
fn a_socket_of_the_file_system_is_for_its_user() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(folder.path().join("jobs.db")).unwrap();
    let path = folder.path().join("jobq.sock");
    let address = format!("unix:{}", path.display()).parse().unwrap();
    let server = Server::new(queue).listen(address).start().unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let mut stream = UnixStream::connect(&path).unwrap();
    std::io::Write::write_all(
        &mut stream,
        b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n",
    )
    .unwrap();
    let answer = std::io::read_to_string(&mut stream).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.stop();
    assert!(!path.exists());
}
