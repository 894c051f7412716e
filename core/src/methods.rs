//! The method table: what exists, and what a caller needs for it (spec protocol §4, §6.1). A method
//! that is not listed does not exist, and learning even that takes `operator.admin`.

use crate::{
    protocol::{Role, RpcError},
    scope::{Scope, ScopeSet},
};

/// What a method demands of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Any role and scope.
    Anyone,
    /// Role `operator` with whatever scopes.
    AnyOperator,
    /// Role `node`.
    Node,
    /// Role `operator` with this scope.
    Operator(Scope),
}

/// Methods that the gateway answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub enum Method {
    AgentIdentityGet,
    AgentsCreate,
    AgentsDelete,
    AgentsFilesGet,
    AgentsFilesList,
    AgentsFilesSet,
    AgentsList,
    AgentsUpdate,
    ApprovalGet,
    ApprovalHistory,
    ApprovalResolve,
    ChannelsStatus,
    ConfigGet,
    ConfigSchema,
    CronList,
    CronStatus,
    DeviceInviteCreate,
    DeviceInviteList,
    DeviceInviteRevoke,
    DevicePairApprove,
    DevicePairList,
    DevicePairReject,
    DevicePairRemove,
    DevicePairRename,
    DevicePairSetupCode,
    DevicePairSetupStatus,
    DeviceScopesRequestUpgrade,
    DeviceScopesWaitUpgrade,
    DeviceTokenRevoke,
    DeviceTokenRotate,
    ExecApprovalsNodeGet,
    ExecApprovalsNodeSet,
    EventsResume,
    ExecApprovalGet,
    ExecApprovalGrantsList,
    ExecApprovalGrantsRevoke,
    ExecApprovalList,
    ExecApprovalRequest,
    ExecApprovalResolve,
    ExecApprovalWaitDecision,
    ExecApprovalsGet,
    ExecApprovalsSet,
    GatewayIdentityGet,
    Health,
    LastHeartbeat,
    LogsTail,
    ModelsList,
    NodeDescribe,
    NodeEvent,
    NodeInvoke,
    NodeInvokeProgress,
    NodeInvokeResult,
    NodeList,
    NodePairApprove,
    NodePairList,
    NodePairReject,
    NodePairRemove,
    NodePendingAck,
    NodePendingDrain,
    NodePendingEnqueue,
    NodePendingPull,
    NodePluginSurfaceRefresh,
    NodePluginToolsUpdate,
    NodeRename,
    NodeRunnerInventoryUpdate,
    NodeSkillsUpdate,
    SecretsReload,
    SecretsRotate,
    SecretsStatus,
    SessionsList,
    SetHeartbeats,
    SkillsBins,
    Status,
    SystemEvent,
    SystemPresence,
    VoicewakeGet,
    VoicewakeRoutingGet,
    VoicewakeRoutingSet,
    VoicewakeSet,
    Wake,
    Agent,
    AgentWait,
    ChatHistory,
    ChatStartup,
    ChatMetadata,
    ChatMessageGet,
    ChatSend,
    ChatAbort,
    ChatInject,
    SessionsSubscribe,
    SessionsMessagesSubscribe,
    SessionsMessagesUnsubscribe,
    SessionsPreview,
    SessionsDescribe,
    SessionsGet,
    SessionsResolve,
    SessionsSearch,
    SessionsUsage,
    SessionsCreate,
    SessionsSend,
    SessionsAbort,
    SessionsPatch,
    SessionsPatchMany,
    SessionsReset,
    SessionsDelete,
    SessionsCompact,
    ToolsCatalog,
    ToolsEffective,
    ToolsInvoke,
    ModelsAuthStatus,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct MethodSpec {
    /// Which method.
    pub method: Method,
    /// Its name on the wire.
    pub name: &'static str,
    /// What it demands.
    pub access: Access,
}

const fn row(method: Method, name: &'static str, access: Access) -> MethodSpec {
    MethodSpec {
        method,
        name,
        access,
    }
}

