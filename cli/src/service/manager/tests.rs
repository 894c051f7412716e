#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::super::description::{Socket, sample};
use super::super::state::Activity;
use super::*;

/// A home with a manager's program that writes down what it is asked, and answers from files.
struct Home {
    folder: TempDir,
    manager: Manager,
}

impl Home {
    fn new(kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("manager");
        let script = "#!/bin/sh\n\
             cd \"$(dirname \"$0\")\"\n\
             echo \"$*\" >> asked\n\
             [ -f fail ] && { cat fail >&2; exit 1; }\n\
             case \"$*\" in *show*|*print*) [ -f answer ] || exit 113; cat answer;; esac\n\
             exit 0\n";
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let home = folder.path().to_string_lossy().into_owned();
        let env = [
            ("HOME", home),
            (PROGRAM_ENV, program.to_string_lossy().into_owned()),
        ];
        let manager = Manager::of_kind(kind, &env.into_iter().collect()).unwrap();
        Self { folder, manager }
    }

    fn answer(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// What was asked since the last time.
    fn asked(&self) -> Vec<String> {
        let path = self.folder.path().join("asked");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        text.lines().map(str::to_owned).collect()
    }
}

fn with_sockets() -> Service {
    Service {
        sockets: vec![Socket {
            address: "127.0.0.1:18789".parse().unwrap(),
        }],
        ..sample()
    }
}

#[test]
fn systemd_is_asked_in_the_right_order() {
    let home = Home::new(Kind::Systemd);
    let (service, manager) = (with_sockets(), &home.manager);
    let written = manager.install(&service).unwrap();
    assert_eq!(written.len(), 2);
    assert!(written[0].ends_with(".config/systemd/user/clawgate-gateway.service"));
    assert!(manager.install(&service).unwrap().is_empty());
    manager.load(&service.name, true).unwrap();
    manager.restart(&service.name).unwrap();
    manager.stop(&service.name).unwrap();
    manager.unload(&service.name).unwrap();
    assert_eq!(manager.remove(&service.name).unwrap(), written);
    assert_eq!(
        home.asked(),
        [
            "--user daemon-reload",
            "--user daemon-reload",
            "--user enable clawgate-gateway.service clawgate-gateway.socket",
            "--user start clawgate-gateway.socket",
            "--user restart clawgate-gateway.service",
            "--user daemon-reload",
            "--user restart clawgate-gateway.service",
            "--user stop clawgate-gateway.socket clawgate-gateway.service",
            "--user disable --now clawgate-gateway.socket clawgate-gateway.service",
            "--user daemon-reload",
        ]
    );
}

#[test]
fn sockets_that_are_wanted_no_more_are_closed() {
    let home = Home::new(Kind::Systemd);
    home.manager.install(&with_sockets()).unwrap();
    home.asked();
    home.manager.install(&sample()).unwrap();
    assert_eq!(
        home.asked(),
        [
            "--user disable --now clawgate-gateway.socket",
            "--user daemon-reload"
        ]
    );
    assert!(!home.manager.has_sockets(&sample().name));
}

#[test]
fn launchd_is_asked_for_the_users_session() {
    let home = Home::new(Kind::Launchd);
    let (service, manager) = (sample(), &home.manager);
    let written = manager.install(&service).unwrap();
    assert!(written[0].ends_with("Library/LaunchAgents/ai.clawgate.gateway.plist"));
    assert!(home.asked().is_empty());
    manager.load(&service.name, false).unwrap();
    manager.restart(&service.name).unwrap();
    manager.stop(&service.name).unwrap();
    let target = format!("{}/ai.clawgate.gateway", domain());
    assert_eq!(
        home.asked(),
        [
            format!("enable {target}"),
            format!("print {target}"),
            format!("bootstrap {} {}", domain(), written[0].display()),
            format!("kickstart {target}"),
            format!("kickstart -k {target}"),
            format!("bootout {target}"),
        ]
    );
    home.answer("answer", "x = {\n\tstate = running\n\tpid = 7\n}\n");
    assert_eq!(manager.state(&service.name).unwrap().pid, Some(7));
    // What it has loaded is not loaded twice.
    home.asked();
    manager.start(&service.name).unwrap();
    assert!(
        !home
            .asked()
            .iter()
            .any(|line| line.starts_with("bootstrap"))
    );
}

#[test]
fn the_state_is_what_the_manager_says() {
    let home = Home::new(Kind::Systemd);
    home.answer(
        "answer",
        "LoadState=loaded\nActiveState=active\nMainPID=12\n",
    );
    let state = home.manager.state(&sample().name).unwrap();
    assert_eq!((state.activity, state.pid), (Activity::Running, Some(12)));
}

#[test]
fn without_a_manager_it_says_what_to_do() {
    let home = Home::new(Kind::Systemd);
    for said in [
        "Failed to connect to bus: No medium found",
        "System has not been booted with systemd as init system (PID 1). Can't operate.",
    ] {
        home.answer("fail", said);
        let error = home.manager.start(&sample().name).unwrap_err();
        assert_eq!(error.code(), "no_user_manager", "{error}");
        assert!(
            error.next().contains("in the foreground"),
            "{}",
            error.next()
        );
    }
    home.answer("fail", "Unit clawgate-gateway.service not found.");
    let error = home.manager.start(&sample().name).unwrap_err();
    assert_eq!(error.code(), "service_manager_refused");
    assert!(
        error.to_string().contains("start clawgate-gateway.service"),
        "{error}"
    );
}

#[test]
fn services_of_others_are_found_by_name() {
    let home = Home::new(Kind::Systemd);
    let theirs = [ServiceName::new("openclaw-gateway", "ai.openclaw.gateway").unwrap()];
    assert!(home.manager.present(&theirs).is_empty());
    let path = home.manager.main_file(&theirs[0]);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "").unwrap();
    assert_eq!(home.manager.present(&theirs), [(&theirs[0], path)]);
}
