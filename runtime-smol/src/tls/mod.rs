//! TLS on the gateway's own port: TLS 1.3 alone, with a certificate that is read from files and taken
//! up again when they change (spec hostpolicy §6).

mod accept;
mod load;
mod make;
mod port;
mod validity;

pub use load::TlsLoadError;
pub use make::{MadeCertificate, make_certificate};
pub use port::{Refreshed, TlsPort};
pub use validity::ValidityWarning;

pub(crate) use accept::serve;
