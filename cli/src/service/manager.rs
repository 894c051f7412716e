//! Asking the user's service manager: `systemctl --user`, or `launchctl` for the user's session.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use clawgate_core::config::EnvVars;

use super::description::{Service, ServiceName};
use super::failure::ServiceError;
use super::files::{self, ServiceFile};
use super::program::find_trusted;
use super::state::{self, State};
use super::{launchd, systemd};

/// Names another program in place of the system's `systemctl` or `launchctl`, for systems that have it
/// elsewhere.
pub(crate) const PROGRAM_ENV: &str = "CLAWGATE_SERVICE_MANAGER";

/// Which manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// systemd, the user's instance.
    Systemd,
    /// launchd, the user's session.
    Launchd,
}

impl Kind {
    /// The one of this system.
    pub(crate) const fn of_system() -> Option<Self> {
        if cfg!(target_os = "linux") {
            Some(Self::Systemd)
        } else if cfg!(target_os = "macos") {
            Some(Self::Launchd)
        } else {
            None
        }
    }

    /// For people and scripts.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Launchd => "launchd",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Systemd => "systemctl",
            Self::Launchd => "launchctl",
        }
    }
}

/// The manager of one user. Its program is looked for when it is first needed.
#[derive(Clone, Debug)]
pub(crate) struct Manager {
    kind: Kind,
    /// Where the files of services lie.
    folder: PathBuf,
    /// Instead of the system's own.
    program: Option<PathBuf>,
}

impl Manager {
    /// The manager of this system and user. Nothing is run.
    ///
    /// # Errors
    /// [`ServiceError::NoManager`], [`ServiceError::NoHome`].
    pub(crate) fn of_user(env: &EnvVars) -> Result<Self, ServiceError> {
        Self::of_kind(Kind::of_system().ok_or(ServiceError::NoManager)?, env)
    }

