//! Catalogues. What does not exist here yet is an empty list in the published shape.

use serde::Deserialize;
use serde_json::json;

use super::{Answer, Gateway, Params, encode};

const DEFAULT_JOBS: u64 = 50;
const MAX_JOBS: u64 = 200;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    limit: Option<u64>,
    offset: Option<u64>,
}

impl Gateway {
    pub(super) fn cron_list(&self, params: Params<'_>) -> Answer {
        let page: Page = params.parse()?;
        let limit = page.limit.unwrap_or(DEFAULT_JOBS);
        if !(1..=MAX_JOBS).contains(&limit) {
            return Err(params.error(&format!("limit must be 1 to {MAX_JOBS}")));
        }
        encode(&json!({
            "jobs": [],
            "snapshotRevision": "0",
            "total": 0,
            "offset": page.offset.unwrap_or(0),
            "limit": limit,
            "hasMore": false,
            "nextOffset": null,
        }))
    }

    pub(super) fn cron_status(&self) -> Answer {
        encode(&json!({
            "enabled": false,
            "triggersEnabled": false,
            "storePath": self.setup.host.state_dir,
            "jobs": 0,
            "nextWakeAtMs": null,
        }))
    }
}
