//! Every command that the help lists, with arguments that make sense.

use crate::common::Sandbox;

/// What the arguments may name.
pub struct Names {
    pub device: String,
    pub request: String,
    pub invite: String,
    /// A URL with a secret before the host.
    pub url: String,
}

/// The commands at the ends of the tree, as the help tells them.
pub fn leaves(sandbox: &Sandbox) -> Vec<Vec<String>> {
    let mut leaves = Vec::new();
    let mut open = vec![Vec::<String>::new()];
    while let Some(path) = open.pop() {
        let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
        args.push("--help");
        let help = sandbox.run(&args);
        assert_eq!(help.code, 0, "{help:?}");
        let below: Vec<String> = help
            .stdout
            .lines()
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .take_while(|line| line.starts_with("  "))
            .filter(|line| !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| *name != "help")
            .map(str::to_owned)
            .collect();
        if below.is_empty() {
            leaves.push(path);
        } else {
            open.extend(below.into_iter().map(|name| [&path[..], &[name]].concat()));
        }
    }
    leaves.sort();
    leaves
}

/// Arguments for a command, without its name; nothing for one that nobody has thought of.
pub fn arguments(leaf: &str, names: &Names) -> Option<Vec<Vec<String>>> {
    let one = |args: &[&str]| vec![args.iter().map(|&arg| arg.to_owned()).collect()];
    let (device, request) = (names.device.as_str(), names.request.as_str());
    Some(match leaf {
        "agent" => one(&["--message", "/echo hello", "--timeout", "5"]),
        "sessions compact" | "sessions delete" | "sessions reset" => one(&["main", "--yes"]),
        "sessions abort" | "sessions history" | "sessions show" => one(&["main"]),
        "sessions create" => one(&["work"]),
        "sessions rename" => one(&["work", "Desk"]),
        "sessions search" => one(&["hello"]),
        "sessions send" => one(&["work", "--message", "/echo hello"]),
        "auth explain" => ["call", "probe", "status", "node-host", "exec-approvals"]
            .map(|surface| vec!["--surface".to_owned(), surface.to_owned()])
            .to_vec(),
        "backup" => one(&["--force"]),
        "completion" => one(&["bash"]),
        "discover" => one(&["--timeout", "1"]),
        "doctor" => vec![vec![], vec!["--fix".into()]],
        "support bundle" => vec![vec!["--read".into()], vec!["--list".into()]],
        "open" => one(&["--print"]),
        // What is on standard input would be heard.
        "voice" => one(&[]),
        "support read" => one(&["no-such-archive.tar.gz"]),
        "config get" => vec![
            vec![],
            vec!["gateway.auth.token".into()],
            vec!["gateway.remote".into()],
            vec!["secrets".into()],
        ],
        // Nothing is written: what a config holds is in copies of it, too.
        "config set" => one(&["gateway.auth.token", "x", "--dry-run"]),
        "config unset" => one(&["gateway.auth", "--dry-run"]),
        "config patch" => one(&["-", "--dry-run"]),
        "config why" => vec![
            vec!["gateway.auth.token".into()],
            vec!["gateway.remote.edgeAuth".into()],
            vec!["channels.telegram.botToken".into()],
        ],
        "config diff" | "config restore" | "context list" | "remote show" | "remote test" => {
            one(&[])
        }
        "remote set" => one(&[
            "--url",
            "wss://127.0.0.1:1",
            "--token-file",
            "-",
            "--dry-run",
        ]),
        "remote clear" => one(&["--dry-run"]),
        "context add" => one(&[
            "lab",
            "--url",
            "wss://127.0.0.1:1",
            "--token-file",
            "-",
            "--replace",
        ]),
        "context show" => one(&["lab"]),
        "context remove" => one(&["nothing"]),
        "context use" => one(&["default"]),
        "gateway top" => one(&["--once"]),
        "tunnel up" => one(&["--ssh", "nobody@127.0.0.1:1", "--background"]),
        "tunnel install" => one(&["--ssh", "nobody@127.0.0.1:1", "--print"]),
        "tunnel status" | "tunnel down" | "tunnel uninstall" => one(&[]),
        "channels status" | "messages list" | "pairing list" => one(&[]),
        "channels start" | "channels stop" | "channels logout" => one(&["telegram"]),
        "messages trace" | "messages resend" => one(&["m1"]),
        "pairing approve" => one(&["telegram", "7KQ2M9XB", "--owner"]),
        "pairing reject" => one(&["7KQ2M9XB"]),
        "send" => one(&["--to", "1", "--message", "hello", "--timeout", "5000"]),
        "devices approve" => vec![
            vec![request.into()],
            vec!["--latest".into(), "--yes".into()],
        ],
        "devices reject" => one(&[request]),
        "devices remove" => one(&[device]),
        "devices rename" => one(&[device, "desk"]),
        "devices revoke" => one(&[device, "--role", "node"]),
        "devices rotate" => one(&[device, "--role", "node"]),
        "devices invite" => one(&["--label", "by the test", "--ttl", "10m"]),
        "devices uninvite" => one(&[&names.invite]),
        "devices join" => one(&["-"]),
        "devices upgrade" => one(&["--scopes", "operator.admin", "--wait", "1s"]),
        "devices self" => vec![vec![], vec!["--create".into()]],
        "gateway call" => vec![
            vec!["health".into()],
            vec!["config.get".into()],
            vec!["logs.tail".into()],
            vec!["no.such.method".into()],
        ],
        // No manager lies there, so that no service of this machine is touched; nor is the gateway of
        // the test, whose state is that of no profile.
        "gateway install" => one(&["--print"]),
        "gateway uninstall" | "gateway start" | "gateway stop" | "gateway restart" => {
            one(&["--profile", "nobody"])
        }
        // A second one finds the first, or a configuration that it cannot use.
        "gateway run" => one(&["--port", "0"]),
        // A node that can start goes on until it is ended: this one finds no program.
        "node run" => one(&["--command", "lights.set=/no/such/program"]),
        "nodes approve" | "nodes reject" => one(&[request]),
        "nodes describe" | "nodes remove" => one(&[device]),
        "nodes rename" => one(&[device, "desk"]),
        "nodes invoke" => one(&[device, "device.info"]),
        "pins remove" => one(&["gw.example.com:443"]),
        "secrets reload" | "secrets rotate" => one(&["--grace", "1m"]),
        "status" => vec![vec![], vec!["--all".into()]],
        "url check" => one(&[&names.url]),
        "approvals get" | "approvals list" | "logs" => one(&[]),
        "approvals resolve" => one(&["no-such-question", "deny"]),
        // One that finds a gateway goes on until it is ended.
        "approvals watch" => one(&["--port", "1"]),
        // What is on standard input would be said: here it is a token.
        "chat" => one(&["--token-file", "-"]),
        "demo" | "sessions list" | "sessions usage" => one(&[]),
        "config path" | "config validate" | "devices invites" | "devices list" | "nodes list"
        | "nodes pending" | "nodes status" | "gateway health" | "gateway probe"
        | "gateway status" | "health" | "pins list" | "secrets status" | "security audit"
        | "security log" => one(&[]),
        _ => return None,
    })
}
