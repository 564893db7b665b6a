//! The pure parts of the page: functions of text and time.

use serde_json::{Value, json};

use super::Lab;

/// What an expression comes to that has the exports of a module as `m`.
fn with_module(lab: &mut Lab, path: &str, expression: &str) -> Value {
    lab.chrome.eval(&format!(
        "import({}).then((m) => {expression})",
        json!(path)
    ))
}

#[test]
fn output_keeps_its_colours_and_loses_other_sequences() {
    let Some(mut lab) = Lab::new(|_| ()) else {
        return;
    };
    let spans = "((line) => m.parseLine(line).spans.map(({text, style}) => [text, m.look(style).class, m.look(style).style]))";
    let cases = json!([
        ["plain", [["plain", null, null]]],
        ["\u{1b}[31mred\u{1b}[0m", [["red", "fg1", null]]],
        ["\u{1b}[1;92;44mb\u{1b}[22;39;49mp", [["b", "fg10 bg4 b", null], ["p", null, null]]],
        ["\u{1b}[38;5;208mo\u{1b}[48;2;1;2;300mx", [
            ["o", null, {"color": "rgb(255,135,0)"}], ["x", null, {"color": "rgb(255,135,0)", "backgroundColor": "rgb(1,2,255)"}],
        ]],
        ["a\u{1b}]0;title\u{7}b\u{1b}]8;;http://x\u{1b}\\c", [["a", null, null], ["b", null, null], ["c", null, null]]],
        ["\u{1b}[2J\u{1b}[10;10H\u{1b}[?25lx\u{1b}(B\u{1b}[", [["x", null, null]]],
        ["10 %\r20 %\r\u{1b}[32m30 %\r", [["30 %", "fg2", null]]],
        ["\u{9b}31mc1", [["c1", "fg1", null]]],
    ]);
    for case in cases.as_array().unwrap() {
        let found = with_module(&mut lab, "/parts/ansi.js", &format!("{spans}({})", case[0]));
        assert_eq!(found, case[1], "{}", case[0]);
    }
    lab.ends_well();
}

