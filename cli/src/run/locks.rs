//! Where locks lie that all profiles of this user share on this machine.

use std::{
    env,
    path::{Path, PathBuf},
};

use clawgate_core::config::EnvVars;
use clawgate_smol::Locks;

/// The name of the folder.
const FOLDER: &str = "clawgate";

/// Names the folder by the environment.
const RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";

/// Locks of a gateway with this state folder. Nothing is made before a lock is taken.
pub(super) fn of_user(env: &EnvVars, state: &Path) -> Locks {
    Locks::new(folder(env), state)
}

/// The folder of the user's session, which the system makes for this user only and empties at its end;
/// where there is none, a folder for this user among the temporary files. A service has no such variable,
/// and has to find the locks of the sessions all the same.
fn folder(env: &EnvVars) -> PathBuf {
    let named = env.non_blank(RUNTIME_DIR).map(PathBuf::from);
    let sessions = named
        .filter(|path| path.is_absolute())
        .or_else(session_folder);
    match sessions {
        Some(path) => path.join(FOLDER),
        None => env::temp_dir().join(own_name()),
    }
}

#[cfg(target_os = "linux")]
fn session_folder() -> Option<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    Some(PathBuf::from(format!("/run/user/{user}"))).filter(|path| path.is_dir())
}

#[cfg(not(target_os = "linux"))]
fn session_folder() -> Option<PathBuf> {
    None
}

#[cfg(unix)]
fn own_name() -> String {
    format!("{FOLDER}-{}", rustix::process::geteuid().as_raw())
}

/// Other systems have such a folder for each user.
#[cfg(not(unix))]
fn own_name() -> String {
    FOLDER.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_the_session_comes_first() {
        let at = |value: &str| folder(&[(RUNTIME_DIR, value)].into_iter().collect());
        if cfg!(unix) {
            assert_eq!(at("/run/mine"), Path::new("/run/mine/clawgate"));
        }
        let other = folder(&EnvVars::default());
        assert_eq!(at("relative"), other);
        assert_eq!(at(" "), other);
        assert!(other.is_absolute());
    }
}
