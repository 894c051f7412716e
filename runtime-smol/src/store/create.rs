//! How a new file comes to be: whole or not at all, and for the owner only.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::{
    failure::{OpenError, Trouble, trouble},
    migrations::{MIGRATIONS, MigrationError, migrate},
};

/// Makes an empty database under `path`, where nothing stands. It is built under another name and
/// moved when it is complete, so that a file without tables is always a broken one.
pub(super) fn create(path: &Path) -> Result<(), OpenError> {
    let folder = make_folder(path)?;
    let new = beside(path, ".new");
    // Of an attempt that was cut off: its journal would be taken for that of the next one.
    remove(&new).map_err(OpenError::file("replace", &new))?;
    let made = fill(&new).and_then(|()| {
        fs::rename(&new, path)
            .and_then(|()| sync_folder(folder))
            .map_err(OpenError::file("make", path))
    });
    if made.is_err() {
        // The next attempt does it again.
        let _ = remove(&new);
    }
    made
}

/// The path with something added to its file name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// An empty file that only its owner may read, whatever the umask says.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The folder of a file, made for the owner only where it was missing.
pub(super) fn make_folder(path: &Path) -> Result<&Path, OpenError> {
    let folder = path.parent().unwrap_or(path);
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(folder)
        .map_err(OpenError::file("make the folder", folder))?;
    Ok(folder)
}

/// A new name is on disk only when its folder is.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    File::open(folder)?.sync_all()
}

/// Removes a database that nobody uses, with everything that SQLite keeps beside it.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    for part in ["-journal", "-wal", "-shm", ""] {
        match fs::remove_file(beside(path, part)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn fill(new: &Path) -> Result<(), OpenError> {
    let file = private_file(new).map_err(OpenError::file("make", new))?;
    let built = (|| {
        let mut connection = Connection::open(new)?;
        // Nobody knows the file yet: it is flushed once, when it is complete.
        connection.pragma_update(None, "synchronous", "OFF")?;
        match migrate(&mut connection, &MIGRATIONS) {
            Ok(_) | Err(MigrationError::Newer { .. }) => {}
            Err(MigrationError::Sqlite(error)) => return Err(error),
        }
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.close().map_err(|(_, error)| error)
    })();
    built.map_err(|error| match trouble(new, &error) {
        Trouble::Open(error) => error,
        Trouble::Damaged(message) => OpenError::Sqlite {
            path: new.to_owned(),
            message,
        },
    })?;
    file.sync_all().map_err(OpenError::file("write", new))
}
