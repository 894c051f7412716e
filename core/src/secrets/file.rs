//! References to files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fault::{PathFault, ReadFault, RefFault};
use super::grammar::SINGLE_VALUE_ID;
use super::plan::whole_path;
use super::pointer::string_at;
use super::provider::{FileProvider, FileShape, PathTrust};
use super::trust::Standing;
use super::values::{RefValues, WantedRef};
use crate::config::EnvVars;

/// A file to read. The host opens it without following a link at its end and without waiting for a
/// writer, judges what it has opened, and reads no more than [`max_bytes`](Self::max_bytes) and one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRead {
    path: PathBuf,
    shape: FileShape,
    timeout: Duration,
    max_bytes: u64,
    trust: PathTrust,
    wanted: Vec<WantedRef>,
}

impl FileRead {
    pub(super) fn new(
        provider: &FileProvider,
        wanted: &[WantedRef],
        env: &EnvVars,
    ) -> Result<Self, RefFault> {
        Ok(Self {
            path: whole_path(&provider.path, env)?,
            shape: provider.shape,
            timeout: provider.timeout,
            max_bytes: provider.max_bytes,
            trust: provider.trust,
            wanted: wanted.to_vec(),
        })
    }

    /// The file, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long opening and reading may take.
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The longest file that is read, in bytes.
    pub const fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Whether the file may be read.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn judge(&self, standing: &Standing) -> Result<(), RefFault> {
        standing
            .of_secrets(self.trust)
            .map_err(|fault| self.path_fault(fault))
    }

    /// A fault of this file's path.
    pub fn path_fault(&self, fault: PathFault) -> RefFault {
        RefFault::Path {
            path: self.path.clone(),
            fault,
        }
    }

    /// A fault of this file's content.
    pub fn read_fault(&self, fault: ReadFault) -> RefFault {
        RefFault::Read {
            path: self.path.clone(),
            fault,
        }
    }

    /// Takes what was read and fills in the values.
    pub fn settle(&self, outcome: Result<&[u8], RefFault>, values: &mut RefValues) {
        let text = outcome.and_then(|bytes| {
            if bytes.len() as u64 > self.max_bytes {
                let limit = self.max_bytes;
                return Err(self.read_fault(ReadFault::TooLong { limit }));
            }
            let text =
                std::str::from_utf8(bytes).map_err(|_| self.read_fault(ReadFault::NotUtf8))?;
            Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
        });
        for wanted in &self.wanted {
            let value = match &text {
                Ok(text) => self.value(text, &wanted.id),
                Err(fault) => Err(fault.clone()),
            };
            let value = value.as_ref().map(|value| value.as_str());
            values.insert(wanted.clone(), value.map_err(Clone::clone));
        }
    }

    fn value(&self, text: &str, id: &str) -> Result<zeroize::Zeroizing<String>, RefFault> {
        match (self.shape, id == SINGLE_VALUE_ID) {
            (FileShape::SingleValue, true) => Ok(text.to_owned()),
            (FileShape::SingleValue, false) => Err(ReadFault::PointerIntoValue),
            (FileShape::Json, true) => Err(ReadFault::ValueOfJson),
            (FileShape::Json, false) => string_at(text, id),
        }
        .map(zeroize::Zeroizing::new)
        .map_err(|fault| self.read_fault(fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RefSource;
    use serde_json::{Value, json};

    fn read(provider: Value, id: &str, content: &[u8]) -> Result<String, String> {
        let super::super::SecretProvider::File(provider) =
            super::super::SecretProvider::from_value(&provider)
        else {
            panic!("{provider}");
        };
        let wanted = WantedRef {
            source: RefSource::File,
            provider: "main".into(),
            id: id.into(),
        };
        let read =
            FileRead::new(&provider, std::slice::from_ref(&wanted), &EnvVars::new()).unwrap();
        let mut values = RefValues::new();
        read.settle(Ok(content), &mut values);
        match values.get(&wanted).unwrap() {
            Ok(secret) => Ok(secret.expose().to_owned()),
            Err(fault) => {
                assert!(!format!("{fault} {fault:?} {}", fault.next_step()).contains("hunter2"));
                Err(fault.to_string())
            }
        }
    }

    #[test]
    fn one_value_is_the_file_without_the_blanks_at_its_ends() {
        let provider = json!({ "source": "file", "path": "/f", "mode": "singleValue" });
        for content in [
            "hunter2",
            "hunter2\n",
            "hunter2\r\n",
            "\u{feff}hunter2 \n\n",
        ] {
            let found = read(provider.clone(), "value", content.as_bytes());
            assert_eq!(found.as_deref(), Ok("hunter2"), "{content:?}");
        }
        let inner = read(provider.clone(), "value", b"a b\n");
        assert_eq!(inner.as_deref(), Ok("a b"));
        for blank in ["", "\n", " \t\n"] {
            let found = read(provider.clone(), "value", blank.as_bytes());
            assert_eq!(found.unwrap_err(), "its value is empty", "{blank:?}");
        }
        let pointer = read(provider, "/a", b"hunter2");
        assert_eq!(
            pointer.unwrap_err(),
            "/f is one single value, whose id is \"value\""
        );
    }

    #[test]
    fn json_is_pointed_into() {
        let provider = json!({ "source": "file", "path": "/f", "maxBytes": 60 });
        let text = br#"{ "gw": { "token": "hunter2", "port": 5, "blank": " " } }"#;
        let ask = |id: &str| read(provider.clone(), id, text);
        assert_eq!(ask("/gw/token").as_deref(), Ok("hunter2"));
        for (id, reason) in [
            ("/gw/port", "/f has no string at this pointer"),
            ("/gw/none", "/f has nothing at this pointer"),
            ("/gw/blank", "its value is empty"),
            ("value", "/f is JSON, whose ids are pointers such as /token"),
        ] {
            assert_eq!(ask(id).unwrap_err(), reason, "{id}");
        }
        for (content, reason) in [
            (&b"hunter2"[..], "/f is not JSON"),
            (b"[\"hunter2\"]", "/f does not hold one JSON object"),
            (b"{\"a\": \"hunter2\xff\"}", "/f is not text in UTF-8"),
            (&[b' '; 61], "/f is longer than 60 bytes"),
        ] {
            assert_eq!(read(provider.clone(), "/a", content).unwrap_err(), reason);
        }
    }
}
