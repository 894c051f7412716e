//! Where the system's own programs lie that services need.

use std::path::PathBuf;

use clawgate_std::{MissingProgram, system_program};

/// Folders of the system's programs, in the order in which they are searched.
const FOLDERS: &[&str] = &[
    "/usr/bin",
    "/bin",
    "/usr/sbin",
    "/sbin",
    "/run/current-system/sw/bin",
];

/// The first program of this name that may be run. `PATH` has no say.
///
/// # Errors
/// [`MissingProgram`].
pub(crate) fn find_trusted(name: &str) -> Result<PathBuf, MissingProgram> {
    system_program(FOLDERS, name)
}
