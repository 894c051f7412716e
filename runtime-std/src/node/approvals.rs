//! The file of exec approvals: for its owner only, replaced whole and under a lock.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
    process,
};

use clawgate_core::{
    node::{ApprovalsText, MAX_APPROVALS, Written},
    secret::Secret,
};

/// Reads a file of exec approvals (spec protocol §6.8). It may block.
pub fn read_approvals(path: &Path) -> ApprovalsText {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return ApprovalsText::Missing,
        Err(error) => return ApprovalsText::Unreadable(error.to_string()),
    };
    let mut text = String::new();
    match file
        .take(MAX_APPROVALS as u64 + 1)
        .read_to_string(&mut text)
    {
        Ok(_) => ApprovalsText::Text(Secret::new(text)),
        Err(error) => ApprovalsText::Unreadable(error.to_string()),
    }
}

/// Replaces a file of exec approvals, if it still is what it was. The new one is for its owner only,
/// whole and on disk. It may block.
pub fn replace_approvals(path: &Path, before: &ApprovalsText, after: &Secret) -> Written {
    let written = (|| {
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        let lock = options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.with_extension("lock"))?;
        lock.lock()?;
        if read_approvals(path) != *before {
            return Ok(Written::Changed);
        }
        write(path, after.expose().as_bytes())?;
        Ok(Written::Done)
    })();
    written.unwrap_or_else(|error: io::Error| {
        Written::Failed(format!("{} cannot be written: {error}", path.display()))
    })
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", process::id()));
    let new = path.with_file_name(name);
    let written = (|| {
        let mut file = options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    })();
    written.inspect_err(|_| {
        let _ = fs::remove_file(&new);
    })
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn make_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_once_and_only_as_it_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own/exec-approvals.json");
        let text = |text: &str| ApprovalsText::Text(Secret::new(text));
        assert_eq!(read_approvals(&path), ApprovalsText::Missing);
        let one = Secret::new("one");
        assert_eq!(
            replace_approvals(&path, &ApprovalsText::Missing, &one),
            Written::Done
        );
        assert_eq!(
            replace_approvals(&path, &ApprovalsText::Missing, &one),
            Written::Changed
        );
        assert_eq!(read_approvals(&path), text("one"));
        assert_eq!(
            replace_approvals(&path, &text("one"), &Secret::new("two")),
            Written::Done
        );
        assert_eq!(read_approvals(&path), text("two"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(&path, [0xff]).unwrap();
        assert!(matches!(
            read_approvals(&path),
            ApprovalsText::Unreadable(_)
        ));
    }
}
