//! The socket of the gateway's owner, among the gateway's files.

use std::path::Path;

use crate::{error::Problem, socket::Stream};

/// Connects to it, if no other user can have put it there.
#[cfg(unix)]
pub(crate) fn connect(path: &Path) -> Result<Stream, Problem> {
    use std::{
        io,
        os::unix::fs::{FileTypeExt, MetadataExt},
    };

    use clawgate_core::policy::{SocketFacts, check_owner_socket};

    let fail = |error: io::Error| {
        let gone = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        Problem::Socket {
            is_gone: gone.contains(&error.kind()),
            why: crate::dial::plain(&error),
        }
    };
    let file = path.symlink_metadata().map_err(fail)?;
    check_owner_socket(SocketFacts {
        is_socket: file.file_type().is_socket(),
        owner: file.uid(),
        user: rustix::process::geteuid().as_raw(),
    })
    .map_err(|fault| Problem::Socket {
        is_gone: false,
        why: fault.to_string(),
    })?;
    mio::net::UnixStream::connect(path)
        .map(Stream::Unix)
        .map_err(fail)
}

/// There is no such socket here.
#[cfg(not(unix))]
pub(crate) fn connect(_path: &Path) -> Result<Stream, Problem> {
    Err(Problem::Socket {
        is_gone: true,
        why: "this system has no such sockets".into(),
    })
}
