use super::*;
use crate::policy::bind::Surroundings;

/// Long and random enough.
const GOOD: &str = "q7Zr2Lx9Vb4Nc8Ty1Wd6Ks3Hf5";

/// A machine, with what is usual on it.
struct Machine {
    config: &'static str,
    env: &'static [(&'static str, &'static str)],
    logins: Logins,
    bindable: &'static [&'static str],
    tailnet: Option<&'static str>,
    kept_token: Option<&'static str>,
    user: u32,
    files: Vec<FileFact>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            config: "{}",
            env: &[],
            logins: Logins::Known(1),
            bindable: &["127.0.0.1", "192.168.1.5", "198.41.0.4"],
            tailnet: None,
            kept_token: None,
            user: 1000,
            files: Vec::new(),
        }
    }
}

impl Machine {
    fn findings(&self) -> Vec<Finding> {
        let config = ConfigFile::parse("openclaw.json", self.config.replace("GOOD", GOOD)).unwrap();
        let env = self
            .env
            .iter()
            .map(|(name, value)| (*name, value.replace("GOOD", GOOD)))
            .collect();
        let token = self.kept_token.map(Secret::new);
        let bind = HostFacts {
            surroundings: Surroundings::Machine,
            tailnet_ipv4: self.tailnet.map(|ip| ip.parse().unwrap()),
            bindable: self
                .bindable
                .iter()
                .chain(&self.tailnet)
                .map(|ip| ip.parse().unwrap())
                .collect(),
        };
        audit(&Facts {
            config: &config,
            env: &env,
            bind: &bind,
            kept_token: token.as_ref(),
            logins: self.logins,
            user: Some(self.user),
            files: &self.files,
        })
    }

    /// The findings as `severity id place`.
    fn says(&self) -> Vec<String> {
        self.findings()
            .iter()
            .map(|finding| {
                format!(
                    "{} {} {}",
                    finding.severity.as_str(),
                    finding.id,
                    finding.place
                )
            })
            .collect()
    }
}

fn config(config: &'static str) -> Vec<String> {
    Machine {
        config,
        ..Machine::default()
    }
    .says()
}

#[test]
fn a_plain_gateway_has_nothing_to_say() {
    for quiet in [
        "{}",
        "{ gateway: { mode: 'local' } }",
        "{ gateway: { auth: { token: 'GOOD' } } }",
        "{ gateway: { auth: { mode: 'password', password: '${GW_PASSWORD}' } } }",
        "{ gateway: { remote: { url: 'ws://127.0.0.1:18789' } } }",
    ] {
        assert_eq!(config(quiet), [""; 0], "{quiet}");
    }
}

#[test]
fn what_a_gateway_would_not_start_on_is_named() {
    assert_eq!(
        config(
            "{ gateway: { bind: 'lan', auth: { mode: 'none' }, controlUi: { enabled: false } } }"
        ),
        [
            "critical start.refuse_bind_without_auth gateway",
            "warn bind.plaintext gateway.tls.enabled",
            "info bind.exposed gateway.bind",
        ]
    );
    assert_eq!(
        config("{ gateway: { tailscale: { mode: 'funnel' }, auth: { token: 'GOOD' } } }"),
        [
            "critical start.funnel_requires_password gateway",
            "warn bind.funnel gateway.tailscale.mode",
        ]
    );
    // A token that the gateway makes is for this machine.
    assert_eq!(
        config(
            "{ gateway: { bind: 'lan', tls: { enabled: true }, controlUi: { enabled: false } } }"
        )[0],
        "critical start.token_not_configured gateway"
    );
    // A reference counts as a secret.
    assert_eq!(
        config(
            "{ gateway: { bind: 'lan', tls: { enabled: true }, controlUi: { enabled: false },
                auth: { mode: 'password', password: { source: 'file', id: 'value' } } } }"
        ),
        ["info bind.exposed gateway.bind"]
    );
}

