//! The answer to every method. One file for each kind of state that a method speaks of.

mod config;
mod device_tokens;
mod devices;
mod invites;
mod lists;
mod scope_upgrade;
mod secrets;
mod status;
mod system;

use std::collections::VecDeque;

use serde::{Serialize, de::DeserializeOwned};

use super::{Effect, EffectOutcome, Gateway, Phase, waiting::Waiter};
use crate::{
    frame::{RawJson, Request, parse_shape},
    ids::{ConnId, RequestId},
    methods::{Method, MethodSpec},
    protocol::{CloseCode, Role, RpcCode, RpcError},
    server::Delivery,
    time::Now,
};

use scope_upgrade::UpgradeWait;
pub(super) use secrets::SecretsCall;

/// An answer, or an error for the caller.
type Answer = Result<RawJson, RpcError>;

/// What becomes of a call.
enum Step {
    Answer(Answer),
    /// It is answered when something else happens.
    Later,
    /// The host has to do something first; then [`Gateway::resume`] goes on.
    Wait(Effect),
}

/// A call that waits for an effect.
#[derive(Clone, Debug)]
pub(super) struct PendingCall {
    pub(super) conn: ConnId,
    pub(super) id: RequestId,
    method: Method,
}

/// State that calls change.
#[derive(Debug, Default)]
pub(super) struct CallState {
    /// System events that wait for an agent, the oldest first.
    system_events: VecDeque<String>,
    heartbeats: Heartbeats,
    upgrades: Vec<UpgradeWait>,
    /// Devices to send away once the call is answered.
    partings: Vec<Parting>,
}

/// A device whose connections end.
#[derive(Debug)]
struct Parting {
    device_id: String,
    /// In this role, or in every role.
    role: Option<Role>,
    reason: &'static str,
}

impl CallState {
    /// A connection is gone.
    pub(super) fn forget(&mut self, conn: ConnId) {
        self.upgrades.retain(|wait| wait.conn() != conn);
    }

