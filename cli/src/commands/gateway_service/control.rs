//! `gateway start`, `stop`, `restart` and `uninstall`: of the service where there is one, else of the
//! gateway that somebody runs by hand.

use std::path::Path;

use serde_json::{Value, json};

use super::describe;
use super::local_only;
use super::signal::{self, Word};
use crate::commands::run as run_command;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::run::{self, Holder, lock_holder};
use crate::service::{Activity, Manager, ServiceName, State};
use crate::service_args::LocalArgs;
use crate::text::Sheet;

/// The service of this instance, and who runs on its state.
struct Here {
    manager: Option<Manager>,
    name: ServiceName,
    state: State,
    holder: Option<Holder>,
}

impl Here {
    fn look(local: LocalArgs, context: &Context) -> Result<Self, Failure> {
        local_only(local, context)?;
        let places = context.locations()?;
        let name = describe::name(&context.profile)
            .map_err(|refused| crate::service::ServiceError::Description(refused).failure())?;
        // A system without a manager still has gateways that somebody runs.
        let manager = Manager::of_user(&context.env)
            .ok()
            .filter(|manager| manager.is_installed(&name));
        let state = match &manager {
            Some(manager) => manager.state(&name).map_err(|e| e.failure())?,
            None => State::default(),
        };
        Ok(Self {
            manager,
            name,
            state,
            holder: lock_holder(&places.own),
        })
    }

    /// The gateway that runs and is not the service.
    fn by_hand(&self) -> Option<&Holder> {
        self.holder
            .as_ref()
            .filter(|holder| self.state.pid != Some(holder.pid))
    }

    fn installed(&self) -> Result<&Manager, Failure> {
        self.manager.as_ref().ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                "service_not_installed",
                "The gateway of this instance is not installed as a service.",
                "Install it with `clawgate gateway install`, or run it with `clawgate gateway run`.",
            )
        })
    }
}

pub(in crate::commands) fn start(local: LocalArgs, context: &Context) -> Result<Exit, Failure> {
    let here = Here::look(local, context)?;
    if let Some(holder) = here.by_hand() {
        return Err(Failure::new(
            Exit::Failed,
            "gateway_runs_by_hand",
            format!(
                "A gateway already runs on this state, and not as this service (process {}, {}).",
                holder.pid,
                holder.whose()
            ),
            "Stop it with `clawgate gateway stop` first.",
        )
        .fact("pid", json!(holder.pid)));
    }
    let manager = here.installed()?;
    would_start(context, Attempt::Start)?;
    manager.start(&here.name).map_err(|e| e.failure())?;
    let state = manager.state(&here.name).map_err(|e| e.failure())?;
    report(
        context.format,
        "started",
        Some(manager),
        &here.name,
        state.pid,
    )
}

pub(in crate::commands) fn stop(local: LocalArgs, context: &Context) -> Result<Exit, Failure> {
    let here = Here::look(local, context)?;
    let own = &context.locations()?.own;
    let runs = !matches!(
        here.state.activity,
        Activity::Unknown | Activity::Stopped | Activity::Failed
    );
    if let Some(manager) = here.manager.as_ref()
        && (runs || manager.has_sockets(&here.name))
    {
        manager.stop(&here.name).map_err(|e| e.failure())?;
    }
    match here.by_hand() {
        Some(holder) => {
            signal::send(holder, Word::End)?;
            signal::until_gone(own, holder.pid)?;
            report(
                context.format,
                "stopped",
                None,
                &here.name,
                Some(holder.pid),
            )
        }
        None if runs => report(
            context.format,
            "stopped",
            here.manager.as_ref(),
            &here.name,
            here.state.pid,
        ),
        None => report(
            context.format,
            "not running",
            here.manager.as_ref(),
            &here.name,
            None,
        ),
    }
}

