//! Devices, their tokens and join tokens, with the built gateway, the built command line and the
//! published client as real processes.

mod command_line;
mod invites;
mod pairing;
mod support;
mod tokens;
