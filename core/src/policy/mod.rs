//! Who may connect where, and who is let in: hosts, URLs, origins, proxies, limits, server auth.
pub mod port;
