//! Join tokens: `device.invite.*` of our own, and the protocol's `device.pair.setupCode`, which
//! wraps one for apps (spec protocol §6.9).

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Gateway, Params, encode};
use crate::{
    gateway::invites::{Invite, InviteTerms, MAX_INVITES, MAX_TTL, MAX_USES},
    ids::ConnId,
    policy::SecretKind,
    policy::{AuthRule, Endpoint, UrlPolicy},
    protocol::{Role, RpcError},
    scope::{Scope, ScopeSet},
    secret::Secret,
    time::Now,
};

/// How long a join token lives when nobody says.
const DEFAULT_TTL: Duration = Duration::from_secs(3_600);

/// How long a setup code lives.
const SETUP_TTL: Duration = Duration::from_secs(600);

/// Commands that a join token may approve.
const MAX_COMMANDS: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateParams {
    role: Option<Role>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    commands: Vec<String>,
    uses: Option<u32>,
    ttl_ms: Option<u64>,
    label: Option<String>,
    url: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InviteParams {
    invite_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SetupCodeParams {
    public_url: Option<String>,
    prefer_remote_url: Option<bool>,
    include_qr: Option<bool>,
    bootstrap_profile: Option<Profile>,
    join_url: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Profile {
    Limited,
    Node,
    VoiceNode,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SetupStatusParams {
    setup_id: String,
}

impl Gateway {
    pub(super) fn invite_create(&mut self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        let asked: CreateParams = params.parse()?;
        let role = asked.role.unwrap_or(Role::Node);
        let scopes = ScopeSet::parse(&asked.scopes);
        if asked.scopes.iter().any(|name| Scope::parse(name).is_none()) {
            return Err(params.error("scopes name an unknown operator scope"));
        }
        if role == Role::Node && !scopes.is_empty() {
            return Err(params.error("nodes hold no scopes"));
        }
        if role == Role::Operator && !asked.commands.is_empty() {
            return Err(params.error("commands are for nodes"));
        }
        let odd = |command: &String| {
            command.is_empty() || command.len() > 128 || command.chars().any(char::is_control)
        };
        if asked.commands.len() > MAX_COMMANDS || asked.commands.iter().any(odd) {
            let problem = format!("commands must be at most {MAX_COMMANDS} names");
            return Err(params.error(&problem));
        }
        let uses = asked.uses.unwrap_or(1);
        if uses == 0 || uses > MAX_USES {
            return Err(params.error(&format!("uses must be from 1 to {MAX_USES}")));
        }
        let ttl = asked.ttl_ms.map_or(DEFAULT_TTL, Duration::from_millis);
        if ttl.is_zero() || ttl > MAX_TTL {
            let most = MAX_TTL.as_secs() / 86_400;
            return Err(params.error(&format!("ttlMs must be from 1 to {most} days")));
        }
        if asked
            .label
            .as_ref()
            .is_some_and(|label| label.chars().count() > 64)
        {
            return Err(params.error("label must have at most 64 characters"));
        }
        let url = self.join_url(asked.url.as_deref())?;
        let terms = InviteTerms {
            role,
            scopes,
            commands: asked.commands,
            uses,
            ttl,
            label: asked.label,
        };
        let (invite, token) = self.make_invite(now, conn, terms)?;
        let mut answer = invite.summary();
        if let Value::Object(fields) = &mut answer {
            fields.insert("token".into(), token.expose().into());
            if let Some(url) = url {
                let code = self.setup_code(&url, &invite, &token);
                fields.insert("setupCode".into(), code.into());
                fields.insert("gatewayUrl".into(), url.into());
            }
        }
        encode(&answer)
    }

    pub(super) fn invite_list(&self, now: Now, params: Params<'_>) -> Answer {
        params.none()?;
        let invites: Vec<Value> = self
            .invites
            .all()
            .filter(|invite| now.wall < invite.expires_at_ms)
            .map(Invite::summary)
            .collect();
        encode(&json!({ "invites": invites }))
    }

    pub(super) fn invite_revoke(&mut self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        let InviteParams { invite_id } = params.parse()?;
        let invite_id = invite_id.trim();
        if self
            .invites
            .revoke(&mut self.out.journal, invite_id)
            .is_none()
        {
            return Err(RpcError::invalid_request("unknown inviteId"));
        }
        self.note(now, conn, "device.invite.revoke", None, invite_id);
        encode(&json!({ "inviteId": invite_id }))
    }

    pub(super) fn setup_code_create(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        let asked: SetupCodeParams = params.parse()?;
        if asked.include_qr == Some(true) {
            return Err(params.error("includeQr is not implemented; draw the setupCode yourself"));
        }
        if asked.join_url.is_some() || asked.prefer_remote_url == Some(true) {
            return Err(params.error("joinUrl and preferRemoteUrl are not implemented"));
        }
        let source = if asked.public_url.is_some() {
            "publicUrl"
        } else {
            "gateway.bind"
        };
        let Some(url) = self.join_url(asked.public_url.as_deref())? else {
            return Err(
                params.error("publicUrl is needed: the gateway knows no address of its own")
            );
        };
        let (role, scopes, access) = match asked.bootstrap_profile {
            Some(Profile::Limited) => (
                Role::Operator,
                ScopeSet::from_iter([Scope::Read, Scope::Write]),
                "limited",
            ),
            None | Some(Profile::Node | Profile::VoiceNode) => (Role::Node, ScopeSet::NONE, "node"),
        };
        let terms = InviteTerms {
            role,
            scopes,
            commands: Vec::new(),
            uses: 1,
            ttl: SETUP_TTL,
            label: None,
        };
        let (invite, token) = self.make_invite(now, conn, terms)?;
        let auth = match &self.setup.admission.auth {
            AuthRule::Shared {
                kind: SecretKind::Password,
                ..
            } => "password",
            AuthRule::None | AuthRule::Shared { .. } | AuthRule::TrustedProxy { .. } => "token",
        };
        encode(&json!({
            "setupId": invite.invite_id,
            "expiresAtMs": invite.expires_at_ms,
            "setupCode": self.setup_code(&url, &invite, &token),
            "gatewayUrl": url,
            "auth": auth,
            "urlSource": source,
            "access": access,
        }))
    }

    pub(super) fn setup_code_status(&self, params: Params<'_>) -> Answer {
        let SetupStatusParams { setup_id } = params.parse()?;
        let used = self
            .invites
            .all()
            .find(|invite| invite.invite_id == setup_id.trim())
            .and_then(|invite| Some((invite, invite.devices.first()?)));
        let Some((invite, device_id)) = used else {
            return encode(&json!({}));
        };
        let mut completion = json!({
            "setupId": invite.invite_id,
            "deviceId": device_id,
            "access": if invite.role == Role::Node { "node" } else { "limited" },
            "ts": invite.used_at_ms.unwrap_or(invite.created_at_ms),
        });
        let name = self.devices.get(device_id).and_then(|device| device.name());
        if let (Some(name), Value::Object(fields)) = (name, &mut completion) {
            fields.insert("deviceName".into(), name.into());
        }
        encode(&json!({ "completion": completion }))
    }

    fn make_invite(
        &mut self,
        now: Now,
        conn: ConnId,
        terms: InviteTerms,
    ) -> Result<(Invite, Secret), RpcError> {
        let manager = self.manager(conn)?;
        // An approval given beforehand takes what an approval takes.
        let may =
            manager.is_admin() || (terms.role == Role::Operator && manager.holds(&terms.scopes));
        if !may {
            self.note(now, conn, "device.invite.create", Some("missing-scope"), "");
            return Err(RpcError::missing_scope(Scope::Admin.as_str()));
        }
        let made = self
            .invites
            .create(&mut self.out.journal, &mut self.rng, now.wall, terms);
        let Some((invite, token)) = made else {
            return Err(RpcError::invalid_request(format!(
                "there are {MAX_INVITES} open join tokens already; revoke some first"
            )));
        };
        self.note(now, conn, "device.invite.create", None, &invite.invite_id);
        Ok((invite, token))
    }

    /// The URL that a setup code names: the given one, or the gateway's own.
    fn join_url(&self, given: Option<&str>) -> Result<Option<String>, RpcError> {
        let Some(given) = given else {
            return Ok(self.setup.host.url.clone());
        };
        Endpoint::parse(given, UrlPolicy::Strict)
            .map(|_| Some(given.trim().to_owned()))
            .map_err(|refusal| RpcError::invalid_request(refusal.to_string()))
    }

    /// What `openclaw` and the apps read: base64url of a small JSON document.
    fn setup_code(&self, url: &str, invite: &Invite, token: &Secret) -> String {
        let mut code = json!({
            "url": url,
            "bootstrapToken": token.expose(),
            "expiresAtMs": invite.expires_at_ms,
        });
        if let (Some(pin), Value::Object(fields)) = (&self.setup.host.tls_fingerprint, &mut code) {
            fields.insert("tlsFingerprint".into(), pin.as_str().into());
        }
        URL_SAFE_NO_PAD.encode(code.to_string())
    }
}
