//! `channels …`, `pairing …`, `send` and `messages …`: one module for each.

mod account;
mod messages;
mod pairing;
mod send;

use serde_json::{Map, Value};

use crate::args::TargetArgs;
use crate::context::Context;
use crate::desk::{self, Desk};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::target::TargetFlags;

pub(super) use self::account::run;
pub(super) use self::messages::run as messages;
pub(super) use self::pairing::run as pairing;
pub(super) use self::send::run as send;

/// Connects, makes one call, and closes. `hint` says what to look at when the gateway refuses it.
fn call(
    method: &str,
    params: &Value,
    target: TargetArgs,
    context: &Context,
    hint: &str,
) -> Result<Value, Failure> {
    let flags = TargetFlags::read(target)?;
    desk::with_methods(&[method], &flags, context, |desk| {
        ask(desk, method, params, hint)
    })
}

fn ask(desk: &mut Desk<'_>, method: &str, params: &Value, hint: &str) -> Result<Value, Failure> {
    desk.call(method, params).map_err(|mut failure| {
        if failure.exit == Exit::Refused {
            hint.clone_into(&mut failure.next);
        }
        failure
    })
}

/// Prints an answer: as it is for programs, in words for people.
fn print(context: &Context, answer: &Value, words: impl FnOnce() -> String) -> Result<(), Failure> {
    match context.format {
        Format::Json => output::json(answer),
        Format::Text => output::text(&words()),
    }
}

/// Parameters: those that are there.
fn params<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let there = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(there.collect::<Map<_, _>>())
}

fn text(value: Option<&str>) -> Option<Value> {
    value.map(Value::from)
}
