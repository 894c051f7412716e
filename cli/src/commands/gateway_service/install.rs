//! `gateway install`.

use std::path::{Path, PathBuf};

use clawgate_core::config::paths::Locations;
use serde_json::{Value, json};

use super::describe::{self, Choices};
use super::local_only;
use crate::commands::run as run_command;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::run::{Planned, running_gateway};
use crate::service::{Activity, Audience, EnvFile, Kind, Manager, Service, ServiceFile};
use crate::service_args::{InstallArgs, ManagerName};
use crate::text::{Sheet, plain};

/// Everything that makes the service.
struct Prepared {
    manager: Manager,
    service: Service,
    choices: Choices,
    secrets: EnvFile,
    planned: Option<Planned>,
}

pub(in crate::commands) fn install(args: &InstallArgs, context: &Context) -> Result<Exit, Failure> {
    local_only(args.local, context)?;
    let places = context.locations()?;
    let prepared = prepare(args, context, places)?;
    if args.print {
        return print(&prepared, places, context.format);
    }
    let Prepared {
        manager,
        service,
        choices,
        secrets,
        planned: _,
    } = &prepared;
    if !args.force {
        no_rival(manager, context)?;
    }
    // The first question to the manager: without one, nothing is written.
    let before = manager.state(&service.name).map_err(|e| e.failure())?;
    nobody_by_hand(places, before.pid)?;

    let broken = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Failed,
            "file_error",
            format!("Cannot write {}: {error}.", path.display()),
            "Check the folder and its owner, then try again.",
        )
    };
    choices
        .keep(places)
        .map_err(|error| broken(&describe::choices_file(places), &error))?;
    let mut changed = manager.install(service).map_err(|e| e.failure())?;
    let env_file = ServiceFile::private(describe::env_path(places), secrets.to_text());
    if env_file.write().map_err(|e| e.failure())? {
        changed.push(env_file.path);
    }
    manager
        .load(&service.name, !changed.is_empty())
        .map_err(|e| e.failure())?;
    let state = manager.state(&service.name).map_err(|e| e.failure())?;
    let lingers = lingers(manager.kind());
    match context.format {
        Format::Json => output::json(&json!({
            "ok": true,
            "manager": manager.kind().word(),
            "name": main_name(manager, service),
            "changed": changed,
            "environment": names(secrets),
            "hardening": hardening(&prepared),
            "activity": state.activity.word(),
            "pid": state.pid,
            "startsAtBoot": lingers,
        }))?,
        Format::Text => output::text(&installed(&prepared, &changed, state.activity, lingers))?,
    }
    Ok(Exit::Ok)
}

fn prepare(args: &InstallArgs, context: &Context, places: &Locations) -> Result<Prepared, Failure> {
    let manager = match args.manager {
        None => Manager::of_user(&context.env),
        Some(ManagerName::Systemd) => Manager::of_kind(Kind::Systemd, &context.env),
        Some(ManagerName::Launchd) => Manager::of_kind(Kind::Launchd, &context.env),
    }
    .map_err(|e| e.failure())?;
    let choices = Choices::of_args(args).map_err(|error| {
        Failure::new(
            Exit::Failed,
            "no_working_folder",
            format!("The folder of this shell cannot be told: {error}."),
            "Change into a folder that exists.",
        )
    })?;
    let config = context.config_file().ok();
    let secrets = describe::gather(config, &args.variables, context)
        .map_err(|refused| crate::service::ServiceError::Description(refused).failure())?;
    let planned = match describe::plan(context, places, &choices, &secrets) {
        Ok(planned) => Some(planned),
        Err(_) if args.force && !choices.socket_activation => None,
        Err(error) => {
            let failure = run_command::failure(&error);
            return Err(Failure::new(
                failure.exit,
                failure.code,
                format!(
                    "As a service the gateway would not start: {}",
                    failure.message
                ),
                failure.next,
            ));
        }
    };
    let kind = manager.kind();
    let planned_ref = planned.as_ref();
    let service = describe::describe(kind, context, places, &choices, planned_ref, &secrets)
        .map_err(|e| e.failure())?;
    Ok(Prepared {
        manager,
        service,
        choices,
        secrets,
        planned,
    })
}

/// OpenClaw's own service for the same profile would hold the port.
fn no_rival(manager: &Manager, context: &Context) -> Result<(), Failure> {
    let names = describe::names_of_openclaw(&context.profile).unwrap_or_default();
    let present = manager.present(&names);
    let Some((name, path)) = present.first() else {
        return Ok(());
    };
    let stop = match manager.kind() {
        Kind::Systemd => format!("systemctl --user disable --now {}.service", name.unit()),
        Kind::Launchd => format!("launchctl bootout gui/$UID/{}", name.label()),
    };
    Err(Failure::new(
        Exit::Failed,
        "openclaw_service_present",
        format!(
            "A service of OpenClaw for the same profile is installed ({}); both would want the same \
             port.",
            path.display()
        ),
        format!(
            "Stop it with `{stop}`, choose another instance with --profile, or pass --force to have \
             both."
        ),
    )
    .fact("file", json!(path)))
}

