//! Which place a session belongs to, and what is known of places where nobody has written yet.

use super::{DeliverTo, MessageRecord};
use crate::{
    channel::{AccountRef, ChatKind, DEFAULT_ACCOUNT, Place},
    gateway::{Gateway, sessions::SessionKey},
    protocol::RpcError,
};

/// Bytes of a chat's or a topic's id.
const MAX_ID: usize = 256;

/// Where something is to be said, as a caller names it.
#[derive(Clone, Debug, Default)]
pub(in crate::gateway) struct Route {
    pub(in crate::gateway) channel: Option<String>,
    pub(in crate::gateway) account: Option<String>,
    pub(in crate::gateway) to: Option<String>,
    pub(in crate::gateway) thread: Option<String>,
}

impl Gateway {
    /// The place that a caller names.
    ///
    /// # Errors
    /// When there is no such channel or account, it cannot be used, or no chat has such an id.
    pub(in crate::gateway) fn find_place(&self, route: &Route) -> Result<Place, RpcError> {
        let channel = match named(route.channel.as_deref()) {
            Some(channel) => channel.to_owned(),
            None => self.only_channel()?,
        };
        let account = self.find_account(&channel, route.account.as_deref())?;
        self.usable_account(&account)?;
        let chat = id("to", route.to.as_deref())?
            .ok_or_else(|| RpcError::invalid_request("to is missing: the id of a chat"))?;
        let thread = id("threadId", route.thread.as_deref())?;
        Ok(Place {
            account,
            chat,
            thread,
        })
    }

    /// Where the answer of a run goes that is to be delivered: where its caller says, or else where the
    /// session's messages come from.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub(in crate::gateway) fn deliver_to(
        &self,
        key: &SessionKey,
        route: &Route,
    ) -> Result<DeliverTo, RpcError> {
        let (place, kind) = if named(route.to.as_deref()).is_some() {
            let place = self.find_place(route)?;
            let kind = self.kind_of(&place);
            (place, kind)
        } else {
            let missing = "deliver needs a chat: give channel and to, or the session of a chat";
            let (place, kind) = self
                .place_of(key)
                .ok_or_else(|| RpcError::invalid_request(missing))?;
            self.usable_account(&place.account)?;
            (place, kind)
        };
        Ok(DeliverTo {
            place,
            kind,
            reply_to: None,
            answers: None,
        })
    }

    /// What kind of chat it is: as the last message there said.
    pub(in crate::gateway) fn kind_of(&self, place: &Place) -> ChatKind {
        let known = self.last_where(|record| {
            record.place.account == place.account && record.place.chat == place.chat
        });
        known.map_or_else(|| guessed_kind(place), |record| record.kind)
    }

    /// The place whose messages a session answers.
    pub(in crate::gateway) fn place_of(&self, key: &SessionKey) -> Option<(Place, ChatKind)> {
        let is_its =
            |place: &Place, kind| self.session_of(place, kind).is_ok_and(|its| its == *key);
        let known = self.last_where(|record| is_its(&record.place, record.kind));
        if let Some(record) = known {
            return Some((record.place.clone(), record.kind));
        }
        let (_, name) = key.as_str().strip_prefix("agent:")?.split_once(':')?;
        self.account_names()
            .iter()
            .filter_map(|account| read_name(account, name))
            .find(|(place, kind)| is_its(place, *kind))
    }

    fn last_where(&self, is_it: impl Fn(&MessageRecord) -> bool) -> Option<&MessageRecord> {
        let all = self.channels.messages().filter(|record| is_it(record));
        all.max_by_key(|record| record.order)
    }
}

/// What a chat is where nobody has written yet: groups of Telegram have negative ids.
fn guessed_kind(place: &Place) -> ChatKind {
    if place.account.channel == "telegram" && place.chat.starts_with('-') {
        ChatKind::Group
    } else {
        ChatKind::Direct
    }
}

/// The part of a session's key that names a place. Keys do not tell capitals from small letters, and
/// ids of services do.
pub(super) fn session_name(place: &Place, kind: ChatKind) -> String {
    let kind = match kind {
        ChatKind::Direct => "direct",
        ChatKind::Group => "group",
    };
    let account = &place.account;
    let mut name = escaped(&account.channel);
    if account.account != DEFAULT_ACCOUNT {
        name = format!("{name}:{}", escaped(&account.account));
    }
    name = format!("{name}:{kind}:{}", escaped(&place.chat));
    if let Some(thread) = &place.thread {
        name = format!("{name}:topic:{}", escaped(thread));
    }
    name
}

/// The reverse of [`session_name`], for one account.
fn read_name(account: &AccountRef, name: &str) -> Option<(Place, ChatKind)> {
    let rest = name.strip_prefix(&escaped(&account.channel))?;
    let mut parts = rest.strip_prefix(':')?.split(':');
    if account.account != DEFAULT_ACCOUNT && parts.next()? != escaped(&account.account) {
        return None;
    }
    let kind = match parts.next()? {
        "direct" => ChatKind::Direct,
        "group" => ChatKind::Group,
        _ => return None,
    };
    let chat = unescaped(parts.next()?)?;
    let thread = match (parts.next(), parts.next(), parts.next()) {
        (None, _, _) => None,
        (Some("topic"), Some(thread), None) => Some(unescaped(thread)?),
        (Some(_), _, _) => return None,
    };
    let account = account.clone();
    let place = Place {
        account,
        chat,
        thread,
    };
    Some((place, kind))
}

/// Keeps what no key changes; other bytes become `%` and two digits.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'@' | b'+' | b'=' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02x}")),
        }
    }
    escaped
}

fn unescaped(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn named(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn id(field: &str, text: Option<&str>) -> Result<Option<String>, RpcError> {
    let Some(text) = named(text) else {
        return Ok(None);
    };
    if text.len() > MAX_ID || text.chars().any(char::is_control) {
        return Err(RpcError::invalid_request(format!(
            "{field} is no id: it has more than {MAX_ID} bytes, or control characters"
        )));
    }
    Ok(Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(account: &str, chat: &str, thread: Option<&str>) -> Place {
        Place {
            account: AccountRef::new("telegram", account),
            chat: chat.into(),
            thread: thread.map(Into::into),
        }
    }

    #[test]
    fn no_two_places_share_a_session() {
        let places = [
            (place("default", "5", None), "telegram:direct:5"),
            (
                place("default", "-100", Some("7")),
                "telegram:direct:-100:topic:7",
            ),
            (
                place("default", "-100:topic:7", None),
                "telegram:direct:-100%3atopic%3a7",
            ),
            (place("default", "Ab", None), "telegram:direct:%41b"),
            (place("default", "ab", None), "telegram:direct:ab"),
            (place("direct", "5", None), "telegram:direct:direct:5"),
            (
                place("default", "direct:5", None),
                "telegram:direct:direct%3a5",
            ),
            (place("default", "%41b", None), "telegram:direct:%2541b"),
            (place("default", "é", None), "telegram:direct:%c3%a9"),
        ];
        for (place, name) in places {
            assert_eq!(session_name(&place, ChatKind::Direct), name);
            let read = read_name(&place.account, name);
            assert_eq!(read, Some((place, ChatKind::Direct)), "{name}");
        }
        let account = AccountRef::new("telegram", "default");
        for odd in [
            "telegram",
            "telegram:direct",
            "telegram:x:5",
            "telegram:direct:5:topic",
            "telegram:direct:%4",
        ] {
            assert_eq!(read_name(&account, odd), None, "{odd}");
        }
    }
}
