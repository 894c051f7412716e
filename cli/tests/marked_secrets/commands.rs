//! Every command that the help lists, with arguments that make sense.

use crate::common::Sandbox;

/// What the arguments may name.
pub struct Names {
    pub device: String,
    pub request: String,
    pub invite: String,
    /// Where a support bundle is written.
    pub bundle: String,
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
        "config diff" => one(&[]),
        "config patch" => one(&["-", "--dry-run"]),
        "config restore" | "remote clear" => one(&["--dry-run"]),
        "config set" => vec![
            vec!["gateway.port".into(), "18789".into(), "--dry-run".into()],
            // What is on standard input is a secret.
            vec![
                "gateway.auth.token".into(),
                "--value-file".into(),
                "-".into(),
                "--dry-run".into(),
            ],
        ],
        "config unset" => one(&["gateway.auth.token", "--dry-run"]),
        "config why" => vec![
            vec!["gateway.auth.token".into()],
            vec!["gateway.remote.edgeAuth".into()],
            vec!["channels.telegram.botToken".into()],
        ],
        "context add" => {
            // What is on standard input is a secret.
            one(&[
                "elsewhere",
                "--url",
                "wss://gw.example.com",
                "--token-file",
                "-",
                "--replace",
            ])
        }
        "context list" | "remote show" => one(&[]),
        "context show" => one(&["elsewhere"]),
        "context remove" | "context use" => one(&["no-such-context"]),
        "remote set" => one(&["--url", "wss://gw.example.com", "--dry-run"]),
        "remote test" => one(&["--url", "ws://127.0.0.1:1"]),
        "gateway top" => one(&["--once"]),
        // One that comes up goes on until it is ended.
        "tunnel up" => one(&["--ssh", "-no-such-host"]),
        "tunnel install" => one(&["--print", "--ssh", "ada@127.0.0.1:1"]),
        "tunnel status" | "tunnel down" | "tunnel uninstall" => one(&[]),
        "discover" => one(&["--timeout", "1"]),
        "doctor" => vec![vec![], vec!["--fix".into()]],
        "support bundle" => vec![
            vec!["--read".into()],
            vec!["--to".into(), names.bundle.clone()],
        ],
        "open" => one(&["--print"]),
        // What is on standard input would be heard.
        "voice" => one(&[]),
        "support read" => one(&[&names.bundle]),
        "config get" => vec![
            vec![],
            vec!["gateway.auth.token".into()],
            vec!["gateway.remote".into()],
            vec!["secrets".into()],
        ],
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
