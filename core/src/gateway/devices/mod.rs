//! Devices: who is paired, who asks to be, and the tokens of both (spec protocol §3.6, §6.9).

mod plan;
mod record;
mod token;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{
    device::VerifiedDevice,
    protocol::Role,
    rng::Rng,
    scope::ScopeSet,
    secret::Secret,
    store::{CommitId, Journal, Mirror, Row},
    time::{Now, WallTime},
};

pub(crate) use plan::{Asked, PairingReason, Plan, Program, plan};
pub use plan::{LocalApproval, PairingPolicy};
pub(crate) use record::{ApprovedVia, DeviceFacts, PairRequest, PairedDevice};
pub(crate) use token::{DeviceToken, TokenDigest, new_token};

/// How long a request waits for an answer (spec protocol §3.6).
pub(crate) const REQUEST_TTL: Duration = Duration::from_millis(300_000);

/// How often the time of the last visit is written down: a device that reconnects all the time
/// shall not cost a write each time.
const SEEN_EVERY_MS: u64 = 600_000;

/// A device that presents a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presented<'a> {
    pub(crate) device: &'a VerifiedDevice,
    pub(crate) role: Role,
    pub(crate) scopes: &'a ScopeSet,
    pub(crate) token: &'a Secret,
}

/// Why a device token does not let a device in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenRefusal {
    /// It is not this device's token for this role, or it was revoked.
    Mismatch,
    /// It does not cover the scopes that are asked for.
    Scopes,
}

/// A token for `hello-ok`.
#[derive(Clone, Debug)]
pub(crate) struct IssuedToken {
    pub(crate) token: Secret,
    pub(crate) issued_at: WallTime,
}

/// What became of asking for a device.
#[derive(Clone, Debug)]
pub(crate) enum Filed {
    /// Too many wait already.
    Full,
    /// It waits now, in place of these.
    New(PairRequest, Vec<PairRequest>),
    /// The same question waits already. It keeps its id: somebody may just be typing it.
    Same(PairRequest),
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    Approved,
    Expired,
    Rejected,
}

impl Resolution {
    /// The word on the wire.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
        }
    }
}

/// What an approval gives.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) role: Role,
    pub(crate) scopes: ScopeSet,
    pub(crate) commands: Vec<String>,
    pub(crate) via: ApprovedVia,
}

/// All devices.
#[derive(Debug)]
pub(crate) struct DeviceBook {
    devices: Mirror<PairedDevice>,
    requests: Mirror<PairRequest>,
    /// When requests end, in monotonic time.
    ends: BTreeSet<(Instant, String)>,
    /// Tokens given out in this run, so that a device gets the same one again.
    issued: BTreeMap<(String, Role), Secret>,
}

impl DeviceBook {
    /// Takes the records of the last run. Gives the keys of those that cannot be read.
    pub(crate) fn restore(rows: &[Row], now: Now) -> (Self, Vec<String>) {
        let (devices, mut unreadable) = Mirror::restore(rows);
        let (requests, more) = Mirror::<PairRequest>::restore(rows);
        unreadable.extend(more);
        let ends = requests
            .values()
            .map(|request| {
                // A clock that jumped neither ends a request at once nor keeps it for ever.
                let age = Duration::from_millis(now.wall.0.saturating_sub(request.ts.0));
                let left = REQUEST_TTL.saturating_sub(age);
                (now.mono + left, request.request_id.clone())
            })
            .collect();
        let book = Self {
            devices,
            requests,
            ends,
            issued: BTreeMap::new(),
        };
        (book, unreadable)
    }

