//! Calls whose answers tell which call they answer.

use clawgate_core::{
    client::CallError,
    frame::RawJson,
    gateway::{ConfigText, Effect, EffectOutcome, LogTail, ProcessStats},
    node::ApprovalsText,
    policy::Whois,
    protocol::{Role, RpcError},
    store::TranscriptPage,
};
use serde_json::{Value, json};

use crate::{
    cast::{CONFIG_SECRET, Rights},
    dice::Dice,
};

/// What every failed effect says.
pub const EFFECT_FAILURE: &str = "the disk is on fire";

/// A call. The number, where there is one, comes back in the answer.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    Channel(u64),
    Config,
    CronPage(u64),
    DevicePairs,
    Health,
    Heartbeats(bool),
    LogTail(u64),
    Presence,
    Status,
    /// A report about one of a few devices.
    SystemEvent(u64),
    Unknown(u64),
    Wake,
}

impl Ask {
    pub fn any(dice: &mut Dice) -> Self {
        let number = dice.next() % 1_000_000_000;
        match dice.below(13) {
            0 => Self::Channel(number),
            1 => Self::Config,
            2 => Self::CronPage(number),
            3 => Self::DevicePairs,
            4 => Self::Health,
            5 => Self::Heartbeats(number.is_multiple_of(2)),
            6 => Self::LogTail(number),
            7 => Self::Presence,
            8 => Self::Status,
            9 => Self::Unknown(number),
            10 => Self::Wake,
            _ => Self::SystemEvent(number),
        }
    }

    pub fn method(self) -> String {
        match self {
            Self::Channel(_) => "channels.status".into(),
            Self::Config => "config.get".into(),
            Self::CronPage(_) => "cron.list".into(),
            Self::DevicePairs => "device.pair.list".into(),
            Self::Health => "health".into(),
            Self::Heartbeats(_) => "set-heartbeats".into(),
            Self::LogTail(_) => "logs.tail".into(),
            Self::Presence => "system-presence".into(),
            Self::Status => "status".into(),
            Self::SystemEvent(_) => "system-event".into(),
            Self::Unknown(number) => format!("no.such.method.{number}"),
            Self::Wake => "wake".into(),
        }
    }

    pub fn params(self) -> RawJson {
        let params = match self {
            Self::Channel(number) => json!({ "channel": number.to_string() }),
            Self::CronPage(number) => json!({ "offset": number }),
            Self::Heartbeats(enabled) => json!({ "enabled": enabled }),
            Self::LogTail(number) => json!({ "cursor": number }),
            Self::SystemEvent(number) => json!({
                "text": format!("Node: {}", "x".repeat(report_size(number))),
                "deviceId": format!("reported-{}", number % 5),
                "idempotencyKey": number.to_string(),
            }),
            Self::Wake => json!({ "mode": "now", "text": "rise" }),
            Self::Config
            | Self::DevicePairs
            | Self::Health
            | Self::Presence
            | Self::Status
            | Self::Unknown(_) => json!({}),
        };
        RawJson::encode(&params).unwrap()
    }

