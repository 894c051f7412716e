//! `sessions.list` against a plain model: every session looked at by itself, then filtered and sorted.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod common;

use std::{cmp::Reverse, time::Duration};

use clawgate_core::ids::ConnId;
use proptest::prelude::*;
use serde_json::{Value, json};

use common::{Host, token_rule};

const TOKEN: &str = "hunter2";
const SCOPES: [&str; 3] = ["operator.read", "operator.write", "operator.admin"];
const LABELS: [&str; 2] = ["Red", "blue"];
const WORDS: [&str; 4] = ["red", "BLUE", "ops", "word 3"];

/// What happens in one session.
#[derive(Clone, Debug)]
enum Deed {
    /// Somebody adds words by hand.
    Inject(u8),
    /// Somebody speaks to the agent.
    Speak(u8),
    Patch(Value),
}

#[derive(Clone, Debug, Default)]
struct Wish {
    agent: Option<bool>,
    minutes: Option<u64>,
    archived: Option<Value>,
    by_interaction: Option<bool>,
    global: bool,
    unknown: bool,
    label: Option<&'static str>,
    pinned: Option<bool>,
    needs_interaction: bool,
    search: Option<&'static str>,
    limit: usize,
}

fn deed() -> impl Strategy<Value = Deed> {
    let label = prop::option::of(prop::sample::select(&LABELS[..]));
    prop_oneof![
        any::<u8>().prop_map(|word| Deed::Inject(word % 8)),
        any::<u8>().prop_map(|word| Deed::Speak(word % 8)),
        any::<bool>().prop_map(|on| Deed::Patch(json!({ "pinned": on }))),
        any::<bool>().prop_map(|on| Deed::Patch(json!({ "archived": on }))),
        label.prop_map(|label| Deed::Patch(json!({ "label": label }))),
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    let archived = prop::sample::select(vec![json!(true), json!(false), json!("all")]);
    let filters = (
        prop::option::weighted(0.3, any::<bool>()),
        prop::option::weighted(0.3, 0_u64..6),
        prop::option::weighted(0.7, archived),
        prop::option::weighted(0.2, prop::sample::select(&LABELS[..])),
        prop::option::weighted(0.2, any::<bool>()),
        prop::option::weighted(0.3, prop::sample::select(&WORDS[..])),
    );
    let rest = (
        prop::option::of(any::<bool>()),
        any::<bool>(),
        any::<bool>(),
        prop::bool::weighted(0.2),
        1_usize..5,
    );
    (filters, rest).prop_map(|(filters, rest)| Wish {
        agent: filters.0,
        minutes: filters.1,
        archived: filters.2,
        label: filters.3,
        pinned: filters.4,
        search: filters.5,
        by_interaction: rest.0,
        global: rest.1,
        unknown: rest.2,
        needs_interaction: rest.3,
        limit: rest.4,
    })
}

impl Wish {
    fn agent_id<'a>(&self, ops: &'a str) -> Option<&'a str> {
        self.agent.map(|of_ops| if of_ops { ops } else { "main" })
    }

    fn params(&self, ops: &str) -> Value {
        let order = |by| if by { "lastInteractionAt" } else { "updatedAt" };
        let all = json!({
            "agentId": self.agent_id(ops),
            "activeMinutes": self.minutes,
            "archived": self.archived,
            "includeGlobal": self.global,
            "includeUnknown": self.unknown,
            "label": self.label,
            "pinned": self.pinned,
            "requireLastInteraction": self.needs_interaction,
            "search": self.search,
            "sortBy": self.by_interaction.map(order),
            "limit": self.limit,
        });
        let mut params = all.as_object().unwrap().clone();
        params.retain(|_, value| !value.is_null());
        Value::Object(params)
    }

    fn wants(&self, row: &Value, ops: &str, now: u64) -> bool {
        let is = |name: &str| row[name] == true;
        let archived = match &self.archived {
            None => !is("archived"),
            Some(wanted) => *wanted == "all" || *wanted == row["archived"],
        };
        let kind = match row["kind"].as_str().unwrap() {
            "global" => self.global,
            "unknown" => self.unknown,
            _ => true,
        };
        let age = now - row["updatedAt"].as_u64().unwrap();
        let texts = ["key", "label", "derivedTitle", "lastMessagePreview"];
        let found = |words: &str| {
            let mut texts = texts.iter().filter_map(|name| row[name].as_str());
            texts.any(|text| text.to_lowercase().contains(&words.to_lowercase()))
        };
        archived
            && kind
            && self.agent_id(ops).is_none_or(|id| row["agentId"] == id)
            && self.minutes.is_none_or(|minutes| age <= minutes * 60_000)
            && self.label.is_none_or(|label| row["label"] == label)
            && self.pinned.is_none_or(|pinned| is("pinned") == pinned)
            && (!self.needs_interaction || row.get("lastInteractionAt").is_some())
            && self.search.is_none_or(found)
    }

    /// The keys that are to be shown, in their order.
    fn expect(&self, rows: &[Value], ops: &str, now: u64) -> Vec<String> {
        let mut rows: Vec<&Value> = rows
            .iter()
            .filter(|row| self.wants(row, ops, now))
            .collect();
        let at = match self.by_interaction {
            Some(true) => "lastInteractionAt",
            Some(false) | None => "updatedAt",
        };
        rows.sort_by_key(|row| {
            let newest = (row["pinned"] == true, row[at].as_u64().unwrap_or(0));
            (Reverse(newest), row["key"].as_str().unwrap())
        });
        let keys = rows.iter().map(|row| row["key"].as_str().unwrap());
        keys.map(str::to_owned).collect()
    }
}

