//! From a route to an open WebSocket: DNS, TCP, TLS with the pin, upgrade. One budget covers all of
//! it, and the first thing that is sent under TLS is sent after the certificate was checked.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use clawgate_core::{
    client::Route,
    policy::{TlsFingerprint, redirect_host},
};
use mio::net::TcpStream;
use rustls::StreamOwned;
use tungstenite::{
    ClientHandshake, Error as WsError, HandshakeError,
    client::IntoClientRequest,
    handshake::{MidHandshake, client::Request},
    http::{HeaderName, HeaderValue, header::LOCATION},
};

use crate::{
    budget::{Budget, Interrupt},
    error::{ConnectError, Problem},
    owner,
    resolve::{resolve, system},
    socket::{Socket, Stream, websocket_config},
    timings::{Stage, Timings},
    tls,
    tunnel::{self, Way},
    waiter::Waiter,
};

/// Time for dialling where the caller set no deadline.
const DEFAULT_DIAL: Duration = Duration::from_secs(15);
/// Bytes that are kept of the body of a refused upgrade (spec protocol §1).
const MAX_REFUSAL_BODY: usize = 2048;

/// Bytes that are read of the head of a page.
const MAX_PAGE_HEAD: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) socket: Socket,
    pub(crate) timings: Timings,
    /// The certificate that was shown and accepted.
    pub(crate) certificate: Option<TlsFingerprint>,
}

/// Opens a WebSocket. Whoever waits on `waiter` hears of it.
pub(crate) fn dial(
    route: &Route,
    waiter: &mut Waiter,
    budget: &Budget,
) -> Result<Dialled, Box<ConnectError>> {
    let mut dialler = Dialler::new(route, waiter, budget);
    match dialler.run() {
        Ok(socket) => Ok(Dialled {
            socket,
            timings: dialler.timings,
            certificate: dialler.certificate,
        }),
        Err(problem) => Err(dialler.fail(problem)),
    }
}

/// Looks at the certificate of a gateway, if the route accepts it. Nothing is sent but the TLS
/// handshake. `None` without TLS.
pub(crate) fn look(
    route: &Route,
    waiter: &mut Waiter,
    budget: &Budget,
) -> Result<Option<TlsFingerprint>, Box<ConnectError>> {
    let mut dialler = Dialler::new(route, waiter, budget);
    match dialler.secure() {
        Ok(_) => Ok(dialler.certificate),
        Err(problem) => Err(dialler.fail(problem)),
    }
}

/// Asks for a page over HTTP, as far as its head. Nothing is presented but the headers for a proxy.
pub(crate) fn page(
    route: &Route,
    path: &str,
    waiter: &mut Waiter,
    budget: &Budget,
) -> Result<Vec<u8>, Box<ConnectError>> {
    let mut dialler = Dialler::new(route, waiter, budget);
    match dialler.page(path) {
        Ok(head) => Ok(head),
        Err(problem) => Err(dialler.fail(problem)),
    }
}

/// Opens a WebSocket over the socket of the gateway's owner. The route is only a name.
pub(crate) fn dial_owner(
    path: &Path,
    route: &Route,
    waiter: &mut Waiter,
    budget: &Budget,
) -> Result<Dialled, Box<ConnectError>> {
    let mut dialler = Dialler::new(route, waiter, budget);
    match dialler.run_owner(path) {
        Ok(socket) => Ok(Dialled {
            socket,
            timings: dialler.timings,
            certificate: None,
        }),
        Err(problem) => Err(dialler.fail(problem)),
    }
}

struct Dialler<'a> {
    route: &'a Route,
    waiter: &'a mut Waiter,
    budget: Budget,
    timings: Timings,
    stage: Stage,
    certificate: Option<TlsFingerprint>,
    /// The tunnel through which it goes.
    way: Option<Way>,
}

impl From<Interrupt> for Problem {
    fn from(interrupt: Interrupt) -> Self {
        match interrupt {
            Interrupt::Cancelled => Self::Cancelled,
            Interrupt::Deadline => Self::Deadline,
        }
    }
}

impl<'a> Dialler<'a> {
    fn new(route: &'a Route, waiter: &'a mut Waiter, budget: &Budget) -> Self {
        let dialler = Self {
            route,
            waiter,
            budget: match budget.deadline {
                Some(_) => budget.clone(),
                None => budget.at_most(DEFAULT_DIAL),
            },
            timings: Timings::default(),
            stage: Stage::Dns,
            certificate: None,
            way: None,
        };
        dialler.budget.cancel.attach(dialler.waiter.waker());
        dialler
    }

