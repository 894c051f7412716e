//! Where a client dials, and the credentials that may go there and nowhere else.

use thiserror::Error;

use super::{
    Attempt, Ending, Verdict, judge,
    verdict::{close_spoils_stored_token, spoils_stored_token},
};
use crate::{
    credentials,
    policy::{EdgeHeaders, Endpoint, TlsPins, TlsTrust},
    protocol::AuthParams,
    secret::Secret,
};

/// Something that only TLS can carry was given for an endpoint without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NeedsTls {
    /// Headers for a proxy in front of the gateway.
    #[error("headers for a proxy are sent to a wss:// gateway URL only; use wss:// or remove them")]
    EdgeHeaders,
    /// A rule for the certificate (spec hostpolicy §6).
    #[error("a TLS fingerprint needs a wss:// gateway URL; use wss:// or remove the fingerprint")]
    Pin,
}

/// An accepted endpoint, the certificate that it must show, and the headers that a proxy in front
/// of it asks for. The headers are bound to the endpoint: a redirect is never followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    endpoint: Endpoint,
    trust: TlsTrust,
    headers: EdgeHeaders,
}

impl Route {
    /// A route to an endpoint.
    ///
    /// # Errors
    /// When there is a rule for the certificate but no TLS.
    pub fn new(endpoint: Endpoint, trust: TlsTrust) -> Result<Self, NeedsTls> {
        if trust != TlsTrust::Authorities && !endpoint.is_tls() {
            return Err(NeedsTls::Pin);
        }
        Ok(Self {
            endpoint,
            trust,
            headers: EdgeHeaders::none(),
        })
    }

    /// A route without a pin.
    pub fn unpinned(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            trust: TlsTrust::Authorities,
            headers: EdgeHeaders::none(),
        }
    }

    /// The same with headers for the upgrade.
    ///
    /// # Errors
    /// When there are headers but no TLS.
    pub fn with_headers(self, headers: EdgeHeaders) -> Result<Self, NeedsTls> {
        if !headers.is_empty() && !self.endpoint.is_tls() {
            return Err(NeedsTls::EdgeHeaders);
        }
        Ok(Self { headers, ..self })
    }

    /// Where to dial.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// How the certificate is judged.
    pub fn trust(&self) -> &TlsTrust {
        &self.trust
    }

    /// Headers for the upgrade request.
    pub fn headers(&self) -> &EdgeHeaders {
        &self.headers
    }

    /// Whether the other end is known well enough to be offered a stored device token that nobody
    /// asked to send: this machine, or a pinned certificate (spec credentials §6).
    pub fn is_trusted(&self) -> bool {
        self.endpoint.is_loopback() || self.trust.pins().is_some()
    }
}

/// A route with the credentials that were chosen for it. They cannot be taken out and sent
/// elsewhere: only a machine that dials this route reads them.
///
/// ```
/// use clawgate_core::{
///     client::{Route, Target},
///     policy::{Endpoint, UrlPolicy},
///     protocol::AuthParams,
///     secret::Secret,
/// };
///
/// let endpoint = Endpoint::parse("ws://127.0.0.1:18789", UrlPolicy::Strict)?;
/// let auth = AuthParams { token: Some(Secret::new("hunter2")), ..AuthParams::default() };
/// let target = Target::new(Route::unpinned(endpoint), auth, None);
/// assert!(!format!("{target:?}").contains("hunter2"));
/// # Ok::<(), clawgate_core::policy::Refusal>(())
/// ```
#[derive(Clone, Debug)]
pub struct Target {
    route: Route,
    auth: AuthParams,
    stored: Option<Secret>,
    offer: Offer,
}

/// When the stored device token is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offer {
    /// Beside the shared secret, which was refused.
    Beside,
    /// Where there is no shared secret.
    InPlace,
}

impl Target {
    /// Binds credentials to a route. `stored` is the device token that this gateway issued earlier.
    pub fn new(route: Route, auth: AuthParams, stored: Option<Secret>) -> Self {
        Self {
            route,
            auth,
            stored,
            offer: Offer::InPlace,
        }
    }

    /// The same without the stored device token, for a connection that claims no device.
    #[must_use]
    pub fn without_stored(&self) -> Self {
        Self {
            stored: None,
            ..self.clone()
        }
    }

    /// Where to dial.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// The same, pinned to what the first use has seen. Any other rule for the certificate stays.
    #[must_use]
    pub fn pinned_by_first_use(mut self, pins: TlsPins) -> Self {
        if self.route.trust == TlsTrust::FirstUse {
            self.route.trust = TlsTrust::Pinned(pins);
        }
        self
    }

    /// Whether anything secret will be sent.
    pub fn has_credentials(&self) -> bool {
        self.stored.is_some()
            || self.auth != AuthParams::default()
            || !self.route.headers.is_empty()
    }

