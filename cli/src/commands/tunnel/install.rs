//! `tunnel install`: the five steps of seed 002, each told.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use clawgate_core::config::{Change, KeyPath, ModeSetting};
use clawgate_core::secret::Secret;
use clawgate_core::tunnel::{
    Through, TunnelKeeper, TunnelService as Kept, TunnelSpec, with_include,
};
use clawgate_std::{TunnelFiles, try_tunnel};
use serde_json::{Value, json};

use super::service::{TunnelService, file_failure};
use super::{explained, keep};
use crate::args::SecretArgs;
use crate::commands::config;
use crate::config_file::ConfigEditor;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::private_file;
use crate::secrets::GivenSecrets;
use crate::service::{Activity, Kind, Manager, Service, ServiceError};
use crate::tunnel_args::InstallArgs;
use crate::tunnels;

/// How long the login may take.
const LOGIN_WITHIN: Duration = Duration::from_secs(20);

/// How long a tunnel that is open already may take to make room.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Everything that is to be done.
struct Plan {
    spec: TunnelSpec,
    service: TunnelService,
    description: Service,
    block: String,
    /// The user's file before, and with the line, unless it has it.
    include: Option<(String, String)>,
    changes: Vec<Change>,
    token: &'static str,
}

pub(super) fn run(args: &InstallArgs, context: &Context) -> Result<Exit, Failure> {
    let plan = plan(args, context)?;
    if args.print {
        return print(&plan, context);
    }
    let manager = Manager::of_user(&context.env).map_err(|error| error.failure())?;
    let mut told = Told::new(context.format);
    if args.no_check {
        told.step("login", "not tried (--no-check)".to_owned())?;
    } else {
        log_in(&plan, context)?;
        told.step("login", format!("{} lets your key in", plan.spec.target))?;
    }
    if plan.include.is_some() && !args.yes && !may_include(&plan, context)? {
        output::note("nothing was changed");
        return Ok(Exit::Failed);
    }
    write(&plan.service.included, &plan.block)?;
    told.step(
        "host",
        format!(
            "Host {} in {}",
            plan.service.alias,
            shown(&plan.service.included)
        ),
    )?;
    match &plan.include {
        None => told.step(
            "include",
            format!("{} includes it already", shown(&plan.service.ssh_config)),
        )?,
        Some((_, text)) => {
            write(&plan.service.ssh_config, text)?;
            told.step(
                "include",
                format!(
                    "Include {} in {}",
                    plan.service.include,
                    shown(&plan.service.ssh_config)
                ),
            )?;
        }
    }
    let editor = ConfigEditor::open(context)?;
    let edited = editor.edit(&plan.changes)?;
    let file = if edited.file.hash == editor.before().hash {
        "the config says so already".to_owned()
    } else {
        let written = editor.write(&edited.file.text)?;
        format!("{} ({})", shown(&written.path), plan.token)
    };
    told.step("config", file)?;
    let kept = Kept {
        alias: plan.service.alias.clone(),
        spec: plan.spec.clone(),
        block: plan.block.clone(),
    };
    let places = context.locations()?;
    // Texts and numbers always have a text.
    let text = serde_json::to_string(&kept).unwrap_or_default();
    write(&tunnels::service_file(places), &text)?;
    // One that a command has opened has the port.
    TunnelFiles::of(&tunnels::folder(places), &plan.spec)
        .close(CLOSE_WITHIN)
        .map_err(|error| keep::broken(&error))?;
    told.step(
        "service",
        load(&plan, &manager).map_err(|error| error.failure())?,
    )?;
    told.end(&plan)
}

fn plan(args: &InstallArgs, context: &Context) -> Result<Plan, Failure> {
    let spec = super::spec(&args.place, context)?;
    let service = TunnelService::of(spec.config_file.as_deref(), context)?;
    let description = service.description(&spec)?;
    let block = service.block(&spec)?;
    let before = match fs::read_to_string(&service.ssh_config) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(file_failure("read", &service.ssh_config, &error)),
    };
    let include = with_include(&before, &service.include).map(|after| (before, after));
    let (token, stored) = token(args, context)?;
    let mut changes = changes(&spec, context)?;
    changes.extend(stored);
    Ok(Plan {
        spec,
        service,
        description,
        block,
        include,
        changes,
        token,
    })
}

