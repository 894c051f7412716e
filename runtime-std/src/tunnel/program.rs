//! Finding the system's `ssh`.

use std::path::{Path, PathBuf};

use clawgate_core::tunnel::{FOLDERS, FailureKind, PROGRAM, TunnelFailure};

/// The first `ssh` in the system's folders that may be run. One that may not be run does not hide another
/// one.
///
/// # Errors
/// [`FailureKind::NoSsh`], or [`FailureKind::CannotStart`] with the reason.
pub fn find_ssh() -> Result<PathBuf, TunnelFailure> {
    find_in(FOLDERS.iter().map(Path::new))
}

fn find_in<'a>(folders: impl IntoIterator<Item = &'a Path>) -> Result<PathBuf, TunnelFailure> {
    let mut refused = TunnelFailure::new(FailureKind::NoSsh, "");
    for folder in folders {
        // Links are resolved first: what they lead to is what runs.
        let Ok(program) = folder.join(PROGRAM).canonicalize() else {
            continue;
        };
        match judge(&program) {
            Ok(()) => return Ok(program),
            Err(why) => refused = TunnelFailure::new(FailureKind::CannotStart, why),
        }
    }
    Err(refused)
}

#[cfg(unix)]
fn judge(program: &Path) -> Result<(), String> {
    use clawgate_core::tailscale::check_program;

    use crate::secrets::standing;

    let standing = program
        .symlink_metadata()
        .and_then(|target| standing(&target, program))
        .map_err(|error| error.to_string())?;
    check_program(program, &standing).map_err(|why| why.to_string())
}

/// Elsewhere only administrators write to the folder of programs.
#[cfg(not(unix))]
fn judge(_program: &Path) -> Result<(), String> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn an_ssh_that_others_may_replace_is_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let empty = find_in([folder.path()]).unwrap_err();
        assert_eq!(empty.kind(), FailureKind::NoSsh);
        let program = folder.path().join(PROGRAM);
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let found = find_in([folder.path()]).unwrap_err();
        assert_eq!(found.kind(), FailureKind::CannotStart);
    }
}
