//! A bridge that somebody wrote, and a gateway as a real process between it and an agent: what the
//! README tells people who write bridges, tried out.
#![allow(
    clippy::indexing_slicing,
    reason = "only JSON values are indexed, and they give null for a member they do not have"
)]

mod body;
mod bridge;
mod crash;
mod flow;
mod locks;
mod readme;
