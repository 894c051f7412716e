//! Cases about URLs, origins, proxies, SSH targets, TLS pins, server auth and rate limits.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use clawgate_core::policy::proxy::{client_ip, host_header_is_localish, parse_hop};
use clawgate_core::policy::{
    AuthReason, AuthRequest, AuthRule, ClientLocality, Endpoint, Granted, HostHeaderFallback,
    Ingress, LimitScope, LimitSubject, Listener, LocalAddresses, LoopbackProxy, LoopbackRule,
    OriginPolicy, RateLimitConfig, RateLimiter, RateVerdict, RealIpFallback, RequestHeaders,
    SecretKind, SshTarget, Surface, TailscaleLogin, TlsFingerprint, TrustedProxies,
    TrustedProxyRule, UrlPolicy, Whois, authorize,
};
use clawgate_core::secret::Secret;
use serde_json::{Value, json};

/// Answers one case, or gives `None` when the function is not one of this file.
pub fn call(function: &str, given: &Value) -> Option<Value> {
    Some(match function {
        "ws_url_allowed" => ws_url_allowed(given),
        "break_glass_env" => break_glass_env(given),
        "browser_origin" => browser_origin(given),
        "is_trusted_proxy" => is_trusted_proxy(given),
        "client_ip" => forwarded_client(given),
        "host_header_is_localish" => {
            json!({ "localish": host_header_is_localish(text(given, "host").unwrap_or_default()) })
        }
        "parse_ssh_target" => parse_ssh_target(given),
        "normalize_tls_fingerprint" => normalize_tls_fingerprint(given),
        "authorize" => authorize_case(given),
        "rate_limit" => rate_limit(given),
        _ => return None,
    })
}

fn text<'a>(given: &'a Value, key: &str) -> Option<&'a str> {
    given.get(key)?.as_str()
}

fn flag(given: &Value, key: &str) -> bool {
    given.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn strings(given: &Value, key: &str) -> Vec<String> {
    let items = given.get(key).and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn ws_url_allowed(given: &Value) -> Value {
    let policy = if flag(given, "allow_private_ws") {
        UrlPolicy::AllowInsecureNames
    } else {
        UrlPolicy::Strict
    };
    json!({ "allowed": Endpoint::parse(text(given, "url").unwrap_or_default(), policy).is_ok() })
}

fn break_glass_env(given: &Value) -> Value {
    let value = given
        .get("env")
        .and_then(|env| text(env, "OPENCLAW_ALLOW_INSECURE_PRIVATE_WS"));
    json!({ "enabled": UrlPolicy::from_env(value) == UrlPolicy::AllowInsecureNames })
}

fn browser_origin(given: &Value) -> Value {
    let fallback = if flag(given, "allowHostHeaderOriginFallback")
        || flag(given, "dangerouslyAllowHostHeaderOriginFallback")
    {
        HostHeaderFallback::Dangerous
    } else {
        HostHeaderFallback::Off
    };
    let client = match given.get("isLocalClient").and_then(Value::as_bool) {
        Some(true) => ClientLocality::Local,
        Some(false) => ClientLocality::Remote,
        None => ClientLocality::Unknown,
    };
    let policy = OriginPolicy::new(strings(given, "allowedOrigins"), fallback);
    match policy.check(text(given, "origin"), text(given, "requestHost"), client) {
        Ok(matched) => json!({ "ok": true, "matchedBy": matched.as_str() }),
        Err(refusal) => json!({ "ok": false, "reason": refusal.to_string() }),
    }
}

fn is_trusted_proxy(given: &Value) -> Value {
    let proxies = TrustedProxies::parse(strings(given, "trusted_proxies"));
    let peer = text(given, "ip").and_then(parse_hop);
    json!({ "match": peer.is_some_and(|ip| proxies.contains(ip)) })
}

fn real_ip_fallback(given: &Value) -> RealIpFallback {
    if flag(given, "allowRealIpFallback") {
        RealIpFallback::Allowed
    } else {
        RealIpFallback::Off
    }
}

fn forwarded_client(given: &Value) -> Value {
    let headers = RequestHeaders::new(
        [
            ("x-forwarded-for", text(given, "forwardedFor")),
            ("x-real-ip", text(given, "realIp")),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?))),
    );
    let proxies = TrustedProxies::parse(strings(given, "trustedProxies"));
    let client = text(given, "remoteAddr")
        .and_then(parse_hop)
        .and_then(|peer| client_ip(peer, &headers, &proxies, real_ip_fallback(given)));
    json!({ "ip": client.map(|ip| ip.to_string()) })
}

fn parse_ssh_target(given: &Value) -> Value {
    let target = SshTarget::parse(text(given, "target").unwrap_or_default()).ok();
    json!({ "parsed": target })
}

fn normalize_tls_fingerprint(given: &Value) -> Value {
    let pin = text(given, "value")
        .unwrap_or_default()
        .parse::<TlsFingerprint>();
    json!({ "normalized": pin.map(|pin| pin.to_string()).unwrap_or_default() })
}

