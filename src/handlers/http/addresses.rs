//! Which addresses may be called: judged by number, as a name can lead to any of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// Which addresses may be called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Addresses {
    /// All but those that are of the link itself, where clouds tell machines their secrets.
    #[default]
    Any,
    /// Those of the Internet: none of a private network, of this machine, or reserved.
    Public,
}

/// Addresses that begin alike: `10.0.0.0/8`, `2001:db8::/32`, or a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    prefix_bits: u32,
}

const fn v4(first: [u8; 4], prefix_bits: u32) -> AddressRange {
    let [a, b, c, d] = first;
    AddressRange {
        first: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        prefix_bits,
    }
}

/// By its first four groups; the others are zero.
const fn v6(first: [u16; 4], prefix_bits: u32) -> AddressRange {
    let [a, b, c, d] = first;
    AddressRange {
        first: IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)),
        prefix_bits,
    }
}

/// Never called, whatever the settings say.
const REFUSED: [(AddressRange, &str); 7] = [
    (v4([169, 254, 0, 0], 16), "link-local"),
    (v6([0xfe80, 0, 0, 0], 10), "link-local"),
    (v4([100, 100, 100, 200], 32), "the metadata of a cloud"),
    (v4([168, 63, 129, 16], 32), "the metadata of a cloud"),
    (v6([0xfd00, 0xc1, 0, 0], 32), "the metadata of a cloud"),
    (v6([0xfd00, 0xec2, 0, 0], 32), "the metadata of a cloud"),
    (v6([0xfd20, 0xce, 0, 0], 32), "the metadata of a cloud"),
];

/// Not of the Internet, by IANA's registries of special-purpose addresses.
const NOT_PUBLIC: [(AddressRange, &str); 28] = [
    (v4([0, 0, 0, 0], 8), "this machine"),
    (v4([10, 0, 0, 0], 8), "private"),
    (v4([100, 64, 0, 0], 10), "shared by a provider"),
    (v4([127, 0, 0, 0], 8), "this machine"),
    (v4([172, 16, 0, 0], 12), "private"),
    (v4([192, 0, 0, 0], 24), "reserved"),
    (v4([192, 0, 2, 0], 24), "for documentation"),
    (v4([192, 88, 99, 0], 24), "reserved"),
    (v4([192, 168, 0, 0], 16), "private"),
    (v4([198, 18, 0, 0], 15), "for benchmarks"),
    (v4([198, 51, 100, 0], 24), "for documentation"),
    (v4([203, 0, 113, 0], 24), "for documentation"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([240, 0, 0, 0], 4), "reserved"),
    (LOOPBACK, "this machine"),
    (LOCAL_NAT64, "private"),
    (v6([0, 0, 0, 0], 8), "reserved"),
    (v6([0x100, 0, 0, 0], 64), "discarded"),
    (v6([0x2001, 0, 0, 0], 23), "reserved"),
    (v6([0x2001, 0xdb8, 0, 0], 32), "for documentation"),
    (v6([0x3fff, 0, 0, 0], 20), "for documentation"),
    (v6([0x5f00, 0, 0, 0], 16), "reserved"),
    (v6([0xfc00, 0, 0, 0], 7), "private"),
    (v6([0xfec0, 0, 0, 0], 10), "private"),
    (v6([0xff00, 0, 0, 0], 8), "multicast"),
    // All that is given to nobody: public are those of 2000::/3.
    (v6([0, 0, 0, 0], 3), "reserved"),
    (v6([0x4000, 0, 0, 0], 2), "reserved"),
    (v6([0x8000, 0, 0, 0], 1), "reserved"),
];

const LOOPBACK: AddressRange = AddressRange {
    first: IpAddr::V6(Ipv6Addr::LOCALHOST),
    prefix_bits: 128,
};

/// Addresses of IPv6 that lead to one of IPv4.
const NAT64: AddressRange = v6([0x64, 0xff9b, 0, 0], 96);
const LOCAL_NAT64: AddressRange = v6([0x64, 0xff9b, 1, 0], 48);
const SIX_TO_FOUR: AddressRange = v6([0x2002, 0, 0, 0], 16);

impl Addresses {
    /// Why an address is not called, unless it may be.
    pub(super) fn refusal(self, address: IpAddr, allowed: &[AddressRange]) -> Option<String> {
        let inner = leads_to(address);
        let find = |ranges: &'static [(AddressRange, &'static str)], judged: &[IpAddr]| {
            let has = |range: &AddressRange| judged.iter().any(|inner| range.contains(*inner));
            ranges.iter().find(|(range, _)| has(range))
        };
        if let Some((range, what)) = find(&REFUSED, &inner) {
            return Some(format!(
                "{address} is {what} ({range}), which is never called"
            ));
        }
        // Which of the inner ones a local NAT64 leads to is not known.
        let judged = match inner[..] {
            [one] => one,
            _ => address,
        };
        if self == Addresses::Any || allowed.iter().any(|range| range.contains(judged)) {
            return None;
        }
        let (range, what) = find(&NOT_PUBLIC, &[judged])?;
        Some(format!(
            "{address} is {what} ({range}), and the setting addresses = \"public\" refuses it unless \
             'allow_addresses' names it"
        ))
    }
}

