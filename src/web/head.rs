//! The head of a request: a pure parser. What a proxy could read in another way is refused.

use httparse::{EMPTY_HEADER, Status};

use crate::web::problem::Problem;

/// Maximum size of a head.
pub(crate) const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Maximum number of its headers.
const MAX_HEADERS: usize = 64;

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// The path, as it was sent.
    pub(crate) path: String,
    /// What follows the question mark.
    pub(crate) query: String,
    /// HTTP/1.1, and not 1.0.
    pub(crate) is_1_1: bool,
    /// The names are in lower case.
    headers: Vec<(String, Vec<u8>)>,
    /// The size of the body.
    pub(crate) body_bytes: u64,
}

/// What the bytes that have come so far are.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// The head has not ended yet.
    Part,
    /// A head, and the number of its bytes.
    Whole(Box<Head>, usize),
    /// What can be no head, or none that is served.
    Refused(Box<Problem>),
}

/// Reads a head from the first bytes of a request.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    // More than a whole head may have come; the limit is that of the head.
    let start = &bytes[..bytes.len().min(MAX_HEAD_BYTES)];
    let used = match request.parse(start) {
        Ok(Status::Complete(used)) => used,
        Ok(Status::Partial) if bytes.len() < MAX_HEAD_BYTES => return Parsed::Part,
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Parsed::Refused(Box::new(Problem::new(
                "head-too-large",
                format!(
                    "the head of a request has at most {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers"
                ),
            )));
        }
        Err(error) => return refused(format!("this is not HTTP/1.1: {error}")),
    };
    if has_bare_newline(&start[..used]) {
        return refused("a line of a head ends with CR and LF");
    }
    match head(&request) {
        Ok(head) => Parsed::Whole(Box::new(head), used),
        Err(why) => refused(why),
    }
}

fn refused(why: impl Into<String>) -> Parsed {
    Parsed::Refused(Box::new(Problem::new("bad-request", why)))
}

/// Some proxies take an LF alone as the end of a header, and others as a part of it.
fn has_bare_newline(head: &[u8]) -> bool {
    let ends = head.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    ends.into_iter()
        .any(|(at, _)| at == 0 || head[at - 1] != b'\r')
}

fn head(request: &httparse::Request<'_, '_>) -> Result<Head, String> {
    let target = request.path.unwrap_or_default();
    if !target.starts_with('/') {
        return Err("the target of a request is a path, as /api/v1/jobs".to_owned());
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Vec<(String, Vec<u8>)> = request
        .headers
        .iter()
        .map(|header| (header.name.to_ascii_lowercase(), header.value.to_vec()))
        .collect();
    let mut head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        is_1_1: request.version == Some(1),
        headers,
        body_bytes: 0,
    };
    head.body_bytes = body_bytes(&head)?;
    Ok(head)
}

/// Two lengths, or a length and chunks, are how a request is smuggled past a proxy.
fn body_bytes(head: &Head) -> Result<u64, String> {
    let mut lengths = head.all("content-length");
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err("Content-Length is there twice".to_owned());
    }
    if head.all("transfer-encoding").next().is_some() {
        return Err(
            "a body with Transfer-Encoding is not read: send its length as Content-Length"
                .to_owned(),
        );
    }
    let Some(length) = length else { return Ok(0) };
    let digits = str::from_utf8(length).ok();
    digits
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| "Content-Length is not a number".to_owned())
}

