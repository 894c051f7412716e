//! `gateway run`: flags to one request.

use std::path::Path;

use clawgate_core::config::EnvVars;
use clawgate_core::policy::server_auth::AuthOverride;
use serde_json::json;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::gateway_args::GatewayRunArgs;
use crate::output;
use crate::private_file;
use crate::run::{self, RunError, RunRequest, Unconfigured, Verbosity};
use crate::secrets::GivenSecrets;
use crate::service::EnvFile;

/// A file of variables may be so large, in bytes.
const MAX_ENV_FILE: u64 = 256 * 1024;

pub(super) fn run(args: GatewayRunArgs, context: Context) -> Result<Exit, Failure> {
    context.refuse_context("gateway run")?;
    let secrets = GivenSecrets::read(args.secrets)?;
    let places = context.locations()?.clone();
    let env = match &args.env_file {
        Some(path) => with_file(&context.env, path)?,
        None => context.env,
    };
    let request = RunRequest {
        env,
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
        log_style: args.log_format,
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

/// The environment with the variables of a file, which come before those of the same name. The places
/// of the gateway's own files are not among them: they are known by then.
fn with_file(env: &EnvVars, path: &Path) -> Result<EnvVars, Failure> {
    let fail = |why: String| {
        Failure::new(
            Exit::Configuration,
            "env_file_unusable",
            format!("The file of variables {}: {why}.", path.display()),
            "Correct it, or write it again with `clawgate gateway install`.",
        )
        .fact("file", json!(path))
    };
    let text =
        private_file::read_private(path, MAX_ENV_FILE).map_err(|error| fail(error.to_string()))?;
    let file =
        EnvFile::parse(&text).map_err(|line| fail(format!("line {line} is no NAME=value")))?;
    Ok(env
        .names()
        .filter_map(|name| Some((name.to_owned(), env.get(name)?.to_owned())))
        .chain(
            file.iter()
                .map(|(name, value)| (name.to_owned(), value.expose().to_owned())),
        )
        .collect())
}

/// A gateway that did not start. Everything that another start would not change is a matter of
/// configuration, so that service managers do not try again.
pub(super) fn failure(error: &RunError) -> Failure {
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
