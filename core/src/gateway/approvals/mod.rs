//! Approvals: questions whether a program may run, and the one answer that each gets (spec protocol
//! §6.8).
//!
//! [`ApprovalBook`] keeps what waits and what was decided lately; both survive a restart. The
//! gateway's part is [`Gateway::request_approval`] and one way to an end, by which whoever asked is
//! told.

mod grants;
mod record;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Gateway, clients::Client};
use crate::{
    frame::{Droppable, OutboundEvent, RawJson},
    ids::{ApprovalId, ConnId, RequestId, RunId, ToolCallId},
    limits::Limits,
    protocol::{ClientId, Role, RpcCode, RpcError},
    scope::Scope,
    server::Delivery,
    store::{CommitId, Journal, Mirror, Row},
    time::{Now, WallTime, millis},
};

pub(crate) use grants::{Grant, MAX_GRANTS, list as list_grants, revoke as revoke_grant};
pub(crate) use record::{
    ActionScope, Approval, Ended, Ending, ExecRequest, Operation, Resolver, ResolverKind, RunCall,
};
pub use record::{Decision, shown};

/// How long a question waits unless the asker says otherwise (spec protocol §6.8).
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(1_800_000);

/// Time before an end that could not be kept is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// The longest that a question may wait.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);

/// The shortest beginning of an id that stands for the whole.
const MIN_PREFIX: usize = 8;

/// A question, before it is asked.
#[derive(Clone, Debug)]
pub(crate) struct ApprovalAsk {
    /// An id of the asker's choice.
    pub(crate) id: Option<ApprovalId>,
    pub(crate) request: ExecRequest,
    /// The words of the command, for the comparison with grants.
    pub(crate) argv: Vec<String>,
    /// The environment, for the same; it is not kept.
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) reach: Reach,
}

impl ApprovalAsk {
    /// May this command run? Set what is known beside it.
    pub(crate) fn command(command: &str) -> Self {
        let request = ExecRequest {
            command: shown(command),
            allowed_decisions: allowed_decisions(None, false),
            ..ExecRequest::default()
        };
        Self {
            id: None,
            request,
            argv: Vec::new(),
            env: BTreeMap::new(),
            timeout: None,
            reach: Reach::Needed,
        }
    }
}

/// Whether somebody has to be there who could decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Without a reviewer it ends at once.
    Needed,
    /// It waits for one.
    Optional,
    /// It waits, and nobody is told: somebody else tells the reviewers.
    Silent,
}

/// Who is told of the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApprovalOrigin {
    /// A call, which is answered with it.
    Caller {
        conn: ConnId,
        request: RequestId,
        phases: Phases,
    },
    /// A run of an agent, which goes on with it.
    Run { run: RunId, call: ToolCallId },
}

/// How often a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phases {
    One,
    /// Once when the question waits, and once with the decision.
    Two,
}

/// What a run is told: the decision, or nothing when nobody decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunDecision {
    pub(crate) approval: ApprovalId,
    pub(crate) run: RunId,
    pub(crate) call: ToolCallId,
    pub(crate) decision: Option<Decision>,
}

/// The decisions that a question allows: where every command is asked about, none is for always.
pub(crate) fn allowed_decisions(ask: Option<&str>, only_once: bool) -> Vec<Decision> {
    if only_once || ask == Some("always") {
        vec![Decision::AllowOnce, Decision::Deny]
    } else {
        vec![Decision::AllowOnce, Decision::AllowAlways, Decision::Deny]
    }
}

/// A call that waits for a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Waiter {
    conn: ConnId,
    request: RequestId,
    phases: Phases,
}

/// What an id, or the beginning of one, stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Found<'a> {
    Ambiguous,
    Nothing,
    One(&'a Approval),
}

/// Everything that was asked and is still known.
#[derive(Debug, Default)]
pub(crate) struct ApprovalBook {
    approvals: Mirror<Approval>,
    /// When questions end, in monotonic time.
    ends: BTreeSet<(Instant, ApprovalId)>,
    waiters: BTreeMap<ApprovalId, Vec<Waiter>>,
    /// Decisions for runs, which fetch them.
    for_runs: Vec<RunDecision>,
}

