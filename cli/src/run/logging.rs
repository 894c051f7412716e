//! The gateway's log: lines for people on a terminal, JSON otherwise, and JSON in a file that
//! `logs.tail` reads. No frame and no secret is ever logged.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tracing::Level;
use tracing_subscriber::{
    Layer, Registry, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

/// Bytes after which the file is put aside; one older file is kept.
const MAX_FILE: u64 = 8 * 1024 * 1024;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// What an operator should know.
    Normal,
    /// What a developer wants to know.
    Verbose,
}

/// Begins to log. A second call in one process changes nothing.
pub(crate) fn start(file: &Path, verbosity: Verbosity) -> io::Result<()> {
    let level = match verbosity {
        Verbosity::Normal => Level::INFO,
        Verbosity::Verbose => Level::DEBUG,
    };
    let filter = Targets::new()
        .with_target("clawgate", level)
        .with_target("clawgate_smol", level)
        .with_default(Level::WARN);
    let terminal: Box<dyn Layer<Registry> + Send + Sync> = if io::stderr().is_terminal() {
        let colours = std::env::var_os("NO_COLOR").is_none();
        fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(colours)
            .with_target(false)
            .boxed()
    } else {
        fmt::layer().json().with_writer(io::stderr).boxed()
    };
    let file = LogFile::open(file)?;
    let file = fmt::layer().json().with_writer(move || file.clone());
    let _ = Registry::default()
        .with(terminal.and_then(file).with_filter(filter))
        .try_init();
    Ok(())
}

/// The file, replaced when it is full.
#[derive(Clone, Debug)]
struct LogFile(Arc<Mutex<Rolling>>);

#[derive(Debug)]
struct Rolling {
    path: PathBuf,
    file: File,
    size: u64,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = append(path)?;
        let size = file.metadata()?.len();
        Ok(Self(Arc::new(Mutex::new(Rolling {
            path: path.to_owned(),
            file,
            size,
        }))))
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rolling = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rolling.size + bytes.len() as u64 > MAX_FILE {
            fs::rename(&rolling.path, rolling.path.with_extension("log.1"))?;
            rolling.file = append(&rolling.path)?;
            rolling.size = 0;
        }
        rolling.file.write_all(bytes)?;
        rolling.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
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
        let mut log = LogFile::open(&path).unwrap();
        let chunk = vec![b'x'; 1024 * 1024];
        for _ in 0..20 {
            log.write_all(&chunk).unwrap();
        }
        let size = |name: &str| fs::metadata(folder.path().join(name)).unwrap().len();
        assert!(size("gateway.log") <= MAX_FILE && size("gateway.log.1") <= MAX_FILE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
