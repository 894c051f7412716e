//! The built `clawgate` as a user runs it, on the gateway's machine or on one of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::failure::{Attempt, Failure, TestResult};
use crate::gateway_process::{GatewayProcess, clawgate};

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said besides.
    pub stderr: String,
}

/// A home folder from which commands are run.
pub struct Machine {
    home: PathBuf,
    /// Removed with the machine.
    own: Option<TempDir>,
    environment: Vec<(String, String)>,
}

impl Machine {
    /// A machine on which nothing was ever run.
    ///
    /// # Errors
    ///
    /// When there is no room for its folder.
    pub fn new() -> TestResult<Self> {
        let own = TempDir::new()?;
        Ok(Self {
            home: own.path().to_owned(),
            own: Some(own),
            environment: Vec::new(),
        })
    }

    /// The machine of a gateway, as the owner of its files.
    #[must_use]
    pub fn of(gateway: &GatewayProcess) -> Self {
        Self {
            home: gateway.home().to_owned(),
            own: None,
            environment: Vec::new(),
        }
    }

    /// Adds a variable to the environment of commands.
    pub fn set_env(&mut self, name: &str, value: impl Into<String>) {
        self.environment.push((name.to_owned(), value.into()));
    }

    /// Writes the configuration file.
    ///
    /// # Errors
    ///
    /// When there is no room.
    pub fn configure(&self, config: &Value) -> TestResult {
        std::fs::create_dir_all(self.state_dir())?;
        let path = self.state_dir().join("openclaw.json");
        Ok(std::fs::write(path, config.to_string())?)
    }

    /// A command that is about to be run.
    ///
    /// # Errors
    ///
    /// When the program cannot be built.
    pub fn command(&self, arguments: &[&str]) -> TestResult<Command> {
        let mut command = Command::new(clawgate()?);
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.home())
            .envs(self.environment.iter().cloned());
        Ok(command)
    }

    /// Where commands keep their files.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.home().join(".openclaw")
    }

    /// The home folder.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.own.as_ref().map_or(&self.home, |own| own.path())
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub fn run(&self, arguments: &[&str]) -> TestResult<Ran> {
        self.run_with(arguments, "")
    }

    /// Runs a command with something on its standard input.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> TestResult<Ran> {
        let program = clawgate()?;
        let mut child = self
            .command(arguments)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .attempt(|| format!("could not start {}", Path::new(program).display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its input may have ended.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output()?;
        Ok(Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a command with `--json` that has to succeed, and gives what it printed.
    ///
    /// # Errors
    ///
    /// When it fails, with what it said.
    pub fn json(&self, arguments: &[&str]) -> TestResult<Value> {
        let ran = self.run(&[arguments, &["--json"]].concat())?;
        if ran.code != 0 {
            return Err(Failure::new(format!("{arguments:?}: {ran:?}")));
        }
        Ok(serde_json::from_str(&ran.stdout)?)
    }
}

impl Ran {
    /// The error that a command with `--json` printed.
    ///
    /// # Errors
    ///
    /// When it printed none.
    pub fn error(&self) -> TestResult<Value> {
        let answer: Value = serde_json::from_str(&self.stdout)?;
        match answer.get("error") {
            Some(error) if self.code != 0 => Ok(error.clone()),
            Some(_) | None => Err(Failure::new(format!("no error: {self:?}"))),
        }
    }
}
