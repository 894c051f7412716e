//! Locks that no two processes of one user hold at the same time, whatever their profiles: for what
//! only one gateway of this machine may use, such as a bot's token.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    process,
    sync::{Mutex, PoisonError},
};

use serde_json::{Value, json};

/// Bytes that the name of a lock may have.
const MAX_NAME: usize = 128;

/// Bytes of a lock file that are read.
const MAX_HOLDER: u64 = 16 * 1024;

/// The folder of the locks, and those that this process holds. The system lets go of them when the
/// process ends, however it ends.
#[derive(Debug)]
pub struct Locks {
    folder: PathBuf,
    /// Who this process is, as it writes that into the files.
    holder: Value,
    held: Mutex<BTreeMap<String, File>>,
}

impl Locks {
    /// Locks in this folder, which is made when it is needed and must belong to this user alone.
    /// The state folder tells whoever wants the same lock which gateway has it.
    pub fn new(folder: PathBuf, state: &Path) -> Self {
        Self {
            folder,
            holder: json!({
                "pid": process::id(),
                "state": state.to_string_lossy(),
                "started": crate::now().wall.to_rfc3339(),
            }),
            held: Mutex::default(),
        }
    }

    /// Takes a lock, if nobody has it. One that this process has already is simply its own.
    ///
    /// # Errors
    /// Who has it, or why it cannot be had, in words for the operator.
    pub(crate) fn hold(&self, name: &str) -> Result<(), String> {
        if !is_file_name(name) {
            return Err("this is no name for a lock".into());
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains_key(name) {
            return Ok(());
        }
        let folder = self.folder.display();
        private_folder(&self.folder)
            .map_err(|error| format!("the locks' folder {folder}: {error}"))?;
        let path = self.folder.join(format!("{name}.lock"));
        let file = self
            .take(&path)
            .map_err(|error| format!("the lock {}: {error}", path.display()))?;
        held.insert(name.into(), file);
        Ok(())
    }

    /// Lets go of a lock. The file stays: whoever removed it could remove that of another holder.
    pub(crate) fn release(&self, name: &str) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.remove(name);
    }

    fn take(&self, path: &Path) -> Result<File, String> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(|error| error.to_string())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held_by(&mut file)),
            Err(TryLockError::Error(error)) => return Err(error.to_string()),
        }
        // Only a help for people: the lock itself is the system's.
        let described = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| serde_json::to_writer(&file, &self.holder).map_err(io::Error::from))
            .and_then(|()| file.flush());
        described.map_err(|error| error.to_string())?;
        Ok(file)
    }
}

/// Says who has a lock. The holder may be just writing that down.
fn held_by(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(MAX_HOLDER).read_to_string(&mut text);
    let holder: Value = match read.map(|_| serde_json::from_str(&text)) {
        Ok(Ok(holder)) => holder,
        Ok(Err(_)) | Err(_) => Value::Null,
    };
    let field = |name| holder.get(name).and_then(Value::as_str);
    let pid = holder.get("pid").and_then(Value::as_u64);
    match (pid, field("state"), field("started")) {
        (Some(pid), Some(state), Some(started)) => format!(
            "held by another gateway of this machine (process {pid}, state {state}, since {started})"
        ),
        _ => "held by another gateway of this machine".into(),
    }
}

fn is_file_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(is_plain)
}

/// Makes the folder for its owner only. One that somebody else made, or can write to, is refused: they
/// could take the files away from under the locks.
fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    // A link is not followed: whoever made it may point it elsewhere at any time.
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        return Err(io::Error::other("it is not a folder"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other(
                "it belongs to another user; remove it, or set XDG_RUNTIME_DIR to a folder of your own",
            ));
        }
        if found.mode() & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locks(folder: &Path) -> Locks {
        Locks::new(folder.join("clawgate"), Path::new("/home/mona/state"))
    }

    #[test]
    fn a_second_holder_hears_who_the_first_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (locks(folder.path()), locks(folder.path()));
        first.hold("telegram-1").unwrap();
        first.hold("telegram-1").unwrap();
        let why = second.hold("telegram-1").unwrap_err();
        let holder = format!(
            "(process {}, state /home/mona/state, since 2",
            process::id()
        );
        let known = "telegram-1.lock: held by another gateway of this machine ";
        assert!(why.contains(&format!("{known}{holder}")), "{why}");
        second.hold("telegram-2").unwrap();
        first.release("telegram-1");
        second.hold("telegram-1").unwrap();
        drop(second);
        first.hold("telegram-1").unwrap();
    }

    #[test]
    fn names_stay_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let locks = locks(folder.path());
        for name in ["", "../escape", "a/b", ".hidden", "a b", &"x".repeat(129)] {
            assert!(locks.hold(name).is_err(), "{name}");
        }
        locks.release("../escape");
        assert!(!folder.path().join("clawgate").exists());
    }

    #[cfg(unix)]
    #[test]
    fn the_files_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("clawgate");
        fs::create_dir(&own).unwrap();
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
        locks(folder.path()).hold("a").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&own), 0o700);
        assert_eq!(mode(&own.join("a.lock")), 0o600);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_no_folder_for_locks() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, folder.path().join("clawgate")).unwrap();
        let why = locks(folder.path()).hold("a").unwrap_err();
        assert!(why.ends_with("it is not a folder"), "{why}");
    }
}
