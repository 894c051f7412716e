//! Who may use the gateway over HTTP (spec protocol §9, spec hostpolicy §5).
//!
//! The gateway's own mode holds: `Authorization: Bearer` with the token or the password, the word of
//! a trusted proxy, or nothing in mode `none`. Tailscale logins, device tokens and join tokens are
//! for the WebSocket alone. Wrong secrets are counted with those of the WebSocket.

use std::time::Duration;

use serde_json::{Value, json};

use super::{HttpAnswer, UNATTRIBUTABLE};
use crate::{
    gateway::{
        Gateway,
        admission::guesser,
        audit::{AuditEntry, Verdict},
    },
    policy::{
        self, AuthReason, AuthRequest, Granted, Ingress, LimitScope, RequestHeaders, Surface,
        Whois, host_header,
    },
    protocol::RpcError,
    scope::{Scope, ScopeSet},
    secret::Secret,
    server::PeerFacts,
    time::Now,
};

/// What a caller gets that names no scopes, or proves the shared secret (spec protocol §9).
const DEFAULT_SCOPES: [Scope; 6] = [
    Scope::Admin,
    Scope::Read,
    Scope::Write,
    Scope::Approvals,
    Scope::Pairing,
    Scope::TalkSecrets,
];

/// The header by which a proxy's users, and callers of a gateway without auth, ask for less.
const SCOPES_HEADER: &str = "x-openclaw-scopes";

/// A caller that is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAccess {
    /// How it proved itself.
    pub granted: Granted,
    /// What it may do.
    pub scopes: ScopeSet,
}

impl HttpAccess {
    /// Checks a scope.
    ///
    /// # Errors
    /// [`HttpRefusal::MissingScope`].
    pub fn require(&self, scope: Scope) -> Result<(), HttpRefusal> {
        if self.scopes.allows(scope) {
            Ok(())
        } else {
            Err(HttpRefusal::MissingScope(scope))
        }
    }
}

/// Why a caller is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpRefusal {
    /// The server's auth said no; the answer may have to be held back.
    Auth(AuthReason, Duration),
    /// A page came under a name that is not the gateway's own.
    Host,
    /// It lacks this scope.
    MissingScope(Scope),
    /// The page that sent the request is not accepted.
    Origin,
    /// It looks forwarded, but nobody who is trusted says for whom.
    Unattributable {
        /// A line for the operator's log.
        warning: Option<String>,
    },
}

impl HttpRefusal {
    /// The stable name, for the audit log.
    pub fn reason(&self) -> String {
        match self {
            Self::Auth(reason, _) => reason.as_str().into_owned(),
            Self::Host => "host_not_allowed".into(),
            Self::MissingScope(_) => "missing_scope".into(),
            Self::Origin => "origin_not_allowed".into(),
            Self::Unattributable { .. } => "proxy_attribution_required".into(),
        }
    }

    /// The answer. Who is unauthorised is told how to authorise and nothing else.
    pub fn answer(&self) -> HttpAnswer {
        let error = |status, kind: &str, message: &str| {
            let body = json!({ "error": { "message": message, "type": kind } });
            HttpAnswer::json(status, &body)
        };
        match self {
            Self::Auth(AuthReason::RateLimited { retry_after }, _) => {
                let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
                let message = "too many failed attempts; wait before the next one";
                error(429, "rate_limited", message).with("Retry-After", seconds.to_string())
            }
            Self::Unattributable { warning } => HttpAnswer {
                warning: warning.clone(),
                ..error(403, "proxy_attribution_required", UNATTRIBUTABLE)
            },
            Self::Auth(
                AuthReason::OriginNotAllowed | AuthReason::TrustedProxyOriginNotAllowed,
                _,
            )
            | Self::Origin => error(
                403,
                "origin_not_allowed",
                "origin not allowed (add it to gateway.controlUi.allowedOrigins)",
            ),
            Self::Auth(_, delay) => HttpAnswer {
                delay: *delay,
                ..error(
                    401,
                    "unauthorized",
                    "unauthorized: send the gateway's token or password as Authorization: Bearer",
                )
                .with("WWW-Authenticate", "Bearer")
            },
            Self::Host => error(
                403,
                "host_not_allowed",
                "this name is not the gateway's own (use its address, or add \
                 https://NAME to gateway.controlUi.allowedOrigins)",
            ),
            Self::MissingScope(scope) => {
                let refused = RpcError::missing_scope(scope.as_str());
                let body = json!({ "error": {
                    "message": refused.message,
                    "type": "forbidden",
                    "details": refused.details.unwrap_or(Value::Null),
                }});
                HttpAnswer::json(403, &body)
            }
        }
    }
}

impl Gateway {
    /// Decides whether a caller of an HTTP interface is let in, and counts wrong secrets. Refusals
    /// are written to the audit log.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use clawgate_core::{device::DeviceIdentity, gateway::*, limits::Limits, policy::*};
    /// # use clawgate_core::{scope::Scope, secret::Secret, server::PeerFacts, time::*};
    /// # let setup = GatewaySetup {
    /// #     limits: Arc::new(Limits::default()),
    /// #     admission: AdmissionPolicy::new(AuthRule::Shared {
    /// #         kind: SecretKind::Token,
    /// #         secret: Some(Secret::new("s3")),
    /// #         tailscale: TailscaleLogin::Off,
    /// #     }),
    /// #     host: HostInfo::new("1", "host"),
    /// #     identity: Arc::new(DeviceIdentity::from_seed(&[1; 32])),
    /// # };
    /// # let now = Now { mono: std::time::Instant::now(), wall: WallTime(0) };
    /// # let mut gateway = Gateway::new(setup, [2; 32], now);
    /// let mut peer = PeerFacts::direct([127, 0, 0, 1].into());
    /// assert!(gateway.authorize_http(now, &peer).is_err());
    /// # while gateway.poll_commit().is_some() {}
    /// peer.headers = RequestHeaders::new([("Authorization", "Bearer s3")]);
    /// let access = gateway.authorize_http(now, &peer).unwrap();
    /// assert!(access.require(Scope::Admin).is_ok());
    /// ```
    ///
    /// # Errors
    /// [`HttpRefusal`], whose answer is to be sent.
    pub fn authorize_http(
        &mut self,
        now: Now,
        peer: &PeerFacts,
    ) -> Result<HttpAccess, HttpRefusal> {
        self.assert_drained();
        self.advance(now.mono);
        let decision = self.authorize_caller(now, peer);
        self.out.seal();
        decision
    }

