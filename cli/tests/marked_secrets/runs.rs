//! The runs.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    thread,
};

use serde_json::{Value, json};

use crate::{
    commands::{Names, arguments, leaves},
    common::{Sandbox, closed_port},
    marks::{Marks, mark},
    search,
};

/// Secrets that stand in the files of every run.
const KINDS: [&str; 10] = [
    "bot",
    "file",
    "exec",
    "remote-token",
    "remote-password",
    "edge",
    "env",
    "wrong",
    "flag",
    "userinfo",
];

struct Run {
    sandbox: Sandbox,
    marks: Marks,
}

/// A gateway that runs, and what it says.
struct Gateway {
    child: Child,
    port: String,
    saying: Option<thread::JoinHandle<Vec<u8>>>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    /// Asks it to end, and gives everything that it said.
    fn end(mut self) -> Vec<u8> {
        let pid = self.child.id().to_string();
        Command::new("kill").arg(&pid).status().unwrap();
        self.child.wait().unwrap();
        self.saying.take().unwrap().join().unwrap()
    }
}

/// The parts that every configuration has. Wrong secrets come often here, and nobody shall wait.
fn config(mut gateway_auth: Value, program: &str) -> Value {
    gateway_auth["rateLimit"] = json!({ "exemptLoopback": false, "maxAttempts": 1_000_000 });
    json!({
        "gateway": {
            "mode": "local",
            "bind": "loopback",
            "auth": gateway_auth,
            "remote": {
                "url": "wss://gw.example.com", "token": mark("remote-token"),
                "password": mark("remote-password"),
                "edgeAuth": { "X-Edge": mark("edge"), "X-From-Env": { "source": "env", "id": "EDGE" } },
            },
        },
        // The API is asked in vain: its address, in which the token stands, is in every error.
        "channels": { "telegram": {
            "botToken": format!("123456789:{}-AAAAAAAAAA", mark("bot")),
            "apiRoot": format!("http://127.0.0.1:{}", closed_port()),
        } },
        "secrets": { "providers": {
            "main": { "source": "file", "path": "~/secrets.json" },
            "vault": { "source": "exec", "command": program, "timeoutMs": 60_000 },
        }},
    })
}

impl Run {
    /// A home with marked secrets in it. `vault` is what the user's program does after it has noted
    /// its arguments and its environment.
    fn new(gateway_auth: Value, vault: &str) -> Self {
        let mut marks = Marks::default();
        for kind in KINDS {
            marks.add(kind, &mark(kind));
        }
        let sandbox = Sandbox::new()
            .env("OTHER_SECRET", &mark("env"))
            .env("EDGE", &mark("edge"));
        let secrets = json!({ "gw": { "token": mark("file"), "list": [mark("file")] } });
        let path = sandbox.write("secrets.json", &secrets.to_string());
        close(&path, 0o600);
        let token = sandbox.write("token.text", &mark("flag"));
        close(&token, 0o600);
        let seen = "( env; cat /proc/$$/cmdline ) >> \"$0.seen\"";
        let text = sandbox.write("vault.text", &format!("#!/bin/sh\n{seen}\n{vault}\n"));
        // Copied by another process: a program that anybody here holds open cannot be run.
        let program = sandbox.path("vault").to_string_lossy().into_owned();
        assert!(
            Command::new("cp")
                .args([&text, &program])
                .status()
                .unwrap()
                .success()
        );
        close(&program, 0o700);
        let config = config(gateway_auth, &program);
        sandbox.write(".openclaw/openclaw.json", &config.to_string());
        close(
            &sandbox.path(".openclaw/openclaw.json").to_string_lossy(),
            0o600,
        );
        Self { sandbox, marks }
    }

    fn start(&self, flags: &[&str]) -> Gateway {
        let args = [&["gateway", "run", "--port", "0", "--verbose"], flags].concat();
        let mut command = self.sandbox.command(&args);
        // What a user sets for one command is not what a service has.
        command.env_remove("OTHER_SECRET").env_remove("EDGE");
        let log = self.sandbox.path("gateway.stderr");
        let mut child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let said = fs::read_to_string(&log).unwrap();
        let port = line
            .split_whitespace()
            .find(|word| word.starts_with("ws://") || word.starts_with("wss://"))
            .and_then(|url| url.trim_end_matches(['/', ',', '.']).rsplit(':').next())
            .unwrap_or_else(|| panic!("no address in {line:?}; {said}"))
            .to_owned();
        let saying = thread::spawn(move || {
            let mut rest = line.into_bytes();
            out.read_to_end(&mut rest).unwrap();
            rest
        });
        Gateway {
            child,
            port,
            saying: Some(saying),
        }
    }

