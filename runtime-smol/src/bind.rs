//! Listening sockets.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel keeps until they are accepted, as far as the system allows.
const BACKLOG: i32 = 4_096;

/// Opens a listening socket. Port 0 takes a free one.
///
/// # Errors
/// When the address is taken, is not this machine's, or needs rights that the process lacks.
pub fn listen(ip: IpAddr, port: u16) -> io::Result<TcpListener> {
    let address = SocketAddr::new(ip, port);
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if ip.is_ipv6() {
        // `::` must not take IPv4 along: the IPv4 sockets are opened on their own.
        socket.set_only_v6(true)?;
    }
    // A restart may listen again while connections of the last run are still in TIME_WAIT.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
