//! The change of the shared secret without an outage: the one before stays valid for a time that the
//! operator chooses, and whoever still uses it is known and sent away when the time is over.
//!
//! What is kept of a secret that was replaced is a digest, with a salt of its own and keyed by the
//! gateway's key: a copy of the database alone does not even allow guessing.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Gateway, admission::Proof, clients::Client};
use crate::{
    device::DeviceIdentity,
    frame::RawJson,
    policy::{self, AuthReason, AuthRequest, Granted, SecretKind, server_auth::ServerSecretSource},
    protocol::CloseCode,
    rng::Rng,
    secret::Secret,
    store::{CommitId, Journal, Row, Table, Write},
    time::{Now, WallTime, millis},
};

/// The longest time that a replaced secret may stay valid.
pub(crate) const MAX_GRACE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Replaced secrets that may be valid at once. One more ends the oldest.
const MAX_RETIRED: usize = 4;

/// The name of the row.
const KEY: &str = "retired-secrets";

/// Tells the secrets of one run apart, in the order in which they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::gateway) struct Generation(u64);

/// A secret that was replaced, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct RetiredSecret {
    pub(in crate::gateway) id: String,
    kind: SecretKind,
    salt: String,
    digest: String,
    pub(in crate::gateway) retired_at_ms: WallTime,
    pub(in crate::gateway) expires_at_ms: WallTime,
}

#[derive(Clone, Debug)]
struct Retired {
    kept: RetiredSecret,
    generation: Generation,
    ends: Instant,
}

/// The secret that clients are asked for.
#[derive(Clone, Debug)]
struct Current {
    secret: Option<Secret>,
    source: Option<ServerSecretSource>,
    generation: Generation,
}

/// What a commit that fails gives back.
#[derive(Debug)]
struct Before {
    commit: CommitId,
    current: Current,
    retired: Vec<Retired>,
}

/// A change of the secret, and the way back.
#[derive(Debug)]
pub(in crate::gateway) struct Replaced {
    by: Generation,
    old: Current,
}

/// All secrets that let clients in, apart from the current one itself, which the rule holds.
#[derive(Debug)]
pub(in crate::gateway) struct Rotation {
    pepper: Secret,
    current: Generation,
    last: Generation,
    /// The oldest first.
    retired: Vec<Retired>,
    undo: VecDeque<Before>,
}

impl Rotation {
    /// Takes what the last run kept. Gives the name of the row if it cannot be read.
    pub(in crate::gateway) fn restore(
        rows: &[Row],
        identity: &DeviceIdentity,
        now: Now,
    ) -> (Self, Option<String>) {
        let row = rows
            .iter()
            .find(|row| row.table == Table::Meta && row.key == KEY);
        let kept = row.map(|row| row.document.parse::<Vec<RetiredSecret>>());
        let unreadable = matches!(kept, Some(Err(_))).then(|| KEY.to_owned());
        let mut last = Generation::default();
        let retired = kept
            .and_then(Result::ok)
            .unwrap_or_default()
            .into_iter()
            .map(|kept| {
                last.0 += 1;
                // A clock that was set back gives no more time than there was at first.
                let whole = kept.expires_at_ms.0.saturating_sub(kept.retired_at_ms.0);
                let left = kept.expires_at_ms.0.saturating_sub(now.wall.0).min(whole);
                let ends = now.mono + Duration::from_millis(left).min(MAX_GRACE);
                Retired {
                    kept,
                    generation: last,
                    ends,
                }
            })
            .collect();
        last.0 += 1;
        let rotation = Self {
            pepper: identity.derive("clawgate retired secrets"),
            current: last,
            last,
            retired,
            undo: VecDeque::new(),
        };
        (rotation, unreadable)
    }

    /// The generation of the current secret.
    pub(in crate::gateway) const fn current(&self) -> Generation {
        self.current
    }

    /// Those that are still valid, the oldest first.
    pub(in crate::gateway) fn retired(&self) -> impl Iterator<Item = (&RetiredSecret, Generation)> {
        self.retired
            .iter()
            .map(|retired| (&retired.kept, retired.generation))
    }

