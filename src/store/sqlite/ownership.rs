//! The owner, group and mode of the files that jobq creates beside a database, and messages about files of
//! other users.
//!
//! The files take owner, group and mode from the database, as SQLite's `-wal` and `-shm` do: after a run by
//! root the user's own runners still work, and a group that shares the database shares them.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, OFlags, accessat};
use rustix::process::geteuid;

use crate::Error;
use crate::error::Kind;
use crate::store::sqlite::file::database_of;

const OWNERS: u32 = 0o700;
const GROUPS: u32 = 0o070;
const SET_GROUP: u32 = 0o2000;

/// The access rights of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rights {
    uid: u32,
    gid: u32,
    mode: u32,
}

impl Rights {
    fn of(file: &Metadata) -> Rights {
        Rights {
            uid: file.uid(),
            gid: file.gid(),
            mode: file.mode() & 0o7777,
        }
    }

    /// Without a database: new files are for their creator alone.
    fn of_database(runners_folder: &Path) -> Option<Rights> {
        let database = database_of(runners_folder)?;
        Some(Rights::of(&database.metadata().ok()?))
    }

    /// Users who can read the database can check the lock files; users who can write it can create one.
    fn of_folder(self) -> Rights {
        let class = |shift: u32| match self.mode >> shift & 0o6 {
            0o6 => 0o7 << shift,
            0o4 => 0o5 << shift,
            _ => 0,
        };
        let group = class(3);
        // New files in it belong to the group, too.
        let set_group = if group == GROUPS { SET_GROUP } else { 0 };
        Rights {
            mode: OWNERS | group | class(0) | set_group,
            ..self
        }
    }

    fn of_lock_file(self) -> Rights {
        Rights {
            mode: self.mode & 0o666 | 0o600,
            ..self
        }
    }

    /// Sets the owner, group and mode of a file that this process has just created.
    fn give(mut self, file: &File) -> io::Result<()> {
        let made = Rights::of(&file.metadata()?);
        if geteuid().is_root() && made.uid != self.uid {
            fchown(file, Some(self.uid), Some(self.gid))?;
        } else if made.gid != self.gid && fchown(file, None, Some(self.gid)).is_err() {
            // Not a member of that group: the rights would go to another group.
            self.mode &= !(GROUPS | SET_GROUP);
        }
        file.set_permissions(Permissions::from_mode(self.mode))
    }
}

/// Creates a missing folder for lock files.
pub(crate) fn make_runners_folder(folder: &Path) -> io::Result<()> {
    let made = match DirBuilder::new().mode(OWNERS).create(folder) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(folder);
    let opened = match opened {
        Err(_) if folder.is_symlink() => return Err(io::Error::other("it is a symbolic link")),
        opened => opened?,
    };
    let Some(rights) = Rights::of_database(folder).map(Rights::of_folder) else {
        return Ok(());
    };
    let found = Rights::of(&opened.metadata()?);
    if made {
        rights.give(&opened)?;
    } else if found.uid == geteuid().as_raw()
        && found.uid == rights.uid
        && found.mode != rights.mode
    {
        // The database was shared with a group since, or is its owner's alone again.
        rights.give(&opened)?;
    }
    Ok(())
}

/// Sets the rights of a lock file that was just created there.
pub(crate) fn give_lock_file(file: &File, folder: &Path) -> io::Result<()> {
    match Rights::of_database(folder) {
        Some(rights) => rights.of_lock_file().give(file),
        None => Ok(()),
    }
}

/// The name of a user, from the system's list.
pub(crate) fn user_name(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let known = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let is_it = fields.nth(1)?.parse() == Ok(uid);
        is_it.then(|| name.to_owned())
    });
    known.unwrap_or_else(|| format!("user {uid}"))
}

/// Adds to an error of access rights who owns the file, and what to do.
pub(crate) fn explain(error: Error, path: &Path) -> Error {
    match what_denies(path) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// The file's owner and mode, where this process may not write it, or else its folder's.
fn what_denies(path: &Path) -> Option<String> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    for (path, needed) in [
        (folder, Access::EXEC_OK),
        (path, Access::READ_OK | Access::WRITE_OK),
        (folder, Access::WRITE_OK | Access::EXEC_OK),
    ] {
        let Ok(found) = path.metadata() else { continue };
        if accessat(CWD, path, needed, AtFlags::EACCESS).is_ok() {
            continue;
        }
        let me = user_name(geteuid().as_raw());
        let owner = user_name(found.uid());
        let shown = path.display();
        let mode = found.mode() & 0o7777;
        let whose = format!("{shown} belongs to {owner} (mode {mode:04o}), and this is {me}");
        let all = if path.is_dir() { "-R " } else { "" };
        return Some(match owner == me {
            true => format!("{whose}: `chmod u+rwX {shown}`, if its disk can be written"),
            false => format!(
                "{whose}: `sudo chown {all}{me} {shown}` makes it yours; to share it, give file and folder to a group that may write both"
            ),
        });
    }
    None
}

/// The error for a write to a file that is open only for reading.
pub(crate) fn read_only(path: &Path) -> Error {
    let error = Error::new(
        Kind::ReadOnly,
        format!(
            "the database {} could only be opened for reading",
            path.display()
        ),
    )
    .with_hint("check the permissions of the file and of its folder");
    explain(error, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_mode(mode: u32) -> u32 {
        let database = Rights {
            uid: 1,
            gid: 1,
            mode,
        };
        database.of_folder().mode
    }

    #[test]
    fn folder_modes_follow_the_modes_of_the_database() {
        for (database, folder) in [
            (0o600, 0o700),
            (0o400, 0o700),
            (0o640, 0o750),
            (0o660, 0o2770),
            (0o664, 0o2775),
            (0o644, 0o755),
        ] {
            assert_eq!(folder_mode(database), folder, "{database:o}");
        }
    }

    #[test]
    fn a_folder_and_its_lock_files_have_the_modes_of_their_database() {
        let place = tempfile::tempdir().unwrap();
        let database = place.path().join("jobs.db");
        let folder = place.path().join("jobs.db-runners");
        File::create(&database).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o7777;
        for (bits, of_folder, of_lock) in [(0o600, 0o700, 0o600), (0o660, 0o2770, 0o660)] {
            std::fs::set_permissions(&database, Permissions::from_mode(bits)).unwrap();
            make_runners_folder(&folder).unwrap();
            assert_eq!(mode(&folder), of_folder);
            let lock = folder.join("x.lock");
            give_lock_file(&File::create(&lock).unwrap(), &folder).unwrap();
            assert_eq!(mode(&lock), of_lock);
        }
    }

    #[test]
    fn a_link_in_the_folders_place_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("jobs.db-runners");
        std::os::unix::fs::symlink(place.path(), &folder).unwrap();
        let error = make_runners_folder(&folder).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
    }
}
