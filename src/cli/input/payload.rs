//! The payload of a job, a command and its input, as they are given on the command line.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use jobq::api::environ::EnvItem;
use jobq::handlers::exec::MAX_INPUT_BYTES;

use crate::cli::exit::{CliError, CliResult};

/// Text as the system has it, which must be UTF-8: a payload is JSON.
pub(crate) fn as_text(what: &str, given: &OsStr) -> CliResult<String> {
    given.to_str().map(str::to_owned).ok_or_else(|| {
        CliError::usage(format!("{what} is not UTF-8: {given:?}"))
            .with_hint("a job's payload is JSON, which holds text only; rename the file, or wrap the command in a script")
    })
}

/// A command and its arguments.
pub(crate) fn argv(command: &[OsString]) -> CliResult<Vec<String>> {
    let numbered = command.iter().enumerate();
    numbered
        .map(|(at, argument)| match at {
            0 => as_text("the command's name", argument),
            _ => as_text(&format!("argument {at} of the command"), argument),
        })
        .collect()
}

/// What `--env` and `--env-all` ask for.
pub(crate) fn variables(given: &[OsString], all: bool) -> CliResult<Vec<EnvItem>> {
    let mut items = Vec::new();
    if all {
        items.push(EnvItem::all());
    }
    for variable in given {
        let text = as_text("--env", variable)?;
        let item = text.parse();
        items.push(item.map_err(|why: String| {
            CliError::usage(format!("--env: {why}"))
                .with_hint("it is NAME, NAME=VALUE, or a pattern of names: 'AWS_*'")
        })?);
    }
    Ok(items)
}

/// JSON, `@FILE` with JSON in it, or `-` for stdin; `null` where nothing is given.
pub(crate) fn payload(given: Option<&OsStr>) -> CliResult<String> {
    let Some(given) = given else {
        return Ok("null".to_owned());
    };
    if given == "-" {
        let mut bytes = Vec::new();
        io::stdin()
            .read_to_end(&mut bytes)
            .map_err(|error| CliError::io("the payload on stdin", &error))?;
        return utf8(bytes, "the payload on stdin");
    }
    let text = as_text("--payload", given)?;
    match text.strip_prefix('@') {
        Some(file) => {
            let bytes = fs::read(file).map_err(|error| CliError::io(file, &error))?;
            utf8(bytes, file)
        }
        None => Ok(text),
    }
}

/// The bytes of a text, of `@FILE`, or of stdin for `-`: any bytes.
pub(crate) fn input(given: &OsStr) -> CliResult<Vec<u8>> {
    let given = given.as_bytes();
    let (source, name): (Box<dyn Read>, _) = match given {
        b"-" => (Box::new(io::stdin()), "the input on stdin".to_owned()),
        [b'@', path @ ..] => {
            let path = Path::new(OsStr::from_bytes(path));
            let name = path.display().to_string();
            let file = File::open(path).map_err(|error| CliError::io(&name, &error))?;
            (Box::new(file), name)
        }
        text => return Ok(text.to_vec()),
    };
    // One more than is possible: it is refused with the rest, and nothing endless is read to its end.
    let most = MAX_INPUT_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let read = source.take(most).read_to_end(&mut bytes);
    read.map_err(|error| CliError::io(&name, &error))?;
    if bytes.len() as u64 == most {
        let error = format!("{name}: more than {MAX_INPUT_BYTES} bytes cannot be kept with a job");
        return Err(CliError::usage(error).with_hint(
            "keep it in a file, and let the command read that: --shell 'CMD < /path/to/file'",
        ));
    }
    Ok(bytes)
}

fn utf8(bytes: Vec<u8>, what: &str) -> CliResult<String> {
    String::from_utf8(bytes).map_err(|error| {
        let byte = error.utf8_error().valid_up_to() + 1;
        CliError::usage(format!("{what} is not UTF-8 from byte {byte}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_that_is_no_text_is_named() {
        let words = [
            OsStr::new("cp"),
            OsStr::from_bytes(b"caf\xe9"),
            OsStr::new("x"),
        ];
        let error = argv(&words.map(OsStr::to_owned)).unwrap_err();
        assert!(
            error.message().contains("argument 1"),
            "{}",
            error.message()
        );
        assert!(error.message().contains("caf"), "{}", error.message());
        let error = argv(&[OsString::from(words[1])]).unwrap_err();
        assert!(error.message().contains("name"), "{}", error.message());
    }

    #[test]
    fn a_payload_is_given_as_json_or_in_a_file() {
        assert_eq!(payload(None).unwrap(), "null");
        assert_eq!(payload(Some(OsStr::new("{}"))).unwrap(), "{}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("payload.json");
        let given = format!("@{}", path.display());
        let error = payload(Some(OsStr::new(&given))).unwrap_err();
        assert!(error.message().contains("payload.json"));
        fs::write(&path, "[1,2]\n").unwrap();
        assert_eq!(payload(Some(OsStr::new(&given))).unwrap(), "[1,2]\n");
        fs::write(&path, b"\"\xff\"").unwrap();
        let error = payload(Some(OsStr::new(&given))).unwrap_err();
        assert!(error.message().contains("byte 2"), "{}", error.message());
    }
}
