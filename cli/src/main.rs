//! The clawgate command line.
#![forbid(unsafe_code)]

mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use clawgate_core::{
    config::{
        EnvVars,
        paths::{Locations, Profile},
    },
    policy::server_auth::AuthOverride,
};

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Gateway {
        #[command(subcommand)]
        command: Gateway,
    },
}

#[derive(Subcommand)]
enum Gateway {
    Run {
        #[arg(long)]
        port: Option<u16>,
    },
}

fn main() -> ExitCode {
    let Args {
        command: Command::Gateway {
            command: Gateway::Run { port },
        },
    } = Args::parse();
    let env: EnvVars = std::env::vars().collect();
    let profile = Profile::Default;
    let Ok(places) = Locations::resolve(&profile, &env) else {
        return ExitCode::FAILURE;
    };
    let request = run::RunRequest {
        env,
        profile,
        places,
        port,
        bind: None,
        auth: AuthOverride::default(),
        unconfigured: run::Unconfigured::Refuse,
        verbosity: run::Verbosity::Normal,
    };
    match run::gateway_run(request) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "errors are for people")]
            {
                eprintln!("clawgate: {error} ({})", error.code());
            }
            ExitCode::from(78)
        }
    }
}