    /// The one attempt that is worth making at once after a `connect` that came to nothing: with the
    /// stored device token added where the gateway refused the shared secret and the route is
    /// trusted, or unchanged after a close without a word (spec protocol §10). For clients of a
    /// single connection; a [`Session`](super::Session) knows by itself.
    pub fn second_attempt(&self, ending: &Ending) -> Option<Self> {
        match ending {
            Ending::Closed { code, reason } => {
                (*code == Some(1000) && reason.as_str().is_empty()).then(|| self.clone())
            }
            Ending::Refused(error) => {
                let replaceable = judge(error, self.attempt()) == Verdict::RetryWithDeviceToken;
                replaceable.then(|| Self {
                    offer: Offer::Beside,
                    ..self.clone()
                })
            }
            Ending::Failed(_) | Ending::Lost | Ending::Stopped => None,
        }
    }

    /// Whether an ending means that the stored device token is worthless and should be deleted.
    pub fn is_stored_token_spoilt(&self, ending: &Ending) -> bool {
        match ending {
            Ending::Closed { code, reason } => {
                close_spoils_stored_token(*code, reason.as_str(), self.attempt())
            }
            Ending::Refused(error) => spoils_stored_token(error, self.attempt()),
            Ending::Failed(_) | Ending::Lost | Ending::Stopped => false,
        }
    }

    /// What a first attempt sends, as far as a verdict needs to know.
    pub(super) fn attempt(&self) -> Attempt {
        match (self.can_send_stored(), self.has_shared_secret(), self.offer) {
            (false, _, _) => Attempt::Plain,
            (true, false, _) | (true, true, Offer::Beside) => Attempt::Stored,
            (true, true, Offer::InPlace) if self.route.is_trusted() => Attempt::Replaceable,
            (true, true, Offer::InPlace) => Attempt::Plain,
        }
    }

    /// What the first `connect` of this target sends: explicit credentials, else the stored device
    /// token; a bootstrap token only when there is nothing else (spec protocol §10).
    pub(super) fn auth(&self) -> AuthParams {
        let mut auth = self.auth.clone();
        let is_offered = self.offer == Offer::Beside || !self.has_shared_secret();
        if auth.device_token.is_none() && is_offered {
            auth.device_token.clone_from(&self.stored);
        }
        if auth.token.is_some() || auth.device_token.is_some() || auth.password.is_some() {
            auth.bootstrap_token = None;
        }
        auth
    }

    /// The same with the stored device token added.
    pub(super) fn auth_with_device_token(&self) -> AuthParams {
        let mut auth = self.auth();
        if auth.device_token.is_none() {
            auth.device_token.clone_from(&self.stored);
        }
        auth
    }

    /// Whether a stored device token could be sent.
    fn can_send_stored(&self) -> bool {
        self.stored.is_some() && self.auth.device_token.is_none()
    }

    /// Whether a token or password was given.
    fn has_shared_secret(&self) -> bool {
        self.auth.token.is_some() || self.auth.password.is_some()
    }

    pub(super) fn store(&mut self, token: Secret) {
        self.stored = Some(token);
    }

    pub(super) fn forget_stored(&mut self) {
        self.stored = None;
    }
}

