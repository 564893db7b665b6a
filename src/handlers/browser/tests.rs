use serde_json::json;

use super::checks::{host_of, inches};
use super::class::FailureClass;
use super::script::fits;
use super::*;
use crate::handlers::built_in::BuiltInKind;
use crate::model::outcome::Outcome;

fn check(payload: &Value) -> std::result::Result<(), String> {
    let kind = BuiltInKind::named("browser").unwrap();
    kind.check(&payload.to_string())
        .map_err(|error| error.to_string())
}

#[test]
fn each_network_error_has_its_class() {
    for (error, class) in [
        ("net::ERR_NAME_NOT_RESOLVED", FailureClass::Network),
        ("net::ERR_CONNECTION_REFUSED", FailureClass::Network),
        ("net::ERR_CONNECTION_RESET", FailureClass::Network),
        ("net::ERR_INTERNET_DISCONNECTED", FailureClass::Network),
        ("net::ERR_EMPTY_RESPONSE", FailureClass::Network),
        ("net::ERR_TOO_MANY_REDIRECTS", FailureClass::Network),
        ("net::ERR_PROXY_CONNECTION_FAILED", FailureClass::Network),
        ("net::ERR_SSL_PROTOCOL_ERROR", FailureClass::Network),
        ("net::ERR_TIMED_OUT", FailureClass::Timeout),
        ("net::ERR_CONNECTION_TIMED_OUT", FailureClass::Timeout),
        ("net::ERR_INVALID_URL", FailureClass::InvalidUrl),
        ("net::ERR_UNKNOWN_URL_SCHEME", FailureClass::InvalidUrl),
        ("net::ERR_DISALLOWED_URL_SCHEME", FailureClass::InvalidUrl),
        ("net::ERR_UNSAFE_PORT", FailureClass::InvalidUrl),
        ("net::ERR_UNSAFE_REDIRECT", FailureClass::InvalidUrl),
        ("net::ERR_BLOCKED_BY_CLIENT", FailureClass::InvalidUrl),
        (
            "net::ERR_INVALID_AUTH_CREDENTIALS",
            FailureClass::Authentication,
        ),
        (
            "net::ERR_MISSING_AUTH_CREDENTIALS",
            FailureClass::Authentication,
        ),
        (
            "net::ERR_PROXY_AUTH_REQUESTED",
            FailureClass::Authentication,
        ),
        (
            "net::ERR_PROXY_AUTH_UNSUPPORTED",
            FailureClass::Authentication,
        ),
        (
            "net::ERR_UNSUPPORTED_AUTH_SCHEME",
            FailureClass::Authentication,
        ),
        ("net::ERR_CERT_AUTHORITY_INVALID", FailureClass::Certificate),
        ("net::ERR_CERT_DATE_INVALID", FailureClass::Certificate),
        (
            "net::ERR_CERT_COMMON_NAME_INVALID",
            FailureClass::Certificate,
        ),
        ("net::ERR_ABORTED", FailureClass::Network),
        ("something else", FailureClass::Unknown),
    ] {
        assert_eq!(FailureClass::of_net_error(error), class, "{error}");
    }
}

#[test]
fn each_status_has_its_class() {
    for (statuses, class) in [
        (&[200, 201, 204, 302, 304][..], None),
        (&[401, 403, 407], Some(FailureClass::Authentication)),
        (
            &[408, 429, 500, 502, 503, 504, 599],
            Some(FailureClass::Network),
        ),
        (&[400, 404, 405, 410, 418, 451], Some(FailureClass::Page)),
    ] {
        for status in statuses {
            assert_eq!(FailureClass::of_status(*status), class, "{status}");
        }
    }
}

#[test]
fn a_class_says_whether_it_is_tried_again() {
    let retried = [
        FailureClass::Timeout,
        FailureClass::Network,
        FailureClass::Browser,
        FailureClass::Unknown,
    ];
    for class in FailureClass::ALL {
        let failure = Failure::from(BrowserError::Failed(class, "why".to_owned()));
        assert_eq!(failure.message(), Some(&*format!("{}: why", class.name())));
        assert_eq!(
            !failure.is_permanent(),
            retried.contains(&class),
            "{class:?}"
        );
    }
    let unknown = Failure::from(BrowserError::Refused("why".to_owned()));
    assert_eq!(unknown.message(), Some("unknown: why"));
    let cancelled = BrowserError::Other(Failure::cancelled()).context("what");
    assert_eq!(Outcome::from(Failure::from(cancelled)), Outcome::Cancelled);
}

