//! `--fix`: takes files from others. Nothing else is changed.

use clawgate_core::policy::audit::{Finding, Mend};

/// A change that was tried.
#[derive(Debug)]
pub(super) struct Mended {
    pub(super) mend: Mend,
    /// What the system said against it.
    pub(super) error: Option<String>,
}

/// Does what the findings offer, folders before what is in them.
pub(super) fn carry_out(findings: &[Finding]) -> Vec<Mended> {
    let mut mends: Vec<&Mend> = findings
        .iter()
        .filter_map(|finding| finding.mend.as_ref())
        .collect();
    mends.sort();
    mends
        .into_iter()
        .map(|mend| Mended {
            mend: mend.clone(),
            error: set_mode(mend).err(),
        })
        .collect()
}

/// Changes the mode of one file.
#[cfg(unix)]
pub(in crate::commands) fn set_mode(mend: &Mend) -> Result<(), String> {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&mend.path, Permissions::from_mode(mend.to))
        .map_err(|error| error.to_string())
}

#[cfg(not(unix))]
pub(in crate::commands) fn set_mode(_: &Mend) -> Result<(), String> {
    Err("this system has no permission bits".to_owned())
}
