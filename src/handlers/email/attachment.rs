//! The files of a mail.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::handlers::built_in::failure_of;
use crate::handlers::email::header::check_line;
use crate::handlers::email::settings::EmailSettings;
use crate::handlers::input_file::QueueFiles;
use crate::handlers::output_file::by_descriptor;
use crate::handlers::paths::is_below;
use crate::model::base64;
use crate::runner::handler::Failure;
use crate::{Error, Result};

/// Maximum size of all files of one mail together.
pub(crate) const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// A file that is sent with a mail.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailFile {
    /// Where the file is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The file itself, in place of a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// The name that the recipient sees; unless set, that of the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its media type; unless set, what the name suggests.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What the HTML calls it: `cid` of `<img src="cid:logo">`. For inline images only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cid: Option<String>,
}

impl EmailFile {
    /// Checks what can be checked without reading the file.
    pub(super) fn check(&self) -> Result<()> {
        let refused = |why: String| Err(Error::invalid(why));
        if self.path.is_some() == self.base64.is_some() {
            return refused("a file needs one of 'path' and 'base64'".to_owned());
        }
        let name = self.file_name()?;
        check_line("the name of a file", &name)?;
        if let Some(base64) = &self.base64
            && decoded(base64).is_none()
        {
            return refused(format!("the 'base64' of '{name}' is not base64"));
        }
        let media_type = self.media_type(&name);
        let is_token = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
        };
        match media_type.split_once('/') {
            Some((kind, sort)) if is_token(kind) && is_token(sort) => {}
            _ => return refused(format!("'{media_type}' is no media type")),
        }
        match &self.cid {
            Some(cid)
                if cid.is_empty()
                    || !cid
                        .bytes()
                        .all(|byte| byte.is_ascii_graphic() && !b"<>\"\\".contains(&byte)) =>
            {
                refused(format!("'{cid}' cannot be a cid"))
            }
            _ => Ok(()),
        }
    }

    /// The name that the recipient sees.
    pub(super) fn file_name(&self) -> Result<String> {
        let of_path = || Some(self.path.as_ref()?.file_name()?.to_str()?.to_owned());
        let name = self
            .name
            .clone()
            .or_else(of_path)
            .or_else(|| self.cid.clone());
        name.ok_or_else(|| Error::invalid("a file needs a 'name'"))
    }

    pub(super) fn media_type(&self, name: &str) -> String {
        let end = name
            .rsplit_once('.')
            .map_or("", |(_, end)| end)
            .to_ascii_lowercase();
        self.media_type
            .clone()
            .unwrap_or_else(|| media_type_of(&end).to_owned())
    }

    /// The bytes, at most as many as are left.
    fn read(
        &self,
        (settings, queue): (&EmailSettings, &QueueFiles),
        left: u64,
    ) -> std::result::Result<Vec<u8>, Failure> {
        let too_large = || Failure::permanent("the files of the mail have more than 32 MiB");
        let bytes = match (&self.base64, &self.path) {
            (Some(base64), _) => decoded(base64).unwrap_or_default(),
            (None, Some(path)) => from_file(path, (settings, queue), left)?,
            (None, None) => Vec::new(),
        };
        match bytes.len() as u64 > left {
            true => Err(too_large()),
            false => Ok(bytes),
        }
    }
}

/// The bytes of all files, in their order.
pub(super) fn read_all<'a>(
    files: impl Iterator<Item = &'a EmailFile>,
    settings: &EmailSettings,
    queue: &QueueFiles,
) -> std::result::Result<Vec<Vec<u8>>, Failure> {
    let mut left = MAX_BYTES;
    let read = files.map(|file| {
        let bytes = file.read((settings, queue), left)?;
        left -= bytes.len() as u64;
        Ok(bytes)
    });
    read.collect()
}

