//! What only lines with a command have.

use std::collections::BTreeMap;

use jobq::handlers::exec::ExecPayload;
use serde::{Deserialize, Deserializer};

use crate::cli::environ::EnvItem;
use crate::cli::exit::{CliError, CliResult};
use crate::cli::limits;
use crate::cli::origin::Env;

/// Variables: `{"NAME":"value","HERE":null}`, or as `--env` names them: `["NAME=value","HERE","AWS_*"]`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "an object or a list of variables")]
pub(super) enum EnvFields {
    Map(BTreeMap<String, Option<String>>),
    List(Vec<String>),
}

pub(super) fn env(fields: Option<EnvFields>, all: Option<bool>) -> CliResult<Env> {
    let texts = match fields {
        None => Vec::new(),
        Some(EnvFields::List(texts)) => texts,
        Some(EnvFields::Map(map)) => {
            let variables = map.into_iter();
            let written = variables.map(|(name, value)| match value {
                _ if name.contains('=') => format!("={name}"),
                Some(value) => format!("{name}={value}"),
                None => name,
            });
            written.collect()
        }
    };
    let items = texts.iter().map(|text| text.parse());
    let items: Result<Vec<EnvItem>, String> = items.collect();
    let mut items = items.map_err(|why| CliError::usage(format!("env: {why}")))?;
    if all == Some(true) {
        items.push(EnvItem::all());
    }
    Ok(Env {
        items,
        ..Env::default()
    })
}

/// Bytes, as a number or like `64KiB`.
pub(super) struct SizeField(pub(super) u64);

impl<'de> Deserialize<'de> for SizeField {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<SizeField, D::Error> {
        limits::bytes_written(value).map(SizeField)
    }
}

/// Text, or the bytes that a base64 text stands for.
pub(super) fn input(text: Option<String>, base64: Option<&str>) -> CliResult<Option<Vec<u8>>> {
    match (text, base64) {
        (None, None) => Ok(None),
        (Some(text), None) => Ok(Some(text.into_bytes())),
        (None, Some(text)) => Ok(Some(ExecPayload::decode_input(text)?)),
        (Some(_), Some(_)) => Err(CliError::usage(
            "it has both 'input' and 'input_base64'; one is wanted",
        )),
    }
}
