//! How much of a command's output is kept: of each stream its beginning, and of the rest its end.

use std::collections::VecDeque;

use crate::handlers::exec::capture::{CHUNK_MAX_BYTES, Stream, Watcher, cut_char_len};

/// Each stream is sure of two such parts of the limit: one for its beginning, one for its end.
const SURE_PARTS: usize = 8;

/// Hands on what is kept of a command's output.
///
/// The beginning of a stream is handed on at once, as far as the limit allows with a part of it kept
/// free for the other's beginning and for the end of each. What comes then is held in memory: all of
/// it while both streams together are within the limit; else the longer one loses its oldest bytes.
/// So a stream that stays small is kept whole, whatever the other does, and so is any output within
/// the limit.
pub(super) struct Kept {
    limit_bytes: usize,
    streams: [Share; 2],
    /// Whose the bytes in the tails are, in the order in which they came: no two neighbours are of the
    /// same stream.
    runs: VecDeque<(Stream, usize)>,
}

/// What is kept of one stream.
#[derive(Default)]
struct Share {
    /// How much of its beginning has been handed on.
    passed_bytes: usize,
    /// Whether that ended no line.
    is_mid_line: bool,
    /// What came after: nothing more is handed on before the end.
    has_tail: bool,
    tail: VecDeque<u8>,
    /// How much between the two is lost.
    cut_bytes: u64,
    /// Whether the tail begins within a line.
    is_cut_mid_line: bool,
}

impl Kept {
    pub(super) fn new(limit_bytes: usize) -> Kept {
        Kept {
            limit_bytes,
            streams: Default::default(),
            runs: VecDeque::new(),
        }
    }

    /// Takes what a stream goes on with.
    pub(super) fn take(&mut self, stream: Stream, bytes: &[u8], watcher: &mut dyn Watcher) {
        let head_len = self.head_len(stream, bytes);
        let (head, rest) = bytes.split_at(head_len);
        let share = &mut self.streams[stream as usize];
        if let Some(last) = head.last() {
            share.passed_bytes += head_len;
            share.is_mid_line = *last != b'\n';
            watcher.output(stream, head);
        }
        if !rest.is_empty() {
            if !share.has_tail {
                share.has_tail = true;
                watcher.holds_back(stream);
            }
            share.tail.extend(rest);
            match self.runs.back_mut().filter(|(last, _)| *last == stream) {
                Some((_, len)) => *len += rest.len(),
                None => self.runs.push_back((stream, rest.len())),
            }
        }
        self.trim();
    }

    /// Hands on the ends, with a mark where something is lost before them.
    pub(super) fn finish(mut self, watcher: &mut dyn Watcher) {
        for stream in Stream::ALL {
            let share = &self.streams[stream as usize];
            if share.is_cut_mid_line {
                self.drop_oldest(stream, broken_line_len(&share.tail));
            }
        }
        let mut is_marked = [false; 2];
        for (stream, len) in std::mem::take(&mut self.runs) {
            if !std::mem::replace(&mut is_marked[stream as usize], true) {
                self.mark(stream, watcher);
            }
            let tail = &mut self.streams[stream as usize].tail;
            let run: Vec<u8> = tail.drain(..len).collect();
            pass_in_chunks(stream, &run, watcher);
        }
        for stream in Stream::ALL {
            if !is_marked[stream as usize] {
                self.mark(stream, watcher);
            }
        }
    }

    /// How many of a stream's next bytes are still of its beginning: whole lines where that is possible,
    /// else whole characters.
    fn head_len(&self, stream: Stream, bytes: &[u8]) -> usize {
        let share = &self.streams[stream as usize];
        if share.has_tail {
            return 0;
        }
        let sure = self.sure_bytes();
        let other = self.streams[stream.other() as usize].passed_bytes;
        let room =
            (self.limit_bytes - 2 * sure).saturating_sub(share.passed_bytes + other.max(sure));
        if bytes.len() <= room {
            return bytes.len();
        }
        match bytes[..room].iter().rposition(|byte| *byte == b'\n') {
            Some(line_end) => line_end + 1,
            None => room - cut_char_len(&bytes[..room]),
        }
    }

    fn sure_bytes(&self) -> usize {
        self.limit_bytes / SURE_PARTS
    }

