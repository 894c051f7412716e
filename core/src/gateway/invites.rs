//! Join tokens: an approval given beforehand, for machines that nobody watches. Hashed, bounded in
//! time and number, revocable.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::devices::{TokenDigest, new_token};
use crate::{
    protocol::Role,
    rng::Rng,
    scope::ScopeSet,
    secret::Secret,
    store::{CommitId, Journal, Mirror, Record, Row, Table},
    time::{WallTime, millis},
};

/// The longest life of a join token.
pub(crate) const MAX_TTL: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The most devices that one join token may let in.
pub(crate) const MAX_USES: u32 = 1_000;

/// Join tokens that may be open at once.
pub(crate) const MAX_INVITES: usize = 200;

/// What a join token grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InviteTerms {
    pub(crate) role: Role,
    pub(crate) scopes: ScopeSet,
    pub(crate) commands: Vec<String>,
    pub(crate) uses: u32,
    pub(crate) ttl: Duration,
    pub(crate) label: Option<String>,
}

/// One join token as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Invite {
    pub(crate) invite_id: String,
    digest: TokenDigest,
    pub(crate) role: Role,
    pub(crate) scopes: ScopeSet,
    pub(crate) commands: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<String>,
    pub(crate) uses_left: u32,
    pub(crate) created_at_ms: WallTime,
    pub(crate) expires_at_ms: WallTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) used_at_ms: Option<WallTime>,
    /// Devices that came in by it.
    #[serde(default)]
    pub(crate) devices: Vec<String>,
}

impl Record for Invite {
    const TABLE: Table = Table::Invite;

    fn key(&self) -> &str {
        &self.invite_id
    }
}

impl Invite {
    fn is_open(&self, wall: WallTime) -> bool {
        // A clock that was set back does not give it a second life.
        let begun = wall.0
            >= self
                .created_at_ms
                .0
                .saturating_sub(crate::device::MAX_SKEW_MS);
        begun && wall < self.expires_at_ms && self.uses_left > 0
    }

    /// Whether a device came in by it.
    pub(crate) fn has_let_in(&self, device: &str) -> bool {
        self.devices.iter().any(|known| known == device)
    }

    /// The wire form, without the token.
    pub(crate) fn summary(&self) -> Value {
        let mut summary = json!({
            "inviteId": self.invite_id,
            "role": self.role,
            "scopes": self.scopes,
            "commands": self.commands,
            "usesLeft": self.uses_left,
            "createdAtMs": self.created_at_ms,
            "expiresAtMs": self.expires_at_ms,
            "devices": self.devices,
        });
        if let (Some(label), Value::Object(fields)) = (&self.label, &mut summary) {
            fields.insert("label".into(), label.as_str().into());
        }
        summary
    }
}

/// All join tokens.
#[derive(Debug)]
pub(crate) struct InviteBook(Mirror<Invite>);

