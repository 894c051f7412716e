//! Words for messages that have none of their own, so that the agent knows what was sent.

use serde_json::Value;

/// Such as `[location 52.52, 13.405]`; `None` for what is nobody's message, as somebody who joined.
pub(super) fn special_words(message: &Value) -> Option<String> {
    let text = |value: &Value, key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let place = |location: &Value| {
        let side = |key: &str| location.get(key).and_then(Value::as_f64);
        Some(format!("{}, {}", side("latitude")?, side("longitude")?))
    };
    if let Some(sticker) = message.get("sticker") {
        return Some(bracket(&["sticker", &text(sticker, "emoji")]));
    }
    // A venue is also a location.
    if let Some(venue) = message.get("venue") {
        let place = venue.get("location").and_then(place).unwrap_or_default();
        let title = text(venue, "title");
        let address = text(venue, "address");
        return Some(bracket(&["venue", &title, &address, &place]));
    }
    if let Some(location) = message.get("location") {
        return Some(bracket(&["location", &place(location)?]));
    }
    if let Some(contact) = message.get("contact") {
        let name = format!(
            "{} {}",
            text(contact, "first_name"),
            text(contact, "last_name")
        );
        return Some(bracket(&["contact", &name, &text(contact, "phone_number")]));
    }
    if let Some(poll) = message.get("poll") {
        let options: Vec<String> = poll
            .get("options")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|option| text(option, "text"))
            .collect();
        return Some(bracket(&[
            "poll",
            &text(poll, "question"),
            &options.join(" / "),
        ]));
    }
    if let Some(dice) = message.get("dice") {
        let value = dice.get("value").and_then(Value::as_u64)?.to_string();
        return Some(bracket(&["dice", &text(dice, "emoji"), &value]));
    }
    if let Some(game) = message.get("game") {
        return Some(bracket(&["game", &text(game, "title")]));
    }
    message.get("story").map(|_| bracket(&["story"]))
}

fn bracket(parts: &[&str]) -> String {
    let (kind, rest) = match parts.split_first() {
        Some((kind, rest)) => (*kind, rest),
        None => ("", parts),
    };
    let said: Vec<&str> = rest
        .iter()
        .map(|part| part.trim())
        .filter(|part| !part.is_empty())
        .collect();
    if said.is_empty() {
        format!("[{kind}]")
    } else {
        format!("[{kind} {}]", said.join(", "))
    }
}
