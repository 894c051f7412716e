//! A tunnel that the system's service manager keeps: its `Host` block in a file of its own, and the one line
//! of the user's `ssh_config` that includes it (seed 002, persistent SSH tunnel).

use std::fmt::Write as _;

use super::spec::{HostKeyPolicy, KeepAlive, TunnelSpec};

/// The text of the included file: one `Host` block. It says everything that the command line of an opened
/// tunnel says, so `ssh -N ALIAS` does the same. `own` is what the user's files say about that host alone
/// ([`own_options`]): a block of another name would not get it.
///
/// ```
/// use clawgate_core::policy::SshTarget;
/// use clawgate_core::tunnel::{TunnelSpec, host_block};
///
/// let spec = TunnelSpec::new(SshTarget::parse("nick@studio").unwrap(), 18789);
/// let block = host_block("remote-gateway", &spec, &[]);
/// assert!(block.contains("Host remote-gateway\n"));
/// assert!(block.contains("  LocalForward 127.0.0.1:18789 127.0.0.1:18789\n"));
/// ```
pub fn host_block(alias: &str, spec: &TunnelSpec, own: &[(String, String)]) -> String {
    let mut block = format!(
        "# Written by `clawgate tunnel install`, and taken away by `clawgate tunnel uninstall`.\nHost \
         {alias}\n"
    );
    let mut line = |key: &str, value: &str| {
        // Writing into a string does not fail.
        let _ = writeln!(block, "  {key} {value}");
    };
    let of_own = |key: &str| {
        let found = own.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    };
    line(
        "HostName",
        of_own("hostname").unwrap_or_else(|| spec.bare_host()),
    );
    match (spec.target.user(), of_own("user")) {
        (Some(user), _) => line("User", &quoted(user)),
        (None, Some(user)) => line("User", user),
        (None, None) => {}
    }
    line("Port", &spec.target.port().to_string());
    // With the address, for `GatewayPorts` must not open the port to others.
    let forward = format!(
        "127.0.0.1:{} 127.0.0.1:{}",
        spec.local_port, spec.remote_port
    );
    line("LocalForward", &forward);
    if let Some(identity) = &spec.identity {
        line("IdentityFile", &quoted(identity));
    }
    line("ExitOnForwardFailure", "yes");
    line("BatchMode", "yes");
    match spec.host_keys {
        HostKeyPolicy::Strict => line("StrictHostKeyChecking", "yes"),
        HostKeyPolicy::OpenSsh => {}
    }
    line("UpdateHostKeys", "yes");
    line("ConnectTimeout", "5");
    let KeepAlive { interval, count } = KeepAlive::default();
    line("ServerAliveInterval", &interval.to_string());
    line("ServerAliveCountMax", &count.to_string());
    line("ControlMaster", "no");
    line("ControlPath", "none");
    for (key, value) in own {
        if key != "hostname" && key != "user" {
            line(key, value);
        }
    }
    block
}

/// Options that a block of ours says itself, or that are about forwards of the user's own.
const NOT_COPIED: &[&str] = &[
    "host",
    "port",
    "localforward",
    "remoteforward",
    "dynamicforward",
    "clearallforwardings",
    "exitonforwardfailure",
    "gatewayports",
    "batchmode",
    "stricthostkeychecking",
    "updatehostkeys",
    "connecttimeout",
    "serveraliveinterval",
    "serveralivecountmax",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "remotecommand",
    "requesttty",
    "sessiontype",
];

