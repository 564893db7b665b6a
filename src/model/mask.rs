//! Texts without the secrets in them.

use std::fmt;

use zeroize::Zeroize;

use crate::model::base64;

/// What stands in a secret's place.
pub const MASKED: &str = "***";

/// A shorter secret is not masked: it would be found in every text.
pub const MIN_MASKED_BYTES: usize = 6;

/// The signs besides letters, digits and `-._~` that are left as they are within a URL: none, those of Python's `quote`, and
/// those of JavaScript's `encodeURIComponent`.
const UNESCAPED: [&str; 3] = ["", "/", "!'()*"];

/// The variable with the names of those variables of a command's environment that have secrets in them.
pub const SECRETS_VARIABLE: &str = "JOBQ_SECRETS";

/// The secrets that texts are searched for, in each form in which they may be written.
#[derive(Clone, Default)]
pub struct Mask {
    /// The longest first.
    forms: Vec<String>,
}

impl Mask {
    /// The secrets in the environment of the command that this process is a part of.
    pub fn of_command() -> Mask {
        let mut mask = Mask::default();
        let names = std::env::var(SECRETS_VARIABLE).unwrap_or_default();
        for value in names.split(' ').filter_map(|name| std::env::var(name).ok()) {
            mask.add(&value);
        }
        mask
    }

    /// Adds a secret: as it is, in JSON, with percent signs as in a URL or a form, and within Base64.
    pub fn add(&mut self, secret: &str) {
        if secret.len() < MIN_MASKED_BYTES {
            return;
        }
        let mut forms = vec![secret.to_owned()];
        forms.extend(in_json(secret));
        for unescaped in UNESCAPED {
            for is_upper in [true, false] {
                let percent = percent_but(secret, unescaped, is_upper);
                forms.push(percent.replace("%20", "+"));
                forms.push(percent);
            }
        }
        for before in 0..3 {
            let text = within_base64(secret, before);
            forms.push(text.replace('+', "-").replace('/', "_"));
            forms.push(text);
        }
        for form in forms {
            if form.len() >= MIN_MASKED_BYTES && !self.forms.contains(&form) {
                self.forms.push(form);
            }
        }
        self.forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    }

    /// Whether JSON, or its strings without their escapes, hold a secret.
    pub fn is_in(&self, json: &str) -> bool {
        let mut rest = json;
        while let Some(begin) = rest.find('"').filter(|_| !self.is_empty()) {
            let (string, after) = rest[begin..].split_at(string_len(&rest[begin..]));
            let text: String = serde_json::from_str(string).unwrap_or_default();
            if self.is_within(&text) {
                return true;
            }
            rest = after;
        }
        self.is_within(json)
    }

    fn is_within(&self, text: &str) -> bool {
        self.forms.iter().any(|form| text.contains(form.as_str()))
    }

    /// Without secrets.
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// The text with `***` in place of each secret.
    pub fn text(&self, text: String) -> String {
        let forms = self.forms.iter();
        forms.fold(text, |text, form| match text.contains(form) {
            true => text.replace(form, MASKED),
            false => text,
        })
    }

    /// The same for JSON, string by string, so that it stays JSON.
    pub fn json(&self, json: String) -> String {
        if self.forms.is_empty() {
            return json;
        }
        let mut masked = String::with_capacity(json.len());
        let mut rest = json.as_str();
        while let Some(begin) = rest.find('"') {
            self.numbers(&rest[..begin], &mut masked);
            let (string, after) = rest[begin..].split_at(string_len(&rest[begin..]));
            let text: String = serde_json::from_str(string).unwrap_or_default();
            let text = self.text(text);
            masked.push_str(&serde_json::to_string(&text).unwrap_or_default());
            rest = after;
        }
        self.numbers(rest, &mut masked);
        masked
    }

    /// Appends JSON without strings in it, with a string in place of each number that holds a secret.
    fn numbers(&self, json: &str, masked: &mut String) {
        let is_of_number = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let mut rest = json;
        while !rest.is_empty() {
            let len = rest.find(|c| !is_of_number(c)).unwrap_or(rest.len());
            let (number, after) = rest.split_at(len);
            match self.is_within(number) {
                true => masked.push_str(&format!("\"{MASKED}\"")),
                false => masked.push_str(number),
            }
            let between = after.find(is_of_number).unwrap_or(after.len());
            masked.push_str(&after[..between]);
            rest = &after[between..];
        }
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASKED)
    }
}

impl Drop for Mask {
    fn drop(&mut self) {
        self.forms.zeroize();
    }
}

/// The same for bytes that come in pieces, wherever a secret is cut.
pub struct MaskedStream {
    mask: Mask,
    /// The bytes that a form begins with.
    is_first: [bool; 256],
    /// The beginning of a form, as long as it may go on.
    held: Vec<u8>,
}

