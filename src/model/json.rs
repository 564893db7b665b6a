//! JSON as text: checked, and in one canonical spelling.
//!
//! A payload is stored unchanged, so nothing here converts to numbers or maps: digits stay as they are
//! written, and duplicate keys stay.

pub(crate) mod object;
mod words;
mod write;

use std::fmt;

pub use crate::model::json::object::with_field;
pub use crate::model::json::words::{explain, plain};
pub(crate) use crate::model::json::write::write;

/// Maximum depth of nested arrays and objects. Readers differ: serde_json ends at 128, jq 1.6 at 256, and
/// jobq prints a payload a few levels deeper.
pub const MAX_DEPTH: usize = 100;

/// Maximum length of a number; a longer one may be too large for a double.
const SURELY_FINITE_DIGITS: usize = 300;

/// Why a text is not JSON that other programs can read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    why: String,
    line: usize,
    column: usize,
}

impl JsonError {
    /// What is wrong, without the position.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The line, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The character of the line, from 1.
    pub fn column(&self) -> usize {
        self.column
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JsonError { why, line, column } = self;
        write!(f, "{why} (line {line}, column {column})")
    }
}

impl std::error::Error for JsonError {}

/// Checks that the text is one JSON value that other JSON readers accept too: no half of a
/// surrogate pair, no number beyond a double, at most [`MAX_DEPTH`] levels.
///
/// # Errors
/// What is wrong with it, and where.
pub fn check(text: &str) -> Result<(), JsonError> {
    let mut reader = JsonReader::of(text);
    reader.document().map_err(|why| reader.error(why))
}

/// One spelling for texts that mean the same: without white space, keys in order, characters in place of
/// escapes. Numbers stay as they are written: `1`, `1.0` and `1e0` are three.
///
/// # Errors
/// As [`check`].
pub fn canonical(text: &str) -> Result<String, JsonError> {
    check(text)?;
    let mut out = String::with_capacity(text.len());
    let mut reader = JsonReader::of(text);
    let written = reader.write_canonical(&mut out);
    written.map_err(|why| reader.error(why))?;
    Ok(out)
}

/// The fields of an object in their order, with values as they are written. None if the text is not an
/// object.
pub fn fields(text: &str) -> Option<Vec<(String, String)>> {
    let object = object::Object::of(text)?;
    let fields = object.fields();
    Some(
        fields
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    )
}