    /// Runs a command to its end, and looks at what it says. Gives its standard output and its code.
    fn say(&self, args: &[String], env: &[(&str, &str)], stdin: &str) -> (String, i32) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut command = self.sandbox.command(&args);
        command.envs(env.iter().copied()).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that does not read its input may have ended.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        let what = format!("{args:?}");
        self.marks
            .assert_absent(&format!("output of {what}"), &output.stdout);
        self.marks
            .assert_absent(&format!("errors of {what}"), &output.stderr);
        let code = output
            .status
            .code()
            .unwrap_or_else(|| panic!("{what} crashed"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("panicked"), "{what}: {errors}");
        (String::from_utf8(output.stdout).unwrap(), code)
    }

    /// Runs every command, as text and as JSON. Tells how many went well, and how many did not.
    fn say_everything(&self, names: &Names, env: &[(&str, &str)], skip: &[&str]) -> (usize, usize) {
        let (mut well, mut ill) = (0, 0);
        for leaf in leaves(&self.sandbox) {
            let name = leaf.join(" ");
            if skip.contains(&&*name) {
                continue;
            }
            let variants = arguments(&name, names)
                .unwrap_or_else(|| panic!("a new command needs arguments here: {name}"));
            for arguments in variants {
                for format in [None, Some("--json".to_owned())] {
                    let mut args = [&leaf[..], &arguments].concat();
                    args.extend(format);
                    match self.say(&args, env, &mark("wrong")).1 {
                        0 => well += 1,
                        _ => ill += 1,
                    }
                }
            }
        }
        (well, ill)
    }

    /// What gateways gave this machine is secret.
    fn mark_kept_tokens(&mut self) {
        let path = self.sandbox.path(".openclaw/clawgate/device-tokens.json");
        let kept = json_of(&fs::read_to_string(path).unwrap());
        let mut tokens = Vec::new();
        collect_tokens(&kept, &mut tokens);
        assert!(!tokens.is_empty(), "no device token is kept: {kept}");
        for token in tokens {
            self.marks.add("device token", &token);
        }
    }

    /// Looks at everything that is left behind.
    fn search(&self) -> usize {
        search::files(&self.sandbox.path(""), &self.marks)
    }
}

fn close(path: &str, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn names(run: &Run) -> Names {
    Names {
        device: "0123456789abcdef".repeat(4),
        request: "00000000-0000-4000-8000-000000000001".into(),
        invite: "00000000-0000-4000-8000-000000000002".into(),
        bundle: run.sandbox.path("b.tar.gz").to_string_lossy().into_owned(),
        url: format!("ws://user:{}@127.0.0.1:1/x?{}=1", mark("userinfo"), "k"),
    }
}

fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|&arg| arg.to_owned()).collect()
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

fn file_ref() -> Value {
    json!({ "source": "file", "provider": "main", "id": "/gw/token" })
}

fn exec_ref() -> Value {
    json!({ "source": "exec", "provider": "vault", "id": "gw" })
}

fn vault_answers() -> String {
    format!(
        "echo '{{\"protocolVersion\":1,\"values\":{{\"gw\":\"{}\"}}}}'",
        mark("exec")
    )
}

