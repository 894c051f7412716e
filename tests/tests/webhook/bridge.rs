//! A whole bridge: it signs what it sends, checks what it gets, and knows a part again by its key.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use clawgate_core::channel::webhook::{SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};
use clawgate_core::secret::Secret;
use clawgate_tests::deadline::PATIENCE;
use clawgate_tests::failure::{Attempt, Failure, TestResult};
use clawgate_tests::gateway_process::{GatewayProcess, Settings};
use clawgate_tests::raw_client::RawClient;
use serde_json::{Value, json};

/// What both sides sign with.
pub(crate) const SECRET: &str = "the secret of the bridge and the gateway";

/// Where messages go.
pub(crate) const PATH: &str = "/channels/webhook/default";

/// The bridge's own port, and the parts that came there.
pub(crate) struct Bridge {
    address: SocketAddr,
    parts: Receiver<TestResult<Value>>,
    mood: Arc<Mutex<Mood>>,
}

/// What the bridge does with the next parts.
#[derive(Debug, Default)]
struct Mood {
    /// How many it takes, and then says that something went wrong.
    breaks: u32,
    /// How many it asks to send later.
    busy: u32,
    /// Keys of parts that it has, and how often each came.
    keys: Vec<(String, u32)>,
}

/// An answer of the gateway.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> TestResult<Value> {
        serde_json::from_str(&self.body).attempt(|| format!("reading {self:?}"))
    }
}

impl Bridge {
    pub(crate) fn open() -> TestResult<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (sender, parts) = mpsc::channel();
        let mood = Arc::new(Mutex::new(Mood::default()));
        let of_thread = Arc::clone(&mood);
        // Ends with the test, which is a process of its own.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (sender, mood) = (sender.clone(), Arc::clone(&of_thread));
                thread::spawn(move || {
                    if let Err(failure) = take(stream, &sender, &mood) {
                        let _ = sender.send(Err(failure));
                    }
                });
            }
        });
        Ok(Self {
            address,
            parts,
            mood,
        })
    }

    /// A gateway that knows this bridge, with more keys of `channels.webhook`.
    pub(crate) fn gateway(&self, more: &Value) -> TestResult<GatewayProcess> {
        let mut webhook = json!({ "secret": SECRET, "url": self.url() });
        for (key, value) in more.as_object().into_iter().flatten() {
            webhook[key] = value.clone();
        }
        GatewayProcess::start_with(Settings {
            config: vec![("channels".into(), json!({ "webhook": webhook }))],
            ..Settings::default()
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/from-gateway", self.address)
    }

    /// Waits for the next part that is new.
    pub(crate) fn next(&self) -> TestResult<Value> {
        self.parts
            .recv_timeout(PATIENCE)
            .map_err(|_| Failure::new("the gateway sent nothing"))?
    }

    /// Whether another part has come.
    pub(crate) fn has_more(&self) -> bool {
        self.parts.try_recv().is_ok()
    }

    /// Takes the next parts, and answers as if it had not.
    pub(crate) fn break_after(&self, parts: u32) {
        self.mood().breaks = parts;
    }

    /// Asks for the next parts later.
    pub(crate) fn be_busy(&self, parts: u32) {
        self.mood().busy = parts;
    }

    /// How often the part with this key came.
    pub(crate) fn times(&self, key: &str) -> u32 {
        let mood = self.mood();
        let found = mood.keys.iter().find(|(known, _)| known == key);
        found.map_or(0, |(_, times)| *times)
    }

    /// Keys of all parts that came.
    pub(crate) fn keys(&self) -> BTreeSet<String> {
        let mood = self.mood();
        mood.keys.iter().map(|(key, _)| key.clone()).collect()
    }

    fn mood(&self) -> std::sync::MutexGuard<'_, Mood> {
        self.mood.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes one part.
fn take(stream: TcpStream, parts: &Sender<TestResult<Value>>, mood: &Mutex<Mood>) -> TestResult {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(Failure::new(format!("no whole request: {head:?}")));
        }
    }
    let header = |name: &str| -> TestResult<&str> {
        let found = head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        found.ok_or_else(|| Failure::new(format!("no {name} in {head}")))
    };
    let mut body = vec![0; header("content-length")?.parse()?];
    reader.read_exact(&mut body)?;
    let path = head.split(' ').nth(1).unwrap_or_default();
    let seconds: u64 = header(TIMESTAMP_HEADER)?.parse()?;
    let expected = sign(&Secret::new(SECRET), seconds, path, &body);
    if header(SIGNATURE_HEADER)? != expected || seconds.abs_diff(now()) > 300 {
        return answer(stream, "401 Unauthorized", "");
    }
    let part: Value = serde_json::from_slice(&body)?;
    let Some(key) = part["key"].as_str() else {
        // That the agent works.
        parts.send(Ok(part))?;
        return answer(stream, "200 OK", "");
    };
    if header("idempotency-key")? != key {
        return Err(Failure::new(format!("another key in {head}")));
    }
    let mut mood = mood.lock().unwrap_or_else(PoisonError::into_inner);
    if mood.busy > 0 {
        mood.busy -= 1;
        return answer(stream, "503 Service Unavailable", "");
    }
    let known = mood.keys.iter().position(|(known, _)| known == key);
    let number = if let Some(place) = known {
        if let Some((_, times)) = mood.keys.get_mut(place) {
            *times += 1;
        }
        place
    } else {
        mood.keys.push((key.to_owned(), 1));
        parts.send(Ok(part.clone()))?;
        mood.keys.len() - 1
    };
    if mood.breaks > 0 {
        mood.breaks -= 1;
        return answer(stream, "500 Internal Server Error", "");
    }
    answer(
        stream,
        "200 OK",
        &json!({ "id": format!("out-{number}") }).to_string(),
    )
}

