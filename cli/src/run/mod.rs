//! `clawgate gateway run`: reads what the core wants to know, and carries out what it decides.

mod agents;
mod announce;
mod approvals_file;
mod auth;
mod beacon;
mod channels;
mod error;
mod facts;
mod hand_over;
mod kept;
mod last_good;
mod locks;
mod logging;
mod notify;
mod reload;
mod serve;
mod sockets;
mod state;
mod tailscale;
mod tls;
mod watch;
mod watchdog;

use std::{
    env, fs, io,
    net::{IpAddr, TcpListener},
    path::{Path, PathBuf},
    process,
    sync::Arc,
};

use clawgate_core::{
    config::{
        BindMode, ConfigFile, EnvVars, LogStyle,
        paths::{Locations, Profile},
    },
    gateway::{AdmissionPolicy, GatewaySetup, HostInfo},
    limits::Limits,
    policy::{
        Scheme,
        port::{GatewayPort, gateway_port},
        server_auth::AuthOverride,
        startup_auth::{KeptToken, StartupAuth},
    },
};
use clawgate_smol::{HostFiles, Newcomers, OwnerSocket, Server, ServerOptions, Tailscale};
use tracing::{info, warn};

pub(crate) use error::RunError;
pub(crate) use facts::host_facts;
use logging::LogPlan;
pub(crate) use logging::Verbosity;

use approvals_file::ApprovalsFile;
use auth::{Decided, decide};
use hand_over::Successor;
use last_good::Start;
use notify::Notifier;
use reload::Reloader;
use serve::{After, Watch};
use sockets::{OpenedBy, Sockets};
use state::StateFolder;
pub(crate) use state::{Holder, LOCK, Phase, lock_holder, running_gateway};
use tailscale::TailnetRoute;
use watch::Watcher;
use watchdog::Door;

/// The name of the owner's socket in the gateway's folder.
pub(crate) const SOCKET: &str = "gateway.sock";

/// What to do with a configuration that does not say `gateway.mode: "local"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unconfigured {
    /// Start all the same.
    Allow,
    /// Do not start.
    Refuse,
}

/// A start, with all flags parsed.
#[derive(Clone, Debug)]
pub(crate) struct RunRequest {
    /// The environment.
    pub(crate) env: EnvVars,
    /// The instance.
    pub(crate) profile: Profile,
    /// Its files.
    pub(crate) places: Locations,
    /// `--port`; 0 takes a free one.
    pub(crate) port: Option<u16>,
    /// `--bind`.
    pub(crate) bind: Option<BindMode>,
    /// `--auth`, `--token`, `--password`.
    pub(crate) auth: AuthOverride,
    /// `--allow-unconfigured`.
    pub(crate) unconfigured: Unconfigured,
    /// `--verbose`.
    pub(crate) verbosity: Verbosity,
    /// `--log-format`.
    pub(crate) log_style: Option<LogStyle>,
}

/// Whether a gateway would start: its configuration, its secrets, where it would listen. Nothing is
/// opened and nothing written.
///
/// # Errors
/// Why it would not.
pub(crate) fn gateway_check(request: &RunRequest) -> Result<(), RunError> {
    decide(request).map(drop)
}

/// The same for a start that may go back to the last config that worked; gives why it would.
///
/// # Errors
/// Why it would not start.
pub(crate) fn gateway_check_or_go_back(request: &RunRequest) -> Result<Option<String>, RunError> {
    last_good::decide_or_go_back(request).map(|start| start.fallback)
}

/// What a start would come to.
#[derive(Debug)]
pub(crate) struct Planned {
    /// The configuration.
    pub(crate) file: ConfigFile,
    /// The address that would be listened on.
    pub(crate) host: IpAddr,
    /// The port.
    pub(crate) port: GatewayPort,
}

/// The same, with where it would listen.
///
/// # Errors
/// Why it would not start.
pub(crate) fn gateway_plan(request: &RunRequest) -> Result<Planned, RunError> {
    let Decided { file, runtime, .. } = decide(request)?;
    let port = gateway_port(
        request.port,
        &request.env,
        file.config.gateway.port,
        &request.profile,
    );
    Ok(Planned {
        file,
        host: runtime.bind_host,
        port,
    })
}

/// The program of this process, by the name under which an upgrade would replace it.
///
/// # Errors
/// When the system does not say.
pub(crate) fn own_program() -> io::Result<PathBuf> {
    Successor::of_process().map(Successor::into_program)
}

