//! Every way into the gateway, over real sockets: who is let in, and who is not. Addresses of
//! 127.0.0.0/8 stand for different machines.
#![expect(
    clippy::indexing_slicing,
    reason = "only JSON values are indexed, and they give null for a member they do not have"
)]

mod caller;
mod gateway;
mod http_auth;
mod metrics;
mod pages;
mod proxies;
mod rates;
#[cfg(unix)]
mod tailscale;
