//! Whether a client of one connection claims its device, and when (spec protocol §3.5, §3.6; spec
//! credentials §3).

use super::{Ending, Hello};
use crate::credentials;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To see how a gateway is. A look leaves no trace: it makes no device and asks for no pairing.
    Look,
    /// To get something done.
    Work,
}

/// When a device is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceUse {
    /// With the first `connect`.
    AtOnce,
    /// Not at all.
    Never,
    /// With a second `connect`, if the first one shows that it takes a device
    /// ([`takes_a_device`]).
    WhenAsked,
}

/// What the decision depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceNeed {
    /// What the connection is for.
    pub purpose: Purpose,
    /// Whether the gateway is on this machine.
    pub is_local: bool,
    /// What is presented.
    pub presents: Presents,
    /// Whether a device token for this gateway is stored and may be sent there.
    pub has_token: bool,
    /// Whether scopes are asked for.
    pub asks_scopes: bool,
}

/// What a client presents, as far as its device is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presents {
    /// The stored device token.
    DeviceToken,
    /// Nothing.
    Nothing,
    /// A token or password.
    Shared,
}

impl DeviceNeed {
    /// The need of a connection to a resolved target.
    pub fn of(target: &credentials::Target, purpose: Purpose, asks_scopes: bool) -> Self {
        let auth = target.auth();
        let presents = if auth.token().is_some() || auth.password().is_some() {
            Presents::Shared
        } else if auth.device_token().is_some() {
            Presents::DeviceToken
        } else {
            Presents::Nothing
        };
        Self {
            purpose,
            is_local: target.endpoint().is_loopback(),
            presents,
            has_token: auth.device_scopes().is_some(),
            asks_scopes,
        }
    }
}

/// Decides. On this machine the shared secret is enough, so that nothing has to be paired; a
/// gateway elsewhere gives scopes to devices only.
///
/// ```
/// use clawgate_core::client::{DeviceNeed, DeviceUse, Presents, Purpose, device_use};
///
/// let need = DeviceNeed {
///     purpose: Purpose::Work,
///     is_local: false,
///     presents: Presents::Shared,
///     has_token: false,
///     asks_scopes: true,
/// };
/// assert_eq!(device_use(need), DeviceUse::AtOnce);
/// assert_eq!(device_use(DeviceNeed { purpose: Purpose::Look, ..need }), DeviceUse::Never);
/// ```
pub const fn device_use(need: DeviceNeed) -> DeviceUse {
    match (need.purpose, need.presents) {
        (_, Presents::DeviceToken) => DeviceUse::AtOnce,
        (Purpose::Look, Presents::Nothing) => DeviceUse::Never,
        // A device that has a token is paired, so that claiming it asks for nothing.
        (Purpose::Look, Presents::Shared) => match (need.has_token, need.is_local) {
            (false, _) => DeviceUse::Never,
            (true, true) => DeviceUse::WhenAsked,
            (true, false) => DeviceUse::AtOnce,
        },
        (Purpose::Work, Presents::Shared | Presents::Nothing) if need.is_local => {
            DeviceUse::WhenAsked
        }
        (Purpose::Work, Presents::Shared) if !need.asks_scopes => DeviceUse::WhenAsked,
        (Purpose::Work, Presents::Shared | Presents::Nothing) => DeviceUse::AtOnce,
    }
}

/// Whether the outcome of a `connect` without a device shows that it takes one: the gateway says so,
/// or lets the client in with none of the scopes that it asked for.
pub fn takes_a_device(outcome: Result<&Hello, &Ending>, asks_scopes: bool) -> bool {
    match outcome {
        Ok(hello) => asks_scopes && hello.scopes.as_ref().is_some_and(Vec::is_empty),
        Err(Ending::Refused(error)) => error.detail_code() == Some("DEVICE_IDENTITY_REQUIRED"),
        Err(Ending::Closed { .. } | Ending::Failed(_) | Ending::Lost | Ending::Stopped) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{frame::RawJson, protocol::RpcError};

    #[test]
    fn the_table() {
        use DeviceUse::{AtOnce, Never, WhenAsked};
        use Presents::{DeviceToken, Nothing, Shared};
        use Purpose::{Look, Work};
        // purpose, presents, has a token, local with scopes, local without, remote with, without
        let table = [
            (Look, Nothing, false, [Never, Never, Never, Never]),
            (Look, Shared, false, [Never, Never, Never, Never]),
            (Look, Shared, true, [WhenAsked, WhenAsked, AtOnce, AtOnce]),
            (Look, DeviceToken, true, [AtOnce, AtOnce, AtOnce, AtOnce]),
            (Work, Nothing, false, [WhenAsked, WhenAsked, AtOnce, AtOnce]),
            (
                Work,
                Shared,
                false,
                [WhenAsked, WhenAsked, AtOnce, WhenAsked],
            ),
            (
                Work,
                Shared,
                true,
                [WhenAsked, WhenAsked, AtOnce, WhenAsked],
            ),
            (Work, DeviceToken, true, [AtOnce, AtOnce, AtOnce, AtOnce]),
        ];
        for (purpose, presents, has_token, expected) in table {
            let cells = [(true, true), (true, false), (false, true), (false, false)];
            for ((is_local, asks_scopes), expected) in cells.into_iter().zip(expected) {
                let need = DeviceNeed {
                    purpose,
                    is_local,
                    presents,
                    has_token,
                    asks_scopes,
                };
                assert_eq!(device_use(need), expected, "{need:?}");
            }
        }
    }

    #[test]
    fn a_gateway_says_by_its_answer_that_it_takes_a_device() {
        let hello = |text: &str| Hello::read(&RawJson::checked(text.to_owned()).unwrap());
        let empty = hello(r#"{"auth":{"role":"operator","scopes":[]}}"#);
        assert!(takes_a_device(Ok(&empty), true));
        assert!(!takes_a_device(Ok(&empty), false));
        let some = hello(r#"{"auth":{"scopes":["operator.read"]}}"#);
        assert!(!takes_a_device(Ok(&some), true));
        assert!(!takes_a_device(Ok(&hello("{}")), true));
        for (code, takes) in [
            ("DEVICE_IDENTITY_REQUIRED", true),
            ("PAIRING_REQUIRED", false),
            ("AUTH_TOKEN_MISMATCH", false),
        ] {
            let error = RpcError::invalid_request("no").with_details(json!({ "code": code }));
            assert_eq!(
                takes_a_device(Err(&Ending::Refused(error)), true),
                takes,
                "{code}"
            );
        }
        assert!(!takes_a_device(Err(&Ending::Lost), true));
    }
}
