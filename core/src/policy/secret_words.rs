//! Words that are no secrets, though they stand where one belongs (spec decisions: words such as
//! `undefined`, `null`, redaction markers and published placeholders are refused at start).

use serde::{Deserialize, Serialize};

/// Why a configured value cannot be the gateway's token or password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotASecret {
    /// Nothing but blanks.
    #[error("it is empty")]
    Blank,
    /// What a script writes when a variable has no value.
    #[error("it is the word that stands for a missing value in scripts")]
    MissingValue,
    /// What a tool shows in place of a secret, copied back into the configuration.
    #[error("it is a redaction marker, which some tool wrote in place of the real value")]
    RedactionMarker,
    /// An example from public documentation.
    #[error("it is a published placeholder, which everybody knows")]
    Placeholder,
}

/// The two kinds of shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretKind {
    /// `gateway.auth.token`.
    Token,
    /// `gateway.auth.password`.
    Password,
}

impl SecretKind {
    /// `token` or `password`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Password => "password",
        }
    }
}

/// Judges a value that is configured as the gateway's token or password. Blanks around it do not
/// count; apart from redaction markers, letter case does.
///
/// ```
/// use clawgate_core::policy::secret_words::{NotASecret, SecretKind, check_secret};
///
/// assert_eq!(check_secret(SecretKind::Token, "undefined"), Err(NotASecret::MissingValue));
/// assert_eq!(check_secret(SecretKind::Token, "correct horse battery staple"), Ok(()));
/// ```
///
/// # Errors
/// [`NotASecret`] when the value is a well-known word.
pub fn check_secret(kind: SecretKind, value: &str) -> Result<(), NotASecret> {
    let word = value.trim();
    let placeholders: &[&str] = match kind {
        SecretKind::Token => &["change-me-to-a-long-random-token", "change-me-now"],
        SecretKind::Password => &["change-me-to-a-strong-password"],
    };
    if word.is_empty() {
        Err(NotASecret::Blank)
    } else if word == "undefined" || word == "null" {
        Err(NotASecret::MissingValue)
    } else if MARKERS
        .iter()
        .any(|marker| word.eq_ignore_ascii_case(marker))
        || word.chars().all(|c| c == '*' || c == '•')
    {
        Err(NotASecret::RedactionMarker)
    } else if placeholders.contains(&word) {
        Err(NotASecret::Placeholder)
    } else {
        Ok(())
    }
}

const MARKERS: [&str; 6] = [
    "__OPENCLAW_REDACTED__",
    "REDACTED",
    "[redacted]",
    "<redacted>",
    "(redacted)",
    "***REDACTED***",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_words_are_refused() {
        for (kind, word, reason) in [
            (SecretKind::Token, " ", NotASecret::Blank),
            (SecretKind::Token, " undefined\n", NotASecret::MissingValue),
            (SecretKind::Password, "null", NotASecret::MissingValue),
            (
                SecretKind::Token,
                "__OPENCLAW_REDACTED__",
                NotASecret::RedactionMarker,
            ),
            (SecretKind::Token, "[Redacted]", NotASecret::RedactionMarker),
            (
                SecretKind::Password,
                "********",
                NotASecret::RedactionMarker,
            ),
            (SecretKind::Token, "change-me-now", NotASecret::Placeholder),
            (
                SecretKind::Password,
                "change-me-to-a-strong-password",
                NotASecret::Placeholder,
            ),
        ] {
            assert_eq!(check_secret(kind, word), Err(reason), "{word}");
        }
    }

    #[test]
    fn values_that_only_resemble_such_words_are_accepted() {
        for word in ["nullable", "s3", "undefined1", "***a", "Change-Me-Now"] {
            assert_eq!(check_secret(SecretKind::Token, word), Ok(()), "{word}");
        }
        assert_eq!(check_secret(SecretKind::Password, "change-me-now"), Ok(()));
    }
}