/// A gateway that runs in somebody's terminal holds the state that the service would need.
fn nobody_by_hand(places: &Locations, service: Option<u32>) -> Result<(), Failure> {
    match running_gateway(&places.own) {
        Some(holder) if service != Some(holder.pid) && service.is_none() => Err(Failure::new(
            Exit::Failed,
            "gateway_runs_by_hand",
            format!(
                "A gateway already runs on this state, and not as this service (process {}, {}).",
                holder.pid,
                holder.whose()
            ),
            "Stop it with `clawgate gateway stop`, then install again.",
        )
        .fact("pid", json!(holder.pid))),
        Some(_) | None => Ok(()),
    }
}

fn print(prepared: &Prepared, places: &Locations, format: Format) -> Result<Exit, Failure> {
    let files = prepared
        .manager
        .files(&prepared.service)
        .map_err(|e| e.failure())?;
    let env_path = describe::env_path(places);
    let mode = |audience: Audience| match audience {
        Audience::Everybody => "0644",
        Audience::Owner => "0600",
    };
    match format {
        Format::Json => {
            let files: Vec<Value> = files
                .iter()
                .map(|file| {
                    json!({
                        "path": file.path,
                        "mode": mode(file.audience),
                        "text": file.text.expose(),
                    })
                })
                .collect();
            output::json(&json!({
                "ok": true,
                "manager": prepared.manager.kind().word(),
                "files": files,
                "environment": { "path": env_path, "mode": "0600", "names": names(&prepared.secrets) },
                "hardening": hardening(prepared),
            }))?;
        }
        Format::Text => {
            let mut text = String::new();
            for file in &files {
                let path = plain(&file.path.to_string_lossy());
                let mode = mode(file.audience);
                text += &format!("# {path} (mode {mode})\n{}\n", file.text.expose());
            }
            text += &format!(
                "# {} (mode 0600), read at each start\n",
                plain(&env_path.to_string_lossy())
            );
            for (name, value) in prepared.secrets.iter() {
                text += &format!("{name}=(secret, id {})\n", value.id());
            }
            output::text(&text)?;
        }
    }
    Ok(Exit::Ok)
}

fn names(secrets: &EnvFile) -> Vec<&str> {
    secrets.iter().map(|(name, _)| name).collect()
}

fn hardening(prepared: &Prepared) -> &'static str {
    match prepared.service.hardening {
        crate::service::Hardening::Strict { .. } => "strict",
        crate::service::Hardening::Basic => "basic",
        crate::service::Hardening::None => "none",
    }
}

fn main_name(manager: &Manager, service: &Service) -> String {
    match manager.kind() {
        Kind::Systemd => format!("{}.service", service.name.unit()),
        Kind::Launchd => service.name.label().to_owned(),
    }
}

fn installed(
    prepared: &Prepared,
    changed: &[PathBuf],
    activity: Activity,
    lingers: Option<bool>,
) -> String {
    let mut sheet = Sheet::default();
    let manager = &prepared.manager;
    sheet.line(
        "Service",
        format!(
            "{} ({}), {}",
            main_name(manager, &prepared.service),
            manager.kind().word(),
            activity.word()
        ),
    );
    if changed.is_empty() {
        sheet.line("Files", "nothing has changed");
    }
    for path in changed {
        sheet.line("Wrote", path.to_string_lossy());
    }
    for (name, value) in prepared.secrets.iter() {
        sheet.line(
            "Secret",
            format!("{name} of this shell (id {})", value.id()),
        );
    }
    let why = prepared
        .planned
        .as_ref()
        .filter(|_| prepared.choices.hardening.is_none())
        .and_then(|planned| describe::why_basic(&planned.file))
        .map_or_else(String::new, |why| format!(": {why}"));
    sheet.line("Hardening", format!("{}{why}", hardening(prepared)));
    if lingers == Some(false) {
        sheet.line(
            "Boot",
            "it starts at login and ends at logout; `sudo loginctl enable-linger` changes that",
        );
    }
    sheet.line("Next", "clawgate gateway status");
    sheet.to_text()
}

/// Whether the user's services run without a login.
fn lingers(kind: Kind) -> Option<bool> {
    let user = std::env::var("USER")
        .ok()
        .filter(|user| !user.contains('/'));
    match kind {
        Kind::Systemd => user.map(|user| Path::new("/var/lib/systemd/linger").join(user).exists()),
        Kind::Launchd => None,
    }
}
