//! A service as systemd's user units: `NAME.service`, and `NAME.socket` where the manager opens its
//! sockets. The quoting is that of systemd.syntax(7) and systemd.service(5).

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::description::{Hardening, Readiness, Refused, Service, Value};

/// What systemd calls the sockets of a socket unit when it hands them over.
pub(crate) const SOCKET_NAME: &str = "clawgate";

/// The texts of the units of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Units {
    /// `NAME.service`.
    pub(crate) service: String,
    /// `NAME.socket`.
    pub(crate) socket: Option<String>,
}

/// Writes the units.
///
/// # Errors
/// [`Refused::Inexpressible`] for a value that no quoting can express.
pub(crate) fn units(service: &Service) -> Result<Units, Refused> {
    Ok(Units {
        service: service_unit(service)?,
        socket: socket_unit(service)?,
    })
}

fn service_unit(service: &Service) -> Result<String, Refused> {
    let mut unit = Unit::default();
    unit.section("Unit");
    unit.line("Description", &plain("a title", &service.title)?);
    if service.restart.never_after.is_empty() {
        // Time mends whatever ended it, so it is tried for ever.
        unit.line("StartLimitIntervalSec", "0");
    } else {
        // Ten starts that fail within five minutes, and the manager stops trying.
        unit.line("StartLimitIntervalSec", "300");
        unit.line("StartLimitBurst", "10");
    }
    if !service.sockets.is_empty() {
        // Started by itself, it must not find its sockets closed.
        let socket = format!("{}.socket", service.name.unit());
        unit.line("Requires", &socket);
        unit.line("After", &socket);
    }

    unit.section("Service");
    unit.line(
        "Type",
        match service.readiness {
            Readiness::Started => "exec",
            Readiness::Notifies { .. } => "notify",
        },
    );
    unit.line("ExecStart", &command(service)?);
    for (name, value) in &service.environment {
        unit.line("Environment", &assignment(name, value)?);
    }
    if let Some(file) = &service.environment_file {
        unit.line("EnvironmentFile", &format!("-{}", plain("a path", file)?));
    }
    if let Some(folder) = &service.working_folder {
        unit.line("WorkingDirectory", &plain("a path", folder)?);
    }
    if let Some(folder) = &service.session_folder {
        unit.line("RuntimeDirectory", &word(folder));
        unit.line("RuntimeDirectoryMode", "0700");
        unit.line("RuntimeDirectoryPreserve", "yes");
    }
    unit.line("Restart", "always");
    unit.line("RestartSec", &seconds(service.restart.pause));
    if !service.restart.never_after.is_empty() {
        let codes: Vec<String> = service
            .restart
            .never_after
            .iter()
            .map(ToString::to_string)
            .collect();
        unit.line("RestartPreventExitStatus", &codes.join(" "));
    }
    if let Readiness::Notifies { watchdog } = service.readiness {
        unit.line("NotifyAccess", "main");
        if let Some(watchdog) = watchdog {
            unit.line("WatchdogSec", &seconds(watchdog));
        }
    }
    unit.line("TimeoutStopSec", &seconds(service.stop_within));
    // The program's children get the signal at its end only: it ends them itself, in order.
    unit.line("KillMode", "mixed");
    if service.kept_sockets > 0 {
        unit.line("FileDescriptorStoreMax", &service.kept_sockets.to_string());
    }
    unit.line("UMask", "0077");
    harden(&mut unit, &service.hardening);

    unit.section("Install");
    unit.line("WantedBy", "default.target");
    if !service.sockets.is_empty() {
        unit.line("Also", &format!("{}.socket", service.name.unit()));
    }
    Ok(unit.0)
}

fn socket_unit(service: &Service) -> Result<Option<String>, Refused> {
    if service.sockets.is_empty() {
        return Ok(None);
    }
    let mut unit = Unit::default();
    unit.section("Unit");
    let title = plain("a title", &service.title)?;
    unit.line("Description", &format!("{title} (sockets)"));
    unit.section("Socket");
    for socket in &service.sockets {
        unit.line("ListenStream", &socket.address.to_string());
    }
    // `::1` and 127.0.0.1 are sockets of their own.
    unit.line("BindIPv6Only", "ipv6-only");
    unit.line("Backlog", "4096");
    unit.line("NoDelay", "yes");
    unit.line("FileDescriptorName", SOCKET_NAME);
    unit.section("Install");
    unit.line("WantedBy", "sockets.target");
    Ok(Some(unit.0))
}

