//! Templates as Jinja has them, which a handler fills.

use std::io::{self, Read, Write};
use std::path::Path;

use minijinja::{Environment, ErrorKind, Template, UndefinedBehavior, Value};

use crate::handlers::input_file::QueueFiles;
use crate::{Error, Result};

/// Maximum size of the file of a template, and of a text.
pub(crate) const MAX_TEXT_BYTES: usize = 4 * 1024 * 1024;

/// Templates from a folder, which no name leads out of. What one of them may do is bounded by the fuel.
pub(crate) fn environment(folder: Option<(&Path, &QueueFiles)>, fuel: u64) -> Environment<'static> {
    let mut env = Environment::new();
    // A missing variable is an error, not "Dear ,".
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_fuel(Some(fuel));
    if let Some((folder, queue)) = folder {
        let (folder, queue) = (folder.to_owned(), queue.clone());
        env.set_loader(move |name| load(name, &folder, &queue));
    }
    env
}

/// Fills a template.
///
/// # Errors
/// Those of the template, and of what it is written to.
pub(crate) fn render(template: &Template<'_, '_>, variables: Value, to: impl Write) -> Result<()> {
    template
        .render_captured_to(variables, to)
        .map(drop)
        .map_err(|error| template_error(&error))
}

/// An error of a template with its place, and without the values of variables.
pub(crate) fn template_error(error: &minijinja::Error) -> Error {
    let mut text = format!("template: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            let error = match error.raw_os_error() {
                Some(errno) => io::Error::from_raw_os_error(errno),
                None => io::Error::new(error.kind(), error.to_string()),
            };
            return Error::io(text, error);
        }
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    Error::invalid(text)
}

/// The file of a template; none if there is no such file, or the name leads out of the folder.
fn load(name: &str, folder: &Path, queue: &QueueFiles) -> Result<Option<String>, minijinja::Error> {
    let mut path = folder.to_owned();
    for part in name.split('/') {
        if part.is_empty() || part.starts_with('.') {
            return Ok(None);
        }
        path.push(part);
    }
    match read(&path, queue) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let told = format!("{} cannot be read", path.display());
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, told).with_source(error))
        }
    }
}

fn read(path: &Path, queue: &QueueFiles) -> io::Result<String> {
    let mut text = String::new();
    let file = queue.open_other(path)?;
    file.take(MAX_TEXT_BYTES as u64 + 1)
        .read_to_string(&mut text)?;
    match text.len() > MAX_TEXT_BYTES {
        true => Err(too_long()),
        false => Ok(text),
    }
}

/// The text of a template would be longer.
pub(crate) fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "the text is longer than 4 MiB")
}
