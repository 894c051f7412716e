//! Who gets in, and who does not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use clawgate_core::policy::{
    AuthReason, AuthRequest, AuthRule, Granted, Guesser, HostHeaderFallback, Ingress, LimitScope,
    Listener, LocalAddresses, LoopbackProxy, OriginPolicy, RateLimitConfig, RateLimiter,
    RateVerdict, RealIpFallback, RequestHeaders, SecretKind, Surface, TailscaleLogin,
    TrustedProxies, TrustedProxyRule, Whois, authorize, settle, whois_wanted,
};
use clawgate_core::secret::Secret;

/// A login whose parts are strings, with what most tests do not care about filled in.
struct Login {
    surface: Surface,
    peer: &'static str,
    listener: Listener,
    headers: Vec<(&'static str, &'static str)>,
    proxies: Vec<&'static str>,
    origins: Vec<&'static str>,
    local_addresses: LocalAddresses,
    token: Option<&'static str>,
    password: Option<&'static str>,
    whois: Whois,
    rate: RateVerdict,
}

impl Default for Login {
    fn default() -> Self {
        Self {
            surface: Surface::WebSocket,
            peer: "203.0.113.9",
            listener: Listener::Ordinary,
            headers: Vec::new(),
            proxies: Vec::new(),
            origins: Vec::new(),
            local_addresses: LocalAddresses::Known(Vec::new()),
            token: None,
            password: None,
            whois: Whois::Unknown,
            rate: RateVerdict::Allowed { remaining: 10 },
        }
    }
}