#[test]
fn a_command_is_refused_for_good_unless_its_page_goes() {
    let class = |error: BrowserError| match error {
        BrowserError::Failed(class, _) => class,
        BrowserError::Refused(_) => FailureClass::Unknown,
        BrowserError::Other(failure) => panic!("{failure:?}"),
    };
    for (why, for_good, of_script) in [
        (
            "Invalid timezone ID: Moon/Base",
            FailureClass::Page,
            FailureClass::Unknown,
        ),
        (
            "Session with given id not found.",
            FailureClass::Unknown,
            FailureClass::Unknown,
        ),
        (
            "Not attached to an active page",
            FailureClass::Unknown,
            FailureClass::Unknown,
        ),
        (
            "Object reference chain is too long",
            FailureClass::Page,
            FailureClass::Page,
        ),
    ] {
        let refused = || BrowserError::Refused(why.to_owned());
        assert_eq!(class(refused().for_good()), for_good, "{why}");
        assert_eq!(class(refused().of_script()), of_script, "{why}");
    }
}

/// Payloads that are refused, and why.
const REFUSED: [(&str, &str); 26] = [
    (r#"{}"#, "'url' is missing"),
    (r#"{"actions":[{"type":"pdf"}]}"#, "'url' is missing"),
    (r#"{"url":"http://a/","html":"x"}"#, "do not go together"),
    (
        r#"{"url":"file:///etc/passwd"}"#,
        "invalid_url: 'file:///etc/passwd': only http",
    ),
    (r#"{"url":"chrome://gpu"}"#, "only http and https"),
    (r#"{"url":"javascript:alert(1)"}"#, "only http and https"),
    (r#"{"url":"data:text/html,x"}"#, "only http and https"),
    (r#"{"url":"about:blank"}"#, "only http and https"),
    (r#"{"url":"http://"}"#, "it has no host"),
    (r#"{"url":"http://:80/"}"#, "it has no host"),
    (r#"{"url":"http://u:p@a/"}"#, "a password"),
    (r#"{"url":"http://a/ b"}"#, "blanks"),
    (r#"{"html":"","viewport":{"width":0}}"#, "viewport"),
    (r#"{"html":"","viewport":{"scale":9}}"#, "viewport"),
    (
        r#"{"html":"","viewport":{"width":9000,"scale":2}}"#,
        "16384 pixels",
    ),
    (r#"{"html":"","action_timeout_ms":1}"#, "action_timeout_ms"),
    (r#"{"html":"","headers":{"a b":""}}"#, "name of a header"),
    (r#"{"html":"","headers":{"a":"b\r\nc: d"}}"#, "line break"),
    (r#"{"html":"","proxy":"proxy:80"}"#, "not a proxy"),
    (r#"{"html":"","proxy":"http://u:p@a:1"}"#, "not a proxy"),
    (r#"{"html":"","proxy":"http://a --x"}"#, "not a proxy"),
    (
        r#"{"html":"","cookies":[{"name":"a","value":"b"}]}"#,
        "needs a domain",
    ),
    (r#"{"html":"","artifacts":"../a"}"#, "without '..'"),
    (r#"{"html":"","browser":"firefox"}"#, "firefox"),
    (r#"{"html":"","wait_until":"never"}"#, "never"),
    (r#"{"html":"","actionTimeout":1}"#, "unknown field"),
];

/// Actions that are.
const REFUSED_ACTIONS: [(&str, &str); 23] = [
    (
        r#"{"type":"goto","url":"ftp://a"}"#,
        "action 1 (goto): invalid_url",
    ),
    (r#"{"type":"klick"}"#, "klick"),
    (r#"{"type":"click"}"#, "selector"),
    (
        r#"{"type":"click","selector":" "}"#,
        "action 1 (click): the selector is empty",
    ),
    (r#"{"type":"click","selector":"a","x":1}"#, "unknown field"),
    (r#"{"type":"press","key":"Strg"}"#, "is not a key"),
    (r#"{"type":"scroll"}"#, "one of 'to' and 'selector'"),
    (r#"{"type":"upload","selector":"a","path":"b"}"#, "absolute"),
    (
        r#"{"type":"upload","selector":"a","path":"/b/../c"}"#,
        "'..'",
    ),
    (r#"{"type":"wait"}"#, "wait needs one"),
    (r#"{"type":"wait","ms":1,"url":"a"}"#, "wait needs one"),
    (
        r#"{"type":"wait","ms":1,"timeoutMs":1}"#,
        "does not go with 'ms'",
    ),
    (r#"{"type":"screenshot","quality":80}"#, "for jpeg and webp"),
    (
        r#"{"type":"screenshot","format":"jpeg","quality":101}"#,
        "from 0 to 100",
    ),
    (
        r#"{"type":"screenshot","fullPage":true,"selector":"a"}"#,
        "full_page",
    ),
    (
        r#"{"type":"screenshot","name":"../a.png"}"#,
        "name of an artifact",
    ),
    (
        r#"{"type":"screenshot","name":".a"}"#,
        "name of an artifact",
    ),
    (
        r#"{"type":"screenshot","name":"failure.png"}"#,
        "name of an artifact",
    ),
    (r#"{"type":"pdf","margin":"1"}"#, "not a length"),
    (r#"{"type":"pdf","margin":"-1cm"}"#, "not a length"),
    (r#"{"type":"pdf","format":"B4"}"#, "B4"),
    (
        r#"{"type":"pdf"},{"type":"pdf"}"#,
        "action 2 (pdf): the name 'page.pdf' is taken",
    ),
    (
        r#"{"type":"text","name":"x"},{"type":"text","name":"x"}"#,
        "action 2 (text): the name 'x' is taken",
    ),
];

#[test]
fn what_a_payload_cannot_be_is_said_when_it_is_enqueued() {
    let actions = REFUSED_ACTIONS.map(|(actions, why)| {
        let payload = format!(r#"{{"url":"http://a/","actions":[{actions}]}}"#);
        (payload, why)
    });
    let long = json!({ "html": "x".repeat(1 << 21) }).to_string();
    let payloads = REFUSED.map(|(payload, why)| (payload.to_owned(), why));
    for (payload, why) in payloads
        .into_iter()
        .chain(actions)
        .chain([(long, "longer than")])
    {
        let refused = check(&serde_json::from_str(&payload).unwrap()).unwrap_err();
        assert!(refused.contains(why), "{payload}: {refused}");
    }
}

#[test]
fn a_payload_of_the_reference_system_is_taken() {
    check(&json!({
        "url": "https://example.org/login", "waitUntil": "networkidle", "userAgent": "x",
        "actionTimeoutMs": 5000, "expectStatus": [200, 404], "browser": "chromium",
        "viewport": { "width": 800, "height": 600, "scale": 2 },
        "cookies": [{ "name": "a", "value": { "secret": "s" }, "httpOnly": true }],
        "actions": [
            { "type": "fill", "selector": "#u", "value": { "secret": "pw" } },
            { "type": "wait", "selector": ".done", "state": "hidden", "timeoutMs": 100 },
            { "type": "screenshot", "fullPage": true },
            { "type": "screenshot" },
        ],
    }))
    .unwrap();
}

#[test]
fn hosts_are_read_from_urls() {
    for (url, host) in [
        ("http://a.org", Some("a.org")),
        ("HTTPS://a.org:8080/b?c", Some("a.org")),
        ("http://[::1]:80/", Some("::1")),
        ("http://a?b", Some("a")),
        ("http://a\\@b/", Some("a")),
        ("http:///a", None),
        ("ftp://a", None),
    ] {
        assert_eq!(host_of(url), host, "{url}");
    }
}

#[test]
fn patterns_of_urls_fit_parts_and_all() {
    for (pattern, url, is_fit) in [
        ("http://a/b", "http://a/b", true),
        ("**/ok", "http://a/b/ok", true),
        ("**/ok", "http://a/ok?x", false),
        ("http://a/*/ok", "http://a/b/ok", true),
        ("http://a/*/ok", "http://a/b/c/ok", false),
        ("**", "http://ä/", true),
        ("*", "http://a/", false),
    ] {
        assert_eq!(fits(pattern, url), is_fit, "{pattern} {url}");
    }
}

#[test]
fn programs_with_a_slash_begin_at_the_folder_of_the_settings() {
    let settings = BrowserSettings {
        headless_shell: Some("bin/shell".into()),
        chromium: Some("chromium".into()),
        ..BrowserSettings::default()
    };
    let settings = BrowserJob::relative_to(settings, Path::new("/etc/jobq"));
    assert_eq!(settings.headless_shell, Some("/etc/jobq/bin/shell".into()));
    assert_eq!(settings.chromium, Some("chromium".into()));
}

#[test]
fn lengths_have_units() {
    for (length, in_inches) in [
        ("1in", 1.0),
        ("2.54cm", 1.0),
        ("25.4 mm", 1.0),
        ("48px", 0.5),
    ] {
        assert!(
            (inches(length).unwrap() - in_inches).abs() < 1e-9,
            "{length}"
        );
    }
}
