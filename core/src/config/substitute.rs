//! Fills `${NAME}` into the strings that clawgate reads. Secrets are left alone: `${NAME}` there is a
//! reference, with rules of its own (spec credentials §0). A header for a proxy may have it amid other
//! text, as in `Bearer ${NAME}`, and there it is filled in.

use serde_json::Value;

use super::check::{Finding, MAX_FINDINGS, Severity};
use super::env::EnvVars;
use super::key_path::KeyPath;
use super::schema::{Key, Kind, ROOT};
use super::secret_input::template_name;
use super::template::{Piece, pieces};

/// A config with its variables filled in, and a warning for each that is missing or blank. Such a one
/// stays as it is written, so that nobody takes it for an empty value.
pub(super) fn substitute(config: &Value, env: &EnvVars) -> (Value, Vec<Finding>) {
    let mut filled = config.clone();
    let mut fill = Fill {
        env,
        missing: Vec::new(),
    };
    fill.object(&KeyPath::root(), &mut filled, ROOT);
    (filled, fill.missing)
}

struct Fill<'a> {
    env: &'a EnvVars,
    missing: Vec<Finding>,
}

impl Fill<'_> {
    fn object(&mut self, path: &KeyPath, value: &mut Value, keys: &[Key]) {
        let Value::Object(object) = value else { return };
        for (name, value) in object {
            if let Some(key) = keys.iter().find(|key| key.name == name) {
                self.value(&path.key(name), value, &key.kind);
            }
        }
    }

    fn value(&mut self, path: &KeyPath, value: &mut Value, kind: &Kind) {
        match kind {
            Kind::Object(keys) => self.object(path, value, keys),
            Kind::MapOf(kind) => {
                if let Value::Object(object) = value {
                    for (name, value) in object {
                        self.value(&path.key(name), value, kind);
                    }
                }
            }
            Kind::ListOf(kind) => {
                if let Value::Array(items) = value {
                    for (index, item) in items.iter_mut().enumerate() {
                        self.value(&path.index(index), item, kind);
                    }
                }
            }
            Kind::TextOrTexts if value.is_array() => {
                self.value(path, value, &Kind::ListOf(&Kind::Text))
            }
            Kind::Text
            | Kind::OneOf(_)
            | Kind::TextOrFalse
            | Kind::TextOrNumber
            | Kind::TextOrTexts => {
                if let Value::String(text) = value
                    && text.contains("${")
                {
                    *text = self.text(path, text);
                }
            }
            Kind::Headers => {
                for (name, value) in value.as_object_mut().into_iter().flatten() {
                    if let Value::String(text) = value
                        && template_name(text).is_none()
                        && pieces(text)
                            .iter()
                            .any(|piece| matches!(piece, Piece::Variable(_)))
                    {
                        *text = self.text(&path.key(name), text);
                    }
                }
            }
            Kind::Secret | Kind::Bool | Kind::Port | Kind::Integer(..) | Kind::Any => {}
        }
    }

    fn text(&mut self, path: &KeyPath, text: &str) -> String {
        let mut filled = String::new();
        for piece in pieces(text) {
            match piece {
                Piece::Text(text) | Piece::Escaped(text) => filled.push_str(text),
                Piece::Variable(name) => match self.env.non_blank(name) {
                    Some(value) => filled.push_str(value),
                    None => {
                        self.report(path, name);
                        filled.push_str(&format!("${{{name}}}"));
                    }
                },
            }
        }
        filled
    }

    fn report(&mut self, path: &KeyPath, name: &str) {
        if self.missing.len() < MAX_FINDINGS {
            self.missing.push(Finding {
                severity: Severity::Warning,
                path: path.clone(),
                position: None,
                message: format!(
                    "the variable {name} is not set, so ${{{name}}} stays as it is; set it, or \
                     write $${{{name}}} for the text itself"
                ),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_are_filled_in_where_text_is_read_and_nowhere_else() {
        let env: EnvVars = [
            ("HOST", " gw.example.com "),
            ("BIND", "lan"),
            ("BLANK", " "),
        ]
        .into_iter()
        .collect();
        let config = json!({
            "gateway": {
                "bind": "${BIND}",
                "remote": { "url": "wss://${HOST}:443/$${HOST}/${GONE}${BLANK}", "token": "${HOST}" },
                "trustedProxies": ["${HOST}", 5],
                "mine": "${HOST}",
            },
            "secrets": { "providers": { "v": { "env": { "A": "${HOST}" } } } },
            "channels": { "x": "${GONE}" },
        });
        let (filled, missing) = substitute(&config, &env);
        let gateway = &filled["gateway"];
        assert_eq!(gateway["bind"], "lan");
        assert_eq!(
            gateway["remote"]["url"],
            "wss://gw.example.com:443/${HOST}/${GONE}${BLANK}"
        );
        assert_eq!(gateway["remote"]["token"], "${HOST}");
        assert_eq!(gateway["trustedProxies"], json!(["gw.example.com", 5]));
        assert_eq!(gateway["mine"], "${HOST}");
        assert_eq!(
            filled["secrets"]["providers"]["v"]["env"]["A"],
            "gw.example.com"
        );
        assert_eq!(filled["channels"], config["channels"]);
        let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
        assert_eq!(
            missing,
            [
                "gateway.remote.url: the variable GONE is not set, so ${GONE} stays as it is; set it, \
                 or write $${GONE} for the text itself",
                "gateway.remote.url: the variable BLANK is not set, so ${BLANK} stays as it is; set \
                 it, or write $${BLANK} for the text itself",
            ]
        );
    }

    #[test]
    fn a_header_for_a_proxy_is_filled_in_around_text_only() {
        let env: EnvVars = [("KEY", "k")].into_iter().collect();
        let headers = json!({
            "A": "Bearer ${KEY}", "B": "${KEY}", "C": "Bearer ${GONE}", "D": "$${KEY}", "E": 5,
        });
        let config = json!({ "gateway": { "remote": { "edgeAuth": headers } } });
        let (filled, missing) = substitute(&config, &env);
        assert_eq!(
            filled["gateway"]["remote"]["edgeAuth"],
            json!({
                "A": "Bearer k", "B": "${KEY}", "C": "Bearer ${GONE}", "D": "$${KEY}", "E": 5,
            })
        );
        assert_eq!(missing.len(), 1);
    }

    #[test]
    fn a_value_is_not_looked_at_again() {
        let env: EnvVars = [("A", "${B}"), ("B", "b")].into_iter().collect();
        let (filled, missing) =
            substitute(&json!({ "gateway": { "customBindHost": "${A}" } }), &env);
        assert_eq!(filled["gateway"]["customBindHost"], "${B}");
        assert!(missing.is_empty());
    }
}
