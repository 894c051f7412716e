//! Envelope to text.

use bytestring::ByteString;

use super::RawJson;
use crate::{ids::RequestId, protocol::RpcError};

/// The text of a request frame.
pub fn encode_request(id: &RequestId, method: &str, params: &RawJson) -> ByteString {
    let mut text = String::with_capacity(48 + method.len() + params.as_str().len());
    text.push_str(r#"{"type":"req","id":"#);
    push_json_string(&mut text, id.as_str());
    text.push_str(r#","method":"#);
    push_json_string(&mut text, method);
    text.push_str(r#","params":"#);
    text.push_str(params.as_str());
    text.push('}');
    text.into()
}

/// The text of a response frame.
pub fn encode_response(id: &RequestId, outcome: &Result<RawJson, RpcError>) -> ByteString {
    match outcome {
        Ok(payload) => {
            let payload = payload.as_str();
            let mut text = String::with_capacity(48 + id.as_str().len() + payload.len());
            text.push_str(r#"{"type":"res","id":"#);
            push_json_string(&mut text, id.as_str());
            text.push_str(r#","ok":true,"payload":"#);
            text.push_str(payload);
            text.push('}');
            text.into()
        }
        Err(error) => {
            let mut text = String::with_capacity(256);
            text.push_str(r#"{"type":"res","id":"#);
            push_json_string(&mut text, id.as_str());
            text.push_str(r#","ok":false,"error":"#);
            text.push_str(&error.to_json());
            text.push('}');
            text.into()
        }
    }
}

pub(super) fn push_json_string(text: &mut String, value: &str) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if value.bytes().fold(true, |all, byte| all & plain(byte)) {
        text.push('"');
        text.push_str(value);
        text.push('"');
    } else {
        text.push_str(&serde_json::Value::from(value).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Incoming, Request};

    #[test]
    fn a_request_survives_the_round_trip() {
        let id = RequestId::new("1:\"\\\n\u{1}ü");
        let text = encode_request(&id, "chat.send", &RawJson::checked(r#"{"a":[1]}"#).unwrap());
        let parsed = Request::parse(&text).unwrap();
        assert_eq!(parsed.id, id);
        assert_eq!(&*parsed.method, "chat.send");
        assert_eq!(parsed.params.as_str(), r#"{"a":[1]}"#);
    }

    #[test]
    fn a_response_survives_the_round_trip() {
        let id = RequestId::new("x");
        for outcome in [
            Ok(RawJson::checked("[1,2]").unwrap()),
            Err(RpcError::invalid_request("no such thing")),
        ] {
            let text = encode_response(&id, &outcome);
            let Incoming::Response(parsed) = Incoming::parse(&text).unwrap() else {
                panic!("not a response");
            };
            assert_eq!(parsed.id, id);
            assert_eq!(parsed.outcome, outcome);
        }
    }
}
