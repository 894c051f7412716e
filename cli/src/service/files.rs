//! The files of services: written whole or not at all, and only when they change.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clawgate_core::secret::Secret;

use super::failure::ServiceError;
use crate::private_file;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Everybody (0644).
    Everybody,
    /// The owner (0600): it may hold secrets.
    Owner,
}

/// A file that makes a service.
#[derive(Clone, Debug)]
pub(crate) struct ServiceFile {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Its text.
    pub(crate) text: Secret,
    /// Who may read it.
    pub(crate) audience: Audience,
}

/// How what lies on disk stands to what would be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDisk {
    /// Nothing lies there.
    Missing,
    /// The same text.
    Same,
    /// Another text.
    Different,
}

impl ServiceFile {
    /// A file that everybody may read.
    pub(crate) fn open(path: PathBuf, text: String) -> Self {
        Self {
            path,
            text: Secret::new(text),
            audience: Audience::Everybody,
        }
    }

    /// A file for the owner's eyes only.
    pub(crate) fn private(path: PathBuf, text: Secret) -> Self {
        Self {
            path,
            text,
            audience: Audience::Owner,
        }
    }

    /// Compares it with what lies on disk.
    ///
    /// # Errors
    /// [`ServiceError::File`] when that cannot be read.
    pub(crate) fn on_disk(&self) -> Result<OnDisk, ServiceError> {
        match fs::read(&self.path) {
            Ok(bytes) if bytes == self.text.expose().as_bytes() => Ok(OnDisk::Same),
            Ok(_) => Ok(OnDisk::Different),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(OnDisk::Missing),
            Err(error) => Err(ServiceError::file("read", &self.path)(error)),
        }
    }

    /// Writes it, making its folder where there is none. Gives whether anything changed.
    ///
    /// # Errors
    /// [`ServiceError::File`].
    pub(crate) fn write(&self) -> Result<bool, ServiceError> {
        if self.on_disk()? == OnDisk::Same {
            set_mode(&self.path, self.audience)?;
            return Ok(false);
        }
        if let Some(folder) = self.path.parent() {
            private_file::make_folder(folder)
                .map_err(ServiceError::file("make the folder", folder))?;
        }
        private_file::write(&self.path, self.text.expose().as_bytes())
            .map_err(ServiceError::file("write", &self.path))?;
        set_mode(&self.path, self.audience)?;
        Ok(true)
    }
}

/// Removes a file. Gives whether it was there.
pub(super) fn remove(path: &Path) -> Result<bool, ServiceError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(ServiceError::file("remove", path)(error)),
    }
}

#[cfg(unix)]
fn set_mode(path: &Path, audience: Audience) -> Result<(), ServiceError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = match audience {
        Audience::Everybody => 0o644,
        Audience::Owner => 0o600,
    };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(ServiceError::file("change the mode of", path))
}

#[cfg(not(unix))]
fn set_mode(_path: &Path, _audience: Audience) -> Result<(), ServiceError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_once_and_with_their_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/x.service");
        let open = ServiceFile::open(path.clone(), "text\n".into());
        assert_eq!(open.on_disk().unwrap(), OnDisk::Missing);
        assert!(open.write().unwrap());
        assert!(!open.write().unwrap());
        let private = ServiceFile::private(path.clone(), Secret::new("other\n"));
        assert_eq!(private.on_disk().unwrap(), OnDisk::Different);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(), 0o644);
            assert!(private.write().unwrap());
            assert_eq!(mode(), 0o600);
        }
        assert!(remove(&path).unwrap());
        assert!(!remove(&path).unwrap());
    }
}
