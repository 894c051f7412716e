use proptest::prelude::*;
use serde_json::json;

use super::*;

fn file(text: &str) -> ConfigFile {
    ConfigFile::parse("openclaw.json", text).unwrap()
}

fn set(path: &str, value: Value) -> Change {
    Change::Set(KeyPath::parse(path).unwrap(), value)
}

fn unset_key(path: &str) -> Change {
    Change::Unset(KeyPath::parse(path).unwrap())
}

fn changed(text: &str, changes: &[Change]) -> String {
    edit(&file(text), changes, &EnvVars::new())
        .unwrap()
        .file
        .text
}

fn refused(text: &str, change: Change) -> EditError {
    edit(&file(text), &[change], &EnvVars::new()).unwrap_err()
}

const TEXT: &str = "\
// the gateway of the lab
{
  gateway: { // all of it
    'mode': 'local', /* never remote */
    port: 0x4965,
    trustedProxies: [
      '10.0.0.1', // left
      '10.0.0.2', // right
    ],
  },
  // nothing below
}
";

#[test]
fn a_value_is_replaced_where_it_stands() {
    assert_eq!(
        changed(TEXT, &[set("gateway.port", json!(18790))]),
        TEXT.replace("0x4965", "18790")
    );
    assert_eq!(
        changed(TEXT, &[set("gateway.trustedProxies[1]", json!("it's"))]),
        TEXT.replace("'10.0.0.2'", r"'it\'s'")
    );
    assert_eq!(changed(TEXT, &[set("gateway.mode", json!("local"))]), TEXT);
}

#[test]
fn new_keys_are_written_as_their_neighbours_are() {
    assert_eq!(
        changed(TEXT, &[set("gateway.auth.token", json!("t"))]),
        TEXT.replace(
            "    ],\n",
            "    ],\n    auth: {\n      token: 't',\n    },\n"
        )
    );
    assert_eq!(
        changed(TEXT, &[set("gateway.trustedProxies[2]", json!("::1"))]),
        TEXT.replace("// right\n", "// right\n      '::1',\n")
    );
    assert_eq!(
        changed(
            "{\"gateway\": {\"port\": 1}}",
            &[set("gateway.bind", json!("lan"))]
        ),
        "{\"gateway\": {\"port\": 1, \"bind\": \"lan\"}}"
    );
    assert_eq!(
        changed("{ gateway: {} }", &[set("gateway.port", json!(1))]),
        "{ gateway: { port: 1 } }"
    );
    let tabs = "{\r\n\tgateway: {\r\n\t\tport: 1 // one\r\n\t}\r\n}";
    assert_eq!(
        changed(tabs, &[set("gateway.bind", json!("lan"))]),
        "{\r\n\tgateway: {\r\n\t\tport: 1, // one\r\n\t\tbind: \"lan\"\r\n\t}\r\n}"
    );
}

#[test]
fn a_key_goes_with_its_line_and_no_comment_beside_it() {
    assert_eq!(
        changed(TEXT, &[unset_key("gateway.port")]),
        TEXT.replace("    port: 0x4965,\n", "")
    );
    assert_eq!(
        changed(TEXT, &[unset_key("gateway.mode")]),
        TEXT.replace("'mode': 'local', ", "")
    );
    assert_eq!(
        changed(TEXT, &[unset_key("gateway.trustedProxies[0]")]),
        TEXT.replace("'10.0.0.1', ", "")
    );
    let strict = "{\n  \"gateway\": {\n    \"port\": 1,\n    \"bind\": \"lan\"\n  }\n}\n";
    assert_eq!(
        changed(strict, &[unset_key("gateway.bind")]),
        "{\n  \"gateway\": {\n    \"port\": 1\n  }\n}\n"
    );
    assert_eq!(
        changed(
            "{ gateway: { port: 1, bind: 'lan' } }",
            &[unset_key("gateway.port")]
        ),
        "{ gateway: { bind: 'lan' } }"
    );
}

#[test]
fn comments_inside_of_what_goes_are_counted() {
    let edited = edit(
        &file(TEXT),
        &[unset_key("gateway.trustedProxies")],
        &EnvVars::new(),
    )
    .unwrap();
    assert_eq!(edited.comments_dropped, 2);
    assert!(edited.file.text.contains("// all of it"));
}

#[test]
fn a_file_begins_with_its_first_key() {
    let none = ConfigFile::missing("openclaw.json");
    let changes = [
        set("gateway.mode", json!("local")),
        set("gateway.port", json!(5)),
    ];
    assert_eq!(
        edit(&none, &changes, &EnvVars::new()).unwrap().file.text,
        "{\n  \"gateway\": {\n    \"mode\": \"local\",\n    \"port\": 5\n  }\n}\n"
    );
    assert_eq!(
        changed("{ // empty\n}", &[set("gateway.port", json!(5))]),
        "{ // empty\n  \"gateway\": {\n    \"port\": 5\n  }\n}"
    );
    assert_eq!(
        changed("{ /* empty */ }", &[set("gateway.port", json!(5))]),
        "{ /* empty */\n  \"gateway\": {\n    \"port\": 5\n  }\n }"
    );
}

