//! Texts and parameters with `{name}` in them.
//!
//! `{name}` stands for a kept part of the message, and `{result.some.field}` for a part of a result;
//! `{result/some/field}` does too, as a JSON pointer. A list is entered by a number. What is a text
//! there is written without quotes, anything else as JSON, and what is not there as `?`. In
//! parameters, `{name:number}` as a whole text becomes a number. `{{` and `}}` stand for the
//! characters themselves.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::pattern::is_name;

/// Values by name.
pub(super) type Names = BTreeMap<String, Value>;

/// Bytes that one filled text may have.
pub(super) const MAX_TEXT: usize = 64 * 1024;

/// A text with places to fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(Place),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    name: String,
    path: Vec<String>,
    number: bool,
}

/// Why a text is no template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateFault {
    #[error("a brace has no other half; write {{{{ or }}}} for the character itself")]
    Brace,
    #[error(
        "between braces belongs a name, or a name and a path such as {{result.field}} or \
         {{result/field}}"
    )]
    Place,
    #[error(":number can only stand in a text of its own, such as \"{{level:number}}\"")]
    Number,
}

/// A captured text that is no number where one is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotANumber(pub(super) String);

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, TemplateFault> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '{' | '}' if rest.peek() == Some(&c) => {
                    rest.next();
                    plain.push(c);
                }
                '}' => return Err(TemplateFault::Brace),
                '{' => {
                    let mut inner = String::new();
                    loop {
                        match rest.next() {
                            Some('}') => break,
                            Some(c) => inner.push(c),
                            None => return Err(TemplateFault::Brace),
                        }
                    }
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(Piece::Place(Place::parse(&inner)?));
                }
                other => plain.push(other),
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        let numbers = pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Place(place) if place.number));
        if numbers && pieces.len() > 1 {
            return Err(TemplateFault::Number);
        }
        Ok(Self(pieces))
    }

    /// The names that it uses.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Place(place) => Some(place.name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The text, cut where it becomes longer than [`MAX_TEXT`].
    pub(super) fn fill(&self, names: &Names) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Place(place) => text.push_str(&place.text(names)),
            }
        }
        cut(text)
    }

    fn number(&self) -> Option<&Place> {
        match self.0.as_slice() {
            [Piece::Place(place)] if place.number => Some(place),
            _ => None,
        }
    }
}

impl Place {
    fn parse(inner: &str) -> Result<Self, TemplateFault> {
        let (inner, number) = match inner.strip_suffix(":number") {
            Some(inner) => (inner, true),
            None => (inner, false),
        };
        let (name, path) = match inner.find(['.', '/']) {
            None => (inner, Vec::new()),
            Some(at) => {
                let (name, path) = inner.split_at(at);
                (name, steps(path).ok_or(TemplateFault::Place)?)
            }
        };
        if !is_name(name) {
            return Err(TemplateFault::Place);
        }
        Ok(Self {
            name: name.to_owned(),
            path,
            number,
        })
    }

    fn value<'a>(&self, names: &'a Names) -> Option<&'a Value> {
        let mut value = names.get(&self.name)?;
        for step in &self.path {
            value = match value {
                Value::Object(object) => object.get(step)?,
                Value::Array(items) => items.get(step.parse::<usize>().ok()?)?,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
            };
        }
        Some(value)
    }

    fn text(&self, names: &Names) -> String {
        match self.value(names) {
            None => "?".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        }
    }
}

/// The steps of `.a.b` or `/a/b`.
fn steps(path: &str) -> Option<Vec<String>> {
    let steps: Vec<String> = if let Some(pointer) = path.strip_prefix('/') {
        let step = |step: &str| step.replace("~1", "/").replace("~0", "~");
        pointer.split('/').map(step).collect()
    } else {
        path.strip_prefix('.')?
            .split('.')
            .map(str::to_owned)
            .collect()
    };
    let whole = steps.iter().all(|step| !step.is_empty());
    whole.then_some(steps)
}

