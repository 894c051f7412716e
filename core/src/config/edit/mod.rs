//! Changing a config file without losing its comments and its layout: text in, text out.
//!
//! A change is made to the values first. Then the text is changed in the fewest places that make it
//! say the new values, and what came out is parsed and compared: it must hold exactly the new values
//! and every comment that did not stand inside of a removed value. Otherwise nothing comes out.

use std::fmt;

use serde_json::{Map, Value};

use super::key_path::{KeyPath, Segment};
use super::redact::REDACTED;
use super::scan::{self, Position};
use super::{ConfigError, ConfigFile, EnvVars, Finding};

mod splice;
mod style;
mod tree;

/// One change of a config.
#[derive(Clone, PartialEq)]
pub enum Change {
    /// Gives a key this value, and makes the objects above it where there are none. An index may be
    /// that of an element, or the next one after the last.
    Set(KeyPath, Value),
    /// Takes a key or an element away.
    Unset(KeyPath),
    /// A JSON merge patch (RFC 7396): objects are merged, `null` takes a key away, everything else
    /// replaces what was there.
    Merge(Value),
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(path, _) => write!(f, "Set({path})"),
            Self::Unset(path) => write!(f, "Unset({path})"),
            Self::Merge(_) => f.write_str("Merge"),
        }
    }
}

/// A changed config.
#[derive(Clone, Debug, PartialEq)]
pub struct Edited {
    /// The new state of the file. Its text is what to write.
    pub file: ConfigFile,
    /// Comments that went because they stood inside of a value that went.
    pub comments_dropped: usize,
}

/// Why a config is not changed. Never repeats a value.
#[derive(Clone, Debug, PartialEq)]
pub enum EditError {
    /// The key to be taken away is not there.
    NotSet(KeyPath),
    /// Something that is no object or list stands where a key should get a value.
    NoPlace {
        /// What stands in the way.
        path: KeyPath,
        /// What it is.
        found: &'static str,
    },
    /// An index beyond the end of a list.
    NoElement {
        /// The list.
        path: KeyPath,
        /// How many elements it has.
        length: usize,
    },
    /// A merge patch that is no object.
    PatchNotObject,
    /// The value is the mark that stands for a secret in what is shown.
    Redacted(KeyPath),
    /// The key stands twice in the file, so it cannot be told which one is meant.
    WrittenTwice {
        /// The key.
        path: KeyPath,
        /// Where it stands the second time.
        position: Position,
    },
    /// The file could not be used any more.
    Invalid(Vec<Finding>),
    /// The file could not be read any more.
    Unreadable(Box<ConfigError>),
    /// Nothing would be left.
    Emptied,
    /// The place cannot be changed without damage to what is around it.
    ByHand {
        /// What would have changed.
        path: KeyPath,
        /// Where that stands.
        position: Position,
    },
}

