use proptest::prelude::*;

use super::*;

const NOW: &str = "2026-03-01T12:00:00Z";

fn parse(text: &str) -> Result<Filter> {
    let zone = TimeZone::fixed(jiff::tz::offset(1));
    Filter::parse_search(text, NOW.parse().unwrap(), &zone)
}

fn only(set: impl FnOnce(&mut Filter)) -> Filter {
    let mut filter = Filter::default();
    set(&mut filter);
    filter
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn at(text: &str) -> Option<Timestamp> {
    Some(text.parse().unwrap())
}

#[test]
fn each_word_sets_its_field() {
    let tag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    for (search, expected) in [
        ("", Filter::default()),
        (
            "state:failed,cancelled state:pending",
            only(|filter| filter.states = vec![State::Failed, State::Cancelled, State::Pending]),
        ),
        (
            "queue:a,\"b,c\"",
            only(|filter| filter.queues = owned(&["a", "b,c"])),
        ),
        (
            "kind:x  kind:y",
            only(|filter| filter.kinds = owned(&["x", "y"])),
        ),
        (
            "tenant:ümlaut",
            only(|filter| filter.tenant = Some("ümlaut".to_owned())),
        ),
        (
            "tag:env=prod tag:\"a b\"=\"c=d\" tag:\"x=y\" tag:z=",
            only(|filter| {
                let tags = [("env", "prod"), ("a b", "c=d"), ("x", "y"), ("z", "")];
                filter.tags = tags.map(|(name, value)| tag(name, value)).to_vec();
            }),
        ),
        ("parent:7", only(|filter| filter.parent = Some(JobId(7)))),
        (
            "schedule:nightly",
            only(|filter| filter.schedule = Some("nightly".to_owned())),
        ),
        (
            "id:5-9",
            only(|filter| filter.ids = Some((JobId(5), JobId(9)))),
        ),
        (
            "id:5",
            only(|filter| filter.ids = Some((JobId(5), JobId(5)))),
        ),
    ] {
        assert_eq!(parse(search).unwrap(), expected, "{search}");
    }
}

#[test]
fn amounts_times_and_errors_set_their_fields() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (search, expected) in [
        (
            "attempt>1",
            only(|filter| filter.more_attempts_than = Some(1)),
        ),
        (
            "took>1m30s",
            only(|filter| filter.took_longer_than = seconds(90)),
        ),
        (
            "waited>\"5 minutes\"",
            only(|filter| filter.waited_longer_than = seconds(300)),
        ),
        (
            "error:\"timed out\"",
            only(|filter| filter.error = Some("timed out".to_owned())),
        ),
        (
            "group:ab12cd34",
            only(|filter| filter.error_group = Some("ab12cd34".to_owned())),
        ),
        ("sort:oldest", only(|filter| filter.sort = Sort::Oldest)),
        (
            "since:2h",
            only(|filter| filter.since = at("2026-03-01T10:00:00Z")),
        ),
        (
            "since:12:30",
            only(|filter| filter.since = at("2026-03-01T11:30:00Z")),
        ),
        (
            "since:13:30",
            only(|filter| filter.since = at("2026-02-28T12:30:00Z")),
        ),
        (
            "until:2026-02-28",
            only(|filter| filter.until = at("2026-02-27T23:00:00Z")),
        ),
        (
            "until:\"2026-02-28 10:00\"",
            only(|filter| filter.until = at("2026-02-28T09:00:00Z")),
        ),
        (
            "until:2026-02-28T10:00:00.5Z",
            only(|filter| filter.until = at("2026-02-28T10:00:00.5Z")),
        ),
    ] {
        assert_eq!(parse(search).unwrap(), expected, "{search}");
    }
}

