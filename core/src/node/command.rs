//! Which commands a node offers.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use thiserror::Error;

use super::{ExecPolicy, fields::put};

/// The longest name of a command.
const MAX_NAME: usize = 64;

/// The name of a command, such as `lights.set`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandName(String);

/// Why a command cannot be offered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidCommand {
    /// The name has other characters.
    #[error(
        "the command name {0:?} is not made of letters, digits, '.', '-' and '_', beginning with a \
         letter, at most 64 long"
    )]
    Name(String),
    /// The node has a command of that name itself.
    #[error("{0} is a command of every node")]
    Taken(String),
    /// No program stands behind it.
    #[error("the command {0} names no program")]
    NoProgram(String),
}

impl CommandName {
    /// Reads a name that a command of one's own may have.
    ///
    /// # Errors
    /// When it is none, or belongs to the node itself.
    pub fn parse(name: &str) -> Result<Self, InvalidCommand> {
        let good = name.len() <= MAX_NAME
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        if !good {
            return Err(InvalidCommand::Name(name.to_owned()));
        }
        let taken = Builtin::ALL.iter().any(|builtin| builtin.name() == name)
            || name.starts_with("system.");
        if taken {
            return Err(InvalidCommand::Taken(name.to_owned()));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A local program as a command: JSON on its standard input, JSON on its standard output.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomCommand {
    /// The program, as an absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// What it does, for agents; a command without one is not offered to them as a tool.
    pub description: Option<String>,
    /// The JSON schema of its parameters.
    pub parameters: Option<Value>,
    /// How long it may take, if that is less than what a request allows.
    pub timeout: Option<Duration>,
}

impl CustomCommand {
    /// A command without arguments.
    pub const fn new(program: PathBuf) -> Self {
        Self {
            program,
            args: Vec::new(),
            description: None,
            parameters: None,
            timeout: None,
        }
    }
}

/// How the desktop shows a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notifier {
    /// By `notify-send`, which is at this path.
    NotifySend(PathBuf),
    /// By `osascript`, which is at this path.
    Osascript(PathBuf),
}

impl Notifier {
    /// What the desktop of a system (`linux`, `macos`) offers. Without a session of a desktop there
    /// is nobody to see anything.
    pub fn of(
        system: &str,
        has_desktop: bool,
        find: impl Fn(&str) -> Option<PathBuf>,
    ) -> Option<Self> {
        match system {
            "macos" => find("osascript").map(Self::Osascript),
            _ if has_desktop => find("notify-send").map(Self::NotifySend),
            _ => None,
        }
    }
}

/// The commands of every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Builtin {
    DeviceInfo,
    DeviceStatus,
    ExecApprovalsGet,
    ExecApprovalsSet,
    Notify,
    Run,
    RunPrepare,
    Which,
}

impl Builtin {
    pub(super) const ALL: [Self; 8] = [
        Self::DeviceInfo,
        Self::DeviceStatus,
        Self::ExecApprovalsGet,
        Self::ExecApprovalsSet,
        Self::Notify,
        Self::Run,
        Self::RunPrepare,
        Self::Which,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::DeviceInfo => "device.info",
            Self::DeviceStatus => "device.status",
            Self::ExecApprovalsGet => "system.execApprovals.get",
            Self::ExecApprovalsSet => "system.execApprovals.set",
            Self::Notify => "system.notify",
            Self::Run => "system.run",
            Self::RunPrepare => "system.run.prepare",
            Self::Which => "system.which",
        }
    }
}

/// What a node offers.
#[derive(Clone, Debug, Default)]
pub struct NodeCommands {
    /// What may run.
    pub exec: ExecPolicy,
    /// How to notify, where the desktop can.
    pub notifier: Option<Notifier>,
    /// Local programs as commands.
    pub custom: BTreeMap<CommandName, CustomCommand>,
}

/// One command that is offered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Offered<'a> {
    Builtin(Builtin),
    Custom(&'a CommandName, &'a CustomCommand),
}

