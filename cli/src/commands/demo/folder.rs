//! A temporary folder for its owner only, which is removed with everything in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;

/// The folder. Dropping it removes it too, without a word.
#[derive(Debug)]
pub(super) struct Folder(Option<PathBuf>, PathBuf);

impl Folder {
    pub(super) fn make() -> Result<Self, Failure> {
        let mut bytes = [0_u8; 8];
        getrandom::fill(&mut bytes)
            .map_err(|error| failed("made", Path::new("."), &error.to_string()))?;
        let name: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = std::env::temp_dir().join(format!("clawgate-demo-{name}"));
        private_file::make_new_folder(&path)
            .map_err(|error| failed("made", &path, &error.to_string()))?;
        Ok(Self(Some(path.clone()), path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.1
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.1.join(name);
        private_file::write_new(&path, text.as_bytes())
            .map_err(|error| failed("written", &path, &error.to_string()))?;
        Ok(path)
    }

    pub(super) fn remove(mut self) -> Result<(), Failure> {
        match self.0.take() {
            None => Ok(()),
            Some(path) => {
                remove(&path).map_err(|error| failed("removed", &path, &error.to_string()))
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // This happens only on the way out of a failure, which says more.
            let _ = remove(&path);
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn failed(what: &str, path: &Path, why: &str) -> Failure {
    Failure::new(
        Exit::Failed,
        "demo_folder",
        format!("{} could not be {what}: {why}.", path.display()),
        "Check TMPDIR, and the disk that it is on.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_everything_in_it() {
        let folder = Folder::make().unwrap();
        let path = folder.path().to_owned();
        folder.write("a", "x").unwrap();
        fs::create_dir(path.join("b")).unwrap();
        folder.remove().unwrap();
        assert!(!path.exists());
        let folder = Folder::make().unwrap();
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }
}
