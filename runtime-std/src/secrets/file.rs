//! Reads one file of secrets.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;

use clawgate_core::secrets::{FileRead, PathFault, ReadFault, RefFault, RefValues};
use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use super::facts;

/// Reads the file in a thread of its own: a file system that hangs cannot be interrupted, only left.
pub(super) fn read(read: &FileRead, values: &mut RefValues) {
    let (give, take) = channel();
    let owned = read.clone();
    thread::spawn(move || {
        // Nobody waits any more after the limit.
        let _ = give.send(content(&owned));
    });
    let outcome = match take.recv_timeout(read.timeout()) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => Err(read.read_fault(ReadFault::Late {
            limit: read.timeout(),
        })),
        Err(RecvTimeoutError::Disconnected) => Err(RefFault::NotRead),
    };
    match &outcome {
        Ok(bytes) => read.settle(Ok(bytes), values),
        Err(fault) => read.settle(Err(fault.clone()), values),
    }
}

fn content(read: &FileRead) -> Result<Zeroizing<Vec<u8>>, RefFault> {
    let fail = |error: io::Error| read.path_fault(facts::fault(&error));
    let real = facts::resolve_above(read.path()).map_err(fail)?;
    let mut file = open(&real).map_err(|fault| read.path_fault(fault))?;
    // What was opened is judged, not what has the name by now.
    let metadata = file.metadata().map_err(fail)?;
    read.judge(&facts::standing(&metadata, &real).map_err(fail)?)?;
    let limit = read.max_bytes() + 1;
    // Room for everything from the start: a vector that grows leaves copies behind.
    let room = usize::try_from(metadata.len().min(limit)).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    (&mut file)
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    Ok(bytes)
}

/// Opens without following a link at the end, and without waiting for the other end of a pipe.
fn open(path: &Path) -> Result<File, PathFault> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => Ok(File::from(file)),
        Err(rustix::io::Errno::LOOP) => Err(PathFault::Link),
        // A socket, or a pipe that nobody reads.
        Err(rustix::io::Errno::NXIO) => Err(PathFault::NotAFile),
        Err(error) => Err(facts::fault(&error.into())),
    }
}
