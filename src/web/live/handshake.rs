//! The WebSocket handshake (RFC 6455, section 4.2): from a request's headers to the bytes of the response.

use crate::model::base64;
use crate::web::problem::Problem;

/// The subprotocol: a client may ask for it.
pub(crate) const SUBPROTOCOL: &str = "jobq.v1";

/// What the key of a request is hashed with.
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The answer to a request that may be upgraded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    accept: String,
    has_subprotocol: bool,
}

/// Why a request cannot be upgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeError {
    /// It does not ask for a WebSocket.
    NoUpgrade,
    /// It asks for another version of the protocol.
    Version,
    /// Its key is missing, there twice, or not 16 bytes in base64.
    Key,
}

impl From<HandshakeError> for Problem {
    fn from(error: HandshakeError) -> Problem {
        let upgrade = |why| {
            Problem::new("upgrade-required", why)
                .with_header("Upgrade", "websocket")
                .with_header("Sec-WebSocket-Version", "13")
        };
        match error {
            HandshakeError::NoUpgrade => {
                upgrade("the headers `Connection: Upgrade` and `Upgrade: websocket` are missing")
            }
            HandshakeError::Version => upgrade("the header Sec-WebSocket-Version must be 13"),
            HandshakeError::Key => Problem::new(
                "bad-request",
                "the header Sec-WebSocket-Key must be there once, with 16 bytes in base64",
            ),
        }
    }
}

impl Handshake {
    /// Reads the headers of a GET request; their names may be in any case.
    pub(crate) fn of<'a>(
        headers: impl Iterator<Item = (&'a str, &'a [u8])> + Clone,
    ) -> Result<Handshake, HandshakeError> {
        let values = |name: &'static str| {
            let of_name = move |(key, _): &(&str, &[u8])| key.eq_ignore_ascii_case(name);
            let values = headers.clone().filter(of_name);
            // What is no text fits nothing.
            values.map(|(_, value)| std::str::from_utf8(value).unwrap_or_default())
        };
        let has_word = |name, word: &str| {
            let mut words = values(name).flat_map(|value| value.split(','));
            words.any(|found| found.trim().eq_ignore_ascii_case(word))
        };
        if !has_word("connection", "upgrade") || !has_word("upgrade", "websocket") {
            return Err(HandshakeError::NoUpgrade);
        }
        if the_only(values("sec-websocket-version")) != Some("13") {
            return Err(HandshakeError::Version);
        }
        let key = the_only(values("sec-websocket-key")).ok_or(HandshakeError::Key)?;
        if base64::decode(key).is_none_or(|key| key.len() != 16) {
            return Err(HandshakeError::Key);
        }
        let mut offered = values("sec-websocket-protocol").flat_map(|value| value.split(','));
        Ok(Handshake {
            accept: accept(key),
            has_subprotocol: offered.any(|name| name.trim() == SUBPROTOCOL),
        })
    }

    /// The head of the response, after which frames follow.
    pub(crate) fn response(&self) -> String {
        let subprotocol = match self.has_subprotocol {
            true => format!("Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n"),
            false => String::new(),
        };
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{subprotocol}\r\n",
            self.accept
        )
    }
}

fn accept(key: &str) -> String {
    let hashed = sha1_smol::Sha1::from(format!("{key}{KEY_SUFFIX}"));
    base64::encode(&hashed.digest().bytes())
}

fn the_only<'a>(mut values: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let first = values.next().map(str::trim);
    first.filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn request() -> Vec<(&'static str, &'static str)> {
        vec![
            ("Host", "127.0.0.1:8787"),
            ("upgrade", "WebSocket"),
            ("CONNECTION", "keep-alive, Upgrade"),
            ("Sec-WebSocket-Key", KEY),
            ("Sec-WebSocket-Version", "13"),
        ]
    }

    fn of(headers: &[(&str, &str)]) -> Result<Handshake, HandshakeError> {
        Handshake::of(
            headers
                .iter()
                .map(|(name, value)| (*name, value.as_bytes())),
        )
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let response = of(&request()).unwrap().response();
        assert!(response.starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
        assert!(response.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(response.ends_with("\r\n\r\n") && !response.contains("Protocol:"));
    }

    #[test]
    fn the_subprotocol_is_confirmed_where_it_is_offered() {
        let mut headers = request();
        headers.push(("Sec-WebSocket-Protocol", "chat"));
        assert!(!of(&headers).unwrap().has_subprotocol);
        headers.push(("sec-websocket-protocol", "superchat, jobq.v1"));
        let response = of(&headers).unwrap().response();
        assert!(response.contains("\r\nSec-WebSocket-Protocol: jobq.v1\r\n"));
    }

    #[test]
    fn a_request_that_lacks_a_header_is_refused_for_that() {
        for (at, expected) in [
            (1, HandshakeError::NoUpgrade),
            (2, HandshakeError::NoUpgrade),
            (3, HandshakeError::Key),
            (4, HandshakeError::Version),
        ] {
            let mut headers = request();
            headers.remove(at);
            assert_eq!(of(&headers), Err(expected));
        }
    }

    #[test]
    fn a_doubtful_key_or_version_is_refused() {
        for key in ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZQ==", "\u{e9}"] {
            let mut headers = request();
            headers[3].1 = key;
            assert_eq!(of(&headers), Err(HandshakeError::Key), "{key}");
        }
        let mut twice = request();
        twice.push(("sec-websocket-key", KEY));
        assert_eq!(of(&twice), Err(HandshakeError::Key));
        let mut old = request();
        old[4].1 = "8";
        assert_eq!(Problem::from(of(&old).unwrap_err()).status(), 426);
    }
}