    /// When the next one ends.
    pub(in crate::gateway) fn next_end(&self) -> Option<Instant> {
        self.retired.iter().map(|retired| retired.ends).min()
    }

    /// The replaced secret that was presented.
    fn find(&self, now: Instant, kind: SecretKind, presented: &Secret) -> Option<Generation> {
        self.retired
            .iter()
            // Every one is compared, so that the time tells nothing.
            .filter(|retired| self.matches(&retired.kept, presented))
            .find(|retired| retired.kept.kind == kind && now < retired.ends)
            .map(|retired| retired.generation)
    }

    fn matches(&self, kept: &RetiredSecret, presented: &Secret) -> bool {
        let digest = self.digest(&kept.salt, presented);
        digest.as_bytes().ct_eq(kept.digest.as_bytes()).into()
    }

    fn digest(&self, salt: &str, secret: &Secret) -> String {
        let inner = Sha256::new()
            .chain_update(self.pepper.expose())
            .chain_update(salt)
            .chain_update(secret.expose())
            .finalize();
        let outer = Sha256::new()
            .chain_update(self.pepper.expose())
            .chain_update(inner)
            .finalize();
        URL_SAFE_NO_PAD.encode(outer)
    }

    /// The old secret was replaced by `new`. Without a time of grace, everything older than the new
    /// one is worth nothing from now on.
    fn replace(
        &mut self,
        journal: &mut Journal,
        rng: &mut Rng,
        now: Now,
        (kind, old, new): (SecretKind, Option<&Secret>, &Secret),
        grace: Duration,
    ) {
        let had_any = !self.retired.is_empty();
        let outgoing = self.current;
        // A secret that comes back takes its clients along.
        let back = self
            .retired
            .iter()
            .find(|retired| retired.kept.kind == kind && self.matches(&retired.kept, new))
            .map(|retired| retired.generation);
        self.current = back.unwrap_or_else(|| {
            self.last.0 += 1;
            self.last
        });
        self.retired
            .retain(|retired| Some(retired.generation) != back);
        if grace.is_zero() {
            self.retired.clear();
        } else if let Some(old) = old {
            let salt = URL_SAFE_NO_PAD.encode(rng.seed());
            let grace = grace.min(MAX_GRACE);
            self.retired.push(Retired {
                kept: RetiredSecret {
                    id: rng.uuid(),
                    kind,
                    digest: self.digest(&salt, old),
                    salt,
                    retired_at_ms: now.wall,
                    expires_at_ms: WallTime(now.wall.0.saturating_add(millis(grace))),
                },
                generation: outgoing,
                ends: now.mono + grace,
            });
            let surplus = self.retired.len().saturating_sub(MAX_RETIRED);
            self.retired.drain(..surplus);
        }
        if had_any || !self.retired.is_empty() {
            self.write(journal);
        }
    }

    /// Drops those whose time is over. Nothing waits for the disk: a row that stays behind is found
    /// to have ended by the next run.
    pub(in crate::gateway) fn expire(&mut self, journal: &mut Journal, now: Instant) -> bool {
        let before = self.retired.len();
        self.retired.retain(|retired| now < retired.ends);
        let ended = self.retired.len() < before;
        if ended {
            self.write(journal);
        }
        ended
    }

    fn write(&self, journal: &mut Journal) {
        let kept: Vec<&RetiredSecret> = self.retired.iter().map(|retired| &retired.kept).collect();
        let (table, key) = (Table::Meta, KEY.to_owned());
        journal.stage(match RawJson::encode(&kept) {
            Ok(document) if !kept.is_empty() => Write::Put {
                table,
                key,
                document,
            },
            Ok(_) | Err(_) => Write::Delete { table, key },
        });
    }

    pub(in crate::gateway) fn settle(&mut self, commit: CommitId) {
        self.undo.retain(|before| before.commit > commit);
    }
}

