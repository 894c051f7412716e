//! Finding the program of the system.

use std::path::{Path, PathBuf};

use clawgate_core::tailscale::{FOLDERS, PROGRAM};

use super::TailscaleError;

/// The first program in the system's folders that may be run. One that may not be run does not hide
/// another one.
pub(super) fn in_system() -> Result<PathBuf, TailscaleError> {
    find_in(FOLDERS.iter().map(Path::new))
}

fn find_in<'a>(folders: impl IntoIterator<Item = &'a Path>) -> Result<PathBuf, TailscaleError> {
    let mut refused = TailscaleError::NotFound;
    for folder in folders {
        // Links are resolved first: what they lead to is what runs.
        let Ok(program) = folder.join(PROGRAM).canonicalize() else {
            continue;
        };
        match judge(&program) {
            Ok(()) => return Ok(program),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

#[cfg(unix)]
fn judge(program: &Path) -> Result<(), TailscaleError> {
    use std::{fs, io, os::unix::fs::MetadataExt};

    use clawgate_core::{
        policy::check_program,
        secrets::{PathFacts, PathKind, Standing},
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
    let standing = Standing {
        user: rustix::process::geteuid().as_raw(),
        target: facts(program)?,
        folders: program
            .ancestors()
            .skip(1)
            .map(|folder| Ok((folder.to_owned(), facts(folder)?)))
            .collect::<io::Result<_>>()?,
    };
    Ok(check_program(program, &standing)?)
}

/// Elsewhere only administrators write to the folder of programs.
#[cfg(not(unix))]
fn judge(_program: &Path) -> Result<(), TailscaleError> {
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
        let program = folder.path().join(PROGRAM);
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let found = find_in([folder.path()]);
        assert!(
            matches!(found, Err(TailscaleError::Untrusted(_))),
            "{found:?}"
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_not_found() {
        let folder = tempfile::tempdir().unwrap();
        let found = find_in([folder.path()]);
        assert!(matches!(found, Err(TailscaleError::NotFound)), "{found:?}");
    }
}
