//! Clients that cost little: one thread, one poll, requests that are masked beforehand.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, event::Event, net::TcpStream};
use serde_json::Value;

use crate::{
    Outcome, protocol,
    wire::{self, Incoming},
};

/// How long anything may take before a measurement is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who looks at what comes in.
pub(crate) trait Watch {
    /// A message for a client.
    fn message(&mut self, client: usize, message: Incoming<'_>);

    /// The client has read what was there. What is given back is sent.
    fn read(&mut self, client: usize) -> &[u8];
}

/// Nothing is expected.
pub(crate) struct Unwatched;

impl Watch for Unwatched {
    fn message(&mut self, _client: usize, _message: Incoming<'_>) {}

    fn read(&mut self, _client: usize) -> &[u8] {
        &[]
    }
}

/// Clients of one server.
pub(crate) struct Fleet {
    poll: Poll,
    events: Events,
    scratch: Box<[u8]>,
    clients: Vec<Client>,
    entry: Entry,
}

/// What a client says first, by its number and the server's challenge, as far as that has come. One
/// that says nothing waits for the challenge.
pub(crate) type Greeting = Box<dyn Fn(usize, Option<&[u8]>) -> Option<String>>;

/// How clients come in.
struct Entry {
    upgrade: Vec<u8>,
    greeting: Greeting,
    /// From dialling to `hello-ok`, or to the echo of `connect`.
    times: Vec<Duration>,
    refused: usize,
}

struct Client {
    stream: TcpStream,
    stage: Stage,
    started: Instant,
    /// A part of a frame, or of the head of the answer to the upgrade.
    unparsed: Vec<u8>,
    /// What the socket did not take.
    unsent: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Dialling,
    Upgrading,
    Challenge,
    Hello,
    Ready,
    Refused,
}

impl Fleet {
    /// Opens `count` connections, with at most `at_once` of them on their way in at a time.
    pub(crate) fn open(server: SocketAddr, count: usize, at_once: usize) -> Outcome<Self> {
        let greeting = Box::new(|_, _: Option<&[u8]>| Some(protocol::connect(&[])));
        Self::open_as(server, count, at_once, greeting)
    }

    /// As [`Fleet::open`], with words of their own for each client.
    pub(crate) fn open_as(
        server: SocketAddr,
        count: usize,
        at_once: usize,
        greeting: Greeting,
    ) -> Outcome<Self> {
        let mut fleet = Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1_024),
            scratch: vec![0; 64 * 1024].into(),
            clients: Vec::with_capacity(count),
            entry: Entry {
                upgrade: wire::upgrade(&server.to_string()),
                greeting,
                times: Vec::with_capacity(count),
                refused: 0,
            },
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let settled = fleet.entry.times.len() + fleet.entry.refused;
            if settled == count {
                return Ok(fleet);
            }
            while fleet.clients.len() < count.min(settled + at_once) {
                fleet.dial(server)?;
            }
            fleet.turn(deadline, &mut Unwatched)?;
            if Instant::now() >= deadline {
                return Err(format!("only {settled} of {count} connections came in").into());
            }
        }
    }

    /// Connections that were asked for.
    pub(crate) fn size(&self) -> usize {
        self.clients.len()
    }

    /// From dialling to the answer to `connect`, for each client that got in.
    pub(crate) fn entry_times(&self) -> &[Duration] {
        &self.entry.times
    }

    /// Clients that did not get in.
    pub(crate) fn refused(&self) -> usize {
        self.entry.refused
    }

    /// Sends the same bytes from every client.
    pub(crate) fn send_from_all(&mut self, bytes: &[u8]) -> Outcome {
        (0..self.clients.len()).try_for_each(|client| self.send(client, bytes))
    }

    pub(crate) fn send(&mut self, client: usize, bytes: &[u8]) -> Outcome {
        match self.clients.get_mut(client) {
            Some(client) if client.stage == Stage::Ready => Ok(client.send(bytes)?),
            Some(_) | None => Err("this client is not connected".into()),
        }
    }

    /// Calls once from one client, and gives the payload of the answer.
    pub(crate) fn ask(&mut self, client: usize, call: &str) -> Outcome<Value> {
        struct Catch(usize, Option<Vec<u8>>);
        impl Watch for Catch {
            fn message(&mut self, client: usize, message: Incoming<'_>) {
                if let (true, Incoming::Answer(text)) = (client == self.0, message) {
                    self.1 = Some(text.to_vec());
                }
            }

            fn read(&mut self, _client: usize) -> &[u8] {
                &[]
            }
        }
        self.send(client, &wire::text(call))?;
        let mut catch = Catch(client, None);
        self.watch(&mut catch, |catch| catch.1.is_some())?;
        let mut answer: Value = serde_json::from_slice(&catch.1.unwrap_or_default())?;
        match answer.get_mut("payload") {
            Some(payload) => Ok(payload.take()),
            None => Err(format!("refused: {call}: {answer}").into()),
        }
    }

