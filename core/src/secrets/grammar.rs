//! What the parts of a reference may look like. Names outside these grammars never reach a file or a
//! program.

use std::fmt;

use crate::config::{RefSource, SecretRef};

/// Why a reference cannot be one, whatever the providers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdFault {
    /// Its `provider` is no name of a provider.
    Provider,
    /// Its `id` is no name of a variable.
    Variable,
    /// Its `id` is neither a JSON pointer nor `value`.
    Pointer,
    /// Its `id` has characters that no program is asked for, or `.` and `..` between slashes.
    ProgramId,
}

impl fmt::Display for IdFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Provider => {
                "its provider is not a name of up to 64 lower-case letters, digits, _ and -"
            }
            Self::Variable => "its id is not a name such as GATEWAY_TOKEN",
            Self::Pointer => {
                "its id is neither a JSON pointer such as /gateway/token nor \"value\""
            }
            Self::ProgramId => {
                "its id may have up to 256 letters, digits and . _ : / # - and no . or .. between \
                 slashes"
            }
        })
    }
}

/// Judges the names in a reference. A reference without a provider belongs to the default one.
///
/// # Errors
/// The first [`IdFault`].
///
/// ```
/// use clawgate_core::config::SecretInput;
/// use clawgate_core::secrets::{IdFault, check_reference};
/// use serde_json::json;
///
/// let of = |value| SecretInput::from_value(Some(&value)).reference().map(check_reference);
/// assert_eq!(of(json!({ "source": "file", "provider": "main", "id": "/gateway/token" })), Some(Ok(())));
/// let out = json!({ "source": "exec", "provider": "vault", "id": "../other" });
/// assert_eq!(of(out), Some(Err(IdFault::ProgramId)));
/// ```
pub fn check_reference(reference: &SecretRef) -> Result<(), IdFault> {
    if !reference.provider.as_deref().is_none_or(is_provider_name) {
        return Err(IdFault::Provider);
    }
    let id = reference.id.as_str();
    match reference.source {
        RefSource::Env | RefSource::Store if !is_variable_name(id) => Err(IdFault::Variable),
        RefSource::File if id != SINGLE_VALUE_ID && !is_pointer(id) => Err(IdFault::Pointer),
        RefSource::Exec if !is_program_id(id) => Err(IdFault::ProgramId),
        RefSource::Env
        | RefSource::Store
        | RefSource::File
        | RefSource::Exec
        | RefSource::Other(_) => Ok(()),
    }
}

/// The id of the one secret in a file that holds nothing else.
pub(super) const SINGLE_VALUE_ID: &str = "value";

/// The name of a variable that references and `passEnv` may use.
pub(super) fn is_variable_name(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

fn is_provider_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
}

/// RFC 6901, without the empty pointer: a whole file is no secret.
fn is_pointer(id: &str) -> bool {
    let escapes_are_whole = id
        .split('~')
        .skip(1)
        .all(|rest| rest.starts_with(['0', '1']));
    id.starts_with('/') && escapes_are_whole
}

fn is_program_id(id: &str) -> bool {
    id.len() <= 256
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '/' | '#' | '-'))
        && id.split('/').all(|part| part != "." && part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RefSpelling;

    fn check(source: RefSource, provider: Option<&str>, id: &str) -> Result<(), IdFault> {
        check_reference(&SecretRef {
            source,
            provider: provider.map(str::to_owned),
            id: id.to_owned(),
            spelling: RefSpelling::Object,
        })
    }

    #[test]
    fn each_source_has_its_own_ids() {
        let long = "A".repeat(128);
        for good in ["A", "GW_TOKEN_2", long.as_str()] {
            assert_eq!(check(RefSource::Env, None, good), Ok(()), "{good}");
            assert_eq!(check(RefSource::Store, None, good), Ok(()), "{good}");
        }
        let longer = "A".repeat(129);
        for bad in ["", "a", "_A", "1A", "A-B", "A=B", "Ä", longer.as_str()] {
            assert_eq!(
                check(RefSource::Env, None, bad),
                Err(IdFault::Variable),
                "{bad}"
            );
        }
        for good in ["value", "/", "/a/b", "/a~1b/~0", "/0", "//"] {
            assert_eq!(check(RefSource::File, None, good), Ok(()), "{good}");
        }
        for bad in ["", "a", "/~", "/~2", "/a~", "#/a", "values"] {
            assert_eq!(
                check(RefSource::File, None, bad),
                Err(IdFault::Pointer),
                "{bad}"
            );
        }
        for good in ["a", "providers/x#key", "a.b", "A:1-2", "a//b", "..a/b.."] {
            let fits = !good.starts_with('.');
            assert_eq!(check(RefSource::Exec, None, good).is_ok(), fits, "{good}");
        }
        let long = "a".repeat(257);
        for bad in [
            "",
            "/a",
            "-a",
            "a b",
            "a\n",
            "a/../b",
            "a/.",
            "a;b",
            "$a",
            long.as_str(),
        ] {
            assert_eq!(
                check(RefSource::Exec, None, bad),
                Err(IdFault::ProgramId),
                "{bad}"
            );
        }
    }

    #[test]
    fn providers_have_plain_names() {
        for good in ["default", "a", "team-secrets", "a_1"] {
            assert_eq!(check(RefSource::Env, Some(good), "A"), Ok(()), "{good}");
        }
        let long = "a".repeat(65);
        for bad in ["Default", "1a", "a b", "../a", "", long.as_str()] {
            assert_eq!(
                check(RefSource::Env, Some(bad), "A"),
                Err(IdFault::Provider),
                "{bad}"
            );
        }
    }
}
