//! The service on a loopback port: threads that read requests, ask the state, and write answers.
//!
//! | file | rule |
//! | --- | --- |
//! | `request`, `multipart` | what a request says |
//! | `connection` | one connection: calls one after another, and what faults do to them |
//! | `write` | answers on the wire, whole or not |
//! | `server` | the port, its connections, their end |

mod connection;
mod multipart;
mod request;
mod server;
mod write;

pub(crate) use server::Server;