impl EditError {
    /// A stable name for scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotSet(_) => "config_key_not_set",
            Self::NoPlace { .. } => "config_no_place",
            Self::NoElement { .. } => "config_no_element",
            Self::PatchNotObject => "config_patch_invalid",
            Self::Redacted(_) => "config_value_redacted",
            Self::WrittenTwice { .. } => "config_key_twice",
            Self::Invalid(_) | Self::Unreadable(_) => "config_change_invalid",
            Self::Emptied => "config_emptied",
            Self::ByHand { .. } => "config_edit_by_hand",
        }
    }

    /// The key that it is about.
    pub fn path(&self) -> Option<&KeyPath> {
        match self {
            Self::NotSet(path)
            | Self::NoPlace { path, .. }
            | Self::NoElement { path, .. }
            | Self::Redacted(path)
            | Self::WrittenTwice { path, .. }
            | Self::ByHand { path, .. } => Some(path),
            Self::Invalid(findings) => findings.first().map(|finding| &finding.path),
            Self::PatchNotObject | Self::Unreadable(_) | Self::Emptied => None,
        }
    }

    /// What to do next.
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::NotSet(_) => "Run `clawgate config get` to see what is set.",
            Self::NoPlace { .. } => "Set or unset that key first.",
            Self::NoElement { .. } => "Use the index of an element, or the next one to add one.",
            Self::PatchNotObject => {
                "Write an object, as in { gateway: { port: 18789 } }; null takes a key away."
            }
            Self::Redacted(_) => "Give the secret itself, or better a reference to it.",
            Self::WrittenTwice { .. } => "Remove one of the two by hand.",
            Self::Invalid(_) | Self::Unreadable(_) => "Nothing was changed. Correct the value.",
            Self::Emptied => "Nothing was changed. Remove the file itself if no config is wanted.",
            Self::ByHand { .. } => "Nothing was changed. Edit the file there by hand.",
        }
    }
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSet(path) => write!(f, "{path} is not set"),
            Self::NoPlace { path, found } => {
                write!(f, "{path} is {found}, so nothing can be set below it")
            }
            Self::NoElement { path, length } => write!(f, "{path} has {length} elements"),
            Self::PatchNotObject => f.write_str("the patch is no object"),
            Self::Redacted(path) => write!(
                f,
                "the value for {path} is the mark that stands for a secret where a config is shown"
            ),
            Self::WrittenTwice {
                path,
                position: Position { line, column },
            } => write!(
                f,
                "{path} is written twice, the second time at line {line}, column {column}"
            ),
            Self::Invalid(findings) => {
                f.write_str("the config could not be used with this change")?;
                for finding in findings {
                    write!(f, "; {}: {}", finding.path, finding.message)?;
                }
                Ok(())
            }
            Self::Unreadable(error) => write!(
                f,
                "the config could not be read with this change: {}",
                error.message()
            ),
            Self::Emptied => f.write_str("nothing would be left of the config"),
            Self::ByHand {
                path,
                position: Position { line, column },
            } => write!(
                f,
                "{path} cannot be changed at line {line}, column {column} without damage to what \
                 is around it"
            ),
        }
    }
}

impl std::error::Error for EditError {}

/// Carries out changes, in order. A file that does not exist becomes one with two spaces for each
/// level; one that has values that cannot be used may keep them, but no others may join them.
///
/// # Errors
/// An [`EditError`] where the result could not be used, or not be written without damage.
///
/// ```
/// use clawgate_core::config::{Change, ConfigFile, EnvVars, KeyPath, edit};
/// use serde_json::json;
///
/// let text = "{\n  // who may come in\n  gateway: {\n    port: 18789, // ours\n  },\n}\n";
/// let file = ConfigFile::parse("openclaw.json", text).unwrap();
/// let path = KeyPath::parse("gateway.auth.mode").unwrap();
/// let changes = [Change::Set(path, json!("token"))];
/// let edited = edit(&file, &changes, &EnvVars::new()).unwrap();
/// assert_eq!(
///     edited.file.text,
///     "{\n  // who may come in\n  gateway: {\n    port: 18789, // ours\n    auth: {\n      \
///      mode: \"token\",\n    },\n  },\n}\n",
/// );
/// ```
pub fn edit(file: &ConfigFile, changes: &[Change], env: &EnvVars) -> Result<Edited, EditError> {
    let mut after = file.parsed.clone();
    for change in changes {
        match change {
            Change::Set(path, value) => {
                refuse_redacted(path, value)?;
                *place(&mut after, path)? = value.clone();
            }
            Change::Unset(path) => unset(&mut after, path)?,
            Change::Merge(patch) => {
                if !patch.is_object() {
                    return Err(EditError::PatchNotObject);
                }
                refuse_redacted(&KeyPath::root(), patch)?;
                merge(&mut after, patch);
            }
        }
    }
    if is_empty(&after) && !is_empty(&file.parsed) {
        return Err(EditError::Emptied);
    }
    write(file, &after, env)
}

