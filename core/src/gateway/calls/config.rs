//! `config.get` and `config.schema` (spec protocol §6.3). No secret leaves: values that hold one
//! are replaced before anything else is done with them.

use serde_json::{Value, json};

use super::{Answer, Gateway, Params, encode};
use crate::{
    config::{self, ConfigFile, Finding},
    gateway::ConfigText,
    protocol::{RpcCode, RpcError},
    time::Now,
};

impl Gateway {
    pub(super) fn config_get(&self, text: ConfigText) -> Answer {
        let host = &self.setup.host;
        let path = host.config_path.to_string_lossy().into_owned();
        let hash = text.text.as_deref().map(config::hash_of);
        let read = match text.text {
            None => Ok(ConfigFile::missing(path.as_str())),
            Some(text) => ConfigFile::parse(path.as_str(), text),
        };
        let applied = &host.config_hash;
        match read {
            Ok(file) => {
                let shown = file.redacted();
                let raw = serde_json::to_string_pretty(&shown).map_err(|_| {
                    RpcError::new(RpcCode::Unavailable, "the configuration has no JSON form")
                })?;
                encode(&json!({
                    "path": path,
                    "exists": file.exists,
                    "raw": raw,
                    "parsed": shown,
                    "valid": file.issues.is_empty(),
                    "config": shown,
                    "hash": file.hash,
                    "configRevisionHash": file.hash,
                    "appliedConfigHash": applied,
                    "issues": findings(&file.issues),
                    "warnings": findings(&file.warnings),
                    "legacyIssues": [],
                }))
            }
            // The text cannot be shown: what is a secret in it is not known.
            Err(error) => encode(&json!({
                "path": path,
                "exists": true,
                "raw": null,
                "parsed": {},
                "valid": false,
                "config": {},
                "hash": hash,
                "configRevisionHash": hash,
                "appliedConfigHash": applied,
                "issues": [{ "path": error.path.to_string(), "message": error.to_string() }],
                "warnings": [],
                "legacyIssues": [],
            })),
        }
    }

    pub(super) fn config_schema(&self, now: Now, params: Params<'_>) -> Answer {
        params.none()?;
        encode(&json!({
            "schema": config::schema::json_schema(),
            "uiHints": {},
            "version": self.setup.host.version,
            "generatedAt": now.wall.to_rfc3339(),
        }))
    }
}

fn findings(findings: &[Finding]) -> Vec<Value> {
    findings
        .iter()
        .map(|finding| json!({ "path": finding.path.to_string(), "message": finding.to_string() }))
        .collect()
}
