//! Grants: what `allow-always` leaves behind. The same command of the same agent, in the same place
//! and with the same environment, is not asked about again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Approval, Operation};
use crate::{
    gateway::settings::{Kept, Settings, grant_name},
    ids::ApprovalId,
    rng::Rng,
    store::Journal,
    time::{WallTime, millis},
};

/// Grants that are kept. When so many are alive, `allow-always` is good for once only.
pub(crate) const MAX_GRANTS: usize = 500;

/// What the published shape calls an automation: grants here are for any.
const AUTOMATION: &str = "any";

const MAX_SHOWN: usize = 512;

/// One grant as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Grant {
    pub(crate) grant_id: String,
    minted_by_approval_id: ApprovalId,
    agent_id: String,
    operation: Operation,
    command: String,
    cwd: Option<String>,
    created_at_ms: WallTime,
    expires_at_ms: Option<WallTime>,
    revoked_at_ms: Option<WallTime>,
    revoked_by: Option<String>,
    last_used_at_ms: Option<WallTime>,
    use_count: u64,
}

impl Grant {
    fn is_alive(&self, wall: WallTime) -> bool {
        self.revoked_at_ms.is_none() && self.expires_at_ms.is_none_or(|end| wall < end)
    }

    /// The published form.
    fn summary(&self) -> Value {
        json!({
            "grantId": self.grant_id,
            "mintedByApprovalId": self.minted_by_approval_id,
            "agentId": self.agent_id,
            "cronJobId": AUTOMATION,
            "cronJobName": null,
            "command": self.command,
            "cwd": self.cwd,
            "createdAtMs": self.created_at_ms,
            "expiresAtMs": self.expires_at_ms,
            "revokedAtMs": self.revoked_at_ms,
            "revokedBy": self.revoked_by,
            "lastUsedAtMs": self.last_used_at_ms,
            "useCount": self.use_count,
        })
    }
}

/// What became of taking a grant back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Revocation {
    AlreadyRevoked,
    NotFound,
    Revoked,
}

fn all(settings: &Settings) -> impl Iterator<Item = &Grant> {
    settings.all().filter_map(|kept| match kept {
        Kept::ExecGrant(grant) => Some(grant),
        Kept::Agent(_) | Kept::AgentFile(_) | Kept::VoiceRouting(_) | Kept::VoiceTriggers(_) => {
            None
        }
    })
}

/// The newest first.
pub(crate) fn list(settings: &Settings, limit: usize) -> Vec<Value> {
    let mut grants: Vec<&Grant> = all(settings).collect();
    grants.sort_by(|a, b| (b.created_at_ms, &b.grant_id).cmp(&(a.created_at_ms, &a.grant_id)));
    grants.into_iter().take(limit).map(Grant::summary).collect()
}

/// Leaves a grant behind. Those that have ended make room; gives nothing when there is none.
pub(crate) fn mint(
    settings: &mut Settings,
    journal: &mut Journal,
    rng: &mut Rng,
    wall: WallTime,
    (approval, agent): (&Approval, &str),
    life: Option<Duration>,
) -> Option<String> {
    let known: Vec<(String, bool)> = all(settings)
        .map(|grant| (grant.grant_id.clone(), grant.is_alive(wall)))
        .collect();
    if known.len() >= MAX_GRANTS {
        let (gone, _) = known.iter().find(|(_, alive)| !alive)?;
        settings.remove(journal, &grant_name(gone));
    }
    let short = |text: &str| text.chars().take(MAX_SHOWN).collect::<String>();
    let grant = Grant {
        grant_id: rng.uuid(),
        minted_by_approval_id: approval.id.clone(),
        agent_id: agent.into(),
        operation: approval.operation.clone(),
        command: short(&approval.request.command),
        cwd: approval
            .request
            .cwd
            .as_deref()
            .filter(|cwd| !cwd.is_empty())
            .map(short),
        created_at_ms: wall,
        expires_at_ms: life.map(|life| WallTime(wall.0.saturating_add(millis(life)))),
        revoked_at_ms: None,
        revoked_by: None,
        last_used_at_ms: None,
        use_count: 0,
    };
    let id = grant.grant_id.clone();
    settings.put(journal, Kept::ExecGrant(grant));
    Some(id)
}

/// The grant that covers an operation, if one does; it counts as used.
pub(crate) fn take(
    settings: &mut Settings,
    journal: &mut Journal,
    wall: WallTime,
    operation: &Operation,
) -> Option<String> {
    let mut grant = all(settings)
        .find(|grant| grant.operation == *operation && grant.is_alive(wall))?
        .clone();
    grant.last_used_at_ms = Some(wall);
    grant.use_count = grant.use_count.saturating_add(1);
    let id = grant.grant_id.clone();
    settings.put(journal, Kept::ExecGrant(grant));
    Some(id)
}

/// Takes a grant back.
pub(crate) fn revoke(
    settings: &mut Settings,
    journal: &mut Journal,
    wall: WallTime,
    id: &str,
    by: &str,
) -> Revocation {
    let Some(Kept::ExecGrant(grant)) = settings.get(&grant_name(id)) else {
        return Revocation::NotFound;
    };
    if grant.revoked_at_ms.is_some() {
        return Revocation::AlreadyRevoked;
    }
    let mut grant = grant.clone();
    grant.revoked_at_ms = Some(wall);
    grant.revoked_by = Some(by.chars().take(200).collect()).filter(|by: &String| !by.is_empty());
    settings.put(journal, Kept::ExecGrant(grant));
    Revocation::Revoked
}