struct JsonReader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> JsonReader<'a> {
    fn of(text: &'a str) -> JsonReader<'a> {
        JsonReader {
            text,
            at: 0,
            depth: 0,
        }
    }

    fn error(&self, why: String) -> JsonError {
        let mut end = self.at.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before[start..].chars().count() + 1;
        JsonError { why, line, column }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// What is found here, in words.
    fn found(&self) -> String {
        match self.text[self.at..].chars().next() {
            None => "the end".to_owned(),
            Some('\u{feff}') => "a byte order mark".to_owned(),
            Some(found) if found.is_control() => format!("the character U+{:04X}", found as u32),
            Some(found) => format!("`{found}`"),
        }
    }

    fn unexpected<T>(&self, wanted: &str) -> Result<T, String> {
        Err(format!("{} in place of {wanted}", self.found()))
    }

    fn document(&mut self) -> Result<(), String> {
        self.skip_space();
        self.value()?;
        self.skip_space();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(format!("{} after the end of the value", self.found())),
        }
    }

    fn value(&mut self) -> Result<(), String> {
        match self.peek() {
            Some(b'{') => self.items(b'}', |reader| {
                reader.key()?;
                reader.value()
            }),
            Some(b'[') => self.items(b']', JsonReader::value),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    /// An array or an object, from its bracket to `close`.
    fn items(
        &mut self,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        if self.depth == MAX_DEPTH {
            return Err(format!(
                "more than {MAX_DEPTH} arrays and objects in each other"
            ));
        }
        self.depth += 1;
        self.at += 1;
        self.skip_space();
        if self.peek() != Some(close) {
            loop {
                self.skip_space();
                item(self)?;
                self.skip_space();
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(found) if found == close => break,
                    _ => return self.unexpected(&format!("`,` or `{}`", char::from(close))),
                }
            }
        }
        self.at += 1;
        self.depth -= 1;
        Ok(())
    }

    /// A key of an object, up to its value.
    fn key(&mut self) -> Result<(), String> {
        if self.peek() != Some(b'"') {
            return self.unexpected("a key in double quotes");
        }
        self.string()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return self.unexpected("`:`");
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn word(&mut self) -> Result<(), String> {
        for word in ["true", "false", "null"] {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(());
            }
        }
        self.unexpected("a value")
    }

    fn number(&mut self) -> Result<(), String> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err("a number that begins with 0".to_owned());
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        let has_exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if has_exponent {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        let may_be_infinite = has_exponent || text.len() > SURELY_FINITE_DIGITS;
        if may_be_infinite && text.parse::<f64>().is_ok_and(f64::is_infinite) {
            self.at = start;
            return Err("a number that is too large for other JSON readers".to_owned());
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), String> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.unexpected("a digit");
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err("a text without its closing quote".to_owned()),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0..0x20) => {
                    let found = self.found();
                    return Err(format!("{found} in a text; it is written as an escape"));
                }
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        let start = self.at;
        match self.text.as_bytes().get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                return Ok(());
            }
            Some(b'u') => {}
            _ => return Err("a `\\` that begins no escape".to_owned()),
        }
        let half = |why: &str, code: u32| {
            Err(format!(
                "the escape \\u{code:04x} is half of a surrogate pair{why}: other JSON readers refuse it"
            ))
        };
        let code = self.code_unit()?;
        match code {
            0xD800..0xDC00 => match self.text[self.at..].starts_with("\\u") {
                true => match self.code_unit()? {
                    0xDC00..0xE000 => Ok(()),
                    _ => {
                        self.at = start;
                        half(" without the other", code)
                    }
                },
                false => {
                    self.at = start;
                    half(" without the other", code)
                }
            },
            0xDC00..0xE000 => {
                self.at = start;
                half(" without the other", code)
            }
            _ => Ok(()),
        }
    }

    /// The four digits of `\uXXXX`.
    fn code_unit(&mut self) -> Result<u32, String> {
        let digits = self.text.as_bytes().get(self.at + 2..self.at + 6);
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let code = digits
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let Some(code) = code else {
            return Err("a `\\u` without four hexadecimal digits".to_owned());
        };
        self.at += 6;
        Ok(code)
    }
}

impl JsonReader<'_> {
    /// Of a text that has been checked.
    fn write_canonical(&mut self, out: &mut String) -> Result<(), String> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => {
                let mut fields: Vec<(String, String)> = Vec::new();
                self.items(b'}', |reader| {
                    let start = reader.at;
                    reader.string()?;
                    let key = decoded(&reader.text[start..reader.at])?;
                    reader.at = start;
                    reader.key()?;
                    let mut value = String::new();
                    reader.write_canonical(&mut value)?;
                    fields.push((key, value));
                    Ok(())
                })?;
                // Keys that occur twice stay in their order.
                fields.sort_by(|(a, _), (b, _)| a.cmp(b));
                let fields = fields.iter();
                let fields = fields.map(|(key, value)| format!("{}:{value}", encoded(key)));
                *out += &format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
            }
            Some(b'[') => {
                let mut values: Vec<String> = Vec::new();
                self.items(b']', |reader| {
                    let mut value = String::new();
                    reader.write_canonical(&mut value)?;
                    values.push(value);
                    Ok(())
                })?;
                *out += &format!("[{}]", values.join(","));
            }
            Some(b'"') => {
                let start = self.at;
                self.string()?;
                *out += &encoded(&decoded(&self.text[start..self.at])?);
            }
            _ => {
                let start = self.at;
                self.value()?;
                *out += &self.text[start..self.at];
            }
        }
        Ok(())
    }
}

fn decoded(text: &str) -> Result<String, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn encoded(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
