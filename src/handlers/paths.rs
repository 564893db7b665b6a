//! Paths in payloads and settings.

use std::io;
use std::path::{Component, Path, PathBuf};

use crate::{Error, Result};

/// Takes relative paths of the settings from a folder, that of the config file.
pub(crate) fn begin_at<'a>(folder: &Path, paths: impl IntoIterator<Item = &'a mut PathBuf>) {
    for path in paths {
        *path = folder.join(&*path);
    }
}

/// Refuses a path that is not below the setting `roots` of a kind, wherever the links on its way lead. There may be
/// nothing at it. Who may change the folders below the roots can still lead it elsewhere after this look.
///
/// # Errors
/// Names the setting.
pub(crate) fn check_roots(kind: &str, roots: Option<&[PathBuf]>, path: &Path) -> Result<()> {
    let Some(roots) = roots else {
        return Ok(());
    };
    match is_below(roots, path).map_err(|error| Error::io(path.display(), error))? {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "'{}' is not below the 'roots' of [kinds.{kind}.settings]",
            path.display()
        ))),
    }
}

/// Whether a path is below one of the roots, wherever the links on its way lead.
pub(crate) fn is_below(roots: &[PathBuf], path: &Path) -> io::Result<bool> {
    let place = behind_links(path)?;
    let has_it = |root: &PathBuf| behind_links(root).is_ok_and(|root| place.starts_with(root));
    Ok(roots.iter().any(has_it))
}

/// The path without links, as far as there is something at it.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    for above in path.ancestors() {
        match above.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(place) => {
                let rest = path.strip_prefix(above).unwrap_or(Path::new(""));
                return match rest.components().any(|part| part == Component::ParentDir) {
                    true => Err(io::ErrorKind::NotFound.into()),
                    // Joined with nothing, it would end with a slash.
                    false if rest.as_os_str().is_empty() => Ok(place),
                    false => Ok(place.join(rest)),
                };
            }
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_is_below_a_root_behind_all_links() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("in/deep")).unwrap();
        fs::create_dir(path("out")).unwrap();
        fs::write(path("out/file"), "").unwrap();
        symlink(path("in"), path("root")).unwrap();
        symlink(path("out"), path("in/away")).unwrap();
        symlink(path("out/file"), path("in/link")).unwrap();
        symlink("deep", path("in/near")).unwrap();
        let roots = [path("none"), path("root")];
        let is_allowed = |name: &str| check_roots("k", Some(&roots), &path(name)).is_ok();
        for name in [
            "in",
            "in/deep",
            "in/new",
            "in/near/a/b",
            "root/new",
            "none/x",
            "in/away/../in/x",
        ] {
            assert!(is_allowed(name), "{name}");
        }
        for name in [
            "out",
            "in/away/new",
            "in/link",
            "inner",
            "in/../out",
            "in/new/../../out/file",
            "in/link/x",
        ] {
            assert!(!is_allowed(name), "{name}");
        }
        assert!(check_roots("k", None, &path("out")).is_ok());
        let refused = check_roots("k", Some(&roots), &path("out")).unwrap_err();
        assert!(
            refused.to_string().contains("[kinds.k.settings]"),
            "{refused}"
        );
    }
}
