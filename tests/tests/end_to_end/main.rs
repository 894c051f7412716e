//! The built gateway, as other programs meet it on the wire.

mod advertised_methods;
mod events;
mod first_frames;
mod handshake;
mod lifecycle;
mod limits;
mod probes;
mod published_package;
mod requests;
mod rotation;
mod support;
