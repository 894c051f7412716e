//! Texts with parts that are shown in some way, and what Telegram finds in a text by itself. Offsets and lengths are in UTF-16 code units, as everywhere in the Bot API.

use serde_json::{Value, json};

/// The longest text of a message, in UTF-16 code units after its formatting was taken out.
pub const MAX_TEXT: usize = 4096;

/// The longest text under a file.
pub const MAX_CAPTION: usize = 1024;

/// A part of a text that is shown in some way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// Telegram's name, such as `bold` or `text_link`.
    pub kind: &'static str,
    /// Where it begins.
    pub offset: usize,
    /// How long it is.
    pub length: usize,
    /// The `url` of a `text_link`, the `language` of a `pre`.
    pub argument: Option<String>,
}

/// A text without its markup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Formatted {
    /// The text that people see.
    pub text: String,
    /// How its parts are shown, by where they begin.
    pub entities: Vec<Entity>,
}

impl Entity {
    pub(crate) fn to_json(&self) -> Value {
        let mut value = json!({"type": self.kind, "offset": self.offset, "length": self.length});
        let name = match self.kind {
            "text_link" => "url",
            "pre" => "language",
            "custom_emoji" => "custom_emoji_id",
            _ => "",
        };
        if let (Some(argument), Some(object)) = (&self.argument, value.as_object_mut())
            && !name.is_empty()
        {
            object.insert(name.to_owned(), argument.as_str().into());
        }
        value
    }
}

impl Formatted {
    /// A text that a person wrote: commands and mentions are found in it.
    pub(crate) fn written(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            entities: find_entities(text),
        }
    }

    /// How long the text is in UTF-16 code units.
    #[must_use]
    pub fn length(&self) -> usize {
        utf16_length(&self.text)
    }

    /// What Telegram keeps of a text: without white space at its ends.
    pub(crate) fn trimmed(mut self) -> Self {
        let end = self.text.trim_end().len();
        self.text.truncate(end);
        let length = self.length();
        self.entities.retain_mut(|entity| {
            entity.length = entity.length.min(length.saturating_sub(entity.offset));
            entity.length > 0
        });
        let first = self.entities.first().map_or(length, |entity| entity.offset);
        let cut = self
            .text
            .chars()
            .take_while(|c| matches!(c, ' ' | '\n'))
            .count()
            .min(first);
        self.text.drain(..cut);
        for entity in &mut self.entities {
            entity.offset -= cut;
        }
        self
    }
}

pub(crate) fn utf16_length(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

fn find_entities(text: &str) -> Vec<Entity> {
    let mut found = Vec::new();
    let mut offset = 0;
    let mut before = None;
    for (at, c) in text.char_indices() {
        let starts_word =
            !before.is_some_and(|c: char| c.is_alphanumeric() || c == '_' || c == '/');
        let rest = text.get(at + c.len_utf8()..).unwrap_or_default();
        let length = match c {
            '@' if starts_word => name_length(rest).filter(|length| *length >= 3),
            '/' if starts_word => name_length(rest).map(|length| {
                let at_bot = rest.get(length..).and_then(|rest| rest.strip_prefix('@'));
                length + at_bot.and_then(name_length).map_or(0, |bot| bot + 1)
            }),
            _ => None,
        };
        if let Some(length) = length {
            found.push(Entity {
                kind: if c == '@' { "mention" } else { "bot_command" },
                offset,
                length: length + 1,
                argument: None,
            });
        }
        offset += c.len_utf16();
        // The bot's name in a command is no mention.
        before = if c == '@' { Some('_') } else { Some(c) };
    }
    found
}

fn name_length(rest: &str) -> Option<usize> {
    let length = rest
        .bytes()
        .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        .count();
    (length > 0).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_mentions_are_found() {
        let written = Formatted::written("🙂 /start@my_bot hi @anna, a@b.org /x/y");
        let found: Vec<_> = written
            .entities
            .iter()
            .map(|entity| (entity.kind, entity.offset, entity.length))
            .collect();
        assert_eq!(
            found,
            [
                ("bot_command", 3, 13),
                ("mention", 20, 5),
                ("bot_command", 35, 2)
            ]
        );
    }
}