impl ApprovalBook {
    /// Takes the records of the last run of the gateway. Questions of agents' runs end: those did
    /// not survive it. Gives the keys of records that cannot be read.
    pub(crate) fn restore(rows: &[Row], journal: &mut Journal, now: Now) -> (Self, Vec<String>) {
        let (approvals, unreadable) = Mirror::<Approval>::restore(rows);
        let mut book = Self {
            approvals,
            ..Self::default()
        };
        let orphans: Vec<Approval> = book
            .pending()
            .filter(|approval| approval.origin.is_some())
            .cloned()
            .collect();
        for mut approval in orphans {
            approval.ended = Some(Ended {
                at_ms: now.wall,
                ending: Ending::GatewayRestart,
            });
            book.approvals.put(journal, approval);
        }
        book.arm(now, Duration::ZERO);
        (book, unreadable)
    }

    pub(crate) fn pending(&self) -> impl Iterator<Item = &Approval> {
        self.approvals
            .values()
            .filter(|approval| approval.is_pending())
    }

    /// What has ended, the newest first.
    pub(crate) fn history(&self) -> Vec<(&Approval, &Ended)> {
        let mut ended: Vec<(&Approval, &Ended)> = self
            .approvals
            .values()
            .filter_map(|approval| Some((approval, approval.ended.as_ref()?)))
            .collect();
        ended.sort_by(|(a, a_end), (b, b_end)| (b_end.at_ms, &b.id).cmp(&(a_end.at_ms, &a.id)));
        ended
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Approval> {
        self.approvals.get(id)
    }

    /// By the whole id, or by a beginning that only one has.
    pub(crate) fn find(&self, id: &str) -> Found<'_> {
        if let Some(approval) = self.approvals.get(id) {
            return Found::One(approval);
        }
        if id.len() < MIN_PREFIX {
            return Found::Nothing;
        }
        let mut matching = self
            .approvals
            .values()
            .filter(|approval| approval.id.as_str().starts_with(id));
        match (matching.next(), matching.next()) {
            (Some(one), None) => Found::One(one),
            (Some(_), Some(_)) => Found::Ambiguous,
            (None, _) => Found::Nothing,
        }
    }

    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(at, _)| *at)
    }

    /// The last change of a question that is not durable yet.
    pub(crate) fn unsettled(&self, id: &ApprovalId) -> Option<CommitId> {
        self.approvals.unsettled(id.as_str())
    }

    /// A connection is gone: its calls wait no more. What it asked stays asked.
    pub(crate) fn forget(&mut self, conn: ConnId) {
        self.waiters.retain(|_, waiters| {
            waiters.retain(|waiter| waiter.conn != conn);
            !waiters.is_empty()
        });
    }

    pub(crate) fn settle(&mut self, commit: CommitId) {
        self.approvals.settle(commit);
    }

    /// Gives the calls that wait for a question that was never asked and have not been told.
    fn roll_back(&mut self, commit: CommitId, now: Now) -> Vec<Waiter> {
        self.approvals.roll_back(commit);
        let approvals = &self.approvals;
        let is_pending =
            |id: &ApprovalId| approvals.get(id.as_str()).is_some_and(Approval::is_pending);
        self.ends.retain(|(_, id)| is_pending(id));
        let lost: Vec<Waiter> = self
            .waiters
            .extract_if(.., |id, _| approvals.get(id.as_str()).is_none())
            .flat_map(|(_, waiters)| waiters)
            .filter(|waiter| waiter.phases == Phases::One)
            .collect();
        self.arm(now, RETRY);
        lost
    }

    /// Sees to it that everything that waits ends some time.
    fn arm(&mut self, now: Now, at_least: Duration) {
        let missing: Vec<(Instant, ApprovalId)> = self
            .pending()
            .filter(|approval| !self.ends.iter().any(|(_, id)| *id == approval.id))
            .map(|approval| {
                // A clock that was set back does not keep it for ever.
                let whole = approval
                    .expires_at_ms
                    .0
                    .saturating_sub(approval.created_at_ms.0);
                let left = approval
                    .expires_at_ms
                    .0
                    .saturating_sub(now.wall.0)
                    .min(whole);
                let left = Duration::from_millis(left).max(at_least);
                (now.mono + left, approval.id.clone())
            })
            .collect();
        self.ends.extend(missing);
    }

    fn ask(&mut self, journal: &mut Journal, now: Now, approval: Approval, timeout: Duration) {
        self.ends.insert((now.mono + timeout, approval.id.clone()));
        self.approvals.put(journal, approval);
    }

    /// The one way to an end: gives the record if it had not ended before.
    fn end(
        &mut self,
        journal: &mut Journal,
        limits: &Limits,
        wall: WallTime,
        id: &ApprovalId,
        ending: Ending,
    ) -> Option<Approval> {
        let mut approval = self
            .approvals
            .get(id.as_str())
            .filter(|approval| approval.is_pending())?
            .clone();
        approval.ended = Some(Ended {
            at_ms: wall,
            ending,
        });
        self.ends.retain(|(_, other)| other != id);
        self.approvals.put(journal, approval.clone());
        let old: Vec<ApprovalId> = self
            .history()
            .into_iter()
            .skip(limits.max_decided_approvals)
            .map(|(approval, _)| approval.id.clone())
            .collect();
        for id in old {
            self.approvals.remove(journal, id.as_str());
        }
        Some(approval)
    }

    fn due(&self, now: Instant) -> Option<ApprovalId> {
        let (at, id) = self.ends.first()?;
        (*at <= now).then(|| id.clone())
    }
}

