use super::Stream::Stderr;
use super::Stream::Stdout;
use super::*;

#[derive(Default)]
struct CapturedOutput(Vec<(Stream, Vec<u8>)>);

impl Watcher for CapturedOutput {
    fn output(&mut self, stream: Stream, bytes: &[u8]) {
        assert!((1..=CHUNK_MAX_BYTES).contains(&bytes.len()));
        self.0.push((stream, bytes.to_vec()));
    }
}

impl CapturedOutput {
    fn take(&mut self) -> Vec<(Stream, String)> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        self.0
            .drain(..)
            .map(|(stream, bytes)| (stream, text(bytes)))
            .collect()
    }
}

/// A capture, its watcher, and a time that passes when the test says so.
struct Bench {
    capture: Capture,
    seen: CapturedOutput,
    now: Instant,
}

impl Bench {
    fn new(limit: usize) -> Bench {
        let now = clock::instant();
        Bench {
            capture: Capture::new(Buffers::default(), (limit, &Mask::default()), now),
            seen: CapturedOutput::default(),
            now,
        }
    }

    fn print(&mut self, stream: Stream, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.capture.held[stream as usize]
            .bytes
            .extend_from_slice(bytes);
        self.capture
            .took(stream, bytes.len(), self.now, &mut self.seen);
    }

    fn pass(&mut self, ms: u64) -> Vec<(Stream, String)> {
        self.now += Duration::from_millis(ms);
        self.capture.pass_due(self.now, &mut self.seen);
        self.seen.take()
    }

    fn finish(mut self) -> Vec<(Stream, String)> {
        self.capture.finish(&mut self.seen);
        self.seen.take()
    }
}

fn said(stream: Stream, text: &str) -> (Stream, String) {
    (stream, text.to_owned())
}

#[test]
fn lines_are_gathered_and_passed_whole_after_a_moment() {
    let mut bench = Bench::new(1000);
    bench.print(Stdout, "one\ntw");
    assert_eq!(bench.capture.deadline(), Some(bench.now + HOLD));
    assert_eq!(bench.pass(60), []);
    bench.print(Stdout, "o\nthr");
    assert_eq!(bench.pass(40), [said(Stdout, "one\ntwo\n")]);
    assert_eq!(bench.pass(59), []);
    assert_eq!(bench.pass(1), [said(Stdout, "thr")]);
    assert_eq!(bench.capture.deadline(), None);
}

#[test]
fn the_streams_keep_the_order_in_which_lines_were_read() {
    let mut bench = Bench::new(1000);
    bench.print(Stdout, "a\nb");
    bench.print(Stderr, "1\n");
    bench.print(Stdout, "c\n");
    let expected = [
        said(Stdout, "a\n"),
        said(Stderr, "1\n"),
        said(Stdout, "bc\n"),
    ];
    assert_eq!(bench.finish(), expected);
}

#[test]
fn a_line_without_end_is_passed_in_chunks_of_whole_characters() {
    let mut bench = Bench::new(1_000_000);
    bench.print(Stdout, "x".repeat(CHUNK_MAX_BYTES - 1));
    bench.print(Stdout, [0xc3]);
    assert_eq!(
        bench.seen.take(),
        [said(Stdout, &"x".repeat(CHUNK_MAX_BYTES - 1))]
    );
    bench.print(Stdout, [0xa9]);
    assert_eq!(bench.finish(), [said(Stdout, "é")]);
}

#[test]
fn half_a_character_waits_for_the_other_half_but_not_for_ever() {
    let mut bench = Bench::new(1000);
    bench.print(Stdout, b"10% \xe2\x82");
    assert_eq!(bench.pass(100), [said(Stdout, "10% ")]);
    bench.print(Stdout, [0xac]);
    assert_eq!(bench.pass(100), [said(Stdout, "€")]);
    bench.print(Stdout, [0xe2]);
    assert_eq!(bench.pass(100), [said(Stdout, "\u{fffd}")]);
    bench.print(Stdout, [0xff]);
    assert_eq!(bench.pass(100), [said(Stdout, "\u{fffd}")]);
}

#[test]
fn the_end_of_a_cut_character_is_recognised() {
    for (bytes, cut) in [
        (&b""[..], 0),
        (b"a", 0),
        ("é".as_bytes(), 0),
        (b"\xc3", 1),
        (b"a\xe2\x82", 2),
        ("€".as_bytes(), 0),
        (b"\xf0\x9f\x98", 3),
        ("😀".as_bytes(), 0),
        (b"\x80\x80\x80\x80", 0),
        (b"\xff", 0),
        (b"\xc0", 0),
    ] {
        assert_eq!(cut_char_len(bytes), cut, "{bytes:?}");
    }
}

#[test]
fn what_is_printed_is_told_whole_and_kept_within_the_limit() {
    #[derive(Default)]
    struct Both {
        printed: usize,
        kept: usize,
    }
    impl Watcher for Both {
        fn printed(&mut self, _: Stream, bytes: &[u8]) {
            self.printed += bytes.len();
        }
        fn output(&mut self, _: Stream, bytes: &[u8]) {
            self.kept += bytes.len();
        }
    }
    let mut both = Both::default();
    let Bench {
        mut capture, now, ..
    } = Bench::new(100);
    let flood = "line\n".repeat(1000);
    for (stream, text) in [(Stdout, &*flood), (Stderr, "last words\n")] {
        let bytes = &mut capture.held[stream as usize].bytes;
        bytes.extend_from_slice(text.as_bytes());
        capture.took(stream, text.len(), now, &mut both);
    }
    let (last_words, _) = capture.finish(&mut both);
    assert_eq!(last_words.as_deref(), Some("last words"));
    assert_eq!(both.printed, 5011);
    assert!((90..150).contains(&both.kept), "{}", both.kept);
}

#[test]
fn the_tail_of_stderr_is_bounded() {
    let mut tail = Vec::new();
    keep_tail(&mut tail, &[b'a'; 3000]);
    keep_tail(&mut tail, b"end");
    assert_eq!(tail.len(), TAIL_BYTES);
    assert!(tail.ends_with(b"aend"));
}
