//! Looking at a gateway's certificate before anything is sent.

use clawgate_core::{client::Route, policy::TlsFingerprint};

use crate::{budget::Budget, connection::Options, dial::look, error::ConnectError, waiter::Waiter};

/// Makes a TLS handshake as the route judges it, and closes. What it gives is to be stored, and the
/// connection that sends something is to be pinned to it:
/// [`Target::pinned_by_first_use`](clawgate_core::client::Target::pinned_by_first_use). `None`
/// without TLS.
///
/// ```no_run
/// use clawgate_core::{
///     client::{Route, Target},
///     policy::{Endpoint, TlsTrust, UrlPolicy},
///     protocol::AuthParams,
/// };
/// use clawgate_std::{Options, look_at_certificate};
///
/// let endpoint = Endpoint::parse("wss://gw.example.com", UrlPolicy::Strict)?;
/// let route = Route::new(endpoint, TlsTrust::FirstUse)?;
/// let mut target = Target::new(route, AuthParams::default(), None);
/// if let Some(seen) = look_at_certificate(target.route(), &Options::default())? {
///     target = target.pinned_by_first_use(seen.into());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When there is no connection, or the certificate is not accepted.
pub fn look_at_certificate(
    route: &Route,
    options: &Options,
) -> Result<Option<TlsFingerprint>, Box<ConnectError>> {
    let mut waiter = Waiter::new().map_err(|error| ConnectError::of_system(route, &error))?;
    let budget = Budget::new(options.total, &options.cancel);
    look(route, &mut waiter, &budget)
}
