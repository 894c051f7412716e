//! Certificates that were pinned on first use: the format of the file, and what may happen to it
//! (seed 002, Security rules; spec hostpolicy §6). The host reads and writes the file.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Endpoint, TlsFingerprint, UrlPolicy};
use crate::time::WallTime;

/// The version of the format that is written, and the only one that is read.
const VERSION: u32 = 1;

/// The longest file that is read, in bytes: room for some thousands of pins.
pub const MAX_PIN_BOOK: usize = 1024 * 1024;

/// What a pin is bound to: a host and a port, as the URL parser understood them.
///
/// ```
/// use clawgate_core::policy::PinPlace;
///
/// let place = PinPlace::parse("GW.Example.com.:443")?;
/// assert_eq!(place.to_string(), "gw.example.com:443");
/// assert!(PinPlace::parse("gw.example.com").is_err());
/// # Ok::<(), clawgate_core::policy::InvalidPinPlace>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PinPlace(String);

/// The text is no `HOST:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a host and a port: write HOST:PORT, as in gw.example.com:443 or [fd00::7]:18789")]
pub struct InvalidPinPlace;

impl PinPlace {
    /// The place of an endpoint. Behind a tunnel, that is the gateway's port on the machine over there.
    pub fn of(endpoint: &Endpoint) -> Self {
        if let Some(tunnel) = endpoint.tunnel() {
            let spec = &tunnel.spec;
            let host = spec.target.host().to_lowercase();
            return Self(format!("{host}:{}", spec.remote_port));
        }
        let (host, port) = (endpoint.host().to_string(), endpoint.port());
        let whole = format!("{host}:{port}");
        // One dot at the end is another spelling of a name, unless what is left means something else:
        // nothing, or an address.
        let Some(name) = host.strip_suffix('.').filter(|name| !name.ends_with('.')) else {
            return Self(whole);
        };
        let short = format!("{name}:{port}");
        let again = Endpoint::parse(&format!("wss://{short}"), UrlPolicy::Strict);
        let is_same = again.is_ok_and(|again| again.host().to_string() == name);
        Self(if is_same { short } else { whole })
    }

    /// Reads `HOST:PORT` and nothing more. Every spelling of a host becomes the same place.
    ///
    /// # Errors
    /// For anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidPinPlace> {
        let text = text.trim();
        let (host, port) = text.rsplit_once(':').ok_or(InvalidPinPlace)?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let plain = !host.is_empty() && !host.contains(['/', '\\', '?', '#', '@']);
        if !digits || !plain {
            return Err(InvalidPinPlace);
        }
        Endpoint::parse(&format!("wss://{text}"), UrlPolicy::Strict)
            .map(|endpoint| Self::of(&endpoint))
            .map_err(|_| InvalidPinPlace)
    }
}

impl fmt::Display for PinPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredPin {
    /// The certificate.
    pub sha256: TlsFingerprint,
    /// When it was first seen.
    pub pinned_at_ms: WallTime,
}

/// All pins of one client.
///
/// ```
/// use clawgate_core::policy::{PinBook, PinPlace, Remembered, TlsFingerprint};
/// use clawgate_core::time::WallTime;
///
/// let place = PinPlace::parse("gw.example.com:443").unwrap();
/// let (seen, other) = (TlsFingerprint::from([1; 32]), TlsFingerprint::from([2; 32]));
/// let mut book = PinBook::default();
/// assert_eq!(book.remember(place.clone(), seen, WallTime(7)), Remembered::New);
/// // Whoever comes later never replaces it.
/// assert_eq!(book.remember(place.clone(), other, WallTime(8)), Remembered::Kept(seen));
/// let again = PinBook::parse(&book.to_text()).unwrap();
/// assert_eq!(again.get(&place).unwrap().sha256, seen);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PinBook(BTreeMap<PinPlace, StoredPin>);

/// What became of a certificate that was to be pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// It is the pin now.
    New,
    /// There was a pin already, this one, and it stays.
    Kept(TlsFingerprint),
}

/// Why a file is no pin book. Such a file is never taken for an empty one: that would forget pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinBookError {
    /// It has another version.
    #[error("it has version {0}, and this clawgate reads version {VERSION}")]
    Version(u32),
    /// It is not what clawgate writes.
    #[error("it is not a list of pins as clawgate writes it")]
    Malformed,
}