#[test]
fn a_gateway_and_its_commands_show_no_secret() {
    for auth in [
        json!({ "mode": "token", "token": file_ref() }),
        json!({ "mode": "password", "password": exec_ref() }),
    ] {
        let mut run = Run::new(auth, &vault_answers());
        let gateway = run.start(&[]);
        search::process(gateway.child.id(), &run.marks);
        let port = gateway.port.clone();
        let at = [("OPENCLAW_GATEWAY_PORT", port.as_str())];
        let mut names = names(&run);

        // What the gateway makes itself is secret from then on.
        let (made, code) = run.say(&words(&["devices", "invite", "--json"]), &at, "");
        assert_eq!(code, 0, "{made}");
        let made = json_of(&made)["invite"].take();
        let join = made["token"].as_str().unwrap().to_owned();
        names.invite = made["inviteId"].as_str().unwrap().to_owned();
        run.marks.add("join token", &join);
        let join_args = words(&[
            "devices",
            "join",
            "-",
            "--url",
            &format!("ws://127.0.0.1:{port}"),
            "--json",
        ]);
        let (joined, code) = run.say(&join_args, &[], &join);
        assert_eq!(code, 0, "{joined}");
        run.mark_kept_tokens();
        let key = fs::read(run.sandbox.path(".openclaw/clawgate/device.key")).unwrap();
        let key = String::from_utf8_lossy(&key);
        for line in key
            .lines()
            .filter(|line| line.len() >= 40 && !line.contains("--"))
        {
            run.marks.add("device key", line);
        }
        let listed = run.say(&words(&["devices", "list", "--json"]), &at, "").0;
        let listed = json_of(&listed);
        names.device = listed["paired"][0]["deviceId"].as_str().unwrap().to_owned();
        let rotate = words(&[
            "devices",
            "rotate",
            &names.device,
            "--role",
            "node",
            "--json",
        ]);
        let rotated = json_of(&run.say(&rotate, &at, "").0);
        assert_eq!(rotated["ok"], true, "{rotated}");
        if let Some(token) = rotated["rotated"]["token"].as_str() {
            run.marks.add("rotated token", token);
        }
        run.mark_kept_tokens();

        // A new secret is the answer of two commands, and nobody else's business.
        let skip = ["devices rotate", "devices revoke", "devices remove"];
        let (well, _) = run.say_everything(&names, &at, &skip);
        assert!(well > 40, "only {well} commands went well");
        // The same with a wrong secret, from the environment, a file and the command line.
        for wrong in ["OPENCLAW_GATEWAY_TOKEN", "OPENCLAW_GATEWAY_PASSWORD"] {
            let env = [at[0], (wrong, &mark("wrong"))];
            run.say_everything(&names, &env, &skip);
        }
        let file = run
            .sandbox
            .path("token.text")
            .to_string_lossy()
            .into_owned();
        let url = format!("ws://127.0.0.1:{port}");
        for secret in [
            ["--token-file", &file],
            ["--token", &mark("flag")],
            ["--password", &mark("flag")],
        ] {
            for command in ["health", "status"] {
                let args = [&[command, "--url", &url], &secret[..]].concat();
                run.say(&words(&args), &[], "");
            }
        }
        for leaf in ["devices revoke", "devices remove"] {
            for args in arguments(leaf, &names).unwrap() {
                let leaf: Vec<String> = leaf.split(' ').map(Into::into).collect();
                run.say(&[&leaf[..], &args].concat(), &at, "");
            }
        }
        search::process(gateway.child.id(), &run.marks);
        let said = gateway.end();
        run.marks.assert_absent("what the gateway says", &said);
        // The database, its log, backups and the program's notes among them.
        let files = run.search();
        assert!(files >= 5, "only {files} files were looked at");
    }
}

/// Every string of a kept token.
fn collect_tokens(value: &Value, tokens: &mut Vec<String>) {
    if let Value::Object(fields) = value {
        for (name, value) in fields {
            if name.to_ascii_lowercase().contains("token")
                && let Some(text) = value.as_str()
            {
                tokens.push(text.to_owned());
            }
            collect_tokens(value, tokens);
        }
    } else if let Value::Array(items) = value {
        items.iter().for_each(|item| collect_tokens(item, tokens));
    }
}

#[test]
fn nobody_listening_shows_no_secret() {
    let run = Run::new(
        json!({ "mode": "token", "token": file_ref() }),
        &vault_answers(),
    );
    let port = closed_port().to_string();
    let at = [("OPENCLAW_GATEWAY_PORT", port.as_str())];
    let (_, ill) = run.say_everything(&names(&run), &at, &["gateway run"]);
    assert!(ill > 20, "only {ill} commands failed");
    run.search();
}

#[test]
fn programs_and_files_that_break_show_no_secret() {
    let mark = mark("exec");
    for vault in [
        format!("echo {mark} >&2; echo {mark}; exit 3"),
        format!("echo {mark}"),
        format!("echo '{{\"protocolVersion\":1,\"values\":{{\"gw\":[\"{mark}\"]}}}}'"),
        format!(
            "echo '{{\"protocolVersion\":1,\"errors\":{{\"gw\":{{\"message\":\"{mark}\"}}}}}}'"
        ),
        format!("echo '{{\"protocolVersion\":9,\"values\":{{\"gw\":\"{mark}\"}}}}'"),
    ] {
        let run = Run::new(json!({ "mode": "token", "token": exec_ref() }), &vault);
        for command in [
            &["gateway", "run", "--port", "0"][..],
            &["health"],
            &["auth", "explain"],
            &["security", "audit"],
            &["config", "validate"],
        ] {
            for format in [&[][..], &["--json"]] {
                run.say(&words(&[command, format].concat()), &[], "");
            }
        }
        run.search();
    }
    for id in ["/gw/none", "/gw/list", "/gw", "/gw/list/0/x"] {
        let reference = json!({ "source": "file", "provider": "main", "id": id });
        let run = Run::new(json!({ "mode": "token", "token": reference }), "exit 1");
        for command in [
            &["gateway", "run", "--port", "0"][..],
            &["health"],
            &["auth", "explain"],
        ] {
            let (said, code) = run.say(&words(&[command, &["--json"]].concat()), &[], "");
            assert_ne!(code, 0, "{id} {command:?}: {said}");
        }
        run.search();
    }
}

