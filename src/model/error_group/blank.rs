//! Blanking what varies in a line of text.

/// In place of numbers and ids, and of texts.
const NUMBER: char = 'N';
const TEXT: char = '…';

/// The line with its numbers, ids and addresses as `N`, its paths and quoted texts as `…`, and single spaces.
pub(super) fn blank(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            if !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
            rest = &rest[first.len_utf8()..];
            continue;
        }
        // An apostrophe within a word opens nothing.
        let is_at_word = !out.ends_with(|c: char| c.is_alphanumeric());
        if is_at_word && let Some((end, close)) = quoted(rest) {
            out.push(first);
            out.push(TEXT);
            out.push(close);
            rest = &rest[end..];
            continue;
        }
        rest = &rest[word(rest, &mut out)..];
    }
    out.truncate(out.trim_end().len());
    out
}

/// If the text begins with something quoted: its length in bytes, and what closes it.
fn quoted(text: &str) -> Option<(usize, char)> {
    let mut chars = text.char_indices();
    let close = match chars.next()?.1 {
        quote @ ('"' | '\'' | '`') => quote,
        '“' => '”',
        '‘' => '’',
        '«' => '»',
        _ => return None,
    };
    let mut is_escaped = false;
    for (at, c) in chars {
        if is_escaped {
            is_escaped = false;
        } else if c == '\\' {
            is_escaped = true;
        } else if c == close {
            let end = at + c.len_utf8();
            let is_in_word = text[end..].starts_with(char::is_alphanumeric);
            if !(is_in_word && matches!(close, '\'' | '’')) {
                return Some((end, close));
            }
        }
    }
    None
}

/// Blanks the word that the text begins with, up to a space or a quoted text; returns its length in bytes.
fn word(text: &str, out: &mut String) -> usize {
    let mut end = text.len();
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        let opens = at > 0 && !previous.is_alphanumeric() && quoted(&text[at..]).is_some();
        if c.is_whitespace() || opens {
            end = at;
            break;
        }
        previous = c;
    }
    let word = &text[..end];
    let core = word.trim_start_matches(OPENING);
    out.push_str(&word[..word.len() - core.len()]);
    let trimmed = core.trim_end_matches(CLOSING);
    let closing = &core[trimmed.len()..];
    // `key=value` and `key:value` have their values blanked alone.
    match trimmed.split_once('=') {
        Some((key, value)) if !key.is_empty() && !key.contains('/') => {
            numbers(key, out);
            out.push('=');
            whole(value, out);
        }
        _ => whole(trimmed, out),
    }
    out.push_str(closing);
    end
}

const OPENING: &[char] = &['(', '[', '{', '<', '"', '\'', '`', ',', ';'];
const CLOSING: &[char] = &[
    ')', ']', '}', '>', '"', '\'', '`', ',', ';', '.', ':', '!', '?',
];

/// A word without the punctuation around it: an address, a path, an id, or a word with numbers in it.
fn whole(word: &str, out: &mut String) {
    if let Some((scheme, rest)) = word.split_once("://") {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        out.push_str(scheme);
        out.push_str("://");
        numbers(&rest[..end], out);
        if end < rest.len() {
            out.push('/');
            out.push(TEXT);
        }
    } else if is_path(word) || is_mail(word) {
        out.push(TEXT);
    } else if is_uuid(word) || is_ip6(word) {
        out.push(NUMBER);
    } else {
        numbers(word, out);
    }
}

fn is_path(word: &str) -> bool {
    let begins = ["/", "./", "../", "~/", "\\\\"]
        .iter()
        .any(|start| word.starts_with(start) && word.len() > start.len());
    let is_of_drive =
        matches!(word.as_bytes(), [drive, b':', b'\\' | b'/', ..] if drive.is_ascii_alphabetic());
    let parts = word.matches('/').count();
    let has_extension = || {
        let name = word.rsplit('/').next().unwrap_or_default();
        name.contains('.')
    };
    begins || is_of_drive || parts > 1 || (parts == 1 && has_extension())
}

fn is_mail(word: &str) -> bool {
    let parts = word.split_once('@');
    parts.is_some_and(|(name, host)| !name.is_empty() && host.contains('.'))
}

fn is_uuid(word: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let mut parts = word.split('-');
    let fits = lengths.iter().all(|length| {
        parts.next().is_some_and(|part| {
            part.len() == *length && part.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    });
    fits && parts.next().is_none()
}

fn is_ip6(word: &str) -> bool {
    let all = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.' | '[' | ']' | '%');
    word.matches(':').count() > 1
        && word.contains(|c: char| c.is_ascii_hexdigit())
        && word.chars().all(all)
}

/// Writes a word with its numbers as `N`; a number may have signs, points and other separators within.
fn numbers(word: &str, out: &mut String) {
    let start = out.len();
    for run in word.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let separator = run.chars().next_back().filter(|c| !c.is_alphanumeric());
        let run = &run[..run.len() - separator.map_or(0, char::len_utf8)];
        if is_id(run) {
            push_number(out, start);
        } else {
            digits(run, out, start);
        }
        out.extend(separator);
    }
}

/// A run of letters and digits that is hexadecimal, or too long and mixed for a word.
fn is_id(run: &str) -> bool {
    let hex = run.strip_prefix("0x").unwrap_or(run);
    let count = |is: fn(&char) -> bool| run.chars().filter(is).count();
    let digits = count(char::is_ascii_digit);
    let letters = count(|c| c.is_ascii_alphabetic());
    let is_hex = !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_long = hex.len() >= 8 || (hex.len() >= 6 && digits > 0);
    (is_hex && (is_long || hex.len() < run.len())) || (digits > 1 && digits + letters >= 16)
}

fn digits(run: &str, out: &mut String, start: usize) {
    let mut rest = run;
    while let Some(at) = rest.find(|c: char| c.is_numeric()) {
        out.push_str(&rest[..at]);
        push_number(out, start);
        rest = rest[at..].trim_start_matches(char::is_numeric);
    }
    out.push_str(rest);
}

/// Adds an `N` to a word that begins at `start`. A number before it that only a separator parts from it is the same
/// number, and a sign belongs to it.
fn push_number(out: &mut String, start: usize) {
    let word = &out[start..];
    let mut chars = word.chars().rev();
    let (last, before) = (chars.next(), chars.next());
    match (last, before) {
        (Some(NUMBER), _) => {}
        (Some('.' | ',' | ':' | '-' | '/' | '_' | '\''), Some(NUMBER)) => {
            out.pop();
        }
        (Some('-' | '+'), None) => {
            out.pop();
            out.push(NUMBER);
        }
        _ => out.push(NUMBER),
    }
}
