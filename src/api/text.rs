//! Pieces of text that messages are made of.

pub use crate::plural::count;

/// The text, cut after `most` characters.
pub fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `1.5 GiB`, `312 MiB`, `9 B`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 || size >= 100.0 {
        format!("{size:.0} {}", UNITS[unit])
    } else {
        format!("{size:.1} {}", UNITS[unit])
    }
}

/// A name as a shell takes it for one word.
pub fn shell_word(name: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_./:@".contains(char);
    if !name.is_empty() && name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_fits() {
        assert_eq!(
            [0, 1023, 1536, 312 << 20].map(bytes),
            ["0 B", "1023 B", "1.5 KiB", "312 MiB"]
        );
    }

    #[test]
    fn a_long_text_is_cut_between_letters() {
        let long = "ü".repeat(100);
        assert_eq!(shortened(&long, 60), format!("{}…", "ü".repeat(60)));
        assert_eq!(shortened("ls -l", 60), "ls -l");
    }
}
