//! The commands that the built-in agent knows by itself.

use crate::frame::RawJson;

/// A message that begins with `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Status,
    Nodes,
    Echo(String),
    Invoke(Invoke),
    /// None of these.
    Unknown(String),
    /// One of these, but written wrongly: what to write.
    Malformed(String),
}

/// `/invoke NODE COMMAND {json}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invoke {
    pub(super) node: String,
    pub(super) command: String,
    pub(super) params: RawJson,
}

pub(super) const INVOKE_USAGE: &str = "/invoke NODE COMMAND {json}";

impl Command {
    /// The command of a message, or `None` where it is none.
    pub(super) fn parse(message: &str) -> Option<Self> {
        let text = message.trim().strip_prefix('/')?;
        let (name, rest) = match text.split_once(char::is_whitespace) {
            Some((name, rest)) => (name, rest.trim()),
            None => (text, ""),
        };
        // A path such as /etc/hosts is no command.
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return None;
        }
        Some(match name.to_ascii_lowercase().as_str() {
            "help" => Self::Help,
            "status" => Self::Status,
            "nodes" => Self::Nodes,
            "echo" => Self::Echo(rest.to_owned()),
            "invoke" => Invoke::parse(rest).map_or_else(Self::Malformed, Self::Invoke),
            other => Self::Unknown(other.to_owned()),
        })
    }
}

impl Invoke {
    fn parse(text: &str) -> Result<Self, String> {
        let usage = || {
            format!(
                "Write `{INVOKE_USAGE}`; put a node's name with blanks between double quotes, and \
                 leave the JSON out where the command needs none."
            )
        };
        let (node, rest) = word(text).ok_or_else(usage)?;
        let (command, rest) = word(rest).ok_or_else(usage)?;
        let params = if rest.is_empty() {
            RawJson::empty_object()
        } else {
            let object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(rest);
            object
                .and_then(|_| RawJson::checked(rest.to_owned()))
                .map_err(|error| {
                    format!(
                        "The parameters are no JSON object (column {}). {}",
                        error.column(),
                        usage()
                    )
                })?
        };
        Ok(Self {
            node,
            command,
            params,
        })
    }
}

/// The first word, or what stands between double quotes, and the rest.
fn word(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    let (word, rest) = match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?,
        None => text.split_once(char::is_whitespace).unwrap_or((text, "")),
    };
    (!word.is_empty()).then(|| (word.to_owned(), rest.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::wildcard_enum_match_arm, reason = "anything else is a mistake")]
    fn invoke(text: &str) -> Result<(String, String, String), String> {
        match Command::parse(text).unwrap() {
            Command::Invoke(invoke) => Ok((
                invoke.node,
                invoke.command,
                invoke.params.as_str().to_owned(),
            )),
            Command::Malformed(why) => Err(why),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn commands_are_told_from_messages() {
        for (text, command) in [
            ("/help", Some(Command::Help)),
            (" /STATUS now", Some(Command::Status)),
            ("/nodes", Some(Command::Nodes)),
            ("/echo  a b ", Some(Command::Echo("a b".into()))),
            ("/echo", Some(Command::Echo(String::new()))),
            ("/dance", Some(Command::Unknown("dance".into()))),
            ("hello", None),
            ("/", None),
            ("/etc/hosts is broken", None),
            ("a /help", None),
        ] {
            assert_eq!(Command::parse(text), command, "{text}");
        }
    }

    #[test]
    fn invoke_takes_a_node_a_command_and_an_object() {
        let three = |a: &str, b: &str, c: &str| Ok((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(invoke("/invoke n c"), three("n", "c", "{}"));
        assert_eq!(
            invoke("/invoke \"My Mac\"  system.run {\"a\": [1]}"),
            three("My Mac", "system.run", "{\"a\": [1]}")
        );
        for (text, part) in [
            ("/invoke", "/invoke NODE"),
            ("/invoke n", "/invoke NODE"),
            ("/invoke \"n c", "/invoke NODE"),
            ("/invoke \"\" c", "/invoke NODE"),
            ("/invoke n c [1]", "no JSON object"),
            ("/invoke n c {\"a\"", "no JSON object"),
            ("/invoke n c {} {}", "no JSON object"),
        ] {
            let why = invoke(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}
