//! `gateway run`: flags to one request.

use clawgate_core::policy::server_auth::AuthOverride;

use crate::args::GatewayRunArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::run::{self, RunError, RunRequest, Unconfigured, Verbosity};
use crate::secrets::GivenSecrets;

pub(super) fn run(args: GatewayRunArgs, context: Context) -> Result<Exit, Failure> {
    context.refuse_context("gateway run")?;
    let secrets = GivenSecrets::read(args.secrets)?;
    let places = context.locations()?.clone();
    let request = RunRequest {
        env: context.env,
        profile: context.profile,
        places,
        port: args.port,
        bind: args.bind,
        auth: AuthOverride {
            mode: args.auth,
            token: secrets.token,
            password: secrets.password,
            ..AuthOverride::default()
        },
        unconfigured: if args.allow_unconfigured {
            Unconfigured::Allow
        } else {
            Unconfigured::Refuse
        },
        verbosity: if args.verbose {
            Verbosity::Verbose
        } else {
            Verbosity::Normal
        },
    };
    if args.check {
        run::gateway_check(&request).map_err(|error| failure(&error))?;
        let config = request.places.config.display();
        output::note(&format!("A gateway would start with {config}."));
        return Ok(Exit::Ok);
    }
    run::gateway_run(request).map_err(|error| failure(&error))?;
    Ok(Exit::Ok)
}

/// A gateway that did not start. Everything that another start would not change is a matter of
/// configuration, so that service managers do not try again.
fn failure(error: &RunError) -> Failure {
    let exit = match error {
        RunError::Certificate(_)
        | RunError::File { .. }
        | RunError::HandOver(_)
        | RunError::Random(_)
        | RunError::Server(_)
        | RunError::Store(_)
        // At boot, the daemon may come up after the gateway.
        | RunError::Tailscale(_) => Exit::Failed,
        RunError::AlreadyRunning { .. }
        | RunError::Auth(_)
        | RunError::BrokenKey { .. }
        | RunError::Config(_)
        | RunError::ConfigIssues { .. }
        | RunError::Listen { .. }
        | RunError::NotLocal { .. }
        | RunError::Passed(_)
        | RunError::PassedRefused(_)
        | RunError::Refused(_)
        | RunError::Tls(_)
        | RunError::TlsFileMissing { .. }
        | RunError::TlsPlace(_) => Exit::Configuration,
    };
    let (message, next) = error.what_and_next();
    Failure::new(exit, error.code(), message, next)
}
