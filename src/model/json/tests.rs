use super::*;

#[test]
fn what_every_reader_reads_is_let_through() {
    let deep = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
    for text in [
        "null",
        " {\"a\" : [1, -0, 1.50, 2e10, 1E-400, 123456789012345678901] }\n",
        r#""\ud83d\ude00 \u0000 \/ \" ü""#,
        r#"{"a":1,"a":2}"#,
        "{}",
        "[ ]",
        &deep,
    ] {
        assert_eq!(check(text), Ok(()), "{text}");
        assert!(serde_json::from_str::<serde_json::Value>(text).is_ok());
    }
}

#[test]
fn what_other_readers_refuse_is_named_with_its_place() {
    let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
    let long = "9".repeat(400);
    for (text, why, place) in [
        (r#""\ud800""#, "\\ud800 is half of a surrogate pair", (1, 2)),
        (r#""a\udc00""#, "\\udc00 is half", (1, 3)),
        (r#"{"\uD800x":1}"#, "\\ud800 is half", (1, 3)),
        (r#""\ud800\u0041""#, "\\ud800 is half", (1, 2)),
        (&deep, "more than 100 arrays", (1, 101)),
        ("1e400", "too large", (1, 1)),
        ("[-1e999]", "too large", (1, 2)),
        (&long, "too large", (1, 1)),
        ("NaN", "`N` in place of a value", (1, 1)),
        ("[1,\n Infinity]", "`I` in place of a value", (2, 2)),
        (
            "\u{feff}{}",
            "a byte order mark in place of a value",
            (1, 1),
        ),
        ("", "the end in place of a value", (1, 1)),
        ("{\"a\":", "the end in place of a value", (1, 6)),
        ("{a:1}", "`a` in place of a key in double quotes", (1, 2)),
        ("{'a':1}", "`'` in place of a key", (1, 2)),
        ("{\"a\" 1}", "`1` in place of `:`", (1, 6)),
        ("[1 2]", "`2` in place of `,` or `]`", (1, 4)),
        ("[1,]", "`]` in place of a value", (1, 4)),
        ("{\"a\":1,}", "`}` in place of a key", (1, 8)),
        ("01", "begins with 0", (1, 2)),
        ("1.", "the end in place of a digit", (1, 3)),
        ("+1", "`+` in place of a value", (1, 1)),
        ("\"a", "without its closing quote", (1, 3)),
        ("\"a\tb\"", "U+0009 in a text", (1, 3)),
        (r#""\x""#, "begins no escape", (1, 2)),
        (r#""\u12g4""#, "without four", (1, 2)),
        ("{} {}", "`{` after the end", (1, 4)),
        ("nul", "`n` in place of a value", (1, 1)),
    ] {
        let error = check(text).unwrap_err();
        assert!(error.why().contains(why), "{text}: {error}");
        assert_eq!((error.line(), error.column()), place, "{text}: {error}");
    }
}

#[test]
fn the_check_agrees_with_serde_json_on_texts_at_random() {
    let mut rng = fastrand::Rng::with_seed(7);
    let pieces = [
        "{", "}", "[", "]", ",", ":", "\"a\"", "\"", "\\", "\\u0041", "1", "-", ".5", "e9", "0",
        "true", "nul", "null", " ", "\n",
    ];
    for _ in 0..20_000 {
        let parts = (0..rng.usize(1..8)).map(|_| pieces[rng.usize(..pieces.len())]);
        let text: String = parts.collect();
        let parsed = serde_json::from_str::<serde_json::Value>(&text);
        assert_eq!(check(&text).is_ok(), parsed.is_ok(), "{text:?}: {parsed:?}");
    }
}

#[test]
fn one_spelling_stands_for_what_means_the_same_and_for_no_more() {
    let same = |a: &str, b: &str| canonical(a).unwrap() == canonical(b).unwrap();
    for (a, b) in [
        (
            r#"{"b": 1, "a":[ {"d":2,"c":3} ]}"#,
            r#"{"a":[{"c":3,"d":2}],"b":1}"#,
        ),
        (r#""\u0061\u00fc\/""#, r#""aü/""#),
        (r#"{"\u0061":1}"#, r#"{"a":1}"#),
        (r#""\ud83d\ude00""#, "\"😀\""),
    ] {
        assert!(same(a, b), "{a} {b}");
    }
    for (a, b) in [
        ("123456789012345678901", "123456789012345678902"),
        ("0.1234567890123456789", "0.1234567890123456788"),
        ("1", "1.0"),
        ("1.0", "1.00"),
        ("1", "1e0"),
        ("0", "-0"),
        (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        (r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#),
        (r#"{"a":1}"#, r#"{"a":"1"}"#),
        ("[1,2]", "[2,1]"),
    ] {
        assert!(!same(a, b), "{a} {b}");
    }
    assert_eq!(
        canonical(r#" {"b":"\u000a\"","a":[null,true]} "#).unwrap(),
        r#"{"a":[null,true],"b":"\n\""}"#
    );
}