fn act(host: &mut Host, conn: ConnId, key: &str, number: usize, deed: Deed) {
    match deed {
        Deed::Inject(word) => {
            let params = json!({ "sessionKey": key, "message": format!("word {word}") });
            host.get(conn, "chat.inject", params);
        }
        Deed::Speak(word) => {
            let params = json!({
                "sessionKey": key,
                "message": format!("Word {word}"),
                "idempotencyKey": format!("k{number}"),
            });
            host.get(conn, "chat.send", params);
        }
        Deed::Patch(mut params) => {
            params["key"] = json!(key);
            host.get(conn, "sessions.patch", params);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn a_list_shows_what_was_asked_for_in_order(
        deeds in prop::collection::vec((0_usize..8, 0_u64..60, deed()), 1..30),
        wishes in prop::collection::vec(wish(), 1..8),
    ) {
        let mut host = Host::new(token_rule(TOKEN));
        let conn = host.connect(TOKEN, &SCOPES);
        let made = host.get(conn, "agents.create", json!({ "name": "ops" }));
        let ops = made["agentId"].as_str().unwrap().to_owned();
        let of_ops = |name: &str| format!("agent:{ops}:{name}");
        let keys = [
            "agent:main:main".to_owned(),
            "agent:main:red".to_owned(),
            "agent:main:b".to_owned(),
            "agent:main:a".to_owned(),
            of_ops("main"),
            of_ops("a"),
            "global".to_owned(),
            "unknown".to_owned(),
        ];
        for (number, (at, seconds, deed)) in deeds.into_iter().enumerate() {
            host.advance(Duration::from_secs(seconds));
            act(&mut host, conn, &keys[at], number, deed);
        }
        let rows: Vec<Value> = keys
            .iter()
            .map(|key| {
                let params = json!({
                    "key": key,
                    "includeDerivedTitles": true,
                    "includeLastMessage": true,
                });
                host.get(conn, "sessions.describe", params)["session"].clone()
            })
            .filter(|row| !row.is_null())
            .collect();
        let now = host.now.wall.0;
        for wish in wishes {
            let expected = wish.expect(&rows, &ops, now);
            let mut shown = Vec::new();
            let mut params = wish.params(&ops);
            loop {
                let page = host.get(conn, "sessions.list", params.clone());
                prop_assert_eq!(&page["totalCount"], &json!(expected.len()), "{:?}", wish);
                let keys = page["sessions"].as_array().unwrap().iter().map(|row| {
                    row["key"].as_str().unwrap().to_owned()
                });
                shown.extend(keys);
                prop_assert!(shown.len() <= expected.len(), "{:?}: {:?}", wish, shown);
                prop_assert_eq!(&page["hasMore"], shown.len() < expected.len());
                if page["nextOffset"].is_null() {
                    break;
                }
                params["offset"] = page["nextOffset"].clone();
            }
            prop_assert_eq!(shown, expected, "{:?}", wish);
        }
    }
}