/// Parameters with templates for texts.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Text(Template),
    List(Vec<Self>),
    Object(BTreeMap<String, Self>),
    Fixed(Value),
}

impl Shape {
    pub(super) fn parse(value: &Value) -> Result<Self, TemplateFault> {
        Ok(match value {
            Value::String(text) => Self::Text(Template::parse(text)?),
            Value::Array(items) => {
                Self::List(items.iter().map(Self::parse).collect::<Result<_, _>>()?)
            }
            Value::Object(object) => Self::Object(
                object
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), Self::parse(value)?)))
                    .collect::<Result<_, TemplateFault>>()?,
            ),
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::Fixed(value.clone()),
        })
    }

    /// Every name in it.
    pub(super) fn names(&self, into: &mut BTreeSet<String>) {
        match self {
            Self::Text(template) => into.extend(template.names().map(str::to_owned)),
            Self::List(items) => items.iter().for_each(|item| item.names(into)),
            Self::Object(object) => object.values().for_each(|value| value.names(into)),
            Self::Fixed(_) => {}
        }
    }

    pub(super) fn fill(&self, names: &Names) -> Result<Value, NotANumber> {
        Ok(match self {
            Self::Fixed(value) => value.clone(),
            Self::List(items) => Value::Array(
                items
                    .iter()
                    .map(|item| item.fill(names))
                    .collect::<Result<_, _>>()?,
            ),
            Self::Object(object) => Value::Object(
                object
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), value.fill(names)?)))
                    .collect::<Result<Map<_, _>, NotANumber>>()?,
            ),
            Self::Text(template) => match template.number() {
                None => Value::String(template.fill(names)),
                Some(place) => number(place, names)?,
            },
        })
    }
}

fn number(place: &Place, names: &Names) -> Result<Value, NotANumber> {
    let text = place.text(names);
    match serde_json::from_str::<Value>(text.trim()) {
        Ok(value @ Value::Number(_)) => Ok(value),
        _ => Err(NotANumber(place.name.clone())),
    }
}

/// At most [`MAX_TEXT`] bytes of a text.
pub(super) fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names() -> Names {
        let result = json!({ "battery": { "level": 0.5 }, "names": ["a", "b"], "a/b": 1 });
        [
            ("node".to_owned(), json!("Phone")),
            ("level".to_owned(), json!("40")),
            ("result".to_owned(), result),
        ]
        .into()
    }

    #[test]
    fn places_are_filled_by_name_path_and_pointer() {
        for (template, text) in [
            ("plain", "plain"),
            ("{node}: {result.battery.level}", "Phone: 0.5"),
            ("{result/names/1} {result.names.0}", "b a"),
            ("{result/a~1b}", "1"),
            ("{result.names}", r#"["a","b"]"#),
            ("{result.gone} {nobody} {result.names.7}", "? ? ?"),
            ("{{{node}}}", "{Phone}"),
        ] {
            let filled = Template::parse(template).unwrap().fill(&names());
            assert_eq!(filled, text, "{template}");
        }
    }

    #[test]
    fn parameters_keep_their_shape_and_can_hold_numbers() {
        let shape = Shape::parse(&json!({
            "to": "{node}", "level": "{level:number}", "on": true, "list": ["{node}!", 1],
        }))
        .unwrap();
        assert_eq!(
            shape.fill(&names()).unwrap(),
            json!({ "to": "Phone", "level": 40, "on": true, "list": ["Phone!", 1] })
        );
        let shape = Shape::parse(&json!("{node:number}")).unwrap();
        assert_eq!(shape.fill(&names()), Err(NotANumber("node".into())));
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (text, fault) in [
            ("{a", TemplateFault::Brace),
            ("a}", TemplateFault::Brace),
            ("{}", TemplateFault::Place),
            ("{a.}", TemplateFault::Place),
            ("{a b}", TemplateFault::Place),
            ("x {a:number}", TemplateFault::Number),
        ] {
            assert_eq!(Template::parse(text), Err(fault), "{text}");
        }
    }
}
