//! The file of contexts. What it holds is the core's; this reads, locks and writes.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clawgate_core::config::paths::Locations;
use clawgate_core::config::{ContextBook, ContextName, EnvVars, MAX_CONTEXT_BOOK, RemoteConfig};
use clawgate_core::credentials::{ContextChoice, ContextTarget, NamedTarget, choose_context};
use clawgate_core::secret::Secret;
use serde_json::json;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;

/// The file, which may not be there yet.
#[derive(Clone, Debug)]
pub(crate) struct ContextFile(PathBuf);

/// The context that is in force.
#[derive(Clone, Debug)]
pub(crate) struct NamedContext {
    /// Its name.
    pub(crate) name: ContextName,
    /// What put it in force.
    pub(crate) choice: ContextChoice,
    /// What it says.
    pub(crate) remote: RemoteConfig,
}

impl NamedContext {
    /// What the rules have to know.
    pub(crate) const fn target(&self) -> ContextTarget<'_> {
        ContextTarget {
            name: &self.name,
            choice: self.choice,
            remote: &self.remote,
        }
    }
}

impl ContextFile {
    /// The file of an instance.
    pub(crate) fn of(places: &Locations) -> Self {
        Self(places.contexts_file())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// All contexts. No file is an empty book; a broken one is a failure, since a command must not go
    /// elsewhere than it was told to.
    pub(crate) fn read(&self) -> Result<ContextBook, Failure> {
        let file = match File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(ContextBook::default());
            }
            Err(error) => return Err(self.failure("read", &error.to_string())),
        };
        let mut text = String::new();
        file.take(MAX_CONTEXT_BOOK as u64 + 1)
            .read_to_string(&mut text)
            .map_err(|error| self.failure("read", &error.to_string()))?;
        let text = Secret::new(text);
        if text.expose().len() > MAX_CONTEXT_BOOK {
            return Err(self.failure("read", "it is too long"));
        }
        ContextBook::parse(text.expose()).map_err(|error| self.failure("read", &error.to_string()))
    }

    /// Changes the file under a lock, so that two changes at once are both kept.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut ContextBook) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let cannot = |error: io::Error| self.failure("change", &error.to_string());
        let _lock = private_file::lock(&self.0).map_err(cannot)?;
        let before = self.read()?;
        let mut book = before.clone();
        let result = change(&mut book)?;
        if book != before {
            private_file::write(&self.0, book.to_text().expose().as_bytes()).map_err(cannot)?;
        }
        Ok(result)
    }

    /// The context that is in force.
    ///
    /// # Errors
    /// When it cannot be told, or what it says cannot be used.
    pub(crate) fn chosen(
        &self,
        flag: Option<&str>,
        env: &EnvVars,
        target: NamedTarget,
    ) -> Result<Option<NamedContext>, Failure> {
        let book = self.read()?;
        let chosen = choose_context(flag, env, target, &book).map_err(|error| {
            Failure::new(
                Exit::Usage,
                error.code(),
                crate::text::capitalised(&format!("{error}.")),
                error.next_step(),
            )
        })?;
        let Some((name, choice)) = chosen else {
            return Ok(None);
        };
        match book.remote(&name, env) {
            Some(Ok(remote)) => Ok(Some(NamedContext {
                name,
                choice,
                remote,
            })),
            Some(Err(issues)) => {
                let issues: Vec<String> = issues
                    .iter()
                    .map(|issue| format!("{}: {}", issue.path, issue.message))
                    .collect();
                let why = issues
                    .join("; ")
                    .replace("gateway.remote", &format!("contexts.{name}"));
                Err(self.failure("use", &why))
            }
            None => Ok(None),
        }
    }

    /// Removes what else belongs to a context.
    pub(crate) fn forget_tokens(places: &Locations, name: &ContextName) -> io::Result<()> {
        match fs::remove_file(places.context_tokens_file(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn failure(&self, what: &str, why: &str) -> Failure {
        Failure::new(
            Exit::Configuration,
            "contexts_unusable",
            format!("Cannot {what} the contexts in {}: {why}.", self.0.display()),
            "Correct the file or its permissions, or remove it to have no contexts.",
        )
        .fact("file", json!(self.0.to_string_lossy()))
    }
}