impl MaskedStream {
    /// A stream from its beginning.
    pub fn new(mask: Mask) -> MaskedStream {
        let mut is_first = [false; 256];
        for form in &mask.forms {
            is_first[usize::from(form.as_bytes()[0])] = true;
        }
        MaskedStream {
            mask,
            is_first,
            held: Vec::new(),
        }
    }

    /// How many bytes are held back.
    pub fn held_len(&self) -> usize {
        self.held.len()
    }

    /// Takes a piece, and appends to `out` what has come and is no secret: never more bytes than came.
    pub fn take(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(piece);
        self.pass(out, |mask, rest| {
            let mut longer = mask.forms.iter().filter(|form| form.len() > rest.len());
            longer.any(|form| form.as_bytes().starts_with(rest))
        });
    }

    /// Appends what was held back, as nothing more comes.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.pass(out, |_, _| false);
    }

    /// Appends what has come, up to where a form `may_go_on`: that may be longer than one that is complete.
    fn pass(&mut self, out: &mut Vec<u8>, may_go_on: impl Fn(&Mask, &[u8]) -> bool) {
        let mut done = 0;
        while let Some(rest) = self.held.get(done..).filter(|rest| !rest.is_empty()) {
            let is_first = self.is_first[usize::from(rest[0])];
            if is_first && may_go_on(&self.mask, rest) {
                break;
            }
            let mut forms = self.mask.forms.iter().map(String::as_bytes);
            match forms.find(|form| is_first && rest.starts_with(form)) {
                Some(form) => {
                    out.extend_from_slice(MASKED.as_bytes());
                    done += form.len();
                }
                None => {
                    out.push(rest[0]);
                    done += 1;
                }
            }
        }
        self.held.drain(..done);
    }
}

/// How long the string is that the JSON begins with, with its quotes.
fn string_len(json: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in json.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    json.len()
}

/// A text within JSON: as it must be written, with `\/`, and with escapes for all that is not ASCII.
fn in_json(text: &str) -> Vec<String> {
    let json = serde_json::to_string(text).unwrap_or_default();
    let json = json.get(1..json.len() - 1).unwrap_or_default().to_owned();
    let mut ascii = String::new();
    for c in json.chars() {
        match c.is_ascii() {
            true => ascii.push(c),
            false => {
                let units = c.encode_utf16(&mut [0; 2]).to_vec();
                ascii.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
            }
        }
    }
    let slashes = [&json, &ascii].map(|form| form.replace('/', "\\/"));
    [vec![json, ascii], slashes.to_vec()].concat()
}

/// Percent signs before all but letters, digits and `-._~`.
#[allow(dead_code, reason = "only the webhook writes forms")]
pub(crate) fn percent(text: &str, is_upper: bool) -> String {
    percent_but(text, "", is_upper)
}

fn percent_but(text: &str, unescaped: &str, is_upper: bool) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ if unescaped.as_bytes().contains(&byte) => encoded.push(char::from(byte)),
            _ if is_upper => encoded.push_str(&format!("%{byte:02X}")),
            _ => encoded.push_str(&format!("%{byte:02x}")),
        }
    }
    encoded
}

