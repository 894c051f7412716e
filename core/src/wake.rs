//! Voice Wake for a client that recognises speech itself: which of the recognised lines are meant for the
//! gateway, and where they go (spec protocol §6.6). The words and routes are the gateway's.

use serde_json::Value;

/// Where a spoken message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The session that the client is in.
    Current,
    /// An agent's own session.
    Agent(String),
    /// This session.
    Session(String),
}

/// What a line was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Not meant for the gateway.
    Nothing,
    /// A wake word, and nothing behind it: the next line is the message.
    Listening {
        /// The word.
        word: String,
    },
    /// A message.
    Message {
        /// The word before it.
        word: String,
        /// What was said behind the word.
        text: String,
        /// Where it goes.
        to: Destination,
    },
}

/// Hears recognised lines, one after the other.
///
/// ```
/// use clawgate_core::wake::{Destination, Heard, Wake};
/// use serde_json::json;
///
/// let routing = json!({
///     "defaultTarget": { "mode": "current" },
///     "routes": [{ "trigger": "hey bot", "target": { "agentId": "ops" } }],
/// });
/// let mut wake = Wake::new(&json!(["computer", "hey bot"]), &routing);
/// assert_eq!(wake.hear("what a nice day"), Heard::Nothing);
/// assert_eq!(
///     wake.hear("Hey, Bot! How full is the disk?"),
///     Heard::Message {
///         word: "hey bot".into(),
///         text: "How full is the disk?".into(),
///         to: Destination::Agent("ops".into()),
///     },
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Wake {
    /// Normalised, the longest first.
    words: Vec<String>,
    routes: Vec<(String, Destination)>,
    elsewhere: Destination,
    /// The word of the last line, if nothing stood behind it.
    listening: Option<String>,
}

impl Wake {
    /// Reads what `voicewake.get` and `voicewake.routing.get` answer: the list of words, and the config
    /// of routes. What means nothing is left out.
    pub fn new(words: &Value, routing: &Value) -> Self {
        let mut wake = Self {
            words: Vec::new(),
            routes: Vec::new(),
            elsewhere: Destination::Current,
            listening: None,
        };
        wake.update(words, routing);
        wake
    }

    /// Takes up other words and routes, and goes on listening.
    pub fn update(&mut self, words: &Value, routing: &Value) {
        let words = words.as_array().into_iter().flatten();
        self.words = words
            .filter_map(|word| Some(normalized(word.as_str()?)))
            .filter(|word| !word.is_empty())
            .collect();
        self.words
            .sort_by_key(|word| core::cmp::Reverse(word.split(' ').count()));
        let routes = routing.get("routes").and_then(Value::as_array);
        self.routes = routes
            .into_iter()
            .flatten()
            .filter_map(|route| {
                let word = normalized(route.get("trigger")?.as_str()?);
                Some((word, destination(route.get("target")?)?))
            })
            .collect();
        self.elsewhere = routing
            .get("defaultTarget")
            .and_then(destination)
            .unwrap_or(Destination::Current);
    }

    /// The words that wake.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Hears one line.
    pub fn hear(&mut self, line: &str) -> Heard {
        let listening = self.listening.take();
        if let Some((word, rest)) = self.find(line) {
            let text = behind(rest);
            if !text.contains(char::is_alphanumeric) {
                self.listening = Some(word.clone());
                return Heard::Listening { word };
            }
            let text = text.to_owned();
            return self.message(word, text);
        }
        let line = line.trim();
        match listening {
            Some(word) if line.contains(char::is_alphanumeric) => {
                self.message(word, line.to_owned())
            }
            // Silence does not end the listening.
            Some(word) => {
                self.listening = Some(word);
                Heard::Nothing
            }
            None => Heard::Nothing,
        }
    }

    fn message(&self, word: String, text: String) -> Heard {
        let route = self.routes.iter().find(|(trigger, _)| *trigger == word);
        let to = route.map_or_else(|| self.elsewhere.clone(), |(_, to)| to.clone());
        Heard::Message { word, text, to }
    }