#[test]
fn a_patch_merges_objects_and_takes_away_what_is_null() {
    let patch = json!({
        "gateway": { "port": null, "bind": "lan", "trustedProxies": ["10.0.0.2"] },
        "channels": { "telegram": { "enabled": false, "none": null } },
    });
    let text = changed(TEXT, &[Change::Merge(patch)]);
    let after = file(&text);
    assert_eq!(
        after.parsed,
        json!({
            "gateway": { "mode": "local", "bind": "lan", "trustedProxies": ["10.0.0.2"] },
            "channels": { "telegram": { "enabled": false } },
        })
    );
    assert!(
        text.contains("// left") && text.contains("// right"),
        "{text}"
    );
}

#[test]
fn what_could_not_be_used_is_refused() {
    let wrong = refused(TEXT, set("gateway.port", json!("many")));
    assert_eq!(wrong.code(), "config_change_invalid");
    assert_eq!(
        wrong.to_string(),
        "the config could not be used with this change; gateway.port: expected a port from 1 to \
         65535, found a string"
    );
    assert_eq!(refused(TEXT, unset_key("gateway")), EditError::Emptied);
    assert_eq!(
        refused(TEXT, set("gateway.port.x", json!(1))).code(),
        "config_no_place"
    );
    assert_eq!(
        refused(TEXT, set("gateway.trustedProxies[3]", json!("x"))).code(),
        "config_no_element"
    );
    assert_eq!(
        refused(TEXT, unset_key("gateway.bind")).code(),
        "config_key_not_set"
    );
    assert_eq!(
        refused(TEXT, Change::Merge(json!([]))),
        EditError::PatchNotObject
    );
    assert_eq!(
        refused(TEXT, set("gateway.auth.token", json!(REDACTED))).code(),
        "config_value_redacted"
    );
    let deep = (0..70).fold(json!(1), |value, _| json!([value]));
    assert_eq!(
        refused(TEXT, set("cron", deep)).code(),
        "config_change_invalid"
    );
}

#[test]
fn a_key_that_stands_twice_is_left_to_its_owner() {
    let twice = "{\n  gateway: {\n    port: 1,\n    port: 2,\n    bind: 'lan',\n  },\n}";
    let error = refused(twice, set("gateway.port", json!(3)));
    assert_eq!(
        error.to_string(),
        "gateway.port is written twice, the second time at line 4, column 5"
    );
    assert!(changed(twice, &[unset_key("gateway.bind")]).contains("port: 2,\n  }"));
}

#[test]
fn a_file_with_a_wrong_value_can_be_repaired() {
    let broken = "{ gateway: { port: 'x', bind: 'y' } }";
    let text = changed(broken, &[set("gateway.port", json!(1))]);
    assert_eq!(text, "{ gateway: { port: 1, bind: 'y' } }");
}

#[test]
fn no_value_is_shown() {
    let change = set("gateway.auth.token", json!("hunter2"));
    assert!(!format!("{change:?}").contains("hunter2"));
    let edited = edit(&file(TEXT), &[change], &EnvVars::new()).unwrap();
    assert!(!format!("{edited:?}").contains("hunter2"));
}

/// A value, and a way of writing it.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1.0e6..1.0e6).prop_map(|number: f64| json!(number)),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            any_object(inner),
        ]
    })
}

fn any_object(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let members = prop::collection::btree_map(any_key(), inner, 0..5);
    members.prop_map(|members| Value::Object(members.into_iter().collect()))
}

/// Keys that the table does not know, so that every value goes.
fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "x[a-d]",
        1 => Just(String::new()),
        1 => any_text(),
    ]
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z '\"/*{},:\\[\\]\\\\]{0,8}",
        Just("\u{2028}\r\n\t\u{7f}\u{feff}${X} // no comment".to_owned()),
        any::<String>(),
    ]
}

/// Writes a value in one of the ways that JSON5 knows, with comments in between.
struct Writer<'a> {
    dice: &'a mut dyn FnMut(u32) -> u32,
    comments: u32,
    out: String,
}

