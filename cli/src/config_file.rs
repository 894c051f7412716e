//! Writing the config file. What may change, and how the text changes, is the core's; this locks,
//! reads, keeps what was there, and writes whole files.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use clawgate_core::config::{Change, ConfigFile, EditError, Edited, EnvVars, edit, hash_of};
use serde_json::json;

use crate::context::{Context, read_config};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file::{self, Staged};

/// Older states that are kept beside the file: `.bak`, then `.bak.1` and so on.
const BACKUPS: usize = 5;

/// The config file, locked against other commands that write it.
#[derive(Debug)]
pub(crate) struct ConfigEditor {
    /// The file itself, where the configured path is a symbolic link.
    real: PathBuf,
    env: EnvVars,
    before: ConfigFile,
    _lock: File,
}

/// What was written.
#[derive(Debug)]
pub(crate) struct Written {
    /// The file.
    pub(crate) path: PathBuf,
    /// What was there before, if anything was.
    pub(crate) backup: Option<PathBuf>,
}

impl ConfigEditor {
    /// Locks the file and reads it.
    ///
    /// # Errors
    /// When it cannot be locked, or what is there is no config.
    pub(crate) fn open(context: &Context) -> Result<Self, Failure> {
        let named = &context.locations()?.config;
        let (real, lock) = lock(named)?;
        let before = read_config(&real, &context.env).map_err(|problem| problem.failure())?;
        Ok(Self {
            real,
            env: context.env.clone(),
            before,
            _lock: lock,
        })
    }

    /// What is there.
    pub(crate) const fn before(&self) -> &ConfigFile {
        &self.before
    }

    /// The file as it would be with these changes.
    ///
    /// # Errors
    /// When they cannot be made.
    pub(crate) fn edit(&self, changes: &[Change]) -> Result<Edited, Failure> {
        edit(&self.before, changes, &self.env).map_err(|error| refused(&error, &self.real))
    }

    /// Puts this text in the place of the file, and keeps what was there.
    ///
    /// # Errors
    /// When it is not the file that was read any more, or the disk does not take it. Then everything is
    /// as it was.
    pub(crate) fn write(self, text: &str) -> Result<Written, Failure> {
        let before = self.before.exists.then_some(self.before.hash.as_str());
        write(&self.real, before, text)
    }
}

/// Puts a text in the place of a config file that cannot be read as one, and keeps what was there.
///
/// # Errors
/// As [`ConfigEditor::write`].
pub(crate) fn replace(named: &Path, text: &str) -> Result<Written, Failure> {
    let (real, _lock) = lock(named)?;
    let before = read_bytes(&real).map_err(|error| cannot("read", &real, &error))?;
    let before = before.map(|bytes| hash_of(&String::from_utf8_lossy(&bytes)));
    write(&real, before.as_deref(), text)
}

fn lock(named: &Path) -> Result<(PathBuf, File), Failure> {
    let real = follow(named).map_err(|error| cannot("find", named, &error))?;
    let mut name = real.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    let lock = private_file::lock(&real.with_file_name(name))
        .map_err(|error| cannot("lock", &real, &error))?;
    private_file::sweep(&real);
    Ok((real, lock))
}