impl From<&credentials::Target> for Target {
    /// Endpoint, pin, headers and credentials of one resolved target, which stay together.
    fn from(resolved: &credentials::Target) -> Self {
        let route = Route {
            endpoint: resolved.endpoint().clone(),
            trust: resolved.tls_trust().clone(),
            headers: resolved.edge_headers().clone(),
        };
        let bound = resolved.auth();
        let auth = AuthParams {
            token: bound.token().cloned(),
            password: bound.password().cloned(),
            ..AuthParams::default()
        };
        let stored = bound
            .device_token()
            .or_else(|| bound.device_token_for_retry());
        Self::new(route, auth, stored.cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::{Scheme, TlsFingerprint, UrlPolicy},
        protocol::{CloseReason, RpcError},
    };

    fn secret(value: &str) -> Option<Secret> {
        Some(Secret::new(value))
    }

    fn target(auth: AuthParams, stored: Option<Secret>) -> Target {
        let route = Route::unpinned(Endpoint::local(Scheme::Ws, 1));
        Target::new(route, auth, stored)
    }

    #[test]
    fn a_stored_token_is_sent_only_in_place_of_shared_secrets() {
        let none = AuthParams::default();
        let token = AuthParams {
            token: secret("t"),
            ..none.clone()
        };
        let password = AuthParams {
            password: secret("p"),
            ..none.clone()
        };
        assert_eq!(target(none, secret("d")).auth().device_token, secret("d"));
        for auth in [token, password] {
            let target = target(auth, secret("d"));
            assert_eq!(target.auth().device_token, None);
            assert_eq!(target.auth_with_device_token().device_token, secret("d"));
        }
    }

    #[test]
    fn a_bootstrap_token_is_the_last_resort() {
        let auth = AuthParams {
            bootstrap_token: secret("b"),
            ..AuthParams::default()
        };
        assert_eq!(
            target(auth.clone(), None).auth().bootstrap_token,
            secret("b")
        );
        assert_eq!(target(auth, secret("d")).auth().bootstrap_token, None);
    }

    #[test]
    fn a_second_attempt_adds_the_stored_token_once() {
        let auth = AuthParams {
            token: secret("t"),
            ..AuthParams::default()
        };
        let details = serde_json::json!({ "code": "AUTH_TOKEN_MISMATCH" });
        let refused = Ending::Refused(RpcError::invalid_request("no").with_details(details));
        let second = target(auth.clone(), secret("d"))
            .second_attempt(&refused)
            .unwrap();
        assert_eq!(second.auth().token, secret("t"));
        assert_eq!(second.auth().device_token, secret("d"));
        assert!(second.second_attempt(&refused).is_none());
        assert!(
            target(auth.clone(), secret("d"))
                .without_stored()
                .second_attempt(&refused)
                .is_none()
        );
        // A gateway that could be anybody is not offered it.
        let remote = Endpoint::parse("wss://gw.example.com", UrlPolicy::Strict).unwrap();
        let remote = Target::new(Route::unpinned(remote), auth.clone(), secret("d"));
        assert!(remote.second_attempt(&refused).is_none());
        // A stored token that is refused beside the shared secret is worth nothing either.
        let details = serde_json::json!({ "code": "AUTH_DEVICE_TOKEN_MISMATCH" });
        let spoilt = Ending::Refused(RpcError::invalid_request("no").with_details(details));
        assert!(second.is_stored_token_spoilt(&spoilt));
        assert!(!target(auth.clone(), secret("d")).is_stored_token_spoilt(&spoilt));
        assert!(target(auth, None).second_attempt(&refused).is_none());
    }

    #[test]
    fn only_a_close_without_a_word_is_tried_again_as_it_was() {
        let closed = |code, reason: &str| Ending::Closed {
            code,
            reason: CloseReason::new(reason),
        };
        let target = target(AuthParams::default(), None);
        for (ending, again) in [
            (closed(Some(1000), ""), true),
            (closed(Some(1000), "bye"), false),
            (closed(Some(1008), ""), false),
            (closed(None, ""), false),
            (Ending::Lost, false),
        ] {
            assert_eq!(target.second_attempt(&ending).is_some(), again, "{ending}");
        }
    }

    #[test]
    fn a_pin_needs_tls_and_gives_trust() {
        let endpoint = |url| Endpoint::parse(url, UrlPolicy::Strict).unwrap();
        let pinned = TlsTrust::Pinned(TlsFingerprint::from([7; 32]).into());
        let remote = endpoint("wss://gw.example.com");
        assert!(!Route::unpinned(remote.clone()).is_trusted());
        assert!(
            !Route::new(remote.clone(), TlsTrust::FirstUse)
                .unwrap()
                .is_trusted()
        );
        assert!(Route::new(remote, pinned.clone()).unwrap().is_trusted());
        let local = endpoint("ws://127.0.0.1:1");
        assert!(Route::unpinned(local.clone()).is_trusted());
        for trust in [pinned, TlsTrust::FirstUse] {
            assert_eq!(Route::new(local.clone(), trust), Err(NeedsTls::Pin));
        }
    }

    #[test]
    fn headers_for_a_proxy_need_tls() {
        let endpoint = |url| Endpoint::parse(url, UrlPolicy::Strict).unwrap();
        let headers = EdgeHeaders::new(vec![("X-Key".into(), Secret::new("hunter2"))]).unwrap();
        let plain = Route::unpinned(endpoint("ws://127.0.0.1:1"));
        assert_eq!(
            plain.clone().with_headers(headers.clone()),
            Err(NeedsTls::EdgeHeaders)
        );
        assert!(plain.with_headers(EdgeHeaders::none()).is_ok());
        let route = Route::unpinned(endpoint("wss://gw.example.com"))
            .with_headers(headers)
            .unwrap();
        assert!(!format!("{route:?}").contains("hunter2"));
        assert!(Target::new(route, AuthParams::default(), None).has_credentials());
    }

    #[test]
    fn first_use_is_the_only_rule_that_learns_a_pin() {
        let endpoint = || Endpoint::parse("wss://gw.example.com", UrlPolicy::Strict).unwrap();
        let pins = |byte| TlsPins::from(TlsFingerprint::from([byte; 32]));
        for (trust, after) in [
            (TlsTrust::FirstUse, TlsTrust::Pinned(pins(1))),
            (TlsTrust::Authorities, TlsTrust::Authorities),
            (TlsTrust::Pinned(pins(2)), TlsTrust::Pinned(pins(2))),
        ] {
            let route = Route::new(endpoint(), trust).unwrap();
            let target = Target::new(route, AuthParams::default(), None);
            let learnt = target.pinned_by_first_use(pins(1));
            assert_eq!(learnt.route().trust(), &after);
        }
    }
}
