//! `tunnel up`: holds the tunnel open.

use std::thread;
use std::time::{Duration, Instant};

use clawgate_core::tunnel::{
    Event, Holding, KeepAlive, TunnelFailure, TunnelRecord, TunnelSpec, TunnelState,
};
use clawgate_std::{Held, Hold, HoldEnd, HoldRequest, TunnelFiles, spawn_holder};
use serde_json::{Value, json};

use super::explained;
use super::keep::{broken, stop_on_signals};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::tunnel_args::UpArgs;
use crate::{text, tunnels};

/// Unanswered questions after which a silent tunnel is lost (spec hostpolicy §7).
const KEEP_ALIVES: u16 = 3;

/// How long a background tunnel may take to open.
const OPEN_WITHIN: Duration = Duration::from_secs(20);

/// How long an unused holder may take to make room.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

const PAUSE: Duration = Duration::from_millis(20);

pub(super) fn run(args: &UpArgs, context: &Context) -> Result<Exit, Failure> {
    let places = context.locations()?;
    let request = HoldRequest {
        folder: tunnels::folder(places),
        spec: super::spec(&args.place, context)?,
        idle_ms: None,
        keep_alive: KeepAlive {
            interval: args.keep_alive,
            count: KEEP_ALIVES,
        },
    };
    let files = TunnelFiles::of(&request.folder, &request.spec);
    if let Some(record) = make_room(&files)? {
        return match args.background {
            true => opened(&record, context.format),
            false => Err(held_elsewhere(&record)),
        };
    }
    if args.background {
        let record = in_background(&request, &files, context)?;
        opened(&record, context.format)
    } else {
        in_foreground(request, context.format)
    }
}

/// Ends a holder that a command has started and nobody uses. Gives the record of one that somebody wants to
/// have held, or that is in use.
fn make_room(files: &TunnelFiles) -> Result<Option<TunnelRecord>, Failure> {
    if files.held() == Held::No {
        return Ok(None);
    }
    match files.record() {
        Some(record) if record.holding == Holding::Held => return Ok(Some(record)),
        Some(record) if files.is_used() => {
            return Err(Failure::new(
                Exit::Failed,
                "tunnel_in_use",
                format!(
                    "Commands are using a tunnel to {} that one of them has opened (process {}).",
                    record.spec.target, record.keeper.pid
                ),
                "Try again when they are done, or close it under them with `clawgate tunnel down`.",
            ));
        }
        Some(_) | None => {}
    }
    files.close(CLOSE_WITHIN).map_err(|error| broken(&error))?;
    Ok(None)
}

fn held_elsewhere(record: &TunnelRecord) -> Failure {
    Failure::new(
        Exit::Failed,
        "tunnel_held",
        format!(
            "Process {} holds this tunnel to {} already.",
            record.keeper.pid, record.spec.target
        ),
        "`clawgate tunnel status` shows it, and `clawgate tunnel down` ends it.",
    )
}

fn in_foreground(request: HoldRequest, format: Format) -> Result<Exit, Failure> {
    let spec = request.spec.clone();
    let (hold, stopper) =
        Hold::new(request.launched_by(tunnels::launcher())).map_err(|error| broken(&error))?;
    stop_on_signals(stopper)?;
    let end = hold
        .run(|event, _| {
            if let Some((json, text)) = told(event, &spec) {
                // Whoever reads may go; the tunnel stays.
                let _ = output::stream(format, &json, &text);
            }
        })
        .map_err(|error| broken(&error))?;
    match end {
        HoldEnd::GaveUp(failure) => Err(explained(&failure, &spec)),
        HoldEnd::HeldElsewhere => Err(Failure::new(
            Exit::Failed,
            "tunnel_held",
            "Another process has just taken this tunnel.",
            "`clawgate tunnel status` shows it.",
        )),
        HoldEnd::Idle | HoldEnd::Stopped => Ok(Exit::Ok),
    }
}

fn in_background(
    request: &HoldRequest,
    files: &TunnelFiles,
    context: &Context,
) -> Result<TunnelRecord, Failure> {
    let keeper = tunnels::keeper(context.locations()?);
    let mut child = spawn_holder(&keeper, request).map_err(|error| broken(&error))?;
    let end = Instant::now() + OPEN_WITHIN;
    loop {
        let ended = child.try_wait().map_err(|error| broken(&error))?;
        let own = files
            .record()
            .filter(|record| record.keeper.pid == child.id());
        let last = own.as_ref().and_then(|record| record.last_error.clone());
        match own {
            Some(record) if record.state == TunnelState::Open => return Ok(record),
            Some(record) if record.state == TunnelState::Failed || ended.is_some() => {
                if let Some(last) = last {
                    return Err(explained(&last.failure, &record.spec));
                }
            }
            Some(record) if Instant::now() >= end => {
                let failure = last.map_or_else(
                    || {
                        Failure::new(
                            Exit::TimedOut,
                            "timeout",
                            "The tunnel takes long to open.",
                            "",
                        )
                    },
                    |last| explained(&last.failure, &record.spec),
                );
                return Err(failure.note("it is still tried in the background"));
            }
            Some(_) | None => {}
        }
        if ended.is_some() || Instant::now() >= end {
            return Err(broken(&std::io::Error::other("its holder has ended")));
        }
        thread::sleep(PAUSE);
    }
}

fn opened(record: &TunnelRecord, format: Format) -> Result<Exit, Failure> {
    let port = record.local_port.unwrap_or_default();
    match format {
        Format::Json => output::json(&json!({
            "ok": true,
            "state": record.state.as_str(),
            "target": record.spec.target.to_string(),
            "remotePort": record.spec.remote_port,
            "localPort": record.local_port,
            "pid": record.keeper.pid,
        }))?,
        Format::Text => output::text(&format!(
            "{}Process {} holds it.\n",
            open_text(port, &record.spec),
            record.keeper.pid
        ))?,
    }
    Ok(Exit::Ok)
}

fn open_text(port: u16, spec: &TunnelSpec) -> String {
    let elsewhere = if port == spec.local_port {
        String::new()
    } else {
        format!(" (port {} is taken)", spec.local_port)
    };
    format!(
        "Open: 127.0.0.1:{port}{elsewhere} leads to port {} of {}.\n",
        spec.remote_port, spec.target
    )
}

/// One line for each thing that happens.
fn told(event: &Event, spec: &TunnelSpec) -> Option<(Value, String)> {
    let about = |failure: &TunnelFailure| {
        json!({
            "code": failure.kind().code(),
            "message": failure.message(spec),
            "next": failure.next_step(spec),
        })
    };
    Some(match event {
        Event::Opening { port } => (
            json!({ "event": "opening", "localPort": port }),
            format!("Logging in to {}.\n", spec.target),
        ),
        Event::Open { port } => (
            json!({
                "event": "open",
                "localPort": port,
                "wantedPort": spec.local_port,
                "remotePort": spec.remote_port,
            }),
            open_text(*port, spec),
        ),
        Event::Trouble(failure) => (
            json!({ "event": "trouble", "error": about(failure) }),
            format!("{} {}\n", failure.message(spec), failure.next_step(spec)),
        ),
        Event::Lost { failure, again_in } => (
            json!({
                "event": "lost",
                "error": about(failure),
                "againInMs": text::millis(*again_in),
            }),
            format!(
                "Lost: {} Again in {}.\n",
                failure.message(spec),
                text::duration(*again_in)
            ),
        ),
        Event::Stopped => (json!({ "event": "closed" }), "Closed.\n".to_owned()),
        // The failure of the command says it.
        Event::GaveUp(_) => return None,
    })
}