/// What clients need to know. The commands of this machine then use the service's tunnel, and open one of
/// their own where it is not there.
fn changes(spec: &TunnelSpec, context: &Context) -> Result<Vec<Change>, Failure> {
    let gateway = &context.client_config()?.gateway;
    if gateway.mode == ModeSetting::Local {
        return Err(Failure::new(
            Exit::Configuration,
            "tunnel_mode_local",
            "gateway.mode is local: this instance is set up to run a gateway of its own.",
            "Install the tunnel for another instance: `clawgate --profile remote tunnel install …`.",
        ));
    }
    let mut changes = Vec::new();
    let mut set = |key: &str, value: Value| -> Result<(), Failure> {
        let path = KeyPath::parse(key)
            .map_err(|_| Failure::new(Exit::Failed, "internal", format!("{key} is no key."), ""))?;
        changes.push(Change::Set(path, value));
        Ok(())
    };
    set("gateway.mode", json!("remote"))?;
    set("gateway.remote.transport", json!("ssh"))?;
    set("gateway.remote.sshTarget", json!(spec.target.to_string()))?;
    let scheme = match &gateway.remote.url {
        Some(url) if url.trim_start().starts_with("wss") => "wss",
        Some(_) | None => "ws",
    };
    let url = format!("{scheme}://127.0.0.1:{}", spec.local_port);
    set("gateway.remote.url", json!(url))?;
    if spec.remote_port != spec.local_port || gateway.remote.remote_port.is_some() {
        set("gateway.remote.remotePort", json!(spec.remote_port))?;
    }
    if let Some(identity) = &spec.identity {
        set("gateway.remote.sshIdentity", json!(identity))?;
    }
    Ok(changes)
}

/// The token, and where it comes from.
fn token(args: &InstallArgs, context: &Context) -> Result<(&'static str, Option<Change>), Failure> {
    let path = || {
        KeyPath::parse("gateway.remote.token").map_err(|_| {
            Failure::new(
                Exit::Failed,
                "internal",
                "gateway.remote.token is no key.",
                "",
            )
        })
    };
    if let Some(file) = &args.token_file {
        let given = GivenSecrets::read(SecretArgs {
            token_file: Some(file.clone()),
            ..SecretArgs::default()
        })?;
        let token = given.token.as_ref().map_or("", Secret::expose);
        let change = Change::Set(path()?, json!(token));
        return Ok(("with gateway.remote.token", Some(change)));
    }
    if let Some(name) = &args.token_env {
        let reference = json!({ "source": "env", "provider": "default", "id": name });
        let change = Change::Set(path()?, reference);
        return Ok(("with a reference as gateway.remote.token", Some(change)));
    }
    let is_set = context
        .client_config()?
        .gateway
        .remote
        .token
        .is_configured();
    Ok(if is_set {
        ("gateway.remote.token stays", None)
    } else {
        (
            "without gateway.remote.token: add --token-file or --token-env",
            None,
        )
    })
}

/// Opens the tunnel for a moment: nothing else shows as well that the key is let in and that the machine
/// forwards.
fn log_in(plan: &Plan, context: &Context) -> Result<(), Failure> {
    let keeper = tunnels::for_one_look(tunnels::keeper(context.locations()?));
    let keeper = TunnelKeeper {
        // One that is open already shows nothing.
        folder: keeper.folder.join("check"),
        open_within: None,
        service: None,
        ..keeper
    };
    let files = TunnelFiles::of(&keeper.folder, &plan.spec);
    let through = Through {
        spec: plan.spec.clone(),
        keeper: Some(keeper),
    };
    try_tunnel(&through, LOGIN_WITHIN)
        .map_err(|failure| explained(&failure, &plan.spec).note("nothing was changed"))?;
    // Its port may be the one that the service is to have.
    let closed = files.close(CLOSE_WITHIN);
    closed.map(|_| ()).map_err(|error| keep::broken(&error))
}

