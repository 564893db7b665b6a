//! Payloads of built-in kinds are checked before their jobs are enqueued.

use crate::handlers::built_in::BuiltInKind;
use crate::handlers::exec::{EXEC, ExecPayload};
use crate::nearest::nearest;
use crate::{Error, json};

/// What to do about a kind that comes with jobq and is not in this build.
pub fn how_to_build(kind: &str) -> Option<String> {
    let feature = BuiltInKind::missing_feature(kind)?;
    Some(format!(
        "the kind '{kind}' comes with jobq, but not with this build of it: build it with the cargo feature {feature}, or \
         with handlers, which has all kinds"
    ))
}

/// Checks the payload of a job, as far as the kind is built in. An unknown field is named with the nearest one.
pub fn check_payload(kind: &str, payload: &str) -> crate::Result<()> {
    if kind == EXEC {
        return ExecPayload::parse(payload).map(drop);
    }
    let Some(kind) = BuiltInKind::named(kind) else {
        return Ok(());
    };
    let known = kind.fields();
    let given = json::fields(payload).unwrap_or_default();
    let unknown = given.iter().find(|(name, _)| !known.contains(&&**name));
    let Some((name, _)) = unknown else {
        return kind.check(payload);
    };
    let error = Error::invalid(format!(
        "unknown field '{name}' in a payload of {}",
        kind.name
    ));
    // Without the names that other systems have for them.
    let is_own = |name: &&str| !name.contains(char::is_uppercase);
    let own: Vec<&str> = known.iter().copied().filter(is_own).collect();
    Err(match nearest(name, own.iter().copied()) {
        Some(nearest) => error.with_hint(format!("did you mean '{nearest}'?")),
        None => error.with_hint(format!("its fields are {}", own.join(", "))),
    })
}