#[test]
fn an_open_port_needs_encryption() {
    let exposed = |bind: &str| -> &'static str {
        let text = format!(
            "{{ gateway: {{ {bind}, auth: {{ token: 'GOOD' }}, controlUi: {{ enabled: false }} }} }}"
        );
        Box::leak(text.into_boxed_str())
    };
    let plaintext = |bind| {
        Machine {
            config: exposed(bind),
            tailnet: Some("100.64.1.2"),
            ..Machine::default()
        }
        .says()
        .into_iter()
        .find(|line| line.contains("bind.plaintext"))
        .map(|line| line.split(' ').next().unwrap().to_owned())
    };
    assert_eq!(plaintext("bind: 'lan'").as_deref(), Some("warn"));
    assert_eq!(
        plaintext("bind: 'custom', customBindHost: '192.168.1.5'").as_deref(),
        Some("warn")
    );
    assert_eq!(
        plaintext("bind: 'custom', customBindHost: '198.41.0.4'").as_deref(),
        Some("critical")
    );
    // The tailnet encrypts by itself.
    assert_eq!(plaintext("bind: 'tailnet'"), None);
    assert_eq!(plaintext("bind: 'loopback'"), None);
    assert_eq!(plaintext("bind: 'lan', tls: { enabled: true }"), None);
}

#[test]
fn no_auth_is_worse_where_others_log_in() {
    for (logins, severity) in [
        (Logins::Known(1), "warn"),
        (Logins::Known(2), "critical"),
        (Logins::Unknown, "warn"),
    ] {
        let machine = Machine {
            config: "{ gateway: { auth: { mode: 'none' } } }",
            logins,
            ..Machine::default()
        };
        assert_eq!(
            machine.says(),
            [format!("{severity} auth.none gateway.auth.mode")]
        );
    }
}

#[test]
fn weak_secrets_are_found_wherever_they_come_from() {
    let token = "gateway.auth.token";
    for (text, env, expected) in [
        (
            "{ gateway: { auth: { token: 'undefined' } } }",
            &[][..],
            format!("critical auth.secret_placeholder {token}"),
        ),
        (
            "{ gateway: { auth: { token: 'change-me-now' } } }",
            &[],
            format!("critical auth.secret_placeholder {token}"),
        ),
        (
            "{ gateway: { auth: { token: 'OpenClaw123' } } }",
            &[],
            format!("critical auth.secret_weak {token}"),
        ),
        (
            "{ gateway: { auth: { token: 'abababababababababababababababab' } } }",
            &[],
            format!("critical auth.secret_weak {token}"),
        ),
        (
            "{ gateway: { auth: { token: 'q7Zr2Lx9Vb4Nc8Ty1Wd6Ks3' } } }",
            &[],
            format!("warn auth.secret_weak {token}"),
        ),
        (
            "{ gateway: { auth: { password: 'q7Zr2Lx9Vb4Nc' } } }",
            &[],
            "warn auth.secret_weak gateway.auth.password".into(),
        ),
        (
            "{}",
            &[("OPENCLAW_GATEWAY_TOKEN", "short-q7Zr2")],
            "warn auth.secret_weak OPENCLAW_GATEWAY_TOKEN".into(),
        ),
        (
            "{}",
            &[("OPENCLAW_GATEWAY_PASSWORD", "hunter2")],
            "warn auth.secret_weak OPENCLAW_GATEWAY_PASSWORD".into(),
        ),
    ] {
        let machine = Machine {
            config: text,
            env,
            ..Machine::default()
        };
        assert_eq!(machine.says(), [expected], "{text}");
    }
    for fine in [
        "{ gateway: { auth: { token: 'q7Zr2Lx9Vb4Nc8Ty1Wd6Ks3H' } } }",
        "{ gateway: { auth: { password: 'q7Zr2Lx9Vb4Nc8' } } }",
    ] {
        assert_eq!(config(fine), [""; 0], "{fine}");
    }
    let kept = Machine {
        kept_token: Some("short-q7Zr2"),
        ..Machine::default()
    };
    assert_eq!(kept.says(), [format!("warn auth.secret_weak {token}")]);
}

#[test]
fn a_short_secret_is_critical_where_others_can_try() {
    let says = config(
        "{ gateway: { bind: 'lan', tls: { enabled: true }, controlUi: { enabled: false },
            auth: { token: 'q7Zr2Lx9Vb4Nc8' } } }",
    );
    assert_eq!(says[0], "critical auth.secret_weak gateway.auth.token");
}