    /// Keeps to the limit: at the cost of the longer end. The beginnings never fill it, so the shorter
    /// one keeps what it is sure of.
    fn trim(&mut self) {
        loop {
            let kept = self.streams.iter();
            let kept: usize = kept
                .map(|share| share.passed_bytes + share.tail.len())
                .sum();
            let excess = kept.saturating_sub(self.limit_bytes);
            if excess == 0 {
                return;
            }
            let [stdout, stderr] = [0, 1].map(|stream| self.streams[stream].tail.len());
            let longer = match stdout >= stderr {
                true => Stream::Stdout,
                false => Stream::Stderr,
            };
            let len = match stdout.abs_diff(stderr) {
                0 => excess.div_ceil(2),
                difference => excess.min(difference),
            };
            self.drop_oldest(longer, len);
        }
    }

    /// Loses the first bytes of a tail.
    fn drop_oldest(&mut self, stream: Stream, len: usize) {
        let share = &mut self.streams[stream as usize];
        let last = share.tail.drain(..len).next_back();
        share.is_cut_mid_line = last.is_some_and(|byte| byte != b'\n');
        share.cut_bytes += len as u64;
        let mut left = len;
        while left > 0 {
            // Its oldest run is the first, or the second behind one of the other stream.
            let at = usize::from(self.runs[0].0 != stream);
            let run = &mut self.runs[at].1;
            let part = left.min(*run);
            *run -= part;
            left -= part;
            if *run == 0 {
                self.runs.remove(at);
                if at == 1 && self.runs.len() > 1 {
                    self.runs[1].1 += self.runs[0].1;
                    self.runs.pop_front();
                }
            }
        }
    }

    fn mark(&self, stream: Stream, watcher: &mut dyn Watcher) {
        let share = &self.streams[stream as usize];
        if share.cut_bytes > 0 {
            let line_break = if share.is_mid_line { "\n" } else { "" };
            let count = grouped(share.cut_bytes);
            let mark = format!("{line_break}[… {count} bytes cut …]\n");
            watcher.output(stream, mark.as_bytes());
        }
    }
}

/// How much of the beginning of a tail is the rest of a line whose beginning is lost; of a very long
/// line, the rest of a character.
fn broken_line_len(tail: &VecDeque<u8>) -> usize {
    let mut first_half = tail.iter().take(tail.len() / 2);
    match first_half.position(|byte| *byte == b'\n') {
        Some(line_end) => line_end + 1,
        None => tail
            .iter()
            .take(3)
            .take_while(|byte| matches!(byte, 0x80..=0xbf))
            .count(),
    }
}

fn pass_in_chunks(stream: Stream, mut bytes: &[u8], watcher: &mut dyn Watcher) {
    while bytes.len() > CHUNK_MAX_BYTES {
        let most = &bytes[..CHUNK_MAX_BYTES];
        let len = match most.iter().rposition(|byte| *byte == b'\n') {
            Some(line_end) => line_end + 1,
            None => CHUNK_MAX_BYTES - cut_char_len(most),
        };
        watcher.output(stream, &bytes[..len]);
        bytes = &bytes[len..];
    }
    if !bytes.is_empty() {
        watcher.output(stream, bytes);
    }
}

