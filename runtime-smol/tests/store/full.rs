//! A real disk that is full, where the system lets a test have one.

use std::process::Command;

use super::*;

#[test]
fn a_full_disk_is_an_error_that_passes() {
    let folder = tempfile::tempdir().unwrap();
    // In a user and mount namespace of its own, anyone may mount a disk in memory.
    let mount = r#"mount -t tmpfs -o size=1500k,mode=700 tmpfs "$1" && shift && exec "$@""#;
    let inside = |program: &Command| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", mount, "sh"]);
        command
            .arg(folder.path())
            .arg(program.get_program())
            .args(program.get_args());
        for (name, value) in program.get_envs() {
            command.env(name, value.unwrap());
        }
        command.output()
    };
    let allowed = inside(&Command::new("true")).is_ok_and(|tried| tried.status.success());
    if !allowed {
        // The same with a quota is in `disk`.
        return;
    }
    let output = inside(&child::command("fill", folder.path())).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("\nfilled"),
        "{said}\n{errors}"
    );
}