    fn fail(self, problem: Problem) -> Box<ConnectError> {
        // A tunnel accepts every connection, and ends those that lead nowhere. `ssh` says why.
        let is_vague = matches!(
            problem,
            Problem::Lost(_) | Problem::NotTls | Problem::NotWebSocket(_) | Problem::Tls(_)
        );
        let better = self
            .way
            .as_ref()
            .filter(|_| is_vague)
            .and_then(Way::explain);
        let problem = better.unwrap_or(problem);
        Box::new(ConnectError::new(
            self.route,
            self.stage,
            problem,
            self.timings,
        ))
    }

    fn run(&mut self) -> Result<Socket, Problem> {
        let stream = self.secure()?;
        self.stage = Stage::Upgrade;
        let start = Instant::now();
        let mut socket = self.upgrade(stream)?;
        self.timings.record(Stage::Upgrade, start);
        if let Some(way) = self.way.take() {
            socket.keep_open(way);
        }
        Ok(socket)
    }

    fn run_owner(&mut self, path: &Path) -> Result<Socket, Problem> {
        self.stage = Stage::Socket;
        let start = Instant::now();
        let mut stream = owner::connect(path)?;
        self.waiter
            .add(stream.source())
            .map_err(|error| Problem::System(error.to_string()))?;
        self.timings.record(Stage::Socket, start);
        self.stage = Stage::Upgrade;
        let start = Instant::now();
        let socket = self.upgrade(stream)?;
        self.timings.record(Stage::Upgrade, start);
        Ok(socket)
    }

    /// Up to the point where something may be sent.
    fn secure(&mut self) -> Result<Stream, Problem> {
        let endpoint = self.route.endpoint();
        let addrs = self.addresses()?;
        self.stage = Stage::Tcp;
        let start = Instant::now();
        let tcp = self.tcp(&addrs)?;
        // Before a single byte is sent.
        if let Some(way) = &self.way {
            way.prove()?;
        }
        self.timings.record(Stage::Tcp, start);

        if !endpoint.is_tls() {
            return Ok(Stream::Plain(tcp));
        }
        self.stage = Stage::Tls;
        let start = Instant::now();
        let stream = self.tls(tcp)?;
        self.timings.record(Stage::Tls, start);
        Ok(stream)
    }

    /// The addresses of the host, or the end of the tunnel on this machine, wherever that really is.
    fn addresses(&mut self) -> Result<Vec<SocketAddr>, Problem> {
        let endpoint = self.route.endpoint();
        let start = Instant::now();
        if let Some(through) = endpoint.tunnel() {
            self.stage = Stage::Tunnel;
            let way = self.way.insert(tunnel::open(through, &self.budget)?);
            self.timings.record(Stage::Tunnel, start);
            return Ok(vec![(Ipv4Addr::LOCALHOST, way.port).into()]);
        }
        let addrs = resolve(endpoint, system, self.waiter, &self.budget)??;
        if endpoint.host().ip().is_none() {
            self.timings.record(Stage::Dns, start);
        }
        Ok(addrs)
    }

    /// Tries each address with its share of the time that is left.
    fn tcp(&mut self, addrs: &[SocketAddr]) -> Result<TcpStream, Problem> {
        let mut failures = Vec::new();
        for (index, addr) in addrs.iter().enumerate() {
            let left = u32::try_from(addrs.len() - index).unwrap_or(u32::MAX);
            let share = self.budget.remaining().unwrap_or(DEFAULT_DIAL) / left;
            let budget = self.budget.at_most(share);
            match self.tcp_one(*addr, &budget) {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failures.push((*addr, plain(&error))),
                Err(Interrupt::Cancelled) => return Err(Problem::Cancelled),
                Err(Interrupt::Deadline) => {
                    // Of one address, this is the deadline; of several, only a share of it.
                    if self.budget.check().is_err() || addrs.len() == 1 {
                        return Err(Problem::Deadline);
                    }
                    failures.push((*addr, "no answer".into()));
                }
            }
        }
        Err(Problem::Tcp(failures))
    }