/// `1,951,424`
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Stream::Stderr;
    use super::Stream::Stdout;
    use super::*;

    #[derive(Default)]
    struct KeptPieces {
        text: [Vec<u8>; 2],
        order: Vec<Stream>,
    }

    impl Watcher for KeptPieces {
        fn output(&mut self, stream: Stream, bytes: &[u8]) {
            assert!((1..=CHUNK_MAX_BYTES).contains(&bytes.len()));
            self.text[stream as usize].extend_from_slice(bytes);
            if self.order.last() != Some(&stream) {
                self.order.push(stream);
            }
        }
    }

    impl KeptPieces {
        fn text(&self, stream: Stream) -> String {
            String::from_utf8_lossy(&self.text[stream as usize]).into_owned()
        }
    }

    fn kept(limit: usize, output: &[(Stream, &str)]) -> KeptPieces {
        let mut seen = KeptPieces::default();
        let mut kept = Kept::new(limit);
        for (stream, text) in output {
            kept.take(*stream, text.as_bytes(), &mut seen);
        }
        kept.finish(&mut seen);
        seen
    }

    /// So many lines of ten bytes, numbered.
    fn lines(count: usize) -> String {
        (0..count).map(|number| format!("{number:09}\n")).collect()
    }

    #[test]
    fn a_flood_leaves_its_beginning_its_end_and_a_mark_between() {
        let flood = lines(1000);
        let seen = kept(800, &[(Stdout, &flood)]);
        let text = seen.text(Stdout);
        let (head, rest) = text.split_once("[…").unwrap();
        let (mark, tail) = rest.split_once("]\n").unwrap();
        // An eighth is kept free for the other's beginning, one for the end of each.
        assert_eq!(head, &flood[..500]);
        assert_eq!(tail, &flood[9700..]);
        assert_eq!(mark, " 9,200 bytes cut …");
    }

    #[test]
    fn output_within_the_limit_is_kept_whole() {
        let all = lines(80);
        assert_eq!(kept(800, &[(Stdout, &all)]).text(Stdout), all);
        assert_eq!(kept(800, &[(Stderr, &all)]).text(Stderr), all);
        let seen = kept(800, &[(Stdout, &all[..700]), (Stderr, &all[700..])]);
        assert_eq!(seen.text(Stdout) + &seen.text(Stderr), all);
    }

    #[test]
    fn a_stream_that_says_little_is_kept_whole_beside_a_flood() {
        let (flood, said) = (lines(1000), lines(20));
        for order in [
            [(Stdout, &*flood), (Stderr, &*said)],
            [(Stderr, &*said), (Stdout, &*flood)],
        ] {
            let seen = kept(800, &order);
            assert_eq!(seen.text(Stderr), said);
            assert!(seen.text(Stdout).starts_with(&flood[..100]));
            assert!(seen.text(Stdout).ends_with(&flood[9900..]));
        }
    }

    #[test]
    fn the_ends_keep_the_order_of_the_streams() {
        let flood = lines(100);
        let mut output = vec![(Stdout, &*flood), (Stderr, &*flood)];
        for _ in 0..5 {
            output.extend([(Stdout, "out\n"), (Stderr, "err\n")]);
        }
        let seen = kept(400, &output);
        let expected = [Stdout, Stderr].repeat(5);
        assert!(seen.order.ends_with(&expected), "{:?}", seen.order);
    }

    #[test]
    fn a_limit_of_nothing_keeps_the_mark() {
        let seen = kept(0, &[(Stdout, "all of it\n")]);
        assert_eq!(seen.text(Stdout), "[… 10 bytes cut …]\n");
        assert_eq!(seen.text(Stderr), "");
        assert!(kept(0, &[]).order.is_empty());
    }

    #[test]
    fn a_line_without_end_is_cut_between_characters() {
        let line = "€".repeat(1000);
        let text = kept(800, &[(Stdout, &line)]).text(Stdout);
        assert!(!text.contains('\u{fffd}'), "{text}");
        assert!(text.starts_with('€') && text.ends_with('€'));
        assert!(text.contains("€\n[… 2,"), "{text}");
    }

    #[test]
    fn long_numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_without_its_mark_and_the_limit_holds(
            limit in 0_usize..300,
            output in prop::collection::vec((any::<bool>(), "[a\n]{0,40}"), 0..60),
        ) {
            let output: Vec<_> = output.iter()
                .map(|(is_err, text)| (if *is_err { Stderr } else { Stdout }, &**text))
                .collect();
            let seen = kept(limit, &output);
            let mut in_all = 0;
            for stream in Stream::ALL {
                let written: String = output.iter()
                    .filter(|(of, _)| *of == stream)
                    .map(|(_, text)| *text)
                    .collect();
                let text = seen.text(stream);
                let Some((head, rest)) = text.split_once("[… ") else {
                    prop_assert_eq!(&text, &written);
                    in_all += text.len();
                    continue;
                };
                let (count, tail) = rest.split_once(" bytes cut …]\n").unwrap();
                let count: usize = count.replace(',', "").parse().unwrap();
                prop_assert!(written.ends_with(tail));
                let head_len = written.len() - tail.len() - count;
                prop_assert!(head.trim_end_matches('\n').len() <= head_len);
                prop_assert!(written.starts_with(&written[..head_len]) && head.starts_with(&written[..head_len]));
                in_all += head_len + tail.len();
                // Each stream is sure of its part.
                let sure = limit / SURE_PARTS;
                prop_assert!(head_len + count + tail.len() == written.len());
                prop_assert!(count > 0 && head_len + 40 >= sure.min(written.len()));
            }
            prop_assert!(in_all <= limit);
        }
    }
}