fn write(file: &ConfigFile, after: &Value, env: &EnvVars) -> Result<Edited, EditError> {
    const NEW: &str = "{}\n";
    let text = if file.exists { &file.text } else { NEW };
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let by_hand = || {
        let path = first_difference(&file.parsed, after);
        let mut place = path.clone();
        let position = loop {
            if let Some(Some(found)) = scan::locate(body, std::slice::from_ref(&place)).first() {
                break *found;
            }
            match place.parent() {
                Some(parent) => place = parent,
                None => break Position::START,
            }
        };
        EditError::ByHand { path, position }
    };
    let spliced = splice::splice(body, &file.parsed, after)?.ok_or_else(by_hand)?;
    let mark = text.strip_suffix(body).unwrap_or_default();
    let text = format!("{mark}{}", spliced.text);
    let new = match ConfigFile::parse_with(file.path.clone(), text, env) {
        Ok(new) => new,
        Err(error) => {
            return Err(match error.fault {
                super::ConfigFault::TooLong | super::ConfigFault::TooDeep => {
                    EditError::Unreadable(Box::new(error))
                }
                super::ConfigFault::Syntax(_)
                | super::ConfigFault::Value
                | super::ConfigFault::NotAnObject => by_hand(),
            });
        }
    };
    if new.parsed != *after {
        return Err(by_hand());
    }
    let known = |issue: &Finding| {
        let is_same = |old: &Finding| old.path == issue.path && old.message == issue.message;
        file.issues.iter().any(is_same)
    };
    let joined: Vec<Finding> = new.issues.iter().filter(|it| !known(it)).cloned().collect();
    if joined.is_empty() {
        Ok(Edited {
            file: new,
            comments_dropped: spliced.comments_dropped,
        })
    } else {
        Err(EditError::Invalid(joined))
    }
}

/// The place of a value, made where there is none.
fn place<'v>(root: &'v mut Value, path: &KeyPath) -> Result<&'v mut Value, EditError> {
    let mut here = KeyPath::root();
    let mut value = root;
    for segment in path.segments() {
        let kind = kind_of(value);
        // What was just made, or says nothing.
        if value.is_null() {
            *value = match segment {
                Segment::Key(_) => Value::Object(Map::new()),
                Segment::Index(_) => Value::Array(Vec::new()),
            };
        }
        value = match (segment, value) {
            (Segment::Key(key), Value::Object(object)) => {
                object.entry(key.clone()).or_insert(Value::Null)
            }
            (Segment::Index(index), Value::Array(items)) => {
                let length = items.len();
                if *index == length {
                    items.push(Value::Null);
                }
                match items.get_mut(*index) {
                    Some(element) => element,
                    None => return Err(EditError::NoElement { path: here, length }),
                }
            }
            _ => {
                return Err(EditError::NoPlace {
                    path: here,
                    found: kind,
                });
            }
        };
        here = match segment {
            Segment::Key(key) => here.key(key),
            Segment::Index(index) => here.index(*index),
        };
    }
    Ok(value)
}

fn unset(root: &mut Value, path: &KeyPath) -> Result<(), EditError> {
    let not_set = || EditError::NotSet(path.clone());
    let (last, above) = path.segments().split_last().ok_or_else(not_set)?;
    let above: KeyPath = above.to_vec().into();
    let mut parent = root;
    for segment in above.segments() {
        let child = match segment {
            Segment::Key(key) => parent.get_mut(key),
            Segment::Index(index) => parent.get_mut(*index),
        };
        parent = child.ok_or_else(not_set)?;
    }
    match (last, parent) {
        (Segment::Key(key), Value::Object(object)) => {
            object.remove(key).map(drop).ok_or_else(not_set)
        }
        (Segment::Index(index), Value::Array(items)) if *index < items.len() => {
            items.remove(*index);
            Ok(())
        }
        _ => Err(not_set()),
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn refuse_redacted(path: &KeyPath, value: &Value) -> Result<(), EditError> {
    match value {
        Value::String(text) if text == REDACTED => Err(EditError::Redacted(path.clone())),
        Value::Object(object) => object
            .iter()
            .try_for_each(|(key, value)| refuse_redacted(&path.key(key), value)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| refuse_redacted(&path.index(index), item)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn first_difference(before: &Value, after: &Value) -> KeyPath {
    super::diff::differences(before, after)
        .into_iter()
        .next()
        .unwrap_or_default()
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_none_or(Map::is_empty)
}

const fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