fn answer(mut stream: TcpStream, status: &str, body: &str) -> TestResult {
    let length = body.len();
    // The gateway may be gone by now.
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    Ok(())
}

/// The time in seconds.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// A message of Ada's in a chat of her own.
pub(crate) fn message(id: &str, text: &str) -> Value {
    json!({ "id": id, "chat": "ada", "sender": { "id": "ada", "name": "Ada" }, "text": text })
}

/// Posts a message, signed as it should be.
pub(crate) fn post(gateway: &GatewayProcess, message: &Value) -> TestResult<Answer> {
    post_signed(gateway, message, SECRET, now())
}

/// Posts a message, signed with this secret at this time.
pub(crate) fn post_signed(
    gateway: &GatewayProcess,
    message: &Value,
    secret: &str,
    seconds: u64,
) -> TestResult<Answer> {
    let body = message.to_string();
    let signature = sign(&Secret::new(secret), seconds, PATH, body.as_bytes());
    ask(
        gateway.address(),
        &format!(
            "POST {PATH} HTTP/1.1\r\nHost: gateway\r\nContent-Length: {}\r\n\
             {TIMESTAMP_HEADER}: {seconds}\r\n{SIGNATURE_HEADER}: {signature}\r\n\r\n{body}",
            body.len()
        ),
    )
}

/// An operator of a gateway.
pub(crate) fn operator(gateway: &GatewayProcess) -> TestResult<RawClient> {
    let scopes = ["operator.read", "operator.write", "operator.admin"];
    RawClient::operator(&gateway.url(), gateway.token(), &scopes)
}

/// Sends a request as it is, and reads the answer.
pub(crate) fn ask(address: SocketAddr, request: &str) -> TestResult<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // The gateway may have seen enough before everything is sent.
    let _ = stream.write_all(request.as_bytes());
    read_answer(&mut stream)
}

/// Reads an answer to its end.
pub(crate) fn read_answer(stream: &mut TcpStream) -> TestResult<Answer> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let not_http = || Failure::new(format!("not an HTTP answer: {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(not_http)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok(Answer {
        status: status.ok_or_else(not_http)?,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}
