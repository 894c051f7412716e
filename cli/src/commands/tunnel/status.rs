//! `tunnel status`: which tunnels there are, and how they stand.

use clawgate_core::tunnel::{Holding, TunnelRecord, TunnelState};
use clawgate_std::{Held, TunnelFiles};
use serde_json::{Value, json};

use super::check::{self, Checked};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::{text, tunnels};

/// A tunnel, and what the locks say of it.
struct Seen {
    record: TunnelRecord,
    held: Held,
    is_used: bool,
}

pub(super) fn run(context: &Context) -> Result<Exit, Failure> {
    let folder = tunnels::folder(context.locations()?);
    let seen: Vec<Seen> = TunnelFiles::all(&folder)
        .into_iter()
        .filter_map(|files| {
            Some(Seen {
                record: files.record()?,
                held: files.held(),
                is_used: files.is_used(),
            })
        })
        .collect();
    let service = check::service(context)?;
    let is_broken = service.as_ref().is_some_and(Checked::is_broken);
    let exit = if is_broken || seen.iter().any(Seen::is_broken) {
        Exit::Failed
    } else {
        Exit::Ok
    };
    match context.format {
        Format::Json => output::json(&json!({
            "ok": exit == Exit::Ok,
            "tunnels": seen.iter().map(Seen::to_json).collect::<Vec<_>>(),
            "service": service.as_ref().map(Checked::to_json),
        }))?,
        Format::Text if seen.is_empty() && service.is_none() => {
            output::text("No tunnel is open.\n")?;
        }
        Format::Text => {
            let tunnels = seen.iter().map(Seen::to_text);
            let blocks: Vec<String> = tunnels
                .chain(service.as_ref().map(Checked::to_text))
                .collect();
            output::text(&blocks.join("\n"))?;
        }
    }
    Ok(exit)
}

impl Seen {
    /// How it stands. A record that nobody holds tells of the past.
    const fn state(&self) -> &'static str {
        match (self.held, self.record.state) {
            (Held::Yes, state) => state.as_str(),
            (Held::No, TunnelState::Failed) => "failed",
            (Held::No, TunnelState::Open | TunnelState::Opening | TunnelState::Waiting) => "closed",
        }
    }

    const fn is_open(&self) -> bool {
        matches!(
            (self.held, self.record.state),
            (Held::Yes, TunnelState::Open)
        )
    }

    const fn is_broken(&self) -> bool {
        matches!(
            (self.held, self.record.state),
            (_, TunnelState::Failed) | (Held::Yes, TunnelState::Waiting)
        )
    }

    fn to_json(&self) -> Value {
        let record = &self.record;
        let spec = &record.spec;
        json!({
            "key": spec.key(),
            "target": spec.target.to_string(),
            "remotePort": spec.remote_port,
            "wantedPort": spec.local_port,
            "localPort": record.local_port.filter(|_| self.is_open()),
            "state": self.state(),
            "sinceMs": record.since_ms,
            "holding": match record.holding {
                Holding::Held => "held",
                Holding::Idle => "idle",
            },
            "used": self.is_used,
            "pid": (self.held == Held::Yes).then_some(record.keeper.pid),
            "sshPid": record.ssh.as_ref().filter(|_| self.held == Held::Yes).map(|ssh| ssh.pid),
            "reopened": record.reopened,
            "lastError": record.last_error.as_ref().map(|last| json!({
                "atMs": last.at_ms,
                "code": last.failure.kind().code(),
                "message": last.failure.message(spec),
                "next": last.failure.next_step(spec),
            })),
        })
    }

    fn to_text(&self) -> String {
        let record = &self.record;
        let spec = &record.spec;
        let mut sheet = text::Sheet::default();
        sheet.line(
            "Tunnel",
            format!("port {} of {}", spec.remote_port, spec.target),
        );
        sheet.line(
            "State",
            format!("{} since {}", self.state(), record.since_ms.to_rfc3339()),
        );
        if self.is_open()
            && let Some(port) = record.local_port
        {
            sheet.line("Port", format!("127.0.0.1:{port}"));
        }
        if self.held == Held::Yes {
            let how = match (record.holding, self.is_used) {
                (Holding::Held, _) => "until it is closed",
                (Holding::Idle, true) => "in use",
                (Holding::Idle, false) => "until it is idle for a while",
            };
            sheet.line("Held", format!("by process {}, {how}", record.keeper.pid));
        }
        if record.reopened > 0 {
            sheet.line("Reopened", record.reopened.to_string());
        }
        if let Some(last) = &record.last_error {
            let failure = &last.failure;
            sheet.line(
                "Last error",
                format!(
                    "{}: {}",
                    last.at_ms.to_rfc3339(),
                    text::plain(&failure.message(spec))
                ),
            );
            if !self.is_open() {
                sheet.line("Next", text::plain(&failure.next_step(spec)));
            }
        }
        sheet.to_text()
    }
}
