//! Finding secrets in whatever writing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::secret::Secret;

/// Shorter ones are found by chance, so they are not looked for.
pub const MIN_SECRET: usize = 6;

/// Secrets that are known, and how each may be written. `Debug` shows names only.
#[derive(Clone, Default)]
pub struct Search {
    known: Vec<(String, Vec<Secret>)>,
    short: Vec<String>,
}

impl Search {
    /// One more secret, by the name of the place where it was found.
    pub fn add(&mut self, name: &str, secret: &Secret) {
        let value = secret.expose().trim();
        if value.is_empty() {
            return;
        }
        if value.len() < MIN_SECRET {
            self.short.push(name.to_owned());
            return;
        }
        self.add_bytes(name, value.as_bytes());
        let json = serde_json::to_string(value).unwrap_or_default();
        let json = json.trim_matches('"');
        let [upper, lower] = percent_encoded(value);
        let more = [json.to_owned(), upper, lower];
        if let Some((_, writings)) = self.known.last_mut() {
            let others = more.into_iter().filter(|it| it != value);
            writings.extend(others.map(Secret::new));
            writings.push(Secret::new(value));
        }
    }

    /// The same for a key that is no text.
    pub fn add_bytes(&mut self, name: &str, bytes: &[u8]) {
        if bytes.len() < MIN_SECRET {
            self.short.push(name.to_owned());
            return;
        }
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut writings = vec![Secret::new(hex.to_ascii_uppercase()), Secret::new(hex)];
        for before in 0..3_usize {
            let mut shifted = vec![0; before];
            shifted.extend(bytes);
            let whole = STANDARD_NO_PAD.encode(&shifted);
            // The first and the last characters depend on what stands around it.
            let end = whole.len().saturating_sub(2);
            let Some(inner) = whole.get((before * 8).div_ceil(6)..end) else {
                continue;
            };
            let url = inner.replace('+', "-").replace('/', "_");
            if url != inner {
                writings.push(Secret::new(url));
            }
            writings.push(Secret::new(inner));
        }
        self.known.push((name.to_owned(), writings));
    }

    /// The name of a secret that stands in some bytes.
    pub fn find(&self, bytes: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(bytes);
        // A line that was broken for its length hides nothing.
        let joined: String = text.split_whitespace().collect();
        let stands = |writing: &Secret| {
            let writing = writing.expose();
            text.contains(writing) || joined.contains(writing)
        };
        self.known
            .iter()
            .find(|(_, writings)| writings.iter().any(stands))
            .map(|(name, _)| name.clone())
    }

    /// Secrets that are too short to be looked for.
    pub fn too_short(&self) -> &[String] {
        &self.short
    }

    /// How many are looked for.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

impl core::fmt::Debug for Search {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let names = self.known.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

/// With the digits of escapes in upper and in lower case.
fn percent_encoded(text: &str) -> [String; 2] {
    let write = |escape: fn(u8) -> String| {
        text.bytes()
            .map(|byte| match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    char::from(byte).to_string()
                }
                other => escape(other),
            })
            .collect()
    };
    [
        write(|byte| format!("%{byte:02X}")),
        write(|byte| format!("%{byte:02x}")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "p\"ss/w+rd & mörk";

    #[test]
    fn every_writing_is_found() {
        let mut search = Search::default();
        search.add("gateway.auth.password", &Secret::new(VALUE));
        let json = serde_json::to_string(&format!("x{VALUE}y")).unwrap();
        let json_twice = serde_json::to_string(VALUE).unwrap();
        let [upper, lower] = percent_encoded(VALUE);
        let mut written = vec![
            upper,
            lower,
            format!("a {VALUE} b"),
            json,
            json_twice,
            VALUE.bytes().map(|byte| format!("{byte:02X}")).collect(),
        ];
        for shift in 0..3 {
            let shifted = STANDARD_NO_PAD.encode(format!("{}{VALUE}!", "x".repeat(shift)));
            written.push(shifted.replace('+', "-").replace('/', "_"));
            let (first, last) = shifted.split_at(9);
            written.push(format!("{first}\n{last}"));
            written.push(shifted);
        }
        for text in written {
            let found = search.find(text.as_bytes());
            assert_eq!(found.as_deref(), Some("gateway.auth.password"), "{text}");
        }
        assert_eq!(search.find(b"nothing of the kind"), None);
    }

    #[test]
    fn keys_are_found_and_short_secrets_are_told_of() {
        let mut search = Search::default();
        search.add_bytes("device.key", &[7; 32]);
        search.add("gateway.auth.password", &Secret::new("short"));
        let hex = "07".repeat(32);
        assert_eq!(search.find(hex.as_bytes()).as_deref(), Some("device.key"));
        assert_eq!(search.too_short(), ["gateway.auth.password"]);
        assert_eq!(search.len(), 1);
        assert_eq!(format!("{search:?}"), r#"["device.key"]"#);
    }
}
