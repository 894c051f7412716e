//! `exec.approvals.*`: the file of exec approvals of the gateway's own host (spec protocol §6.8).
//! Nodes have files of their own.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Gateway, Params, Step, encode};
use crate::{
    gateway::{Effect, EffectOutcome, waiting::Waiter},
    ids::{ConnId, RequestId},
    node::{Approvals, ApprovalsText},
    protocol::{RpcCode, RpcError},
    secret::Secret,
    server::Delivery,
    time::Now,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SetParams {
    file: Value,
    base_hash: Option<String>,
}

/// A call about the file, while the host does its part.
#[derive(Debug)]
pub(in crate::gateway) struct ApprovalsCall {
    pub(in crate::gateway) conn: ConnId,
    pub(in crate::gateway) id: RequestId,
    step: FileStep,
}

#[derive(Debug)]
enum FileStep {
    /// The host reads the file, which is to be shown.
    Get,
    /// The host reads the file, which is to be replaced.
    Read {
        file: Value,
        base_hash: Option<String>,
    },
    /// The host writes this.
    Write(Secret),
}

impl ApprovalsCall {
    /// Whether it ends when its caller leaves. A file that is being written is not left out of the
    /// audit log.
    pub(in crate::gateway) const fn ends_with_caller(&self) -> bool {
        !matches!(self.step, FileStep::Write(_))
    }
}

impl Gateway {
    pub(super) fn exec_approvals_get(
        &mut self,
        now: Now,
        conn: ConnId,
        id: &RequestId,
        params: Params<'_>,
    ) -> Step {
        match params.none() {
            Ok(()) => self.wait_for_file(now, Effect::ReadExecApprovals, (conn, id), FileStep::Get),
            Err(error) => Step::Answer(Err(error)),
        }
    }

    pub(super) fn exec_approvals_set(
        &mut self,
        now: Now,
        conn: ConnId,
        id: &RequestId,
        params: Params<'_>,
    ) -> Step {
        match params.parse::<SetParams>() {
            Ok(SetParams { file, .. }) if !file.is_object() => {
                Step::Answer(Err(params.error("file must be an object")))
            }
            Ok(SetParams { file, base_hash }) => {
                let step = FileStep::Read { file, base_hash };
                self.wait_for_file(now, Effect::ReadExecApprovals, (conn, id), step)
            }
            Err(error) => Step::Answer(Err(error)),
        }
    }

    fn wait_for_file(
        &mut self,
        now: Now,
        effect: Effect,
        (conn, id): (ConnId, &RequestId),
        step: FileStep,
    ) -> Step {
        let call = ApprovalsCall {
            conn,
            id: id.clone(),
            step,
        };
        self.wait_for(now, effect, Waiter::Approvals(Box::new(call)));
        Step::Later
    }

    /// The host has read or written the file.
    pub(in crate::gateway) fn approvals_file_done(
        &mut self,
        now: Now,
        call: ApprovalsCall,
        outcome: EffectOutcome,
    ) {
        let ApprovalsCall { conn, id, step } = call;
        let answer = match (step, outcome) {
            (_, EffectOutcome::Failed(why)) => Err(RpcError::new(RpcCode::Unavailable, why)),
            (FileStep::Get, EffectOutcome::ExecApprovals(text)) => self.shown_file(text),
            (FileStep::Read { file, base_hash }, EffectOutcome::ExecApprovals(over)) => {
                match replaced(&over, &file, base_hash.as_deref()) {
                    Ok(text) => {
                        let effect = Effect::KeepExecApprovals {
                            text: text.clone(),
                            over,
                        };
                        self.wait_for_file(now, effect, (conn, &id), FileStep::Write(text));
                        return;
                    }
                    Err(error) => Err(error),
                }
            }
            (FileStep::Write(text), EffectOutcome::Done) => {
                self.note(now, conn, "exec.approvals.set", None, "gateway");
                self.shown_file(ApprovalsText::Text(text))
            }
            (FileStep::Write(_), EffectOutcome::ExecApprovals(_)) => Err(changed()),
            (
                FileStep::Get | FileStep::Read { .. } | FileStep::Write(_),
                EffectOutcome::Config(_)
                | EffectOutcome::Done
                | EffectOutcome::Log(_)
                | EffectOutcome::Process(_)
                | EffectOutcome::Secrets(_)
                | EffectOutcome::Transcript(_)
                | EffectOutcome::Whois(_),
            ) => Err(RpcError::new(
                RpcCode::Unavailable,
                "the gateway's host gave an answer of the wrong kind",
            )),
        };
        self.deliver(
            conn,
            Delivery::Response {
                id,
                outcome: answer,
            },
        );
    }

    fn shown_file(&self, text: ApprovalsText) -> Answer {
        let path = &self.setup.host.exec_approvals;
        let approvals = Approvals::read(text);
        let mut answer = approvals.shown(&path.to_string_lossy());
        if let Value::Object(fields) = &mut answer {
            fields.insert("resolvedDefaults".into(), approvals.resolved_defaults());
        }
        encode(&answer)
    }
}

/// The text that is to be written, if the caller knew what is there.
fn replaced(
    over: &ApprovalsText,
    file: &Value,
    base_hash: Option<&str>,
) -> Result<Secret, RpcError> {
    let present = Approvals::read(over.clone());
    match base_hash {
        Some(base) if base != present.hash() => return Err(changed()),
        None if present.exists() => {
            return Err(RpcError::invalid_request(
                "exec approvals base hash required; re-run exec.approvals.get and retry",
            ));
        }
        Some(_) | None => {}
    }
    present
        .replaced_by(file)
        .map_err(|problem| RpcError::invalid_request(format!("invalid exec approvals: {problem}")))
}

fn changed() -> RpcError {
    RpcError::invalid_request(
        "exec approvals changed since last load; re-run exec.approvals.get and retry",
    )
    .with_details(json!({ "reason": "EXEC_APPROVALS_CHANGED" }))
}
