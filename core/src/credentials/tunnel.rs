//! The place of a gateway that is reached through an SSH tunnel (spec hostpolicy §7; seed 002: the
//! gateway's host belongs in `sshTarget`, while `url` remains the end of the tunnel on this machine).

use super::error::CredentialError;
use super::precedence::Mode;
use super::request::{Request, SshFlags};
use super::target::{Place, UrlSource};
use crate::config::{Config, EnvVars};
use crate::policy::endpoint::BREAK_GLASS_ENV;
use crate::policy::{Endpoint, Scheme, SshTarget, UrlPolicy};
use crate::tunnel::{DEFAULT_GATEWAY_PORT, SSH_CONFIG_ENV, Through, TunnelSpec};

/// The key that names the machine to log in to.
const TARGET_KEY: &str = "gateway.remote.sshTarget";

/// The tunnel that the config describes, whether its `transport` asks for one or not. The flags, where they
/// are given, go before it.
///
/// # Errors
/// [`CredentialError::SshTargetMissing`], [`CredentialError::SshTargetInvalid`],
/// [`CredentialError::InsecureUrl`] or [`CredentialError::TunnelUrlElsewhere`].
pub fn configured_tunnel(
    flags: SshFlags<'_>,
    config: &Config,
    env: &EnvVars,
) -> Result<TunnelSpec, CredentialError> {
    spec_and_end(flags, config, env).map(|(spec, _)| spec)
}

/// The place at the end of a tunnel.
pub(super) fn tunnelled(
    request: &Request<'_>,
    flags: SshFlags<'_>,
    source: UrlSource,
) -> Result<Place, CredentialError> {
    let (spec, end) = spec_and_end(flags, request.config, request.env)?;
    let url = end.url();
    let through = Through {
        spec,
        keeper: request.tunnel_keeper.cloned(),
    };
    let endpoint = end
        .through(through)
        .ok_or(CredentialError::TunnelUrlElsewhere { url })?;
    Ok(Place {
        endpoint,
        source,
        mode: Mode::Remote,
    })
}

fn spec_and_end(
    flags: SshFlags<'_>,
    config: &Config,
    env: &EnvVars,
) -> Result<(TunnelSpec, Endpoint), CredentialError> {
    let remote = &config.gateway.remote;
    let written = match &remote.url {
        None => None,
        Some(url) => {
            let policy = UrlPolicy::from_env(env.get(BREAK_GLASS_ENV));
            let parsed =
                Endpoint::parse(url, policy).map_err(|refusal| CredentialError::InsecureUrl {
                    source: UrlSource::Remote,
                    refusal,
                })?;
            Some(parsed)
        }
    };
    let flag = flags.target.map(str::trim).filter(|text| !text.is_empty());
    let target = match (flag, &remote.ssh_target, &written) {
        (Some(text), _, _) => parse("--ssh", text)?,
        (None, Some(text), _) => parse(TARGET_KEY, text)?,
        // Where nothing else is known, the machine of the URL, as the user who asks.
        (None, None, Some(endpoint)) if !endpoint.is_loopback() => {
            let host = endpoint.server_name();
            let text = match env.non_blank("USER") {
                Some(user) => format!("{user}@{host}"),
                None => host.into_owned(),
            };
            parse("gateway.remote.url", &text)?
        }
        (None, None, Some(_) | None) => return Err(CredentialError::SshTargetMissing),
    };
    let is_asked = flag.is_some() || remote.transport == crate::config::Transport::Direct;
    let end = match written {
        Some(endpoint) if endpoint.is_loopback() => endpoint,
        // Another way to the gateway was written: only a tunnel that was asked for by a flag, or one that
        // `transport` does not choose, goes beside it.
        Some(endpoint) if !is_asked => {
            return Err(CredentialError::TunnelUrlElsewhere {
                url: endpoint.url(),
            });
        }
        Some(_) | None => {
            let port = remote.remote_port.unwrap_or(DEFAULT_GATEWAY_PORT);
            Endpoint::local(Scheme::Ws, port)
        }
    };
    let identity = flags.identity.or(remote.ssh_identity.as_deref());
    let spec = TunnelSpec {
        target,
        identity: identity.map(str::to_owned),
        host_keys: remote.ssh_host_keys,
        config_file: env.non_blank(SSH_CONFIG_ENV).map(str::to_owned),
        remote_port: remote.remote_port.unwrap_or_else(|| end.port()),
        local_port: end.port(),
    };
    Ok((spec, end))
}