    /// Turns until `done` says so.
    pub(crate) fn watch<W: Watch>(
        &mut self,
        watch: &mut W,
        mut done: impl FnMut(&mut W) -> bool,
    ) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        while !done(watch) {
            if Instant::now() >= deadline {
                return Err("the server did not answer in time".into());
            }
            self.turn(deadline, watch)?;
        }
        Ok(())
    }

    /// Waits until something comes or `until` is reached, and takes what came.
    pub(crate) fn turn(&mut self, until: Instant, watch: &mut impl Watch) -> Outcome {
        let wait = until.saturating_duration_since(Instant::now());
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            let index = event.token().0;
            let Some(client) = self.clients.get_mut(index) else {
                continue;
            };
            match client.stage {
                Stage::Refused => {}
                Stage::Ready => client.go_on(index, event, &mut self.scratch, watch)?,
                Stage::Dialling | Stage::Upgrading | Stage::Challenge | Stage::Hello => {
                    let entered = client.enter(index, &mut self.entry, &mut self.scratch);
                    if entered.is_err() {
                        client.stage = Stage::Refused;
                        self.entry.refused += 1;
                    }
                }
            }
        }
        Ok(())
    }

    fn dial(&mut self, server: SocketAddr) -> Outcome {
        let mut stream = TcpStream::connect(server)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(self.clients.len()), interest)?;
        self.clients.push(Client {
            stream,
            stage: Stage::Dialling,
            started: Instant::now(),
            unparsed: Vec::new(),
            unsent: Vec::new(),
        });
        Ok(())
    }
}

impl Client {
    fn enter(&mut self, index: usize, entry: &mut Entry, scratch: &mut [u8]) -> io::Result<()> {
        if self.stage == Stage::Dialling {
            if let Some(error) = self.stream.take_error()? {
                return Err(error);
            }
            self.stream.set_nodelay(true)?;
            self.send(&entry.upgrade)?;
            self.stage = Stage::Upgrading;
        }
        self.flush()?;
        if self.stage == Stage::Upgrading {
            self.read_into_unparsed(scratch)?;
            let end = b"\r\n\r\n";
            let Some(at) = self.unparsed.windows(end.len()).position(|w| w == end) else {
                return Ok(());
            };
            if !self.unparsed.starts_with(b"HTTP/1.1 101 ") {
                return Err(ErrorKind::ConnectionRefused.into());
            }
            self.unparsed.drain(..at + end.len());
            self.stage = Stage::Challenge;
            self.greet(&entry.greeting, index, None)?;
        }
        let mut welcome = false;
        let mut challenge = None;
        self.receive(scratch, |message| match message {
            Incoming::Answer(_) => welcome = true,
            Incoming::Event(text) => challenge = Some(text.to_vec()),
            Incoming::Close | Incoming::Ping => {}
        })?;
        if self.stage == Stage::Challenge {
            self.greet(&entry.greeting, index, challenge.as_deref())?;
        }
        if welcome {
            self.stage = Stage::Ready;
            entry.times.push(self.started.elapsed());
        }
        Ok(())
    }

    fn greet(
        &mut self,
        greeting: &Greeting,
        index: usize,
        challenge: Option<&[u8]>,
    ) -> io::Result<()> {
        if let Some(words) = greeting(index, challenge) {
            self.send(&wire::text(&words))?;
            self.stage = Stage::Hello;
        }
        Ok(())
    }

    fn go_on(
        &mut self,
        index: usize,
        event: &Event,
        scratch: &mut [u8],
        watch: &mut impl Watch,
    ) -> io::Result<()> {
        if event.is_writable() {
            self.flush()?;
        }
        if event.is_readable() {
            self.receive(scratch, |message| watch.message(index, message))?;
            self.send(watch.read(index))?;
        }
        Ok(())
    }

    /// Reads all that is there.
    fn receive(&mut self, scratch: &mut [u8], mut on: impl FnMut(Incoming<'_>)) -> io::Result<()> {
        let mut closed = false;
        let mut pings = 0;
        let mut see = |bytes: &mut &[u8]| {
            while let Some(message) = wire::take(bytes) {
                match message {
                    Incoming::Close => closed = true,
                    Incoming::Ping => pings += 1,
                    Incoming::Answer(_) | Incoming::Event(_) => on(message),
                }
            }
        };
        loop {
            if !self.unparsed.is_empty() {
                let mut bytes = self.unparsed.as_slice();
                see(&mut bytes);
                let left = bytes.len();
                self.unparsed.drain(..self.unparsed.len() - left);
                if left == 0 {
                    self.unparsed = Vec::new();
                }
            }
            let Some(count) = read(&mut self.stream, scratch)? else {
                break;
            };
            let mut bytes = scratch.get(..count).unwrap_or_default();
            if self.unparsed.is_empty() {
                see(&mut bytes);
            }
            self.unparsed.extend_from_slice(bytes);
            // A socket that gave less than there was room for is empty.
            if count < scratch.len() && self.unparsed.len() == bytes.len() {
                break;
            }
        }
        for _ in 0..pings {
            self.send(&wire::pong())?;
        }
        if closed {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    fn read_into_unparsed(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        while let Some(count) = read(&mut self.stream, scratch)? {
            self.unparsed
                .extend_from_slice(scratch.get(..count).unwrap_or_default());
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return self.flush();
        }
        let count = write(&mut self.stream, bytes)?;
        self.unsent
            .extend_from_slice(bytes.get(count..).unwrap_or_default());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.unsent.is_empty() {
            let count = write(&mut self.stream, &self.unsent)?;
            self.unsent.drain(..count);
            if self.unsent.is_empty() {
                self.unsent = Vec::new();
            }
        }
        Ok(())
    }
}

/// Bytes read, or nothing when there is nothing yet.
fn read(stream: &mut TcpStream, room: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match stream.read(room) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Bytes that the socket took.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(left) = bytes.get(done..).filter(|left| !left.is_empty()) {
        match stream.write(left) {
            Ok(count) => done += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
