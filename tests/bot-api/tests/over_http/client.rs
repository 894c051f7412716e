//! A client that sends what it is told, and reads to the end whatever comes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use clawgate_bot_api::{BotApi, BotId, User};
use serde_json::Value;

pub(crate) const TOKEN: &str = "123456:secret-of-the-tests";
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A service with one bot and one person.
pub(crate) struct Scene {
    pub(crate) api: BotApi,
    pub(crate) bot: BotId,
    pub(crate) anna: User,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn result(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()["result"].clone()
    }

    pub(crate) fn description(&self) -> String {
        let body = self.json();
        assert_eq!(body["ok"], false);
        assert_eq!(body["error_code"], self.status);
        body["description"].as_str().unwrap().to_owned()
    }
}

impl Scene {
    pub(crate) fn new() -> Self {
        let api = BotApi::start().unwrap();
        let bot = api.add_bot(TOKEN, "example_bot").unwrap();
        let anna = api.user(7, "Anna");
        Self { api, bot, anna }
    }

    /// Where Anna has written to the bot before.
    pub(crate) fn greeted() -> Self {
        let scene = Self::new();
        scene.api.says(&scene.anna, "/start").unwrap();
        scene
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::to(&self.api.url())
    }

    pub(crate) fn call(&self, method: &str, params: &Value) -> Answer {
        self.try_call(method, params).unwrap()
    }

    pub(crate) fn try_call(&self, method: &str, params: &Value) -> io::Result<Answer> {
        let mut connection = self.connect();
        connection.ask(method, params)?;
        connection.answer()
    }

    pub(crate) fn updates(&self, params: &Value) -> Vec<Value> {
        self.call("getUpdates", params)
            .result()
            .as_array()
            .unwrap()
            .clone()
    }
}

pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn to(url: &str) -> Self {
        let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self {
            reader: BufReader::new(stream),
        }
    }

    pub(crate) fn ask(&mut self, method: &str, params: &Value) -> io::Result<()> {
        let path = format!("/bot{TOKEN}/{method}");
        self.post(&path, "application/json", params.to_string().as_bytes())
    }

    pub(crate) fn post(&mut self, path: &str, kind: &str, body: &[u8]) -> io::Result<()> {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: bot-api\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
        );
        self.send(head.as_bytes())?;
        self.send(body)
    }

    pub(crate) fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: bot-api\r\n\r\n").as_bytes())?;
        self.answer()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    pub(crate) fn head(&mut self) -> io::Result<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.reader.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(head)
    }

    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        let head = self.head()?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut body = vec![0; header(&head, "content-length").unwrap().parse().unwrap()];
        self.reader.read_exact(&mut body)?;
        Ok(Answer { status, head, body })
    }

    /// Whatever comes until the connection ends, and how it ends.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, io::Result<()>) {
        let mut bytes = Vec::new();
        let end = self.reader.read_to_end(&mut bytes).map(|_| ());
        (bytes, end)
    }
}

pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// A form with one file.
pub(crate) fn form(fields: &[(&str, &str)], file: (&str, &str, &str, &[u8])) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        write!(
            body,
            "--line\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        )
        .unwrap();
    }
    let (name, file_name, kind, data) = file;
    write!(
        body,
        "--line\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file_name}\"\r\n\
         Content-Type: {kind}\r\n\r\n"
    )
    .unwrap();
    body.extend_from_slice(data);
    body.extend_from_slice(b"\r\n--line--\r\n");
    body
}

pub(crate) const FORM: &str = "multipart/form-data; boundary=line";
