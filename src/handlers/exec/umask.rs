//! The umask of a command.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use crate::Error;

/// A umask, in octal as `umask` of the shell shows it: `0022`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Umask(u16);

impl Umask {
    /// That of this process, as it was when first asked for; none where the system does not tell it.
    pub fn of_this_process() -> Option<Umask> {
        static OWN: OnceLock<Option<Umask>> = OnceLock::new();
        // umask(2) tells it only in exchange for another, for all threads at once.
        *OWN.get_or_init(|| read(&std::fs::read_to_string("/proc/self/status").ok()?))
    }
}

fn read(status: &str) -> Option<Umask> {
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line?.trim().parse().ok()
}

impl FromStr for Umask {
    type Err = Error;

    fn from_str(text: &str) -> Result<Umask, Error> {
        let is_octal = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let mask = u16::from_str_radix(text, 8).ok();
        mask.filter(|mask| is_octal && *mask <= 0o777)
            .map(Umask)
            .ok_or_else(|| {
                Error::invalid(format!("umask: `{text}` is not one"))
                    .with_hint("it is octal, from 0000 to 0777")
            })
    }
}

impl fmt::Display for Umask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_umask_is_octal() {
        for (text, shown) in [("22", "0022"), ("0", "0000"), ("0777", "0777")] {
            assert_eq!(text.parse::<Umask>().unwrap().to_string(), shown);
        }
        for wrong in ["", "8", "1000", "+22", "-1", "u=rwx", "0o22", "99999999999"] {
            assert!(wrong.parse::<Umask>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_system_tells_that_of_this_process() {
        let status = "Name:\tjobq (x)\nUmask:\t0027\nState:\tR (running)\n";
        assert_eq!(read(status), Some(Umask(0o027)));
        assert_eq!(read("Name:\tjobq\n"), None);
        assert_eq!(
            Umask::of_this_process().is_some(),
            cfg!(target_os = "linux")
        );
    }
}