#[test]
fn no_finding_repeats_a_secret() {
    let machine = Machine {
        config: "{ gateway: { auth: { token: 'hunter2' }, remote: { url: 'wss://a:hunter2@gw.example.com', \
                 token: 'hunter2' } }, channels: { x: { botToken: 'hunter2' } } }",
        env: &[
            ("OPENCLAW_GATEWAY_PASSWORD", "hunter2"),
            ("CLAWDBOT_TOKEN", "hunter2"),
        ],
        files: vec![file(FileRole::Config, 0o666)],
        ..Machine::default()
    };
    let findings = machine.findings();
    assert!(findings.len() >= 4, "{findings:?}");
    assert!(!format!("{findings:?}").contains("hunter2"));
}

#[test]
fn tailscale_logins_on_a_machine_of_many() {
    let serve = "{ gateway: { tailscale: { mode: 'serve' } } }";
    let says = |config, logins| {
        Machine {
            config,
            logins,
            ..Machine::default()
        }
        .says()
    };
    assert_eq!(says(serve, Logins::Known(1)), [""; 0]);
    assert_eq!(
        says(serve, Logins::Known(3)),
        ["critical auth.tailscale_shared_host gateway.auth.allowTailscale"]
    );
    assert_eq!(
        says(serve, Logins::Unknown),
        ["info auth.tailscale_shared_host gateway.auth.allowTailscale"]
    );
    let off = "{ gateway: { tailscale: { mode: 'serve' }, auth: { allowTailscale: false } } }";
    assert_eq!(says(off, Logins::Known(3)), [""; 0]);
}

#[test]
fn trusted_proxies_are_held_to_names_and_addresses() {
    let proxy = "{ gateway: { bind: 'loopback', trustedProxies: ['127.0.0.1'], auth: { mode: 'trusted-proxy',
        trustedProxy: { userHeader: 'x-user', allowUsers: [' '], allowLoopback: true } } } }";
    assert_eq!(
        config(proxy),
        [
            "warn auth.proxy_all_users gateway.auth.trustedProxy.allowUsers",
            "warn auth.proxy_loopback gateway.auth.trustedProxy.allowLoopback",
        ]
    );
    let shared = Machine {
        config: proxy,
        logins: Logins::Known(2),
        ..Machine::default()
    };
    assert_eq!(
        shared.says()[0],
        "critical auth.proxy_loopback gateway.auth.trustedProxy.allowLoopback"
    );
    let listed = "{ gateway: { trustedProxies: ['10.0.0.5'], auth: { mode: 'trusted-proxy',
        trustedProxy: { userHeader: 'x-user', allowUsers: ['ada'] } } } }";
    assert_eq!(config(listed), [""; 0]);
    for (entry, expected) in [
        ("0.0.0.0/0", Some("critical proxies.too_broad")),
        ("128.0.0.0/1", Some("critical proxies.too_broad")),
        ("::/0", Some("critical proxies.too_broad")),
        ("10.0.0.0/8", Some("warn proxies.too_broad")),
        ("fd00::/32", Some("warn proxies.too_broad")),
        ("proxy.example.com", Some("warn proxies.invalid")),
        ("10.0.0.0/16", None),
        ("fd00::/48", None),
        ("10.0.0.5", None),
        ("::1", None),
    ] {
        let text = format!("{{ gateway: {{ trustedProxies: ['192.168.1.1', '{entry}'] }} }}");
        let expected = expected.map(|expected| format!("{expected} gateway.trustedProxies[1]"));
        let found = config(Box::leak(text.into_boxed_str())).into_iter().next();
        assert_eq!(found, expected, "{entry}");
    }
    assert_eq!(
        config("{ gateway: { allowRealIpFallback: true } }"),
        ["warn proxies.real_ip gateway.allowRealIpFallback"]
    );
}

#[test]
fn limits_that_limit_nothing() {
    let off = "warn auth.rate_limit_off gateway.auth.rateLimit";
    for (limit, expected) in [
        ("{ maxAttempts: 1000000 }", Some(off)),
        ("{ windowMs: 1, lockoutMs: 1 }", Some(off)),
        ("{ maxAttempts: 501, lockoutMs: 300000 }", Some(off)),
        ("{ maxAttempts: 500, lockoutMs: 300000 }", None),
        ("{ maxAttempts: 3 }", None),
    ] {
        let text = format!("{{ gateway: {{ auth: {{ rateLimit: {limit} }} }} }}");
        let found = config(Box::leak(text.into_boxed_str())).into_iter().next();
        assert_eq!(found.as_deref(), expected, "{limit}");
    }
}