/// Directives that work without rights of root. Those that give the program a view of its own on the
/// files need user namespaces.
fn harden(unit: &mut Unit, hardening: &Hardening) {
    if matches!(hardening, Hardening::None) {
        return;
    }
    for (name, value) in [
        ("NoNewPrivileges", "yes"),
        ("LockPersonality", "yes"),
        ("RestrictRealtime", "yes"),
        ("RestrictSUIDSGID", "yes"),
        // Netlink tells the addresses of this machine.
        (
            "RestrictAddressFamilies",
            "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        ),
        ("SystemCallArchitectures", "native"),
    ] {
        unit.line(name, value);
    }
    let Hardening::Strict { writable } = hardening else {
        return;
    };
    // In a private folder of temporary files, those that lie in the common one are not to be seen.
    let in_tmp = |folder: &Value| {
        let path = Path::new(folder.as_str());
        path.starts_with("/tmp") || path.starts_with("/var/tmp")
    };
    if !writable.iter().any(in_tmp) {
        unit.line("PrivateTmp", "yes");
    }
    for (name, value) in [
        // Without rights of root, the manager can do the rest only in a user namespace.
        ("PrivateUsers", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "read-only"),
        ("ProtectControlGroups", "yes"),
    ] {
        unit.line(name, value);
    }
    for folder in writable {
        unit.line("ReadWritePaths", &word(folder));
    }
}

#[derive(Default)]
struct Unit(String);

impl Unit {
    fn section(&mut self, name: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        // Writing into a string does not fail.
        let _ = writeln!(self.0, "{gap}[{name}]");
    }

    fn line(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.0, "{name}={value}");
    }
}

fn command(service: &Service) -> Result<String, Refused> {
    // The path is taken as it is: variables are put into the words after it only.
    if service.program.as_str().contains('$') {
        return Err(inexpressible("a program", &service.program));
    }
    let arguments = service
        .arguments
        .iter()
        .map(|argument| quote(&argument.as_str().replace('$', "$$")));
    Ok([word(&service.program)]
        .into_iter()
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" "))
}

fn assignment(name: &Value, value: &Value) -> Result<String, Refused> {
    let is_name = !name.as_str().is_empty()
        && !name.as_str().starts_with(|c: char| c.is_ascii_digit())
        && name
            .as_str()
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err(inexpressible("the name of a variable", name));
    }
    Ok(quote(&format!("{}={}", name.as_str(), value.as_str())))
}

/// One word of a list.
fn word(value: &Value) -> String {
    quote(value.as_str())
}

