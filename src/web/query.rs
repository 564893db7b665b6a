//! The query of an address: names and values, each used once or refused by name.

use crate::nearest::nearest;
use crate::web::problem::Problem;

/// The names and values behind the question mark, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Result<Query, Problem> {
        let parts = text.split('&').filter(|part| !part.is_empty());
        let pairs = parts.map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Some((decode(name, Plus::IsBlank)?, decode(value, Plus::IsBlank)?))
        });
        let pairs: Option<Vec<_>> = pairs.collect();
        pairs.map(Query).ok_or_else(|| {
            Problem::new(
                "bad-request",
                "the query of the address is not percent-encoded UTF-8",
            )
        })
    }

    /// From names and values that are there already, as a message over the socket has them.
    pub(crate) fn of(pairs: Vec<(String, String)>) -> Query {
        Query(pairs)
    }

    /// Refuses a name that is not known, with the nearest known one.
    pub(crate) fn check(&self, known: &[&str]) -> Result<(), Problem> {
        let unknown = self.0.iter().find(|(name, _)| !known.contains(&&**name));
        let Some((name, _)) = unknown else {
            return Ok(());
        };
        let problem = Problem::new("unknown-field", format!("unknown parameter '{name}'"));
        Err(match nearest(name, known.iter().copied()) {
            Some(nearest) => problem.with_hint(format!("did you mean '{nearest}'?")),
            None if known.is_empty() => problem.with_hint("there are no parameters here"),
            None => problem.with_hint(format!("known parameters are {}", known.join(", "))),
        })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// The last value of a name; an empty one is none.
    pub(crate) fn get<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).last()
    }

    /// All values of a name that are not empty.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let pairs = self.0.iter().filter(move |(known, _)| known == name);
        pairs
            .map(|(_, value)| &**value)
            .filter(|value| !value.is_empty())
    }

    /// All values of a name, where one may be a list with commas.
    pub(crate) fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let values = self.all(name).flat_map(|value| value.split(','));
        values.map(str::trim).filter(|value| !value.is_empty())
    }

    /// A value, read by `parse`.
    pub(crate) fn parsed<T, E: ToString>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        parse(value)
            .map(Some)
            .map_err(|why| invalid(name, value, &why.to_string()))
    }

    /// A whole number that is not negative.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Problem> {
        self.parsed(name, |text| match text.parse::<i64>() {
            Ok(number) if number >= 0 => Ok(number),
            _ => Err("a whole number is wanted"),
        })
    }

    /// How many are wanted at most: `usual` where nothing is said, and never more than `most`.
    pub(crate) fn limit(&self, usual: usize, most: usize) -> Result<usize, Problem> {
        let limit = self.parsed("limit", |text| match text.parse::<usize>() {
            Ok(0) | Err(_) => Err(format!("a number from 1 to {most} is wanted")),
            Ok(limit) => Ok(limit.min(most)),
        })?;
        Ok(limit.unwrap_or(usual))
    }

    /// `1`, `true` or nothing but the name.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        let is_on = self.parsed(name, |text| match text {
            "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err("1 or 0 is wanted"),
        })?;
        Ok(is_on.unwrap_or_else(|| self.has(name)))
    }
}

pub(crate) fn invalid(name: &str, value: &str, why: &str) -> Problem {
    Problem::new("invalid", format!("{name}: invalid value '{value}': {why}"))
}

/// What a plus sign is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plus {
    /// In a query, as forms write it.
    IsBlank,
    /// In a path.
    IsPlus,
}

/// Percent-decoding; none where it is not that, or not UTF-8.
pub(crate) fn decode(text: &str, plus: Plus) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high << 4 | low).ok()?
            }
            b'+' if plus == Plus::IsBlank => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_query_is_decoded_and_asked_by_name() {
        let query =
            Query::parse("state=failed,pending&state=running&tag=a%3Db%26c&text=x+y&empty=&all")
                .unwrap();
        assert_eq!(
            query.list("state").collect::<Vec<_>>(),
            ["failed", "pending", "running"]
        );
        assert_eq!(query.get("tag"), Some("a=b&c"));
        assert_eq!(query.get("text"), Some("x y"));
        assert_eq!(query.get("empty"), None);
        assert!(query.flag("all").unwrap() && !query.flag("none").unwrap());
        assert!(
            Query::parse("a=%zz").is_err()
                && Query::parse("a=%ff").is_err()
                && Query::parse("%").is_err()
        );
    }

    #[test]
    fn an_unknown_parameter_is_named_with_the_nearest() {
        let query = Query::parse("stat=failed").unwrap();
        let problem = query.check(&["state", "kind"]).unwrap_err();
        assert_eq!(problem.status(), 422);
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["hint"], "did you mean 'state'?");
    }

    #[test]
    fn a_limit_has_bounds() {
        let limit = |text: &str| Query::parse(text).unwrap().limit(50, 200);
        assert_eq!(limit("").unwrap(), 50);
        assert_eq!(limit("limit=7").unwrap(), 7);
        assert_eq!(limit("limit=1000").unwrap(), 200);
        assert!(
            limit("limit=0").is_err() && limit("limit=-1").is_err() && limit("limit=x").is_err()
        );
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(text: String) {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(decode(&encoded, Plus::IsBlank), Some(text));
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = Query::parse(&text);
        }
    }
}
