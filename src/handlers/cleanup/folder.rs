//! Folders by their descriptors. No link is followed on the way to one, so nobody who may write in a folder
//! can lead the cleaning out of it (CVE-2018-6954 is what happens by paths).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, Stat, fstat, openat, stat, statat};
use rustix::io::Errno;

/// On the way, a folder that may be entered need not be readable.
#[cfg(any(target_os = "linux", target_os = "android"))]
const ENTER: OFlags = OFlags::PATH;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const ENTER: OFlags = OFlags::RDONLY;

fn open(
    folder: impl AsFd,
    name: impl rustix::path::Arg,
    how: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, name, flags | how, Mode::empty())
}

/// What a folder or a file is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Identity(u64, u64);

impl Identity {
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        reason = "the types differ by system"
    )]
    pub(super) fn of(stat: &Stat) -> Identity {
        Identity(stat.st_dev as u64, stat.st_ino as u64)
    }

    /// That of the folder at this path, behind all links; none if there is none.
    pub(super) fn at(path: &Path) -> Option<Identity> {
        stat(path).ok().as_ref().map(Identity::of)
    }

    pub(super) fn is_on_device_of(self, other: Identity) -> bool {
        self.0 == other.0
    }
}

/// An open folder.
pub(super) struct Folder {
    fd: OwnedFd,
    pub(super) identity: Identity,
}

impl Folder {
    /// Opens an absolute path, name by name. A link in it is `NOTDIR`.
    pub(super) fn open(path: &Path) -> rustix::io::Result<Folder> {
        let mut fd = open(CWD, "/", ENTER)?;
        let mut names = path.components().peekable();
        while let Some(component) = names.next() {
            if let Component::Normal(name) = component {
                let how = match names.peek() {
                    Some(_) => ENTER,
                    None => OFlags::RDONLY,
                };
                fd = open(&fd, name, how)?;
            }
        }
        Folder::of(fd)
    }

    fn of(fd: OwnedFd) -> rustix::io::Result<Folder> {
        let identity = Identity::of(&fstat(&fd)?);
        Ok(Folder { fd, identity })
    }

    /// Opens a folder in it, which is `NOTDIR` if it is a link.
    pub(super) fn inner(&self, name: &CStr) -> rustix::io::Result<Folder> {
        Folder::of(open(&self.fd, name, OFlags::RDONLY)?)
    }

    /// The names in it, in order.
    pub(super) fn names(&self) -> rustix::io::Result<Vec<CString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// What a name in it is; of a link, the link.
    pub(super) fn stat(&self, name: &CStr) -> rustix::io::Result<Stat> {
        statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Removes a file or a link.
    pub(super) fn remove(&self, name: &CStr) -> rustix::io::Result<()> {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())
    }

    /// Removes a folder in it, if that is empty.
    pub(super) fn remove_empty(&self, name: &CStr) -> rustix::io::Result<()> {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)
    }
}

/// Whether the file system itself fails, which another try may find over.
pub(super) fn may_pass(error: Errno) -> bool {
    [
        Errno::IO,
        Errno::NOTCONN,
        Errno::STALE,
        Errno::NOMEM,
        Errno::MFILE,
        Errno::NFILE,
    ]
    .contains(&error)
}

/// When a file was written last.
#[allow(
    clippy::unnecessary_cast,
    clippy::cast_possible_wrap,
    reason = "the types differ by system"
)]
pub(super) fn modified_ms(stat: &Stat) -> i64 {
    (stat.st_mtime as i64)
        .saturating_mul(1000)
        .saturating_add(stat.st_mtime_nsec as i64 / 1_000_000)
}