#[test]
fn origins_of_everybody() {
    assert_eq!(
        config("{ gateway: { controlUi: { allowedOrigins: ['https://a.example.com', ' * '] } } }"),
        ["critical origins.any gateway.controlUi.allowedOrigins"]
    );
    let key = "gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback";
    assert_eq!(
        config(
            "{ gateway: { bind: 'lan', tls: { enabled: true }, auth: { token: 'GOOD' },
                controlUi: { dangerouslyAllowHostHeaderOriginFallback: true } } }"
        ),
        [
            format!("critical flags.dangerous {key}"),
            format!("critical origins.host_header {key}"),
            "info bind.exposed gateway.bind".to_owned(),
        ]
    );
}

#[test]
fn switches_that_turn_protection_off() {
    assert_eq!(
        config(
            "{ gateway: { controlUi: { dangerouslyDisableDeviceAuth: true, allowInsecureAuth: true } },
               channels: { list: [{}, { dangerouslyAllowAll: true, dangerouslyOther: false }] } }"
        ),
        [
            "critical flags.dangerous channels.list[1].dangerouslyAllowAll",
            "critical flags.dangerous gateway.controlUi.dangerouslyDisableDeviceAuth",
            "warn flags.insecure_auth gateway.controlUi.allowInsecureAuth",
        ]
    );
    assert_eq!(
        config(
            "{ secrets: { providers: {
                f: { source: 'file', path: '/s', allowInsecurePath: true },
                g: { source: 'file', path: '/s' } } } }"
        ),
        ["warn secrets.insecure_path secrets.providers.f.allowInsecurePath"]
    );
    assert_eq!(
        config("{ gateway: { auth: { mode: 'open' } } }"),
        ["warn config.unusable gateway.auth.mode"]
    );
}

#[test]
fn where_clients_send_their_secrets() {
    for (remote, expected) in [
        (
            "url: 'ws://gw.example.com'",
            Some("critical remote.plaintext gateway.remote.url"),
        ),
        (
            "url: 'ws://192.168.1.9:18789'",
            Some("warn remote.plaintext gateway.remote.url"),
        ),
        (
            "url: 'ws://gw.local'",
            Some("warn remote.plaintext gateway.remote.url"),
        ),
        ("url: 'ws://100.64.0.9:18789'", None),
        ("url: 'ws://gw.tail1.ts.net'", None),
        (
            "url: 'wss://u:p@gw.example.com'",
            Some("warn remote.userinfo gateway.remote.url"),
        ),
        (
            "url: 'wss://192.168.1.9'",
            Some("info remote.no_pin gateway.remote.tlsFingerprint"),
        ),
        ("url: 'wss://192.168.1.9', tlsTrust: 'first-use'", None),
        ("url: 'wss://gw.example.com'", None),
        ("url: 'wss://gw.tail1.ts.net'", None),
    ] {
        let text = format!("{{ gateway: {{ mode: 'remote', remote: {{ {remote} }} }} }}");
        let found = config(Box::leak(text.into_boxed_str())).into_iter().next();
        assert_eq!(found.as_deref(), expected, "{remote}");
    }
    let pin = format!(
        "{{ gateway: {{ remote: {{ url: 'wss://192.168.1.9', tlsFingerprint: '{}' }} }} }}",
        "ab".repeat(32)
    );
    assert_eq!(config(Box::leak(pin.into_boxed_str())), [""; 0]);
}

#[test]
fn the_environment_speaks_too() {
    let machine = Machine {
        env: &[
            ("OPENCLAW_ALLOW_INSECURE_PRIVATE_WS", "1"),
            ("CLAWDBOT_HOME", "/h"),
        ],
        ..Machine::default()
    };
    assert_eq!(
        machine.says(),
        [
            "warn env.break_glass OPENCLAW_ALLOW_INSECURE_PRIVATE_WS",
            "info env.legacy CLAWDBOT_* and MOLTBOT_*",
        ]
    );
}

#[test]
fn a_machine_of_clients_is_not_judged_as_a_gateway() {
    assert_eq!(
        config("{ gateway: { mode: 'remote', bind: 'lan', auth: { mode: 'none' }, remote: {} } }"),
        [""; 0]
    );
}

