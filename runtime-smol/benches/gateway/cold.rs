//! The built program from its start: `clawgate gateway run` until it is ready, and `clawgate
//! health` from start to end.

use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    Effort, Outcome, child, protocol,
    table::{Table, mib, millis, quantile, say},
};

/// How long the gateway may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Time between two looks at the port.
const LOOK: Duration = Duration::from_micros(100);

/// The program that measures the memory of another one, where the system has it.
const TIME: &str = "/usr/bin/time";

pub(crate) fn measure(effort: Effort) -> Outcome {
    let rounds = match effort {
        Effort::Full => 11,
        Effort::Quick => 3,
    };
    let home = Home::new()?;
    say(format_args!(
        "\ncold: the release build, {rounds} runs of each, as whole processes"
    ))?;
    let mut starts = Vec::new();
    let mut memory = Vec::new();
    // The first start makes the state folder and fills the kernel's caches.
    home.start()?;
    for _ in 0..rounds {
        let gateway = home.start()?;
        starts.push(gateway.ready_after);
        memory.push(child::rss_bytes(gateway.child.id())?);
    }
    let mut table = Table::new(&["", "min", "median", "max"]);
    table.row(times("gateway run until /readyz", &mut starts));
    table.row(sizes("  resident when ready", &mut memory));
    let gateway = home.start()?;
    match health(&home, rounds) {
        Ok((mut took, mut memory)) => {
            table.row(times("clawgate health", &mut took));
            if !memory.is_empty() {
                table.row(sizes("  largest resident", &mut memory));
            }
            table.print()?;
        }
        Err(why) => {
            table.print()?;
            say(format_args!("  not measured: clawgate health: {why}"))?;
        }
    }
    drop(gateway);
    Ok(())
}

/// Wall time and largest memory of each run.
fn health(home: &Home, rounds: usize) -> Outcome<(Vec<Duration>, Vec<u64>)> {
    let (mut took, mut memory) = (Vec::new(), Vec::new());
    let health = ["health"].map(OsString::from);
    for round in 0..=rounds {
        let start = Instant::now();
        let output = home.command(&home.program, &health).output()?;
        let elapsed = start.elapsed();
        succeeded(&output)?;
        // The first one fills the kernel's caches.
        if round > 0 {
            took.push(elapsed);
        }
    }
    if Path::new(TIME).exists() {
        let mut args = ["-f", "%M"].map(OsString::from).to_vec();
        args.push(home.program.clone().into());
        args.extend(health);
        for _ in 0..rounds {
            let output = home.command(Path::new(TIME), &args).output()?;
            succeeded(&output)?;
            let text = String::from_utf8_lossy(&output.stderr);
            let kib: u64 = text.lines().last().unwrap_or_default().trim().parse()?;
            memory.push(kib * 1024);
        }
    }
    Ok((took, memory))
}

fn succeeded(output: &Output) -> Outcome {
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().next().unwrap_or_default();
    Err(format!("{}: {line}", output.status).into())
}

/// A home folder with a configuration.
struct Home {
    folder: TempDir,
    program: PathBuf,
    port: u16,
}

struct Running {
    child: Child,
    ready_after: Duration,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It is only measured until here; an error means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Home {
    fn new() -> Outcome<Self> {
        let folder = TempDir::new()?;
        let config = format!(
            r#"{{"gateway":{{"mode":"local","bind":"loopback","auth":{{"mode":"token","token":"{}"}}}}}}"#,
            protocol::TOKEN
        );
        fs::write(folder.path().join("openclaw.json"), config)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        Ok(Self {
            folder,
            program: build()?,
            port,
        })
    }

    fn command(&self, program: &Path, args: &[OsString]) -> Command {
        let home = self.folder.path();
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("HOME", home)
            .env("OPENCLAW_STATE_DIR", home)
            .env("OPENCLAW_CONFIG_PATH", home.join("openclaw.json"))
            .env("OPENCLAW_GATEWAY_PORT", self.port.to_string())
            .current_dir(home)
            .stdin(Stdio::null());
        command
    }

    /// Starts a gateway and waits until it says that it is ready.
    fn start(&self) -> Outcome<Running> {
        let log = fs::File::create(self.folder.path().join("output.txt"))?;
        let args = ["gateway", "run", "--port", &self.port.to_string()].map(OsString::from);
        let start = Instant::now();
        let child = self
            .command(&self.program, &args)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut running = Running {
            child,
            ready_after: Duration::ZERO,
        };
        while !self.is_ready() {
            if let Some(status) = running.child.try_wait()? {
                let said = fs::read_to_string(self.folder.path().join("output.txt"))?;
                return Err(format!("the gateway ended ({status}): {}", said.trim()).into());
            }
            if start.elapsed() > PATIENCE {
                return Err("the gateway did not become ready in time".into());
            }
            thread::sleep(LOOK);
        }
        running.ready_after = start.elapsed();
        Ok(running)
    }

    fn is_ready(&self) -> bool {
        let ask = || {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(answer.starts_with("HTTP/1.1 200 "))
        };
        ask().unwrap_or(false)
    }
}

/// Brings the release build up to date, so that no older program is measured.
fn build() -> Outcome<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(cargo)
        .args(["build", "--release", "--bin", "clawgate"])
        .current_dir(root)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("clawgate could not be built:\n{errors}").into());
    }
    let this = std::env::current_exe()?;
    this.ancestors()
        .skip(1)
        .find(|folder| folder.file_name().is_some_and(|name| name != "deps"))
        .map(|folder| folder.join(format!("clawgate{}", std::env::consts::EXE_SUFFIX)))
        .ok_or_else(|| "no build folder above this program".into())
}

fn times(name: &str, values: &mut [Duration]) -> Vec<String> {
    row(name, values, millis)
}

fn sizes(name: &str, values: &mut [u64]) -> Vec<String> {
    row(name, values, mib)
}

fn row<T: Copy + PartialOrd + Default>(
    name: &str,
    values: &mut [T],
    show: fn(T) -> String,
) -> Vec<String> {
    let mut of = |share| show(quantile(values, share).unwrap_or_default());
    vec![name.into(), of(0.0), of(0.5), of(1.0)]
}
