//! Texts without the secrets in them.

use zeroize::Zeroize;

use crate::model::base64;

/// What stands in a secret's place.
pub const MASKED: &str = "***";

/// A shorter secret is not looked for: it would be found in every text.
const MIN_BYTES: usize = 6;

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
        if secret.len() < MIN_BYTES {
            return;
        }
        let mut forms = vec![secret.to_owned()];
        let json = serde_json::to_string(secret).unwrap_or_default();
        forms.extend(json.get(1..json.len() - 1).map(str::to_owned));
        for is_upper in [true, false] {
            let percent = percent(secret, is_upper);
            forms.push(percent.replace("%20", "+"));
            forms.push(percent);
        }
        for before in 0..3 {
            let text = within_base64(secret, before);
            forms.push(text.replace('+', "-").replace('/', "_"));
            forms.push(text);
        }
        for form in forms {
            if form.len() >= MIN_BYTES && !self.forms.contains(&form) {
                self.forms.push(form);
            }
        }
        self.forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
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
            masked.push_str(&rest[..begin]);
            let (string, after) = rest[begin..].split_at(string_len(&rest[begin..]));
            let text: String = serde_json::from_str(string).unwrap_or_default();
            let text = self.text(text);
            masked.push_str(&serde_json::to_string(&text).unwrap_or_default());
            rest = after;
        }
        masked + rest
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
        let mut done = 0;
        while let Some(rest) = self.held.get(done..).filter(|rest| !rest.is_empty()) {
            let mut forms = self.mask.forms.iter().map(String::as_bytes);
            if !self.is_first[usize::from(rest[0])] {
                out.push(rest[0]);
                done += 1;
            } else if let Some(form) = forms.clone().find(|form| rest.starts_with(form)) {
                out.extend_from_slice(MASKED.as_bytes());
                done += form.len();
            } else if forms.any(|form| form.starts_with(rest)) {
                break;
            } else {
                out.push(rest[0]);
                done += 1;
            }
        }
        self.held.drain(..done);
    }

    /// Appends what was held back: it is no secret, as nothing more comes.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
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

/// Percent signs before all but letters, digits and `-._~`.
pub(crate) fn percent(text: &str, is_upper: bool) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
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
        fn json_stays_json_and_has_no_secret(secret in "[n\"\\\\\n -~]{6,9}", before in "[ -~\n]{0,5}") {
            let value = serde_json::json!({ "a": format!("{before}{secret}"), "b": [secret, 1] });
            let masked = mask(&secret).json(value.to_string());
            let read: serde_json::Value = serde_json::from_str(&masked).unwrap();
            prop_assert_eq!(&read["b"], &serde_json::json!([MASKED, 1]));
            prop_assert!(!read["a"].as_str().unwrap().contains(&secret));
        }
    }
}
