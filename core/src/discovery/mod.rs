//! Finding gateways on the local network by mDNS and DNS-SD (spec hostpolicy §9).
//!
//! A gateway tells its network where it is ([`decide`], [`Beacon`]), and clients listen
//! ([`Discovered`]). Nobody vouches for what is heard there: whoever is on the network can say
//! anything. So a route comes from the service record and its addresses, never from TXT keys, and
//! every TXT key is a [`Hints`] value: shown to people, never used as a pin or to find a credential.
//!
//! ```
//! use clawgate_core::discovery::{Discovered, Resolved, Sighting};
//!
//! let mut found = Discovered::default();
//! found.see(Sighting::Resolved(Resolved {
//!     fullname: r"attic\032\(OpenClaw\)._openclaw-gw._tcp.local.".into(),
//!     host: "attic.local.".into(),
//!     port: 18789,
//!     addresses: vec![[192, 168, 1, 7].into()],
//!     txt: vec![("lanHost".into(), b"evil.example.com".to_vec())],
//! }));
//! let gateway = &found.gateways()[0];
//! assert_eq!(gateway.instance, "attic (OpenClaw)");
//! assert_eq!(gateway.urls(), ["ws://192.168.1.7:18789"]);
//! ```

mod beacon;
mod found;
mod hints;
mod text;

pub use beacon::{Beacon, MdnsMode, Network, Situation, Withheld, decide};
pub use found::{Discovered, Found, Ignored, MAX_GATEWAYS, Resolved, Sighting};
pub use hints::Hints;

/// The service type in the local domain.
pub const SERVICE: &str = "_openclaw-gw._tcp.local.";
