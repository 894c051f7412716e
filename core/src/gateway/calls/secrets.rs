//! `secrets.reload` (spec protocol §6.8), and `secrets.rotate` and `secrets.status` of our own.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Gateway, Params, Step, encode};
use crate::{
    gateway::{
        Effect, EffectOutcome, ServerSecrets,
        rotation::{Generation, MAX_GRACE, Replaced},
        waiting::Waiter,
    },
    ids::{ConnId, RequestId},
    policy::server_auth::ServerSecretSource,
    protocol::{RpcCode, RpcError},
    secret::Secret,
    server::Delivery,
    time::{Now, millis},
};

/// How long the token before stays valid when nobody says. A reload without a word ends the old
/// secret at once: it may have been changed because somebody else knows it.
const ROTATE_GRACE: Duration = Duration::from_secs(600);

/// Clients of a replaced secret that are listed one by one.
const MAX_LISTED: usize = 200;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GraceParams {
    grace_ms: Option<u64>,
}

/// A call that changes the shared secret, while the host does its part.
#[derive(Debug)]
pub(in crate::gateway) struct SecretsCall {
    pub(in crate::gateway) conn: ConnId,
    pub(in crate::gateway) id: RequestId,
    step: SecretsStep,
}

#[derive(Debug)]
enum SecretsStep {
    /// The host reads the secret that the configuration names by now.
    Reload { grace: Duration },
    /// The host writes down the new token, which is valid already.
    Rotate { replaced: Box<Replaced> },
}

impl SecretsCall {
    /// Whether it ends when its caller leaves. A token that is being written is not left half
    /// changed.
    pub(in crate::gateway) const fn ends_with_caller(&self) -> bool {
        matches!(self.step, SecretsStep::Reload { .. })
    }
}

impl Gateway {
    pub(super) fn secrets_reload(
        &mut self,
        now: Now,
        conn: ConnId,
        id: &RequestId,
        params: Params<'_>,
    ) -> Step {
        let grace = match self.may_change(params) {
            Ok(grace) => grace.unwrap_or(Duration::ZERO),
            Err(error) => return Step::Answer(Err(error)),
        };
        let step = SecretsStep::Reload { grace };
        self.wait_for_secrets(now, Effect::ReadSecrets, conn, id, step)
    }

    pub(super) fn secrets_rotate(
        &mut self,
        now: Now,
        conn: ConnId,
        id: &RequestId,
        params: Params<'_>,
    ) -> Step {
        let grace = match self.may_change(params) {
            Ok(grace) => grace.unwrap_or(ROTATE_GRACE),
            Err(error) => return Step::Answer(Err(error)),
        };
        if self.setup.host.secret_source != Some(ServerSecretSource::Generated) {
            self.note(now, conn, "secrets.rotate", Some("not-generated"), "token");
            return Step::Answer(Err(RpcError::invalid_request(
                "only a token that the gateway made for itself can be rotated; change the \
                 configured secret where it stands, and call secrets.reload",
            )));
        }
        let token = self.new_token();
        let source = ServerSecretSource::Generated;
        let Some(replaced) = self.replace_secret(now, token.clone(), source, grace) else {
            return Step::Answer(Err(RpcError::invalid_request(
                "the gateway asks for no token",
            )));
        };
        let step = SecretsStep::Rotate {
            replaced: Box::new(replaced),
        };
        self.wait_for_secrets(now, Effect::KeepToken(token), conn, id, step)
    }

    /// As long as a token of the first start: 24 random bytes in hexadecimal.
    fn new_token(&mut self) -> Secret {
        let bytes = self.rng.seed();
        Secret::new(
            bytes
                .iter()
                .take(24)
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>(),
        )
    }

    fn wait_for_secrets(
        &mut self,
        now: Now,
        effect: Effect,
        conn: ConnId,
        id: &RequestId,
        step: SecretsStep,
    ) -> Step {
        let call = SecretsCall {
            conn,
            id: id.clone(),
            step,
        };
        self.wait_for(now, effect, Waiter::Secrets(call));
        Step::Later
    }

    fn may_change(&self, params: Params<'_>) -> Result<Option<Duration>, RpcError> {
        let GraceParams { grace_ms } = params.parse()?;
        let grace = grace_ms.map(Duration::from_millis);
        if grace.is_some_and(|grace| grace > MAX_GRACE) {
            let days = MAX_GRACE.as_secs() / 86_400;
            return Err(params.error(&format!("graceMs must be from 0 to {days} days")));
        }
        if self.is_changing_secrets() {
            let message = "another change of the secret is under way";
            return Err(RpcError::retry_later(message, 1_000));
        }
        Ok(grace)
    }