/// What is always the same in the Base64 of a longer text, where the secret begins so many bytes behind a group.
fn within_base64(secret: &str, bytes_before: usize) -> String {
    let bytes = [&[0; 3][..bytes_before], secret.as_bytes()].concat();
    let begin = (bytes_before * 8).div_ceil(6);
    let end = bytes.len() * 8 / 6;
    base64::encode(&bytes)[begin..end].to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask(secret: &str) -> Mask {
        let mut mask = Mask::default();
        mask.add(secret);
        mask
    }

    #[test]
    fn each_form_of_a_secret_is_masked() {
        let mask = mask("p&s \"w/rd");
        for (text, masked) in [
            ("a p&s \"w/rd b p&s \"w/rd", "a *** b ***"),
            (r#"{"a":"p&s \"w/rd"}"#, r#"{"a":"***"}"#),
            ("?a=p%26s%20%22w%2Frd&b=1", "?a=***&b=1"),
            ("?a=p%26s%20%22w%2frd&b=1", "?a=***&b=1"),
            ("a=p%26s+%22w%2Frd", "a=***"),
            ("p&s", "p&s"),
        ] {
            assert_eq!(mask.text(text.to_owned()), masked);
        }
    }

    #[test]
    fn forms_of_other_languages_are_masked() {
        let mask = mask("pä/s's (w)");
        for (form, language) in [
            ("p%C3%A4/s%27s%20%28w%29", "Python's quote"),
            ("p%C3%A4/s%27s+%28w%29", "Python's quote_plus(safe='/')"),
            ("p%C3%A4%2Fs's%20(w)", "JavaScript's encodeURIComponent"),
            (r"p\u00e4/s's (w)", "Python's json.dumps"),
            (r"p\u00e4\/s's (w)", "PHP's json_encode"),
            (r"pä\/s's (w)", "PHP's JSON_UNESCAPED_UNICODE"),
        ] {
            assert_eq!(mask.text(format!("<{form}>")), "<***>", "{language}");
        }
    }

    #[test]
    fn a_number_in_json_may_be_a_secret() {
        let mask = mask("12345678");
        for (json, masked) in [
            (
                r#"{"pin":12345678,"n":1234567}"#,
                r#"{"pin":"***","n":1234567}"#,
            ),
            ("[ 99123456780.5,\n true]", "[ \"***\",\n true]"),
            ("12345678", "\"***\""),
            ("-1", "-1"),
        ] {
            assert_eq!(mask.json(json.to_owned()), masked);
            assert_eq!(mask.is_in(json), json != masked);
        }
        assert!(!Mask::default().is_in("12345678"));
    }

    #[test]
    fn a_secret_is_found_in_json_however_that_is_written() {
        let mask = mask("p/s \"word\"");
        for json in [r#"{"a":"p/s \"word\""}"#, r#"["b", "\u0070\/s \"word\""]"#] {
            assert!(mask.is_in(json), "{json}");
        }
        for json in [r#"{"a":"\u00e4\/ \n"}"#, "null", r#""***""#, "[1.10, 2]"] {
            assert!(!mask.is_in(json), "{json}");
        }
    }

    #[test]
    fn a_secret_within_base64_is_masked() {
        let mask = mask("open sesame");
        for user in ["", "u:", "me:", "you:", "them:"] {
            let basic = base64::encode(format!("{user}open sesame").as_bytes());
            let masked = mask.text(basic.clone());
            assert!(masked.contains(MASKED), "{basic}");
            // A character or two of the edges may stay, which also hold bits of what is beside.
            assert!(
                masked.len() <= base64::encoded_len(user.len()) + MASKED.len() + 4,
                "{masked}"
            );
        }
    }

    #[test]
    fn a_secret_may_begin_with_another() {
        let mut mask = mask("deploy!");
        mask.add("deploy!hunter2");
        for (pieces, expected) in [
            (["deploy!", "hunter2"], "***"),
            (["deploy!hun", "ter"], "***hunter"),
            (["deploy!", ""], "***"),
            (["deploy", "!x"], "***x"),
        ] {
            let mut stream = MaskedStream::new(mask.clone());
            let mut out = Vec::new();
            for piece in pieces {
                stream.take(piece.as_bytes(), &mut out);
            }
            stream.finish(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{pieces:?}");
        }
    }

    #[test]
    fn a_short_secret_would_be_found_everywhere() {
        assert_eq!(mask("a").text("a cat".to_owned()), "a cat");
    }

    proptest! {
        #[test]
        fn a_stream_is_masked_as_its_whole_text_is(
            text in "[a-c]{0,60}",
            secret in "[a-c]{6,7}",
            cuts in proptest::collection::vec(0usize..9, 0..30),
        ) {
            let mut stream = MaskedStream::new(mask(&secret));
            let mut out = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                stream.take(piece, &mut out);
                rest = after;
            }
            stream.take(rest, &mut out);
            stream.finish(&mut out);
            // Base64 of such a secret has other characters, so only the secret itself occurs.
            prop_assert_eq!(String::from_utf8(out).unwrap(), text.replace(&secret, MASKED));
        }

        #[test]
        fn a_stream_has_none_of_two_secrets_wherever_it_is_cut(
            between in proptest::collection::vec(("[a-c]{0,4}", 0usize..8), 0..8),
            secret in "[a-c]{6,7}",
            more in "[a-c]{1,4}",
            cuts in proptest::collection::vec(0usize..9, 0..30),
        ) {
            let mut mask = mask(&secret);
            mask.add(&format!("{secret}{more}"));
            let longer = format!("{secret}{more}");
            let piece = |(text, len): &(String, usize)| format!("{text}{}", &longer[..longer.len() - len]);
            let text: String = between.iter().map(piece).collect();
            let masked = |cuts: &[usize]| {
                let mut stream = MaskedStream::new(mask.clone());
                let (mut out, mut rest) = (Vec::new(), text.as_bytes());
                for cut in cuts {
                    let (piece, after) = rest.split_at((*cut).min(rest.len()));
                    stream.take(piece, &mut out);
                    rest = after;
                }
                stream.take(rest, &mut out);
                stream.finish(&mut out);
                String::from_utf8(out).unwrap()
            };
            let whole = masked(&[]);
            prop_assert!(!whole.contains(&secret));
            prop_assert_eq!(masked(&cuts), whole);
        }

        #[test]
        fn json_stays_json_and_has_no_secret(secret in "[n\"\\\\\n -~]{6,9}", before in "[ -~\n]{0,5}") {
            let value = serde_json::json!({ "a": format!("{before}{secret}"), "b": [secret, 1] });
            let masked = mask(&secret).json(value.to_string());
            let read: serde_json::Value = serde_json::from_str(&masked).unwrap();
            prop_assert_eq!(&read["b"], &serde_json::json!([MASKED, 1]));
            prop_assert!(!read["a"].as_str().unwrap().contains(&secret));
        }
    }
}
