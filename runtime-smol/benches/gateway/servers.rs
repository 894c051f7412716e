//! The measured gateway and the bare servers that it is compared with. Each runs in a process of
//! its own, so that its memory and its CPU time are its own: this program starts itself again.

use std::{
    io::{self, BufRead, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Instant,
};

use async_tungstenite::{
    WebSocketSender, WebSocketStream, accept_async_with_config,
    tungstenite::{Message, Utf8Bytes, protocol::WebSocketConfig},
};
use clawgate_core::{
    agent::{Agent, AgentInput, AgentOutput, ModelInfo, ProfileStatus, RunRequest},
    channel::{Account, Channels},
    config::{Config, EnvVars},
    credentials::RefAccess,
    device::DeviceIdentity,
    gateway::{AdmissionPolicy, GatewaySetup, HostInfo},
    ids::RunId,
    limits::Limits,
    policy::{AuthRule, SecretKind, TailscaleLogin},
    secret::Secret,
    secrets::RefValues,
    time::Now,
};
use clawgate_smol::{
    HostFiles, Server, ServerOptions, State, Tailscale,
    store::{FILE_NAME, StoreFile, StoreOptions},
};
use futures_lite::StreamExt;
use serde_json::json;
use smol::{Async, Executor};

use crate::{Outcome, channel::TOKEN, protocol};

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The gateway, with its state in memory.
    Gateway,
    /// The gateway, with its state in the folder that it is told.
    Durable,
    /// The same, with an agent that never answers.
    Held,
    /// The same as the second, with a bot of the Bot API at the URL before the folder.
    Channel,
    /// What it is compared with.
    Bare(Bare),
}

/// A server that is a codec and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bare {
    /// Answers every message with the same text, or with the message itself where that text is
    /// empty. Codec settings are the gateway's.
    Echo,
    /// The same with the codec's own settings.
    DefaultEcho,
    /// Sends one text to every connection when a message comes from one of them.
    Megaphone,
    /// Passes what one of two connections says on to the other.
    Relay,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Gateway,
        Self::Durable,
        Self::Held,
        Self::Channel,
        Self::Bare(Bare::Echo),
        Self::Bare(Bare::DefaultEcho),
        Self::Bare(Bare::Megaphone),
        Self::Bare(Bare::Relay),
    ];

    /// The name in tables and on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Durable => "durable",
            Self::Held => "held",
            Self::Channel => "channel",
            Self::Bare(Bare::Echo) => "echo",
            Self::Bare(Bare::DefaultEcho) => "echo-default",
            Self::Bare(Bare::Megaphone) => "megaphone",
            Self::Bare(Bare::Relay) => "relay",
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Bare {
    fn config(self) -> WebSocketConfig {
        let limits = Limits::default();
        match self {
            Self::DefaultEcho => WebSocketConfig::default(),
            Self::Echo | Self::Megaphone | Self::Relay => {
                clawgate_smol::websocket::config(limits.max_payload, limits.max_buffered_bytes)
            }
        }
    }
}

/// Serves until standard input ends. Its first line is the text to answer with, or the folder of the
/// state; the address is the first line of standard output.
pub(crate) fn serve(kind: Kind) -> Outcome {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let mut input = io::stdin().lock();
    let mut text = String::new();
    input.read_line(&mut text)?;
    let text = Utf8Bytes::from(text.trim_end());
    let listener = clawgate_smol::listen(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)?;
    let address = listener.local_addr()?;
    let folder = Path::new(text.as_str()).to_owned();
    let server = match kind {
        Kind::Gateway => Some(gateway(listener, State::Memory, None, Channels::default())?),
        Kind::Durable => {
            let state = kept(&folder)?;
            Some(gateway(listener, state, None, Channels::default())?)
        }
        Kind::Held => {
            let (state, agent) = (kept(&folder)?, Box::new(Silent));
            Some(gateway(listener, state, Some(agent), Channels::default())?)
        }
        Kind::Channel => {
            let (url, folder) = text.split_once(' ').ok_or("a URL and a folder")?;
            let state = kept(Path::new(folder))?;
            Some(gateway(listener, state, None, bot(url)?)?)
        }
        Kind::Bare(kind) => {
            bare(kind, Async::new(listener)?, text)?;
            None
        }
    };
    writeln!(io::stdout(), "{address}")?;
    input.read_to_end(&mut Vec::new())?;
    if let (Kind::Durable | Kind::Held | Kind::Channel, Some(server)) = (kind, server) {
        server.stopper().stop("measured");
        server.join();
    }
    Ok(())
}

/// What was kept in a folder.
fn kept(folder: &Path) -> Outcome<State> {
    let opened = StoreFile::open(&folder.join(FILE_NAME), StoreOptions::default())?;
    Ok(State::Kept(opened.file, opened.rows))
}

/// An agent that never answers.
#[derive(Debug)]
struct Silent;

impl Agent for Silent {
    fn start(&mut self, _: Now, _: RunId, _: RunRequest) {}

    fn handle(&mut self, _: Now, _: &RunId, _: AgentInput) {}

    fn handle_timeout(&mut self, _: Now) {}

