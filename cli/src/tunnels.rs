//! Where tunnels of an instance are kept, and by which program.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process;
use std::time::Duration;

use clawgate_core::config::paths::Locations;
use clawgate_core::tunnel::{TunnelKeeper, TunnelService};

/// How long a tunnel stays open that a command has opened and nobody uses.
const IDLE: Duration = Duration::from_secs(5 * 60);

/// How long a tunnel for one look may take to open (spec hostpolicy §7).
const ONE_LOOK: Duration = Duration::from_millis(2000);

/// The folder of records and locks.
pub(crate) fn folder(places: &Locations) -> PathBuf {
    places.own.join("tunnels")
}

/// Whoever opens tunnels for the commands of an instance: this program, in the background.
pub(crate) fn keeper(places: &Locations) -> TunnelKeeper {
    TunnelKeeper {
        folder: folder(places),
        program: own_program(),
        arguments: vec!["tunnel".to_owned(), "keep".to_owned()],
        idle: IDLE,
        service: service(places),
        open_within: None,
    }
}

/// The tunnel that was installed as a service.
pub(crate) fn service(places: &Locations) -> Option<TunnelService> {
    const LONGEST: u64 = 64 * 1024;
    let mut text = String::new();
    File::open(service_file(places))
        .ok()?
        .take(LONGEST)
        .read_to_string(&mut text)
        .ok()?;
    serde_json::from_str(&text).ok()
}

/// Where it is written down which tunnel was installed as a service.
pub(crate) fn service_file(places: &Locations) -> PathBuf {
    folder(places).join("service")
}

/// The same for a tunnel that nobody needs afterwards.
pub(crate) fn for_one_look(keeper: TunnelKeeper) -> TunnelKeeper {
    TunnelKeeper {
        idle: Duration::ZERO,
        open_within: Some(ONE_LOOK),
        ..keeper
    }
}

/// The command in front of `ssh`: this program, which binds it to the life of this process.
pub(crate) fn launcher() -> Vec<OsString> {
    let parent = process::id().to_string();
    vec![
        own_program().into_os_string(),
        "tunnel".into(),
        "child".into(),
        parent.into(),
    ]
}

/// This program, also when its file was replaced meanwhile.
fn own_program() -> PathBuf {
    let itself = || PathBuf::from("/proc/self/exe");
    env::current_exe()
        .ok()
        .filter(|path| path.exists())
        .unwrap_or_else(itself)
}
