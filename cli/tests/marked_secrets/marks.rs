//! Secrets that are recognised wherever they turn up, in whatever writing.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

/// A secret that nothing else looks like.
pub fn mark(kind: &str) -> String {
    format!("Mark-{kind}-9d41f7c2a86b")
}

/// The secrets of a run, and how each may be written.
#[derive(Default)]
pub struct Marks(Vec<(String, Vec<String>)>);

impl Marks {
    /// One more secret. Short ones would be found by chance.
    pub fn add(&mut self, name: &str, secret: &str) {
        assert!(secret.len() >= 16, "{name} is too short to be looked for");
        self.0.push((name.to_owned(), writings(secret)));
    }

    /// The secrets that stand in some bytes.
    pub fn found(&self, bytes: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(bytes);
        let lower = text.to_ascii_lowercase();
        self.0
            .iter()
            .filter(|(_, writings)| {
                writings
                    .iter()
                    .any(|writing| text.contains(writing) || lower.contains(writing))
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    pub fn assert_absent(&self, what: &str, bytes: &[u8]) {
        let found = self.found(bytes);
        assert!(
            found.is_empty(),
            "{found:?} in {what}:\n{}",
            String::from_utf8_lossy(bytes)
        );
    }
}

/// As it is, in hexadecimal, and as a part of longer base64 in either alphabet.
fn writings(secret: &str) -> Vec<String> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![secret.to_owned(), secret.to_ascii_lowercase(), hex];
    for before in 0..3_usize {
        let mut bytes = vec![0; before];
        bytes.extend(secret.as_bytes());
        let whole = STANDARD_NO_PAD.encode(&bytes);
        // The first and the last characters depend on what stands around it.
        let inner = &whole[(before * 8).div_ceil(6)..whole.len() - 2];
        all.push(inner.to_owned());
        all.push(inner.replace('+', "-").replace('/', "_"));
    }
    all
}

#[test]
fn marks_are_found_in_every_writing() {
    let mut marks = Marks::default();
    marks.add("token", &mark("token"));
    let text = format!("a {} b", mark("token"));
    let hex: String = text.bytes().map(|byte| format!("{byte:02X}")).collect();
    let url = STANDARD_NO_PAD.encode(&text).replace('+', "-");
    for written in [text.clone(), text.to_uppercase(), hex, url] {
        assert_eq!(marks.found(written.as_bytes()), ["token"], "{written}");
    }
    for shift in 0..3 {
        let shifted = STANDARD_NO_PAD.encode(format!("{}{text}", "x".repeat(shift)));
        assert_eq!(marks.found(shifted.as_bytes()), ["token"], "{shifted}");
    }
    assert!(marks.found(b"Mark-other-9d41f7c2a86b").is_empty());
}
