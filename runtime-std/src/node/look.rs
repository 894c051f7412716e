//! Where programs and folders are.

use std::{
    env, fs,
    path::{Component, Path, PathBuf},
};

use clawgate_core::node::{Found, Look, Looked};

use super::approvals;

pub(super) fn look(wanted: &Look, file: &Path) -> Looked {
    let folder = folder(wanted.folder.as_deref());
    let base = folder.as_deref().ok().map(Path::new);
    Looked {
        programs: wanted
            .programs
            .iter()
            .map(|program| find(program, base))
            .collect(),
        folder,
        approvals: approvals::read_approvals(file),
    }
}

/// Finds a program by its name, as the shell of this process would, or by its path.
///
/// ```
/// assert!(clawgate_std::find_program("sh").is_some());
/// assert!(clawgate_std::find_program("no-such-program").is_none());
/// ```
pub fn find_program(name: &str) -> Option<PathBuf> {
    let here = env::current_dir().ok();
    find(name, here.as_deref()).map(|found| PathBuf::from(found.path))
}

fn folder(wanted: Option<&str>) -> Result<String, String> {
    let path = match wanted {
        Some(folder) => PathBuf::from(folder),
        None => env::current_dir().map_err(|error| error.to_string())?,
    };
    let shown = path.display().to_string();
    let real = fs::canonicalize(&path)
        .map_err(|error| format!("working directory cannot be used: {shown}: {error}"))?;
    if !real.is_dir() {
        return Err(format!("working directory is not a directory: {shown}"));
    }
    real.into_os_string()
        .into_string()
        .map_err(|_| format!("working directory has no text for a name: {shown}"))
}

fn find(name: &str, base: Option<&Path>) -> Option<Found> {
    if name.is_empty() || name.contains('\0') {
        return None;
    }
    if name.contains('/') {
        let path = Path::new(name);
        let whole = if path.is_absolute() {
            path.to_owned()
        } else {
            base?.join(path)
        };
        return found(&whole);
    }
    let path = env::var_os("PATH")?;
    // A relative entry would find another program in every folder.
    env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .find_map(|folder| found(&folder.join(name)))
}

fn found(path: &Path) -> Option<Found> {
    let real = fs::canonicalize(path).ok()?;
    let metadata = fs::metadata(&real).ok()?;
    if !metadata.is_file() || !may_run(&metadata) {
        return None;
    }
    let real = real.into_os_string().into_string().ok()?;
    // `a/..` may not be what it seems where `a` is a link: then only the real path counts.
    let plain = path.components().all(|part| {
        matches!(
            part,
            Component::RootDir | Component::Prefix(_) | Component::Normal(_)
        )
    });
    let text: PathBuf = path.components().collect();
    let path = match text.into_os_string().into_string() {
        Ok(text) if plain => text,
        Ok(_) | Err(_) => real.clone(),
    };
    Some(Found { path, real })
}

#[cfg(unix)]
fn may_run(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0
}

#[cfg(not(unix))]
const fn may_run(_: &fs::Metadata) -> bool {
    true
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn paths_are_told_as_they_were_found_and_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        let program = base.join("program");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        assert_eq!(find("./program", Some(&base)), None, "not to be run");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        symlink(&program, base.join("link")).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let here = find("./program", Some(&base)).unwrap();
        assert_eq!((&here.path, &here.real), (&text(&program), &text(&program)));
        let link = find("link/", Some(&base));
        assert_eq!(link, None, "a program is no folder");
        let link = find(&text(&base.join("link")), None).unwrap();
        assert_eq!(
            (link.path, link.real),
            (text(&base.join("link")), text(&program))
        );
        let around = format!(
            "{}/../{}/link",
            text(&base),
            base.file_name().unwrap().display()
        );
        let around = find(&around, None).unwrap();
        assert_eq!(around.path, text(&program), "only the real path counts");
        assert_eq!(find(&text(&base), None), None);
        assert_eq!(find("a\0b", Some(&base)), None);
    }

    #[test]
    fn a_folder_has_to_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(super::folder(file.to_str()).is_err());
        assert!(super::folder(folder.path().join("no").to_str()).is_err());
        assert!(super::folder(folder.path().to_str()).is_ok());
        assert!(super::folder(None).is_ok());
    }
}
