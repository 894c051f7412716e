//! Headers for an identity-aware proxy in front of a gateway (`gateway.remote.edgeAuth`): which
//! ones may be sent at all. Where they may be sent is decided with the credentials.

use std::collections::BTreeSet;
use std::fmt;

use crate::secret::Secret;

/// Headers that the upgrade itself needs, or that say who frames or judges the request: a config
/// cannot set them. Names that begin with `sec-websocket-` belong to them too.
const RESERVED: [&str; 6] = [
    "connection",
    "content-length",
    "host",
    "origin",
    "transfer-encoding",
    "upgrade",
];

/// What is wrong with an edge header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EdgeAuthProblem {
    /// There is no header at all.
    #[error("it names no header; remove it, or write an object of header names and secrets")]
    Empty,
    /// The name is no name of a header.
    #[error("it is not the name of a header")]
    Name,
    /// The name belongs to the upgrade.
    #[error("the WebSocket upgrade sets this header itself")]
    Reserved,
    /// Two names differ in case only.
    #[error("the header stands there twice, in different case")]
    Twice,
    /// The value is blank, or no secret.
    #[error("its value is empty")]
    NoValue,
    /// The value names a variable amid other text, which has not been filled in.
    #[error("its value names a variable as ${{NAME}} that is not set")]
    Embedded,
    /// The value has characters that a header cannot carry.
    #[error("its value has characters that a header cannot carry")]
    Value,
}

/// Checks the names of a header map: the first that cannot be sent, if any.
pub fn check_edge_headers<'a>(
    names: impl IntoIterator<Item = &'a str>,
) -> Result<(), (Option<&'a str>, EdgeAuthProblem)> {
    let mut seen = BTreeSet::new();
    for name in names {
        let folded = name.to_ascii_lowercase();
        let problem = if !is_token(name) {
            EdgeAuthProblem::Name
        } else if RESERVED.contains(&folded.as_str()) || folded.starts_with("sec-websocket-") {
            EdgeAuthProblem::Reserved
        } else if !seen.insert(folded) {
            EdgeAuthProblem::Twice
        } else {
            continue;
        };
        return Err((Some(name), problem));
    }
    if seen.is_empty() {
        Err((None, EdgeAuthProblem::Empty))
    } else {
        Ok(())
    }
}

/// Whether a text is a token (RFC 9110 §5.6.2).
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Headers that were checked, for one endpoint. `Debug` shows the names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EdgeHeaders(Vec<(String, Secret)>);

impl EdgeHeaders {
    /// No header.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Checks names and values.
    ///
    /// # Errors
    /// With the header that cannot be sent, and why.
    pub fn new(headers: Vec<(String, Secret)>) -> Result<Self, (Option<String>, EdgeAuthProblem)> {
        check_edge_headers(headers.iter().map(|(name, _)| name.as_str()))
            .map_err(|(name, problem)| (name.map(str::to_owned), problem))?;
        for (name, value) in &headers {
            let value = value.expose();
            let problem = if value.trim().is_empty() {
                EdgeAuthProblem::NoValue
            } else if value
                .bytes()
                .any(|byte| !matches!(byte, b' '..=b'~' | b'\t'))
            {
                EdgeAuthProblem::Value
            } else {
                continue;
            };
            return Err((Some(name.clone()), problem));
        }
        Ok(Self(headers))
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl fmt::Debug for EdgeHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(|(name, _)| name))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &str, value: &str) -> Result<EdgeHeaders, EdgeAuthProblem> {
        EdgeHeaders::new(vec![(name.to_owned(), Secret::new(value))])
            .map_err(|(_, problem)| problem)
    }

    #[test]
    fn a_header_of_the_upgrade_cannot_be_set() {
        for name in [
            "Host",
            "UPGRADE",
            "connection",
            "Origin",
            "Content-Length",
            "Transfer-Encoding",
            "Sec-WebSocket-Key",
            "sec-websocket-anything",
        ] {
            assert_eq!(headers(name, "v"), Err(EdgeAuthProblem::Reserved), "{name}");
        }
        for name in ["Authorization", "CF-Access-Client-Id", "Cookie", "x_y"] {
            assert!(headers(name, "v").is_ok(), "{name}");
        }
    }

    #[test]
    fn nothing_can_be_smuggled_into_the_request() {
        for name in ["", "a b", "a:", "a\r\nb", "ä", "a\0"] {
            assert_eq!(headers(name, "v"), Err(EdgeAuthProblem::Name), "{name:?}");
        }
        for value in ["v\r\nX: y", "v\n", "v\0", "v\u{7f}", "vä"] {
            assert_eq!(
                headers("a", value),
                Err(EdgeAuthProblem::Value),
                "{value:?}"
            );
        }
        assert_eq!(headers("a", " \t"), Err(EdgeAuthProblem::NoValue));
    }

    #[test]
    fn names_count_once_whatever_their_case() {
        let twice = ["X-Key", "x-kEY"];
        assert_eq!(
            check_edge_headers(twice),
            Err((Some("x-kEY"), EdgeAuthProblem::Twice))
        );
        assert_eq!(check_edge_headers([]), Err((None, EdgeAuthProblem::Empty)));
    }

    #[test]
    fn debug_shows_names_only() {
        let shown = format!("{:?}", headers("X-Key", "hunter2").unwrap());
        assert!(shown.contains("X-Key") && !shown.contains("hunter2"));
    }
}
