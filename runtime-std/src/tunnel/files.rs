//! The files of one tunnel: its record, the holder's lock and the users' lock.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, Instant},
};

use clawgate_core::tunnel::{KILL_AFTER, MAX_RECORD, TunnelRecord, TunnelSpec};

use super::process::{Ask, ask_to_end};

/// How long somebody who looks at a lock may hold it by that.
const LOOKED_AT: Duration = Duration::from_millis(300);

/// The files of one tunnel.
#[derive(Clone, Debug)]
pub struct TunnelFiles {
    folder: PathBuf,
    key: String,
}

/// Whether somebody holds a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A process that lives.
    Yes,
    /// Nobody.
    No,
}

impl TunnelFiles {
    /// The files of a tunnel, which need not be there.
    pub fn of(folder: &Path, spec: &TunnelSpec) -> Self {
        Self {
            folder: folder.to_owned(),
            key: spec.key().as_str().to_owned(),
        }
    }

    /// All tunnels of a folder that have a record.
    pub fn all(folder: &Path) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(folder) else {
            return Vec::new();
        };
        let mut found: Vec<Self> = entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                Some(Self {
                    folder: folder.to_owned(),
                    key: name.strip_suffix(".json")?.to_owned(),
                })
            })
            .collect();
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found
    }

    /// The name of the tunnel.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The record, if there is one that can be read.
    pub fn record(&self) -> Option<TunnelRecord> {
        let mut text = String::new();
        File::open(self.path("json"))
            .ok()?
            .take(MAX_RECORD as u64)
            .read_to_string(&mut text)
            .ok()?;
        TunnelRecord::parse(&text).ok()
    }

    /// Whether somebody holds it now, whatever the record says.
    pub fn held(&self) -> Held {
        let Ok(lock) = File::open(self.path("lock")) else {
            return Held::No;
        };
        match lock.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Held::Yes,
            Ok(()) | Err(TryLockError::Error(_)) => Held::No,
        }
    }

    /// Whether somebody uses it now.
    pub fn is_used(&self) -> bool {
        let Ok(users) = File::open(self.path("users")) else {
            return false;
        };
        matches!(users.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// Ends its holder and waits until it is gone. Only the very process of the record is asked, and only
    /// while the lock is held. Tells whether there was one.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn close(&self, at_most: Duration) -> io::Result<Held> {
        let end = Instant::now() + at_most;
        let mut found = Held::No;
        while self.held() == Held::Yes {
            if found == Held::No
                && let Some(record) = self.record()
            {
                match ask_to_end(&record.keeper, Ask::Politely) {
                    Ok(()) => found = Held::Yes,
                    // It is ending, or the record is of one that has ended: look again.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            if Instant::now() >= end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(found)
    }

    /// Takes a share of the users' lock, which lasts as long as the file is open. `None` while the holder
    /// is ending.
    pub(super) fn join_users(&self) -> io::Result<Option<File>> {
        let file = self.open("users")?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The users' lock for the holder alone, if nobody uses the tunnel.
    pub(super) fn without_users(&self) -> Option<File> {
        let file = self.open("users").ok()?;
        file.try_lock().ok().map(|()| file)
    }

    /// Takes the holder's lock. `None` when somebody has it.
    pub(super) fn hold(&self) -> io::Result<Option<File>> {
        let file = self.open("lock")?;
        let end = Instant::now() + LOOKED_AT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) if Instant::now() >= end => return Ok(None),
                // Somebody may only be looking.
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(10)),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// Writes the record, whole or not at all.
    pub(super) fn write(&self, record: &TunnelRecord) -> io::Result<()> {
        let new = self.path(&format!("{}.new", process::id()));
        let written = (|| {
            let mut file = private()
                .write(true)
                .create(true)
                .truncate(true)
                .open(&new)?;
            file.write_all(record.to_text().as_bytes())?;
            fs::rename(&new, self.path("json"))
        })();
        written.inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })
    }

    /// Takes the record away.
    pub(super) fn remove_record(&self) {
        // It tells nothing any more; where it stays, the lock says so.
        let _ = fs::remove_file(self.path("json"));
    }

    /// Ends an `ssh` that an earlier holder has left, if it is proven to be that one: its number, its
    /// start, and what it forwards.
    pub(super) fn reap(&self) {
        let Some(record) = self.record() else {
            return;
        };
        let (Some(ssh), Some(port)) = (&record.ssh, record.local_port) else {
            return;
        };
        let forward = record.spec.forward(port);
        let is_it =
            super::process::command_line(ssh.pid).is_some_and(|line| line.contains(&forward));
        if !is_it || ask_to_end(ssh, Ask::Politely).is_err() {
            return;
        }
        let end = Instant::now() + KILL_AFTER;
        while super::is_running(ssh) {
            if Instant::now() >= end {
                let _ = ask_to_end(ssh, Ask::Firmly);
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn open(&self, end: &str) -> io::Result<File> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.folder)?;
        private()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.path(end))
    }

    fn path(&self, end: &str) -> PathBuf {
        self.folder.join(format!("{}.{end}", self.key))
    }
}

/// Options of a file for its owner only.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use clawgate_core::policy::SshTarget;

    use super::*;

    #[test]
    fn locks_tell_who_holds_and_who_uses() {
        let folder = tempfile::tempdir().unwrap();
        let spec = TunnelSpec::new(SshTarget::parse("studio").unwrap(), 18789);
        let files = TunnelFiles::of(&folder.path().join("tunnels"), &spec);
        assert_eq!(files.held(), Held::No);
        assert!(!files.is_used());
        let holder = files.hold().unwrap().unwrap();
        assert_eq!(files.held(), Held::Yes);
        assert!(files.hold().unwrap().is_none());
        let users = [
            files.join_users().unwrap().unwrap(),
            files.join_users().unwrap().unwrap(),
        ];
        assert!(files.is_used() && files.without_users().is_none());
        drop(users);
        let ending = files.without_users().unwrap();
        assert!(files.join_users().unwrap().is_none());
        drop((ending, holder));
        assert_eq!(files.held(), Held::No);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&files.path("lock")), 0o600);
            assert_eq!(mode(&files.folder), 0o700);
        }
    }
}
