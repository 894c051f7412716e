//! The smol server over real sockets, in this process: what it does to clients that are slow, rude,
//! many or gone, and how it ends.

mod crowd;
mod frames;
mod http;
mod raw;
mod server;
mod shutdown;
mod slow;
mod tls;
mod tls_files;