#[test]
fn configurations_that_cannot_be_read_show_no_secret() {
    let secret = mark("file");
    for text in [
        // Broken beside the secret, and at it.
        format!("{{ gateway: {{ auth: {{ token: '{secret}' "),
        format!("{{ gateway: {{ auth: {{ token: '{secret} }} }} }}"),
        format!("{{ gateway: {{ auth: {{ token: \"{secret}\\q\" }} }} }} x"),
        format!("{{ gateway: {{ auth: {{ token: {secret} }} }} }}"),
        secret.clone(),
        // Of another shape.
        format!("{{ gateway: {{ mode: 'local', auth: {{ token: ['{secret}'] }} }} }}"),
        format!("{{ gateway: {{ mode: 'local', auth: {{ token: {{ value: '{secret}' }} }} }} }}"),
        format!("{{ gateway: {{ mode: 'local', auth: '{secret}' }} }}"),
        format!("{{ gateway: {{ mode: 'local', auth: {{ token: '{secret}${{NOT_SET}}' }} }} }}"),
        format!(
            "{{ gateway: {{ mode: 'remote', remote: {{ url: 'ws://u:{secret}@gw.example.com' }} }} }}"
        ),
        format!(
            "{{ gateway: {{ mode: 'remote', remote: {{ url: 'wss://gw.example.com', edgeAuth: {{ 'X-Edge': ['{secret}'] }} }} }} }}"
        ),
    ] {
        let run = Run::new(json!({}), "exit 1");
        run.sandbox.write(".openclaw/openclaw.json", &text);
        let port = closed_port().to_string();
        let at = [("OPENCLAW_GATEWAY_PORT", port.as_str())];
        for command in [
            &["gateway", "run", "--auth", "token", "--bind", "lan"][..],
            &["config", "validate"],
            &["config", "get"],
            &["config", "get", "gateway.auth"],
            &["config", "get", "gateway.remote"],
            &["auth", "explain"],
            &["security", "audit"],
            &["gateway", "status", "--timeout", "500"],
        ] {
            // A configuration of a remote gateway is read, and nobody is dialled.
            if text.contains("remote") && command.contains(&"status") {
                continue;
            }
            for format in [&[][..], &["--json"]] {
                run.say(&words(&[command, format].concat()), &at, "");
            }
        }
        run.search();
    }
}

#[test]
fn keys_of_certificates_are_not_shown() {
    let auth = json!({ "mode": "token", "token": mark("file") });
    let mut run = Run::new(auth.clone(), "exit 1");
    let program = run.sandbox.path("vault").to_string_lossy().into_owned();
    let mut with_tls = config(auth, &program);
    with_tls["gateway"]["tls"] = json!({ "enabled": true });
    run.sandbox
        .write(".openclaw/openclaw.json", &with_tls.to_string());
    let gateway = run.start(&[]);
    let key_path = run.sandbox.path(".openclaw/gateway/tls/gateway-key.pem");
    let key = fs::read_to_string(&key_path).unwrap();
    for line in key
        .lines()
        .filter(|line| line.len() >= 40 && !line.contains("--"))
    {
        run.marks.add("key of the certificate", line);
    }
    let at = [("OPENCLAW_GATEWAY_PORT", gateway.port.as_str())];
    for command in [
        &["health"][..],
        &["status"],
        &["gateway", "status"],
        &["security", "audit"],
    ] {
        for format in [&[][..], &["--json"]] {
            run.say(&words(&[command, format].concat()), &at, "");
        }
    }
    search::process(gateway.child.id(), &run.marks);
    run.marks
        .assert_absent("what the gateway says", &gateway.end());
    run.search();
    // A key that is broken in the middle.
    let broken = key.replacen(key.lines().nth(1).unwrap(), &mark("file"), 1);
    fs::write(&key_path, broken).unwrap();
    for format in [&[][..], &["--json"]] {
        let args = [&["gateway", "run", "--port", "0"], format].concat();
        assert_ne!(run.say(&words(&args), &[], "").1, 0);
    }
    run.search();
}