impl Writer<'_> {
    fn gap(&mut self) {
        for _ in 0..(self.dice)(3) {
            self.comments += 1;
            let number = self.comments;
            let piece = match (self.dice)(9) {
                0 => format!(" // {number} {{ ' [\n"),
                1 => format!("/* {number} ] \" */"),
                2 => format!("/* {number}\n }} */"),
                3 => "\r\n".to_owned(),
                4 => "\n    ".to_owned(),
                5 => "\t".to_owned(),
                6 => "\u{a0}".to_owned(),
                7 => format!("// {number}\u{2028}"),
                _ => " ".to_owned(),
            };
            self.out.push_str(&piece);
        }
    }

    fn value(&mut self, value: &Value) {
        self.gap();
        match value {
            Value::Object(object) => {
                self.out.push('{');
                let last = object.len();
                for (place, (key, value)) in object.iter().enumerate() {
                    self.gap();
                    let is_word = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase());
                    if is_word && (self.dice)(2) == 0 {
                        self.out.push_str(key);
                    } else {
                        self.string(key);
                    }
                    self.gap();
                    self.out.push(':');
                    self.value(value);
                    self.comma(place + 1 == last);
                }
                self.gap();
                self.out.push('}');
            }
            Value::Array(items) => {
                self.out.push('[');
                for (place, item) in items.iter().enumerate() {
                    self.value(item);
                    self.comma(place + 1 == items.len());
                }
                self.gap();
                self.out.push(']');
            }
            Value::String(text) => self.string(text),
            Value::Number(number) => match number.as_u64() {
                Some(whole) if (self.dice)(2) == 0 => self.out.push_str(&format!("0x{whole:X}")),
                Some(whole) if (self.dice)(2) == 0 => self.out.push_str(&format!("+{whole}")),
                _ => self.out.push_str(&number.to_string()),
            },
            Value::Null | Value::Bool(_) => self.out.push_str(&value.to_string()),
        }
        self.gap();
    }

    fn comma(&mut self, last: bool) {
        if !last || (self.dice)(2) == 0 {
            self.out.push(',');
        }
    }

    fn string(&mut self, text: &str) {
        let quote = if (self.dice)(2) == 0 { '"' } else { '\'' };
        self.out.push(quote);
        for c in text.chars() {
            match c {
                c if c == quote || c == '\\' => self.out.extend(['\\', c]),
                c if c.is_control() || (self.dice)(9) == 0 => {
                    let mut units = [0; 2];
                    for unit in c.encode_utf16(&mut units) {
                        self.out.push_str(&format!("\\u{unit:04X}"));
                    }
                }
                c => self.out.push(c),
            }
            if (self.dice)(9) == 0 {
                self.out.push_str("\\\n");
            }
        }
        self.out.push(quote);
    }
}

/// Numbers from a seed, so that a failing case stays the same.
fn dice(mut state: u64) -> impl FnMut(u32) -> u32 {
    move |sides| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(state >> 33).unwrap() % sides
    }
}

fn written(value: &Value, seed: u64) -> String {
    let mut dice = dice(seed);
    let mut writer = Writer {
        dice: &mut dice,
        comments: 0,
        out: String::new(),
    };
    writer.value(value);
    writer.out
}

fn comments_of(text: &str) -> Vec<&str> {
    tree::comments(text)
        .into_iter()
        .map(|comment| &text[comment])
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever the text looks like: it says the new values, and no comment is gone, except inside
    /// of what is gone.
    #[test]
    fn any_text_comes_to_say_any_values(
        before in any_object(any_value()),
        after in any_object(any_value()),
        seed in any::<u64>(),
    ) {
        prop_assume!(!is_empty(&before) && !is_empty(&after));
        let text = written(&before, seed);
        let Ok(file) = ConfigFile::parse("c", text) else {
            return Err(TestCaseError::reject("no JSON5"));
        };
        prop_assert_eq!(&file.parsed, &before);
        let edited = write(&file, &after, &EnvVars::new());
        let edited = edited.map_err(|error| TestCaseError::fail(format!("{error} in {}", file.text)))?;
        prop_assert_eq!(&edited.file.parsed, &after);
        let (old, new) = (comments_of(&file.text), comments_of(&edited.file.text));
        prop_assert_eq!(old.len(), new.len() + edited.comments_dropped);
        let mut rest = old.iter();
        prop_assert!(new.iter().all(|comment| rest.any(|old| old == comment)));
    }

    /// A new key drops nothing at all.
    #[test]
    fn a_new_key_costs_no_comment(
        before in any_object(any_value()),
        value in any_value(),
        seed in any::<u64>(),
    ) {
        let text = written(&before, seed);
        let Ok(file) = ConfigFile::parse("c", text) else {
            return Err(TestCaseError::reject("no JSON5"));
        };
        let path = KeyPath::root().key("xnew").key("deep");
        let edited = edit(&file, &[Change::Set(path, value)], &EnvVars::new());
        let edited = edited.map_err(|error| TestCaseError::fail(format!("{error} in {}", file.text)))?;
        prop_assert_eq!(edited.comments_dropped, 0);
        prop_assert_eq!(comments_of(&file.text), comments_of(&edited.file.text));
    }
}