fn from_file(
    path: &Path,
    (settings, queue): (&EmailSettings, &QueueFiles),
    left: u64,
) -> std::result::Result<Vec<u8>, Failure> {
    let path = settings.folder.join(path);
    let what = format!("the file '{}' cannot be sent", path.display());
    let failed = |error| failure_of(Error::io(&what, error));
    let file = queue.open_other(&path).map_err(failed)?;
    // The file that was opened, wherever links have led.
    if let Some(roots) = &settings.roots
        && !is_below(roots, &by_descriptor(&file)).map_err(failed)?
    {
        return Err(Failure::permanent(format!(
            "{what}: it is not below the 'roots' of [kinds.email.settings]"
        )));
    }
    let mut bytes = Vec::new();
    file.take(left + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

/// The bytes of base64, in which line breaks are allowed; none if it is not base64.
fn decoded(text: &str) -> Option<Vec<u8>> {
    match text.contains(|char: char| char.is_ascii_whitespace()) {
        true => base64::decode(&text.split_ascii_whitespace().collect::<String>()),
        false => base64::decode(text),
    }
}

fn media_type_of(end: &str) -> &'static str {
    match end {
        "txt" | "log" => "text/plain",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "md" => "text/markdown",
        "ics" => "text/calendar",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "pdf" => "application/pdf",
        "json" => "application/json",
        "xml" => "application/xml",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn at(path: impl Into<PathBuf>) -> EmailFile {
        EmailFile {
            path: Some(path.into()),
            ..EmailFile::default()
        }
    }

    fn read(
        file: &EmailFile,
        settings: &EmailSettings,
        left: u64,
    ) -> std::result::Result<Vec<u8>, Failure> {
        file.read((settings, &QueueFiles::default()), left)
    }

    #[test]
    fn what_cannot_be_a_file_of_a_mail_is_refused() {
        for (json, why) in [
            ("{}", "one of 'path' and 'base64'"),
            (
                r#"{"path":"a","base64":"YQ=="}"#,
                "one of 'path' and 'base64'",
            ),
            (r#"{"base64":"YQ=="}"#, "needs a 'name'"),
            (r#"{"base64":"YQ","name":"a"}"#, "is not base64"),
            (r#"{"path":"a\nb"}"#, "line break"),
            (r#"{"path":"a","type":"text"}"#, "no media type"),
            (r#"{"path":"a","type":"text/csv\r\nX: y"}"#, "no media type"),
            (r#"{"path":"a","cid":"a>b"}"#, "cannot be a cid"),
        ] {
            let file: EmailFile = serde_json::from_str(json).unwrap();
            let refused = file.check().unwrap_err().to_string();
            assert!(refused.contains(why), "{json}: {refused}");
        }
        let file: EmailFile =
            serde_json::from_str(r#"{"base64":"YWJj\r\nZGU=","name":"a.CSV"}"#).unwrap();
        file.check().unwrap();
        assert_eq!(file.media_type("a.CSV"), "text/csv");
        let settings = EmailSettings::default();
        assert_eq!(read(&file, &settings, 5).unwrap(), b"abcde");
        assert!(read(&file, &settings, 4).unwrap_err().is_permanent());
    }

    #[test]
    fn a_file_is_read_from_below_the_roots_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("out")).unwrap();
        fs::write(path("out/a.csv"), "a").unwrap();
        fs::write(path("key"), "b").unwrap();
        symlink(path("key"), path("out/link")).unwrap();
        let settings = EmailSettings {
            roots: Some(vec![path("out")]),
            folder: folder.path().to_owned(),
            ..EmailSettings::default()
        };
        assert_eq!(read(&at("out/a.csv"), &settings, 9).unwrap(), b"a");
        for name in ["key", "out/link", "out/../key", "/etc/hostname"] {
            let refused = read(&at(name), &settings, 9).unwrap_err();
            assert!(
                refused.is_permanent() && refused.to_string().contains("'roots'"),
                "{name}: {refused}"
            );
        }
        let refused = |name| read(&at(name), &settings, 9).unwrap_err().to_string();
        assert!(refused("out/none").contains("No such file"));
        assert!(refused("out").contains("not a file"));
    }
}