/// The file behind a chain of symbolic links, whether it exists or not.
fn follow(named: &Path) -> io::Result<PathBuf> {
    const LONGEST: usize = 40;
    let mut path = named.to_owned();
    for _ in 0..LONGEST {
        match fs::read_link(&path) {
            Ok(target) => {
                path = match path.parent() {
                    Some(folder) => folder.join(target),
                    None => target,
                };
            }
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

fn write(path: &Path, before: Option<&str>, text: &str) -> Result<Written, Failure> {
    if text.trim().is_empty() {
        return Err(refused(&EditError::Emptied, path));
    }
    let fail = |error: &io::Error| cannot("write", path, error);
    let new = Staged::write(path, text.as_bytes()).map_err(|error| fail(&error))?;
    let now = read_bytes(path).map_err(|error| fail(&error))?;
    let hash = now
        .as_ref()
        .map(|bytes| hash_of(&String::from_utf8_lossy(bytes)));
    if hash.as_deref() != before {
        return Err(Failure::new(
            Exit::Failed,
            "config_changed_meanwhile",
            format!("{} was changed by somebody else meanwhile.", path.display()),
            "Nothing was written. Run the command again.",
        )
        .fact("file", json!(path.to_string_lossy())));
    }
    let backup = match now {
        None => None,
        Some(bytes) => {
            let metadata = fs::metadata(path).map_err(|error| fail(&error))?;
            keep_owner(&new, &metadata).map_err(|error| fail(&error))?;
            let backup = numbered(path, 0);
            let kept = Staged::write(&backup, &bytes).map_err(|error| fail(&error))?;
            keep_owner(&kept, &metadata).map_err(|error| fail(&error))?;
            for older in (1..BACKUPS).rev() {
                // One that is not there is not kept.
                let _ = fs::rename(numbered(path, older - 1), numbered(path, older));
            }
            kept.put().map_err(|error| fail(&error))?;
            Some(backup)
        }
    };
    new.put().map_err(|error| fail(&error))?;
    Ok(Written {
        path: path.to_owned(),
        backup,
    })
}

/// Every older state that may be kept beside a config file. They hold its secrets.
pub(crate) fn backups(path: &Path) -> impl Iterator<Item = PathBuf> {
    (0..BACKUPS).map(move |number| numbered(path, number))
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    match number {
        0 => name.push(".bak"),
        number => name.push(format!(".bak.{number}")),
    }
    path.with_file_name(name)
}

fn read_bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file that root changes for somebody else stays theirs.
#[cfg(unix)]
fn keep_owner(new: &Staged, before: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    if new.file().metadata()?.uid() == before.uid() {
        return Ok(());
    }
    fchown(new.file(), Some(before.uid()), Some(before.gid()))
}

#[cfg(not(unix))]
fn keep_owner(_: &Staged, _: &Metadata) -> io::Result<()> {
    Ok(())
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        "config_not_written",
        format!("Cannot {what} {}: {error}.", path.display()),
        "Nothing was changed. Check the disk, and the permissions of the file and its folder.",
    )
    .fact("file", json!(path.to_string_lossy()))
}

/// A change that is not made.
fn refused(error: &EditError, path: &Path) -> Failure {
    let exit = match error {
        EditError::NotSet(_) => Exit::Failed,
        EditError::NoPlace { .. }
        | EditError::NoElement { .. }
        | EditError::PatchNotObject
        | EditError::Redacted(_)
        | EditError::Emptied => Exit::Usage,
        EditError::WrittenTwice { .. }
        | EditError::Invalid(_)
        | EditError::Unreadable(_)
        | EditError::ByHand { .. } => Exit::Configuration,
    };
    let failure = Failure::new(
        exit,
        error.code(),
        format!("{}: {error}.", path.display()),
        error.next_step(),
    )
    .fact("file", json!(path.to_string_lossy()));
    let failure = match error.path() {
        Some(path) => failure.fact("path", json!(path.to_string())),
        None => failure,
    };
    match error {
        EditError::WrittenTwice { position, .. } | EditError::ByHand { position, .. } => failure
            .fact("line", json!(position.line))
            .fact("column", json!(position.column)),
        EditError::NotSet(_)
        | EditError::NoPlace { .. }
        | EditError::NoElement { .. }
        | EditError::PatchNotObject
        | EditError::Redacted(_)
        | EditError::Invalid(_)
        | EditError::Unreadable(_)
        | EditError::Emptied => failure,
    }
}

/// Whether something in a file names another one that belongs to it, which clawgate does not read.
pub(crate) fn includes(file: &ConfigFile) -> bool {
    fn within(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::Object(object) => object
                .iter()
                .any(|(key, value)| key == "$include" || within(value)),
            serde_json::Value::Array(items) => items.iter().any(within),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::String(_) => false,
        }
    }
    within(&file.parsed)
}