fn parse(place: &'static str, text: &str) -> Result<SshTarget, CredentialError> {
    SshTarget::parse(text).map_err(|fault| CredentialError::SshTargetInvalid { place, fault })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigFile;
    use crate::credentials::{Request, Source, Surface, resolve};
    use crate::policy::SecretKind;
    use crate::tunnel::HostKeyPolicy;

    fn config(remote: &str) -> Config {
        let text = format!(
            "{{ gateway: {{ mode: 'remote', auth: {{ token: 'local' }}, remote: {remote} }} }}"
        );
        ConfigFile::parse("c", text).unwrap().config
    }

    fn spec(remote: &str) -> Result<TunnelSpec, CredentialError> {
        configured_tunnel(SshFlags::default(), &config(remote), &EnvVars::default())
    }

    #[test]
    fn ports_come_from_the_key_then_the_url_then_the_default() {
        for (remote, local, over_there) in [
            ("{ transport: 'ssh', sshTarget: 'n@h' }", 18789, 18789),
            (
                "{ transport: 'ssh', sshTarget: 'n@h', url: 'ws://127.0.0.1:4000' }",
                4000,
                4000,
            ),
            (
                "{ transport: 'ssh', sshTarget: 'n@h', url: 'ws://127.0.0.1:4000', remotePort: 5000 }",
                4000,
                5000,
            ),
            (
                "{ transport: 'ssh', sshTarget: 'n@h', remotePort: 5000 }",
                5000,
                5000,
            ),
        ] {
            let spec = spec(remote).unwrap();
            assert_eq!(
                (spec.local_port, spec.remote_port),
                (local, over_there),
                "{remote}"
            );
        }
    }

    #[test]
    fn what_is_missing_or_odd_is_named() {
        for (remote, code) in [
            ("{ transport: 'ssh' }", "ssh_target_missing"),
            (
                "{ transport: 'ssh', url: 'ws://127.0.0.1:1' }",
                "ssh_target_missing",
            ),
            (
                "{ transport: 'ssh', sshTarget: '-oProxyCommand=x' }",
                "ssh_target_invalid",
            ),
            (
                "{ transport: 'ssh', sshTarget: 'h', url: 'wss://gw.example.com' }",
                "tunnel_url_elsewhere",
            ),
            (
                "{ transport: 'ssh', sshTarget: 'h', url: 'nonsense' }",
                "insecure_url",
            ),
        ] {
            let error = spec(remote).unwrap_err();
            assert_eq!(error.code(), code, "{remote}");
            assert!(error.path().is_some() || code == "insecure_url");
        }
    }

    #[test]
    fn keys_and_environment_shape_the_tunnel() {
        let env = [(SSH_CONFIG_ENV, "/c"), ("USER", "ada")]
            .into_iter()
            .collect();
        let config =
            config("{ sshTarget: 'h', sshIdentity: '~/.ssh/k', sshHostKeyPolicy: 'openssh' }");
        let spec = configured_tunnel(SshFlags::default(), &config, &env).unwrap();
        assert_eq!(spec.identity.as_deref(), Some("~/.ssh/k"));
        assert_eq!(spec.host_keys, HostKeyPolicy::OpenSsh);
        assert_eq!(spec.config_file.as_deref(), Some("/c"));
        let config = self::config("{ url: 'wss://gw.example.com' }");
        let spec = configured_tunnel(SshFlags::default(), &config, &env).unwrap();
        assert_eq!(spec.target.to_string(), "ada@gw.example.com");
        assert_eq!(spec.remote_port, 18789);
        let flags = SshFlags {
            target: Some("bob@other:7"),
            identity: Some("/k"),
        };
        let spec = configured_tunnel(flags, &config, &env).unwrap();
        assert_eq!(
            (spec.target.to_string().as_str(), spec.identity.as_deref()),
            ("bob@other:7", Some("/k"))
        );
    }

    #[test]
    fn a_tunnelled_gateway_is_the_remote_one_for_every_credential() {
        let env = EnvVars::default();
        let config = config("{ transport: 'ssh', sshTarget: 'n@h', token: 'remote' }");
        for surface in [Surface::Call, Surface::Probe] {
            let resolution = resolve(&Request::new(surface, &env, &config));
            let target = resolution.outcome.unwrap();
            assert_eq!(target.endpoint().url(), "ws://127.0.0.1:18789");
            assert!(target.endpoint().tunnel().is_some());
            assert_eq!(target.mode(), Mode::Remote);
            assert_eq!(
                target.auth().source(SecretKind::Token),
                Some(Source::ConfigRemote)
            );
            let shown = resolution.explanation.tunnel.unwrap();
            assert_eq!((shown.target.as_str(), shown.remote_port), ("n@h", 18789));
        }
        // What names another place goes there without a tunnel.
        let mut request = Request::new(Surface::Call, &env, &config);
        request.flags.port = Some(4000);
        let target = resolve(&request).outcome.unwrap();
        assert_eq!(target.endpoint().tunnel(), None);
    }

    #[test]
    fn tokens_of_this_machine_and_of_the_far_one_are_kept_apart() {
        use crate::credentials::GatewayKey;
        let here = Endpoint::local(Scheme::Ws, 18789);
        let there = |target| {
            let spec = TunnelSpec::new(SshTarget::parse(target).unwrap(), 18789);
            here.clone()
                .through(Through { spec, keeper: None })
                .unwrap()
        };
        let keys = [
            GatewayKey::of(&here),
            GatewayKey::of(&there("n@h")),
            GatewayKey::of(&there("n@other")),
        ];
        assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
    }
}
