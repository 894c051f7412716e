//! As much of WebSocket as a load generator needs (RFC 6455 §5.2): frames that are masked once and
//! sent many times, and a reader that copies nothing.

/// Any key will do: masking protects proxies, and there is none here.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A text message as a client sends it.
pub(crate) fn text(payload: &str) -> Vec<u8> {
    frame(TEXT, payload.as_bytes())
}

/// The answer to a ping without payload.
pub(crate) fn pong() -> Vec<u8> {
    frame(PONG, &[])
}

/// The upgrade request.
pub(crate) fn upgrade(host: &str) -> Vec<u8> {
    format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(len @ 0..=125), _) => bytes.push(0x80 | len),
        (_, Ok(len)) => {
            bytes.push(0x80 | 126);
            bytes.extend(len.to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(a, b)| a ^ b));
    bytes
}

/// What came from a server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Incoming<'a> {
    /// An event of the gateway.
    Event(&'a [u8]),
    /// Any other text: an answer.
    Answer(&'a [u8]),
    Ping,
    Close,
}

/// Takes the first frame off `bytes`, if all of it is there. Servers do not mask, and these do not
/// fragment.
pub(crate) fn take<'a>(bytes: &mut &'a [u8]) -> Option<Incoming<'a>> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let (len, rest) = match second {
        126 => {
            let (len, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*len)), rest)
        }
        127 => {
            let (len, rest) = rest.split_first_chunk()?;
            (usize::try_from(u64::from_be_bytes(*len)).ok()?, rest)
        }
        len => (usize::from(len), rest),
    };
    let (payload, rest) = rest.split_at_checked(len)?;
    *bytes = rest;
    Some(match first & 0x0f {
        PING => Incoming::Ping,
        CLOSE => Incoming::Close,
        _ if payload.starts_with(br#"{"type":"event""#) => Incoming::Event(payload),
        _ => Incoming::Answer(payload),
    })
}

/// Whether an answer says that the call failed.
pub(crate) fn is_refusal(answer: &[u8]) -> bool {
    const REFUSED: &[u8] = br#""ok":false"#;
    let start = answer.get(..200).unwrap_or(answer);
    start.windows(REFUSED.len()).any(|part| part == REFUSED)
}

/// The text after the first `name":"` of a message, up to the next quote.
pub(crate) fn text_after<'a>(message: &'a [u8], name: &str) -> Option<&'a str> {
    let message = std::str::from_utf8(message).ok()?;
    let (_, rest) = message.split_once(name)?;
    let (text, _) = rest.strip_prefix("\":\"")?.split_once('"')?;
    Some(text)
}

/// Whether a part stands somewhere in a message.
pub(crate) fn contains(message: &[u8], part: &[u8]) -> bool {
    message.windows(part.len()).any(|window| window == part)
}
