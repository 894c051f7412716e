//! Programs of the system, found where only the system's owner can have put them.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use clawgate_core::policy::Untrusted;

/// Why a program is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MissingProgram {
    /// It is in none of the folders.
    NotFound,
    /// It is, but others may have changed it.
    Untrusted(Untrusted),
}

impl fmt::Display for MissingProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("it is in none of the system's folders"),
            Self::Untrusted(why) => write!(f, "it is not run: {why}"),
        }
    }
}

impl std::error::Error for MissingProgram {}

/// The first program of this name in these folders that may be run. One that may not be run does not hide
/// another one. `PATH` has no say.
///
/// # Errors
/// [`MissingProgram`].
pub fn system_program(folders: &[&str], name: &str) -> Result<PathBuf, MissingProgram> {
    let mut missing = MissingProgram::NotFound;
    for folder in folders {
        // Links are resolved first: what they lead to is what runs.
        let Ok(program) = Path::new(folder).join(name).canonicalize() else {
            continue;
        };
        match judge(&program) {
            Ok(()) => return Ok(program),
            Err(untrusted) => missing = MissingProgram::Untrusted(untrusted),
        }
    }
    Err(missing)
}

#[cfg(unix)]
fn judge(program: &Path) -> Result<(), Untrusted> {
    use clawgate_core::policy::check_program;

    use crate::secrets::standing;

    let standing = program
        .symlink_metadata()
        .and_then(|target| standing(&target, program))
        .map_err(|_| Untrusted::NotAProgram(program.to_owned()))?;
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
        let folders = [folder.path().to_str().unwrap()];
        let other = system_program(&folders, "other");
        assert_eq!(other, Err(MissingProgram::NotFound));
        let program = folder.path().join("ssh");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let found = system_program(&folders, "ssh");
        assert!(
            matches!(found, Err(MissingProgram::Untrusted(_))),
            "{found:?}"
        );
    }

    #[test]
    fn a_program_of_the_system_is_run() {
        assert!(system_program(&["/no/such/folder", "/usr/bin", "/bin"], "env").is_ok());
    }
}
