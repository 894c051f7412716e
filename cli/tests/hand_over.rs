//! Gateways under a service manager and without one: sockets that were opened by others, the manager's
//! notices, and new starts during which nobody is turned away.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    io::{BufRead, BufReader, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixDatagram,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use command_fds::{CommandFdExt, FdMapping};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::Value;

/// No step of a test may take longer.
const PATIENCE: Duration = Duration::from_secs(60);

struct Gateway {
    child: Child,
    out: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut gateway = Self {
            child,
            out,
            address: "127.0.0.1:1".parse().unwrap(),
        };
        gateway.address = gateway.ready();
        gateway
    }

    /// Reads until the gateway says again that it is ready, and where.
    fn ready(&mut self) -> SocketAddr {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.out.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "the gateway ended");
            if line.contains("is ready on") {
                let url = line.split("ws://").nth(1).unwrap();
                return url.split_whitespace().next().unwrap().parse().unwrap();
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(status.success());
    }

    fn stop(mut self) -> Option<i32> {
        self.signal("-TERM");
        self.child.wait().unwrap().code()
    }
}

fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawgate"));
    command
        .env_clear()
        .env("HOME", home)
        .env("XDG_RUNTIME_DIR", home)
        .stdin(Stdio::null());
    command
}

fn run(home: &Path, flags: &[&str]) -> Command {
    let mut command = command(home);
    command.args(["gateway", "run"]).args(flags);
    command
}

fn own(home: &Path) -> PathBuf {
    home.join(".openclaw/clawgate")
}

fn write_config(home: &Path, text: &str) {
    fs::create_dir_all(home.join(".openclaw")).unwrap();
    fs::write(home.join(".openclaw/openclaw.json"), text).unwrap();
}

/// Connects and asks, as a client would. The first error is that of the connection itself.
fn ask(address: SocketAddr) -> Result<std::io::Result<String>, std::io::Error> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    Ok((|| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })())
}

fn is_alive(address: SocketAddr) -> bool {
    matches!(ask(address), Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200 "))
}

/// Waits until nobody listens there. A program that another test starts at this moment has copies of all
/// sockets until it runs, and may be given the same port afterwards.
fn closes(address: SocketAddr) {
    let begun = Instant::now();
    while ask(address).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "{address} stays open");
        thread::yield_now();
    }
}

/// Passes listening sockets as a service manager does.
fn passing(mut command: Command, sockets: Vec<OwnedFd>, names: &str) -> Command {
    command
        .env("LISTEN_FDS", sockets.len().to_string())
        .env("LISTEN_FDNAMES", names);
    let mappings = (3..)
        .zip(sockets)
        .map(|(child_fd, parent_fd)| FdMapping {
            parent_fd,
            child_fd,
        })
        .collect();
    command.fd_mappings(mappings).unwrap();
    command
}

/// A service manager's ear.
struct Manager {
    folder: tempfile::TempDir,
    socket: UnixDatagram,
    kept: Vec<OwnedFd>,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            folder,
            socket,
            kept: Vec::new(),
        }
    }

    fn of(&self, command: &mut Command) {
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
    }

    /// The next notice. Sockets that come with it are kept.
    fn hear(&mut self) -> String {
        let mut bytes = [0; 4_096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let got = recvmsg(
            self.socket.as_fd(),
            &mut parts,
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
        .unwrap();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.kept.extend(descriptors);
            }
        }
        String::from_utf8(bytes[..got.bytes].to_vec()).unwrap()
    }

    /// Hears until a notice begins like this.
    fn hear_until(&mut self, start: &str) -> String {
        loop {
            let notice = self.hear();
            if notice.starts_with(start) {
                return notice;
            }
        }
    }
}

