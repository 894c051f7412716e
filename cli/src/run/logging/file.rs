//! The log file: put aside when it is full, so that it never takes more than twice its limit.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Bytes after which the file is put aside, where the config says nothing; one older file is kept.
pub(super) const MAX_FILE: u64 = 8 * 1024 * 1024;

/// The file, replaced when it is full.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    max: u64,
}

impl LogFile {
    pub(super) fn open(path: &Path, max: u64) -> io::Result<Self> {
        let file = append(path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            max,
        })
    }

    /// Writes a whole line.
    pub(super) fn write(&mut self, line: &str) -> io::Result<()> {
        let bytes = line.len() as u64;
        if self.size + bytes > self.max && self.size > 0 {
            self.put_aside()?;
        }
        self.file.write_all(line.as_bytes())?;
        self.size += bytes;
        Ok(())
    }

    /// Where the file cannot be renamed it is emptied: a log that stops at its limit tells nothing, and
    /// one that goes on without a limit fills the disk.
    fn put_aside(&mut self) -> io::Result<()> {
        match fs::rename(&self.path, self.path.with_extension("log.1")) {
            Ok(()) => self.file = append(&self.path)?,
            // Somebody else took it away: a new one is begun.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.file = append(&self.path)?;
            }
            Err(_) => self.file.set_len(0)?,
        }
        self.size = 0;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_put_aside_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.log");
        let mut log = LogFile::open(&path, MAX_FILE).unwrap();
        let chunk = "x".repeat(1024 * 1024);
        for _ in 0..20 {
            log.write(&chunk).unwrap();
        }
        let size = |name: &str| fs::metadata(folder.path().join(name)).unwrap().len();
        assert!(size("gateway.log") <= MAX_FILE && size("gateway.log.1") <= MAX_FILE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_that_cannot_be_renamed_is_emptied_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.log");
        // A folder that is not empty stands in the way.
        fs::create_dir_all(folder.path().join("gateway.log.1/full")).unwrap();
        let mut log = LogFile::open(&path, 10).unwrap();
        for line in ["12345678\n", "abcdefgh\n"] {
            log.write(line).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "abcdefgh\n");
    }
}