    /// A paired device by its name.
    pub(crate) fn get(&self, device_id: &str) -> Option<&PairedDevice> {
        self.devices.get(device_id)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &PairedDevice> {
        self.devices.values()
    }

    pub(crate) fn requests(&self) -> impl Iterator<Item = &PairRequest> {
        self.requests.values()
    }

    pub(crate) fn request(&self, id: &str) -> Option<&PairRequest> {
        self.requests.get(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.devices.len()
    }

    /// Checks a device token.
    pub(crate) fn check_token(&self, presented: Presented<'_>) -> Result<(), TokenRefusal> {
        let token = self
            .devices
            .get(presented.device.id.as_str())
            .filter(|device| device.roles.contains(&presented.role))
            .and_then(|device| device.tokens.get(&presented.role))
            .filter(|token| token.accepts(presented.token))
            .ok_or(TokenRefusal::Mismatch)?;
        if token.scopes.covers(presented.scopes) {
            Ok(())
        } else {
            Err(TokenRefusal::Scopes)
        }
    }

    /// Whether a device has a token for a role that it could try instead of what it sent.
    pub(crate) fn has_token(&self, device_id: &str, role: Role) -> bool {
        self.devices
            .get(device_id)
            .and_then(|device| device.tokens.get(&role))
            .is_some_and(DeviceToken::is_live)
    }

    /// Finds or makes the request that stands for what a device asks in one role. At most `limit`
    /// wait.
    pub(crate) fn file(
        &mut self,
        journal: &mut Journal,
        rng: &mut Rng,
        now: Now,
        new: PairRequest,
        limit: usize,
    ) -> Filed {
        let before =
            |request: &&PairRequest| request.device_id == new.device_id && request.role == new.role;
        let replaced: Vec<PairRequest> = self.requests.values().filter(before).cloned().collect();
        if let Some(same) = replaced
            .iter()
            .find(|request| request.scopes == new.scopes && request.facts == new.facts)
        {
            return Filed::Same(same.clone());
        }
        if self.requests.len() - replaced.len() >= limit {
            return Filed::Full;
        }
        for old in &replaced {
            self.drop_request(journal, &old.request_id);
        }
        let request = PairRequest {
            request_id: rng.uuid(),
            ..new
        };
        self.ends
            .insert((now.mono + REQUEST_TTL, request.request_id.clone()));
        self.requests.put(journal, request.clone());
        Filed::New(request, replaced)
    }

    /// Removes a request.
    pub(crate) fn drop_request(&mut self, journal: &mut Journal, id: &str) -> Option<PairRequest> {
        self.ends.retain(|(_, request)| request != id);
        self.requests.remove(journal, id)
    }

    /// When the next request ends.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// Removes the requests that nobody answered.
    pub(crate) fn expire(&mut self, journal: &mut Journal, now: Instant) -> Vec<PairRequest> {
        let ended: Vec<String> = self
            .ends
            .iter()
            .take_while(|(end, _)| *end <= now)
            .map(|(_, id)| id.clone())
            .collect();
        ended
            .iter()
            .filter_map(|id| self.drop_request(journal, id))
            .collect()
    }

    /// Removes the requests of a device that the test picks.
    fn drop_requests(
        &mut self,
        journal: &mut Journal,
        device_id: &str,
        picks: impl Fn(&PairRequest) -> bool,
    ) -> Vec<PairRequest> {
        let picked: Vec<String> = self
            .requests
            .values()
            .filter(|request| request.device_id == device_id && picks(request))
            .map(|request| request.request_id.clone())
            .collect();
        picked
            .iter()
            .filter_map(|id| self.drop_request(journal, id))
            .collect()
    }

    /// Approves a device, or widens what it has. Gives its pending requests that this answers.
    pub(crate) fn approve(
        &mut self,
        journal: &mut Journal,
        wall: WallTime,
        (device_id, public_key): (&str, &str),
        facts: DeviceFacts,
        grant: Grant,
    ) -> (PairedDevice, Vec<PairRequest>) {
        let known = self.devices.get(device_id).cloned();
        let mut device = known.unwrap_or_else(|| PairedDevice {
            device_id: device_id.into(),
            public_key: public_key.into(),
            facts: DeviceFacts::default(),
            operator_label: None,
            roles: Default::default(),
            scopes: ScopeSet::NONE,
            invited_commands: Vec::new(),
            created_at_ms: wall,
            approved_at_ms: wall,
            approved_via: grant.via,
            last_seen_at_ms: None,
            tokens: BTreeMap::new(),
        });
        device.roles.insert(grant.role);
        // A revoked token does not come back; the next one is new.
        device.tokens.retain(|_, token| token.is_live());
        device.scopes = device.scopes.union(&grant.scopes);
        device.facts = facts;
        device.approved_at_ms = wall;
        device.approved_via = grant.via;
        device.invited_commands.extend(grant.commands);
        device.invited_commands.sort();
        device.invited_commands.dedup();
        let answered = self.drop_requests(journal, device_id, |request| {
            device.roles.contains(&request.role) && device.scopes.covers(&request.scopes)
        });
        self.devices.put(journal, device.clone());
        (device, answered)
    }

    /// The token for `hello-ok`: the presented one, one of this run, or a new one.
    pub(crate) fn token_for(
        &mut self,
        journal: &mut Journal,
        rng: &mut Rng,
        wall: WallTime,
        (device_id, role): (&str, Role),
        scopes: &ScopeSet,
        presented: Option<&Secret>,
    ) -> Option<IssuedToken> {
        let mut device = self.devices.get(device_id)?.clone();
        let key = (device_id.to_owned(), role);
        let live = device
            .tokens
            .get(&role)
            .filter(|token| token.is_live() && token.scopes.covers(scopes));
        let known = [presented, self.issued.get(&key)]
            .into_iter()
            .flatten()
            .find(|token| live.is_some_and(|live| live.accepts(token)))
            .cloned();
        let seen = device
            .last_seen_at_ms
            .is_some_and(|seen| wall.0.abs_diff(seen.0) < SEEN_EVERY_MS);
        if let Some(token) = known {
            let kept = device.tokens.get_mut(&role)?;
            let issued_at = kept.created_at_ms;
            let arrived = presented.is_some_and(|presented| kept.supersedes(presented));
            if !seen || arrived {
                if arrived {
                    kept.drop_previous();
                }
                kept.last_used_at_ms = Some(wall);
                device.last_seen_at_ms = Some(wall);
                self.devices.put(journal, device);
            }
            return Some(IssuedToken { token, issued_at });
        }
        let token = new_token(rng);
        let next = match live {
            Some(live) => live.renewed(&token, wall),
            None => DeviceToken::new(&token, scopes.clone(), wall),
        };
        device.tokens.insert(role, next);
        device.last_seen_at_ms = Some(wall);
        self.devices.put(journal, device);
        self.issued.insert(key, token.clone());
        Some(IssuedToken {
            token,
            issued_at: wall,
        })
    }

    /// Changes a record.
    pub(crate) fn change(
        &mut self,
        journal: &mut Journal,
        device_id: &str,
        change: impl FnOnce(&mut PairedDevice),
    ) -> bool {
        let Some(mut device) = self.devices.get(device_id).cloned() else {
            return false;
        };
        change(&mut device);
        self.devices.put(journal, device);
        true
    }

    /// Forgets a device. Gives what it asked for, or nothing if it is unknown.
    pub(crate) fn remove(
        &mut self,
        journal: &mut Journal,
        device_id: &str,
    ) -> Option<Vec<PairRequest>> {
        self.devices.remove(journal, device_id)?;
        self.issued.retain(|(id, _), _| id != device_id);
        Some(self.drop_requests(journal, device_id, |_| true))
    }

    /// Takes a role away from a device, and forgets a device that has no other. Gives what it asked
    /// for in that role, or nothing if it does not have it.
    pub(crate) fn remove_role(
        &mut self,
        journal: &mut Journal,
        device_id: &str,
        role: Role,
    ) -> Option<Vec<PairRequest>> {
        let mut device = self.devices.get(device_id)?.clone();
        if !device.roles.remove(&role) {
            return None;
        }
        if device.roles.is_empty() {
            return self.remove(journal, device_id);
        }
        device.tokens.remove(&role);
        if role == Role::Node {
            device.invited_commands.clear();
        }
        self.devices.put(journal, device);
        self.issued.remove(&(device_id.to_owned(), role));
        Some(self.drop_requests(journal, device_id, |request| request.role == role))
    }

    /// A new token takes the place of the old one, which is worth nothing from now on.
    pub(crate) fn rotate(
        &mut self,
        journal: &mut Journal,
        rng: &mut Rng,
        wall: WallTime,
        (device_id, role): (&str, Role),
        scopes: ScopeSet,
    ) -> Option<Secret> {
        let mut device = self.devices.get(device_id)?.clone();
        let old = device.tokens.get(&role);
        let token = new_token(rng);
        let mut next = DeviceToken::new(&token, scopes, wall);
        next.created_at_ms = old.map_or(wall, |old| old.created_at_ms);
        next.rotated_at_ms = Some(wall);
        device.tokens.insert(role, next);
        self.devices.put(journal, device);
        let key = (device_id.to_owned(), role);
        self.issued.insert(key, token.clone());
        Some(token)
    }

    /// Takes a token's worth away.
    pub(crate) fn revoke(
        &mut self,
        journal: &mut Journal,
        wall: WallTime,
        (device_id, role): (&str, Role),
    ) -> bool {
        let live = self
            .devices
            .get(device_id)
            .and_then(|device| device.tokens.get(&role))
            .is_some();
        self.issued.remove(&(device_id.to_owned(), role));
        live && self.change(journal, device_id, |device| {
            if let Some(token) = device.tokens.get_mut(&role) {
                token.revoked_at_ms.get_or_insert(wall);
            }
        })
    }

    /// The last change of a device, or of a request, that is not durable yet.
    pub(crate) fn unsettled(&self, key: &str) -> Option<CommitId> {
        self.devices
            .unsettled(key)
            .max(self.requests.unsettled(key))
    }

    pub(crate) fn settle(&mut self, commit: CommitId) {
        self.devices.settle(commit);
        self.requests.settle(commit);
    }

    pub(crate) fn roll_back(&mut self, commit: CommitId, now: Now) {
        self.devices.roll_back(commit);
        self.requests.roll_back(commit);
        // A token that was handed out with the lost change is worth nothing.
        self.issued.retain(|(id, role), token| {
            self.devices
                .get(id)
                .and_then(|device| device.tokens.get(role))
                .is_some_and(|kept| kept.accepts(token))
        });
        let requests = &self.requests;
        self.ends.retain(|(_, id)| requests.get(id).is_some());
        // What the lost commit had dropped is here again, and has to end some time.
        for request in requests.values() {
            let id = &request.request_id;
            if !self.ends.iter().any(|(_, known)| known == id) {
                self.ends.insert((now.mono + REQUEST_TTL, id.clone()));
            }
        }
    }
}