#[test]
fn restarts_turn_nobody_away_and_lose_nothing() {
    const RESTARTS: usize = 4;
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    write_config(home, "{ gateway: { mode: 'local', bind: 'loopback' } }");
    let mut gateway = Gateway::start(&mut run(home, &["--port", "0"]));
    let (address, pid) = (gateway.address, gateway.child.id());
    let port = address.port().to_string();
    let over = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (over, served) = (Arc::clone(&over), Arc::clone(&served));
            thread::spawn(move || {
                let mut trouble = Vec::new();
                while !over.load(Ordering::SeqCst) {
                    match ask(address) {
                        Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200 ") => {
                            served.fetch_add(1, Ordering::SeqCst);
                        }
                        Ok(Ok(answer)) => trouble.push(format!("answered {answer:?}")),
                        Ok(Err(error)) => trouble.push(format!("cut off: {error}")),
                        Err(error) => trouble.push(format!("refused: {error}")),
                    }
                }
                trouble
            })
        })
        .collect();
    // Messages all the while. Those that are acknowledged have to be there at the end.
    let talker = {
        let (over, port, home) = (Arc::clone(&over), port.clone(), home.to_owned());
        thread::spawn(move || {
            let mut acknowledged = Vec::new();
            for round in 0..400 {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let message = format!("remember-{round}-");
                let sent = command(&home)
                    .args(["agent", "--message", &message, "--json", "--port", &port])
                    .output()
                    .unwrap();
                if sent.status.success() {
                    acknowledged.push(message);
                }
            }
            acknowledged
        })
    };
    for _ in 0..RESTARTS {
        let before = served.load(Ordering::SeqCst);
        gateway.signal("-USR2");
        // The port stays, although it was asked for as 0.
        assert_eq!(gateway.ready(), address);
        assert_eq!(gateway.child.id(), pid);
        while served.load(Ordering::SeqCst) < before + 10 {
            thread::yield_now();
        }
    }
    over.store(true, Ordering::SeqCst);
    for client in clients {
        assert_eq!(client.join().unwrap(), Vec::<String>::new());
    }
    let acknowledged = talker.join().unwrap();
    assert!(!acknowledged.is_empty());
    let Output { stdout, .. } = command(home)
        .args(["sessions", "history", "main", "--limit", "1000"])
        .args(["--json", "--port", &port])
        .output()
        .unwrap();
    let history = String::from_utf8(stdout).unwrap();
    for message in acknowledged {
        assert!(history.contains(&message), "{message} in {history}");
    }
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn a_gateway_that_would_not_start_anew_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    write_config(home, "{ gateway: { mode: 'local', bind: 'loopback' } }");
    let gateway = Gateway::start(&mut run(home, &["--port", "0"]));
    write_config(
        home,
        "{ gateway: { mode: 'local', bind: 'loopback', port: 'many' } }",
    );
    let Output { status, stdout, .. } = command(home)
        .args(["gateway", "restart", "--json"])
        .output()
        .unwrap();
    assert_eq!(status.code(), Some(78));
    let answer: Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!(answer["error"]["code"], "restart_refused");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("gateway.port"), "{message}");
    assert!(is_alive(gateway.address));

    write_config(home, "{ gateway: { mode: 'local', bind: 'loopback' } }");
    let restarted = command(home)
        .args(["gateway", "restart", "--json"])
        .output()
        .unwrap();
    assert!(restarted.status.success(), "{restarted:?}");
    assert!(is_alive(gateway.address));
    let stopped = command(home).args(["gateway", "stop"]).output().unwrap();
    assert!(stopped.status.success(), "{stopped:?}");
    closes(gateway.address);
}

#[test]
fn sockets_of_the_manager_are_served() {
    let home = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let port = address.port().to_string();
    // Who comes before the gateway waits for it.
    let early = thread::spawn(move || is_alive(address));
    let flags = run(home.path(), &["--port", &port]);
    let kept = listener.try_clone().unwrap();
    let gateway = Gateway::start(&mut passing(flags, vec![listener.into()], "clawgate"));
    assert_eq!(gateway.address, address);
    assert!(early.join().unwrap());
    assert_eq!(gateway.stop(), Some(0));
    // The manager has the socket still: nobody is refused while the gateway is away.
    let between = thread::spawn(move || is_alive(address));
    let flags = run(home.path(), &["--port", &port]);
    let again = Gateway::start(&mut passing(flags, vec![kept.into()], "clawgate"));
    assert!(between.join().unwrap());
    drop(again);
}

#[test]
fn sockets_that_do_not_agree_with_the_configuration_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let refused = |socket: TcpListener, flags: &[&str]| {
        let command = run(home.path(), flags);
        let Output { status, stderr, .. } = passing(command, vec![socket.into()], "clawgate")
            .output()
            .unwrap();
        (status.code(), String::from_utf8(stderr).unwrap())
    };
    // No connection is ever made to this one.
    let open = TcpListener::bind("0.0.0.0:0").unwrap();
    let (code, said) = refused(open, &["--port", "0"]);
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("gateway.bind allows 127.0.0.1 only"),
        "{said}"
    );
    // Nor is it enough to widen the bind: a secret has to be chosen.
    let open = TcpListener::bind("0.0.0.0:0").unwrap();
    let (code, said) = refused(open, &["--port", "0", "--bind", "lan"]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("without a secret"), "{said}");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, said) = refused(other, &["--port", "1"]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("the gateway's port is 1"), "{said}");

    let file = fs::File::open("/dev/null").unwrap();
    let command = run(home.path(), &["--port", "0"]);
    let Output { status, stderr, .. } = passing(command, vec![file.into()], "clawgate")
        .output()
        .unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(
        said.contains("descriptor 3 is no listening TCP socket"),
        "{said}"
    );
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = run(home.path(), &["--port", "0"]);
    command.env("LISTEN_PID", "1");
    let gateway = Gateway::start(&mut passing(command, vec![listener.into()], "clawgate"));
    assert_ne!(gateway.address, address);
}

