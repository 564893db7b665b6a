//! Who may do what: tokens, each for all of the file or for a tenant, to change or only to read.

use std::fmt;
use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::path::Path;

use crate::web::head::Head;
use crate::web::problem::Problem;
use crate::{Error, Result};

/// The size of a generated token: as much as a key of AES-256.
const TOKEN_BYTES: usize = 32;

/// Minimum length of a token that is given.
const MIN_TOKEN_CHARS: usize = 16;

/// Whether requests may change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenRights {
    Read,
    Change,
}

/// What a client may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Only jobs of this tenant; none: the whole file.
    pub(crate) tenant: Option<String>,
    pub(crate) rights: TokenRights,
}

impl Grant {
    /// Of a client that is not asked who it is.
    pub(crate) fn nothing() -> Grant {
        Grant {
            tenant: Some(String::new()),
            rights: TokenRights::Read,
        }
    }
}

/// The tokens of a server.
pub(crate) enum Tokens {
    /// Whoever reaches the server may do all that it does.
    NotNeeded(Grant),
    Known(Vec<KnownToken>),
}

/// A token and what it is for. It has no `Debug`: tokens stay out of logs.
pub(crate) struct KnownToken {
    secret: String,
    grant: Grant,
}

impl Tokens {
    /// One token for everything.
    pub(crate) fn one(secret: String) -> Tokens {
        let grant = Grant {
            tenant: None,
            rights: TokenRights::Change,
        };
        Tokens::Known(vec![KnownToken { secret, grant }])
    }

    pub(crate) fn not_needed() -> Tokens {
        Tokens::NotNeeded(Grant {
            tenant: None,
            rights: TokenRights::Change,
        })
    }

    /// Reads a token file: a line each, `TOKEN` or `TOKEN tenant=acme read-only`; `#` begins a comment.
    ///
    /// # Errors
    /// The file cannot be read, or a line is wrong; the message names it and not the token.
    pub(crate) fn read(path: &Path) -> Result<Tokens> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::io(format_args!("the token file {}", path.display()), error))?;
        parse(&text).map_err(|why| {
            Error::invalid(format!("the token file {}, {why}", path.display()))
                .with_hint("a line is TOKEN, or TOKEN tenant=NAME read-only")
        })
    }

    /// What the client of a request may do, by its `Authorization` header.
    pub(crate) fn grant_of(&self, head: &Head) -> Result<Grant, Problem> {
        let bearer = head.header("authorization").and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        self.grant(bearer).ok_or_else(|| {
            let why = match bearer {
                None => "the header `Authorization: Bearer TOKEN` is missing",
                Some(_) => "this token is not known here",
            };
            Problem::new("unauthorized", why)
                .with_header("WWW-Authenticate", "Bearer")
                .with_hint("open the address that `jobq serve` has printed: the token is in it")
        })
    }

    /// What a token is for. All known tokens are compared, each in a time that its content does not change.
    pub(crate) fn grant(&self, token: Option<&str>) -> Option<Grant> {
        match self {
            Tokens::NotNeeded(grant) => Some(grant.clone()),
            Tokens::Known(known) => {
                let token = token?.as_bytes();
                let mut found = None;
                for known in known {
                    if are_equal(known.secret.as_bytes(), token) {
                        found = Some(&known.grant);
                    }
                }
                found.cloned()
            }
        }
    }
}

/// A new token: 32 bytes from the system, in hexadecimal.
///
/// # Errors
/// The system gives no random bytes.
pub(crate) fn new_token() -> Result<String> {
    let mut bytes = [0; TOKEN_BYTES];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(|error| Error::io("a token cannot be made: /dev/urandom", error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The length is no secret; the content does not change the time.
fn are_equal(known: &[u8], given: &[u8]) -> bool {
    if known.len() != given.len() {
        return false;
    }
    let pairs = known.iter().zip(given);
    black_box(pairs.fold(0, |differ, (a, b)| differ | (a ^ b))) == 0
}

fn parse(text: &str) -> Result<Tokens, String> {
    let mut known: Vec<KnownToken> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let token = token(line).map_err(|why| format!("line {}: {why}", at + 1))?;
        if known.iter().any(|other| other.secret == token.secret) {
            return Err(format!("line {}: this token is there already", at + 1));
        }
        known.push(token);
    }
    match known.is_empty() {
        true => Err("it holds no token".to_owned()),
        false => Ok(Tokens::Known(known)),
    }
}

fn token(line: &str) -> Result<KnownToken, String> {
    let mut words = line.split_whitespace();
    let secret = words.next().unwrap_or_default().to_owned();
    if secret.len() < MIN_TOKEN_CHARS || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "a token has at least {MIN_TOKEN_CHARS} characters, of ASCII and without blanks"
        ));
    }
    let mut grant = Grant {
        tenant: None,
        rights: TokenRights::Change,
    };
    for word in words {
        match word.split_once('=') {
            Some(("tenant", name)) if !name.is_empty() => grant.tenant = Some(name.to_owned()),
            None if word == "read-only" => grant.rights = TokenRights::Read,
            _ if word.starts_with('#') => break,
            _ => return Err("after a token, tenant=NAME and read-only are known".to_owned()),
        }
    }
    Ok(KnownToken { secret, grant })
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tokens::NotNeeded(_) => "Tokens::NotNeeded",
            Tokens::Known(_) => "Tokens::Known(…)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef";
    const TWO: &str = "fedcba9876543210";

    #[test]
    fn a_token_file_says_what_each_token_is_for() {
        let text = format!("# for us\n{ONE}\n\n{TWO}  tenant=acme read-only # theirs\n");
        let tokens = parse(&text).unwrap();
        let whole = tokens.grant(Some(ONE)).unwrap();
        assert_eq!((whole.tenant, whole.rights), (None, TokenRights::Change));
        let acme = tokens.grant(Some(TWO)).unwrap();
        assert_eq!(
            (acme.tenant.as_deref(), acme.rights),
            (Some("acme"), TokenRights::Read)
        );
        for wrong in [
            None,
            Some(""),
            Some("0123456789abcdeg"),
            Some("0123456789abcde"),
        ] {
            assert_eq!(tokens.grant(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_wrong_line_of_a_token_file_is_named_without_the_token() {
        for (text, why) in [
            ("", "no token"),
            ("# nothing\n", "no token"),
            ("short\n", "line 1: a token has at least"),
            (
                &format!("{ONE}\n{ONE}\n"),
                "line 2: this token is there already",
            ),
            (&format!("{ONE} tenant=\n"), "line 1: after a token"),
            (&format!("{ONE} admin\n"), "line 1: after a token"),
        ] {
            let Err(error) = parse(text) else {
                panic!("{text}");
            };
            assert!(error.contains(why), "{error}");
            assert!(!error.contains(ONE), "{error}");
        }
    }

    #[test]
    fn new_tokens_differ_and_have_256_bits() {
        let (one, two) = (new_token().unwrap(), new_token().unwrap());
        assert_eq!((one.len(), two.len()), (64, 64));
        assert_ne!(one, two);
    }

    #[test]
    fn tokens_are_not_shown_by_debug() {
        let tokens = Tokens::one(ONE.to_owned());
        assert!(!format!("{tokens:?}").contains(ONE));
    }
}