/// Runs a gateway until it is told to stop.
pub(crate) fn gateway_run(request: RunRequest) -> Result<(), RunError> {
    let passed = sockets::take_passed(&request.env)?;
    let notifier = Arc::new(Notifier::of_env(&request.env));
    let successor = Successor::of_process().ok();
    let Start {
        decided: Decided {
            file,
            mut started,
            runtime,
        },
        fallback,
    } = last_good::decide_or_go_back(&request)?;
    let gateway = &file.config.gateway;

    let own = StateFolder::open(&request.places.own)?;
    let mut lock = own.lock(Holder::of_this_process(
        &request.profile,
        &request.places.config,
    ))?;
    let token_file = request.places.token_file();
    adopt_token(&mut started, &own, &token_file)?;
    let log = own.file("gateway.log");
    let plan = LogPlan::new(
        file.config.logging,
        &request.env,
        request.verbosity,
        request.log_style,
    );
    logging::start(&log, plan).map_err(RunError::file("open the log", &log))?;
    report(
        &file,
        &request.env,
        &runtime
            .warnings
            .iter()
            .map(ToString::to_string)
            .chain(started.passed_over.iter().map(ToString::to_string))
            .collect::<Vec<_>>(),
    );

    if let Some(fallback) = &fallback {
        warn!("{fallback}");
    }
    let kept = kept::open(&own)?;
    let tls = tls::prepare(&gateway.tls, &request.places, &request.env)?;
    let port = gateway_port(request.port, &request.env, gateway.port, &request.profile);
    let Sockets {
        listeners,
        opened_by,
    } = sockets::open(passed, runtime.bind_host, port)?;
    // They stay open while the server ends, for the next start.
    let doors = listeners
        .iter()
        .map(TcpListener::try_clone)
        .collect::<io::Result<Vec<_>>>()
        .map_err(RunError::Server)?;
    let program = Tailscale::of_system();
    let (managed, tailnet) = tailscale::publish(gateway, &own, &program)?.unzip();
    let limits = Arc::new(Limits {
        run: file.config.agents.timeout(""),
        ..Limits::configured(gateway, &request.env)
    });
    raise_file_limit(&limits);
    let setup = GatewaySetup {
        limits,
        admission: AdmissionPolicy::of_config(&started.auth, gateway),
        host: HostInfo {
            problems: kept.problem.into_iter().collect(),
            config_problems: fallback.iter().cloned().collect(),
            // An invitation names the certificate beside the URL: Tailscale shows another one.
            url: tailnet
                .as_ref()
                .filter(|_| tls.is_none())
                .map(TailnetRoute::websocket_url),
            tls_fingerprint: tls.as_ref().map(|tls| tls.port.fingerprint().to_string()),
            secret_source: started.auth.used_secret().map(|secret| secret.source),
            ..host_info(&request, &file)
        },
        identity: Arc::new(own.identity()?),
    };
    let channels = channels::build(&file, &request.env, random()?);
    let described = channels::describe(&channels);
    let owner = owner_socket(&own);
    let door = match &tls {
        None => doors
            .first()
            .and_then(|door| door.local_addr().ok())
            .map(Door::port),
        // It is asked in plaintext.
        Some(_) => owner.as_ref().map(|_| Door::Owner(own.file(SOCKET))),
    };
    let options = ServerOptions {
        seed: random()?,
        threads: 0,
        files: HostFiles {
            config: request.places.config.clone(),
            log,
        },
        secrets: Some(Arc::new(Reloader::new(request.clone()))),
        approvals: Some(Arc::new(ApprovalsFile::new(
            request.places.exec_approvals_file(),
        ))),
        locks: Some(locks::of_user(&request.env, &request.places.own)),
        agent: Some(Box::new(agents::build(&file, &request.env, random()?))),
        channels,
        state: kept.state,
        owner,
        managed,
        tailscale: program,
        tls: tls.as_ref().map(|tls| tls.port.clone()),
    };
    // Caught from here on: whoever reads that the gateway is ready may end it at once.
    let signals = serve::signals().map_err(RunError::Server)?;
    let server = Server::start(listeners, setup, options).map_err(RunError::Server)?;
    let scheme = if tls.is_some() {
        Scheme::Wss
    } else {
        Scheme::Ws
    };
    let addresses: Vec<String> = server
        .addresses()
        .iter()
        .map(|address| format!("{}://{address}", scheme.as_str()))
        .collect();
    lock.serving(addresses.clone())
        .map_err(RunError::file("write the lock", &own.file(LOCK)))?;
    info!(addresses = addresses.join(" "), "gateway ready");
    if fallback.is_none() {
        last_good::keep(&request.places.last_good_config_file(), &file);
    }
    let watcher = Watcher::start(request.clone(), server.live(), &file, fallback.is_some())
        .inspect_err(|error| warn!(%error, "the config file is not watched"))
        .ok();
    announce::announce(
        &addresses,
        tls.as_ref(),
        tailnet.as_ref(),
        &described,
        &started,
        &request.places,
        &token_file,
    );
    let fingerprint = tls.as_ref().map(|tls| tls.port.fingerprint());
    let beacon = beacon::advertise(
        &file,
        &request.env,
        server.addresses(),
        fingerprint.as_ref(),
    );
    let newcomers = if opened_by == OpenedBy::Manager || notifier.is_connected() {
        Newcomers::Left
    } else {
        Newcomers::Told
    };
    if opened_by == OpenedBy::Gateway {
        notifier.keep(&doors);
    }
    let how = fallback
        .as_ref()
        .map_or("", |_| ", with the last config that worked");
    notifier.ready(&format!("listening on {}{how}", addresses.join(" and ")));
    let ending = watchdog::Ending::default();
    if let Some(door) = door {
        watchdog::feed(&notifier, door, Arc::clone(&ending)).map_err(RunError::Server)?;
    }
    let watch = Watch {
        lock,
        notifier,
        ending,
        newcomers,
        successor: successor.clone(),
    };
    let (after, lock) = serve::until_signal(server, signals, watch);
    drop(watcher);
    drop(beacon);
    drop(tailnet);
    match (after, successor) {
        (After::Restart, Some(successor)) => {
            // The lock goes with the descriptor, at the very moment when the new program begins.
            let error = successor.become_it(doors, opened_by);
            Err(RunError::HandOver(error))
        }
        (After::End | After::Restart, _) => {
            // Whoever sees that nobody holds the lock finds the port free.
            drop(doors);
            drop(lock);
            Ok(())
        }
    }
}