impl Login {
    fn with<T>(&self, judge: impl FnOnce(&AuthRequest<'_>) -> T) -> T {
        let peer: IpAddr = self.peer.parse().unwrap();
        let headers = RequestHeaders::new(self.headers.iter().copied());
        let proxies = TrustedProxies::parse(&self.proxies);
        let origins = OriginPolicy::new(&self.origins, HostHeaderFallback::Off);
        let (token, password) = (self.token.map(Secret::new), self.password.map(Secret::new));
        judge(&AuthRequest {
            surface: self.surface,
            peer,
            ingress: Ingress::classify(
                self.listener,
                peer,
                &headers,
                &proxies,
                RealIpFallback::Off,
            ),
            headers: &headers,
            proxies: &proxies,
            origins: &origins,
            local_addresses: &self.local_addresses,
            token: token.as_ref(),
            password: password.as_ref(),
            whois: &self.whois,
            rate: self.rate,
        })
    }

    fn judge(&self, rule: &AuthRule) -> Result<Granted, AuthReason> {
        self.with(|request| authorize(rule, request))
    }
}

fn shared(kind: SecretKind, secret: &str) -> AuthRule {
    AuthRule::Shared {
        kind,
        secret: Some(Secret::new(secret)),
        tailscale: TailscaleLogin::Off,
    }
}

#[test]
fn a_secret_may_come_in_either_field_and_its_own_field_comes_first() {
    let rule = shared(SecretKind::Token, "s3");
    for (token, password, expected) in [
        (Some("s3"), None, Ok(Granted::Token)),
        (None, Some("s3"), Ok(Granted::Token)),
        (Some(""), Some("s3"), Ok(Granted::Token)),
        (
            Some("bad"),
            Some("s3"),
            Err(AuthReason::Mismatch(SecretKind::Token)),
        ),
        (None, None, Err(AuthReason::Missing(SecretKind::Token))),
        (
            None,
            Some("bad"),
            Err(AuthReason::Mismatch(SecretKind::Token)),
        ),
    ] {
        let login = Login {
            token,
            password,
            ..Login::default()
        };
        assert_eq!(login.judge(&rule), expected, "{token:?} {password:?}");
    }
    let login = Login {
        token: Some("pw"),
        ..Login::default()
    };
    assert_eq!(
        login.judge(&shared(SecretKind::Password, "pw")),
        Ok(Granted::Password)
    );
}

#[test]
fn words_that_are_no_secrets_let_nobody_in() {
    for word in ["", "undefined", "null", "change-me-now"] {
        let login = Login {
            token: Some(word),
            ..Login::default()
        };
        let refused = login.judge(&shared(SecretKind::Token, word));
        assert_eq!(
            refused,
            Err(AuthReason::MissingConfig(SecretKind::Token)),
            "{word}"
        );
    }
    let login = Login {
        token: Some("[redacted]"),
        ..Login::default()
    };
    let refused = login.judge(&shared(SecretKind::Token, "[redacted]"));
    assert_eq!(refused, Err(AuthReason::RedactedConfig(SecretKind::Token)));
}

#[test]
fn a_locked_client_is_refused_even_with_the_right_secret() {
    let rate = RateVerdict::Locked {
        retry_after: Duration::from_secs(7),
    };
    let login = Login {
        token: Some("s3"),
        rate,
        ..Login::default()
    };
    let refused = login.judge(&shared(SecretKind::Token, "s3")).unwrap_err();
    assert_eq!(
        refused,
        AuthReason::RateLimited {
            retry_after: Duration::from_secs(7)
        }
    );
    assert_eq!(refused.as_str(), "rate_limited");
}

#[test]
fn only_guesses_count_and_success_forgets_them() {
    let rule = shared(SecretKind::Token, "s3");
    let mut limiter = RateLimiter::new(RateLimitConfig::default());
    let client = Guesser::new(Ingress::DirectRemote([203, 0, 113, 9].into()), None);
    #[allow(clippy::disallowed_methods)]
    let now = Instant::now();
    let mut left = |token| {
        let decision = Login {
            token,
            ..Login::default()
        }
        .judge(&rule);
        settle(&mut limiter, client, &decision, now);
        match client.check(&limiter, LimitScope::SharedSecret, now) {
            RateVerdict::Allowed { remaining } => remaining,
            RateVerdict::Locked { .. } => 0,
        }
    };
    assert_eq!(left(None), 10);
    assert_eq!(left(Some("bad")), 9);
    assert_eq!(left(Some("bad")), 8);
    assert_eq!(left(Some("s3")), 10);
}

fn proxy_rule() -> AuthRule {
    AuthRule::TrustedProxy {
        rule: Some(TrustedProxyRule {
            user_header: "X-Forwarded-User".to_owned(),
            required_headers: vec!["X-Forwarded-Proto".to_owned()],
            allow_users: vec!["nick@example.com".to_owned()],
            loopback: LoopbackProxy::Refused,
        }),
        local_password: None,
    }
}

fn behind_proxy() -> Login {
    Login {
        surface: Surface::Http,
        peer: "10.0.0.1",
        proxies: vec!["10.0.0.0/24", "127.0.0.1"],
        headers: vec![
            ("x-forwarded-for", "198.51.100.4"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-user", " nick@example.com "),
        ],
        ..Login::default()
    }
}

#[test]
fn a_trusted_proxy_names_the_user() {
    let granted = behind_proxy().judge(&proxy_rule()).unwrap();
    assert_eq!(
        (granted.method(), granted.user()),
        ("trusted-proxy", Some("nick@example.com"))
    );
}

#[test]
fn a_trusted_proxy_is_checked_step_by_step() {
    let none = AuthRule::TrustedProxy {
        rule: None,
        local_password: None,
    };
    assert_eq!(
        behind_proxy().judge(&none),
        Err(AuthReason::TrustedProxyConfigMissing)
    );

    let refused = |change: fn(&mut Login)| {
        let mut login = behind_proxy();
        change(&mut login);
        login
            .judge(&proxy_rule())
            .unwrap_err()
            .as_str()
            .into_owned()
    };
    assert_eq!(
        refused(|l| l.proxies.clear()),
        "trusted_proxy_no_proxies_configured"
    );
    assert_eq!(
        refused(|l| l.peer = "10.9.9.9"),
        "proxy_attribution_required"
    );
    assert_eq!(
        refused(|l| {
            l.peer = "10.9.9.9";
            l.headers.clear();
        }),
        "trusted_proxy_untrusted_source"
    );
    assert_eq!(
        refused(|l| l.peer = "127.0.0.1"),
        "trusted_proxy_loopback_source"
    );
    let own = |l: &mut Login| {
        l.local_addresses = LocalAddresses::Known(vec!["::ffff:10.0.0.1".parse().unwrap()]);
    };
    assert_eq!(refused(own), "trusted_proxy_local_interface_source");
    assert_eq!(
        refused(|l| l.local_addresses = LocalAddresses::Unavailable),
        "trusted_proxy_local_interface_check_failed"
    );
    assert_eq!(
        refused(|l| l.headers[1].1 = " "),
        "trusted_proxy_missing_header_X-Forwarded-Proto"
    );
    assert_eq!(
        refused(|l| l.headers[2].1 = " "),
        "trusted_proxy_user_missing"
    );
    assert_eq!(
        refused(|l| l.headers[2].1 = "NICK@example.com"),
        "trusted_proxy_user_not_allowed"
    );
    assert_eq!(
        refused(|l| l.headers.push(("x-forwarded-user", "nick@example.com"))),
        "trusted_proxy_user_not_allowed"
    );
    assert_eq!(
        refused(|l| l.headers.push(("origin", "https://evil.example.com"))),
        "trusted_proxy_origin_not_allowed"
    );
}

#[test]
fn a_local_password_helps_local_clients_only() {
    let AuthRule::TrustedProxy { rule, .. } = proxy_rule() else {
        unreachable!()
    };
    let rule = AuthRule::TrustedProxy {
        rule,
        local_password: Some(Secret::new("pw")),
    };
    let local = |headers: Vec<_>, password| Login {
        peer: "127.0.0.1",
        proxies: vec!["10.0.0.1"],
        headers,
        password,
        ..Login::default()
    };
    assert_eq!(
        local(vec![], Some("pw")).judge(&rule),
        Ok(Granted::Password)
    );
    let wrong = local(vec![], Some("no")).judge(&rule);
    assert_eq!(wrong, Err(AuthReason::Mismatch(SecretKind::Password)));
    let none = local(vec![], None).judge(&rule);
    assert_eq!(none, Err(AuthReason::TrustedProxyUntrustedSource));
    let forwarded = local(vec![("x-forwarded-for", "1.2.3.4")], Some("pw")).judge(&rule);
    assert_eq!(forwarded, Err(AuthReason::ProxyAttributionRequired));
}

fn from_tailnet() -> Login {
    Login {
        peer: "127.0.0.1",
        listener: Listener::ManagedServe,
        headers: vec![
            ("x-forwarded-for", "100.64.0.5"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "gw.ts.net"),
            ("tailscale-user-login", "nick@example.com"),
        ],
        whois: Whois::Login("Nick@example.com".to_owned()),
        ..Login::default()
    }
}

#[test]
fn a_tailscale_login_counts_when_whois_agrees() {
    let rule = AuthRule::Shared {
        kind: SecretKind::Token,
        secret: Some(Secret::new("s3")),
        tailscale: TailscaleLogin::Allowed,
    };
    let granted = from_tailnet().judge(&rule).unwrap();
    assert_eq!(
        (granted.method(), granted.user()),
        ("tailscale", Some("Nick@example.com"))
    );
    assert_eq!(
        from_tailnet().with(|r| whois_wanted(&rule, r)),
        "100.64.0.5".parse().ok()
    );

    let refused = |change: fn(&mut Login)| {
        let mut login = from_tailnet();
        change(&mut login);
        login.judge(&rule).unwrap_err()
    };
    let missing = AuthReason::Missing(SecretKind::Token);
    assert_eq!(
        refused(|l| l.whois = Whois::Login("eve@example.com".to_owned())),
        missing
    );
    assert_eq!(refused(|l| l.whois = Whois::Unknown), missing);
    assert_eq!(refused(|l| l.surface = Surface::Http), missing);
    assert_eq!(
        refused(|l| l.listener = Listener::Ordinary),
        AuthReason::ProxyAttributionRequired
    );
    // Who sends a secret is judged by it, and a picture is read by pages of this origin only.
    assert_eq!(
        refused(|l| l.token = Some("bad")),
        AuthReason::Mismatch(SecretKind::Token)
    );
    assert_eq!(
        refused(|l| l.surface = Surface::HttpAvatar),
        AuthReason::OriginNotAllowed
    );

    let off = shared(SecretKind::Token, "s3");
    assert_eq!(from_tailnet().judge(&off), Err(missing));
    assert_eq!(
        from_tailnet().with(|request| whois_wanted(&off, request)),
        None
    );
}

#[test]
fn without_auth_everybody_gets_in_except_through_an_unknown_proxy() {
    assert_eq!(Login::default().judge(&AuthRule::None), Ok(Granted::None));
    let login = Login {
        headers: vec![("forwarded", "for=127.0.0.1")],
        ..Login::default()
    };
    assert_eq!(
        login.judge(&AuthRule::None),
        Err(AuthReason::ProxyAttributionRequired)
    );
}
