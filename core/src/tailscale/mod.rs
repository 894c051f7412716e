//! The `tailscale` program of this machine: where it may lie, what it is asked, and what its answers
//! mean (spec hostpolicy §5). The host runs it; it is never looked up in `PATH`.

mod program;
mod route;
mod whois;

pub use program::{FOLDERS, PROGRAM};
pub use route::{BadStatus, Publication, Route, RouteTaken, STATUS_ARGS, ServeStatus};
pub use whois::{MAX_OUTPUT, whois_args};