    /// The first wake word in a line, and what stands behind it.
    fn find<'a>(&self, line: &'a str) -> Option<(String, &'a str)> {
        let mut parts: Vec<(String, &'a str)> = Vec::new();
        let mut rest = line;
        while let Some(start) = rest.find(|c: char| !c.is_whitespace()) {
            let (_, from) = rest.split_at(start);
            let end = from.find(char::is_whitespace).unwrap_or(from.len());
            let (part, after) = from.split_at(end);
            let part = normalized(part);
            if !part.is_empty() {
                parts.push((part, after));
            }
            rest = after;
        }
        (0..parts.len()).find_map(|at| {
            self.words.iter().find_map(|word| {
                let mut after = "";
                for (index, wanted) in word.split(' ').enumerate() {
                    let (part, rest) = parts.get(at + index)?;
                    if part != wanted {
                        return None;
                    }
                    after = rest;
                }
                Some((word.clone(), after))
            })
        })
    }
}

fn behind(rest: &str) -> &str {
    rest.trim_matches(|c: char| c.is_whitespace())
        .trim_start_matches(|c: char| {
            matches!(c, ',' | '.' | '!' | '?' | ':' | ';' | '-' | '–' | '—')
        })
        .trim_start()
}

fn destination(target: &Value) -> Option<Destination> {
    let text = |name: &str| {
        let text = target.get(name)?.as_str()?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    if text("mode").as_deref() == Some("current") {
        return Some(Destination::Current);
    }
    match (text("agentId"), text("sessionKey")) {
        (Some(agent), None) => Some(Destination::Agent(agent)),
        (None, Some(session)) => Some(Destination::Session(session)),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// A wake word as it is compared: lower case, one space between its parts, nothing but letters and
/// digits at the ends of each.
pub(crate) fn normalized(word: &str) -> String {
    let parts: Vec<String> = word
        .to_lowercase()
        .split_whitespace()
        .map(|part| {
            part.trim_matches(|each: char| !each.is_alphanumeric())
                .to_owned()
        })
        .filter(|part| !part.is_empty())
        .collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wake() -> Wake {
        let routing = json!({
            "defaultTarget": { "sessionKey": "agent:main:main" },
            "routes": [
                { "trigger": "Hey Bot", "target": { "agentId": "ops" } },
                { "trigger": "computer", "target": { "mode": "current" } },
                { "trigger": "claude", "target": { "agentId": "a", "sessionKey": "b" } },
            ],
        });
        Wake::new(
            &json!(["computer", "claude", "hey bot", "hey", " ", 7]),
            &routing,
        )
    }

    fn message(word: &str, text: &str, to: Destination) -> Heard {
        let (word, text) = (word.to_owned(), text.to_owned());
        Heard::Message { word, text, to }
    }

    #[test]
    fn what_follows_the_first_wake_word_is_the_message() {
        let mut wake = wake();
        assert_eq!(
            wake.hear("well, Computer: lights off, computer!"),
            message("computer", "lights off, computer!", Destination::Current)
        );
        // The longer one of two that begin alike.
        assert_eq!(
            wake.hear("HEY, bot -- status?"),
            message("hey bot", "status?", Destination::Agent("ops".into()))
        );
        // A route that means nothing leaves the default.
        assert_eq!(
            wake.hear("Claude hello"),
            message(
                "claude",
                "hello",
                Destination::Session("agent:main:main".into())
            )
        );
        for line in ["computers are nice", "", "  ", "…", "the comp uter"] {
            assert_eq!(wake.hear(line), Heard::Nothing, "{line}");
        }
    }

    #[test]
    fn a_word_alone_listens_for_the_next_line() {
        let mut wake = wake();
        let word = "computer".to_owned();
        assert_eq!(wake.hear("Computer…"), Heard::Listening { word });
        assert_eq!(wake.hear(" "), Heard::Nothing);
        assert_eq!(
            wake.hear(" lights off "),
            message("computer", "lights off", Destination::Current)
        );
        assert_eq!(wake.hear("lights on"), Heard::Nothing);
    }

    #[test]
    fn other_words_are_taken_up() {
        let mut wake = wake();
        wake.update(&json!(["robot"]), &Value::Null);
        assert_eq!(wake.words(), ["robot"]);
        assert_eq!(wake.hear("computer hello"), Heard::Nothing);
        assert_eq!(
            wake.hear("robot hello"),
            message("robot", "hello", Destination::Current)
        );
    }
}
