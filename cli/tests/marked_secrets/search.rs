//! Where secrets are looked for.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::marks::Marks;

/// Files that must hold secrets, with the reason. Everything else must not.
const HOLDERS: [(&str, &str); 12] = [
    ("openclaw.json", "the user wrote the secret there"),
    (
        "secrets.json",
        "the user keeps secrets there for references",
    ),
    ("vault", "the user's program knows a secret"),
    ("vault.text", "the same"),
    ("token.text", "the user gives it as --token-file"),
    (
        "gateway.token",
        "the token that the gateway made for itself",
    ),
    ("device.key", "the key of this machine as a device"),
    (
        "device-tokens.json",
        "what gateways gave this machine to come in with",
    ),
    ("config.last-good.json", "the last config that worked"),
    (
        "openclaw.json.bak",
        "the config as it was before it was restored",
    ),
    (
        "contexts.json",
        "the user keeps tokens of other gateways there",
    ),
    ("gateway-key.pem", "the key of the gateway's certificate"),
];

/// Looks through all files below a folder, and tells how many there were.
pub fn files(folder: &Path, marks: &Marks) -> usize {
    let mut open: Vec<PathBuf> = vec![folder.to_owned()];
    let mut seen = 0;
    while let Some(path) = open.pop() {
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            open.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if kind.is_file() && !HOLDERS.iter().any(|(holder, _)| *holder == name) {
            marks.assert_absent(&path.to_string_lossy(), &fs::read(&path).unwrap());
            marks.assert_absent("the name of a file", path.to_string_lossy().as_bytes());
            seen += 1;
        }
    }
    seen
}

/// What other users can see of a process, and what its children are given.
pub fn process(pid: u32, marks: &Marks) {
    for part in ["cmdline", "environ"] {
        // Only Linux shows it so.
        if let Ok(bytes) = fs::read(format!("/proc/{pid}/{part}")) {
            marks.assert_absent(&format!("{part} of the gateway"), &bytes);
        }
    }
}