    /// A manager of this kind, whatever system this is.
    ///
    /// # Errors
    /// [`ServiceError::NoHome`].
    pub(crate) fn of_kind(kind: Kind, env: &EnvVars) -> Result<Self, ServiceError> {
        let absolute = |name: &str| {
            env.non_blank(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let home = absolute("HOME");
        let folder = match kind {
            Kind::Systemd => absolute("XDG_CONFIG_HOME")
                .or_else(|| Some(home?.join(".config")))
                .map(|folder| folder.join("systemd/user")),
            Kind::Launchd => home.map(|home| home.join("Library/LaunchAgents")),
        };
        Ok(Self {
            kind,
            folder: folder.ok_or(ServiceError::NoHome)?,
            program: absolute(PROGRAM_ENV),
        })
    }

    /// Which one it is.
    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Where the main file of a service lies.
    pub(crate) fn main_file(&self, name: &ServiceName) -> PathBuf {
        self.folder.join(match self.kind {
            Kind::Systemd => format!("{}.service", name.unit()),
            Kind::Launchd => format!("{}.plist", name.label()),
        })
    }

    /// The files of a service, the main one first. Nothing is written.
    ///
    /// # Errors
    /// [`ServiceError::Description`].
    pub(crate) fn files(&self, service: &Service) -> Result<Vec<ServiceFile>, ServiceError> {
        let main = self.main_file(&service.name);
        match self.kind {
            Kind::Systemd => {
                let units = systemd::units(service)?;
                let socket = units
                    .socket
                    .map(|text| ServiceFile::open(self.socket_file(&service.name), text));
                let service = ServiceFile::open(main, units.service);
                Ok([service].into_iter().chain(socket).collect())
            }
            Kind::Launchd => Ok(vec![ServiceFile::open(main, launchd::plist(service)?)]),
        }
    }

    /// The main file of a service that is installed: this user's, or one of a package for all users.
    pub(crate) fn installed_file(&self, name: &ServiceName) -> Option<PathBuf> {
        let own = self.main_file(name);
        let file = own.file_name()?.to_owned();
        let packaged: &[&str] = match self.kind {
            Kind::Systemd => &["/etc/systemd/user", "/usr/lib/systemd/user"],
            Kind::Launchd => &[],
        };
        [own]
            .into_iter()
            .chain(packaged.iter().map(|folder| Path::new(folder).join(&file)))
            .find(|path| path.exists())
    }

    /// Whether this user has a service of this name.
    pub(crate) fn is_installed(&self, name: &ServiceName) -> bool {
        self.installed_file(name).is_some()
    }

    /// Whether a service on disk has sockets that the manager opens.
    pub(crate) fn has_sockets(&self, name: &ServiceName) -> bool {
        self.kind == Kind::Systemd && self.socket_file(name).exists()
    }

    /// Writes the files, and takes those away that an earlier description had. Nothing is started.
    /// Gives the files that changed.
    ///
    /// # Errors
    /// Any [`ServiceError`]. What was written before it stays.
    pub(crate) fn install(&self, service: &Service) -> Result<Vec<PathBuf>, ServiceError> {
        let mut changed = Vec::new();
        for file in self.files(service)? {
            if file.write()? {
                changed.push(file.path);
            }
        }
        if self.kind == Kind::Systemd {
            if service.sockets.is_empty() && self.has_sockets(&service.name) {
                let unit = format!("{}.socket", service.name.unit());
                self.ask(&["disable", "--now", &unit])?;
                let socket = self.socket_file(&service.name);
                files::remove(&socket)?;
                changed.push(socket);
            }
            self.ask(&["daemon-reload"])?;
        }
        Ok(changed)
    }

    /// Has the manager start a service now and from now on. One that runs is started anew when its
    /// files have changed, which is for the caller to say.
    ///
    /// # Errors
    /// Any [`ServiceError`].
    pub(crate) fn load(&self, name: &ServiceName, changed: bool) -> Result<(), ServiceError> {
        match self.kind {
            Kind::Systemd => {
                let units = self.units(name);
                let mut words = vec!["enable"];
                words.extend(units.iter().map(String::as_str));
                self.ask(&words)?;
                if let [_, socket] = units.as_slice() {
                    self.ask(&["start", socket])?;
                }
                let service = units.first().map_or("", String::as_str);
                self.ask(&[if changed { "restart" } else { "start" }, service])
            }
            Kind::Launchd => {
                if changed && self.state(name)?.activity != state::Activity::Unknown {
                    self.unload(name)?;
                }
                let file = self.main_file(name);
                let target = self.target(name);
                // A service that somebody disabled stays so over logins, and is not loaded.
                self.ask(&["enable", &target])?;
                if self.state(name)?.activity == state::Activity::Unknown {
                    self.ask(&["bootstrap", &domain(), &file.to_string_lossy()])?;
                }
                self.ask(&["kickstart", &target])
            }
        }
    }

    /// Has the manager stop a service, and not start it by itself any more.
    ///
    /// # Errors
    /// Any [`ServiceError`].
    pub(crate) fn unload(&self, name: &ServiceName) -> Result<(), ServiceError> {
        match self.kind {
            Kind::Systemd => {
                let mut units = self.units(name);
                // The socket first: else it would start the service again.
                units.reverse();
                let mut words = vec!["disable", "--now"];
                words.extend(units.iter().map(String::as_str));
                self.ask(&words)
            }
            Kind::Launchd => self.ask(&["bootout", &self.target(name)]),
        }
    }

    /// Removes the files of a service that was unloaded. Gives those that were there.
    ///
    /// # Errors
    /// Any [`ServiceError`].
    pub(crate) fn remove(&self, name: &ServiceName) -> Result<Vec<PathBuf>, ServiceError> {
        let mut removed = Vec::new();
        for path in [self.main_file(name), self.socket_file(name)] {
            if files::remove(&path)? {
                removed.push(path);
            }
        }
        if self.kind == Kind::Systemd && !removed.is_empty() {
            self.ask(&["daemon-reload"])?;
        }
        Ok(removed)
    }

    /// Starts a service that is installed.
    ///
    /// # Errors
    /// Any [`ServiceError`].
    pub(crate) fn start(&self, name: &ServiceName) -> Result<(), ServiceError> {
        match self.kind {
            Kind::Systemd => {
                let units = self.units(name);
                let mut words = vec!["start"];
                words.extend(units.iter().rev().map(String::as_str));
                self.ask(&words)
            }
            Kind::Launchd => self.load(name, false),
        }
    }

    /// Stops a service until the next login or boot, or until it is started.
    ///
    /// # Errors
    /// Any [`ServiceError`].
    pub(crate) fn stop(&self, name: &ServiceName) -> Result<(), ServiceError> {
        match self.kind {
            Kind::Systemd => {
                let units = self.units(name);
                let mut words = vec!["stop"];
                words.extend(units.iter().rev().map(String::as_str));
                self.ask(&words)
            }
            Kind::Launchd => self.unload(name),
        }
    }

    /// Starts a service anew. Sockets that the manager has stay open meanwhile.
    ///
    /// # Errors
    /// Any [`ServiceError`].
    pub(crate) fn restart(&self, name: &ServiceName) -> Result<(), ServiceError> {
        match self.kind {
            Kind::Systemd => {
                self.ask(&["daemon-reload"])?;
                self.ask(&["restart", &format!("{}.service", name.unit())])
            }
            Kind::Launchd => self.ask(&["kickstart", "-k", &self.target(name)]),
        }
    }

    /// How a service stands.
    ///
    /// # Errors
    /// Any [`ServiceError`]. That the manager does not know it is none.
    pub(crate) fn state(&self, name: &ServiceName) -> Result<State, ServiceError> {
        match self.kind {
            Kind::Systemd => {
                let unit = format!("{}.service", name.unit());
                let words = [
                    "show",
                    &unit,
                    "--timestamp=unix",
                    "--property",
                    state::PROPERTIES,
                ];
                let (output, command) = self.run(&words)?;
                Ok(state::of_systemd(&said_well(&output, &command)?))
            }
            Kind::Launchd => {
                let target = self.target(name);
                let (output, _) = self.run(&["print", &target])?;
                // It has no other way to say that there is none.
                if !output.status.success() {
                    return Ok(State::default());
                }
                Ok(state::of_launchd(&String::from_utf8_lossy(&output.stdout)))
            }
        }
    }

    /// The files of these names that lie where the user's services lie, or where the system's do.
    pub(crate) fn present<'a>(&self, names: &'a [ServiceName]) -> Vec<(&'a ServiceName, PathBuf)> {
        let system: &[&str] = match self.kind {
            Kind::Systemd => &["/etc/systemd/system", "/etc/systemd/user"],
            Kind::Launchd => &["/Library/LaunchAgents", "/Library/LaunchDaemons"],
        };
        let folders = [self.folder.as_path()]
            .into_iter()
            .chain(system.iter().map(Path::new));
        let mut found = Vec::new();
        for folder in folders {
            for name in names {
                let file = self.main_file(name);
                let path = folder.join(file.file_name().unwrap_or_default());
                // What cannot be looked at is none of this user's.
                if fs::symlink_metadata(&path).is_ok() {
                    found.push((name, path));
                }
            }
        }
        found
    }

    /// The services of systemd: the program's, then the sockets' where there are any.
    fn units(&self, name: &ServiceName) -> Vec<String> {
        let socket = self
            .has_sockets(name)
            .then(|| format!("{}.socket", name.unit()));
        [format!("{}.service", name.unit())]
            .into_iter()
            .chain(socket)
            .collect()
    }

    fn socket_file(&self, name: &ServiceName) -> PathBuf {
        self.folder.join(format!("{}.socket", name.unit()))
    }

    fn target(&self, name: &ServiceName) -> String {
        format!("{}/{}", domain(), name.label())
    }

    fn ask(&self, words: &[&str]) -> Result<(), ServiceError> {
        let (output, command) = self.run(words)?;
        said_well(&output, &command).map(|_| ())
    }

    fn run(&self, words: &[&str]) -> Result<(Output, String), ServiceError> {
        let name = self.kind.program();
        let program = match &self.program {
            Some(program) => program.clone(),
            None => {
                find_trusted(name).map_err(|why| ServiceError::Program { program: name, why })?
            }
        };
        let before: &[&str] = match self.kind {
            Kind::Systemd => &["--user"],
            Kind::Launchd => &[],
        };
        let output = Command::new(&program)
            .args(before)
            .args(words)
            // What it says is looked at below.
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .map_err(|source| ServiceError::Run {
                program: program.clone(),
                source,
            })?;
        let command = [&[name], before, words].concat().join(" ");
        Ok((output, command))
    }
}

/// What the program printed, or its error.
fn said_well(output: &Output, command: &str) -> Result<String, ServiceError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = crate::text::plain(String::from_utf8_lossy(&output.stderr).trim());
    let nobody = [
        "Failed to connect to",
        "not been booted with systemd",
        "XDG_RUNTIME_DIR",
    ];
    if nobody.iter().any(|words| said.contains(words)) {
        return Err(ServiceError::NoUserManager { said });
    }
    let said = if said.is_empty() {
        output.status.to_string()
    } else {
        said
    };
    Err(ServiceError::Refused {
        command: command.to_owned(),
        said,
    })
}

/// The user's session, for launchd.
fn domain() -> String {
    #[cfg(unix)]
    let user = rustix::process::getuid().as_raw();
    #[cfg(not(unix))]
    let user = 0;
    format!("gui/{user}")
}

#[cfg(all(test, unix))]
mod tests;
