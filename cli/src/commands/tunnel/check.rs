//! The service's tunnel in `tunnel status`: whether it runs, and the troubleshooting of seed 002 as checks.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use clawgate_core::time::WallTime;
use clawgate_core::tunnel::{TunnelService as Kept, with_include};
use clawgate_std::service_holds;
use serde_json::{Value, json};

use super::service::TunnelService;
use crate::context::Context;
use crate::failure::Failure;
use crate::port_holder;
use crate::service::{Activity, Kind, Manager, OnDisk, State};
use crate::{text, tunnels};

/// Bytes of the end of a log in which the last error is looked for.
const LOG_END: usize = 4096;

/// What was found out about the service.
pub(super) struct Checked {
    kept: Kept,
    state: Option<State>,
    /// The process that has the port.
    holder: Option<u32>,
    last_error: Option<String>,
    checks: Vec<Check>,
}

/// One line of the troubleshooting.
struct Check {
    name: &'static str,
    is_ok: bool,
    found: String,
    next: String,
}

/// Looks at the tunnel that was installed. `None` where none was.
pub(super) fn service(context: &Context) -> Result<Option<Checked>, Failure> {
    let places = context.locations()?;
    let Some(kept) = tunnels::service(places) else {
        return Ok(None);
    };
    let service = TunnelService::of(kept.spec.config_file.as_deref(), context)?;
    let mut checks = Vec::new();
    let mut check = |name, is_ok: bool, found: String, next: &str| {
        checks.push(Check {
            name,
            is_ok,
            found,
            next: if is_ok {
                String::new()
            } else {
                next.to_owned()
            },
        });
    };
    let again = "Run `clawgate tunnel install` again.";
    let is_block = fs::read_to_string(&service.included).is_ok_and(|text| text == kept.block);
    check(
        "host",
        is_block,
        format!("Host {} in {}", kept.alias, service.included.display()),
        again,
    );
    let config = fs::read_to_string(&service.ssh_config).unwrap_or_default();
    check(
        "include",
        with_include(&config, &service.include).is_none(),
        format!(
            "Include {} in {}",
            service.include,
            service.ssh_config.display()
        ),
        again,
    );
    let manager = Manager::of_user(&context.env).ok();
    let state = manager
        .as_ref()
        .and_then(|manager| manager.state(&service.name).ok());
    let mut last_error = None;
    if let Some(manager) = &manager {
        let files = service
            .description(&kept.spec)
            .and_then(|it| manager.files(&it).map_err(|error| error.failure()))?;
        let same = files
            .iter()
            .all(|file| file.on_disk().is_ok_and(|found| found == OnDisk::Same));
        let main = manager.main_file(&service.name);
        check("file", same, main.display().to_string(), again);
        let activity = state.as_ref().map(|state| state.activity);
        check(
            "running",
            activity == Some(Activity::Running),
            activity
                .map_or("the service manager does not answer", Activity::word)
                .to_owned(),
            &restart(manager.kind(), &service),
        );
        if manager.kind() == Kind::Launchd {
            let is_left = manager.is_installed(&service.old);
            check("leftover", !is_left, service.old.label().to_owned(), again);
            last_error = last_line(&service);
        }
    }
    let holder = service_holds(&kept.spec, &kept.alias);
    let port = kept.spec.local_port;
    let found = match holder {
        Some(pid) => format!("process {pid} listens on 127.0.0.1:{port}"),
        None => match port_holder::find(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
            Some(other) => format!("{} has 127.0.0.1:{port}", other.words()),
            None => format!("nobody listens on 127.0.0.1:{port}"),
        },
    };
    let look = match manager.as_ref().map(Manager::kind) {
        Some(Kind::Launchd) => format!("`tail {}` tells why.", service.log().display()),
        Some(Kind::Systemd) | None => format!(
            "`journalctl --user -u {} -n 20` tells why, or `ssh -N {}` by hand.",
            service.name.unit(),
            kept.alias
        ),
    };
    check("port", holder.is_some(), found, &look);
    Ok(Some(Checked {
        kept,
        state,
        holder,
        last_error,
        checks,
    }))
}

/// Seed 002: how the service is started anew.
fn restart(kind: Kind, service: &TunnelService) -> String {
    match kind {
        Kind::Launchd => format!(
            "Start it again: `launchctl kickstart -k gui/$UID/{}`.",
            service.name.label()
        ),
        Kind::Systemd => format!(
            "Start it again: `systemctl --user restart {}`.",
            service.name.unit()
        ),
    }
}

fn last_line(service: &TunnelService) -> Option<String> {
    let bytes = fs::read(service.log()).ok()?;
    let end = bytes.get(bytes.len().saturating_sub(LOG_END)..)?;
    let text = String::from_utf8_lossy(end);
    let line = text.lines().rfind(|line| !line.trim().is_empty())?;
    Some(text::plain(line.trim()))
}

impl Checked {
    /// Whether a check did not pass.
    pub(super) fn is_broken(&self) -> bool {
        self.checks.iter().any(|check| !check.is_ok)
    }

    pub(super) fn to_json(&self) -> Value {
        let spec = &self.kept.spec;
        let state = self.state.as_ref();
        json!({
            "host": self.kept.alias,
            "target": spec.target.to_string(),
            "localPort": spec.local_port,
            "remotePort": spec.remote_port,
            "state": state.map(|state| state.activity.word()),
            "sinceMs": state.and_then(|state| state.since).map(|since| since.saturating_mul(1000)),
            "lastExit": state.and_then(|state| state.last_exit),
            "lastError": self.last_error,
            "sshPid": self.holder,
            "checks": self.checks.iter().map(|check| json!({
                "name": check.name,
                "ok": check.is_ok,
                "found": check.found,
                "next": check.next,
            })).collect::<Vec<_>>(),
        })
    }

    pub(super) fn to_text(&self) -> String {
        let spec = &self.kept.spec;
        let mut sheet = text::Sheet::default();
        sheet.line(
            "Service",
            format!(
                "port {} of {}, by ssh -N {}",
                spec.remote_port, spec.target, self.kept.alias
            ),
        );
        if let Some(state) = &self.state {
            let since = state.since.map_or_else(String::new, |since| {
                format!(
                    " since {}",
                    WallTime(since.saturating_mul(1000)).to_rfc3339()
                )
            });
            sheet.line("State", format!("{}{since}", state.activity.word()));
            if let Some(code) = state.last_exit {
                sheet.line("Last exit", code.to_string());
            }
        }
        if let Some(error) = &self.last_error {
            sheet.line("Last error", error);
        }
        for check in &self.checks {
            let mark = if check.is_ok { "ok" } else { "no" };
            let next = if check.next.is_empty() {
                String::new()
            } else {
                format!(". {}", check.next)
            };
            sheet.line(
                text::capitalised(check.name),
                format!("{mark}: {}{next}", text::plain(&check.found)),
            );
        }
        sheet.to_text()
    }
}