#[test]
fn json_is_indented_letter_for_letter() {
    let Some(mut lab) = Lab::new(|_| ()) else {
        return;
    };
    let texts = [
        r#"{"a":12345678901234567890.50,"b":[],"c":{},"d":[1,[2]],"e":"a,b:{\"x\"}\\"}"#,
        r#"[ ]"#,
        r#""only text""#,
        r#"-1E400"#,
        r#"{ "spaced" : [ 1 , 2 ] }"#,
    ];
    for text in texts {
        let indented = with_module(
            &mut lab,
            "/views/job.js",
            &format!("m.indent({})", json!(text)),
        );
        let indented = indented.as_str().unwrap();
        let bare = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(bare(indented), bare(text), "{indented}");
    }
    let found = with_module(&mut lab, "/views/job.js", r#"m.indent('{"a":[1,{}]}')"#);
    assert_eq!(found, "{\n  \"a\": [\n    1,\n    {}\n  ]\n}");
    lab.ends_well();
}

#[test]
fn a_patched_page_is_the_new_page() {
    let Some(mut lab) = Lab::new(|_| ()) else {
        return;
    };
    let page = r#"{jobs: [{id: 3, state: "a"}, {id: 2, state: "b"}], next: 2, complete: true}"#;
    for (patch, jobs) in [
        (
            r#"{upsert: [{id: 2, state: "c"}]}"#,
            json!([[3, "a"], [2, "c"]]),
        ),
        (
            r#"{upsert: [{id: 4, state: "n"}], remove: [2], order: [4, 3], next: 3}"#,
            json!([[4, "n"], [3, "a"]]),
        ),
        (
            r#"{upsert: [{id: 4, state: "n"}]}"#,
            json!([[4, "n"], [3, "a"], [2, "b"]]),
        ),
        (r#"{remove: [3, 2], order: []}"#, json!([])),
        (r#"{order: [2, 3, 9]}"#, json!([[2, "b"], [3, "a"]])),
    ] {
        let patched =
            format!("m.patchJobs({page}, {patch}).jobs.map(({{id, state}}) => [id, state])");
        assert_eq!(
            with_module(&mut lab, "/parts/live.js", &patched),
            jobs,
            "{patch}"
        );
    }
    lab.ends_well();
}

#[test]
fn a_timeline_without_its_idle_stretches_is_whole() {
    let Some(mut lab) = Lab::new(|_| ()) else {
        return;
    };
    // Many made-up timelines: the pieces follow one another from begin to end, and none is without width.
    let wrong = "(() => { let seed = 1; const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647; const wrong = []; \
        for (let round = 0; round < 500; round++) { \
            const spans = Array.from({length: Math.floor(random() * 30)}, () => { const from = Math.floor(random() * 1e6); return {from, to: from + Math.floor(random() * random() * 2e5)}; }); \
            const pieces = m.compress(spans, 0, 1.3e6); \
            let at = 0, x = 0; \
            for (const piece of pieces) { \
                if (piece.from !== at || Math.abs(piece.x - x) > 1e-9 || !(piece.width > 0)) wrong.push({round, piece}); \
                at = piece.to; x += piece.width; \
            } \
            if (at !== 1.3e6 || Math.abs(x - 1) > 1e-9) wrong.push({round, at, x}); \
        } return wrong.slice(0, 3); })()";
    assert_eq!(with_module(&mut lab, "/parts/gantt.js", wrong), json!([]));
    lab.ends_well();
}

#[test]
fn a_typed_command_is_split_as_by_a_shell() {
    let Some(mut lab) = Lab::new(|_| ()) else {
        return;
    };
    for (typed, args) in [
        ("echo a  b", json!(["echo", "a", "b"])),
        (
            r#"sh -c 'a "b" $c' "d \"e\"" f\ g ''"#,
            json!(["sh", "-c", "a \"b\" $c", "d \"e\"", "f g", ""]),
        ),
        ("", json!([])),
        ("a'b'\"c\"", json!(["abc"])),
    ] {
        let found = with_module(
            &mut lab,
            "/parts/text.js",
            &format!("m.splitCommand({})", json!(typed)),
        );
        assert_eq!(found, args, "{typed}");
        let again = format!("m.splitCommand({args}.map(m.shellWord).join(' '))");
        assert_eq!(
            with_module(&mut lab, "/parts/text.js", &again),
            args,
            "{typed}"
        );
    }
    let open = "(() => { try { m.splitCommand(\"a 'b\"); return null; } catch (error) { return error.message; } })()";
    assert_eq!(
        with_module(&mut lab, "/parts/text.js", open),
        "a ' is not closed"
    );
    lab.ends_well();
}

#[test]
fn a_jobs_time_is_divided_among_what_it_did() {
    let Some(mut lab) = Lab::new(|_| ()) else {
        return;
    };
    let job = json!({
        "state": "completed", "created_at": "2026-01-01T00:00:00.000Z", "run_at": null, "depends_on": null,
        "finished_at": "2026-01-01T00:01:00.000Z",
        "attempts": [
            {"attempt": 1, "outcome": "retry", "started_at": "2026-01-01T00:00:10.000Z", "finished_at": "2026-01-01T00:00:20.000Z"},
            {"attempt": 2, "outcome": "waiting", "started_at": "2026-01-01T00:00:25.000Z", "finished_at": "2026-01-01T00:00:30.000Z"},
            {"attempt": 3, "outcome": "completed", "started_at": "2026-01-01T00:00:50.000Z", "finished_at": "2026-01-01T00:01:00.000Z"},
        ],
    });
    let spans =
        format!("m.spans({job}, 0).map(({{what, from, to}}) => [what, (to - from) / 1000])");
    let found = with_module(&mut lab, "/parts/timebar.js", &spans);
    let expected = json!([
        ["pending", 10],
        ["running", 10],
        ["retry", 5],
        ["running", 5],
        ["waiting", 20],
        ["running", 10],
    ]);
    assert_eq!(found, expected);
    lab.ends_well();
}
