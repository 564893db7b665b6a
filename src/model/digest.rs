//! Digests of batches and payloads. They are stored in the file, so they must never change.

use std::fmt;

/// FNV-1a with 128 bits: it tells texts apart unless they were forged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    hash: u128,
    length: u64,
}

const OFFSET_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

impl Default for Digest {
    fn default() -> Digest {
        Digest::new()
    }
}

impl Digest {
    /// The digest of no bytes.
    pub fn new() -> Digest {
        Digest {
            hash: OFFSET_BASIS,
            length: 0,
        }
    }

    /// Adds these bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u128::from(*byte)).wrapping_mul(PRIME);
        }
        self.length += bytes.len() as u64;
    }

    /// Eight hex digits of it, for names that people see: of a few thousand texts hardly any two have the same.
    pub(crate) fn short(&self) -> String {
        let folded = (0..4).fold(0, |sum, part| sum ^ (self.hash >> (32 * part)) as u32);
        format!("{folded:08x}")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fnv1a128:{:032x}:{}", self.hash, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(parts: &[&str]) -> String {
        let mut digest = Digest::new();
        for part in parts {
            digest.update(part.as_bytes());
        }
        digest.to_string()
    }

    #[test]
    fn digests_are_those_of_the_published_algorithm() {
        for (text, expected) in [
            ("", "fnv1a128:6c62272e07bb014262b821756295c58d:0"),
            ("a", "fnv1a128:d228cb696f1a8caf78912b704e4a8964:1"),
            ("foobar", "fnv1a128:343e1662793c64bf6f0d3597ba446f18:6"),
        ] {
            assert_eq!(digest(&[text]), expected);
        }
    }

    #[test]
    fn it_does_not_matter_how_the_bytes_arrive() {
        assert_eq!(digest(&["foo", "", "bar"]), digest(&["foobar"]));
        assert_ne!(digest(&["foobar"]), digest(&["foobaz"]));
    }
}
