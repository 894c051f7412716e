//! Who may connect where, and who is let in: hosts, URLs, origins, proxies, limits, server auth.
//!
//! Every rule here is a pure function of its arguments (spec hostpolicy). No name is ever resolved:
//! a verdict depends on what is written, never on what a resolver answers.

pub mod endpoint;
pub mod host_class;
pub mod refusal;

pub use endpoint::{Endpoint, EndpointWarning, Host, Scheme, UrlPolicy};
pub use host_class::HostClass;
pub use refusal::{InvalidUrl, Refusal, UrlCheck};
