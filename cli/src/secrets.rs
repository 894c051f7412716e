//! Secrets from the command line: flags, files, standard input. Read once, at the edge.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use clawgate_core::policy::SecretKind;
use clawgate_core::secret::Secret;

use crate::args::SecretArgs;
use crate::exit::Exit;
use crate::failure::Failure;

/// The most bytes that are read of a secret's file.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// What was given, wherever it stood.
#[derive(Clone, Debug, Default)]
pub(crate) struct GivenSecrets {
    /// `--token` or `--token-file`.
    pub(crate) token: Option<Secret>,
    /// `--password` or `--password-file`.
    pub(crate) password: Option<Secret>,
}

impl GivenSecrets {
    /// Reads the files. `-` is standard input, and can stand for one of them only.
    ///
    /// # Errors
    /// When a file cannot be read, is too long, or has nothing in it.
    pub(crate) fn read(args: SecretArgs) -> Result<Self, Failure> {
        let stdin = Path::new("-");
        let both = [&args.token_file, &args.password_file]
            .iter()
            .all(|file| file.as_deref() == Some(stdin));
        if both {
            return Err(Failure::new(
                Exit::Usage,
                "stdin_twice",
                "--token-file - and --password-file - both read standard input.",
                "Put one of them into a file.",
            ));
        }
        Ok(Self {
            token: choose(SecretKind::Token, args.token, args.token_file.as_deref())?,
            password: choose(
                SecretKind::Password,
                args.password,
                args.password_file.as_deref(),
            )?,
        })
    }
}

/// Reads the file of a secret; `-` is standard input.
///
/// # Errors
/// When it cannot be read, is too long, or has nothing in it.
pub(crate) fn read_file(kind: SecretKind, path: &Path) -> Result<Secret, Failure> {
    if path == Path::new("-") {
        return secret_of(kind, path, io::stdin().lock());
    }
    let file = File::open(path).map_err(|error| unreadable(kind, path, &error))?;
    secret_of(kind, path, file)
}

fn choose(
    kind: SecretKind,
    flag: Option<Secret>,
    file: Option<&Path>,
) -> Result<Option<Secret>, Failure> {
    match file {
        None => Ok(flag),
        Some(path) => read_file(kind, path).map(Some),
    }
}

fn secret_of(kind: SecretKind, path: &Path, source: impl Read) -> Result<Secret, Failure> {
    let mut text = String::new();
    let read = source
        .take(MAX_SECRET_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(kind, path, &error))?;
    if read as u64 > MAX_SECRET_BYTES {
        let error = io::Error::other("it is over 64 KiB, which no secret is");
        return Err(unreadable(kind, path, &error));
    }
    // Takes the text over, so that it is wiped.
    let text = Secret::new(text);
    Secret::non_blank(text.expose()).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            "secret_file_empty",
            format!(
                "--{}-file {} has nothing in it.",
                kind.as_str(),
                path.display()
            ),
            "Write the secret into it, on one line.",
        )
    })
}

fn unreadable(kind: SecretKind, path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::Usage,
        "secret_file_unreadable",
        format!(
            "--{}-file {} could not be read: {error}.",
            kind.as_str(),
            path.display()
        ),
        "Check the path and its permissions.",
    )
}
