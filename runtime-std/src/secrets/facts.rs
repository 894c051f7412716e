//! What the system says about a path.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use clawgate_core::secrets::{PathFacts, PathFault, PathKind, Standing};

pub(super) fn of(metadata: &Metadata) -> PathFacts {
    let kind = metadata.file_type();
    PathFacts {
        kind: if kind.is_symlink() {
            PathKind::Link
        } else if kind.is_dir() {
            PathKind::Folder
        } else if kind.is_file() {
            PathKind::File
        } else {
            PathKind::Other
        },
        owner: metadata.uid(),
        mode: metadata.mode() & 0o7777,
        links: metadata.nlink(),
    }
}

/// Everything that `target` is judged by. `real` is its path, with the links above it resolved.
pub(crate) fn standing(target: &Metadata, real: &Path) -> io::Result<Standing> {
    let folders = real
        .ancestors()
        .skip(1)
        .map(|folder| Ok((folder.to_owned(), of(&fs::symlink_metadata(folder)?))))
        .collect::<io::Result<_>>()?;
    Ok(Standing {
        user: rustix::process::geteuid().as_raw(),
        target: of(target),
        folders,
    })
}

pub(super) fn fault(error: &io::Error) -> PathFault {
    let kind = error.kind();
    if matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
        PathFault::Missing
    } else {
        PathFault::System(kind)
    }
}

/// A path with the links above its end resolved.
pub(super) fn resolve_above(path: &Path) -> io::Result<std::path::PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    Ok(folder.canonicalize()?.join(name))
}
