//! What the system says about files and users.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clawgate_core::config::ConfigFile;
use clawgate_core::config::EnvVars;
use clawgate_core::config::paths::{Locations, user_path};
use clawgate_core::policy::TlsFiles;
use clawgate_core::policy::audit::{FileFact, FileKind, FileRole, Logins};
use clawgate_core::secret::Secret;
use clawgate_core::secrets::SecretProvider;

use crate::config_file;

/// How deep the gateway's own folder is looked through.
const DEPTH: usize = 3;

/// Every file that matters and is there.
pub(super) fn files(config: &ConfigFile, places: &Locations, env: &EnvVars) -> Vec<FileFact> {
    // A file with two roles is judged by the stricter one, which is named later.
    let mut roles: BTreeMap<PathBuf, FileRole> = BTreeMap::new();
    if let Ok(files) = TlsFiles::of_config(&config.config.gateway.tls, places, env) {
        roles.insert(files.certificate, FileRole::Certificate);
        roles.extend(files.authorities.map(|path| (path, FileRole::Certificate)));
        roles.insert(files.key, FileRole::Secret);
    }
    for provider in config.config.secrets.providers.values() {
        let (path, role) = match provider {
            SecretProvider::File(file) => (&file.path, FileRole::Secret),
            SecretProvider::Exec(program) => (&program.command, FileRole::Program),
            SecretProvider::Env { .. }
            | SecretProvider::Plugin
            | SecretProvider::Store
            | SecretProvider::Unusable(_) => continue,
        };
        if let Ok(path) = user_path(env, path) {
            roles.insert(path, role);
        }
    }
    roles.insert(places.state.clone(), FileRole::PrivateFolder);
    roles.insert(places.config.clone(), FileRole::Config);
    let backups = config_file::backups(&places.config);
    roles.extend(backups.map(|path| (path, FileRole::Config)));
    own(&places.own, DEPTH, &mut roles);
    roles
        .into_iter()
        .filter_map(|(path, role)| fact(path, role))
        .collect()
}

/// Everything in the gateway's own folder is for its owner only.
fn own(folder: &Path, depth: usize, roles: &mut BTreeMap<PathBuf, FileRole>) {
    roles.insert(folder.to_owned(), FileRole::PrivateFolder);
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        // Links are not followed: what they lead to is not the gateway's own.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 1 => own(&path, depth - 1, roles),
            Ok(kind) if kind.is_file() => {
                let role = role_of(&entry.file_name().to_string_lossy());
                roles.insert(path, role);
            }
            Ok(_) | Err(_) => {}
        }
    }
}

fn role_of(name: &str) -> FileRole {
    let database = clawgate_smol::store::FILE_NAME;
    let beside = ["-wal", "-shm", "-journal"];
    let is_damaged = name
        .strip_prefix(database)
        .is_some_and(|rest| rest.starts_with(".corrupt-"));
    if is_damaged && !beside.iter().any(|end| name.ends_with(end)) {
        FileRole::Damaged
    } else if name.starts_with("gateway.log") {
        FileRole::Log
    } else {
        FileRole::Secret
    }
}

fn fact(path: PathBuf, role: FileRole) -> Option<FileFact> {
    let found = fs::metadata(&path).ok()?;
    let kind = if found.is_dir() {
        FileKind::Folder
    } else {
        FileKind::File
    };
    #[cfg(unix)]
    let (mode, owner) = {
        use std::os::unix::fs::MetadataExt;
        (Some(found.mode() & 0o7777), Some(found.uid()))
    };
    #[cfg(not(unix))]
    let (mode, owner) = (None, None);
    Some(FileFact {
        path,
        role,
        kind,
        mode,
        owner,
    })
}

/// The token that the gateway made for itself.
pub(super) fn kept_token(places: &Locations) -> Option<Secret> {
    Secret::non_blank(&fs::read_to_string(places.token_file()).ok()?)
}

/// The number of the user who runs this.
pub(super) fn user() -> Option<u32> {
    #[cfg(unix)]
    return Some(rustix::process::geteuid().as_raw());
    #[cfg(not(unix))]
    return None;
}

/// Counts the people in the list of users. Those of a directory service are not in it.
pub(super) fn logins() -> Logins {
    match fs::read_to_string("/etc/passwd") {
        Ok(text) if cfg!(target_os = "linux") => Logins::Known(people(&text, user())),
        Ok(_) | Err(_) => Logins::Unknown,
    }
}

/// Users with a number of people's, and a shell that lets them in; and whoever asks.
fn people(passwd: &str, me: Option<u32>) -> usize {
    const NO_SHELLS: [&str; 3] = ["nologin", "false", "sync"];
    passwd
        .lines()
        .filter(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [_, _, number, _, _, _, shell] = fields.as_slice() else {
                return false;
            };
            let Ok(number) = number.parse::<u32>() else {
                return false;
            };
            let person = (1_000..60_000).contains(&number)
                && !NO_SHELLS.iter().any(|name| shell.ends_with(name));
            person || me == Some(number) && number != 0
        })
        .count()
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_from_services() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n\
                      daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
                      clawd:x:998:998::/var/lib/clawd:/bin/sh\n\
                      nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n\
                      ada:x:1000:1000:Ada:/home/ada:/bin/bash\n\
                      bob:x:1001:1001:Bob:/home/bob:/usr/bin/fish\n\
                      ftp:x:1002:1002::/srv:/bin/false\n\
                      broken line\n";
        assert_eq!(people(passwd, Some(1000)), 2);
        assert_eq!(people(passwd, Some(998)), 3);
        assert_eq!(people(passwd, Some(0)), 2);
        assert_eq!(people("", Some(0)), 1);
    }

    #[test]
    fn names_tell_what_files_are_for() {
        for (name, role) in [
            ("state.sqlite", FileRole::Secret),
            ("state.sqlite-wal", FileRole::Secret),
            (
                "state.sqlite.corrupt-20260101T000000.000Z",
                FileRole::Damaged,
            ),
            (
                "state.sqlite.corrupt-20260101T000000.000Z-wal",
                FileRole::Secret,
            ),
            ("gateway.log", FileRole::Log),
            ("gateway.log.1", FileRole::Log),
            ("gateway.token", FileRole::Secret),
        ] {
            assert_eq!(role_of(name), role, "{name}");
        }
    }
}
