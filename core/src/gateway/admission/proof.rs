//! What a client shows for itself (spec protocol §3.5): the shared secret, a proxy's or Tailscale's
//! word, a join token, or a token of its own. In that order, each kind counted by itself.

use std::time::Duration;

use super::refusals;
use crate::{
    gateway::{
        Gateway,
        devices::{Presented, TokenRefusal},
        rotation::Generation,
    },
    policy::{
        self, AuthReason, AuthRequest, Granted, Guesser, Ingress, LimitScope, RateVerdict,
        SecretKind, Surface, Whois,
    },
    protocol::{AuthMethod, ConnectCode},
    secret::Secret,
    server::{ConnectRequest, PeerFacts, Refusal},
    time::Now,
};

/// How a client proved itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Proof {
    /// By a token that this device was given before.
    DeviceToken,
    /// By the join token of that id.
    Invite(String),
    /// Nothing is asked for.
    Open,
    /// By owning the gateway's files.
    Owner,
    /// A trusted proxy names this user.
    Proxy(String),
    /// By the gateway's token or password, the current one or one that was replaced.
    Shared(SecretKind, Generation),
    /// Tailscale knows this user.
    Tailscale(String),
}

impl Proof {
    /// The name in `hello-ok`. The owner's way has none there.
    pub(in crate::gateway) const fn method(&self) -> Option<AuthMethod> {
        Some(match self {
            Self::DeviceToken => AuthMethod::DeviceToken,
            Self::Invite(_) => AuthMethod::BootstrapToken,
            Self::Open => AuthMethod::None,
            Self::Owner => return None,
            Self::Proxy(_) => AuthMethod::TrustedProxy,
            Self::Shared(SecretKind::Token, _) => AuthMethod::Token,
            Self::Shared(SecretKind::Password, _) => AuthMethod::Password,
            Self::Tailscale(_) => AuthMethod::Tailscale,
        })
    }

    /// The name in the audit log.
    pub(in crate::gateway) fn name(&self) -> &'static str {
        self.method().map_or("owner", AuthMethod::as_str)
    }

    /// The user, when somebody named one.
    pub(in crate::gateway) fn user(&self) -> Option<&str> {
        match self {
            Self::Proxy(user) | Self::Tailscale(user) => Some(user),
            Self::DeviceToken | Self::Invite(_) | Self::Open | Self::Owner | Self::Shared(..) => {
                None
            }
        }
    }
}

/// A client that is turned away.
#[derive(Debug)]
pub(super) struct Denied {
    pub(super) refusal: Box<Refusal>,
    /// How long to hold the answer back, so that guessing is slow.
    pub(super) delay: Duration,
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal: refusal.into(),
            delay: Duration::ZERO,
        }
    }
}

/// Blanks around a secret do not count, and blanks alone are none (spec protocol §3.5).
fn sent(secret: Option<&Secret>) -> Option<Secret> {
    Secret::non_blank(secret?.expose())
}

/// The device token that a client presents: the field of its own, else the token field.
pub(super) fn presented_device_token(request: &ConnectRequest) -> Option<Secret> {
    let auth = &request.params.auth;
    sent(auth.device_token.as_ref()).or_else(|| sent(auth.token.as_ref()))
}

impl Gateway {
    /// The address that Tailscale has to be asked about before the decision, if any.
    pub(super) fn whois_wanted(&self, request: &ConnectRequest) -> Option<core::net::IpAddr> {
        let auth = &request.params.auth;
        let (token, password) = (sent(auth.token.as_ref()), sent(auth.password.as_ref()));
        let wanted = self.auth_request(
            request,
            (token.as_ref(), password.as_ref()),
            &Whois::Unknown,
            RateVerdict::Allowed { remaining: 1 },
        );
        policy::whois_wanted(&self.setup.admission.auth, &wanted)
    }

    /// Checks what the client shows.
    pub(super) fn authenticate(
        &mut self,
        now: Now,
        request: &ConnectRequest,
        whois: &Whois,
    ) -> Result<Proof, Denied> {
        if request.peer.ingress == Ingress::Owner {
            return Ok(Proof::Owner);
        }
        self.check_origin(request)?;
        let auth = &request.params.auth;
        let (token, password) = (sent(auth.token.as_ref()), sent(auth.password.as_ref()));
        let client = guesser(&request.peer);
        let rate = client.check(&self.failures, LimitScope::SharedSecret, now.mono);
        let decision = self.authorize(
            now,
            &self.auth_request(request, (token.as_ref(), password.as_ref()), whois, rate),
        );
        let reason = match decision {
            Ok((granted, generation)) => {
                policy::settle(&mut self.failures, client, &Ok(granted.clone()), now.mono);
                return Ok(match granted {
                    Granted::None => Proof::Open,
                    Granted::Password => Proof::Shared(SecretKind::Password, generation),
                    Granted::Tailscale(user) => Proof::Tailscale(user),
                    Granted::Token => Proof::Shared(SecretKind::Token, generation),
                    Granted::TrustedProxy(user) => Proof::Proxy(user),
                });
            }
            Err(reason) => reason,
        };
        // Whoever hides behind an unknown proxy gets no second chance.
        if request.device.is_some() && reason != AuthReason::ProxyAttributionRequired {
            self.by_own_token(now, request, client, reason)
        } else {
            let missing = matches!(reason, AuthReason::Missing(_));
            Err(self.shared_failure(now, client, reason, |reason| {
                // A client that shows neither a device nor a secret is asked for the device.
                if missing {
                    refusals::device_required()
                } else {
                    refusals::unauthorized(reason)
                }
            }))
        }
    }

