//! Who may connect where, and who is let in: hosts, URLs, origins, proxies, limits, server auth.
//!
//! Every rule here is a pure function of its arguments (spec hostpolicy). No name is ever resolved:
//! a verdict depends on what is written, never on what a resolver answers.

pub mod audit;
pub mod auth_outcome;
pub mod authorize;
pub mod bind;
pub mod edge_auth;
pub mod endpoint;
pub mod fingerprint;
pub mod guesser;
pub mod host_class;
pub mod host_header;
pub mod http_base;
pub mod ingress;
pub mod origin;
pub mod owner_socket;
pub mod passed_sockets;
pub mod pin_book;
pub mod port;
pub mod proxy;
pub mod rate_limit;
pub mod redirect;
pub mod refusal;
pub mod secret_words;
pub mod server_auth;
pub mod ssh_target;
pub mod startup;
pub mod startup_auth;
mod system_program;
pub mod tls_files;
pub mod tls_identity;
pub mod tls_trust;

pub use auth_outcome::{AuthReason, Granted};
pub use authorize::{
    AuthRequest, AuthRule, LocalAddresses, LoopbackProxy, Surface, TailscaleLogin,
    TrustedProxyRule, Whois, authorize, presented_secret, settle, whois_wanted,
};
pub use edge_auth::{EdgeAuthProblem, EdgeHeaders, check_edge_headers};
pub use endpoint::{Endpoint, EndpointWarning, Host, Scheme, Target, UrlPolicy};
pub use fingerprint::{InvalidFingerprint, TlsFingerprint};
pub use guesser::Guesser;
pub use host_class::HostClass;
pub use http_base::check_http_base;
pub use ingress::{ClientKind, Ingress, Listener, PairingLocality, SharedSecretProof};
pub use origin::{ClientLocality, HostHeaderFallback, OriginMatch, OriginPolicy, OriginRefusal};
pub use owner_socket::{SocketFacts, SocketFault, check_owner_socket};
pub use passed_sockets::{PassedBy, PassedRefusal, PassedSocket, PassedVerdict, judge_passed};
pub use pin_book::{
    InvalidPinPlace, MAX_PIN_BOOK, PinBook, PinBookError, PinPlace, Remembered, StoredPin,
};
pub use proxy::{RealIpFallback, RequestHeaders, TrustedProxies};
pub use rate_limit::{
    LimitScope, LimitSubject, LoopbackRule, RateLimitConfig, RateLimiter, RateVerdict,
};
pub use redirect::redirect_host;
pub use refusal::{InvalidUrl, Refusal, UrlCheck};
pub use secret_words::{NotASecret, SecretKind, check_secret};
pub use ssh_target::{InvalidSshTarget, SshTarget};
pub use system_program::{Untrusted, check_program};
pub use tls_files::{Presence, TlsFileMissing, TlsFiles, TlsStart, tls_start};
pub use tls_identity::{
    BadPem, MAX_PEM, PemProblem, TlsIdentity, TlsPart, TlsTexts, fingerprint_of_pem,
};
pub use tls_trust::{TlsPins, TlsTrust};