impl Gateway {
    /// Asks whether a program may run. Its asker is told of the decision by
    /// [`Gateway::hand_over`], perhaps before this returns: a grant may cover the command, or nobody
    /// may be there to decide.
    ///
    /// # Errors
    /// When the id is taken, or too many questions wait already.
    pub(crate) fn request_approval(
        &mut self,
        now: Now,
        ask: ApprovalAsk,
        origin: ApprovalOrigin,
    ) -> Result<ApprovalId, RpcError> {
        let id = ask.id.unwrap_or_else(|| ApprovalId::new(self.rng.uuid()));
        if self.approvals.get(id.as_str()).is_some() {
            return Err(RpcError::invalid_request("approval id already pending"));
        }
        let limit = self.setup.limits.max_pending_approvals;
        if self.approvals.pending().count() >= limit {
            let message =
                format!("{limit} approvals wait for a decision already; decide some first");
            return Err(RpcError::retry_later(message, 60_000));
        }
        let timeout = ask
            .timeout
            .unwrap_or(DEFAULT_TIMEOUT)
            .clamp(Duration::from_millis(1), MAX_TIMEOUT);
        let operation = Operation::of(&ask.request, &ask.argv, &ask.env);
        let asker = match &origin {
            ApprovalOrigin::Caller { conn, .. } => Some(*conn),
            ApprovalOrigin::Run { .. } => None,
        };
        let approval = Approval {
            id: id.clone(),
            request: ask.request,
            created_at_ms: now.wall,
            expires_at_ms: WallTime(now.wall.0.saturating_add(millis(timeout))),
            operation,
            origin: match &origin {
                ApprovalOrigin::Caller { .. } => None,
                ApprovalOrigin::Run { run, call } => Some(RunCall {
                    run: run.clone(),
                    call: call.clone(),
                }),
            },
            ended: None,
        };
        let granted = approval
            .request
            .allowed_decisions
            .contains(&Decision::AllowAlways)
            .then(|| {
                let journal = &mut self.out.journal;
                grants::take(&mut self.settings, journal, now.wall, &approval.operation)
            })
            .flatten();
        self.approvals
            .ask(&mut self.out.journal, now, approval.clone(), timeout);
        let reviewed = ask.reach != Reach::Silent && self.has_reviewer(asker);
        if let ApprovalOrigin::Caller {
            conn,
            request,
            phases,
        } = origin
        {
            let waits = granted.is_none() && (reviewed || ask.reach != Reach::Needed);
            if waits && phases == Phases::Two {
                let accepted = json!({
                    "status": "accepted",
                    "id": id,
                    "deliveryRoute": if reviewed { "approval-client" } else { "none" },
                    "createdAtMs": approval.created_at_ms,
                    "expiresAtMs": approval.expires_at_ms,
                });
                if let Ok(payload) = RawJson::encode(&accepted) {
                    let id = request.clone();
                    self.deliver(conn, Delivery::Interim { id, payload });
                }
            }
            let phases = if waits { phases } else { Phases::One };
            self.wait_for_decision(&id, conn, request, phases);
        }
        if let Some(grant) = granted {
            let resolver = Resolver {
                kind: ResolverKind::System,
                id: Some(grant),
            };
            self.end_approval(
                now,
                &id,
                Ending::Decided {
                    decision: Decision::AllowAlways,
                    resolver,
                    label: None,
                },
                None,
            );
        } else if ask.reach == Reach::Needed && !reviewed {
            self.end_approval(now, &id, Ending::NoRoute, None);
        } else if ask.reach != Reach::Silent {
            let payload = json!({
                "id": approval.id,
                "request": approval.request,
                "createdAtMs": approval.created_at_ms,
                "expiresAtMs": approval.expires_at_ms,
            });
            self.tell_reviewers("exec.approval.requested", &payload);
        }
        Ok(id)
    }

