//! Finding the system's `ssh`.

use std::path::PathBuf;

use clawgate_core::tunnel::{FOLDERS, FailureKind, PROGRAM, TunnelFailure};

use crate::system_program::{MissingProgram, system_program};

/// The first `ssh` in the system's folders that may be run.
///
/// # Errors
/// [`FailureKind::NoSsh`], or [`FailureKind::CannotStart`] with the reason.
pub fn find_ssh() -> Result<PathBuf, TunnelFailure> {
    system_program(FOLDERS, PROGRAM).map_err(|missing| match missing {
        MissingProgram::NotFound => TunnelFailure::new(FailureKind::NoSsh, ""),
        MissingProgram::Untrusted(why) => {
            TunnelFailure::new(FailureKind::CannotStart, why.to_string())
        }
    })
}
