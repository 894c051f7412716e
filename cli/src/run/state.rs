//! The gateway's own files: its token, its key, its lock. All in one folder, for the owner only.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    process,
};

use clawgate_core::{device::DeviceIdentity, secret::Secret};
use serde::{Deserialize, Serialize};

use super::error::RunError;
use crate::private_file;

/// The lock's name.
pub(super) const LOCK: &str = "gateway.lock";

/// The folder, created for the owner only.
#[derive(Debug)]
pub(crate) struct StateFolder(PathBuf);

/// Held for as long as the gateway runs. The system lets go of it when the process ends, however it
/// ends.
#[derive(Debug)]
pub(crate) struct GatewayLock(File);

/// Who holds the lock.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// The process.
    pub(crate) pid: u32,
    /// Where it listens, as URLs.
    #[serde(default)]
    pub(crate) addresses: Vec<String>,
}

/// The gateway that runs on this state, if one does. The lock itself is not tried: that would be in
/// the way of a gateway that starts at this moment.
pub(crate) fn running_gateway(own: &Path) -> Option<Holder> {
    let text = fs::read_to_string(own.join(LOCK)).ok()?;
    let holder: Holder = serde_json::from_str(&text).ok()?;
    let processes = Path::new("/proc/self");
    let gone = processes.exists() && !Path::new("/proc").join(holder.pid.to_string()).exists();
    (!gone).then_some(holder)
}

impl StateFolder {
    /// Opens the folder, making it where there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, RunError> {
        private_file::make_folder(path).map_err(RunError::file("make the folder", path))?;
        Ok(Self(path.to_owned()))
    }

    /// A file in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes sure that no other gateway runs on this state.
    pub(crate) fn lock(&self) -> Result<GatewayLock, RunError> {
        let path = self.file(LOCK);
        let fail = RunError::file("open the lock", &path);
        let mut options = private_file::options();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fail)?;
        match file.try_lock() {
            Ok(()) => Ok(GatewayLock(file)),
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The holder may be just writing it: then its number is unknown.
                let _ = file.read_to_string(&mut text);
                let holder: Holder = serde_json::from_str(&text).unwrap_or_default();
                Err(RunError::AlreadyRunning {
                    pid: holder.pid,
                    addresses: holder.addresses,
                    lock: path,
                })
            }
            Err(TryLockError::Error(error)) => Err(RunError::file("lock", &path)(error)),
        }
    }

    /// The token of an earlier start.
    pub(crate) fn kept_token(&self, path: &Path) -> Result<Option<Secret>, RunError> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Secret::non_blank(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RunError::file("read the token", path)(error)),
        }
    }

    /// The gateway's key, made at the first start.
    pub(crate) fn identity(&self) -> Result<DeviceIdentity, RunError> {
        let path = self.file("identity.key");
        match fs::read(&path) {
            Ok(bytes) => match bytes.try_into() {
                Ok(seed) => Ok(DeviceIdentity::from_seed(&seed)),
                Err(_) => Err(RunError::BrokenKey { path }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let seed = super::random()?;
                write_private(&path, &seed)?;
                Ok(DeviceIdentity::from_seed(&seed))
            }
            Err(error) => Err(RunError::file("read the key", &path)(error)),
        }
    }
}

impl GatewayLock {
    /// Writes down who holds it, for the message of whoever comes next.
    pub(crate) fn describe(&mut self, addresses: Vec<String>) -> io::Result<()> {
        let holder = Holder {
            pid: process::id(),
            addresses,
        };
        self.0.set_len(0)?;
        self.0.rewind()?;
        serde_json::to_writer(&self.0, &holder)?;
        self.0.flush()
    }
}

/// Writes a file for the owner only, whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    private_file::write(path, bytes).map_err(RunError::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_names_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(&folder.path().join("own")).unwrap();
        let mut lock = state.lock().unwrap();
        lock.describe(vec!["ws://127.0.0.1:1".into()]).unwrap();
        let Err(RunError::AlreadyRunning { pid, addresses, .. }) = state.lock() else {
            panic!("locked twice");
        };
        assert_eq!(
            (pid, addresses),
            (process::id(), vec!["ws://127.0.0.1:1".to_owned()])
        );
        let running = running_gateway(&folder.path().join("own")).unwrap();
        assert_eq!(running.addresses, ["ws://127.0.0.1:1"]);
        drop(lock);
        assert!(state.lock().is_ok());
    }

    #[test]
    fn the_key_is_made_once_and_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(&folder.path().join("own")).unwrap();
        let first = state.identity().unwrap();
        assert_eq!(state.identity().unwrap().id(), first.id());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(state.file("identity.key"))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(state.file("identity.key"), b"short").unwrap();
        assert!(matches!(state.identity(), Err(RunError::BrokenKey { .. })));
    }
}