    /// The host has done its part.
    pub(in crate::gateway) fn secrets_done(
        &mut self,
        now: Now,
        call: SecretsCall,
        outcome: EffectOutcome,
    ) {
        let SecretsCall { conn, id, step } = call;
        let (action, answer) = match step {
            SecretsStep::Reload { grace } => {
                let answer = if let EffectOutcome::Secrets(secrets) = outcome {
                    self.take_secrets(now, *secrets, grace)
                } else {
                    Err(why(outcome))
                };
                ("secrets.reload", answer)
            }
            SecretsStep::Rotate { replaced } => {
                let answer = if outcome == EffectOutcome::Done {
                    self.secrets_answer(true, &[])
                } else {
                    self.give_up_secret(*replaced);
                    Err(why(outcome))
                };
                ("secrets.rotate", answer)
            }
        };
        let denied = answer.as_ref().err().map(|_| "failed");
        self.note(now, conn, action, denied, "shared secret");
        let outcome = answer
            .map_err(|why| RpcError::new(RpcCode::Unavailable, format!("{action} failed: {why}")));
        self.deliver(conn, Delivery::Response { id, outcome });
        self.dismiss_outdated();
    }

    /// Takes the secret that the host has read, or says why it cannot.
    pub(in crate::gateway) fn take_secrets(
        &mut self,
        now: Now,
        secrets: ServerSecrets,
        grace: Duration,
    ) -> Result<crate::frame::RawJson, String> {
        let ServerSecrets {
            mode,
            secret,
            warnings,
        } = secrets;
        let running = self.setup.admission.mode();
        if mode.as_str() != running.as_str() {
            return Err(format!(
                "gateway.auth.mode is {} by now and the gateway runs with {}; restart it. The old \
                 secret stays valid",
                mode.as_str(),
                running.as_str()
            ));
        }
        let current = self.setup.admission.auth.shared_secret();
        match secret {
            Some(new) if current != Some(&new.secret) => {
                self.replace_secret(now, new.secret, new.source, grace);
                self.secrets_answer(true, &warnings)
            }
            None if current.is_some() => Err(
                "no secret is configured any more; restart the gateway to go on without it. The \
                 old secret stays valid"
                    .into(),
            ),
            Some(new) => {
                self.setup.host.secret_source = Some(new.source);
                self.secrets_answer(false, &warnings)
            }
            None => self.secrets_answer(false, &warnings),
        }
    }

    fn secrets_answer(
        &self,
        changed: bool,
        warnings: &[String],
    ) -> Result<crate::frame::RawJson, String> {
        encode(&json!({
            "ok": true,
            "warningCount": warnings.len(),
            "warnings": warnings,
            "changed": changed,
            "retired": self.retired_secrets(),
        }))
        .map_err(|error| error.message)
    }

    pub(super) fn secrets_status(&self, params: Params<'_>) -> Answer {
        params.none()?;
        let auth = &self.setup.admission.auth;
        let source = auth.shared_secret().and(self.setup.host.secret_source);
        encode(&json!({
            "mode": self.setup.admission.mode(),
            "source": source.map(ServerSecretSource::as_str),
            "current": { "clientCount": self.users_of(self.rotation.current()).count() },
            "retired": self.retired_secrets(),
            "maxGraceMs": millis(MAX_GRACE),
        }))
    }

    /// The replaced secrets that are still valid, and who still uses them.
    fn retired_secrets(&self) -> Vec<Value> {
        self.rotation
            .retired()
            .map(|(retired, generation)| {
                let clients: Vec<Value> = self.users_of(generation).take(MAX_LISTED).collect();
                json!({
                    "id": retired.id,
                    "retiredAtMs": retired.retired_at_ms,
                    "expiresAtMs": retired.expires_at_ms,
                    "clientCount": self.users_of(generation).count(),
                    "clients": clients,
                })
            })
            .collect()
    }

    fn users_of(&self, generation: Generation) -> impl Iterator<Item = Value> {
        self.clients()
            .filter(move |client| client.generation() == Some(generation))
            .map(|client| {
                json!({
                    "clientId": client.info.id,
                    "mode": client.info.mode,
                    "role": client.role,
                    "displayName": client.info.display_name,
                    "deviceId": client.device_id,
                    "ip": client.ip,
                    "connectedAtMs": client.since,
                })
            })
    }
}

fn why(outcome: EffectOutcome) -> String {
    match outcome {
        EffectOutcome::Failed(why) => format!("{why}. The old secret stays valid"),
        EffectOutcome::Config(_)
        | EffectOutcome::Done
        | EffectOutcome::ExecApprovals(_)
        | EffectOutcome::Log(_)
        | EffectOutcome::Process(_)
        | EffectOutcome::Secrets(_)
        | EffectOutcome::Transcript(_)
        | EffectOutcome::Whois(_) => "the gateway's host gave an answer of the wrong kind".into(),
    }
}
