//! The clawgate command line: parses arguments, calls, prints.
#![forbid(unsafe_code)]

mod approval_args;
mod args;
mod channel_args;
mod commands;
mod config_args;
mod config_file;
mod context;
mod context_book;
mod conversation;
mod conversation_args;
mod desk;
mod device;
mod device_args;
mod dial;
mod discovery_args;
mod doctor_args;
mod exit;
mod failure;
mod gateway_args;
mod help;
mod node_args;
mod output;
mod params;
mod pins;
mod port_holder;
mod private_file;
mod references;
mod refusal;
mod remote_args;
mod remote_fields;
mod run;
mod secrets;
mod service;
mod service_args;
mod span;
mod support_args;
mod target;
mod text;
mod top_args;
mod tunnel_args;
mod tunnels;
mod voice_args;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::Cli;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Format;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error).into(),
    };
    let format = if cli.instance.json {
        Format::Json
    } else {
        Format::Text
    };
    match commands::dispatch(cli, format) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::failure(&failure, format);
            failure.exit.into()
        }
    }
}

/// Shows what clap has to say: help and version, or what is wrong with the arguments.
fn usage(error: &clap::Error) -> Exit {
    let asked_for = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    let json = std::env::args_os().any(|argument| argument == "--json");
    if json && !asked_for {
        let text = error.render().to_string();
        let message = text
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        let failure = Failure::new(Exit::Usage, "usage", message, "Run `clawgate --help`.");
        output::failure(&failure, Format::Json);
    } else {
        // Nobody is left to tell when the output is closed.
        let _ = error.print();
    }
    if asked_for { Exit::Ok } else { Exit::Usage }
}
