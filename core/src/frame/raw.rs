//! JSON text that is known to be well formed and is not parsed yet.

use std::fmt;

use bytestring::ByteString;
use serde::{Serialize, de::DeserializeOwned};

/// One JSON value as text. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct RawJson(ByteString);

impl RawJson {
    /// Serialises a value.
    ///
    /// # Errors
    /// When the value has no JSON form, such as a map with keys that are not strings.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(|text| Self(text.into()))
    }

    /// Takes text after checking that it is one JSON value.
    ///
    /// # Errors
    /// When it is not.
    pub fn checked(text: impl Into<ByteString>) -> Result<Self, serde_json::Error> {
        let text = text.into();
        serde_json::from_str::<&serde_json::value::RawValue>(&text)?;
        Ok(Self(text))
    }

    /// Takes text that a client wrote inside a string, if it is one JSON value that nests no deeper
    /// than a frame may.
    pub(crate) fn shallow(text: impl Into<ByteString>) -> Option<Self> {
        let json = Self::checked(text).ok()?;
        (!super::decode::too_deep(json.0.as_bytes())).then_some(json)
    }

    /// A part of an envelope that the parser has already found well formed.
    pub(super) fn of_parsed(text: ByteString) -> Self {
        Self(text)
    }

    /// The empty object, which a missing `params` means.
    pub fn empty_object() -> Self {
        Self(ByteString::from_static("{}"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses the value.
    ///
    /// # Errors
    /// When its shape is not that of `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
}

impl fmt::Debug for RawJson {
    /// Shows the size only: payloads may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawJson({} bytes)", self.0.len())
    }
}
