//! Programs of the system, found where only the system's owner can have put them.

use std::path::{Path, PathBuf};

use clawgate_core::tailscale::Untrusted;

/// Folders of the system's programs, in the order in which they are searched.
const FOLDERS: &[&str] = &[
    "/usr/bin",
    "/bin",
    "/usr/sbin",
    "/sbin",
    "/run/current-system/sw/bin",
];

/// Why a program is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It is in none of the folders.
    NotFound,
    /// It is, but others may have changed it.
    Untrusted(Untrusted),
}

/// The first program of this name that may be run. `PATH` has no say.
///
/// # Errors
/// [`Missing`].
pub(crate) fn find_trusted(name: &str) -> Result<PathBuf, Missing> {
    find_in(FOLDERS.iter().map(Path::new), name)
}

fn find_in<'a>(folders: impl Iterator<Item = &'a Path>, name: &str) -> Result<PathBuf, Missing> {
    let mut missing = Missing::NotFound;
    for folder in folders {
        // Links are resolved first: what they lead to is what runs.
        let Ok(program) = folder.join(name).canonicalize() else {
            continue;
        };
        match judge(&program) {
            Ok(()) => return Ok(program),
            Err(untrusted) => missing = Missing::Untrusted(untrusted),
        }
    }
    Err(missing)
}

#[cfg(unix)]
fn judge(program: &Path) -> Result<(), Untrusted> {
    use std::{fs, io, os::unix::fs::MetadataExt};

    use clawgate_core::{
        secrets::{PathFacts, PathKind, Standing},
        tailscale::check_program,
    };

    let facts = |path: &Path| {
        let found = fs::symlink_metadata(path)?;
        let kind = found.file_type();
        io::Result::Ok(PathFacts {
            kind: if kind.is_file() {
                PathKind::File
            } else if kind.is_dir() {
                PathKind::Folder
            } else {
                PathKind::Other
            },
            owner: found.uid(),
            mode: found.mode() & 0o7777,
            links: found.nlink(),
        })
    };
    let standing = || {
        io::Result::Ok(Standing {
            user: rustix::process::geteuid().as_raw(),
            target: facts(program)?,
            folders: program
                .ancestors()
                .skip(1)
                .map(|folder| Ok((folder.to_owned(), facts(folder)?)))
                .collect::<io::Result<_>>()?,
        })
    };
    let standing = standing().map_err(|_| Untrusted::NotAProgram(program.to_owned()))?;
    check_program(program, &standing)
}

/// Elsewhere only administrators write to the folders of programs.
#[cfg(not(unix))]
fn judge(_program: &Path) -> Result<(), Untrusted> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_program_in_a_folder_of_others_is_not_run() {
        // Temporary folders lie under one that everybody may write to.
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("systemctl");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let found = find_in([folder.path()].into_iter(), "systemctl");
        assert!(matches!(found, Err(Missing::Untrusted(_))), "{found:?}");
        let other = find_in([folder.path()].into_iter(), "other");
        assert_eq!(other, Err(Missing::NotFound));
    }
}