/// Without any configuration the gateway is for this machine, in a container too.
pub(crate) fn default_bind(file: &ConfigFile) -> Option<BindMode> {
    (!file.exists).then_some(BindMode::Loopback)
}

/// Random bytes from the operating system.
fn random<const N: usize>() -> Result<[u8; N], RunError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| RunError::Random(error.to_string()))?;
    Ok(bytes)
}

fn read_config(path: &Path, env: &EnvVars) -> Result<ConfigFile, RunError> {
    let name = path.to_string_lossy();
    let file = match fs::read_to_string(path) {
        Ok(text) => ConfigFile::parse_with(name.as_ref(), text, env).map_err(Box::new)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => ConfigFile::missing(name.as_ref()),
        Err(error) => return Err(RunError::file("read", path)(error)),
    };
    if file.issues.is_empty() {
        return Ok(file);
    }
    let findings = file
        .issues
        .iter()
        .map(|issue| format!("  {issue}"))
        .collect::<Vec<_>>();
    Err(RunError::ConfigIssues {
        file: file.path,
        findings: findings.join("\n"),
    })
}

fn adopt_token(started: &mut StartupAuth, own: &StateFolder, file: &Path) -> Result<(), RunError> {
    match started.adopt(own.kept_token(file)?) {
        KeptToken::NotUsed | KeptToken::Reused => Ok(()),
        KeptToken::Keep(token) => {
            state::write_private(file, format!("{}\n", token.expose()).as_bytes())
        }
    }
}

/// The owner's socket. A gateway without it is complete but for the way in of last resort.
fn owner_socket(own: &StateFolder) -> Option<OwnerSocket> {
    let path = own.file(SOCKET);
    OwnerSocket::bind(&path)
        .inspect_err(|error| {
            warn!(path = %path.display(), %error, "no owner's socket: devices are approved over the port only");
        })
        .ok()
}

fn report(file: &ConfigFile, env: &EnvVars, warnings: &[String]) {
    for warning in &file.warnings {
        warn!(file = file.path, "{warning}");
    }
    for warning in warnings {
        warn!("{warning}");
    }
    let legacy = env.ignored_legacy_names().count();
    if legacy > 0 {
        warn!(
            legacy,
            "CLAWDBOT_* and MOLTBOT_* variables are ignored; rename them to OPENCLAW_*"
        );
    }
}

fn host_info(request: &RunRequest, file: &ConfigFile) -> HostInfo {
    let (platform, device_family) = match env::consts::OS {
        "macos" => ("macos", "Mac"),
        "windows" => ("windows", "Windows"),
        "linux" => ("linux", "Linux"),
        other => (other, other),
    };
    HostInfo {
        platform: platform.into(),
        device_family: device_family.into(),
        pid: process::id(),
        config_path: request.places.config.clone(),
        config_hash: file.exists.then(|| file.hash.clone()),
        state_dir: request.places.state.clone(),
        exec_approvals: request.places.exec_approvals_file(),
        agents: configured_agents(file),
        ..HostInfo::new(
            env!("CARGO_PKG_VERSION"),
            gethostname::gethostname().to_string_lossy(),
        )
    }
}

/// The ids of the agents; there is always one.
fn configured_agents(file: &ConfigFile) -> Vec<String> {
    let mut agents = file.config.agent_ids.clone();
    if agents.is_empty() {
        agents.push("main".into());
    }
    agents
}

/// Each connection needs a file descriptor.
fn raise_file_limit(limits: &Limits) {
    let wanted = limits.max_connections as u64 + 256;
    match rlimit::increase_nofile_limit(wanted) {
        Ok(granted) if granted >= wanted => {}
        Ok(granted) => warn!(
            granted,
            wanted, "few file descriptors: fewer connections will fit"
        ),
        Err(error) => warn!(%error, "the limit of file descriptors is unknown"),
    }
}