impl Head {
    /// The values of a header; its name is in lower case.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let headers = self.headers.iter();
        headers
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| &**value)
    }

    /// A header that is text and is there once.
    pub(crate) fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let mut values = self.all(name);
        let value = values.next()?;
        match values.next() {
            None => str::from_utf8(value).ok().map(str::trim),
            Some(_) => None,
        }
    }

    /// Whether a header is there, however often.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// Whether the client wants another answer on the same connection.
    pub(crate) fn keeps_alive(&self) -> bool {
        let says = |word: &str| {
            let values = self.all("connection");
            values
                .flat_map(|value| value.split(|byte| *byte == b','))
                .any(|part| part.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
        };
        match self.is_1_1 {
            true => !says("close"),
            false => says("keep-alive"),
        }
    }

    /// The headers as they came, in lower case.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> + Clone {
        let headers = self.headers.iter();
        headers.map(|(name, value)| (&**name, &**value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &str) -> (Head, usize) {
        match parse(text.as_bytes()) {
            Parsed::Whole(head, used) => (*head, used),
            other => panic!("{text:?}: {other:?}"),
        }
    }

    fn status(text: &str) -> u16 {
        match parse(text.as_bytes()) {
            Parsed::Refused(problem) => problem.status(),
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn a_head_is_read_with_what_follows_left_alone() {
        let text =
            "POST /api/v1/jobs?x=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";
        let (head, used) = whole(text);
        assert_eq!(&text[used..], "{}");
        assert_eq!(
            (&*head.method, &*head.path, &*head.query),
            ("POST", "/api/v1/jobs", "x=1")
        );
        assert_eq!(head.body_bytes, 2);
        assert_eq!(head.header("host"), Some("localhost"));
        assert!(head.keeps_alive());
        let (head, _) = whole("GET / HTTP/1.0\r\n\r\n");
        assert!(!head.keeps_alive());
        let (head, _) = whole("GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n");
        assert!(!head.keeps_alive());
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for headers in [
            "Content-Length: 2\r\nContent-Length: 2\r\n",
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Content-Length: +2\r\n",
            "Content-Length: 2, 2\r\n",
            "Content-Length:\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length : 2\r\n",
            " folded: 1\r\n",
            "X: 1\nContent-Length: 2\r\n",
            "X: 1\rContent-Length: 2\r\n",
            "X: \0\r\n",
        ] {
            assert_eq!(
                status(&format!("POST / HTTP/1.1\r\n{headers}\r\n")),
                400,
                "{headers}"
            );
        }
        assert_eq!(status("GET http://x/ HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\nHost: localhost\n\n"), 400);
        assert_eq!(status("GET / HTTP/2.0\r\n\r\n"), 400);
        assert_eq!(status("\u{16}\u{3}\u{1}\u{2}"), 400);
    }

    #[test]
    fn a_head_has_a_largest_size_and_number_of_headers() {
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(MAX_HEAD_BYTES));
        assert_eq!(status(&long), 431);
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "X: 1\r\n".repeat(MAX_HEADERS + 1)
        );
        assert_eq!(status(&many), 431);
        assert!(matches!(parse(b"GET / HTTP/1.1\r\nX: 1"), Parsed::Part));
        assert!(matches!(parse(b""), Parsed::Part));
    }

    /// `JOBQ_ROUNDS=50` tries a million.
    #[test]
    fn mangled_heads_are_read_in_one_way_or_refused() {
        const PARTS: [&str; 16] = [
            "GET / HTTP/1.1\r\n",
            "POST /api/v1/jobs?a=%00&b HTTP/1.1\r\n",
            "Host: localhost\r\n",
            "Content-Length: 5\r\n",
            "Content-Length: 0x5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "transfer-encoding:identity\r\n",
            "\r\n",
            "\n",
            "\r",
            " folded\r\n",
            "X:\0\r\n",
            ": \r\n",
            "Content-Length:\t5 \r\n",
            "HTTP/1.1 200 OK\r\n",
            "\u{ff}: \u{7f}\r\n",
        ];
        let number = |name: &str| {
            std::env::var(name)
                .ok()
                .and_then(|text| text.parse::<u64>().ok())
        };
        let mut random = fastrand::Rng::with_seed(number("JOBQ_SEED").unwrap_or(1));
        let (mut whole, mut refused) = (0, 0);
        for _ in 0..number("JOBQ_ROUNDS").unwrap_or(1) * 20_000 {
            let parts = (0..random.usize(1..7)).map(|_| PARTS[random.usize(..PARTS.len())]);
            let mut bytes: Vec<u8> = parts.collect::<String>().into_bytes();
            for _ in 0..random.usize(..3) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            match parse(&bytes) {
                Parsed::Part => {}
                Parsed::Refused(_) => refused += 1,
                Parsed::Whole(head, used) => {
                    whole += 1;
                    assert!(used <= bytes.len());
                    assert!(head.all("content-length").count() < 2, "{bytes:?}");
                    assert!(!head.has("transfer-encoding"), "{bytes:?}");
                    assert!(
                        head.path.starts_with('/') && !head.path.bytes().any(|byte| byte <= b' '),
                        "{bytes:?}"
                    );
                    assert!(
                        head.headers().all(|(_, value)| !value.contains(&b'\n')),
                        "{bytes:?}"
                    );
                }
            }
        }
        assert!(whole > 100 && refused > 100, "{whole} {refused}");
    }

    proptest! {
        /// Whatever way the bytes of a head come in, it is the same head.
        #[test]
        fn a_head_is_whole_at_its_last_byte_and_not_before(cut in 0_usize..200) {
            let text = "GET /api/v1/jobs?state=failed HTTP/1.1\r\nHost: 127.0.0.1:8787\r\nAccept: */*\r\n\r\n";
            let cut = cut.min(text.len());
            match parse(&text.as_bytes()[..cut]) {
                Parsed::Part => prop_assert!(cut < text.len()),
                Parsed::Whole(_, used) => prop_assert_eq!((cut, used), (text.len(), text.len())),
                Parsed::Refused(problem) => prop_assert!(false, "{}: {:?}", cut, problem),
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }
    }
}
