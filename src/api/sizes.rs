//! Numbers of bytes as people write them: `64KiB`, `1GiB`.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Bytes, as a number or like `64KiB`, none being possible.
pub fn bytes_written<'de, D: Deserializer<'de>>(value: D) -> Result<u64, D::Error> {
    let written = Written::deserialize(value)?;
    written
        .bytes()
        .ok_or_else(|| written.refused("sizes look like 64KiB or 10MiB"))
}

/// A size as it is written in JSON or TOML.
pub enum Written {
    Bytes(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Written, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Bytes(u64),
            Text(String),
        }
        match Either::deserialize(value) {
            Ok(Either::Bytes(bytes)) => Ok(Written::Bytes(bytes)),
            Ok(Either::Text(text)) => Ok(Written::Text(text)),
            Err(_) => Err(D::Error::custom("sizes look like \"512MiB\" or \"1GiB\"")),
        }
    }
}

impl Written {
    pub fn bytes(&self) -> Option<u64> {
        match self {
            Written::Bytes(bytes) => Some(*bytes),
            Written::Text(text) => bytes(text),
        }
    }

    pub fn refused<E: serde::de::Error>(&self, why: &str) -> E {
        match self {
            Written::Bytes(bytes) => E::custom(format_args!("invalid size {bytes}: {why}")),
            Written::Text(text) => E::custom(format_args!("invalid size '{text}': {why}")),
        }
    }
}

/// Bytes on the command line: `65536`, `64KiB`, `10M`.
pub fn bytes_given(text: &str) -> Result<u64, String> {
    let number = text.trim().parse().ok();
    number
        .or_else(|| bytes(text))
        .ok_or_else(|| "sizes look like 65536, 64KiB or 10MiB".to_owned())
}

fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit_at = text.find(|char: char| !char.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let of_unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(of_unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit() {
        for (text, size) in [
            ("1GiB", 1 << 30),
            ("512 MiB", 512 << 20),
            ("10kb", 10_000),
            ("4k", 4096),
            ("7b", 7),
        ] {
            assert_eq!(bytes(text), Some(size), "{text}");
        }
        for text in ["", "GiB", "1.5GiB", "-1k", "1x", "99999999999TiB", "12"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }
}