    fn poll_output(&mut self) -> Option<(RunId, AgentOutput)> {
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn models(&self) -> Vec<ModelInfo> {
        Vec::new()
    }

    fn profiles(&self, _: Now) -> Vec<ProfileStatus> {
        Vec::new()
    }
}

fn state_dir() -> PathBuf {
    PathBuf::from("/var/lib/clawgate")
}

/// How the measured gateway is set up.
pub(crate) fn setup() -> GatewaySetup {
    let state_dir = state_dir();
    GatewaySetup {
        limits: Arc::new(Limits::default()),
        admission: AdmissionPolicy::new(AuthRule::Shared {
            kind: SecretKind::Token,
            secret: Some(Secret::new(protocol::TOKEN)),
            tailscale: TailscaleLogin::Off,
        }),
        host: HostInfo {
            config_path: state_dir.join("openclaw.json"),
            state_dir: state_dir.clone(),
            ..HostInfo::new(env!("CARGO_PKG_VERSION"), "measured")
        },
        identity: Arc::new(DeviceIdentity::from_seed(&[1; 32])),
    }
}

/// A bot that everybody may write to. No lock: nobody else has its token.
fn bot(url: &str) -> Outcome<Channels> {
    let config = json!({ "channels": { "telegram": {
        "enabled": true, "botToken": TOKEN, "apiRoot": url, "dmPolicy": "open", "allowFrom": ["*"],
    } } });
    let config = Config::from_value(&config);
    let values = RefValues::new();
    let refs = RefAccess::Available(&values);
    let built = Channels::build(&config, &EnvVars::new(), refs, [3; 32]);
    let mut channels = Channels::default();
    for (name, account) in built.channels.into_accounts() {
        if let Err(why) = &account.machine {
            return Err(why.clone().into());
        }
        channels = channels.with(
            name,
            Account {
                lock: None,
                ..account
            },
        );
    }
    Ok(channels)
}

fn gateway(
    listener: TcpListener,
    state: State,
    agent: Option<Box<dyn Agent>>,
    channels: Channels,
) -> Outcome<Server> {
    let state_dir = state_dir();
    let options = ServerOptions {
        seed: [2; 32],
        secrets: None,
        approvals: None,
        locks: None,
        channels,
        agent,
        state,
        owner: None,
        managed: None,
        tailscale: Tailscale::of_system(),
        threads: 0,
        files: HostFiles {
            config: state_dir.join("openclaw.json"),
            log: state_dir.join("gateway.log"),
        },
        tls: None,
    };
    Ok(Server::start(vec![listener], setup(), options)?)
}

type Socket = WebSocketStream<Async<TcpStream>>;

/// The ways to all connections, as far as nobody has taken them.
type Megaphones = Arc<Mutex<Vec<Option<WebSocketSender<Async<TcpStream>>>>>>;

/// Starts a bare server on as many threads as the gateway takes.
fn bare(kind: Bare, listener: Async<TcpListener>, text: Utf8Bytes) -> Outcome {
    let executor = Arc::new(Executor::new());
    let spawner = Arc::clone(&executor);
    let megaphones = Megaphones::default();
    let accept = async move {
        // A failed accept ends the measurement: the fleet notices.
        while let Ok((stream, SocketAddr::V4(_))) = listener.accept().await {
            let (text, megaphones) = (text.clone(), Arc::clone(&megaphones));
            let task = async move {
                // An error is the end of the connection, and no more than that.
                let _ = connection(kind, stream, text, megaphones).await;
            };
            spawner.spawn(task).detach();
        }
    };
    executor.spawn(accept).detach();
    for index in 0..thread::available_parallelism()?.get() {
        let executor = Arc::clone(&executor);
        thread::Builder::new()
            .name(format!("bare-{index}"))
            .spawn(move || smol::block_on(executor.run(std::future::pending::<()>())))?;
    }
    Ok(())
}

async fn connection(
    kind: Bare,
    stream: Async<TcpStream>,
    text: Utf8Bytes,
    megaphones: Megaphones,
) -> Outcome {
    stream.get_ref().set_nodelay(true)?;
    // The state of the handshake is large; it is gone before the messages begin.
    let accept = Box::pin(accept_async_with_config(stream, Some(kind.config())));
    let socket = accept.await?;
    match kind {
        Bare::Echo | Bare::DefaultEcho => echo(socket, text).await,
        Bare::Megaphone => megaphone(socket, text, megaphones).await,
        Bare::Relay => relay(socket, megaphones).await,
    }
}

async fn echo(mut socket: Socket, text: Utf8Bytes) -> Outcome {
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() {
            let answer = if text.is_empty() {
                message
            } else {
                Message::Text(text.clone())
            };
            socket.send(answer).await?;
        }
    }
    Ok(())
}

async fn megaphone(socket: Socket, text: Utf8Bytes, megaphones: Megaphones) -> Outcome {
    let (mut sender, mut receiver) = socket.split();
    // The first message asks to be let in.
    if let Some(message) = receiver.next().await {
        sender.send(message?).await?;
    }
    let all = || megaphones.lock().unwrap_or_else(PoisonError::into_inner);
    all().push(Some(sender));
    while let Some(message) = receiver.next().await {
        message?;
        let mut senders = std::mem::take(&mut *all());
        for sender in senders.iter_mut().flatten() {
            sender.send(Message::Text(text.clone())).await?;
        }
        all().append(&mut senders);
    }
    Ok(())
}

/// Passes on what comes to whoever else is there.
async fn relay(socket: Socket, others: Megaphones) -> Outcome {
    let (mut sender, mut receiver) = socket.split();
    // The first message asks to be let in.
    if let Some(message) = receiver.next().await {
        sender.send(message?).await?;
    }
    let all = || others.lock().unwrap_or_else(PoisonError::into_inner);
    let own = all().len();
    all().push(Some(sender));
    let mut other: Option<WebSocketSender<Async<TcpStream>>> = None;
    while let Some(message) = receiver.next().await {
        let message = message?;
        let sender = match &mut other {
            Some(sender) => sender,
            None => {
                // With two connections, the other one is the only one that is left to take.
                let at = usize::from(own == 0);
                let found = all().get_mut(at).and_then(Option::take);
                other.insert(found.ok_or("nobody to pass this on to")?)
            }
        };
        sender.send(message).await?;
    }
    Ok(())
}
