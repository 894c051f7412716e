//! The file of exec approvals of the gateway's own host, which a node on the same machine reads too.

use std::path::PathBuf;

use clawgate_core::{
    node::{ApprovalsText, Written},
    secret::Secret,
};
use clawgate_smol::ApprovalsHost;

/// The file, by its path.
#[derive(Debug)]
pub(super) struct ApprovalsFile(PathBuf);

impl ApprovalsFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }
}

impl ApprovalsHost for ApprovalsFile {
    fn read(&self) -> ApprovalsText {
        clawgate_std::read_approvals(&self.0)
    }

    fn replace(&self, before: &ApprovalsText, after: &Secret) -> Written {
        clawgate_std::replace_approvals(&self.0, before, after)
    }
}
