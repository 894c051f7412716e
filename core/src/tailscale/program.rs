//! Whose hands the program has been in. What it says lets people in, so nobody but the system's
//! owner may have put it there.

use std::{fmt, path::PathBuf};

/// The program's file name.
pub const PROGRAM: &str = if cfg!(windows) {
    "tailscale.exe"
} else {
    "tailscale"
};

/// The folders in which the program is looked for, in this order.
pub const FOLDERS: &[&str] = if cfg!(windows) {
    &["C:\\Program Files\\Tailscale"]
} else {
    &[
        "/usr/bin",
        "/usr/sbin",
        "/bin",
        "/sbin",
        "/usr/local/bin",
        "/usr/local/sbin",
        "/snap/bin",
        "/run/current-system/sw/bin",
        "/Applications/Tailscale.app/Contents/MacOS",
    ]
};

/// What stands at a path, links not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// Anything else.
    Other,
}

/// What the system says about a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathFacts {
    /// The path.
    pub path: PathBuf,
    /// What stands there.
    pub kind: PathKind,
    /// The owner's number; 0 is the system's owner.
    pub owner: u32,
    /// The permission bits.
    pub mode: u32,
}

/// Why a program is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untrusted {
    /// It is no file that may be executed.
    NotAProgram(PathBuf),
    /// Somebody else than root owns this path.
    ForeignOwner(PathBuf),
    /// Others than its owner may write to this path.
    Writable(PathBuf),
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAProgram(path) => write!(f, "{} is not a program", path.display()),
            Self::ForeignOwner(path) => {
                write!(f, "{} does not belong to root", path.display())
            }
            Self::Writable(path) => {
                write!(f, "others than root may write to {}", path.display())
            }
        }
    }
}

impl std::error::Error for Untrusted {}

/// Anybody but the owner may write.
const WRITABLE: u32 = 0o022;
/// Somebody may execute.
const EXECUTABLE: u32 = 0o111;

/// Judges a program by itself and all folders above it, links resolved, the program first. A sticky
/// folder does not count as safe: whoever may write to it chose the program.
///
/// ```
/// use clawgate_core::tailscale::{PathFacts, PathKind, check_program};
///
/// let facts = |path: &str, kind, mode| PathFacts { path: path.into(), kind, owner: 0, mode };
/// let program = facts("/usr/bin/tailscale", PathKind::File, 0o755);
/// let folder = facts("/usr/bin", PathKind::Folder, 0o755);
/// assert!(check_program(&[program.clone(), folder]).is_ok());
/// let shared = facts("/usr/bin", PathKind::Folder, 0o777);
/// assert!(check_program(&[program, shared]).is_err());
/// ```
///
/// # Errors
/// The first fault, from the program upwards.
pub fn check_program(chain: &[PathFacts]) -> Result<(), Untrusted> {
    let Some(program) = chain.first() else {
        return Err(Untrusted::NotAProgram(PathBuf::new()));
    };
    if program.kind != PathKind::File || program.mode & EXECUTABLE == 0 {
        return Err(Untrusted::NotAProgram(program.path.clone()));
    }
    for facts in chain {
        if facts.owner != 0 {
            return Err(Untrusted::ForeignOwner(facts.path.clone()));
        }
        if facts.mode & WRITABLE != 0 {
            return Err(Untrusted::Writable(facts.path.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(change: impl FnOnce(&mut Vec<PathFacts>)) -> Result<(), Untrusted> {
        let facts = |path: &str, kind| PathFacts {
            path: path.into(),
            kind,
            owner: 0,
            mode: 0o755,
        };
        let mut chain = vec![
            facts("/usr/bin/tailscale", PathKind::File),
            facts("/usr/bin", PathKind::Folder),
            facts("/usr", PathKind::Folder),
            facts("/", PathKind::Folder),
        ];
        change(&mut chain);
        check_program(&chain)
    }

    #[test]
    fn only_root_may_have_touched_the_program() {
        assert_eq!(chain(|_| {}), Ok(()));
        for at in 0..4 {
            assert!(
                matches!(
                    chain(|c| c[at].owner = 1000),
                    Err(Untrusted::ForeignOwner(_))
                ),
                "{at}"
            );
            for mode in [0o775, 0o757, 0o1777] {
                assert!(
                    matches!(chain(|c| c[at].mode = mode), Err(Untrusted::Writable(_))),
                    "{at} {mode:o}"
                );
            }
        }
    }

    #[test]
    fn it_must_be_a_program() {
        for change in [
            (|c: &mut Vec<PathFacts>| c[0].kind = PathKind::Folder) as fn(&mut Vec<PathFacts>),
            |c| c[0].kind = PathKind::Other,
            |c| c[0].mode = 0o644,
            |c| c.clear(),
        ] {
            assert!(matches!(chain(change), Err(Untrusted::NotAProgram(_))));
        }
    }
}
