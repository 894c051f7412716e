//! A chat-completions endpoint whose every byte the test sends itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use serde_json::Value;

use crate::deadline::PATIENCE;
use crate::failure::{Attempt, Failure, TestResult};

/// An endpoint on a loopback port of its own.
pub struct ModelEndpoint {
    address: SocketAddr,
    asked: Receiver<TestResult<Exchange>>,
}

/// A request that waits for its answer.
pub struct Exchange {
    stream: TcpStream,
    head: String,
    body: Value,
}

impl ModelEndpoint {
    /// Opens an endpoint.
    ///
    /// # Errors
    ///
    /// When there is no port left.
    pub fn open() -> TestResult<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (sender, asked) = mpsc::channel();
        // Ends with the test, which is a process of its own.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if sender.send(Exchange::read(stream)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { address, asked })
    }

    /// What a config names it by.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Waits for the next request.
    ///
    /// # Errors
    ///
    /// When none comes in time, or what came is none.
    pub fn next(&self) -> TestResult<Exchange> {
        self.asked
            .recv_timeout(PATIENCE)
            .map_err(|_| Failure::new("the model was not asked"))?
    }

    /// Whether another request has come.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.try_recv().is_ok()
    }
}

impl Exchange {
    fn read(stream: TcpStream) -> TestResult<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Err(Failure::new(format!("no whole request: {head:?}")));
            }
        }
        let length = header(&head, "content-length").and_then(|length| length.parse().ok());
        let mut body = vec![0; length.ok_or_else(|| Failure::new(format!("no length: {head}")))?];
        reader.read_exact(&mut body)?;
        let body = serde_json::from_slice(&body).attempt(|| "no JSON in a request".to_owned())?;
        Ok(Self { stream, head, body })
    }

    /// What was asked.
    #[must_use]
    pub const fn body(&self) -> &Value {
        &self.body
    }

    /// The credential that came with it.
    #[must_use]
    pub fn bearer(&self) -> Option<&str> {
        header(&self.head, "authorization")?.strip_prefix("Bearer ")
    }

    /// Answers at once, with more header lines, each with its line end.
    ///
    /// # Errors
    ///
    /// When the asker is gone.
    pub fn answer(mut self, status: &str, headers: &str, body: &str) -> TestResult {
        let length = body.len();
        write!(
            self.stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: close\r\n{headers}\r\n{body}"
        )?;
        Ok(())
    }

    /// Begins a stream.
    ///
    /// # Errors
    ///
    /// When the asker is gone.
    pub fn begin(&mut self) -> TestResult {
        write!(
            self.stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
             Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        )?;
        Ok(())
    }

    /// Sends a part of a stream in chunks of so many bytes, wherever that cuts it. Each chunk leaves
    /// in two pieces.
    ///
    /// # Errors
    ///
    /// When the asker is gone.
    pub fn stream(&mut self, text: &str, chunk: usize) -> TestResult {
        for bytes in text.as_bytes().chunks(chunk.max(1)) {
            let (start, rest) = bytes.split_at(bytes.len() / 2);
            write!(self.stream, "{:x}\r\n", bytes.len())?;
            self.stream.write_all(start)?;
            self.stream.flush()?;
            self.stream.write_all(rest)?;
            write!(self.stream, "\r\n")?;
        }
        Ok(())
    }

    /// Ends a stream. Who asked may have gone, once it had heard that all is said.
    pub fn end(mut self) {
        let _ = write!(self.stream, "0\r\n\r\n");
    }

    /// Waits until the asker has closed the connection.
    ///
    /// # Errors
    ///
    /// When it does not in time.
    pub fn closed(mut self) -> TestResult {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => {
                Err(error).attempt(|| "the connection stayed open".to_owned())
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Writes a piece of a streamed answer as an event.
#[must_use]
pub fn piece(delta: &Value, finish: Option<&str>) -> String {
    let choice = serde_json::json!({ "index": 0, "delta": delta, "finish_reason": finish });
    let chunk = serde_json::json!({
        "id": "c-1", "object": "chat.completion.chunk", "choices": [choice],
    });
    format!("data: {chunk}\n\n")
}
