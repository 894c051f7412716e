//! `gateway call`.

use std::io::IsTerminal;

use clawgate_core::credentials::Surface;
use clawgate_core::frame::RawJson;
use serde_json::Value;

use crate::args::CallArgs;
use crate::context::Context;
use crate::dial::Link;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::{output, params, target};

pub(super) fn run(args: CallArgs, context: &Context) -> Result<Exit, Failure> {
    let params = params::read(&args.params)?;
    let flags = target::TargetFlags::read(args.target)?;
    let resolved = target::find(Surface::Call, &flags, context)?;
    let mut link = Link::open_or_explain(&resolved, &[&args.method], flags.timeout)?;
    let result = link.call(&args.method, params)?;
    print(&result)?;
    link.connection.close();
    Ok(Exit::Ok)
}

/// The result as it came; indented on a terminal.
fn print(result: &RawJson) -> Result<(), Failure> {
    if std::io::stdout().is_terminal()
        && let Ok(value) = result.parse::<Value>()
    {
        return output::json(&value);
    }
    output::text(&format!("{}\n", result.as_str()))
}