/// The table, in the order in which `features.methods` lists it.
pub const METHODS: &[MethodSpec] = &[
    row(Method::Health, "health", Access::Anyone),
    row(Method::LogsTail, "logs.tail", Access::Operator(Scope::Read)),
    row(
        Method::ChannelsStatus,
        "channels.status",
        Access::Operator(Scope::Read),
    ),
    row(Method::Status, "status", Access::Operator(Scope::Read)),
    row(
        Method::ConfigGet,
        "config.get",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::ConfigSchema,
        "config.schema",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::ModelsList,
        "models.list",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::AgentsList,
        "agents.list",
        Access::Operator(Scope::Read),
    ),
    row(Method::EventsResume, "events.resume", Access::AnyOperator),
    row(
        Method::ExecApprovalGet,
        "exec.approval.get",
        Access::Operator(Scope::Approvals),
    ),
    row(
        Method::ExecApprovalList,
        "exec.approval.list",
        Access::Operator(Scope::Approvals),
    ),
    row(
        Method::ExecApprovalRequest,
        "exec.approval.request",
        Access::Operator(Scope::Approvals),
    ),
    row(
        Method::ExecApprovalWaitDecision,
        "exec.approval.waitDecision",
        Access::Operator(Scope::Approvals),
    ),
    row(
        Method::ExecApprovalResolve,
        "exec.approval.resolve",
        Access::Operator(Scope::Approvals),
    ),
    row(
        Method::ExecApprovalGrantsList,
        "exec.approval.grants.list",
        Access::Operator(Scope::Approvals),
    ),
    row(
        Method::ExecApprovalGrantsRevoke,
        "exec.approval.grants.revoke",
        Access::Operator(Scope::Approvals),
    ),
    row(
        Method::ExecApprovalsGet,
        "exec.approvals.get",
        Access::Operator(Scope::Admin),
    ),
    row(
        Method::ExecApprovalsSet,
        "exec.approvals.set",
        Access::Operator(Scope::Admin),
    ),
    row(
        Method::ApprovalGet,
        "approval.get",
        Access::Operator(Scope::Approvals),
    ),
    row(
        Method::ApprovalResolve,
        "approval.resolve",
        Access::Operator(Scope::Approvals),
    ),
    row(
        Method::ApprovalHistory,
        "approval.history",
        Access::Operator(Scope::Approvals),
    ),
    row(
        Method::AgentsCreate,
        "agents.create",
        Access::Operator(Scope::Admin),
    ),
    row(
        Method::AgentsUpdate,
        "agents.update",
        Access::Operator(Scope::Admin),
    ),
    row(
        Method::AgentsDelete,
        "agents.delete",
        Access::Operator(Scope::Admin),
    ),
    row(
        Method::AgentsFilesList,
        "agents.files.list",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::AgentsFilesGet,
        "agents.files.get",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::AgentsFilesSet,
        "agents.files.set",
        Access::Operator(Scope::Admin),
    ),
    row(
        Method::AgentIdentityGet,
        "agent.identity.get",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::VoicewakeGet,
        "voicewake.get",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::VoicewakeSet,
        "voicewake.set",
        Access::Operator(Scope::Write),
    ),
    row(
        Method::VoicewakeRoutingGet,
        "voicewake.routing.get",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::VoicewakeRoutingSet,
        "voicewake.routing.set",
        Access::Operator(Scope::Write),
    ),
    row(
        Method::SessionsList,
        "sessions.list",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::LastHeartbeat,
        "last-heartbeat",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::SetHeartbeats,
        "set-heartbeats",
        Access::Operator(Scope::Admin),
    ),
    row(Method::Wake, "wake", Access::Operator(Scope::Write)),
    row(
        Method::NodePairList,
        "node.pair.list",
        Access::Operator(Scope::Pairing),
    ),
    row(Method::NodeList, "node.list", Access::Operator(Scope::Read)),
    row(
        Method::NodePairApprove,
        "node.pair.approve",
        Access::Operator(Scope::Pairing),
    ),
    row(
        Method::NodePairReject,
        "node.pair.reject",
        Access::Operator(Scope::Pairing),
    ),
    row(
        Method::NodePairRemove,
        "node.pair.remove",
        Access::Operator(Scope::Pairing),
    ),
    row(
        Method::NodeRename,
        "node.rename",
        Access::Operator(Scope::Pairing),
    ),
    row(
        Method::NodeDescribe,
        "node.describe",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::NodePluginSurfaceRefresh,
        "node.pluginSurface.refresh",
        Access::Node,
    ),
    row(
        Method::NodePluginToolsUpdate,
        "node.pluginTools.update",
        Access::Node,
    ),
    row(Method::NodeSkillsUpdate, "node.skills.update", Access::Node),
    row(
        Method::NodeRunnerInventoryUpdate,
        "node.runnerInventory.update",
        Access::Node,
    ),
    row(Method::NodePendingDrain, "node.pending.drain", Access::Node),
    row(
        Method::NodePendingEnqueue,
        "node.pending.enqueue",
        Access::Operator(Scope::Write),
    ),
    row(
        Method::NodeInvoke,
        "node.invoke",
        Access::Operator(Scope::Write),
    ),
    row(Method::NodePendingPull, "node.pending.pull", Access::Node),
    row(Method::NodePendingAck, "node.pending.ack", Access::Node),
    row(
        Method::NodeInvokeProgress,
        "node.invoke.progress",
        Access::Node,
    ),
    row(Method::NodeInvokeResult, "node.invoke.result", Access::Node),
    row(Method::NodeEvent, "node.event", Access::Node),
    row(Method::SkillsBins, "skills.bins", Access::Node),
    row(
        Method::ExecApprovalsNodeGet,
        "exec.approvals.node.get",
        Access::Operator(Scope::Admin),
    ),
    row(
        Method::ExecApprovalsNodeSet,
        "exec.approvals.node.set",
        Access::Operator(Scope::Admin),
    ),
    row(
        Method::DevicePairList,
        "device.pair.list",
        Access::Operator(Scope::Pairing),
    ),
    row(
        Method::DevicePairApprove,
        "device.pair.approve",
        Access::Operator(Scope::Pairing),
    ),
    row(
        Method::DevicePairReject,
        "device.pair.reject",
        Access::Operator(Scope::Pairing),
    ),
    row(
        Method::DevicePairRemove,
        "device.pair.remove",
        Access::Operator(Scope::Pairing),
    ),
    row(
        Method::DevicePairRename,
        "device.pair.rename",
        Access::Operator(Scope::Pairing),
    ),
    row(
        Method::DeviceTokenRotate,
        "device.token.rotate",
        Access::Operator(Scope::Pairing),
    ),
    row(
        Method::DeviceTokenRevoke,
        "device.token.revoke",
        Access::Operator(Scope::Pairing),
    ),
    row(
        Method::DevicePairSetupCode,
        "device.pair.setupCode",
        Access::Operator(Scope::Admin),
    ),
    row(
        Method::DevicePairSetupStatus,
        "device.pair.setupStatus",
        Access::Operator(Scope::Admin),
    ),
    row(
        Method::DeviceScopesRequestUpgrade,
        "device.scopes.requestUpgrade",
        Access::AnyOperator,
    ),
    row(
        Method::DeviceScopesWaitUpgrade,
        "device.scopes.waitUpgrade",
        Access::AnyOperator,
    ),
    row(
        Method::DeviceInviteCreate,
        "device.invite.create",
        Access::Operator(Scope::Pairing),
    ),
    row(
        Method::DeviceInviteList,
        "device.invite.list",
        Access::Operator(Scope::Pairing),
    ),
    row(
        Method::DeviceInviteRevoke,
        "device.invite.revoke",
        Access::Operator(Scope::Pairing),
    ),
    row(
        Method::SecretsReload,
        "secrets.reload",
        Access::Operator(Scope::Admin),
    ),
    row(
        Method::SecretsRotate,
        "secrets.rotate",
        Access::Operator(Scope::Admin),
    ),
    row(
        Method::SecretsStatus,
        "secrets.status",
        Access::Operator(Scope::Admin),
    ),
    row(Method::CronList, "cron.list", Access::Operator(Scope::Read)),
    row(
        Method::CronStatus,
        "cron.status",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::GatewayIdentityGet,
        "gateway.identity.get",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::SystemPresence,
        "system-presence",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::SystemEvent,
        "system-event",
        Access::Operator(Scope::Admin),
    ),
    row(Method::Agent, "agent", Access::Operator(Scope::Write)),
    row(
        Method::AgentWait,
        "agent.wait",
        Access::Operator(Scope::Write),
    ),
    row(
        Method::ChatHistory,
        "chat.history",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::ChatStartup,
        "chat.startup",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::ChatMetadata,
        "chat.metadata",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::ChatMessageGet,
        "chat.message.get",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::ChatSend,
        "chat.send",
        Access::Operator(Scope::Write),
    ),
    row(
        Method::ChatAbort,
        "chat.abort",
        Access::Operator(Scope::Write),
    ),
    row(
        Method::ChatInject,
        "chat.inject",
        Access::Operator(Scope::Admin),
    ),
    row(
        Method::SessionsSubscribe,
        "sessions.subscribe",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::SessionsMessagesSubscribe,
        "sessions.messages.subscribe",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::SessionsMessagesUnsubscribe,
        "sessions.messages.unsubscribe",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::SessionsPreview,
        "sessions.preview",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::SessionsDescribe,
        "sessions.describe",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::SessionsGet,
        "sessions.get",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::SessionsResolve,
        "sessions.resolve",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::SessionsSearch,
        "sessions.search",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::SessionsUsage,
        "sessions.usage",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::SessionsCreate,
        "sessions.create",
        Access::Operator(Scope::Write),
    ),
    row(
        Method::SessionsSend,
        "sessions.send",
        Access::Operator(Scope::Write),
    ),
    row(
        Method::SessionsAbort,
        "sessions.abort",
        Access::Operator(Scope::Write),
    ),
    row(
        Method::SessionsPatch,
        "sessions.patch",
        Access::Operator(Scope::Write),
    ),
    row(
        Method::SessionsPatchMany,
        "sessions.patchMany",
        Access::Operator(Scope::Write),
    ),
    row(
        Method::SessionsReset,
        "sessions.reset",
        Access::Operator(Scope::Admin),
    ),
    row(
        Method::SessionsDelete,
        "sessions.delete",
        Access::Operator(Scope::Admin),
    ),
    row(
        Method::SessionsCompact,
        "sessions.compact",
        Access::Operator(Scope::Admin),
    ),
    row(
        Method::ToolsCatalog,
        "tools.catalog",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::ToolsEffective,
        "tools.effective",
        Access::Operator(Scope::Read),
    ),
    row(
        Method::ToolsInvoke,
        "tools.invoke",
        Access::Operator(Scope::Write),
    ),
    row(
        Method::ModelsAuthStatus,
        "models.authStatus",
        Access::Operator(Scope::Read),
    ),
];

