//! Text that may be shown to strangers: people and places are shortened.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use crate::policy::HostClass;

/// What is shortened, and to what:
///
/// - the home folder becomes `~`, the user's name `(user)`;
/// - of an IPv4 address the first two numbers stay, of an IPv6 address the first group;
/// - of a host's name the first letter of each label stays, and the last label whole.
///
/// This machine's own addresses and names (`127.0.0.1`, `localhost`, `0.0.0.0`) stay, and so do ports:
/// without them nobody could help.
#[derive(Clone, Debug, Default)]
pub struct Paste {
    /// What is replaced wherever it stands alone, the longest first.
    words: Vec<(String, String)>,
}

impl Paste {
    /// Knows the home folder.
    pub fn home(&mut self, path: &str) {
        self.word(path.trim_end_matches('/'), "~".to_owned());
    }

    /// Knows the user's name.
    pub fn user(&mut self, name: &str) {
        self.word(name, "(user)".to_owned());
    }

    /// Knows a host by name. Addresses are known by themselves.
    pub fn host(&mut self, name: &str) {
        let is_address = name.parse::<IpAddr>().is_ok();
        if !is_address && HostClass::of_name(name) != HostClass::Loopback {
            self.word(name, short_name(name));
        }
    }

    fn word(&mut self, word: &str, short: String) {
        // One letter would be found in every other word.
        if word.chars().count() > 1 && !self.words.iter().any(|(known, _)| known == word) {
            self.words.push((word.to_owned(), short));
            self.words
                .sort_by_key(|(word, _)| core::cmp::Reverse(word.len()));
        }
    }

    /// The text, shortened.
    pub fn text(&self, text: &str) -> String {
        let text = shorten_urls(text);
        let text = self
            .words
            .iter()
            .fold(text, |text, (word, short)| replace_word(&text, word, short));
        shorten_addresses(&text)
    }

    /// Every text in a document, keys too.
    pub fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(key, value)| (self.text(key), self.value(value)))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }
}

fn short_name(name: &str) -> String {
    let name = name.trim_end_matches('.');
    let labels: Vec<&str> = name.split('.').collect();
    let last = labels.len().saturating_sub(1);
    let short: Vec<String> = labels
        .iter()
        .enumerate()
        .map(|(index, label)| match label.chars().next() {
            Some(first) if index < last || last == 0 => format!("{first}…"),
            Some(_) | None => (*label).to_owned(),
        })
        .collect();
    short.join(".")
}

fn short_address(ip: IpAddr) -> String {
    match (HostClass::of_ip(ip), ip) {
        (HostClass::Loopback | HostClass::Unspecified, _) => ip.to_string(),
        (_, IpAddr::V4(ip)) => {
            let [a, b, _, _] = ip.octets();
            format!("{a}.{b}.x.x")
        }
        (_, IpAddr::V6(ip)) => {
            let [first, ..] = ip.segments();
            format!("{first:x}:…")
        }
    }
}

/// Hosts of URLs, known or not. User and password go.
fn shorten_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after
            .find(|c: char| {
                !(c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']' | '@' | '%'))
            })
            .unwrap_or(after.len());
        let (authority, more) = after.split_at(end);
        out.push_str(&short_authority(authority));
        rest = more;
    }
    out.push_str(rest);
    out
}

fn short_authority(authority: &str) -> String {
    let host = authority.rsplit_once('@').map_or(authority, |(_, it)| it);
    let (host, port) = match host.strip_prefix('[').and_then(|it| it.split_once(']')) {
        Some((inside, port)) => (inside, port),
        None => match host.rfind(':') {
            Some(at) => host.split_at(at),
            None => (host, ""),
        },
    };
    let short = match host.parse::<IpAddr>() {
        Ok(ip @ IpAddr::V6(_)) => format!("[{}]", short_address(ip)),
        Ok(ip) => short_address(ip),
        Err(_) if HostClass::of_name(host) == HostClass::Loopback => host.to_owned(),
        Err(_) => short_name(host),
    };
    format!("{short}{port}")
}

/// Addresses that stand in the text.
fn shorten_addresses(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let (before, after) = rest.split_at(start);
        out.push_str(before);
        let end = after.find(|c| !is_part(c)).unwrap_or(after.len());
        let (run, more) = after.split_at(end);
        out.push_str(&short_run(run));
        rest = more;
    }
    out.push_str(rest);
    out
}

/// A run of characters of addresses, with a port or a dot behind it at most.
fn short_run(run: &str) -> String {
    let bare = run.trim_end_matches(['.', ':']);
    let end = run.get(bare.len()..).unwrap_or_default();
    if bare.matches(':').count() > 1 {
        if let Ok(ip) = bare.parse::<Ipv6Addr>() {
            return format!("{}{end}", short_address(ip.into()));
        }
        return run.to_owned();
    }
    let (host, port) = match bare.find(':') {
        Some(at) => bare.split_at(at),
        None => (bare, ""),
    };
    match host.parse::<Ipv4Addr>() {
        Ok(ip) => format!("{}{port}{end}", short_address(ip.into())),
        Err(_) => run.to_owned(),
    }
}

/// Replaces a word where no letter or digit stands beside it.
fn replace_word(text: &str, word: &str, short: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let joins = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    while let Some(at) = rest.find(word) {
        let (before, found) = rest.split_at(at);
        let after = found.get(word.len()..).unwrap_or_default();
        out.push_str(before);
        let alone = !joins(out.chars().next_back()) && !joins(after.chars().next());
        out.push_str(if alone { short } else { word });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn paste() -> Paste {
        let mut paste = Paste::default();
        paste.home("/home/ada/");
        paste.user("ada");
        paste.host("attic");
        paste.host("localhost");
        paste.host("10.1.2.3");
        paste
    }

    #[test]
    fn people_and_places_are_shortened() {
        for (text, short) in [
            ("/home/ada/.openclaw", "~/.openclaw"),
            ("by ada@attic, adamant", "by (user)@a…, adamant"),
            ("wss://gw.fish.ts.net/x", "wss://g….f….t….net/x"),
            ("ws://u:p@10.1.2.3:1", "ws://10.1.x.x:1"),
            ("ws://[fd7a:115c::1]:2.", "ws://[fd7a:…]:2."),
            ("from 203.0.114.9.", "from 203.0.x.x."),
            ("at fe80::1:2 now", "at fe80:… now"),
            (
                "ws://127.0.0.1:18789 [::1]:5",
                "ws://127.0.0.1:18789 [::1]:5",
            ),
            ("http://localhost:1", "http://localhost:1"),
            ("2026-11-22T05:08:37.324Z", "2026-11-22T05:08:37.324Z"),
            ("0.1.0, 12:30:01", "0.1.0, 12:30:01"),
            ("gateway.auth.token", "gateway.auth.token"),
            ("a://", "a://"),
        ] {
            assert_eq!(paste().text(text), short, "{text}");
        }
    }

    #[test]
    fn documents_are_shortened_all_through() {
        let document = json!({ "/home/ada": ["attic", 1, null] });
        assert_eq!(paste().value(&document), json!({ "~": ["a…", 1, null] }));
    }
}
