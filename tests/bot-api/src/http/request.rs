//! Reading a request: its head, its body by length or in chunks, and its parameters.

use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::multipart;
use crate::params::{Params, url_decoded};

/// The longest head.
const MAX_HEAD: usize = 64 * 1024;

/// The longest body: a file of 50 MB with what stands around it, and room to see that one is larger.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// A whole request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) params: Result<Params, BadBody>,
    pub(crate) keep_alive: bool,
}

/// Why a request has no parameters.
#[derive(Debug)]
pub(crate) enum BadBody {
    /// It is larger than any the service takes. The rest of it was not read.
    TooLarge(usize),
    /// It is not what its type says.
    Unreadable,
}

struct Head {
    method: String,
    target: String,
    length: Option<usize>,
    chunked: bool,
    content_type: String,
    keep_alive: bool,
    expects_continue: bool,
}

/// Reads the next request. `None` when the other side has no more.
pub(crate) fn read(
    reader: &mut impl BufRead,
    mut answers: &TcpStream,
) -> io::Result<Option<Request>> {
    let Some(head) = read_head(reader)? else {
        return Ok(None);
    };
    if head.expects_continue {
        answers.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let (path, query) = match head.target.split_once('?') {
        Some((path, query)) => (path.to_owned(), query),
        None => (head.target.clone(), ""),
    };
    let mut keep_alive = head.keep_alive;
    let body = match read_body(reader, &head)? {
        Ok(body) => body,
        Err(too_large) => {
            keep_alive = false;
            return Ok(Some(Request {
                path,
                params: Err(too_large),
                keep_alive,
            }));
        }
    };
    Ok(Some(Request {
        path,
        params: params(query, &head, &body),
        keep_alive,
    }))
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if reader
            .by_ref()
            .take(MAX_HEAD as u64)
            .read_until(b'\n', &mut bytes)?
            == 0
        {
            return match bytes.is_empty() {
                true => Ok(None),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        if bytes.len() > MAX_HEAD {
            return Err(invalid("the head is too long"));
        }
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    parsed.parse(&bytes).map_err(|_| invalid("no HTTP"))?;
    let header = |name: &str| {
        parsed
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))
            .map(|header| String::from_utf8_lossy(header.value).into_owned())
    };
    let says = |name: &str, word: &str| {
        header(name).is_some_and(|value| value.to_ascii_lowercase().contains(word))
    };
    Ok(Some(Head {
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().to_owned(),
        length: header("content-length").and_then(|length| length.trim().parse().ok()),
        chunked: says("transfer-encoding", "chunked"),
        content_type: header("content-type").unwrap_or_default(),
        keep_alive: parsed.version == Some(1) && !says("connection", "close"),
        expects_continue: says("expect", "100-continue"),
    }))
}

fn read_body(reader: &mut impl BufRead, head: &Head) -> io::Result<Result<Vec<u8>, BadBody>> {
    let mut body = Vec::new();
    if !head.chunked {
        let length = head.length.unwrap_or_default();
        if length > MAX_BODY {
            return Ok(Err(BadBody::TooLarge(length)));
        }
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        return Ok(Ok(body));
    }
    loop {
        let line = read_line(reader)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).map_err(|_| invalid("no chunk"))?;
        if size == 0 {
            // Fields may follow the last chunk.
            while !read_line(reader)?.is_empty() {}
            return Ok(Ok(body));
        }
        if size > MAX_BODY - body.len() {
            return Ok(Err(BadBody::TooLarge(body.len().saturating_add(size))));
        }
        let start = body.len();
        body.resize(start + size, 0);
        if let Some(chunk) = body.get_mut(start..) {
            reader.read_exact(chunk)?;
        }
        read_line(reader)?;
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.by_ref().take(MAX_HEAD as u64).read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn params(query: &str, head: &Head, body: &[u8]) -> Result<Params, BadBody> {
    let mut params = Params::default();
    params.insert_urlencoded(query);
    if head.method == "GET" || body.is_empty() {
        return Ok(params);
    }
    let (kind, options) = head
        .content_type
        .split_once(';')
        .unwrap_or((&head.content_type, ""));
    match kind.trim().to_ascii_lowercase().as_str() {
        "application/json" => match serde_json::from_slice(body) {
            Ok(Value::Object(object)) => params.insert_object(object),
            _ => return Err(BadBody::Unreadable),
        },
        "application/x-www-form-urlencoded" => {
            params.insert_urlencoded(&String::from_utf8_lossy(body));
        }
        "multipart/form-data" => {
            let parts = multipart::boundary(options)
                .and_then(|boundary| multipart::parts(body, boundary))
                .ok_or(BadBody::Unreadable)?;
            for part in parts {
                part.insert_into(&mut params);
            }
        }
        // The service takes no notice of bodies of other types.
        _ => {}
    }
    Ok(params)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Call { token: String, method: String },
    Download { token: String, path: String },
    Nothing,
}

pub(crate) fn route(path: &str) -> Route {
    let parts = |rest: &str| {
        let (token, rest) = rest.split_once('/')?;
        Some((url_decoded(token), url_decoded(rest)))
    };
    if let Some((token, path)) = path.strip_prefix("/file/bot").and_then(parts) {
        return Route::Download { token, path };
    }
    match path.strip_prefix("/bot").and_then(parts) {
        Some((token, method)) => Route::Call { token, method },
        None => Route::Nothing,
    }
}