#[test]
fn everything_else_is_the_text() {
    for (search, text) in [
        ("boom", "boom"),
        ("disk  full", "disk full"),
        ("disk state:failed full", "disk full"),
        ("\"disk  full\"", "disk  full"),
        ("\"state:failed\"", "state:failed"),
        ("\"a \\\"b\\\" \\\\ c:\\d\"", "a \"b\" \\ c:\\d"),
        ("10:30", "10:30"),
        ("C\\x", "C\\x"),
        ("->", "->"),
        ("a\"b c\"d", "ab cd"),
    ] {
        assert_eq!(
            parse(search).unwrap().text.as_deref(),
            Some(text),
            "{search}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_search_is_said_with_a_hint() {
    for (search, message, hint) in [
        ("stat:failed", "unknown word, 'stat:'", "'state:'"),
        ("took:30s", "unknown word, 'took:'", "'took>'"),
        ("took<30s", "unknown word, 'took<'", "'took>'"),
        ("http://x.y", "unknown word, 'http:'", "in quotes"),
        ("state:faild", "'faild' is unknown", "'failed'"),
        ("state:zzzzzz", "'zzzzzz' is unknown", "one of scheduled"),
        ("state:", "the value is missing", ""),
        ("queue:a,,b", "the value is missing", ""),
        ("sort:size", "'size' is unknown", ""),
        ("tenant:a tenant:b", "twice", "more than once"),
        ("tag:env", "NAME=VALUE", ""),
        ("tag:=x", "NAME=VALUE", ""),
        ("parent:x", "parent:42", ""),
        ("id:9-5", "backwards", "id:5-9"),
        ("id:-5", "id:5-9", ""),
        ("attempt>x", "attempt>1", ""),
        ("attempt>-1", "whole number", ""),
        ("took>30", "unit", ""),
        ("since:soon", "2h", ""),
        ("since:1740000000", "2h", ""),
        ("\"open", "not closed", "backslash"),
    ] {
        let error = parse(search).unwrap_err();
        assert!(error.is_invalid_input());
        assert!(error.to_string().contains(message), "{search}: {error}");
        let said = error.hint().unwrap_or_default();
        assert!(said.contains(hint), "{search}: {said}");
    }
}

#[test]
fn a_filter_is_written_as_one_would_type_it() {
    for search in [
        "state:failed,cancelled queue:mail kind:send tenant:acme tag:env=prod parent:7 schedule:nightly id:5-9 boom",
        "attempt>1 took>30s waited>5m error:\"timed out\" group:ab12cd34 sort:oldest",
        "since:2026-03-01T10:00:00Z until:2026-03-01T11:00:00.25Z \"state:failed\"",
        "took>1500ms waited>2h \"a \\\"b\\\"\"",
        "",
    ] {
        assert_eq!(parse(search).unwrap().to_search(), search);
    }
}

prop_compose! {
    fn any_duration()(secs in 0u64..300_000_000_000, nanos in prop_oneof![Just(0), 0u32..1_000_000_000]) -> Duration {
        Duration::new(secs, nanos)
    }
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,8}", "\\PC{1,8}", "[a:>=,\"\\\\ \n-]{1,6}"]
}

fn any_moment() -> impl Strategy<Value = Timestamp> {
    let nanos = Timestamp::MIN.as_second()..Timestamp::MAX.as_second();
    (nanos, 0i32..1_000_000_000).prop_map(|(second, nano)| Timestamp::new(second, nano).unwrap())
}

fn any_filter() -> impl Strategy<Value = Filter> {
    use proptest::collection::vec;
    use proptest::option::of;
    let names = || vec(any_name(), 0..3);
    let id = || 0i64..i64::MAX;
    let lists = (
        vec(proptest::sample::select(State::ALL.to_vec()), 0..3),
        names(),
        names(),
        vec((any_name(), any_name()), 0..3),
    );
    let texts = (
        of(any_name()),
        of(any_name()),
        of(any_name()),
        of(any_name()),
        of(any_name()),
    );
    let numbers = (of(id()), of((id(), id())), of(any::<u32>()));
    let times = (
        of(any_moment()),
        of(any_moment()),
        of(any_duration()),
        of(any_duration()),
    );
    let sort = proptest::sample::select(Sort::ALL.to_vec());
    (lists, texts, numbers, times, sort).prop_map(|(lists, texts, numbers, times, sort)| {
        let range = |(a, b): (i64, i64)| (JobId(a.min(b)), JobId(a.max(b)));
        Filter {
            states: lists.0,
            queues: lists.1,
            kinds: lists.2,
            tags: lists.3,
            tenant: texts.0,
            schedule: texts.1,
            error: texts.2,
            error_group: texts.3,
            text: texts.4,
            parent: numbers.0.map(JobId),
            ids: numbers.1.map(range),
            more_attempts_than: numbers.2,
            since: times.0,
            until: times.1,
            took_longer_than: times.2,
            waited_longer_than: times.3,
            sort,
            ..Filter::default()
        }
    })
}

proptest! {
    #[test]
    fn a_search_reads_back_as_the_filter_it_was_written_from(filter in any_filter()) {
        let search = filter.to_search();
        let read = parse(&search).map_err(|error| TestCaseError::fail(format!("{search}: {error}")))?;
        prop_assert_eq!(read, filter, "{}", search);
    }

    #[test]
    fn any_text_is_a_search_or_an_error(text in "\\PC*|([a-z]{1,6}[:>])*([0-9\":>,=\\\\ -]|\\PC)*|(since|until|id|took|waited):?>?[0-9:TZ+. a-z-]*") {
        let _ = parse(&text).map(|filter| filter.to_search());
    }
}