#[test]
fn the_manager_hears_of_every_step() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let mut manager = Manager::new();
    let mut command = run(home, &["--port", "0"]);
    manager.of(&mut command);
    // 60 ms: the gateway answers its own question every 20 ms.
    command.env("WATCHDOG_USEC", "60000");
    let mut gateway = Gateway::start(&mut command);
    let ready = manager.hear_until("READY=1");
    assert!(ready.contains(&gateway.address.to_string()), "{ready}");
    for _ in 0..3 {
        manager.hear_until("WATCHDOG=1");
    }
    gateway.signal("-USR2");
    manager.hear_until("RELOADING=1\nMONOTONIC_USEC=");
    manager.hear_until("READY=1");
    gateway.ready();
    manager.hear_until("WATCHDOG=1");
    gateway.signal("-TERM");
    manager.hear_until("STOPPING=1");
    assert!(gateway.child.wait().unwrap().success());
}

#[test]
fn the_watchdog_of_another_process_is_not_fed() {
    let home = tempfile::tempdir().unwrap();
    let mut manager = Manager::new();
    let mut command = run(home.path(), &["--port", "0"]);
    manager.of(&mut command);
    command.env("WATCHDOG_USEC", "600000000");
    command.env("WATCHDOG_PID", "1");
    let gateway = Gateway::start(&mut command);
    // A watchdog of another process is not fed either: the end comes next.
    manager.hear_until("READY=1");
    gateway.signal("-TERM");
    assert!(manager.hear().starts_with("STOPPING=1"));
}

#[test]
fn the_manager_keeps_the_port_from_one_start_to_the_next() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let mut manager = Manager::new();
    let mut command = run(home, &["--port", "0"]);
    manager.of(&mut command);
    let gateway = Gateway::start(&mut command);
    let address = gateway.address;
    let removed = manager.hear_until("FDSTOREREMOVE=1");
    assert!(removed.contains("FDNAME=clawgate-kept"), "{removed}");
    manager.hear_until("READY=1");
    assert!(!manager.kept.is_empty());
    assert_eq!(gateway.stop(), Some(0));

    // The port is open, and whoever comes waits.
    let between = thread::spawn(move || is_alive(address));
    let kept = std::mem::take(&mut manager.kept);
    let names = vec!["clawgate-kept"; kept.len()].join(":");
    let mut command = passing(run(home, &["--port", "0"]), kept, &names);
    manager.of(&mut command);
    let again = Gateway::start(&mut command);
    assert_eq!(again.address, address);
    assert!(between.join().unwrap());

    // When the configuration has moved, the kept port is closed and the other one opened.
    manager.hear_until("READY=1");
    assert_eq!(again.stop(), Some(0));
    // It has the sockets too.
    drop(command);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    drop(other);
    let kept = std::mem::take(&mut manager.kept);
    let names = vec!["clawgate-kept"; kept.len()].join(":");
    let mut command = passing(run(home, &["--port", &port]), kept, &names);
    let moved = Gateway::start(&mut command);
    drop(command);
    assert_eq!(moved.address.port().to_string(), port);
    closes(address);
}

#[test]
fn a_gateway_that_comes_while_another_one_ends_waits_for_it() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let first = Gateway::start(&mut run(home, &["--port", "0"]));
    // A request that is under way holds up the end for a moment.
    let mut slow = TcpStream::connect(first.address).unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    first.signal("-TERM");
    let lock = own(home).join("gateway.lock");
    while !fs::read_to_string(&lock).unwrap().contains("stopping") {
        thread::yield_now();
    }
    let second = Gateway::start(&mut run(home, &["--port", "0"]));
    assert!(is_alive(second.address));
    drop(first);
}

#[test]
fn whoever_has_the_port_is_named() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let first = Gateway::start(&mut run(home, &["--port", "0"]));
    let port = first.address.port().to_string();
    let Output { status, stderr, .. } = command(home)
        .args(["--profile", "rescue", "gateway", "run", "--port", &port])
        .output()
        .unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(
        said.contains("--profile") && said.contains("--port"),
        "{said}"
    );
    if cfg!(target_os = "linux") {
        let holder = format!("process {} (clawgate)", first.child.id());
        assert!(said.contains(&holder), "{said}");
        assert!(said.contains("the default profile, config"), "{said}");
        assert!(said.contains("clawgate gateway stop"), "{said}");
    }
}

#[test]
fn a_file_of_variables_takes_the_place_of_the_environment() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    write_config(
        home,
        "{ gateway: { mode: 'local', bind: 'loopback', auth: { token: '${MY_TOKEN}' } } }",
    );
    let file = home.join("service.env");
    fs::write(&file, "MY_TOKEN=\"a-token-of-this-test\"\n").unwrap();
    let flags = [
        "--port",
        "0",
        "--check",
        "--env-file",
        file.to_str().unwrap(),
    ];
    let check = || run(home, &flags).output().unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let open = check();
    assert_eq!(open.status.code(), Some(78));
    let said = String::from_utf8(open.stderr).unwrap();
    assert!(
        said.contains("0600") && !said.contains("a-token-of"),
        "{said}"
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let closed = check();
    assert!(closed.status.success(), "{closed:?}");
    assert!(!own(home).exists(), "a check writes nothing");
}
