//! Why a service could not be looked at or changed, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;
use thiserror::Error;

use clawgate_std::MissingProgram;

use super::description::Refused;
use crate::exit::Exit;
use crate::failure::Failure;

/// Why a service could not be looked at or changed.
#[derive(Debug, Error)]
pub(crate) enum ServiceError {
    /// This system has neither systemd nor launchd.
    #[error("services of this system are not managed by clawgate")]
    NoManager,
    /// The manager's program is missing, or not to be trusted.
    #[error("{program}: {why}")]
    Program {
        /// Its name.
        program: &'static str,
        /// Why it is not run.
        why: MissingProgram,
    },
    /// It could not be run.
    #[error("cannot run {}: {source}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No manager runs for this user.
    #[error("no service manager runs for this user: {said}")]
    NoUserManager {
        /// What its program said.
        said: String,
    },
    /// The manager refused.
    #[error("`{command}` failed: {said}")]
    Refused {
        /// What was asked.
        command: String,
        /// What its program said.
        said: String,
    },
    /// A description that cannot become a file.
    #[error("{0}")]
    Description(#[from] Refused),
    /// A file cannot be used.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No home folder.
    #[error("there is no home folder, so there is no place for services")]
    NoHome,
}

impl ServiceError {
    /// A stable name for scripts.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::NoManager => "no_service_manager",
            Self::Program { .. } | Self::Run { .. } => "service_manager_missing",
            Self::NoUserManager { .. } => "no_user_manager",
            Self::Refused { .. } => "service_manager_refused",
            Self::Description(refused) => refused.code(),
            Self::File { .. } => "file_error",
            Self::NoHome => "no_home",
        }
    }

    /// What to do.
    pub(crate) fn next(&self) -> String {
        match self {
            Self::NoManager | Self::Program { .. } | Self::Run { .. } => {
                "Run it in the foreground, under whatever starts programs here; --print shows the \
                 files that a manager would get."
                    .into()
            }
            Self::NoUserManager { .. } => no_user_manager(),
            Self::Refused { .. } => {
                "The manager's log says more: `journalctl --user -e` on Linux, `log show --last 5m` \
                 on macOS."
                    .into()
            }
            Self::Description(_) => "Change the value, then try again.".into(),
            Self::File { .. } => "Check the folder and its owner, then try again.".into(),
            Self::NoHome => "Set HOME.".into(),
        }
    }

    /// The same for the command line.
    pub(crate) fn failure(&self) -> Failure {
        let exit = match self {
            Self::Description(_) => Exit::Configuration,
            Self::NoManager
            | Self::Program { .. }
            | Self::Run { .. }
            | Self::NoUserManager { .. }
            | Self::Refused { .. }
            | Self::File { .. }
            | Self::NoHome => Exit::Failed,
        };
        let message = crate::text::capitalised(&self.to_string());
        let failure = Failure::new(exit, self.code(), format!("{message}."), self.next());
        match self {
            Self::File { path, .. } => failure.fact("file", json!(path)),
            Self::NoManager
            | Self::Program { .. }
            | Self::Run { .. }
            | Self::NoUserManager { .. }
            | Self::Refused { .. }
            | Self::Description(_)
            | Self::NoHome => failure,
        }
    }

    pub(super) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }
}

#[cfg(unix)]
fn no_user_manager() -> String {
    let user = rustix::process::geteuid().as_raw();
    if user == 0 {
        return "Services are those of a user: log in as the user that the gateway is for. In a \
                container there is no manager: run it in the foreground there."
            .into();
    }
    format!(
        "Let the manager run without a login (`sudo loginctl enable-linger`), set \
         XDG_RUNTIME_DIR=/run/user/{user}, and see `systemctl --user status`. In a container there is \
         no manager: run it in the foreground there."
    )
}

#[cfg(not(unix))]
fn no_user_manager() -> String {
    "Run it in the foreground.".into()
}