fn may_include(plan: &Plan, context: &Context) -> Result<bool, Failure> {
    let at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let file = shown(&plan.service.ssh_config);
    if !at_terminal || context.format == Format::Json {
        return Err(Failure::new(
            Exit::Usage,
            "unconfirmed",
            format!(
                "The line `Include {}` is to be added to {file}.",
                plan.service.include
            ),
            "Add --yes, or look first with --print.",
        ));
    }
    output::text(&format!(
        "Add `Include {}` as the first line of {file}? [y/N] ",
        plan.service.include
    ))?;
    let mut answer = String::new();
    // No answer is no.
    let _ = io::stdin().read_line(&mut answer);
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}

fn load(plan: &Plan, manager: &Manager) -> Result<String, ServiceError> {
    let mut removed = String::new();
    if manager.kind() == Kind::Launchd {
        let old = &plan.service.old;
        if manager.state(old)?.activity != Activity::Unknown {
            manager.unload(old)?;
        }
        if !manager.remove(old)?.is_empty() {
            removed = format!("; {} was unloaded and removed", old.label());
        }
    }
    manager.install(&plan.description)?;
    manager.load(&plan.service.name, true)?;
    let file = manager.main_file(&plan.service.name);
    Ok(format!("{} is loaded{removed}", shown(&file)))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = real.parent().map_or(Ok(()), private_file::make_folder);
    folder
        .and_then(|()| private_file::write(&real, text.as_bytes()))
        .map_err(|error| file_failure("write", path, &error))
}

fn print(plan: &Plan, context: &Context) -> Result<Exit, Failure> {
    let editor = ConfigEditor::open(context)?;
    let edited = editor.edit(&plan.changes)?;
    // A token is never shown.
    let config = config::Plan::of(editor.before(), &edited).to_text();
    let mut files = vec![(plan.service.included.clone(), plan.block.clone())];
    if let Some((_, after)) = &plan.include {
        files.push((plan.service.ssh_config.clone(), after.clone()));
    }
    let places = context.locations()?;
    files.push((places.config.clone(), config));
    let manager = Manager::of_user(&context.env).map_err(|error| error.failure())?;
    let units = manager
        .files(&plan.description)
        .map_err(|error| error.failure())?;
    files.extend(
        units
            .into_iter()
            .map(|file| (file.path, file.text.expose().to_owned())),
    );
    match context.format {
        Format::Json => output::json(&json!({
            "ok": true,
            "printed": true,
            "files": files
                .iter()
                .map(|(path, text)| json!({ "path": path.to_string_lossy(), "text": text }))
                .collect::<Vec<_>>(),
        }))?,
        Format::Text => {
            for (path, text) in &files {
                output::text(&format!("== {}\n{}\n", shown(path), text.trim_end()))?;
            }
        }
    }
    Ok(Exit::Ok)
}

/// What was done, told as it is done.
struct Told {
    format: Format,
    steps: Vec<Value>,
}

impl Told {
    const fn new(format: Format) -> Self {
        Self {
            format,
            steps: Vec::new(),
        }
    }

    fn step(&mut self, name: &str, what: String) -> Result<(), Failure> {
        if self.format == Format::Text {
            output::text(&format!("{:<9} {what}\n", format!("{name}:")))?;
        }
        self.steps.push(json!({ "step": name, "did": what }));
        Ok(())
    }

    fn end(self, plan: &Plan) -> Result<Exit, Failure> {
        match self.format {
            Format::Json => output::json(&json!({ "ok": true, "steps": self.steps }))?,
            Format::Text => output::text(&format!(
                "\n127.0.0.1:{} leads to port {} of {}. `clawgate tunnel status` checks it.\n",
                plan.spec.local_port, plan.spec.remote_port, plan.spec.target
            ))?,
        }
        Ok(Exit::Ok)
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
