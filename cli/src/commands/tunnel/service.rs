//! The tunnel as a service: its names, its files, and what they say (seed 002, persistent SSH tunnel; spec
//! hostpolicy §7).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clawgate_core::tunnel::{TunnelSpec, host_block, own_options};
use clawgate_std::find_ssh;

use super::explained;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::service::{
    Hardening, Readiness, Refused, Restart, Service, ServiceError, ServiceName, Value,
};
use crate::tunnels;

/// The `Host` of the block.
const ALIAS: &str = "remote-gateway";

/// What launchd calls it.
const LABEL: &str = "ai.openclaw.ssh-tunnel";

/// What launchd called it in older set-ups.
const OLD_LABEL: &str = "com.openclaw.ssh-tunnel";

/// What systemd calls it.
const UNIT: &str = "clawgate-ssh-tunnel";

/// A host that no `ssh_config` mentions.
const NOBODY: &str = "clawgate-nobody.invalid";

/// Pause before `ssh` is started again. It gives up by itself only where it cannot log in.
const PAUSE: Duration = Duration::from_secs(10);

/// Time for an orderly end.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Everything that belongs to the service of one instance.
#[derive(Debug)]
pub(super) struct TunnelService {
    /// The `Host` of its block.
    pub(super) alias: String,
    pub(super) name: ServiceName,
    /// A leftover of older set-ups.
    pub(super) old: ServiceName,
    /// The user's own file.
    pub(super) ssh_config: PathBuf,
    /// The file with the block.
    pub(super) included: PathBuf,
    /// How the one names the other.
    pub(super) include: String,
    /// Whether `ssh` has to be told where the user's file is.
    is_elsewhere: bool,
    log: PathBuf,
}

impl TunnelService {
    /// The service of an instance. Nothing is read.
    ///
    /// # Errors
    /// When there is no home folder.
    pub(super) fn of(spec_file: Option<&str>, context: &Context) -> Result<Self, Failure> {
        let places = context.locations()?;
        let suffix = context
            .profile
            .name()
            .map_or_else(String::new, |name| format!("-{}", name.to_lowercase()));
        let (ssh_config, is_elsewhere) = match spec_file {
            Some(file) => (PathBuf::from(file), true),
            None => {
                let home = context.env.non_blank("HOME").ok_or_else(no_home)?;
                (Path::new(home).join(".ssh/config"), false)
            }
        };
        let file = format!("clawgate-tunnel{suffix}.conf");
        let included = ssh_config.with_file_name(&file);
        Ok(Self {
            alias: format!("{ALIAS}{suffix}"),
            name: name(&format!("{UNIT}{suffix}"), &format!("{LABEL}{suffix}"))?,
            old: name(&format!("{UNIT}-old{suffix}"), OLD_LABEL)?,
            // A name without folders is one beside the user's own file, and there alone.
            include: if is_elsewhere {
                included.to_string_lossy().into_owned()
            } else {
                file
            },
            ssh_config,
            included,
            is_elsewhere,
            log: tunnels::folder(places).join("service.log"),
        })
    }

    /// The text of the included file, with what the user's files say about the machine.
    ///
    /// # Errors
    /// When there is no `ssh`.
    pub(super) fn block(&self, spec: &TunnelSpec) -> Result<String, Failure> {
        let ssh = find_ssh().map_err(|failure| explained(&failure, spec))?;
        let about = |destination: &str| {
            let mut command = Command::new(&ssh);
            if let Some(file) = &spec.config_file {
                command.args(["-F", file]);
            }
            let output = command
                .args(["-G", "--", destination])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .output();
            // What cannot be asked is left out; the login has shown whether it is needed.
            output.map_or_else(
                |_| String::new(),
                |output| String::from_utf8_lossy(&output.stdout).into_owned(),
            )
        };
        let own = own_options(&about(&spec.destination()), &about(NOBODY));
        Ok(host_block(&self.alias, spec, &own))
    }

    /// The service itself: `ssh -N remote-gateway`.
    ///
    /// # Errors
    /// When there is no `ssh`, or a path cannot stand in a service's file.
    pub(super) fn description(&self, spec: &TunnelSpec) -> Result<Service, Failure> {
        let ssh = find_ssh().map_err(|failure| explained(&failure, spec))?;
        self.with_program(&ssh, spec).map_err(refused)
    }