impl InviteBook {
    pub(crate) fn restore(rows: &[Row]) -> (Self, Vec<String>) {
        let (invites, unreadable) = Mirror::restore(rows);
        (Self(invites), unreadable)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Invite> {
        self.0.values()
    }

    /// Makes one. Those that have ended make room. Gives nothing when there are too many.
    pub(crate) fn create(
        &mut self,
        journal: &mut Journal,
        rng: &mut Rng,
        wall: WallTime,
        terms: InviteTerms,
    ) -> Option<(Invite, Secret)> {
        self.sweep(journal, wall);
        if self.0.len() >= MAX_INVITES {
            return None;
        }
        let token = new_token(rng);
        let life = millis(terms.ttl.min(MAX_TTL));
        let invite = Invite {
            invite_id: rng.uuid(),
            digest: TokenDigest::of(&token),
            role: terms.role,
            scopes: terms.scopes,
            commands: terms.commands,
            label: terms.label,
            uses_left: terms.uses.clamp(1, MAX_USES),
            created_at_ms: wall,
            expires_at_ms: WallTime(wall.0.saturating_add(life)),
            used_at_ms: None,
            devices: Vec::new(),
        };
        self.0.put(journal, invite.clone());
        Some((invite, token))
    }

    /// The open join token that was presented. A device that it let in already, and that is still
    /// approved, may come with it again, until it has stored its own token.
    pub(crate) fn find(
        &self,
        wall: WallTime,
        presented: &Secret,
        approved: Option<&str>,
    ) -> Option<&Invite> {
        self.0
            .values()
            // Every one is compared, so that the time tells nothing.
            .filter(|invite| invite.digest.matches(presented))
            .find(|invite| {
                let again = approved.is_some_and(|device| invite.has_let_in(device));
                invite.is_open(wall) || (again && wall < invite.expires_at_ms)
            })
    }

    /// A device came in by it, for the first time or after its approval was taken away.
    pub(crate) fn spend(&mut self, journal: &mut Journal, wall: WallTime, id: &str, device: &str) {
        let Some(mut invite) = self.0.get(id).cloned() else {
            return;
        };
        invite.uses_left = invite.uses_left.saturating_sub(1);
        if !invite.has_let_in(device) {
            invite.devices.push(device.into());
        }
        invite.used_at_ms = Some(wall);
        self.0.put(journal, invite);
    }

    pub(crate) fn revoke(&mut self, journal: &mut Journal, id: &str) -> Option<Invite> {
        self.0.remove(journal, id)
    }

    pub(crate) fn settle(&mut self, commit: CommitId) {
        self.0.settle(commit);
    }

    pub(crate) fn roll_back(&mut self, commit: CommitId) {
        self.0.roll_back(commit);
    }

    fn sweep(&mut self, journal: &mut Journal, wall: WallTime) {
        let ended: Vec<String> = self
            .0
            .values()
            .filter(|invite| wall >= invite.expires_at_ms)
            .map(|invite| invite.invite_id.clone())
            .collect();
        for id in ended {
            self.0.remove(journal, &id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: WallTime = WallTime(1_737_264_000_000);

    fn book(uses: u32) -> (InviteBook, Journal, Invite, Secret) {
        let mut book = InviteBook::restore(&[]).0;
        let mut journal = Journal::default();
        let terms = InviteTerms {
            role: Role::Node,
            scopes: ScopeSet::NONE,
            commands: vec!["system.run".into()],
            uses,
            ttl: Duration::from_secs(60),
            label: None,
        };
        let made = book.create(&mut journal, &mut Rng::new([3; 32]), START, terms);
        let (invite, token) = made.unwrap();
        (book, journal, invite, token)
    }

    #[test]
    fn it_lets_in_so_many_devices_and_no_more() {
        let (mut book, mut journal, invite, token) = book(2);
        for device in ["a", "b"] {
            assert!(book.find(START, &token, None).is_some());
            book.spend(&mut journal, START, &invite.invite_id, device);
        }
        assert!(book.find(START, &token, Some("c")).is_none());
        // The answer to "a" may have been lost.
        assert!(book.find(START, &token, Some("a")).is_some());
        book.revoke(&mut journal, &invite.invite_id);
        assert!(book.find(START, &token, Some("a")).is_none());
    }

    #[test]
    fn it_ends_on_time_and_is_not_revived_by_a_clock() {
        let (book, _, _, token) = book(1);
        let at = |offset: i64| WallTime(START.0.saturating_add_signed(offset));
        assert!(book.find(at(59_999), &token, Some("a")).is_some());
        assert!(book.find(at(60_000), &token, Some("a")).is_none());
        assert!(book.find(at(-3_600_000), &token, Some("a")).is_none());
        assert!(book.find(START, &Secret::new("guess"), Some("a")).is_none());
    }

    #[test]
    fn nothing_that_is_kept_or_listed_holds_the_token() {
        let (_, _, invite, token) = book(1);
        let kept = serde_json::to_string(&invite).unwrap() + &invite.summary().to_string();
        assert!(!kept.contains(token.expose()));
    }
}