fn file(role: FileRole, mode: u32) -> FileFact {
    FileFact {
        path: "/f".into(),
        role,
        kind: match role {
            FileRole::PrivateFolder => FileKind::Folder,
            FileRole::Certificate
            | FileRole::Config
            | FileRole::Damaged
            | FileRole::Log
            | FileRole::Program
            | FileRole::Secret => FileKind::File,
        },
        mode: Some(mode),
        owner: Some(1000),
    }
}

#[test]
fn files_are_for_their_owner() {
    use FileRole::{Certificate, Config, Log, PrivateFolder, Program, Secret};
    let plain = "{ gateway: { auth: { token: '${T}' } } }";
    let secret = "{ channels: { telegram: { botToken: 's' } } }";
    for (text, role, mode, expected) in [
        (plain, Secret, 0o600, None),
        (plain, Secret, 0o400, None),
        (plain, Secret, 0o640, Some(("warn files.readable", 0o600))),
        (
            plain,
            Secret,
            0o604,
            Some(("critical files.readable", 0o600)),
        ),
        (
            plain,
            Secret,
            0o644,
            Some(("critical files.readable", 0o600)),
        ),
        (plain, Secret, 0o620, Some(("warn files.writable", 0o600))),
        (
            plain,
            Secret,
            0o666,
            Some(("critical files.writable", 0o600)),
        ),
        (plain, Config, 0o644, None),
        (plain, Config, 0o664, Some(("warn files.writable", 0o644))),
        (secret, Config, 0o600, None),
        (secret, Config, 0o640, Some(("warn files.readable", 0o600))),
        (
            secret,
            Config,
            0o644,
            Some(("critical files.readable", 0o600)),
        ),
        (plain, Log, 0o644, Some(("warn files.readable", 0o600))),
        (plain, Certificate, 0o644, None),
        (
            plain,
            Certificate,
            0o646,
            Some(("critical files.writable", 0o644)),
        ),
        (plain, Program, 0o755, None),
        (plain, Program, 0o775, Some(("warn files.writable", 0o755))),
        (plain, PrivateFolder, 0o700, None),
        (
            plain,
            PrivateFolder,
            0o711,
            Some(("info files.readable", 0o700)),
        ),
        (
            plain,
            PrivateFolder,
            0o755,
            Some(("warn files.readable", 0o700)),
        ),
        (
            plain,
            PrivateFolder,
            0o1777,
            Some(("critical files.writable", 0o1700)),
        ),
    ] {
        let machine = Machine {
            config: text,
            env: &[("OPENCLAW_GATEWAY_TOKEN", "GOOD")],
            files: vec![file(role, mode)],
            ..Machine::default()
        };
        let findings = machine.findings();
        let at = format!("{role:?} {mode:o}");
        match expected {
            None => assert_eq!(findings, [], "{at}"),
            Some((name, to)) => {
                assert_eq!(machine.says(), [format!("{name} /f")], "{at}");
                let mend = findings[0].mend.clone().unwrap();
                assert_eq!((mend.from, mend.to), (mode, to), "{at}");
            }
        }
    }
}

#[test]
fn files_of_other_users_are_not_trusted() {
    let says = |owner, user| {
        let fact = FileFact {
            owner: Some(owner),
            ..file(FileRole::Secret, 0o600)
        };
        Machine {
            user,
            files: vec![fact],
            ..Machine::default()
        }
        .says()
    };
    assert_eq!(says(1001, 1000), ["critical files.owner /f"]);
    for (owner, user) in [(1000, 1000), (0, 1000), (1001, 0)] {
        assert_eq!(says(owner, user), [""; 0], "{owner} {user}");
    }
}

#[test]
fn a_database_that_was_set_aside_is_remembered() {
    let machine = Machine {
        files: vec![file(FileRole::Damaged, 0o600)],
        ..Machine::default()
    };
    assert_eq!(machine.says(), ["warn files.damaged_state /f"]);
    let unknown = FileFact {
        mode: None,
        owner: None,
        ..file(FileRole::Secret, 0)
    };
    let windows = Machine {
        files: vec![unknown],
        ..Machine::default()
    };
    assert_eq!(windows.says(), [""; 0]);
}
