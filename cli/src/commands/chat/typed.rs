//! What a line that was typed means.

/// What to do with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Stop the run under way.
    Abort,
    /// Show what can be typed.
    Help,
    /// Show so many earlier messages.
    History(Option<u16>),
    /// Nothing was typed.
    Nothing,
    /// Leave.
    Quit,
    /// Say it to the agent.
    Say(String),
    /// Go on in another session.
    Session(String),
    /// List the sessions.
    Sessions,
    /// Show the session and the gateway.
    Status,
    /// A command without what it needs; how it is typed.
    Wrong(&'static str),
}

/// What can be typed.
pub(super) const HELP: &str = "\
/help              this text
/quit              leave (or Ctrl-D); a run under way goes on
/abort             stop the run under way (or Ctrl-C)
/new               begin the session anew
/history [NUMBER]  show earlier messages
/sessions          list the sessions
/session KEY       go on in another session
/status            the gateway and the session
//TEXT             say /TEXT to the agent; other words with a slash go to it as they are";

impl Typed {
    /// Reads a line.
    pub(super) fn parse(line: &str) -> Self {
        let line = line.trim();
        if line.is_empty() {
            return Self::Nothing;
        }
        if let Some(text) = line.strip_prefix('/').filter(|text| text.starts_with('/')) {
            return Self::Say(text.to_owned());
        }
        let (word, rest) = line
            .split_once(char::is_whitespace)
            .map_or((line, ""), |(word, rest)| (word, rest.trim()));
        match (word, rest) {
            ("/abort" | "/stop", "") => Self::Abort,
            ("/help", "") => Self::Help,
            ("/history", "") => Self::History(None),
            ("/history", number) => match number.parse() {
                Ok(number @ 1..=1_000) => Self::History(Some(number)),
                _ => Self::Wrong("/history NUMBER, from 1 to 1000"),
            },
            ("/quit" | "/exit", "") => Self::Quit,
            ("/session", "") => Self::Wrong("/session KEY"),
            ("/session", key) => Self::Session(key.to_owned()),
            ("/sessions", "") => Self::Sessions,
            ("/status", "") => Self::Status,
            _ => Self::Say(line.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_known_and_everything_else_is_said() {
        let say = |text: &str| Typed::Say(text.into());
        for (line, typed) in [
            ("", Typed::Nothing),
            (" hello ", say("hello")),
            ("/quit", Typed::Quit),
            ("/quit now", say("/quit now")),
            ("/history", Typed::History(None)),
            ("/history 5", Typed::History(Some(5))),
            (
                "/history x",
                Typed::Wrong("/history NUMBER, from 1 to 1000"),
            ),
            ("/session  work ", Typed::Session("work".into())),
            ("/session", Typed::Wrong("/session KEY")),
            ("/new", say("/new")),
            ("/nodes", say("/nodes")),
            ("//status", say("/status")),
            ("/echo /quit", say("/echo /quit")),
        ] {
            assert_eq!(Typed::parse(line), typed, "{line}");
        }
    }

    #[test]
    fn the_help_lists_every_command() {
        for line in HELP.lines().filter(|line| !line.starts_with("//")) {
            let word = line.split_whitespace().next().unwrap();
            let is_said = matches!(Typed::parse(word), Typed::Say(_));
            assert_eq!(is_said, word == "/new", "{word}");
        }
    }
}