/// What the user's `ssh_config` says about one host alone, such as a jump host: what `ssh -G` prints for it
/// and not for a host that is not mentioned anywhere.
///
/// ```
/// use clawgate_core::tunnel::own_options;
///
/// let studio = "host studio\nhostname 10.0.0.7\nproxyjump bastion\nhashknownhosts yes\n";
/// let nobody = "host nobody\nhostname nobody\nhashknownhosts yes\n";
/// let own = own_options(studio, nobody);
/// assert_eq!(own, [("hostname".into(), "10.0.0.7".into()), ("proxyjump".into(), "bastion".into())]);
/// ```
pub fn own_options(host: &str, nobody: &str) -> Vec<(String, String)> {
    let general: Vec<&str> = nobody.lines().map(str::trim).collect();
    host.lines()
        .map(str::trim)
        .filter(|line| !general.contains(line))
        .filter_map(|line| line.split_once(' '))
        .filter(|(key, _)| !NOT_COPIED.contains(key))
        .filter(|(_, value)| !value.chars().any(char::is_control))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// The user's file with the line that includes another one. `None` where it has it. The line comes first:
/// below a `Host` it would count for that host alone.
pub fn with_include(text: &str, included: &str) -> Option<String> {
    if text.lines().any(|line| is_include(line, included)) {
        return None;
    }
    let line = format!("Include {}\n", quoted(included));
    Some(if text.is_empty() {
        line
    } else {
        format!("{line}\n{text}")
    })
}

/// The user's file without that line. `None` where it has none.
pub fn without_include(text: &str, included: &str) -> Option<String> {
    let index = text.lines().position(|line| is_include(line, included))?;
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines.remove(index);
    // The blank line that came with it.
    if index == 0 && lines.first().is_some_and(|line| line.trim().is_empty()) {
        lines.remove(0);
    }
    Some(lines.concat())
}

fn is_include(line: &str, included: &str) -> bool {
    let line = line.trim();
    let Some((key, value)) = line.split_once(|c: char| c.is_whitespace() || c == '=') else {
        return false;
    };
    let value = value.trim().trim_matches('"');
    key.eq_ignore_ascii_case("include") && value == included
}

/// A value as `ssh_config` takes it. A percent sign would begin one of its own abbreviations.
fn quoted(value: &str) -> String {
    let value = value.replace('%', "%%");
    if value.contains(char::is_whitespace) {
        format!("\"{value}\"")
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::SshTarget;

    #[test]
    fn a_block_says_what_the_command_line_says() {
        let spec = TunnelSpec {
            identity: Some("/home/a b/key".into()),
            local_port: 4000,
            ..TunnelSpec::new(SshTarget::parse("nick@[::1]:2222").unwrap(), 18789)
        };
        let own = [
            ("hostname".to_owned(), "10.0.0.7".to_owned()),
            ("user".to_owned(), "root".to_owned()),
            ("proxyjump".to_owned(), "bastion".to_owned()),
        ];
        let other = host_block("remote-gateway", &spec, &own);
        for line in ["  HostName 10.0.0.7", "  User nick", "  proxyjump bastion"] {
            assert!(other.lines().any(|found| found == line), "{line}:\n{other}");
        }
        let block = host_block("remote-gateway", &spec, &[]);
        for line in [
            "Host remote-gateway",
            "  HostName ::1",
            "  User nick",
            "  Port 2222",
            "  LocalForward 127.0.0.1:4000 127.0.0.1:18789",
            "  IdentityFile \"/home/a b/key\"",
            "  StrictHostKeyChecking yes",
        ] {
            assert!(block.lines().any(|found| found == line), "{line}:\n{block}");
        }
        // Every option of the one is in the other.
        let arguments = spec.arguments(4000, KeepAlive::default());
        for option in arguments.iter().filter_map(|word| word.split_once('=')) {
            let line = format!("  {} {}", option.0, option.1);
            let told_otherwise = option.0 == "LogLevel";
            assert!(told_otherwise || block.contains(&line), "{line}:\n{block}");
        }
    }

    #[test]
    fn the_users_file_is_what_it_was_afterwards() {
        for before in ["", "Host a\n  User b\n", "\nHost a", "# mine\n\n\nHost *\n"] {
            let with = with_include(before, "clawgate-tunnel.conf").unwrap();
            assert!(with.starts_with("Include clawgate-tunnel.conf\n"), "{with}");
            assert!(with.ends_with(before));
            assert_eq!(with_include(&with, "clawgate-tunnel.conf"), None);
            let after = without_include(&with, "clawgate-tunnel.conf").unwrap();
            assert_eq!(after, before);
        }
        let text = "Host a\ninclude \"clawgate-tunnel.conf\"\nUser b\n";
        assert_eq!(with_include(text, "clawgate-tunnel.conf"), None);
        assert_eq!(
            without_include(text, "clawgate-tunnel.conf").as_deref(),
            Some("Host a\nUser b\n")
        );
        assert_eq!(without_include("Host a\n", "clawgate-tunnel.conf"), None);
    }
}
