//! Devices that sign, as honest clients and their attackers do.

use clawgate_core::device::{DeviceIdentity, PayloadVersion};
use clawgate_core::protocol::{ClientId, ClientInfo, ClientMode, Role};
use clawgate_tests::failure::{Failure, TestResult};
use clawgate_tests::raw_client::{Answer, RawClient};
use clawgate_tests::signer::{self, Said};
use serde_json::{Value, json};

/// A program with a key.
#[derive(Clone)]
pub(crate) struct Device {
    seed: u8,
    client: ClientInfo,
    role: Role,
    scopes: Vec<String>,
    auth: Value,
}

impl Device {
    /// The window of an app.
    pub(crate) fn app(seed: u8, scopes: &[&str]) -> Self {
        Self {
            seed,
            client: ClientInfo::new(ClientId::OpenclawLinux, ClientMode::Ui, "1", "linux"),
            role: Role::Operator,
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
            auth: json!({}),
        }
    }

    pub(crate) fn node(seed: u8) -> Self {
        Self {
            client: ClientInfo::new(ClientId::NodeHost, ClientMode::Node, "1", "linux"),
            role: Role::Node,
            ..Self::app(seed, &[])
        }
    }

    pub(crate) fn with(mut self, auth: Value) -> Self {
        self.auth = auth;
        self
    }

    pub(crate) fn id(&self) -> String {
        self.identity().id().as_str().to_owned()
    }

    fn identity(&self) -> DeviceIdentity {
        DeviceIdentity::from_seed(&[self.seed; 32])
    }

    /// The parameters of `connect`, signed for a challenge.
    pub(crate) fn signed(&self, challenge: &Value, version: PayloadVersion) -> TestResult<Value> {
        let said = Said {
            client: &self.client,
            role: self.role,
            scopes: &self.scopes,
            auth: &self.auth,
        };
        let proof = signer::prove(&self.identity(), said, challenge, version)?;
        Ok(json!({
            "minProtocol": 4,
            "maxProtocol": 4,
            "client": self.client,
            "caps": [],
            "auth": self.auth,
            "role": self.role,
            "scopes": self.scopes,
            "device": proof,
        }))
    }

    /// Connects, as the device means to.
    pub(crate) fn connect(&self, url: &str) -> TestResult<(RawClient, Answer)> {
        self.connect_changed(url, |_| {})
    }

    /// Connects with parameters that somebody has changed on their way.
    pub(crate) fn connect_changed(
        &self,
        url: &str,
        change: impl FnOnce(&mut Value),
    ) -> TestResult<(RawClient, Answer)> {
        let mut client = RawClient::dial(url)?;
        let challenge = client.event("connect.challenge")?;
        let mut params = self.signed(&challenge, PayloadVersion::V3)?;
        change(&mut params);
        let answer = client.call("connect", params)?;
        Ok((client, answer))
    }

    /// The `auth` of the hello.
    pub(crate) fn welcome(&self, url: &str) -> TestResult<(RawClient, Value)> {
        let (client, answer) = self.connect(url)?;
        let mut hello = answer.payload()?;
        Ok((client, hello["auth"].take()))
    }

    /// The code of the refusal.
    pub(crate) fn refused(&self, url: &str) -> TestResult<String> {
        code(self.connect(url)?)
    }
}

/// The detail code of a refusal, after which the connection must end.
pub(crate) fn code((mut client, answer): (RawClient, Answer)) -> TestResult<String> {
    let refusal = answer.refusal()?;
    let closed = client.closed()?;
    if !matches!(closed.code, 1002 | 1008) {
        return Err(Failure::new(format!("{refusal} and then {closed:?}")));
    }
    refusal["details"]["code"]
        .as_str()
        .map(Into::into)
        .ok_or_else(|| Failure::new(format!("no code in {refusal}")))
}
