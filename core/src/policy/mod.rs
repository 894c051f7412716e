//! Who may connect where, and who is let in: hosts, URLs, origins, proxies, limits, server auth.
//!
//! Every rule here is a pure function of its arguments (spec hostpolicy). No name is ever resolved:
//! a verdict depends on what is written, never on what a resolver answers.

pub mod endpoint;
pub mod fingerprint;
pub mod host_class;
pub mod origin;
pub mod proxy;
pub mod refusal;
pub mod ssh_target;

pub use endpoint::{Endpoint, EndpointWarning, Host, Scheme, UrlPolicy};
pub use fingerprint::{InvalidFingerprint, TlsFingerprint};
pub use host_class::HostClass;
pub use origin::{ClientLocality, HostHeaderFallback, OriginMatch, OriginPolicy, OriginRefusal};
pub use proxy::{RealIpFallback, RequestHeaders, TrustedProxies};
pub use refusal::{InvalidUrl, Refusal, UrlCheck};
pub use ssh_target::{InvalidSshTarget, SshTarget};
