//! How things end, by name.

use super::label::labels;
use crate::{
    frame::RawJson,
    protocol::{RpcCode, RpcError},
};

labels! {
    /// How a call ended.
    CallResult {
        /// With a result.
        Ok = "ok",
        /// The request or its parameters were wrong.
        InvalidRequest = "invalid_request",
        /// The caller lacks a scope.
        MissingScope = "missing_scope",
        /// It is forbidden for another reason.
        Forbidden = "forbidden",
        /// A device is not paired.
        NotPaired = "not_paired",
        /// It could not be done then.
        Unavailable = "unavailable",
        /// The method belongs to the other role.
        WrongRole = "wrong_role",
        /// There is no such method.
        UnknownMethod = "unknown_method",
        /// The caller had too many calls in flight.
        TooMany = "too_many",
        /// The caller was gone before the answer.
        Abandoned = "abandoned",
        /// With an error of another kind.
        Other = "other",
    }
}

impl CallResult {
    /// How a call with this outcome ended.
    pub fn of(outcome: &Result<RawJson, RpcError>) -> Self {
        match outcome {
            Ok(_) => Self::Ok,
            Err(error) => Self::of_error(error),
        }
    }

    /// How a call with this error ended.
    pub fn of_error(error: &RpcError) -> Self {
        let is = |code: RpcCode| error.code == code.as_str();
        if is(RpcCode::InvalidRequest) {
            Self::InvalidRequest
        } else if is(RpcCode::Unavailable) {
            Self::Unavailable
        } else if is(RpcCode::NotPaired) {
            Self::NotPaired
        } else if is(RpcCode::Forbidden) {
            if error.detail_code() == Some("MISSING_SCOPE") {
                Self::MissingScope
            } else {
                Self::Forbidden
            }
        } else {
            Self::Other
        }
    }
}

labels! {
    /// Why a socket did not become a connection.
    OpenRefused {
        /// The gateway stops.
        Stopping = "stopping",
        /// There are too many connections in all.
        TooMany = "too_many",
        /// Its address has too many connections that have not authenticated.
        TooManyFromAddress = "too_many_from_address",
        /// Its address has too many sockets that have not sent their request.
        TooManyHeads = "too_many_heads",
        /// The TLS handshake failed.
        Tls = "tls",
    }
}

labels! {
    /// How a node's call ended.
    InvokeResult {
        /// With a result.
        Ok = "ok",
        /// The node says that it failed.
        NodeError = "node_error",
        /// The time was over.
        TimedOut = "timeout",
        /// The node went away.
        Disconnected = "disconnected",
        /// Whoever asked did not want it any more.
        Cancelled = "cancelled",
        /// What allowed it was taken back.
        PairingChanged = "pairing_changed",
        /// It waits until the app is in the foreground.
        Queued = "queued",
        /// The gateway stopped.
        Stopping = "stopping",
        /// The result was too large, or not readable.
        BadResult = "bad_result",
        /// It was not sent, for nothing could be kept.
        Unsaved = "unsaved",
    }
}

labels! {
    /// What became of a change that was to be durable.
    CommitResult {
        /// It is on disk.
        Ok = "ok",
        /// It is not, and was taken back.
        Failed = "failed",
    }
}

labels! {
    /// How a job ended.
    JobResult {
        /// It came to its end.
        Ended = "ended",
        /// It failed on the way.
        Failed = "failed",
        /// Nobody wanted it any more.
        Stopped = "stopped",
    }
}

labels! {
    /// How a run of an agent ended.
    RunResult {
        /// With a reply.
        Done = "done",
        /// With an error.
        Failed = "failed",
        /// Somebody stopped it.
        Aborted = "aborted",
        /// Its time was over.
        TimedOut = "timeout",
        /// The gateway stopped meanwhile.
        Cut = "cut",
    }
}

labels! {
    /// What a request over HTTP was for.
    HttpRoute {
        /// Whether the gateway lives, is ready, has started.
        Probe = "probe",
        /// These numbers.
        Metrics = "metrics",
        /// An account of a channel.
        Channel = "channel",
        /// To become a WebSocket.
        Upgrade = "upgrade",
        /// Anything else.
        Other = "other",
    }
}

labels! {
    /// The first digit of a status code.
    HttpClass {
        /// It was taken: as a WebSocket, or with its body still to come.
        Taken = "taken",
        /// 200 to 399.
        Ok = "2xx",
        /// 400 to 499.
        Client = "4xx",
        /// 500 and above.
        Server = "5xx",
    }
}

impl HttpClass {
    /// The class of a status code.
    pub const fn of_status(status: u16) -> Self {
        match status {
            0..=399 => Self::Ok,
            400..=499 => Self::Client,
            500.. => Self::Server,
        }
    }
}