#[derive(Serialize, Deserialize)]
struct Text {
    version: u32,
    pins: BTreeMap<String, PinText>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PinText {
    sha256: String,
    pinned_at_ms: WallTime,
}

impl PinBook {
    /// A book without pins.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is not whole.
    pub fn parse(text: &str) -> Result<Self, PinBookError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head = serde_json::from_str(text).map_err(|_| PinBookError::Malformed)?;
        if head.version != VERSION {
            return Err(PinBookError::Version(head.version));
        }
        let text: Text = serde_json::from_str(text).map_err(|_| PinBookError::Malformed)?;
        let mut pins = BTreeMap::new();
        for (place, pin) in text.pins {
            let place = PinPlace::parse(&place).map_err(|_| PinBookError::Malformed)?;
            let sha256 = pin.sha256.parse().map_err(|_| PinBookError::Malformed)?;
            let pin = StoredPin {
                sha256,
                pinned_at_ms: pin.pinned_at_ms,
            };
            if pins.insert(place, pin).is_some() {
                return Err(PinBookError::Malformed);
            }
        }
        Ok(Self(pins))
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let pins = self.0.iter().map(|(place, pin)| {
            let text = PinText {
                sha256: pin.sha256.to_string(),
                pinned_at_ms: pin.pinned_at_ms,
            };
            (place.to_string(), text)
        });
        let text = Text {
            version: VERSION,
            pins: pins.collect(),
        };
        // Maps of strings and numbers always have a text.
        serde_json::to_string_pretty(&text).map_or_else(|_| String::new(), |text| text + "\n")
    }

    /// The pin of a place.
    pub fn get(&self, place: &PinPlace) -> Option<&StoredPin> {
        self.0.get(place)
    }

    /// All pins, by place.
    pub fn iter(&self) -> impl Iterator<Item = (&PinPlace, &StoredPin)> {
        self.0.iter()
    }

    /// Pins a certificate, unless the place has a pin.
    pub fn remember(&mut self, place: PinPlace, seen: TlsFingerprint, at: WallTime) -> Remembered {
        if let Some(pin) = self.0.get(&place) {
            return Remembered::Kept(pin.sha256);
        }
        let pin = StoredPin {
            sha256: seen,
            pinned_at_ms: at,
        };
        self.0.insert(place, pin);
        Remembered::New
    }

    /// Takes a pin out.
    pub fn remove(&mut self, place: &PinPlace) -> Option<StoredPin> {
        self.0.remove(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_host_is_one_place() {
        let of = |url| PinPlace::of(&Endpoint::parse(url, UrlPolicy::Strict).unwrap()).to_string();
        assert_eq!(of("wss://GW.example.com./x?y"), "gw.example.com:443");
        assert_eq!(of("wss://127.1:8443"), "127.0.0.1:8443");
        assert_eq!(of("wss://[FD00::0:7]:1"), "[fd00::7]:1");
        for (text, place) in [
            (" Gw.Example.COM:443 ", "gw.example.com:443"),
            ("0x7f.1:8443", "127.0.0.1:8443"),
            ("[fd00:0::7]:1", "[fd00::7]:1"),
            ("10.0.:443", "10.0.0.0:443"),
            ("10.0..:443", "10.0..:443"),
            (".:1", ".:1"),
            ("a.0...:1", "a.0...:1"),
        ] {
            let read = PinPlace::parse(text).unwrap();
            assert_eq!(read.to_string(), place);
            assert_eq!(PinPlace::parse(place), Ok(read), "{place}");
        }
    }

    #[test]
    fn anything_beside_a_host_and_a_port_is_no_place() {
        for text in [
            "",
            ":",
            "h",
            "h:",
            ":1",
            "h:x",
            "h:70000",
            "a@h:1",
            "wss://h:1",
            "h/p:1",
            "h?:1",
            "h#:1",
            "fd00::7:1",
            "h:-1",
            "a\\b:1",
        ] {
            assert_eq!(PinPlace::parse(text), Err(InvalidPinPlace), "{text}");
        }
    }

    #[test]
    fn a_file_that_is_not_whole_is_never_empty() {
        let pin = format!(r#"{{"sha256":"{}","pinnedAtMs":1}}"#, "ab".repeat(32));
        let good = format!(r#"{{"version":1,"pins":{{"h:1":{pin}}}}}"#);
        assert_eq!(PinBook::parse(&good).unwrap().iter().count(), 1);
        for (text, error) in [
            (String::new(), PinBookError::Malformed),
            ("{}".to_owned(), PinBookError::Malformed),
            (
                good.replace("\"version\":1", "\"version\":2"),
                PinBookError::Version(2),
            ),
            (good.replace("h:1", "h"), PinBookError::Malformed),
            (good.replace("abab", "zz"), PinBookError::Malformed),
            (good.replace(":1}", ":\"x\"}"), PinBookError::Malformed),
            // Two spellings of one place cannot both be right.
            (
                format!(r#"{{"version":1,"pins":{{"h:1":{pin},"H:1":{pin}}}}}"#),
                PinBookError::Malformed,
            ),
        ] {
            assert_eq!(PinBook::parse(&text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_removed_place_can_be_pinned_anew() {
        let place = PinPlace::parse("h:1").unwrap();
        let mut book = PinBook::default();
        let (old, new) = (TlsFingerprint::from([1; 32]), TlsFingerprint::from([2; 32]));
        book.remember(place.clone(), old, WallTime(1));
        assert_eq!(book.remove(&place).unwrap().sha256, old);
        assert_eq!(book.remove(&place), None);
        assert_eq!(book.remember(place, new, WallTime(2)), Remembered::New);
    }
}