    /// Keeps a call until a question has ended.
    pub(crate) fn wait_for_decision(
        &mut self,
        id: &ApprovalId,
        conn: ConnId,
        request: RequestId,
        phases: Phases,
    ) {
        let waiters = self.approvals.waiters.entry(id.clone()).or_default();
        waiters.push(Waiter {
            conn,
            request,
            phases,
        });
    }

    /// Ends a question, for the first and only time: what had ended before stays as it is, and gives
    /// nothing. Whoever asked is told, and reviewers are. `life` is how long a grant is good for.
    pub(crate) fn end_approval(
        &mut self,
        now: Now,
        id: &ApprovalId,
        ending: Ending,
        life: Option<Duration>,
    ) -> Option<Approval> {
        let journal = &mut self.out.journal;
        let limits = &self.setup.limits;
        let approval = self.approvals.end(journal, limits, now.wall, id, ending)?;
        let ending = &approval.ended.as_ref()?.ending;
        let by_system = matches!(
            ending,
            Ending::Decided { resolver, .. } if resolver.kind == ResolverKind::System
        );
        if ending.decision() == Some(Decision::AllowAlways) && !by_system {
            let own = self.setup.host.default_agent();
            let agent = approval.request.agent_id.as_deref().unwrap_or(own);
            let (settings, rng) = (&mut self.settings, &mut self.rng);
            grants::mint(settings, journal, rng, now.wall, (&approval, agent), life);
        }
        let told = match ending {
            Ending::Decided { decision, .. } if !by_system => Some(*decision),
            // Nobody shall look at it any longer.
            Ending::RunAborted => Some(Decision::Deny),
            Ending::Decided { .. } | Ending::Expired | Ending::GatewayRestart | Ending::NoRoute => {
                None
            }
        };
        if let Some(decision) = told {
            let payload = json!({
                "id": approval.id,
                "decision": decision,
                "resolvedBy": ending.resolved_by(),
                "ts": now.wall,
                "request": approval.request,
            });
            self.tell_reviewers("exec.approval.resolved", &payload);
        }
        self.hand_over(&approval);
        Some(approval)
    }