    fn part(&mut self, parting: Parting) {
        self.partings.push(parting);
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Heartbeats {
    Off,
    #[default]
    On,
}

impl Gateway {
    pub(super) fn call(
        &mut self,
        now: Now,
        conn: ConnId,
        method: &'static MethodSpec,
        request: Request,
    ) {
        let step = if self.phase == Phase::Running {
            self.dispatch(now, conn, method, &request)
        } else {
            Step::Answer(Err(RpcError::retry_later("gateway is stopping", 1_000)))
        };
        match step {
            Step::Answer(outcome) => {
                self.deliver(
                    conn,
                    Delivery::Response {
                        id: request.id,
                        outcome,
                    },
                );
            }
            Step::Later => {}
            Step::Wait(effect) => {
                let call = PendingCall {
                    conn,
                    id: request.id,
                    method: method.method,
                };
                self.wait_for(now, effect, Waiter::Call(call));
            }
        }
        for parting in std::mem::take(&mut self.calls.partings) {
            self.dismiss(CloseCode::AuthChanged, parting.reason, |client| {
                client.device_id.as_deref() == Some(&parting.device_id)
                    && parting.role.is_none_or(|role| role == client.role)
            });
        }
    }

    /// Goes on with a call after its effect.
    pub(super) fn resume(&mut self, now: Now, call: PendingCall, outcome: EffectOutcome) {
        let outcome = match (call.method, outcome) {
            (Method::ConfigGet, EffectOutcome::Config(text)) => self.config_get(text),
            (Method::LogsTail, EffectOutcome::Log(tail)) => encode(&tail),
            (Method::Status, EffectOutcome::Process(stats)) => self.status(now, call.conn, stats),
            (Method::LogsTail, EffectOutcome::Failed(why)) => Err(RpcError::new(
                RpcCode::Unavailable,
                format!("log read failed: {why}"),
            )),
            (_, EffectOutcome::Failed(why)) => Err(RpcError::new(RpcCode::Unavailable, why)),
            (
                _,
                EffectOutcome::Config(_)
                | EffectOutcome::Done
                | EffectOutcome::Log(_)
                | EffectOutcome::Process(_)
                | EffectOutcome::Secrets(_)
                | EffectOutcome::Transcript(_)
                | EffectOutcome::Whois(_),
            ) => {
                let message = "the gateway's host gave an answer of the wrong kind";
                Err(RpcError::new(RpcCode::Unavailable, message))
            }
        };
        self.deliver(
            call.conn,
            Delivery::Response {
                id: call.id,
                outcome,
            },
        );
    }

    fn dispatch(
        &mut self,
        now: Now,
        conn: ConnId,
        method: &'static MethodSpec,
        request: &Request,
    ) -> Step {
        let params = Params {
            method: method.name,
            raw: &request.params,
        };
        let answer = match method.method {
            Method::AgentsList => self.agents_list(params),
            Method::ChannelsStatus => self.channels_status(now, params),
            Method::ConfigGet => match params.none() {
                Ok(()) => return Step::Wait(Effect::ReadConfig),
                Err(error) => Err(error),
            },
            Method::ConfigSchema => self.config_schema(now, params),
            Method::CronList => self.cron_list(params),
            Method::CronStatus => self.cron_status(),
            Method::DeviceInviteCreate => self.invite_create(now, conn, params),
            Method::DeviceInviteList => self.invite_list(now, params),
            Method::DeviceInviteRevoke => self.invite_revoke(now, conn, params),
            Method::DevicePairApprove => self.device_pair_approve(now, conn, params),
            Method::DevicePairList => self.device_pair_list(conn, params),
            Method::DevicePairReject => self.device_pair_reject(now, conn, params),
            Method::DevicePairRemove => self.device_pair_remove(now, conn, params),
            Method::DevicePairRename => self.device_pair_rename(now, conn, params),
            Method::DevicePairSetupCode => self.setup_code_create(now, conn, params),
            Method::DevicePairSetupStatus => self.setup_code_status(params),
            Method::DeviceScopesRequestUpgrade => self.scopes_request(now, conn, params),
            Method::DeviceScopesWaitUpgrade => {
                return self.scopes_wait(conn, &request.id, params);
            }
            Method::DeviceTokenRevoke => self.device_token_revoke(now, conn, params),
            Method::DeviceTokenRotate => self.device_token_rotate(now, conn, params),
            Method::NodePairList => self.pair_list(params),
            Method::GatewayIdentityGet => self.identity_get(),
            Method::Health => Ok(self.health.payload()),
            Method::LastHeartbeat => self.last_heartbeat(),
            Method::LogsTail => match self.logs_tail(params) {
                Ok(effect) => return Step::Wait(effect),
                Err(error) => Err(error),
            },
            Method::ModelsList => self.models_list(params),
            Method::NodeList => self.node_list(now, params),
            Method::SecretsReload => return self.secrets_reload(now, conn, &request.id, params),
            Method::SecretsRotate => return self.secrets_rotate(now, conn, &request.id, params),
            Method::SecretsStatus => self.secrets_status(params),
            Method::SessionsList => self.sessions_list(now, params),
            Method::SetHeartbeats => self.set_heartbeats(params),
            Method::Status => return Step::Wait(Effect::ReadProcess),
            Method::SystemEvent => self.system_event(now, conn, params),
            Method::SystemPresence => self.system_presence(),
            Method::Wake => self.wake(params),
        };
        Step::Answer(answer)
    }
}

/// A call's parameters, with the name of the method for errors.
#[derive(Clone, Copy)]
struct Params<'a> {
    method: &'static str,
    raw: &'a RawJson,
}

impl Params<'_> {
    fn parse<T: DeserializeOwned>(self) -> Result<T, RpcError> {
        parse_shape(self.raw).map_err(|problem| RpcError::invalid_params(self.method, &problem))
    }

    /// For methods that take none.
    fn none(self) -> Result<(), RpcError> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        let Nothing {} = self.parse()?;
        Ok(())
    }

    /// For methods whose parameters are kept.
    fn at_most(self, bytes: usize) -> Result<(), RpcError> {
        if self.raw.as_str().len() > bytes {
            return Err(self.error(&format!("more than {bytes} bytes")));
        }
        Ok(())
    }

    fn error(self, problem: &str) -> RpcError {
        RpcError::invalid_params(self.method, problem)
    }
}

fn encode<T: Serialize + ?Sized>(value: &T) -> Answer {
    RawJson::encode(value).map_err(|_| {
        RpcError::new(
            RpcCode::Unavailable,
            "the answer could not be written as JSON",
        )
    })
}
