//! The file of this machine's device key: 32 secret bytes, for the owner only. It is made when it is
//! first needed, and never by a look at a gateway.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clawgate_core::device::DeviceIdentity;
use serde_json::json;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;

#[derive(Clone, Debug)]
pub(super) struct KeyFile(PathBuf);

impl KeyFile {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn read(&self) -> Result<Option<Arc<DeviceIdentity>>, Failure> {
        let file = match File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failure("read", &error.to_string())),
        };
        let mut bytes = Vec::new();
        file.take(33)
            .read_to_end(&mut bytes)
            .map_err(|error| self.failure("read", &error.to_string()))?;
        let seed: [u8; 32] = bytes.try_into().map_err(|_| {
            Failure::new(
                Exit::Configuration,
                "device_key_broken",
                format!("The device key {} is not 32 bytes.", self.0.display()),
                "Restore it from a backup; or remove it, and the next command makes a new device \
                 that has to be approved.",
            )
            .fact("file", json!(self.0.to_string_lossy()))
        })?;
        Ok(Some(Arc::new(DeviceIdentity::from_seed(&seed))))
    }

    /// Under a lock, so that two first commands make one device.
    pub(super) fn read_or_make(&self) -> Result<Arc<DeviceIdentity>, Failure> {
        if let Some(identity) = self.read()? {
            return Ok(identity);
        }
        let cannot = |error: io::Error| self.failure("make", &error.to_string());
        let _lock = private_file::lock(&self.0).map_err(cannot)?;
        if let Some(identity) = self.read()? {
            return Ok(identity);
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| self.failure("make", &error.to_string()))?;
        // No name leads to a file without its bytes, and none replaces a key that is there.
        private_file::write_new(&self.0, &seed).map_err(cannot)?;
        Ok(Arc::new(DeviceIdentity::from_seed(&seed)))
    }

    fn failure(&self, what: &str, why: &str) -> Failure {
        Failure::new(
            Exit::Failed,
            "device_key_unusable",
            format!("Cannot {what} the device key {}: {why}.", self.0.display()),
            "Check the permissions of the file and of its folder.",
        )
        .fact("file", json!(self.0.to_string_lossy()))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    #[test]
    fn first_commands_at_once_make_one_device() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(folder.path().join("own/device.key"));
        assert!(file.read().unwrap().is_none());
        let ids: Vec<String> = thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| file.read_or_make().unwrap().id().as_str().to_owned()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let kept = file.read().unwrap().unwrap();
        assert_eq!(kept.id().as_str(), ids[0]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(file.path()), 0o600);
            assert_eq!(mode(&folder.path().join("own")), 0o700);
        }
    }

    #[test]
    fn a_broken_key_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(folder.path().join("device.key"));
        for bytes in [&b""[..], b"short", &[7; 33]] {
            fs::write(file.path(), bytes).unwrap();
            assert_eq!(file.read().unwrap_err().code, "device_key_broken");
            assert_eq!(file.read_or_make().unwrap_err().code, "device_key_broken");
            assert_eq!(fs::read(file.path()).unwrap(), bytes);
        }
    }
}