    fn tcp_one(
        &mut self,
        addr: SocketAddr,
        budget: &Budget,
    ) -> Result<io::Result<TcpStream>, Interrupt> {
        let mut stream = match TcpStream::connect(addr) {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error)),
        };
        if let Err(error) = self.waiter.add(&mut stream) {
            return Ok(Err(error));
        }
        loop {
            if let Err(error) = self.waiter.wait_within(budget)? {
                return Ok(Err(error));
            }
            match stream.take_error() {
                Ok(None) => {}
                Ok(Some(error)) | Err(error) => return Ok(Err(error)),
            }
            match stream.peer_addr() {
                Ok(_) => return Ok(stream.set_nodelay(true).map(|()| stream)),
                // A wake-up that was not the socket's.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    fn tls(&mut self, mut tcp: TcpStream) -> Result<Stream, Problem> {
        let (mut session, seen) = tls::session(self.route)?;
        while session.is_handshaking() {
            match session.complete_io(&mut tcp) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                Err(error) => return Err(tls::problem(&error, self.route, &seen)),
            }
        }
        self.certificate = tls::certificate(&session);
        Ok(Stream::Tls(Box::new(StreamOwned::new(session, tcp))))
    }

    fn upgrade(&mut self, stream: Stream) -> Result<Socket, Problem> {
        let request = request(self.route)?;
        let config = Some(websocket_config());
        let mut progress = tungstenite::client::client_with_config(request, stream, config);
        loop {
            let waiting: MidHandshake<ClientHandshake<Stream>> = match progress {
                Ok((websocket, _)) => return Ok(Socket::new(websocket)),
                Err(HandshakeError::Failure(error)) => return Err(refused(error, self.route)),
                Err(HandshakeError::Interrupted(waiting)) => waiting,
            };
            self.wait()?;
            progress = waiting.handshake();
        }
    }

    fn page(&mut self, path: &str) -> Result<Vec<u8>, Problem> {
        let mut stream = self.secure()?;
        self.stage = Stage::Upgrade;
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: text/html\r\nConnection: close\r\n",
            self.route.endpoint().host_header()
        );
        for (name, value) in self.route.headers().iter() {
            request.push_str(&format!("{name}: {}\r\n", value.expose()));
        }
        request.push_str("\r\n");
        let mut rest = request.as_bytes();
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                Err(error) => return Err(Problem::Lost(plain(&error))),
            }
        }
        while let Err(error) = stream.flush() {
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(Problem::Lost(plain(&error)));
            }
            self.wait()?;
        }
        let mut head = Vec::new();
        let mut piece = [0; 2048];
        while head.len() < MAX_PAGE_HEAD && !head.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => head.extend(piece.iter().take(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(Problem::Lost(plain(&error))),
            }
        }
        Ok(head)
    }

    fn wait(&mut self) -> Result<(), Problem> {
        self.waiter
            .wait_within(&self.budget)?
            .map_err(|error| Problem::System(error.to_string()))
    }
}

/// The upgrade, with the headers for a proxy in front of the gateway.
fn request(route: &Route) -> Result<Request, Problem> {
    let mut request = route
        .endpoint()
        .dial_url()
        .into_client_request()
        .map_err(|error| Problem::System(error.to_string()))?;
    for (name, value) in route.headers().iter() {
        // They were checked, so this cannot fail; the error would not show the value.
        let unfit = || Problem::System(format!("the header {name} cannot be sent"));
        let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit())?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| unfit())?;
        value.set_sensitive(true);
        request.headers_mut().insert(field, value);
    }
    Ok(request)
}

fn refused(error: WsError, route: &Route) -> Problem {
    #[allow(clippy::wildcard_enum_match_arm, reason = "the enum is open")]
    match error {
        WsError::Http(response) if response.status().is_redirection() => {
            let location = response.headers().get(LOCATION);
            Problem::Redirected {
                status: response.status().as_u16(),
                host: location
                    .and_then(|location| location.to_str().ok())
                    .and_then(|location| redirect_host(route.endpoint(), location)),
            }
        }
        WsError::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body = body.get(..MAX_REFUSAL_BODY).unwrap_or(body);
            Problem::Upgrade {
                status: response.status().as_u16(),
                body: String::from_utf8_lossy(body).into_owned(),
            }
        }
        WsError::Io(error) => Problem::Lost(plain(&error)),
        other => Problem::NotWebSocket(other.to_string()),
    }
}

/// An error without the number that the system gives it.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}
