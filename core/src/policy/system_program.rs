//! Whose hands a program of the system has been in. What such programs say lets people in or decides which
//! machine is behind a port, so nobody but the system's owner may have put them there.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::secrets::{PathFacts, PathKind, Standing};

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

/// Judges a program, given by its path without links, and all folders above it. A sticky folder does
/// not count as safe: whoever may write to it chose the program.
///
/// ```
/// use clawgate_core::secrets::{PathFacts, PathKind, Standing};
/// use clawgate_core::policy::check_program;
///
/// let facts = |kind, mode| PathFacts { kind, owner: 0, mode, links: 1 };
/// let standing = |folder_mode| Standing {
///     user: 1000,
///     target: facts(PathKind::File, 0o755),
///     folders: vec![("/usr/bin".into(), facts(PathKind::Folder, folder_mode))],
/// };
/// let program = "/usr/bin/tailscale".as_ref();
/// assert!(check_program(program, &standing(0o755)).is_ok());
/// assert!(check_program(program, &standing(0o777)).is_err());
/// ```
///
/// # Errors
/// The first fault, from the program upwards.
pub fn check_program(program: &Path, standing: &Standing) -> Result<(), Untrusted> {
    let target = standing.target;
    if target.kind != PathKind::File || target.mode & EXECUTABLE == 0 {
        return Err(Untrusted::NotAProgram(program.to_owned()));
    }
    let folders = standing
        .folders
        .iter()
        .map(|(path, facts)| (&**path, *facts));
    for (path, PathFacts { owner, mode, .. }) in [(program, target)].into_iter().chain(folders) {
        if owner != 0 {
            return Err(Untrusted::ForeignOwner(path.to_owned()));
        }
        if mode & WRITABLE != 0 {
            return Err(Untrusted::Writable(path.to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(change: impl FnOnce(&mut Standing)) -> Result<(), Untrusted> {
        let facts = |kind| PathFacts {
            kind,
            owner: 0,
            mode: 0o755,
            links: 1,
        };
        let mut standing = Standing {
            user: 1000,
            target: facts(PathKind::File),
            folders: ["/usr/bin", "/usr", "/"]
                .map(|path| (path.into(), facts(PathKind::Folder)))
                .to_vec(),
        };
        change(&mut standing);
        check_program(Path::new("/usr/bin/tailscale"), &standing)
    }

    fn part(standing: &mut Standing, at: usize) -> &mut PathFacts {
        match at {
            0 => &mut standing.target,
            at => &mut standing.folders[at - 1].1,
        }
    }

    #[test]
    fn only_root_may_have_touched_the_program() {
        assert_eq!(judge(|_| {}), Ok(()));
        for at in 0..4 {
            // Not even the user that the gateway runs as.
            let verdict = judge(|s| part(s, at).owner = 1000);
            assert!(matches!(verdict, Err(Untrusted::ForeignOwner(_))), "{at}");
            for mode in [0o775, 0o757, 0o1777] {
                let verdict = judge(|s| part(s, at).mode = mode);
                assert!(
                    matches!(verdict, Err(Untrusted::Writable(_))),
                    "{at} {mode:o}"
                );
            }
        }
    }

    #[test]
    fn it_must_be_a_program() {
        for (kind, mode) in [
            (PathKind::Folder, 0o755),
            (PathKind::Link, 0o755),
            (PathKind::Other, 0o755),
            (PathKind::File, 0o644),
        ] {
            let verdict = judge(|s| (s.target.kind, s.target.mode) = (kind, mode));
            assert!(
                matches!(verdict, Err(Untrusted::NotAProgram(_))),
                "{kind:?}"
            );
        }
    }
}
