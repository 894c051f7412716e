//! Files and folders for their owner only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process;

/// How the names of files end that are not in their place yet.
const NEW: &str = ".new";

/// Options of a file for its owner only.
pub(crate) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes a folder, and those above it, where there is none.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes a folder that must not be there yet.
pub(crate) fn make_new_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Writes a file, whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    Staged::write(path, bytes)?.put()
}

/// A file that is on disk under another name, beside its place. It is gone when it is not put there.
#[derive(Debug)]
pub(crate) struct Staged {
    file: File,
    new: PathBuf,
    place: PathBuf,
}

impl Staged {
    /// Writes the file beside its place.
    pub(crate) fn write(place: &Path, bytes: &[u8]) -> io::Result<Self> {
        let mut name = place.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}{NEW}", process::id()));
        let new = place.with_file_name(name);
        let file = options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&new)?;
        let mut staged = Self {
            file,
            new,
            place: place.to_owned(),
        };
        staged.file.write_all(bytes)?;
        staged.file.sync_all()?;
        Ok(staged)
    }

    /// The file.
    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    /// Puts it in its place.
    pub(crate) fn put(self) -> io::Result<()> {
        fs::rename(&self.new, &self.place)?;
        // The new name is on disk only when its folder is.
        match self.place.parent() {
            Some(folder) if folder != Path::new("") => File::open(folder)?.sync_all(),
            Some(_) | None => File::open(".")?.sync_all(),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // In its place it has this name no more.
        let _ = fs::remove_file(&self.new);
    }
}

/// Removes what writers left beside a place, and beside its backup, that were killed. Only for who
/// holds its lock.
pub(crate) fn sweep(place: &Path) {
    let (Some(folder), Some(name)) = (place.parent(), place.file_name()) else {
        return;
    };
    let prefix = format!("{}.", name.to_string_lossy());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let number = name
            .strip_prefix(&prefix)
            .map(|rest| rest.strip_prefix("bak.").unwrap_or(rest))
            .and_then(|rest| rest.strip_suffix(NEW));
        if number.is_some_and(|number| number.parse::<u32>().is_ok()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Reads a file that holds secrets: so long at most, and only if nobody else can read it.
pub(crate) fn read_private(path: &Path, max: u64) -> io::Result<String> {
    let file = File::open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            return Err(io::Error::other(
                "other users can read it; set its mode to 0600",
            ));
        }
    }
    let mut text = String::new();
    file.take(max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max {
        return Err(io::Error::other("it is too long"));
    }
    Ok(text)
}

/// Writes a file that must not be there yet, whole or not at all.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.try_exists()? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    write(path, bytes)
}

/// Locks a file by another one beside it, making their folder where there is none. The lock is held
/// until the value is dropped.
pub(crate) fn lock(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let lock = options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.with_extension("lock"))?;
    lock.lock()?;
    Ok(lock)
}
