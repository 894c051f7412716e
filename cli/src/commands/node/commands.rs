//! What a node offers: what flags and config say, with the programs found.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clawgate_core::config::paths::user_path;
use clawgate_core::config::{EnvVars, NodeCommandConfig, NodeConfig};
use clawgate_core::node::{CommandName, CustomCommand, NodeCommands, Notifier};
use clawgate_std::find_program;
use serde_json::json;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::node_args::NodeRunArgs;

/// The commands; those of the flags win over those of the config.
pub(super) fn collect(
    args: &NodeRunArgs,
    config: &NodeConfig,
    env: &EnvVars,
) -> Result<NodeCommands, Failure> {
    let desktop = ["DISPLAY", "WAYLAND_DISPLAY"];
    let has_desktop = desktop.iter().any(|name| env.non_blank(name).is_some());
    let mut commands = NodeCommands {
        exec: args.exec.or(config.exec).unwrap_or_default(),
        notifier: Notifier::of(std::env::consts::OS, has_desktop, find_program),
        ..NodeCommands::default()
    };
    for (name, command) in &config.commands {
        let place = format!("node.commands.{name}");
        let custom = configured(name, command, env)
            .map_err(|why| problem(Exit::Configuration, &place, &why))?;
        commands.custom.insert(custom.0, custom.1);
    }
    for (name, program) in &args.commands {
        let place = format!("--command {name}");
        let custom = named(name)
            .and_then(|known| Ok((known, CustomCommand::new(found(program)?))))
            .map_err(|why| problem(Exit::Usage, &place, &why))?;
        commands.custom.insert(custom.0, custom.1);
    }
    Ok(commands)
}

fn configured(
    name: &str,
    command: &NodeCommandConfig,
    env: &EnvVars,
) -> Result<(CommandName, CustomCommand), String> {
    let program = command.program.as_deref().ok_or("it names no program")?;
    let program = if program.starts_with('~') {
        let path = user_path(env, program).map_err(|error| error.to_string())?;
        path.to_string_lossy().into_owned()
    } else {
        program.to_owned()
    };
    let custom = CustomCommand {
        program: found(&program)?,
        args: command.args.clone(),
        description: command.description.clone(),
        parameters: command.parameters.clone(),
        timeout: command.timeout_ms.map(Duration::from_millis),
    };
    Ok((named(name)?, custom))
}

fn named(name: &str) -> Result<CommandName, String> {
    CommandName::parse(name).map_err(|error| error.to_string())
}

fn found(program: &str) -> Result<PathBuf, String> {
    find_program(program).ok_or_else(|| {
        if Path::new(program).exists() {
            format!("{program} is no program that this user can run")
        } else {
            format!("there is no program {program}")
        }
    })
}

fn problem(exit: Exit, place: &str, why: &str) -> Failure {
    Failure::new(
        exit,
        "node_command_invalid",
        format!("{place}: {why}."),
        "A command is NAME=PROGRAM, with a program that reads JSON and prints JSON.",
    )
    .fact("path", json!(place))
}

/// The system's version, where it tells.
pub(super) fn system_version() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
