//! From an endpoint to a stream that a request may be written to: DNS, TCP, TLS, in one budget.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use clawgate_core::policy::Endpoint;
use futures_lite::{AsyncRead, AsyncWrite, FutureExt};
use futures_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, crypto, pki_types::ServerName},
};
use rustls_platform_verifier::Verifier;
use smol::net::TcpStream;

/// How certificates are judged.
#[derive(Clone)]
pub(super) struct Trust(Result<Arc<ClientConfig>, String>);

impl Trust {
    /// By the platform's verifier.
    pub(super) fn platform() -> Self {
        Self(platform_config().map(Arc::new))
    }

    pub(super) const fn given(config: Arc<ClientConfig>) -> Self {
        Self(Ok(config))
    }
}

fn platform_config() -> Result<ClientConfig, String> {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    // Its constructor fails only where the system has no authorities.
    let verifier = Verifier::new(provider).map_err(|_| {
        "this system has no certificate authorities; install its ca-certificates".to_owned()
    })?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// A stream to the other side.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects, in `budget`.
///
/// # Errors
/// In words for people.
pub(super) async fn dial(
    endpoint: &Endpoint,
    trust: &Trust,
    budget: Duration,
) -> Result<Stream, String> {
    let host = endpoint.host_header();
    let late = async {
        smol::Timer::after(budget).await;
        Err(format!(
            "{host} could not be reached within {} s",
            budget.as_secs_f32()
        ))
    };
    connect(endpoint, trust, budget).or(late).await
}

async fn connect(endpoint: &Endpoint, trust: &Trust, budget: Duration) -> Result<Stream, String> {
    let until = Instant::now() + budget;
    let tcp = tcp(endpoint, until).await?;
    if !endpoint.is_tls() {
        return Ok(Stream::Plain(tcp));
    }
    let config = trust.0.clone()?;
    let host = endpoint.host_header();
    let name = ServerName::try_from(endpoint.server_name().into_owned())
        .map_err(|_| format!("{host} is no name that a certificate can have"))?;
    let tls = TlsConnector::from(config)
        .connect(name, tcp)
        .await
        .map_err(|error| format!("no TLS with {host}: {}", plain(&error)))?;
    Ok(Stream::Tls(Box::new(tls)))
}

/// Tries each address with its share of the time that is left.
async fn tcp(endpoint: &Endpoint, until: Instant) -> Result<TcpStream, String> {
    let host = endpoint.host_header();
    let addrs = resolve(endpoint).await?;
    let mut why = "its name has no address".to_owned();
    for (index, addr) in addrs.iter().enumerate() {
        let left = u32::try_from(addrs.len() - index).unwrap_or(u32::MAX);
        let share = until.saturating_duration_since(Instant::now()) / left;
        let late = async {
            smol::Timer::after(share).await;
            Err(io::ErrorKind::TimedOut.into())
        };
        match TcpStream::connect(*addr).or(late).await {
            Ok(stream) => {
                // Requests are small and are waited for.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => why = plain(&error),
        }
    }
    Err(format!("{host} could not be reached: {why}"))
}

async fn resolve(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, String> {
    let port = endpoint.port();
    if let Some(ip) = endpoint.host().ip() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let name = endpoint.server_name().into_owned();
    let host = endpoint.host_header();
    smol::unblock(move || (name, port).to_socket_addrs())
        .await
        .map(Iterator::collect)
        .map_err(|error| format!("{host} was not found: {}", plain(&error)))
}

/// An error without the number that the system gives it.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_close(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_close(cx),
        }
    }
}
