//! What a client says of itself, its limits, and its calls.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::Expect;
use crate::{
    device::DeviceIdentity,
    frame::RawJson,
    protocol::{ClientInfo, Role},
};

/// Who the client is and what it wants to be.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The program.
    pub client: ClientInfo,
    /// What it wants to be.
    pub role: Role,
    /// The scopes that it asks for.
    pub scopes: Vec<String>,
    /// What it can do (operator) or offers (node).
    pub caps: Vec<String>,
    /// Commands that a node claims.
    pub commands: Vec<String>,
    /// Permissions that a node reports.
    pub permissions: BTreeMap<String, bool>,
    /// A node's `PATH`.
    pub path_env: Option<String>,
    /// Such as `en-US`.
    pub locale: Option<String>,
    /// The device's key; without one no device is claimed.
    pub device: Option<Arc<DeviceIdentity>>,
}

impl Profile {
    /// An operator without a device.
    pub fn operator(client: ClientInfo, scopes: Vec<String>) -> Self {
        Self {
            client,
            role: Role::Operator,
            scopes,
            caps: Vec::new(),
            commands: Vec::new(),
            permissions: BTreeMap::new(),
            path_env: None,
            locale: None,
            device: None,
        }
    }

    /// A node, which always has a device and never asks for scopes.
    pub fn node(client: ClientInfo, device: Arc<DeviceIdentity>) -> Self {
        Self {
            role: Role::Node,
            device: Some(device),
            ..Self::operator(client, Vec::new())
        }
    }
}

/// Limits of one client connection, all finite (spec protocol §1, §10).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Time from the dialled socket to the challenge.
    pub challenge: Duration,
    /// Time from `connect` to its answer.
    pub connect: Duration,
    /// Time for a call that names no deadline of its own and waits for its first answer.
    pub request: Duration,
    /// Time for the whole connection, from its start; `None` for a client that stays.
    pub total: Option<Duration>,
    /// Time for the gateway to answer a close frame.
    pub close_grace: Duration,
    /// Calls that may wait for their answers.
    pub max_pending: usize,
    /// Bytes of frames that may wait to be written.
    pub max_buffered_bytes: usize,
    /// Events that may wait to be read. More are dropped and counted.
    pub max_events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            challenge: Duration::from_secs(15),
            connect: Duration::from_secs(15),
            request: Duration::from_secs(30),
            total: None,
            close_grace: Duration::from_millis(250),
            max_pending: 256,
            max_buffered_bytes: 50 * 1024 * 1024,
            max_events: 1024,
        }
    }
}

/// How long a call may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallDeadline {
    /// This long.
    After(Duration),
    /// [`Limits::request`] for the first answer, [`CallDeadline::Unbounded`] for the final one.
    #[default]
    Default,
    /// As long as the connection lasts.
    Unbounded,
}

/// One call.
///
/// ```
/// use std::time::Duration;
/// use clawgate_core::{client::Call, frame::RawJson};
///
/// let call = Call::new("logs.tail", RawJson::checked(r#"{"limit":10}"#)?)
///     .timeout(Duration::from_secs(5));
/// let agent = Call::new("agent", RawJson::empty_object()).until_final();
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Call {
    /// The method's name.
    pub method: String,
    /// Its parameters.
    pub params: RawJson,
    /// Which answer ends it.
    pub expect: Expect,
    /// How long it may take.
    pub deadline: CallDeadline,
}

impl Call {
    /// A call that ends with its first answer.
    pub fn new(method: impl Into<String>, params: RawJson) -> Self {
        Self {
            method: method.into(),
            params,
            expect: Expect::First,
            deadline: CallDeadline::Default,
        }
    }

    /// Waits for the answer after `accepted`, without a deadline unless one is given.
    #[must_use]
    pub fn until_final(self) -> Self {
        Self {
            expect: Expect::Final,
            ..self
        }
    }

    /// Sets the deadline.
    #[must_use]
    pub fn timeout(self, after: Duration) -> Self {
        Self {
            deadline: CallDeadline::After(after),
            ..self
        }
    }

    pub(super) fn time_limit(&self, limits: &Limits) -> Option<Duration> {
        match (self.deadline, self.expect) {
            (CallDeadline::After(limit), Expect::First | Expect::Final) => Some(limit),
            (CallDeadline::Default, Expect::First) => Some(limits.request),
            (CallDeadline::Default, Expect::Final)
            | (CallDeadline::Unbounded, Expect::First | Expect::Final) => None,
        }
    }
}