fn auth_rule(auth: &Value) -> AuthRule {
    let secret = |key| text(auth, key).map(Secret::new);
    let tailscale = if flag(auth, "allowTailscale") {
        TailscaleLogin::Allowed
    } else {
        TailscaleLogin::Off
    };
    match text(auth, "mode") {
        Some("none") => AuthRule::None,
        Some("password") => AuthRule::Shared {
            kind: SecretKind::Password,
            secret: secret("password"),
            tailscale,
        },
        Some("trusted-proxy") => AuthRule::TrustedProxy {
            rule: auth
                .get("trustedProxy")
                .filter(|rule| rule.is_object())
                .map(|rule| TrustedProxyRule {
                    user_header: text(rule, "userHeader").unwrap_or_default().to_owned(),
                    required_headers: strings(rule, "requiredHeaders"),
                    allow_users: strings(rule, "allowUsers"),
                    loopback: if flag(rule, "allowLoopback") {
                        LoopbackProxy::Allowed
                    } else {
                        LoopbackProxy::Refused
                    },
                }),
            local_password: secret("password"),
        },
        Some(_) | None => AuthRule::Shared {
            kind: SecretKind::Token,
            secret: secret("token"),
            tailscale,
        },
    }
}

fn authorize_case(given: &Value) -> Value {
    let null = Value::Null;
    let part = |key| given.get(key).unwrap_or(&null);
    let headers = RequestHeaders::new(
        part("headers")
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name, value.as_str()?))),
    );
    let Some(peer) = text(given, "remote_addr").and_then(parse_hop) else {
        return json!({ "error": "remote_addr is no address" });
    };
    let proxies = TrustedProxies::parse(strings(given, "trusted_proxies"));
    let listener = match text(given, "ingress") {
        Some("managed-tailscale-serve") => Listener::ManagedServe,
        Some("managed-tailscale-funnel") => Listener::ManagedFunnel,
        Some(_) | None => Listener::Ordinary,
    };
    let presented = |key| text(part("connect_auth"), key).map(Secret::new);
    let (token, password) = (presented("token"), presented("password"));
    let whois =
        text(part("whois"), "login").map_or(Whois::Unknown, |login| Whois::Login(login.to_owned()));
    let local_addresses: Vec<IpAddr> = strings(given, "local_addresses")
        .iter()
        .filter_map(|ip| parse_hop(ip))
        .collect();
    let origins = OriginPolicy::new(strings(given, "allowedOrigins"), HostHeaderFallback::Off);
    let request = AuthRequest {
        surface: match text(given, "surface") {
            Some("http") => Surface::Http,
            Some("http-user-profile-avatar") => Surface::HttpAvatar,
            Some(_) | None => Surface::WebSocket,
        },
        peer,
        ingress: Ingress::classify(listener, peer, &headers, &proxies, real_ip_fallback(given)),
        headers: &headers,
        proxies: &proxies,
        origins: &origins,
        local_addresses: &LocalAddresses::Known(local_addresses),
        token: token.as_ref(),
        password: password.as_ref(),
        whois: &whois,
        rate: RateVerdict::Allowed { remaining: 10 },
    };
    verdict(&authorize(&auth_rule(part("auth")), &request))
}

fn verdict(decision: &Result<Granted, AuthReason>) -> Value {
    match decision {
        Ok(granted) => match granted.user() {
            Some(user) => json!({ "ok": true, "method": granted.method(), "user": user }),
            None => json!({ "ok": true, "method": granted.method() }),
        },
        Err(reason) => json!({ "ok": false, "reason": reason.as_str() }),
    }
}

fn rate_limit(given: &Value) -> Value {
    let null = Value::Null;
    let config = given.get("config").unwrap_or(&null);
    let defaults = RateLimitConfig::default();
    let millis = |key, default| {
        config
            .get(key)
            .and_then(Value::as_u64)
            .map_or(default, Duration::from_millis)
    };
    let mut limiter = RateLimiter::new(RateLimitConfig {
        max_attempts: config
            .get("maxAttempts")
            .and_then(Value::as_u64)
            .and_then(|attempts| u32::try_from(attempts).ok())
            .unwrap_or(defaults.max_attempts),
        window: millis("windowMs", defaults.window),
        lockout: millis("lockoutMs", defaults.lockout),
        loopback: match config.get("exemptLoopback") {
            Some(Value::Bool(false)) => LoopbackRule::Limited,
            Some(_) | None => LoopbackRule::Exempt,
        },
    });
    let client = LimitSubject::address(text(given, "ip").and_then(parse_hop));
    let now = Instant::now();
    for _ in 0..given.get("failures").and_then(Value::as_u64).unwrap_or(0) {
        limiter.record_failure(LimitScope::SharedSecret, client, now);
    }
    let verdict = limiter.check(LimitScope::SharedSecret, client, now);
    let remaining = match verdict {
        RateVerdict::Allowed { remaining } => remaining,
        RateVerdict::Locked { .. } => 0,
    };
    let other = limiter.check(LimitScope::DeviceToken, client, now);
    json!({
        "allowed": verdict.is_allowed(),
        "remaining": remaining,
        "locked_about_ms": u64::try_from(verdict.retry_after().as_millis()).unwrap_or(u64::MAX),
        "other_scope_allowed": other.is_allowed(),
    })
}
