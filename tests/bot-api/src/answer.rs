//! What the service answers, as it stands on the wire.

use std::sync::Arc;

use serde_json::{Map, Value, json};

/// An answer: a status and a body.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) retry_after: Option<u32>,
    pub(crate) body: Body,
}

/// The body of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Bytes(Arc<[u8]>),
    /// So many bytes that nobody keeps.
    Filled(u64),
}

impl Body {
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Filled(length) => *length,
        }
    }
}

impl Answer {
    /// A result, in the envelope of every result.
    #[must_use]
    pub fn result(result: &Value) -> Self {
        Self::json(200, &json!({"ok": true, "result": result}))
    }

    /// `true`, with the words that go with it.
    pub(crate) fn done(description: &str) -> Self {
        Self::json(
            200,
            &json!({"ok": true, "result": true, "description": description}),
        )
    }

    /// An error in the Bot API's own form, such as 409 and `Conflict: …`.
    #[must_use]
    pub fn error(status: u16, description: &str) -> Self {
        Self::error_with(status, description, Map::new())
    }

    /// An error with `parameters`, such as `migrate_to_chat_id`.
    #[must_use]
    pub fn error_with(status: u16, description: &str, parameters: Map<String, Value>) -> Self {
        let mut body = json!({"ok": false, "error_code": status, "description": description});
        if let Some(object) = body.as_object_mut()
            && !parameters.is_empty()
        {
            object.insert("parameters".to_owned(), parameters.into());
        }
        Self::json(status, &body)
    }

    /// 429, with the seconds to wait in the header and in the body.
    #[must_use]
    pub fn too_many_requests(retry_after: u32) -> Self {
        let parameters = Map::from_iter([("retry_after".to_owned(), retry_after.into())]);
        let description = format!("Too Many Requests: retry after {retry_after}");
        Self {
            retry_after: Some(retry_after),
            ..Self::error_with(429, &description, parameters)
        }
    }

    /// 409, as the one of two pollers gets it that came first.
    #[must_use]
    pub fn conflict() -> Self {
        Self::error(
            409,
            "Conflict: terminated by other getUpdates request; make sure that only one bot instance \
             is running",
        )
    }

    /// 500 in the Bot API's own form.
    #[must_use]
    pub fn internal_error() -> Self {
        Self::error(500, "Internal Server Error")
    }

    /// 502 from something in front of the service, which speaks no JSON.
    #[must_use]
    pub fn bad_gateway() -> Self {
        Self::text(
            502,
            "text/html",
            "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad \
             Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n",
        )
    }

    /// 200 with what is no JSON.
    #[must_use]
    pub fn garbage() -> Self {
        Self::text(
            200,
            "application/json",
            "{\"ok\":true,\"result\":[{\"upd\u{fffd}",
        )
    }

    /// Any answer.
    #[must_use]
    pub fn text(status: u16, content_type: &'static str, body: &str) -> Self {
        Self {
            status,
            content_type,
            retry_after: None,
            body: Body::Bytes(Arc::from(body.as_bytes())),
        }
    }

    pub(crate) fn file(body: Body) -> Self {
        Self {
            status: 200,
            content_type: "application/octet-stream",
            retry_after: None,
            body,
        }
    }

    fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            content_type: "application/json",
            retry_after: None,
            body: Body::Bytes(Arc::from(body.to_string().into_bytes())),
        }
    }

    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    pub(crate) const fn is_ok(&self) -> bool {
        self.status == 200
    }
}
