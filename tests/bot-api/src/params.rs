//! The parameters of a call, from whatever form they came in: a query string, a JSON object, a form, or
//! a form with files. As the Bot API does, everything but a file becomes a text first.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

/// The parameters of a call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params {
    values: BTreeMap<String, String>,
    files: BTreeMap<String, Upload>,
}

/// A file that came with a call.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    /// The name that it came under.
    pub(crate) name: Option<String>,
    /// The type that it came as.
    pub(crate) mime_type: Option<String>,
    /// The file itself.
    pub(crate) data: Arc<[u8]>,
}

impl Params {
    /// A parameter that is there and not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// A parameter as a number. What is none counts as absent.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.trim().parse().ok()
    }

    /// Whether a parameter says yes.
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| {
            matches!(value.to_ascii_lowercase().as_str(), "true" | "yes" | "1")
        })
    }

    /// A parameter as JSON.
    ///
    /// # Errors
    ///
    /// When it is there and no JSON.
    pub(crate) fn json(&self, name: &str) -> Result<Option<Value>, serde_json::Error> {
        self.text(name).map(serde_json::from_str).transpose()
    }

    /// A file.
    pub(crate) fn file(&self, name: &str) -> Option<&Upload> {
        self.files.get(name)
    }

    /// The parameters without files, as they are kept for tests.
    pub(crate) fn values(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    pub(crate) fn insert(&mut self, name: String, value: String) {
        self.values.insert(name, value);
    }

    pub(crate) fn insert_file(&mut self, name: String, file: Upload) {
        self.files.insert(name, file);
    }

    pub(crate) fn insert_object(&mut self, object: Map<String, Value>) {
        for (name, value) in object {
            let text = match value {
                Value::Null => continue,
                Value::String(text) => text,
                Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    value.to_string()
                }
            };
            self.insert(name, text);
        }
    }

    pub(crate) fn insert_urlencoded(&mut self, text: &str) {
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.insert(url_decoded(name), url_decoded(value));
        }
    }
}

/// Takes `%20` and `+` back. What is no UTF-8 then is replaced.
pub(crate) fn url_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let mut ahead = rest.clone();
                let mut digit = || {
                    ahead
                        .next()
                        .and_then(|digit| char::from(digit).to_digit(16))
                };
                match (digit(), digit()) {
                    (Some(high), Some(low)) => {
                        bytes.extend(u8::try_from(high * 16 + low));
                        rest = ahead;
                    }
                    _ => bytes.push(b'%'),
                }
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