    /// A device without the shared secret: it may have a join token or a token of its own.
    fn by_own_token(
        &mut self,
        now: Now,
        request: &ConnectRequest,
        client: Guesser,
        reason: AuthReason,
    ) -> Result<Proof, Denied> {
        let Some(device) = &request.device else {
            return Err(refusals::device_required().into());
        };
        let auth = &request.params.auth;
        let id = device.id.as_str();
        if let Some(token) = sent(auth.bootstrap_token.as_ref()) {
            let scope = LimitScope::BootstrapToken;
            self.check_rate(now, scope, client)?;
            let approved = self
                .devices
                .get(id)
                .filter(|known| known.holds(request.role));
            let invite = self
                .invites
                .find(now.wall, &token, approved.map(|_| id))
                .filter(|invite| invite.role == request.role)
                .map(|invite| invite.invite_id.clone());
            return if let Some(invite) = invite {
                client.record_success(&mut self.failures, scope);
                Ok(Proof::Invite(invite))
            } else {
                let delay = client.record_failure(&mut self.failures, scope, now.mono);
                Err(Denied {
                    delay,
                    ..refusals::join_token_invalid().into()
                })
            };
        }
        let own = sent(auth.device_token.as_ref());
        let is_own = own.is_some();
        if let Some(token) = presented_device_token(request) {
            let scope = LimitScope::DeviceToken;
            self.check_rate(now, scope, client)?;
            let scopes = super::decide::asked_scopes(request);
            let verdict = self.devices.check_token(Presented {
                device,
                role: request.role,
                scopes: &scopes,
                token: &token,
            });
            match verdict {
                Ok(()) => {
                    client.record_success(&mut self.failures, scope);
                    return Ok(Proof::DeviceToken);
                }
                Err(TokenRefusal::Scopes) => return Err(refusals::scopes_not_held().into()),
                Err(TokenRefusal::Mismatch) if is_own => {
                    let delay = client.record_failure(&mut self.failures, scope, now.mono);
                    // A wrong shared secret beside it is a guess as well.
                    policy::settle(&mut self.failures, client, &Err(reason), now.mono);
                    return Err(Denied {
                        delay,
                        ..refusals::device_token_mismatch().into()
                    });
                }
                Err(TokenRefusal::Mismatch) => {}
            }
        }
        let can_retry = !is_own
            && matches!(reason, AuthReason::Mismatch(_))
            && self.devices.has_token(id, request.role);
        Err(self.shared_failure(now, client, reason, |reason| {
            let mut refusal = refusals::unauthorized(reason);
            if can_retry {
                refusals::advise_device_token(&mut refusal);
            }
            refusal
        }))
    }

    fn shared_failure(
        &mut self,
        now: Now,
        client: Guesser,
        reason: AuthReason,
        refusal: impl FnOnce(&AuthReason) -> Refusal,
    ) -> Denied {
        let refusal = refusal(&reason).into();
        let delay = policy::settle(&mut self.failures, client, &Err(reason), now.mono);
        Denied { refusal, delay }
    }

    fn check_rate(&self, now: Now, scope: LimitScope, client: Guesser) -> Result<(), Denied> {
        match client.check(&self.failures, scope, now.mono) {
            RateVerdict::Locked { retry_after } => {
                Err(refusals::unauthorized(&AuthReason::RateLimited { retry_after }).into())
            }
            RateVerdict::Allowed { .. } => Ok(()),
        }
    }

    fn auth_request<'a>(
        &'a self,
        request: &'a ConnectRequest,
        (token, password): (Option<&'a Secret>, Option<&'a Secret>),
        whois: &'a Whois,
        rate: RateVerdict,
    ) -> AuthRequest<'a> {
        let policy = &self.setup.admission;
        AuthRequest {
            surface: Surface::WebSocket,
            peer: request.peer.ip,
            ingress: request.peer.ingress,
            headers: &request.peer.headers,
            proxies: &policy.proxies,
            origins: &policy.origins,
            local_addresses: &request.peer.local_addresses,
            token,
            password,
            whois,
            rate,
        }
    }

    /// Pages are checked wherever they come from; other programs send no `Origin` (spec protocol
    /// §1.2).
    fn check_origin(&self, request: &ConnectRequest) -> Result<(), Denied> {
        let peer = &request.peer;
        if !peer.has_origin() && !request.params.client.id.is_browser() {
            return Ok(());
        }
        let (origin, host) = (peer.headers.get("origin"), peer.headers.get("host"));
        let locality = peer.ingress.client_locality();
        self.setup
            .admission
            .origins
            .check(origin.as_deref(), host.as_deref(), locality)
            .map(|_| ())
            .map_err(|refused| {
                let mut refusal = Refusal::invalid(
                    ConnectCode::ControlUiOriginNotAllowed,
                    "origin not allowed (open the page from the gateway's own host, or add its \
                     origin to gateway.controlUi.allowedOrigins)",
                );
                refusal.detail("reason", refused.to_string().into());
                refusal.into()
            })
    }
}

/// Whom the failures of a client are counted against.
pub(in crate::gateway) fn guesser(peer: &PeerFacts) -> Guesser {
    let origin = peer.headers.get("origin");
    Guesser::new(peer.ingress, origin.as_deref())
}
