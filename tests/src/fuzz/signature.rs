//! A body for the proof of a device: what was signed gets through, and nothing else.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clawgate_core::{
    device::{self, DeviceId, DeviceIdentity, PayloadVersion, SignedFacts},
    frame::RawJson,
    protocol::{ClientId, ClientInfo, ClientMode, ConnectParams, Role},
    secret::Secret,
    time::WallTime,
};
use serde_json::{Value, json};

const NONCE: &str = "00000000-0000-4000-8000-000000000001";
const SIGNED_AT: u64 = 1_737_264_000_000;
const SKEW: u64 = 120_000;

/// A proof that is sound is changed by a JSON merge patch, and perhaps by a key of the attacker; a
/// model of its own says which changes are harmless.
///
/// The first line gives the payload version (`2` or `3`), then the gateway's clock as milliseconds
/// away from the signature. With `k`, the second line is a public key of the attacker in hexadecimal,
/// whose id is put right for it.
pub fn signature(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let mut first = first.split_ascii_whitespace();
    let version = match first.next() {
        Some("2") => PayloadVersion::V2,
        _ => PayloadVersion::V3,
    };
    let away: i32 = first.next().and_then(|ms| ms.parse().ok()).unwrap_or(0);
    let (key, patch) = match first.next() {
        Some("k") => rest.split_once('\n').unwrap_or((rest, "")),
        _ => ("", rest),
    };
    let signed = signed(version);
    let mut sent = signed.clone();
    if let Ok(patch) = serde_json::from_str(patch) {
        merge(&mut sent, &patch);
    }
    if let Some(key) = key_of(key) {
        sent["device"]["publicKey"] = URL_SAFE_NO_PAD.encode(key).into();
        sent["device"]["id"] = DeviceId::of(&key).as_str().into();
    }
    let wall = WallTime(SIGNED_AT.saturating_add_signed(away.into()));
    let Some(params) = parse(&sent) else { return };
    let (Some(proof), Some(role)) = (&params.device, params.role) else {
        return;
    };
    let verdict = device::verify(&params, proof, role, NONCE, wall);
    let harmless = covered(&sent, version) == covered(&signed, version)
        && [&sent, &signed].map(|p| raw_key(&p["device"]["publicKey"])) == [Some(own_key()); 2]
        && raw(&sent["device"]["signature"]) == raw(&signed["device"]["signature"])
        && sent["device"]["id"] == signed["device"]["id"]
        && sent["device"]["nonce"].as_str().map(str::trim) == Some(NONCE)
        && wall.0.abs_diff(SIGNED_AT) <= SKEW;
    match verdict {
        Ok(device) => {
            assert!(harmless, "a changed proof gets through: {sent}");
            assert_eq!(device.id, *identity().id());
            assert_eq!(device.public_key, own_key());
        }
        Err(error) => {
            assert!(!harmless, "{error:?} for what was signed: {sent}");
            assert!(!format!("{error:?}{}", error.message()).contains("secret"));
        }
    }
}

fn identity() -> DeviceIdentity {
    DeviceIdentity::from_seed(&[7; 32])
}

fn own_key() -> [u8; 32] {
    raw_key(&identity().public_key().into()).unwrap_or_else(|| panic!("a key of 32 bytes"))
}

/// The parameters that the device means to send.
fn signed(version: PayloadVersion) -> Value {
    let mut client = ClientInfo::new(ClientId::OpenclawMacos, ClientMode::Ui, "1", " MacOS ");
    client.device_family = Some("Mac".into());
    let scopes = ["operator.read".to_owned(), "operator.write".to_owned()];
    let identity = identity();
    let facts = SignedFacts {
        device_id: identity.id().as_str(),
        client: &client,
        role: Role::Operator,
        scopes: &scopes,
        signed_at: SIGNED_AT,
        secret: &Secret::new("secret"),
        nonce: NONCE,
    };
    json!({
        "minProtocol": 4,
        "maxProtocol": 4,
        "client": client,
        "role": "operator",
        "scopes": scopes,
        "auth": {"token": "secret"},
        "device": identity.prove(&facts, version),
    })
}

fn parse(params: &Value) -> Option<ConnectParams> {
    ConnectParams::parse(&RawJson::encode(params).ok()?).ok()
}

/// The text that the signature has to cover (spec protocol §3.4), made of the wire form.
fn covered(params: &Value, version: PayloadVersion) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let scopes: Vec<String> = params["scopes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(text)
        .collect();
    let auth = &params["auth"];
    let secret = ["token", "deviceToken", "bootstrapToken"]
        .into_iter()
        .find_map(|name| auth[name].as_str())
        .unwrap_or_default();
    let client = &params["client"];
    let role = params["role"].as_str().unwrap_or("operator");
    let mut parts = vec![
        text(&params["device"]["id"]),
        text(&client["id"]),
        text(&client["mode"]),
        role.to_owned(),
        scopes.join(","),
        params["device"]["signedAt"].to_string(),
        secret.to_owned(),
    ];
    if version == PayloadVersion::V3 {
        for name in ["platform", "deviceFamily"] {
            parts.push(text(&client[name]).trim().to_ascii_lowercase());
        }
    }
    parts.join("|")
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(fields) = target else {
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

fn key_of(hex: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = hex
        .trim()
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect();
    bytes.try_into().ok()
}

/// The bytes of a field in base64 of either alphabet, padded or not.
fn raw(field: &Value) -> Option<Vec<u8>> {
    let text = field.as_str()?.trim_end_matches('=');
    let text = text.replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn raw_key(field: &Value) -> Option<[u8; 32]> {
    let text = field.as_str()?.trim();
    let Some(body) = text.strip_prefix("-----BEGIN PUBLIC KEY-----") else {
        return raw(&text.into())?.try_into().ok();
    };
    let body: String = body
        .strip_suffix("-----END PUBLIC KEY-----")?
        .split_ascii_whitespace()
        .collect();
    let der = raw(&body.into())?;
    (der.len() == 44).then(|| der.get(12..)?.try_into().ok())?
}
