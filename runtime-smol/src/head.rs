//! Reading one HTTP request head.

use std::io;

use async_tungstenite::tungstenite::http;
use futures_lite::{AsyncRead, AsyncReadExt};

/// Bytes that a request head may have.
const MAX_HEAD: usize = 16 * 1024;

/// Header fields that a request may have.
const MAX_FIELDS: usize = 64;

/// A request head.
pub(crate) struct Head {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) version: http::Version,
    pub(crate) fields: Vec<(String, String)>,
    /// Bytes that came after the head.
    pub(crate) rest: Vec<u8>,
}

/// Why a head was not understood.
pub(crate) enum BadHead {
    Io(io::Error),
    Malformed,
    TooLarge,
}

/// Reads up to the empty line, and perhaps a little more.
pub(crate) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Head, BadHead> {
    let mut buffer = Vec::with_capacity(1024);
    let mut chunk = [0; 1024];
    loop {
        let count = stream.read(&mut chunk).await.map_err(BadHead::Io)?;
        if count == 0 {
            return Err(BadHead::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        buffer.extend(chunk.iter().take(count));
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(&buffer) {
            Ok(httparse::Status::Complete(end)) => {
                let text = |value: &[u8]| String::from_utf8(value.to_vec()).ok();
                let fields = request
                    .headers
                    .iter()
                    .map(|field| Some((field.name.to_owned(), text(field.value)?)))
                    .collect::<Option<Vec<_>>>()
                    .ok_or(BadHead::Malformed)?;
                return Ok(Head {
                    method: request.method.unwrap_or_default().to_owned(),
                    target: request.path.unwrap_or_default().to_owned(),
                    version: match request.version {
                        Some(0) => http::Version::HTTP_10,
                        _ => http::Version::HTTP_11,
                    },
                    fields,
                    rest: buffer.get(end..).unwrap_or_default().to_vec(),
                });
            }
            Ok(httparse::Status::Partial) if buffer.len() >= MAX_HEAD => {
                return Err(BadHead::TooLarge);
            }
            Ok(httparse::Status::Partial) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(BadHead::TooLarge),
            Err(_) => return Err(BadHead::Malformed),
        }
    }
}