/// A word, in quotes unless it is plain. `%` would be a specifier.
fn quote(text: &str) -> String {
    let text = text.replace('%', "%%");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@+,%$".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

/// A value that goes to the end of its line and knows no quotes.
fn plain(what: &'static str, value: &Value) -> Result<String, Refused> {
    let text = value.as_str();
    // Blanks at the ends are cut off, and a backslash there joins the next line.
    if text != text.trim() || text.ends_with('\\') || text.is_empty() {
        return Err(inexpressible(what, value));
    }
    Ok(text.replace('%', "%%"))
}

fn inexpressible(what: &'static str, value: &Value) -> Refused {
    Refused::Inexpressible(what, value.as_str().to_owned())
}

fn seconds(time: Duration) -> String {
    match time.subsec_millis() {
        0 => time.as_secs().to_string(),
        millis => format!("{}.{millis:03}", time.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::super::description::{Socket, sample};
    use super::*;

    fn value(text: &str) -> Value {
        Value::new(text).unwrap()
    }

    fn full() -> Service {
        Service {
            arguments: [
                "--profile",
                "a b",
                "100%",
                "$HOME",
                "say \"hi\"",
                "c:\\x",
                ";",
                "",
                "ö",
            ]
            .map(value)
            .into(),
            environment: vec![(value("NAME"), value("it's 5% of $x \\ \"q\""))],
            environment_file: Some(value("/home/a b/50%/gateway.env")),
            working_folder: Some(value("/tmp")),
            session_folder: Some(value("clawgate")),
            readiness: Readiness::Notifies {
                watchdog: Some(Duration::from_millis(30_500)),
            },
            sockets: ["127.0.0.1:18789", "[::1]:18789"]
                .map(|address| Socket {
                    address: address.parse().unwrap(),
                })
                .into(),
            kept_sockets: 4,
            hardening: Hardening::Strict {
                writable: vec![value("/home/a b/.openclaw"), value("/srv/x")],
            },
            // It has to be there for the check below.
            program: value("/bin/sh"),
            ..sample()
        }
    }

    #[test]
    fn every_value_is_quoted_as_its_place_wants_it() {
        let units = units(&full()).unwrap();
        let lines: Vec<&str> = units.service.lines().collect();
        for line in [
            r#"ExecStart=/bin/sh --profile "a b" 100%% $$HOME "say \"hi\"" "c:\\x" ";" "" "ö""#,
            r#"Environment="NAME=it's 5%% of $x \\ \"q\"""#,
            "EnvironmentFile=-/home/a b/50%%/gateway.env",
            "ReadWritePaths=\"/home/a b/.openclaw\"",
            "ReadWritePaths=/srv/x",
            "RestartPreventExitStatus=78",
            "WatchdogSec=30.500",
            "Type=notify",
            "NoNewPrivileges=yes",
            "PrivateTmp=yes",
            "ProtectSystem=strict",
            "Also=clawgate-gateway.socket",
        ] {
            assert!(lines.contains(&line), "{line} in\n{}", units.service);
        }
        let socket = units.socket.unwrap();
        assert!(socket.contains("ListenStream=127.0.0.1:18789\nListenStream=[::1]:18789\n"));
    }

    #[test]
    fn what_no_quoting_expresses_is_refused() {
        let refused = |change: fn(&mut Service)| {
            let mut service = sample();
            change(&mut service);
            assert!(
                matches!(units(&service), Err(Refused::Inexpressible(..))),
                "{service:?}"
            );
        };
        refused(|service| service.program = value("/opt/$x/clawgate"));
        refused(|service| service.title = value("ends with a \\"));
        refused(|service| service.title = value(" blank"));
        refused(|service| service.environment_file = Some(value("/x ")));
        refused(|service| service.environment = vec![(value("A=B"), value("x"))]);
        refused(|service| service.environment = vec![(value("1A"), value("x"))]);
    }

    #[test]
    fn a_state_among_temporary_files_stays_in_sight() {
        let service = Service {
            hardening: Hardening::Strict {
                writable: vec![value("/tmp/state")],
            },
            ..sample()
        };
        let unit = units(&service).unwrap().service;
        assert!(unit.contains("ProtectSystem=strict") && !unit.contains("PrivateTmp"));
    }

    #[test]
    fn basic_hardening_leaves_the_files_as_they_are() {
        let service = Service {
            hardening: Hardening::Basic,
            ..sample()
        };
        let unit = units(&service).unwrap().service;
        assert!(unit.contains("NoNewPrivileges=yes"));
        assert!(!unit.contains("PrivateTmp") && !unit.contains("ProtectSystem"));
    }

    /// systemd itself reads the words back. Where it is missing, the test above stands alone.
    #[test]
    fn systemd_accepts_the_units() {
        let folder = tempfile::tempdir().unwrap();
        let units = units(&full()).unwrap();
        let service = folder.path().join("clawgate-gateway.service");
        let socket = folder.path().join("clawgate-gateway.socket");
        fs::write(&service, units.service).unwrap();
        fs::write(&socket, units.socket.unwrap()).unwrap();
        let verify = Command::new("systemd-analyze")
            .args(["verify", "--user", "--man=no"])
            .arg(&service)
            .arg(&socket)
            .env("XDG_RUNTIME_DIR", folder.path())
            .output();
        let Ok(verify) = verify else {
            crate::output::note("systemd-analyze is missing: the units were not verified");
            return;
        };
        let said = String::from_utf8_lossy(&verify.stderr);
        assert!(verify.status.success(), "{said}");
        assert!(!said.contains("clawgate-gateway"), "{said}");
    }
}