    /// The same within an input.
    pub(super) fn authorize_caller(
        &mut self,
        now: Now,
        peer: &PeerFacts,
    ) -> Result<HttpAccess, HttpRefusal> {
        let refusal = match self.judge_http(now, peer) {
            Ok(access) => return Ok(access),
            Err(HttpRefusal::Auth(AuthReason::ProxyAttributionRequired, _)) => {
                let warning = self.note_spoofed(now, "http", peer);
                return Err(HttpRefusal::Unattributable { warning });
            }
            Err(refusal) => refusal,
        };
        let mut entry = AuditEntry::new(now, "http", Verdict::Denied);
        entry.reason = Some(refusal.reason());
        entry.from = Some(peer.client_ip().to_string());
        self.audit.record(&mut self.out.journal, now, entry);
        Err(refusal)
    }

    fn judge_http(&mut self, now: Now, peer: &PeerFacts) -> Result<HttpAccess, HttpRefusal> {
        if peer.ingress == Ingress::Owner {
            return Ok(HttpAccess {
                granted: Granted::None,
                scopes: DEFAULT_SCOPES.into_iter().collect(),
            });
        }
        let page = self.judge_page(peer)?;
        let bearer = bearer(&peer.headers);
        let client = guesser(peer);
        let policy = &self.setup.admission;
        let request = AuthRequest {
            surface: Surface::Http,
            peer: peer.ip,
            ingress: peer.ingress,
            headers: &peer.headers,
            proxies: &policy.proxies,
            origins: &policy.origins,
            local_addresses: &peer.local_addresses,
            // There is one field, whatever the mode calls its secret.
            token: bearer.as_ref(),
            password: bearer.as_ref(),
            whois: &Whois::Unknown,
            rate: client.check(&self.failures, LimitScope::SharedSecret, now.mono),
        };
        let decision = self.authorize(now, &request).map(|(granted, _)| granted);
        let delay = policy::settle(&mut self.failures, client, &decision, now.mono);
        let granted = decision.map_err(|reason| HttpRefusal::Auth(reason, delay))?;
        let by_secret = matches!(granted, Granted::Token | Granted::Password);
        // Where no secret is asked for, a page needs nothing but a name that leads here.
        if !by_secret && peer.ip.is_loopback() && page == Page::Unnamed {
            return Err(HttpRefusal::Host);
        }
        let all: ScopeSet = DEFAULT_SCOPES.into_iter().collect();
        let scopes = match peer.headers.get(SCOPES_HEADER) {
            Some(names) if !by_secret => {
                let names: Vec<&str> = names.split(',').map(str::trim).collect();
                all.capped(&ScopeSet::parse(&names))
            }
            Some(_) | None => all,
        };
        Ok(HttpAccess { granted, scopes })
    }

    /// Judges the page that a request may come from.
    fn judge_page(&self, peer: &PeerFacts) -> Result<Page, HttpRefusal> {
        let (origins, headers) = (&self.setup.admission.origins, &peer.headers);
        let host = headers.get("host");
        if let Some(origin) = headers.get("origin") {
            let locality = peer.ingress.client_locality();
            return match origins.check(Some(&origin), host.as_deref(), locality) {
                Ok(_) => Ok(Page::Named),
                Err(_) => Err(HttpRefusal::Origin),
            };
        }
        if host_header::from_other_site(headers) {
            return Err(HttpRefusal::Origin);
        }
        let direct = matches!(
            peer.ingress,
            Ingress::DirectLocal(_) | Ingress::DirectRemote(_)
        );
        if host_header::names_gateway(host.as_deref(), origins) {
            Ok(Page::Named)
        } else if direct && host_header::from_browser(headers) {
            Err(HttpRefusal::Host)
        } else {
            Ok(Page::Unnamed)
        }
    }

    /// Whether a caller is on this machine, and does not come through a browser that was led here
    /// under a strange name.
    pub(super) fn is_local_caller(&self, peer: &PeerFacts) -> bool {
        let host = peer.headers.get("host");
        peer.ingress == Ingress::Owner
            || (peer.ingress.is_direct_local()
                && host_header::names_gateway(host.as_deref(), &self.setup.admission.origins)
                && self.judge_page(peer).is_ok())
    }
}

/// Whether the request names the gateway, or comes from a page that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Named,
    Unnamed,
}

/// The secret of `Authorization: Bearer`. Blanks around it do not count. A repeated header counts as
/// one, with its values joined, so it is no secret of ours.
pub(super) fn bearer(headers: &RequestHeaders) -> Option<Secret> {
    let value = headers.get("authorization")?;
    let (scheme, secret) = value.trim_start().split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| Secret::non_blank(secret))
        .flatten()
}
