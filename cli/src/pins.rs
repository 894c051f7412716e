//! The file of certificates that were pinned on first use. What it holds and what may happen to it
//! is the core's; this reads, locks and writes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clawgate_core::config::paths::Locations;
use clawgate_core::policy::{
    Endpoint, MAX_PIN_BOOK, PinBook, PinPlace, Remembered, StoredPin, TlsFingerprint,
};
use clawgate_core::time::{WallTime, millis};
use serde_json::json;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;

/// The file, which may not be there yet.
#[derive(Clone, Debug)]
pub(crate) struct PinFile(PathBuf);

impl PinFile {
    /// The file of an instance.
    pub(crate) fn of(places: &Locations) -> Self {
        Self(places.pins_file())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// All pins. No file is an empty book; a broken one is a failure, since what it pinned is not
    /// known.
    pub(crate) fn read(&self) -> Result<PinBook, Failure> {
        let file = match File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(PinBook::new()),
            Err(error) => return Err(self.failure("read", &error.to_string())),
        };
        let mut text = String::new();
        file.take(MAX_PIN_BOOK as u64 + 1)
            .read_to_string(&mut text)
            .map_err(|error| self.failure("read", &error.to_string()))?;
        if text.len() > MAX_PIN_BOOK {
            return Err(self.failure("read", "it is too long"));
        }
        PinBook::parse(&text).map_err(|error| self.failure("read", &error.to_string()))
    }

    /// Pins what an endpoint has shown, and gives its pin: another one, if somebody was faster.
    pub(crate) fn remember(
        &self,
        endpoint: &Endpoint,
        seen: TlsFingerprint,
    ) -> Result<TlsFingerprint, Failure> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(WallTime(0), |since| WallTime(millis(since)));
        self.change(
            |book| match book.remember(PinPlace::of(endpoint), seen, now) {
                Remembered::New => seen,
                Remembered::Kept(pin) => pin,
            },
        )
    }

    /// Takes a pin out.
    pub(crate) fn remove(&self, place: &PinPlace) -> Result<Option<StoredPin>, Failure> {
        self.change(|book| book.remove(place))
    }

    /// Changes the file under a lock, so that two changes at once are both kept.
    fn change<T>(&self, change: impl FnOnce(&mut PinBook) -> T) -> Result<T, Failure> {
        let cannot = |error: io::Error| self.failure("change", &error.to_string());
        let _lock = private_file::lock(&self.0).map_err(cannot)?;
        let before = self.read()?;
        let mut book = before.clone();
        let result = change(&mut book);
        if book != before {
            private_file::write(&self.0, book.to_text().as_bytes()).map_err(cannot)?;
        }
        Ok(result)
    }

    fn failure(&self, what: &str, why: &str) -> Failure {
        let path = self.0.display();
        Failure::new(
            Exit::Configuration,
            "pins_unusable",
            format!("Cannot {what} the pinned certificates in {path}: {why}."),
            "Correct the file or its permissions, or remove it to forget all pins.",
        )
        .fact("file", json!(self.0.to_string_lossy()))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use clawgate_core::policy::UrlPolicy;

    use super::*;

    fn endpoint(port: u16) -> Endpoint {
        Endpoint::parse(&format!("wss://h.example.com:{port}"), UrlPolicy::Strict).unwrap()
    }

    #[test]
    fn writers_at_once_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = PinFile(folder.path().join("own/pins.json"));
        thread::scope(|scope| {
            for port in 1..=16 {
                let file = &file;
                scope.spawn(move || {
                    let pin = TlsFingerprint::from([1; 32]);
                    assert_eq!(file.remember(&endpoint(port), pin).unwrap(), pin);
                });
            }
        });
        assert_eq!(file.read().unwrap().iter().count(), 16);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(file.path()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn whoever_is_first_is_pinned() {
        let folder = tempfile::tempdir().unwrap();
        let file = PinFile(folder.path().join("pins.json"));
        let (first, second) = (TlsFingerprint::from([1; 32]), TlsFingerprint::from([2; 32]));
        assert_eq!(file.remember(&endpoint(1), first).unwrap(), first);
        assert_eq!(file.remember(&endpoint(1), second).unwrap(), first);
    }

    #[test]
    fn a_broken_file_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = PinFile(folder.path().join("pins.json"));
        fs::write(file.path(), "{").unwrap();
        let pin = TlsFingerprint::from([1; 32]);
        assert_eq!(file.read().unwrap_err().code, "pins_unusable");
        assert_eq!(
            file.remember(&endpoint(1), pin).unwrap_err().code,
            "pins_unusable"
        );
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "{");
    }
}