    /// The one place where a decision reaches whoever asked for it.
    fn hand_over(&mut self, approval: &Approval) {
        let waiters = self.approvals.waiters.remove(&approval.id);
        for waiter in waiters.into_iter().flatten() {
            let outcome = decision_of(approval);
            let id = waiter.request;
            self.deliver(waiter.conn, Delivery::Response { id, outcome });
        }
        if let Some(origin) = &approval.origin {
            self.approvals.for_runs.push(RunDecision {
                approval: approval.id.clone(),
                run: origin.run.clone(),
                call: origin.call.clone(),
                decision: approval.decision(),
            });
        }
    }

    /// The decisions that runs wait for, since the last time.
    pub(crate) fn take_run_decisions(&mut self) -> Vec<RunDecision> {
        std::mem::take(&mut self.approvals.for_runs)
    }

    /// A run was stopped: nothing that it asked needs a decision any more.
    #[cfg_attr(not(test), expect(dead_code, reason = "runs end by it"))]
    pub(crate) fn cancel_approvals_of(&mut self, now: Now, run: &RunId) {
        let asked: Vec<ApprovalId> = self
            .approvals
            .pending()
            .filter(|approval| {
                approval
                    .origin
                    .as_ref()
                    .is_some_and(|origin| origin.run == *run)
            })
            .map(|approval| approval.id.clone())
            .collect();
        for id in asked {
            self.end_approval(now, &id, Ending::RunAborted, None);
        }
    }

    /// Ends every question whose time is over.
    pub(super) fn expire_approvals(&mut self, now: Now) {
        while let Some(id) = self.approvals.due(now.mono) {
            if self.end_approval(now, &id, Ending::Expired, None).is_none() {
                self.approvals.ends.retain(|(_, other)| *other != id);
            }
        }
    }

    /// What was asked or decided with a lost change was not. Calls that wait for a question that was
    /// never asked are told.
    pub(super) fn roll_back_approvals(&mut self, commit: CommitId, now: Now) {
        for waiter in self.approvals.roll_back(commit, now) {
            let error = RpcError::retry_later("the approval could not be kept", 1_000);
            let (id, outcome) = (waiter.request, Err(error));
            self.deliver(waiter.conn, Delivery::Response { id, outcome });
        }
    }

    /// Whether somebody else is there who asks people (spec protocol §6.8).
    fn has_reviewer(&self, asker: Option<ConnId>) -> bool {
        self.clients_with_ids()
            .any(|(conn, client)| Some(conn) != asker && is_reviewer(client))
    }

    fn tell_reviewers(&mut self, name: &str, payload: &serde_json::Value) {
        if let Ok(payload) = RawJson::encode(payload) {
            let event = OutboundEvent::new(name, &payload, None, Droppable::IfSlow);
            self.broadcast(&event, Some(Scope::Approvals));
        }
    }
}

/// A program that shows approvals to a person: by what it is, or because it says so in `caps`.
fn is_reviewer(client: &Client) -> bool {
    let shows = matches!(
        client.info.id,
        ClientId::OpenclawControlUi
            | ClientId::OpenclawMacos
            | ClientId::OpenclawIos
            | ClientId::OpenclawAndroid
    );
    let says = |cap: &String| cap == "approvals" || cap == "exec-approvals";
    client.role == Role::Operator
        && client.scopes.allows(Scope::Approvals)
        && (shows || client.caps.iter().any(says))
}

/// What a call that waited is told.
pub(crate) fn decision_of(approval: &Approval) -> Result<RawJson, RpcError> {
    let Some(ended) = &approval.ended else {
        return Err(RpcError::new(RpcCode::Unavailable, "it is not decided yet"));
    };
    let mut answer = json!({
        "id": approval.id,
        "decision": ended.ending.decision(),
        "createdAtMs": approval.created_at_ms,
        "expiresAtMs": approval.expires_at_ms,
        "terminalReason": ended.ending.reason(),
    });
    if let (Some(by), serde_json::Value::Object(fields)) = (ended.ending.resolved_by(), &mut answer)
    {
        fields.insert("resolvedBy".into(), by.into());
    }
    RawJson::encode(&answer)
        .map_err(|_| RpcError::new(RpcCode::Unavailable, "the answer could not be written"))
}