/// Why a call was not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The method belongs to the other role.
    Role(RpcError),
    /// A scope is missing, or the method does not exist.
    Call(RpcError),
}

/// Looks a method up and checks that a caller may use it.
///
/// ```
/// use clawgate_core::{methods, protocol::Role, scope::{Scope, ScopeSet}};
///
/// let reader = ScopeSet::from_iter([Scope::Read]);
/// assert!(methods::authorize("status", Role::Operator, &reader).is_ok());
/// assert!(methods::authorize("set-heartbeats", Role::Operator, &reader).is_err());
/// assert!(methods::authorize("no.such.method", Role::Operator, &reader).is_err());
/// ```
///
/// # Errors
/// When the role does not fit, a scope is missing, or there is no such method.
pub fn authorize(name: &str, role: Role, scopes: &ScopeSet) -> Result<&'static MethodSpec, Denied> {
    let wrong_role = || {
        Denied::Role(RpcError::invalid_request(format!(
            "unauthorized role: {}",
            role.as_str()
        )))
    };
    let found = METHODS.iter().find(|spec| spec.name == name);
    let access = found.map_or(Access::Operator(Scope::Admin), |spec| spec.access);
    match (access, role) {
        (Access::Anyone, Role::Node | Role::Operator)
        | (Access::AnyOperator, Role::Operator)
        | (Access::Node, Role::Node) => {}
        (Access::Node, Role::Operator)
        | (Access::AnyOperator | Access::Operator(_), Role::Node) => {
            return Err(wrong_role());
        }
        (Access::Operator(needed), Role::Operator) => {
            if !scopes.allows(needed) {
                return Err(Denied::Call(RpcError::missing_scope(needed.as_str())));
            }
        }
    }
    found.ok_or_else(|| Denied::Call(RpcError::unknown_method(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_methods_are_unique() {
        for (index, spec) in METHODS.iter().enumerate() {
            for other in &METHODS[index + 1..] {
                assert_ne!(spec.name, other.name);
                assert_ne!(spec.method, other.method);
            }
        }
    }

    #[test]
    fn what_is_not_open_is_denied_by_default() {
        for role in [Role::Node, Role::Operator] {
            for spec in METHODS {
                let allowed = authorize(spec.name, role, &ScopeSet::NONE).is_ok();
                let open = match spec.access {
                    Access::Anyone => true,
                    Access::AnyOperator => role == Role::Operator,
                    Access::Node => role == Role::Node,
                    Access::Operator(_) => false,
                };
                assert_eq!(allowed, open, "{}", spec.name);
            }
        }
    }

    #[test]
    fn an_unknown_method_is_told_to_administrators_only() {
        let reader = ScopeSet::from_iter([Scope::Read]);
        let Denied::Call(error) = authorize("x.y", Role::Operator, &reader).unwrap_err() else {
            panic!("not a refused call");
        };
        assert_eq!(error.detail_code(), Some("MISSING_SCOPE"));
        let admin = ScopeSet::from_iter([Scope::Admin]);
        let Denied::Call(error) = authorize("x.y", Role::Operator, &admin).unwrap_err() else {
            panic!("not a refused call");
        };
        assert_eq!(error.message, "unknown method: x.y");
        assert!(matches!(
            authorize("x.y", Role::Node, &admin),
            Err(Denied::Role(_))
        ));
    }
}