    fn with_program(&self, ssh: &Path, spec: &TunnelSpec) -> Result<Service, Refused> {
        let mut arguments = Vec::new();
        if self.is_elsewhere {
            arguments.push(Value::new("-F")?);
            arguments.push(Value::path(&self.ssh_config)?);
        }
        arguments.push(Value::new("-N")?);
        arguments.push(Value::new(self.alias.clone())?);
        Ok(Service {
            name: self.name.clone(),
            title: Value::new(format!("SSH tunnel to the gateway on {}", spec.target))?,
            program: Value::path(ssh)?,
            arguments,
            environment: Vec::new(),
            environment_file: None,
            working_folder: None,
            session_folder: None,
            readiness: Readiness::Started,
            restart: Restart {
                pause: PAUSE,
                never_after: Vec::new(),
            },
            stop_within: STOP_WITHIN,
            sockets: Vec::new(),
            kept_sockets: 0,
            // The user's own ssh_config may have it run other programs on the way.
            hardening: Hardening::None,
            log: Some(Value::path(&self.log)?),
        })
    }

    /// Where launchd puts what `ssh` says.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }
}

fn name(unit: &str, label: &str) -> Result<ServiceName, Failure> {
    ServiceName::new(unit, label).map_err(refused)
}

pub(super) fn refused(refused: Refused) -> Failure {
    ServiceError::from(refused).failure()
}

fn no_home() -> Failure {
    ServiceError::NoHome.failure().note("HOME is not set")
}

/// A file that cannot be read or written.
pub(super) fn file_failure(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        "tunnel_install_failed",
        format!("Cannot {what} {}: {error}.", path.display()),
        "Check the permissions of the file and of its folder.",
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clawgate_core::policy::SshTarget;

    use super::*;
    use crate::service::{launchd, systemd};

    fn service() -> Service {
        let spec = TunnelSpec::new(SshTarget::parse("nick@studio").unwrap(), 18789);
        let service = TunnelService {
            alias: ALIAS.into(),
            name: name(UNIT, LABEL).unwrap(),
            old: name("old", OLD_LABEL).unwrap(),
            ssh_config: "/Users/nick/.ssh/config".into(),
            included: "/Users/nick/.ssh/clawgate-tunnel.conf".into(),
            include: "clawgate-tunnel.conf".into(),
            is_elsewhere: false,
            log: "/Users/nick/a & b/service.log".into(),
        };
        service
            .with_program(Path::new("/usr/bin/ssh"), &spec)
            .unwrap()
    }

    #[test]
    fn the_agent_is_the_one_of_the_contract() {
        let text = launchd::plist(&service()).unwrap();
        let read: plist::Value = plist::Value::from_reader_xml(text.as_bytes()).unwrap();
        let keys = read.as_dictionary().unwrap();
        assert_eq!(
            keys.get("Label").and_then(plist::Value::as_string),
            Some("ai.openclaw.ssh-tunnel")
        );
        let words: Vec<&str> = keys
            .get("ProgramArguments")
            .and_then(plist::Value::as_array)
            .unwrap()
            .iter()
            .filter_map(plist::Value::as_string)
            .collect();
        assert_eq!(words, ["/usr/bin/ssh", "-N", "remote-gateway"]);
        for key in ["KeepAlive", "RunAtLoad"] {
            assert_eq!(keys.get(key).and_then(plist::Value::as_boolean), Some(true));
        }
        assert_eq!(
            keys.get("StandardErrorPath")
                .and_then(plist::Value::as_string),
            Some("/Users/nick/a & b/service.log")
        );
    }

    /// systemd itself reads the unit. Where it is missing, the rest of the test stands alone.
    #[test]
    fn systemd_accepts_the_unit() {
        let text = systemd::units(&service()).unwrap().service;
        assert!(text.contains("ExecStart=") && text.contains("-N"), "{text}");
        // A machine that is off for a night is no reason to give up.
        assert!(text.contains("Restart=always"), "{text}");
        assert!(text.contains("StartLimitIntervalSec=0"), "{text}");
        let folder = tempfile::tempdir().unwrap();
        let unit = folder.path().join("clawgate-ssh-tunnel.service");
        fs::write(&unit, text).unwrap();
        let verify = Command::new("systemd-analyze")
            .args(["verify", "--user", "--man=no"])
            .arg(&unit)
            .env("XDG_RUNTIME_DIR", folder.path())
            .output();
        match verify {
            Ok(verify) => assert!(verify.status.success(), "{verify:?}"),
            Err(_) => crate::output::note("systemd-analyze is missing: the unit was not verified"),
        }
    }
}
