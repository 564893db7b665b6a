//! Whose `./jobq.toml` is obeyed: it names commands that run as whoever calls jobq in that folder.
//!
//! As for git's own configuration: only a file of the user or of root counts, in a folder where nobody
//! else can put another one in its place. A file that was named on the command line is trusted.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use rustix::process::{getegid, geteuid};

const STICKY: u32 = 0o1000;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    user: u32,
    group: u32,
    /// The user who has become root by sudo.
    behind_sudo: Option<u32>,
}

impl Caller {
    pub(super) fn of_process() -> Caller {
        let user = geteuid().as_raw();
        let sudo = std::env::var("SUDO_UID").ok();
        Caller {
            user,
            group: getegid().as_raw(),
            behind_sudo: sudo.and_then(|id| id.parse().ok()).filter(|_| user == 0),
        }
    }

    fn trusts(self, owner: u32) -> bool {
        owner == self.user || owner == 0 || Some(owner) == self.behind_sudo
    }

    /// The group that belongs to the user alone has the user's own number.
    fn is_private(self, group: u32) -> bool {
        group == 0 || group == self.user && group == self.group || Some(group) == self.behind_sudo
    }

    /// Why the file is not to be obeyed.
    pub(super) fn distrust(self, file: &Metadata, folder: &Metadata) -> Option<String> {
        self.judge(Access::of(file), Access::of(folder))
    }

    fn judge(self, file: Access, folder: Access) -> Option<String> {
        let kept = Access {
            // Of a sticky folder only the owner of a file can remove it.
            mode: match folder.mode & STICKY {
                0 => folder.mode,
                _ => folder.mode & !(GROUP_WRITES | OTHERS_WRITE),
            },
            ..folder
        };
        self.fault(file)
            .map(|fault| format!("it {fault}"))
            .or_else(|| self.fault(kept).map(|fault| format!("its folder {fault}")))
    }

    fn fault(self, of: Access) -> Option<String> {
        if !self.trusts(of.owner) {
            return Some(format!("belongs to user {}", of.owner));
        }
        if of.mode & OTHERS_WRITE != 0 {
            return Some("can be written by everybody".to_owned());
        }
        if of.mode & GROUP_WRITES != 0 && !self.is_private(of.group) {
            return Some(format!("can be written by group {}", of.group));
        }
        None
    }
}

#[derive(Clone, Copy, Debug)]
struct Access {
    owner: u32,
    group: u32,
    mode: u32,
}

impl Access {
    fn of(found: &Metadata) -> Access {
        Access {
            owner: found.uid(),
            group: found.gid(),
            mode: found.mode() & 0o7777,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: Caller = Caller {
        user: 1000,
        group: 1000,
        behind_sudo: None,
    };

    const fn access(owner: u32, group: u32, mode: u32) -> Access {
        Access { owner, group, mode }
    }

    const OWN_FOLDER: Access = access(1000, 1000, 0o755);

    #[test]
    fn a_file_of_the_user_or_of_root_that_nobody_else_writes_is_obeyed() {
        for file in [
            access(1000, 1000, 0o644),
            access(1000, 1000, 0o664),
            access(0, 0, 0o644),
            access(1000, 100, 0o644),
        ] {
            assert_eq!(ANN.judge(file, OWN_FOLDER), None, "{file:?}");
        }
        for file in [
            access(1001, 1000, 0o600),
            access(1000, 1000, 0o666),
            access(1000, 100, 0o664),
        ] {
            let why = ANN.judge(file, OWN_FOLDER).unwrap();
            assert!(why.starts_with("it "), "{why}");
        }
    }

    #[test]
    fn a_folder_where_others_can_put_a_file_in_its_place_is_not() {
        let file = access(1000, 1000, 0o644);
        for folder in [
            access(0, 0, 0o755),
            access(0, 0, 0o1777),
            access(1000, 1000, 0o775),
        ] {
            assert_eq!(ANN.judge(file, folder), None, "{folder:?}");
        }
        for folder in [
            access(1001, 1000, 0o755),
            access(0, 0, 0o777),
            access(1000, 100, 0o775),
            access(1001, 1001, 0o1777),
        ] {
            let why = ANN.judge(file, folder).unwrap();
            assert!(why.starts_with("its folder "), "{why}");
        }
    }

    #[test]
    fn root_obeys_the_user_who_has_become_root_and_nobody_else() {
        let root = Caller {
            user: 0,
            group: 0,
            behind_sudo: None,
        };
        let sudo = Caller {
            behind_sudo: Some(1000),
            ..root
        };
        let file = access(1000, 1000, 0o664);
        assert!(root.judge(file, OWN_FOLDER).is_some());
        assert_eq!(sudo.judge(file, OWN_FOLDER), None);
        assert!(sudo.judge(access(1001, 1000, 0o644), OWN_FOLDER).is_some());
    }
}