/// What is judged of an address: the IPv4 addresses that are written within it, or else itself.
fn leads_to(address: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V6(six) = address else {
        return vec![address];
    };
    let inner = |at: [usize; 4]| {
        let octets = six.octets();
        IpAddr::V4(Ipv4Addr::from(at.map(|at| octets[at])))
    };
    if let Some(four) = six.to_ipv4_mapped() {
        vec![IpAddr::V4(four)]
    } else if NAT64.contains(address) {
        vec![inner([12, 13, 14, 15])]
    } else if LOCAL_NAT64.contains(address) {
        // Each network chooses one of these places (RFC 8215; RFC 6052, section 2.2).
        vec![
            inner([6, 7, 9, 10]),
            inner([7, 9, 10, 11]),
            inner([9, 10, 11, 12]),
            inner([12, 13, 14, 15]),
        ]
    } else if SIX_TO_FOUR.contains(address) {
        vec![inner([2, 3, 4, 5])]
    } else {
        vec![address]
    }
}

impl AddressRange {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let differ = first.to_bits() ^ address.to_bits();
                differ.checked_shr(32 - self.prefix_bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let differ = first.to_bits() ^ address.to_bits();
                differ.checked_shr(128 - self.prefix_bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<AddressRange, String> {
        let refused = || format!("'{text}' is no address and no range such as 10.0.0.0/8");
        let (first, bits) = match text.split_once('/') {
            Some((first, bits)) => (first, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = first.parse().map_err(|_| refused())?;
        let all_bits = if first.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            Some(bits) => bits.parse().map_err(|_| refused())?,
            None => all_bits,
        };
        if prefix_bits > all_bits {
            return Err(refused());
        }
        Ok(AddressRange { first, prefix_bits })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix_bits)
    }
}

impl<'de> Deserialize<'de> for AddressRange {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<AddressRange, D::Error> {
        let text = String::deserialize(value)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(addresses: Addresses, address: &str) -> bool {
        addresses.refusal(address.parse().unwrap(), &[]).is_some()
    }

    const PUBLIC: &[&str] = &[
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1",
        "2001:200::1",
        "2a00::1",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
        "2002:101:101::1",
    ];

    const PRIVATE: &[&str] = &[
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "100::1",
        "1fff::1",
        "2001::1",
        "2001:1ff::1",
        "2001:db8::1",
        "3fff::1",
        "4000::1",
        "5f00::1",
        "8000::1",
        "fc00::1",
        "fdff::1",
        "fec0::1",
        "ff02::1",
        // The classic hole: an IPv4 address within one of IPv6.
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "64:ff9b:1::7f00:1",
        "64:ff9b:1:a00:0:100::",
        "64:ff9b:1:1:1:101::",
        "64:ff9b:1:ffff:ffff::",
        "2002:7f00:1::",
        "2002:c0a8:1::1",
    ];

    #[test]
    fn the_public_internet_and_nothing_else_is_public() {
        for address in PUBLIC {
            assert!(!is_refused(Addresses::Public, address), "{address}");
            assert!(!is_refused(Addresses::Any, address), "{address}");
        }
        for address in PRIVATE {
            assert!(is_refused(Addresses::Public, address), "{address}");
            assert!(!is_refused(Addresses::Any, address), "{address}");
        }
    }

    #[test]
    fn the_link_and_the_metadata_of_clouds_are_always_refused() {
        let all = ["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
        for address in [
            "169.254.169.254",
            "169.254.0.0",
            "169.254.255.255",
            "fe80::1",
            "febf::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "64:ff9b:1:a9fe:a9:fe00::",
            "64:ff9b:1:a9:fe:a9fe::",
            "64:ff9b:1:0:a9:fea9:fe00:0",
            "168.63.129.16",
            "fd00:c1::a9fe:a9fe",
            "fd20:ce::254",
            "2002:a9fe:a9fe::",
            "fd00:ec2::254",
            "100.100.100.200",
        ] {
            for addresses in [Addresses::Any, Addresses::Public] {
                let refused = addresses.refusal(address.parse().unwrap(), &all).unwrap();
                assert!(refused.contains("never called"), "{refused}");
                assert!(refused.starts_with(address), "{refused}");
            }
        }
    }

    #[test]
    fn named_addresses_are_allowed_and_a_refusal_names_the_rule() {
        let allowed = ["10.1.0.0/16", "127.0.0.1", "fd12::/16"].map(|text| text.parse().unwrap());
        let refusal = |address: &str| Addresses::Public.refusal(address.parse().unwrap(), &allowed);
        for address in ["10.1.255.1", "127.0.0.1", "fd12::1", "::ffff:10.1.0.1"] {
            assert_eq!(refusal(address), None);
        }
        let local = ["64:ff9b:1::/48".parse().unwrap()];
        let inner = |address: &str| Addresses::Public.refusal(address.parse().unwrap(), &local);
        assert_eq!(inner("64:ff9b:1::a00:1"), None);
        assert!(inner("64:ff9b:1::a9fe:a9fe").is_some());
        assert!(inner("64:ff9b::a00:1").is_some());
        for (address, rule) in [
            ("10.2.0.0", "private (10.0.0.0/8)"),
            ("127.0.0.2", "this machine (127.0.0.0/8)"),
            ("fd13::1", "private (fc00::/7)"),
            ("::1", "this machine (::1/128)"),
        ] {
            let refused = refusal(address).unwrap();
            assert!(refused.contains(rule), "{refused}");
            assert!(refused.contains("'allow_addresses'"), "{refused}");
        }
    }

    #[test]
    fn a_range_is_an_address_and_the_bits_that_count() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "2001:db8::1/128"] {
            let range: AddressRange = text.parse().unwrap();
            assert_eq!(range.to_string(), text);
        }
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10/8",
            "a.example",
            "1.1.1.1/",
            "::1/-1",
        ] {
            let refused = text.parse::<AddressRange>().unwrap_err();
            assert!(refused.contains(text), "{refused}");
        }
    }
}