    /// The scope that it takes; `None` where everybody may.
    fn scope(self) -> Option<&'static str> {
        match self {
            Self::Health => None,
            Self::Channel(_)
            | Self::Config
            | Self::CronPage(_)
            | Self::LogTail(_)
            | Self::Presence
            | Self::Status => Some("operator.read"),
            Self::DevicePairs => Some("operator.pairing"),
            Self::Heartbeats(_) | Self::SystemEvent(_) | Self::Unknown(_) => Some("operator.admin"),
            Self::Wake => Some("operator.write"),
        }
    }

    /// Whether this may be the end of the call.
    pub fn check(self, rights: &Rights, outcome: &Result<RawJson, CallError>) {
        let error = match outcome {
            Ok(payload) => return self.check_payload(rights, &payload.parse().unwrap()),
            Err(CallError::Ended(_) | CallError::Timeout) => return,
            Err(CallError::Rpc(error)) => error,
        };
        assert!(
            is_busy(error) || self.is_expected(rights, error),
            "{self:?}: {error:?}"
        );
    }

    fn check_payload(self, rights: &Rights, payload: &Value) {
        assert!(
            self.scope().is_none_or(|scope| rights.allow(scope)),
            "{self:?} was carried out for {:?}",
            rights.scopes
        );
        let right = match self {
            Self::Channel(_) | Self::Unknown(_) => false,
            Self::Config => payload["config"].is_object(),
            Self::CronPage(number) => payload["offset"] == number,
            Self::DevicePairs => payload["pending"].is_array(),
            Self::Health => payload["channels"].is_object(),
            Self::Heartbeats(enabled) => payload["enabled"] == enabled,
            Self::LogTail(number) => payload["cursor"] == number,
            Self::Presence => payload.is_array(),
            Self::Status => payload["processMemory"].is_object(),
            Self::SystemEvent(_) | Self::Wake => *payload == json!({ "ok": true }),
        };
        assert!(right, "{self:?} was answered with {payload}");
    }

    fn is_expected(self, rights: &Rights, error: &RpcError) -> bool {
        let says = |part: &str| error.message.contains(part);
        if let Some(scope) = self.scope()
            && !rights.allow(scope)
        {
            return match rights.role {
                Role::Node => says("unauthorized role: node"),
                Role::Operator => error.message == format!("missing scope: {scope}"),
            };
        }
        match self {
            Self::Channel(number) => says(&format!("unknown channel '{number}'")),
            Self::Unknown(number) => says(&format!("unknown method: no.such.method.{number}")),
            Self::Config | Self::LogTail(_) | Self::Status => [
                EFFECT_FAILURE,
                "the host took too long",
                "answer of the wrong kind",
            ]
            .into_iter()
            .any(says),
            Self::CronPage(_)
            | Self::DevicePairs
            | Self::Health
            | Self::Heartbeats(_)
            | Self::Presence
            | Self::SystemEvent(_)
            | Self::Wake => false,
        }
    }
}

/// Most reports are short; a few are more than tight limits take.
fn report_size(number: u64) -> usize {
    let size = match number % 16 {
        0 => 3_500,
        1..=3 => 2_000,
        _ => number % 700,
    };
    usize::try_from(size).unwrap()
}

/// Whether an answer only asks to come back later.
fn is_busy(error: &RpcError) -> bool {
    error.code == "UNAVAILABLE" && error.retryable == Some(true)
}

/// What an honest host answers.
pub fn carry_out(effect: &Effect) -> EffectOutcome {
    match effect {
        Effect::ReadConfig => EffectOutcome::Config(ConfigText {
            text: Some(format!(
                r#"{{"gateway":{{"auth":{{"password":"{CONFIG_SECRET}"}}}}}}"#
            )),
        }),
        Effect::ReadProcess => EffectOutcome::Process(ProcessStats { rss_bytes: 7 }),
        Effect::HoldLock(_)
        | Effect::KeepExecApprovals { .. }
        | Effect::KeepToken(_)
        | Effect::ReleaseLock(_) => EffectOutcome::Done,
        Effect::ReadExecApprovals => EffectOutcome::ExecApprovals(ApprovalsText::Missing),
        Effect::ReadSecrets => EffectOutcome::Failed("no secrets here".into()),
        Effect::SampleHost => EffectOutcome::Failed("no numbers here".into()),
        Effect::FeedJob(..) | Effect::StartJob(_) | Effect::StopJob(_) => {
            EffectOutcome::Failed("no jobs here".into())
        }
        Effect::ReadTranscript(_) => EffectOutcome::Transcript(TranscriptPage::default()),
        Effect::Whois(_) => EffectOutcome::Whois(Whois::Unknown),
        Effect::TailLog(tail) => EffectOutcome::Log(LogTail {
            file: "gateway.log".into(),
            cursor: tail.cursor.unwrap_or_default(),
            size: 0,
            lines: Vec::new(),
            truncated: None,
            reset: None,
        }),
    }
}