pub(in crate::commands) fn restart(local: LocalArgs, context: &Context) -> Result<Exit, Failure> {
    let here = Here::look(local, context)?;
    let own = &context.locations()?.own;
    if let Some(holder) = here.by_hand() {
        signal::send(holder, Word::Restart)?;
        let anew = signal::until_anew(own, holder)?;
        return report(
            context.format,
            "restarted",
            None,
            &here.name,
            Some(anew.pid),
        );
    }
    let manager = here.installed()?;
    would_start(context, Attempt::Restart)?;
    manager.restart(&here.name).map_err(|e| e.failure())?;
    let state = manager.state(&here.name).map_err(|e| e.failure())?;
    report(
        context.format,
        "restarted",
        Some(manager),
        &here.name,
        state.pid,
    )
}

pub(in crate::commands) fn uninstall(local: LocalArgs, context: &Context) -> Result<Exit, Failure> {
    let here = Here::look(local, context)?;
    let places = context.locations()?;
    let manager = here.installed()?;
    manager.unload(&here.name).map_err(|e| e.failure())?;
    let mut removed = manager.remove(&here.name).map_err(|e| e.failure())?;
    for path in [describe::env_path(places), describe::choices_file(places)] {
        if remove(&path)? {
            removed.push(path);
        }
    }
    match context.format {
        Format::Json => output::json(&json!({ "ok": true, "removed": removed }))?,
        Format::Text => {
            let mut sheet = Sheet::default();
            for path in &removed {
                sheet.line("Removed", path.to_string_lossy());
            }
            sheet.line(
                "Kept",
                format!("{}, the gateway's state", places.own.display()),
            );
            output::text(&sheet.to_text())?;
        }
    }
    Ok(Exit::Ok)
}

/// A service that does not run may come up on the last config that worked; one that runs is not
/// exchanged for that. The manager itself would only say that the program failed.
#[derive(Clone, Copy)]
enum Attempt {
    Start,
    Restart,
}

fn would_start(context: &Context, attempt: Attempt) -> Result<(), Failure> {
    let places = context.locations()?;
    let file = describe::read_env_file(places).unwrap_or_default();
    let choices = describe::Choices::read(places);
    let request = describe::request(context, places, &choices, &file);
    let (code, result, tried) = match attempt {
        Attempt::Start => (
            "start_refused",
            "The service was not started",
            run::gateway_check_or_go_back(&request),
        ),
        Attempt::Restart => (
            "restart_refused",
            "The service was left as it is",
            run::gateway_check(&request).map(|()| None),
        ),
    };
    match tried {
        Ok(None) => Ok(()),
        Ok(Some(fallback)) => {
            output::note(&format!("warning: {fallback}"));
            Ok(())
        }
        Err(error) => {
            let why = run_command::failure(&error);
            let cause = why.to_json();
            Err(Failure::new(
                why.exit,
                code,
                format!("{result}: the gateway would not start now. {}", why.message),
                why.next,
            )
            .fact("cause", cause))
        }
    }
}

fn remove(path: &Path) -> Result<bool, Failure> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::new(
            Exit::Failed,
            "file_error",
            format!("Cannot remove {}: {error}.", path.display()),
            "Remove it by hand.",
        )),
    }
}

/// What was done. `manager` is none for a gateway that somebody runs.
fn report(
    format: Format,
    done: &str,
    manager: Option<&Manager>,
    name: &ServiceName,
    pid: Option<u32>,
) -> Result<Exit, Failure> {
    let service: Option<Value> = manager.map(|manager| {
        json!({ "manager": manager.kind().word(), "unit": name.unit(), "label": name.label() })
    });
    match format {
        Format::Json => {
            output::json(&json!({ "ok": true, "result": done, "pid": pid, "service": service }))?;
        }
        Format::Text => {
            let what = match manager {
                Some(manager) => {
                    format!("The service {} of {}", name.unit(), manager.kind().word())
                }
                None => "The gateway".into(),
            };
            let process = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
            let verb = if done == "not running" { "is" } else { "was" };
            output::text(&format!("{what}{process} {verb} {done}.\n"))?;
        }
    }
    Ok(Exit::Ok)
}
