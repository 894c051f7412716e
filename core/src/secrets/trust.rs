//! Whose hands a file of secrets or a program has been in.

use std::path::{Path, PathBuf};

use super::fault::{FolderFault, PathFault};
use super::provider::PathTrust;

/// What stands at a path, links not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A pipe, a socket, a device.
    Other,
}

/// What the system says about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathFacts {
    /// What stands there.
    pub kind: PathKind,
    /// The owner's number.
    pub owner: u32,
    /// The permission bits.
    pub mode: u32,
    /// How many names it has.
    pub links: u64,
}

/// Everything that a path is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The number of the user that clawgate runs as.
    pub user: u32,
    /// The path itself.
    pub target: PathFacts,
    /// The folders above it, their own links resolved, nearest first.
    pub folders: Vec<(PathBuf, PathFacts)>,
}

/// Anybody but the owner may read.
const READABLE: u32 = 0o044;
/// Anybody but the owner may write.
const WRITABLE: u32 = 0o022;
/// Everybody may write.
const WORLD_WRITABLE: u32 = 0o002;
/// In such a folder only owners may replace their files.
const STICKY: u32 = 0o1000;

impl Standing {
    /// A file of secrets: one name, and for its owner's eyes only.
    pub(super) fn of_secrets(&self, trust: PathTrust) -> Result<(), PathFault> {
        self.is_file()?;
        if trust == PathTrust::Unchecked {
            return Ok(());
        }
        if self.target.links > 1 {
            return Err(PathFault::SeveralNames);
        }
        let mode = self.target.mode & 0o7777;
        if mode & (READABLE | WRITABLE) != 0 {
            return Err(PathFault::OpenToOthers { mode });
        }
        self.hands()
    }

    /// A program: nobody else may have put it there or changed it.
    pub(super) fn of_program(&self, trust: PathTrust) -> Result<(), PathFault> {
        self.is_file()?;
        if trust == PathTrust::Unchecked {
            return Ok(());
        }
        let mode = self.target.mode & 0o7777;
        if mode & WRITABLE != 0 {
            return Err(PathFault::WritableByOthers { mode });
        }
        self.hands()
    }

    fn is_file(&self) -> Result<(), PathFault> {
        match self.target.kind {
            PathKind::File => Ok(()),
            PathKind::Link => Err(PathFault::Link),
            PathKind::Folder | PathKind::Other => Err(PathFault::NotAFile),
        }
    }

    fn hands(&self) -> Result<(), PathFault> {
        // Root can change everything anyway.
        let foreign = |owner: u32| owner != self.user && owner != 0;
        if foreign(self.target.owner) {
            return Err(PathFault::ForeignOwner {
                owner: self.target.owner,
            });
        }
        // Whoever can write to a folder can put another file in its place. Folders of a group are
        // left to whoever made the group.
        for (folder, facts) in &self.folders {
            let open = facts.mode & WORLD_WRITABLE != 0 && facts.mode & STICKY == 0;
            let fault = if facts.kind != PathKind::Folder || foreign(facts.owner) {
                FolderFault::ForeignOwner
            } else if open {
                FolderFault::OpenToOthers
            } else {
                continue;
            };
            return Err(PathFault::Folder(folder.clone(), fault));
        }
        Ok(())
    }
}

/// Whether a path lies in one of these folders, at any depth. Both without links.
pub(super) fn lies_in(path: &Path, folders: &[PathBuf]) -> bool {
    folders
        .iter()
        .any(|folder| path != folder && path.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: u32 = 1000;

    fn standing(kind: PathKind, owner: u32, mode: u32, folder: (u32, u32)) -> Standing {
        let facts = |kind, owner, mode| PathFacts {
            kind,
            owner,
            mode,
            links: 1,
        };
        Standing {
            user: ME,
            target: facts(kind, owner, mode),
            folders: vec![
                (
                    "/home/ada".into(),
                    facts(PathKind::Folder, folder.0, folder.1),
                ),
                ("/".into(), facts(PathKind::Folder, 0, 0o755)),
            ],
        }
    }

    #[test]
    fn a_file_of_secrets_is_for_its_owner_alone() {
        let own = (ME, 0o755);
        for good in [0o600, 0o400, 0o700] {
            let standing = standing(PathKind::File, ME, good, own);
            assert_eq!(standing.of_secrets(PathTrust::Checked), Ok(()), "{good:o}");
        }
        for open in [0o640, 0o604, 0o620, 0o602, 0o666] {
            let standing = standing(PathKind::File, ME, open, own);
            let fault = Err(PathFault::OpenToOthers { mode: open });
            assert_eq!(standing.of_secrets(PathTrust::Checked), fault, "{open:o}");
            assert_eq!(
                standing.of_secrets(PathTrust::Unchecked),
                Ok(()),
                "{open:o}"
            );
        }
        let foreign = standing(PathKind::File, 7, 0o600, own);
        let fault = Err(PathFault::ForeignOwner { owner: 7 });
        assert_eq!(foreign.of_secrets(PathTrust::Checked), fault);
        let root = standing(PathKind::File, 0, 0o600, own);
        assert_eq!(root.of_secrets(PathTrust::Checked), Ok(()));
        let mut linked = standing(PathKind::File, ME, 0o600, own);
        linked.target.links = 2;
        assert_eq!(
            linked.of_secrets(PathTrust::Checked),
            Err(PathFault::SeveralNames)
        );
    }

    #[test]
    fn only_files_are_read_or_run_whatever_is_trusted() {
        for (kind, fault) in [
            (PathKind::Folder, PathFault::NotAFile),
            (PathKind::Other, PathFault::NotAFile),
            (PathKind::Link, PathFault::Link),
        ] {
            for trust in [PathTrust::Checked, PathTrust::Unchecked] {
                let standing = standing(kind, ME, 0o700, (ME, 0o755));
                assert_eq!(standing.of_secrets(trust), Err(fault.clone()));
                assert_eq!(standing.of_program(trust), Err(fault.clone()));
            }
        }
    }

    #[test]
    fn a_program_may_be_read_by_all_and_written_by_its_owner() {
        for (mode, good) in [(0o755, true), (0o700, true), (0o775, false), (0o757, false)] {
            let standing = standing(PathKind::File, 0, mode, (0, 0o755));
            assert_eq!(
                standing.of_program(PathTrust::Checked).is_ok(),
                good,
                "{mode:o}"
            );
            assert_eq!(standing.of_program(PathTrust::Unchecked), Ok(()));
        }
    }

    #[test]
    fn a_folder_where_others_can_swap_files_is_refused() {
        for (owner, mode, good) in [
            (ME, 0o755, true),
            (ME, 0o775, true),
            (0, 0o1777, true),
            (0, 0o777, false),
            (ME, 0o757, false),
            (7, 0o755, false),
        ] {
            let standing = standing(PathKind::File, ME, 0o700, (owner, mode));
            let why = format!("{owner} {mode:o}");
            assert_eq!(
                standing.of_program(PathTrust::Checked).is_ok(),
                good,
                "{why}"
            );
            assert_eq!(
                standing.of_secrets(PathTrust::Checked).is_ok(),
                good,
                "{why}"
            );
        }
    }

    #[test]
    fn a_trusted_folder_is_more_than_a_prefix() {
        let folders = [PathBuf::from("/opt/vault")];
        assert!(lies_in(Path::new("/opt/vault/bin/v"), &folders));
        assert!(!lies_in(Path::new("/opt/vault-evil/v"), &folders));
        assert!(!lies_in(Path::new("/opt/vault"), &folders));
        assert!(!lies_in(Path::new("/opt/v"), &[]));
    }
}
