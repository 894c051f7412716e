//! The answer to every method. One file for each kind of state that a method speaks of.

mod agent;
mod agents;
mod approval_views;
mod approvals_file;
mod channel_pairing;
mod channels;
mod chat;
mod chat_history;
mod chat_message;
mod config;
mod device_tokens;
mod devices;
mod events;
mod exec_approvals;
mod invites;
mod lists;
mod messages;
mod nodes;
mod nodes_events;
mod nodes_invoke;
mod nodes_offers;
mod nodes_pairing;
mod nodes_pending;
mod scope_upgrade;
mod secrets;
mod send;
mod session_settings;
mod session_texts;
mod sessions_read;
mod sessions_write;
mod status;
mod system;
mod tools;
mod transcripts;
mod voice;

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

pub(super) use approvals_file::ApprovalsCall;
pub(super) use chat::{RESET_WORDS, STOP_WORDS};
use scope_upgrade::UpgradeWait;
pub(super) use secrets::SecretsCall;
pub(super) use transcripts::PendingTranscript;

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
    pub(super) method: Method,
}

/// State that calls change.
#[derive(Debug, Default)]
pub(super) struct CallState {
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
        self.call_began(now.mono, conn, method, &request);
        // What runs may finish, and for that nodes have to be heard.
        let finishes = matches!(
            method.method,
            Method::NodeInvokeProgress | Method::NodeInvokeResult
        );
        let step = if self.phase == Phase::Running || finishes {
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
        if self.phase != Phase::Running {
            self.finish_drain(now);
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
                | EffectOutcome::ExecApprovals(_)
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
            Method::AgentIdentityGet => self.agent_identity(params),
            Method::AgentsCreate => self.agents_create(now, conn, params),
            Method::AgentsDelete => self.agents_delete(now, conn, params),
            Method::AgentsFilesGet => self.agents_files_get(params),
            Method::AgentsFilesList => self.agents_files_list(params),
            Method::AgentsFilesSet => self.agents_files_set(now, conn, params),
            Method::AgentsList => self.agents_list(params),
            Method::AgentsUpdate => self.agents_update(now, conn, params),
            Method::ApprovalGet => self.approval_get(params),
            Method::ApprovalHistory => self.approval_history(params),
            Method::ApprovalResolve => self.approval_resolve(now, conn, params),
            Method::ChannelsLogout => self.channels_logout(now, conn, params),
            Method::ChannelsPairingApprove => self.channel_pairing_approve(now, conn, params),
            Method::ChannelsPairingDismiss => self.channel_pairing_dismiss(now, conn, params),
            Method::ChannelsPairingList => self.channel_pairing_list(now, params),
            Method::ChannelsStart => self.channels_start(now, conn, params),
            Method::ChannelsStatus => self.channels_status(now, params),
            Method::ChannelsStop => self.channels_stop(now, conn, params),
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
            Method::EventsResume => self.events_resume(now, conn, params),
            Method::ExecApprovalGet => self.exec_approval_get(params),
            Method::ExecApprovalGrantsList => self.exec_grants_list(params),
            Method::ExecApprovalGrantsRevoke => self.exec_grants_revoke(now, conn, params),
            Method::ExecApprovalList => self.exec_approval_list(params),
            Method::ExecApprovalRequest => {
                return self.exec_approval_request(now, conn, &request.id, params);
            }
            Method::ExecApprovalResolve => self.exec_approval_resolve(now, conn, params),
            Method::ExecApprovalWaitDecision => {
                return self.exec_approval_wait(conn, &request.id, params);
            }
            Method::ExecApprovalsGet => {
                return self.exec_approvals_get(now, conn, &request.id, params);
            }
            Method::ExecApprovalsSet => {
                return self.exec_approvals_set(now, conn, &request.id, params);
            }
            Method::GatewayIdentityGet => self.identity_get(),
            Method::Health => Ok(self.health.payload()),
            Method::LastHeartbeat => self.last_heartbeat(),
            Method::LogsTail => match self.logs_tail(params) {
                Ok(effect) => return Step::Wait(effect),
                Err(error) => Err(error),
            },
            Method::ClawgateConnections | Method::ClawgateMetrics => match params.none() {
                Ok(()) => return Step::Wait(Effect::SampleHost),
                Err(error) => Err(error),
            },
            Method::MessagesList => self.messages_list(params),
            Method::MessagesResend => self.messages_resend(now, conn, params),
            Method::MessagesTrace => self.messages_trace(params),
            Method::ModelsList => self.models_list(params),
            Method::ExecApprovalsNodeGet => {
                return self.exec_approvals_node_get(now, conn, &request.id, params);
            }
            Method::ExecApprovalsNodeSet => {
                return self.exec_approvals_node_set(now, conn, &request.id, params);
            }
            Method::NodeDescribe => self.node_describe(now, conn, params),
            Method::NodeEvent => self.node_event(now, conn, params),
            Method::NodeInvoke => return self.node_invoke(now, conn, &request.id, params),
            Method::NodeInvokeProgress => self.node_invoke_progress(conn, params),
            Method::NodeInvokeResult => self.node_invoke_result(now, conn, params),
            Method::NodeList => self.node_list(now, conn, params),
            Method::NodePairApprove => self.node_pair_approve(now, conn, params),
            Method::NodePairList => self.node_pair_list(conn, params),
            Method::NodePairReject => self.node_pair_reject(now, conn, params),
            Method::NodePairRemove => self.node_pair_remove(now, conn, params),
            Method::NodePendingAck => self.node_pending_ack(now, conn, params),
            Method::NodePendingDrain => self.node_pending_drain(now, conn, params),
            Method::NodePendingEnqueue => self.node_pending_enqueue(now, params),
            Method::NodePendingPull => self.node_pending_pull(now, conn, params),
            Method::NodePluginSurfaceRefresh => self.node_plugin_surface(params),
            Method::NodePluginToolsUpdate => self.node_tools_update(conn, params),
            Method::NodeRename => self.node_rename(now, conn, params),
            Method::NodeRunnerInventoryUpdate => self.node_inventory_update(conn, params),
            Method::NodeSkillsUpdate => self.node_skills_update(conn, params),
            Method::SkillsBins => self.skills_bins(params),
            Method::SecretsReload => return self.secrets_reload(now, conn, &request.id, params),
            Method::SecretsRotate => return self.secrets_rotate(now, conn, &request.id, params),
            Method::SecretsStatus => self.secrets_status(params),
            Method::Send => return step(self.channel_send(now, conn, request, params)),
            Method::SessionsList => self.sessions_list(now, params),
            Method::SetHeartbeats => self.set_heartbeats(params),
            Method::Status => return Step::Wait(Effect::ReadProcess),
            Method::SystemEvent => self.system_event(now, conn, params),
            Method::SystemPresence => self.system_presence(),
            Method::VoicewakeGet => self.voicewake_get(),
            Method::VoicewakeRoutingGet => self.voicewake_routing_get(),
            Method::VoicewakeRoutingSet => self.voicewake_routing_set(now, conn, params),
            Method::VoicewakeSet => self.voicewake_set(now, conn, params),
            Method::Wake => self.wake(now, params),
            Method::Agent => return self.agent_call(now, conn, request, params),
            Method::AgentWait => return self.agent_wait(now, conn, request, params),
            Method::ChatHistory => return self.chat_history(now, conn, request, params),
            Method::ChatStartup => return self.chat_startup(now, conn, request, params),
            Method::ChatMetadata => self.chat_metadata(params),
            Method::ChatMessageGet => {
                return step(self.chat_message_get(now, conn, request, params));
            }
            Method::ChatSend => self.chat_send(now, conn, params),
            Method::ChatAbort => self.chat_abort(now, params),
            Method::ChatInject => self.chat_inject(now, params),
            Method::SessionsSubscribe => self.sessions_subscribe(now, conn, params),
            Method::SessionsMessagesSubscribe => self.messages_subscribe(conn, params),
            Method::SessionsMessagesUnsubscribe => self.messages_unsubscribe(conn, params),
            Method::SessionsPreview => {
                return step(self.sessions_preview(now, conn, request, params));
            }
            Method::SessionsDescribe => self.sessions_describe(now, params),
            Method::SessionsGet => return step(self.sessions_get(now, conn, request, params)),
            Method::SessionsResolve => self.sessions_resolve(params),
            Method::SessionsSearch => {
                return step(self.sessions_search(now, conn, request, params));
            }
            Method::SessionsUsage => self.sessions_usage(now, params),
            Method::SessionsCreate => self.sessions_create(now, conn, params),
            Method::SessionsSend => self.sessions_send(now, conn, params),
            Method::SessionsAbort => self.sessions_abort(now, params),
            Method::SessionsPatch => self.sessions_patch(now, params),
            Method::SessionsPatchMany => self.sessions_patch_many(now, params),
            Method::SessionsReset => self.sessions_reset(now, params),
            Method::SessionsDelete => self.sessions_delete(now, params),
            Method::SessionsCompact => self.sessions_compact(now, params),
            Method::ToolsCatalog => self.tools_catalog(params),
            Method::ToolsEffective => self.tools_effective(params),
            Method::ToolsInvoke => return step(self.tools_invoke(now, conn, request, params)),
            Method::ModelsAuthStatus => self.models_auth_status(now, params),
        };
        Step::Answer(answer)
    }
}

/// What becomes of a call that may fail before it waits.
fn step(step: Result<Step, RpcError>) -> Step {
    step.unwrap_or_else(|error| Step::Answer(Err(error)))
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