impl Gateway {
    /// Decides whether a client is let in, by the current secret or by one whose grace lasts.
    pub(super) fn authorize(
        &self,
        now: Now,
        request: &AuthRequest<'_>,
    ) -> Result<(Granted, Generation), AuthReason> {
        let rule = &self.setup.admission.auth;
        match policy::authorize(rule, request) {
            Ok(granted) => Ok((granted, self.rotation.current)),
            Err(AuthReason::Mismatch(kind)) => policy::presented_secret(rule, request)
                .and_then(|presented| self.rotation.find(now.mono, kind, presented))
                .map(|generation| (Granted::from(kind), generation))
                .ok_or(AuthReason::Mismatch(kind)),
            Err(reason) => Err(reason),
        }
    }

    /// From now on this is the shared secret. Gives the way back, or nothing when the gateway asks for
    /// no secret. Call [`Gateway::dismiss_outdated`] after the answer.
    pub(super) fn replace_secret(
        &mut self,
        now: Now,
        secret: Secret,
        source: ServerSecretSource,
        grace: Duration,
    ) -> Option<Replaced> {
        let kind = self.setup.admission.auth.shared_kind()?;
        let (commit, retired) = (self.out.journal.next(), self.rotation.retired.clone());
        let old = Current {
            secret: self.setup.admission.auth.shared_secret().cloned(),
            source: self.setup.host.secret_source,
            generation: self.rotation.current,
        };
        self.rotation.replace(
            &mut self.out.journal,
            &mut self.rng,
            now,
            (kind, old.secret.as_ref(), &secret),
            grace,
        );
        let generation = self.rotation.current;
        self.use_secret(Current {
            secret: Some(secret),
            source: Some(source),
            generation,
        });
        if self.out.journal.open() == Some(commit) {
            self.rotation.undo.push_back(Before {
                commit,
                current: old.clone(),
                retired,
            });
        }
        Some(Replaced {
            by: generation,
            old,
        })
    }

    fn use_secret(&mut self, current: Current) {
        self.rotation.current = current.generation;
        self.setup.admission.auth.set_shared_secret(current.secret);
        self.setup.host.secret_source = current.source;
    }

    /// A commit failed: the secret of before is the current one again.
    pub(super) fn roll_back_secret(&mut self, commit: CommitId) {
        let first = self
            .rotation
            .undo
            .iter()
            .position(|before| before.commit >= commit);
        let Some(before) = first.and_then(|at| self.rotation.undo.drain(at..).next()) else {
            return;
        };
        self.rotation.retired = before.retired;
        self.use_secret(before.current);
        self.dismiss_outdated();
    }

    /// The new secret could not be put where it is read at the next start: the one before comes
    /// back.
    pub(super) fn give_up_secret(&mut self, replaced: Replaced) {
        if self.rotation.current != replaced.by {
            return;
        }
        let back = replaced.old.generation;
        self.rotation
            .retired
            .retain(|retired| retired.generation != back);
        self.rotation.write(&mut self.out.journal);
        self.use_secret(replaced.old);
        self.dismiss_outdated();
    }

    /// Drops what has ended, and whoever came in by it.
    pub(super) fn expire_secrets(&mut self, now: Now) {
        if self.rotation.expire(&mut self.out.journal, now.mono) {
            self.dismiss_outdated();
        }
    }

    /// Sends the clients away whose secret is worth nothing any more.
    pub(super) fn dismiss_outdated(&mut self) {
        let retired = self.rotation.retired().map(|(_, generation)| generation);
        let valid: Vec<Generation> = retired.chain([self.rotation.current]).collect();
        self.dismiss(CloseCode::AuthChanged, "gateway auth changed", |client| {
            client
                .generation()
                .is_some_and(|generation| !valid.contains(&generation))
        });
    }
}

impl Client {
    /// The secret that it came in by.
    pub(super) const fn generation(&self) -> Option<Generation> {
        match &self.proof {
            Proof::Shared(_, generation) => Some(*generation),
            Proof::DeviceToken
            | Proof::Invite(_)
            | Proof::Open
            | Proof::Owner
            | Proof::Proxy(_)
            | Proof::Tailscale(_) => None,
        }
    }
}