impl NodeCommands {
    /// The names, as `connect` declares them.
    pub fn names(&self) -> Vec<String> {
        let own = Builtin::ALL
            .into_iter()
            .filter(|builtin| self.offers(*builtin))
            .map(|builtin| builtin.name().to_owned());
        let custom = self.custom.keys().map(|name| name.0.clone());
        let mut names: Vec<String> = own.chain(custom).collect();
        names.sort_unstable();
        names
    }

    /// The capabilities, as `connect` declares them.
    pub fn caps(&self) -> Vec<String> {
        let mut caps = vec!["device".to_owned()];
        if !self.custom.is_empty() {
            caps.push("custom".to_owned());
        }
        caps.push("system".to_owned());
        caps
    }

    fn offers(&self, builtin: Builtin) -> bool {
        match builtin {
            Builtin::Notify => self.notifier.is_some(),
            Builtin::Run | Builtin::RunPrepare => self.exec != ExecPolicy::Deny,
            Builtin::DeviceInfo
            | Builtin::DeviceStatus
            | Builtin::ExecApprovalsGet
            | Builtin::ExecApprovalsSet
            | Builtin::Which => true,
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<Offered<'_>> {
        let builtin = Builtin::ALL
            .into_iter()
            .find(|builtin| builtin.name() == name && self.offers(*builtin));
        if let Some(builtin) = builtin {
            return Some(Offered::Builtin(builtin));
        }
        let custom = self.custom.iter().find(|(known, _)| known.0 == name);
        custom.map(|(name, command)| Offered::Custom(name, command))
    }

    /// What agents are told of the commands (`node.pluginTools.update`).
    pub(super) fn tools(&self) -> Vec<Value> {
        let tool = |(name, command): (&CommandName, &CustomCommand)| {
            let description = command.description.as_deref()?.trim();
            let mut tool = json!({
                "pluginId": "clawgate",
                "name": name.0.replace('.', "_"),
                "description": description,
                "command": name.0,
            });
            if let Some(parameters) = command.parameters.as_ref().filter(|it| it.is_object()) {
                put(&mut tool, "parameters", parameters.clone());
            }
            (!description.is_empty()).then_some(tool)
        };
        self.custom.iter().filter_map(tool).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_node_itself_cannot_be_taken() {
        for name in ["system.run", "device.info", "system.anything"] {
            assert!(matches!(
                CommandName::parse(name),
                Err(InvalidCommand::Taken(_))
            ));
        }
        for name in ["", "1a", "a b", ".a", "ä", &"a".repeat(65)] {
            assert!(matches!(
                CommandName::parse(name),
                Err(InvalidCommand::Name(_))
            ));
        }
        assert_eq!(
            CommandName::parse("lights.set-1").unwrap().as_str(),
            "lights.set-1"
        );
    }

    #[test]
    fn only_what_works_is_offered() {
        let mut commands = NodeCommands {
            exec: ExecPolicy::Deny,
            ..NodeCommands::default()
        };
        let name = CommandName::parse("lights.set").unwrap();
        let mut command = CustomCommand::new("/bin/lights".into());
        commands.custom.insert(name.clone(), command.clone());
        assert_eq!(
            commands.names(),
            [
                "device.info",
                "device.status",
                "lights.set",
                "system.execApprovals.get",
                "system.execApprovals.set",
                "system.which",
            ]
        );
        assert!(commands.find("system.run").is_none());
        assert!(commands.tools().is_empty());
        command.description = Some("Sets the lights.".into());
        commands.custom.insert(name, command);
        commands.exec = ExecPolicy::Ask;
        commands.notifier = Some(Notifier::NotifySend("/usr/bin/notify-send".into()));
        let names = commands.names();
        assert!(
            names.contains(&"system.run".to_owned()) && names.contains(&"system.notify".to_owned())
        );
        let tool = &commands.tools()[0];
        assert_eq!(
            (&tool["name"], &tool["command"]),
            (&json!("lights_set"), &json!("lights.set"))
        );
    }
}
