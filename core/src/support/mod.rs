//! What may leave a machine when its owner asks strangers for help.
//!
//! Three rules, each for itself: [`outline`] leaves of a config only what clawgate knows and nobody's
//! secret is, [`Paste`] shortens what names people and places, and [`Search`] looks for every secret that
//! is known, in whatever writing. What the last one finds must not be handed over.
//!
//! ```
//! use clawgate_core::secret::Secret;
//! use clawgate_core::support::{Paste, Search};
//!
//! let mut paste = Paste::default();
//! paste.home("/home/ada");
//! paste.host("gw.example.com");
//! assert_eq!(
//!     paste.text("/home/ada/x at wss://gw.example.com:443 and 192.168.1.20:18789"),
//!     "~/x at wss://g….e….com:443 and 192.168.x.x:18789",
//! );
//!
//! let mut search = Search::default();
//! search.add("gateway.auth.token", &Secret::new("a-token-of-the-docs"));
//! assert_eq!(search.find(b"YS10b2tlbi1vZi10aGUtZG9jcw==").as_deref(), Some("gateway.auth.token"));
//! ```

mod outline;
mod paste;
mod search;

pub use outline::outline;
pub use paste::Paste;
pub use search::{MIN_SECRET, Search};
